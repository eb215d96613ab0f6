"""The study from a plan to its numbers: samples, predictions, and one section after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from knuckle.evaluate.compare import Compared, predictions_of_predictor
from knuckle.formats import read_checked
from knuckle.hands import Hands
from knuckle.study.crop_artefact import (
    ASSUMED_SIZE,
    MMPOSE_RULE,
    CropArtefact,
    assumed_box,
    assumed_rule,
    crop_artefact,
    keypoints_cut_off,
)
from knuckle.study.evidence import Evidence, check_margin, evidence
from knuckle.study.failures import Failures, failures
from knuckle.study.hypotheses import H1, H2, Scores, h1_frame, h2_frame, scores
from knuckle.study.provenance import provenance
from knuckle.study.robustness import Robustness, Window, frame_window, measurable, measure
from knuckle.study.samples import Plan, Samples, choose_samples
from knuckle.study.training_share import TrainingShare, training_counts, training_share

if TYPE_CHECKING:
    from knuckle.formats.problems import OnBad
    from knuckle.predict import Predictor

CropName = Literal["as MMPose crops", "right"]
BASE_HANDS: Final = "base hands"
OWN_HANDS: Final = "own hands"
SEVERAL_SIZES: Final = (
    f"MMPose crops every photo as if it had {ASSUMED_SIZE} x {ASSUMED_SIZE} px; these photos are not squares of one "
    "size, so what that does to each is not listed (--resize makes them such)."
)


@dataclass(frozen=True)
class OwnCrops:
    """What the crop of MMPose's loader does to own photos.

    Attributes:
        artefact: its geometry, at the photos' size; None where they are not squares of one size.
        keypoints: labelled keypoints of own photos.
        cut_off: those outside the crop that MMPose's loader cuts.
        right_cut_off: those outside the right crop.
        scores: of the model on own photos by each crop; None where it crops around boxes, and neither arises.
    """

    artefact: CropArtefact | None
    keypoints: int
    cut_off: int
    right_cut_off: int
    scores: dict[CropName, Scores] | None

    def sentences(self) -> list[str]:
        """The artefact in words, with what it does to the numbers."""
        told = [
            SEVERAL_SIZES if self.artefact is None else self.artefact.sentence(),
            f"Of {self.keypoints:,} labelled keypoints on own photos {self.cut_off:,} lie outside that crop, "
            f"{self.right_cut_off:,} outside the right one.",
        ]
        if self.artefact is not None and self.artefact.offset != 0:
            size = self.artefact.size
            told.append(
                "Apart from any crop, AUC and EPE count pixels of the photo: the same error in parts of the frame is "
                f"{size / ASSUMED_SIZE:.3f} times as many pixels on {size} px as on {ASSUMED_SIZE}."
            )
        if self.scores is None:
            return [*told, "This model crops around each hand's box, so the artefact does not touch its numbers."]
        ran, right = self.scores["as MMPose crops"], self.scores["right"]
        return [
            *told,
            f"On own photos alone the model has AUC {ran.auc:.4f} and EPE {ran.epe:.3f} px as MMPose crops them, and "
            f"AUC {right.auc:.4f} and EPE {right.epe:.3f} px cropped right: that much of the result is the crop's.",
        ]


@dataclass(frozen=True)
class Study:
    """Everything that a study found.

    Attributes:
        plan: what was asked for.
        samples: the hands, and what is known of where they come from.
        base: predictions and truth of the base hands that could be read.
        own: of the own hands, cropped as the plan says.
        h1: the first hypothesis.
        h2: the second.
        crops: the crop artefact; None where the model crops around boxes and own photos are not squares of one size.
        evidence: own photos against base hands, with chance taken into account.
        failures: gestures and joints that are worse than the others, on base and on own hands.
        training: error against training-set share; None where the training set is not known.
        robustness: errors in harder pictures, by set of hands; empty unless asked for.
        provenance: how the model was run, versions, and its files' digests, as plain values.
        notes: what a reader of the numbers must know.
        skipped: one sentence for each record or photo that is not in the numbers.
    """

    plan: Plan
    samples: Samples
    base: Compared
    own: Compared
    h1: H1
    h2: H2
    crops: OwnCrops | None
    evidence: Evidence
    failures: Failures
    training: TrainingShare | None
    robustness: Mapping[str, Robustness]
    provenance: Mapping[str, Any]
    notes: tuple[str, ...]
    skipped: tuple[str, ...]


class Options(NamedTuple):
    """How the model is run.

    Attributes:
        flip_test: average over each crop and its mirror image.
        device: where the network runs; None chooses.
        workers: processes that read and cut.
        on_bad: "skip" lists what cannot be used, "stop" raises on the first.
        robustness: whether to measure harder pictures, too: 51 times as many predictions.
    """

    flip_test: bool = False
    device: str | None = None
    workers: int = 0
    on_bad: OnBad = "stop"
    robustness: bool = False


def run_study(
    plan: Plan, folder: Path, options: Options | None = None, progress: Callable[[int], object] | None = None
) -> Study:
    """Draw the samples, predict them, and compute every section.

    Writes the lists and the resized photos into the folder; `results.write_study` writes the rest.

    Args:
        plan: what is compared.
        folder: of the results.
        options: how the model is run.
        progress: called with the number of hands predicted.

    Raises:
        ValueError: the model, a data set, a list or a photo cannot be used, or there are too few hands.
    """
    from knuckle.predict import load

    # What is cheap to refuse comes before what takes long.
    options = options or Options()
    check_margin(plan.margin)
    predictor = load(plan.model, flip_test=options.flip_test, device=options.device)
    counts = None if plan.training is None else training_counts(read_checked(plan.training, on_bad=options.on_bad)[0])
    samples = choose_samples(plan, folder, options.on_bad)
    if options.robustness:
        measurable(samples.base)
        measurable(samples.own)
    done = 0

    def predict(true: Hands, *, as_assumed: bool = False) -> Compared:
        nonlocal done
        found = _predict(predictor, true, plan.model, options, lambda n: progress and progress(done + n), as_assumed)
        done += len(true)
        return found

    whole_image = predictor.rule.whole_image
    base = predict(samples.base)
    own_by_crop: dict[CropName, Compared] = {"right": predict(samples.own)}
    if whole_image:
        own_by_crop["as MMPose crops"] = predict(samples.own, as_assumed=True)
    as_paper = whole_image and plan.own_crop == "paper"
    own = own_by_crop["as MMPose crops" if as_paper else "right"]
    in_h2 = samples.in_h2[base.rows]
    sets = {BASE_HANDS: (base.pred, base.true), OWN_HANDS: (own.pred, own.true)}
    right = frame_window(predictor.rule) if whole_image else None
    windows = {BASE_HANDS: right, OWN_HANDS: (lambda _: assumed_box(predictor.rule)) if as_paper else right}
    # Sections: each is a pure function of the predictions and the truth above. A further one is computed here,
    # gets a field in `Study`, and its files in `results.write_study`.
    return Study(
        plan=plan,
        samples=samples,
        base=base,
        own=own,
        h1=h1_frame(base.pred, base.true, own.pred, own.true),
        h2=h2_frame(base.pred[in_h2], base.true[in_h2], own.pred, own.true, plan.classes),
        crops=_own_crops(predictor, samples.own, own_by_crop),
        evidence=evidence(
            *sets[BASE_HANDS], *sets[OWN_HANDS], in_h2, plan.classes, margin_px=plan.margin, seed=plan.seed
        ),
        failures=failures(sets, plan.classes, plan.seed),
        training=None if counts is None else training_share(counts, sets, plan.classes, plan.seed),
        robustness=_robustness(predictor, sets, windows, plan.seed, lambda n: progress and progress(done + n))
        if options.robustness
        else {},
        provenance=provenance(options._asdict(), {plan.model: predictor}),
        notes=samples.notes,
        skipped=(*samples.skipped, *base.skipped, *own.skipped),
    )


def _predict(
    predictor: Predictor,
    true: Hands,
    name: str,
    options: Options,
    progress: Callable[[int], object],
    as_assumed: bool,
) -> Compared:
    """What the model finds; `as_assumed` crops every image as MMPose's FreiHAND loader does."""
    return predictions_of_predictor(
        predictor,
        true,
        name,
        rule=assumed_rule(predictor.rule) if as_assumed else None,
        boxes=np.tile(assumed_box(predictor.rule), (len(true), 1)) if as_assumed else None,
        workers=options.workers,
        on_bad=options.on_bad,
        progress=progress,
    )


