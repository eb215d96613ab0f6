"""Calibrating a model: fit on one half of labelled hands, measure on the other, store what was found with the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from knuckle.data.splits import split_by_group
from knuckle.evaluate.compare import Boxes, Compared, predictions_of_predictor, rule_of
from knuckle.evaluate.report import finite, named
from knuckle.hands import Hands
from knuckle.metrics.calibration import Coverage, Uncertainty, measure
from knuckle.metrics.conformal import Calibration, fit
from knuckle.metrics.recognition import Recognition, Refusal, recognition, refusal
from knuckle.predict.regions import density_coverage, density_of, mean_shift

if TYPE_CHECKING:
    from knuckle.formats.problems import OnBad
    from knuckle.methods.hand_head import HandHead
    from knuckle.predict import Predictor
    from knuckle.predict.load import Preset

AT_LEAST: Final = 2000
"""Hands of the fitting half. The coverage of a fitted 90 % region of a joint then varies by 0.7 % (one standard
deviation) from one fitting half to the next."""

Progress = Callable[[int, str], AbstractContextManager[Callable[[int], object]]]
"""Opens a display of so many things of that name; what it gives takes the number done."""


class Measured(NamedTuple):
    """What stated uncertainty is worth on hands that nothing was fitted to.

    Attributes:
        hands: how many.
        groups: how many groups they come from.
        density: coverage of the flow's own regions, not calibrated; empty for methods without a flow, and with the
            flip test.
        mean_shift: how far the flow's mean lies from the keypoint, in standard deviations along x and y; None likewise.
        before: without calibration; None where the method states nothing by itself.
        after: with it.
        recognition: how well the hands were recognised; None for models without a hand head.
        refusal: how well crops without a hand were; None where there were none, or no hand head.
        skipped: one sentence a hand whose image could not be read.
    """

    hands: int
    groups: int
    density: tuple[Coverage, ...]
    mean_shift: tuple[float, float] | None
    before: Uncertainty | None
    after: Uncertainty
    recognition: Recognition | None
    refusal: Refusal | None
    skipped: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything in types that JSON has."""
        plain: dict[str, Any] = finite(named(self))
        return plain


@contextmanager
def _nothing_shown(total: int, what: str) -> Iterator[Callable[[int], object]]:
    """Shows no progress."""
    yield lambda done: None