def _robustness(
    predictor: Predictor,
    sets: Mapping[str, tuple[Hands, Hands]],
    windows: Mapping[str, Window | None],
    seed: int,
    progress: Callable[[int], object],
) -> dict[str, Robustness]:
    found: dict[str, Robustness] = {}
    done = 0
    for name, (_, true) in sets.items():
        found[name] = measure(
            predictor,
            true,
            seed=seed,
            window=windows[name],
            progress=lambda n: progress(done + n),  # noqa: B023
        )
        done += len(true)
    return found


def _own_crops(predictor: Predictor, own: Hands, by_crop: Mapping[CropName, Compared]) -> OwnCrops | None:
    """The artefact, as far as it can be stated; None where it touches no number and photos have several sizes."""
    sizes = np.unique(own.size)
    whole_image = predictor.rule.whole_image
    if len(sizes) != 1 and not whole_image:
        return None
    rule = predictor.rule if whole_image else MMPOSE_RULE
    cut_off, right_cut_off = keypoints_cut_off(own, rule)
    return OwnCrops(
        artefact=crop_artefact(int(sizes[0]), rule) if len(sizes) == 1 else None,
        keypoints=int(own.labeled.sum()),
        cut_off=cut_off,
        right_cut_off=right_cut_off,
        scores={name: scores(found.pred, found.true) for name, found in by_crop.items()} if whole_image else None,
    )