def calibrate(
    predictor: Predictor,
    hands: Hands,
    *,
    seed: int = 0,
    at_least: int = AT_LEAST,
    none: Hands | None = None,
    boxes: Boxes | None = None,
    workers: int = 0,
    on_bad: OnBad = "stop",
    progress: Progress = _nothing_shown,
) -> tuple[Calibration, Measured]:
    """Fit a calibration on half of the groups of labelled hands, and measure it on the others.

    Args:
        predictor: the model; a calibration that it has is left out.
        hands: labelled hands.
        seed: of the split and the intervals.
        at_least: refuse a fitting half of fewer hands.
        none: crops without a hand that nothing was fitted to, to measure the score on.
        boxes: as for `predictions_of_model`.
        workers: processes that read and cut.
        on_bad: "skip" lists images that cannot be read, "stop" raises on the first.
        progress: opens a display of so many things, and gives a function that takes the number done.

    Raises:
        ValueError: too few hands or groups, or hands that nothing can be fitted to.
    """
    labeled = hands[hands.labeled.any(axis=1)]
    _refuse_few(len(labeled) // 2, at_least)
    halves = split_by_group(labeled, {"fit": 0.5, "check": 0.5}, seed)
    known = _predict(predictor, labeled[halves["fit"]], boxes, workers, on_bad, progress)
    _refuse_few(len(known.true), at_least)
    calibration = fit(known.pred, known.true, flip_test=predictor.flip_test)
    new = _predict(predictor, labeled[halves["check"]], boxes, workers, on_bad, progress)
    refused = None if none is None else _predict_none(predictor, none, workers, on_bad, progress)
    return calibration, _measured(predictor, new, calibration, known.skipped, seed, refused)


def check(
    predictor: Predictor,
    hands: Hands,
    calibration: Calibration | None = None,
    *,
    seed: int = 0,
    boxes: Boxes | None = None,
    workers: int = 0,
    on_bad: OnBad = "stop",
    progress: Progress = _nothing_shown,
) -> Measured:
    """Measure a calibration on other labelled hands, such as real photos, where nothing guarantees it.

    Args:
        predictor: the model.
        hands: labelled hands.
        calibration: None for the one that the model has.
        seed: of the intervals.
        boxes: as for `predictions_of_model`.
        workers: processes that read and cut.
        on_bad: "skip" lists images that cannot be read, "stop" raises on the first.
        progress: as for `calibrate`.

    Raises:
        ValueError: there is no calibration, no labelled hand, or an image cannot be used.
    """
    calibration = calibration or predictor.calibration
    if calibration is None:
        raise ValueError("this model has no calibration that could be checked; knuckle calibrate MODEL DATA makes one.")
    labeled = hands[hands.labeled.any(axis=1)]
    if len(labeled) == 0:
        raise ValueError("there is no labelled hand to check the calibration on.")
    found = _predict(predictor, labeled, boxes, workers, on_bad, progress)
    return _measured(predictor, found, calibration, [], seed)


def save_calibrated(
    weights: Path,
    calibration: Calibration,
    out: Path,
    preset: Preset | None = None,
    hand_head: HandHead | None = None,
) -> None:
    """Write the model with its calibration, whole or not at all; `out` may be `weights` itself.

    Args:
        weights: the model's file, ours or MMPose's.
        calibration: what to store.
        out: the .safetensors file to write.
        preset: of an MMPose checkpoint.
        hand_head: to store, too; None keeps the one that the model has.

    Raises:
        ValueError: the model cannot be read, or `out` not be written.
    """
    from knuckle.methods.weights import save_model
    from knuckle.predict.load import read_model

    check_name(out)
    model = read_model(weights, preset)
    if hand_head is not None:
        model.method.hand_head = hand_head
    save_model(out, model.method, model.spec, model.notes, calibration)


def check_name(out: Path) -> None:
    """Refuse a file name that no calibrated model can have, before anything is computed.

    Raises:
        ValueError: it does not end in .safetensors.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"{out}: a calibrated model is a .safetensors file; name it so.")


def _predict(
    predictor: Predictor, true: Hands, boxes: Boxes | None, workers: int, on_bad: OnBad, progress: Progress
) -> Compared:
    """Predictions as the method makes them, without a calibration that the model has."""
    with progress(len(true), "hands") as update:
        return predictions_of_predictor(
            predictor,
            true,
            "the model",
            rule=rule_of(predictor, boxes),
            workers=workers,
            on_bad=on_bad,
            calibrated=False,
            progress=update,
        )


def _measured(
    predictor: Predictor,
    found: Compared,
    calibration: Calibration,
    skipped: list[str],
    seed: int,
    none: Hands | None = None,
) -> Measured:
    pred, true = found.pred, found.true
    density = None if predictor.flip_test else density_of(predictor.engine)
    own = () if density is None else density_coverage(density, pred, true, calibration.levels, seed=seed)
    before = None if pred.covariance is None else measure(pred, true, levels=calibration.levels, seed=seed)
    return Measured(
        hands=len(true),
        groups=len(set(true.group.tolist())),
        density=own,
        mean_shift=None if density is None else mean_shift(density),
        before=before,
        after=measure(
            calibration.apply(pred),
            true,
            calibration.limits_array(),
            calibration.levels,
            seed=seed,
        ),
        recognition=recognition(pred, true, seed=seed),
        refusal=_refusal(pred, none, seed),
        skipped=(*skipped, *found.skipped),
    )


def _predict_none(predictor: Predictor, none: Hands, workers: int, on_bad: OnBad, progress: Progress) -> Hands:
    """What is said of crops without a hand, those left out that cannot be read."""
    from knuckle.predict.inference import predict_hands

    with progress(len(none), "crops without a hand") as update:
        said, _ = predict_hands(
            predictor.engine,
            replace(predictor.rule, whole_image=False),
            none,
            flip_test=predictor.flip_test,
            batch_size=predictor.batch_size,
            workers=workers,
            on_bad=on_bad,
            progress=update,
        )
    return said[said.labeled.any(axis=1)]


def _refusal(pred: Hands, none: Hands | None, seed: int) -> Refusal | None:
    if pred.score is None or none is None or none.score is None:
        return None
    return refusal(none.score, pred.score, none.group, seed=seed)


def _refuse_few(hands: int, at_least: int) -> None:
    if hands < at_least:
        raise ValueError(
            f"calibration needs {at_least:,} labelled hands for fitting and as many for measuring, but half of these "
            f"are {hands:,}; give more, or lower the bar with --at-least {max(hands, 1)}."
        )
