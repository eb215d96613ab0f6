"""From a model or a file of predictions to two tables that can be compared row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Int64
from numpy.typing import ArrayLike

from knuckle.hands import Hands
from knuckle.metrics.matching import match

if TYPE_CHECKING:
    from knuckle.formats.problems import OnBad
    from knuckle.geometry import CropRule
    from knuckle.metrics.conformal import Calibration
    from knuckle.predict import Predictor

Boxes = Literal["box", "full"]

PREDICTION_SUFFIXES: Final = (".json", ".csv", ".parquet")
MODEL_FILES: Final = ("best.safetensors", "last.safetensors", "recipe.yaml")


class Compared(NamedTuple):
    """Predictions and truth, row by row the same hands, and what is not in them.

    Attributes:
        pred: what was found.
        true: the truth.
        rows: (n,) where these hands stand in the table of truth that was given.
        skipped: one sentence for each sample that is not among them.
        notes: what else a reader must know.
        calibration: what calibrated the predictions; None where nothing did.
    """

    pred: Hands
    true: Hands
    rows: Int64[np.ndarray, " n"]
    skipped: list[str]
    notes: list[str]
    calibration: Calibration | None = None


def predictions_from_file(path: Path, true: Hands, on_bad: OnBad = "stop") -> Compared:
    """Predictions in any readable format, matched to the truth.

    Raises:
        ValueError: the file cannot be read, or its hands cannot be matched; see `metrics.matching.match`.
    """
    from knuckle.formats import read_checked

    listed, skipped = read_checked(path, on_bad=on_bad)
    pred, notes = match(listed, true)
    return Compared(pred, true, np.arange(len(true)), skipped, notes)


def predictions_of_model(
    model: str | Path,
    true: Hands,
    *,
    boxes: Boxes | None = None,
    flip_test: bool = False,
    workers: int = 0,
    device: str | None = None,
    on_bad: OnBad = "stop",
    progress: Callable[[int], object] | None = None,
) -> Compared:
    """What a model finds at the truth's boxes, or in the whole images.

    Images that cannot be read are no fault of the model: their hands leave both tables and are listed.

    Args:
        model: what `knuckle.load` takes.
        true: where the hands are.
        boxes: "box" cuts around `true.box`, "full" takes the whole image; None does what the model learnt from.
        flip_test: average over the crop and its mirror image.
        workers: processes that read and cut.
        device: where the network runs; None chooses.
        on_bad: "skip" lists images that cannot be read, "stop" raises on the first.
        progress: called with the number of hands done.

    Raises:
        ValueError: the model or an image cannot be used, or the model gives no numbers.
    """
    from knuckle.predict import load

    predictor = load(model, flip_test=flip_test, device=device)
    rule = rule_of(predictor, boxes)
    return predictions_of_predictor(
        predictor, true, str(model), rule=rule, workers=workers, on_bad=on_bad, progress=progress
    )


def rule_of(predictor: Predictor, boxes: Boxes | None) -> CropRule:
    """How crops are cut around boxes or from whole images; None as the model learnt."""
    return predictor.rule if boxes is None else replace(predictor.rule, whole_image=boxes == "full")


def predictions_of_predictor(
    predictor: Predictor,
    true: Hands,
    name: str,
    *,
    rule: CropRule | None = None,
    boxes: ArrayLike | None = None,
    workers: int = 0,
    on_bad: OnBad = "stop",
    calibrated: bool = True,
    progress: Callable[[int], object] | None = None,
) -> Compared:
    """As `predictions_of_model`, of a model that is loaded already.

    Args:
        predictor: the model.
        true: where the hands are.
        name: of the model, for messages.
        rule: how crops are cut; None as the model learnt.
        boxes: (n, 4) boxes to cut around instead of `true.box`.
        workers: processes that read and cut.
        on_bad: "skip" lists images that cannot be read, "stop" raises on the first.
        calibrated: False leaves out a calibration that the model has.
        progress: called with the number of hands done.

    Raises:
        ValueError: an image cannot be used, or the model gives no numbers.
    """
    from knuckle.predict import inference, points

    calibration = predictor.calibration if calibrated else None
    pred, skipped = inference.predict_hands(
        predictor.engine,
        rule or predictor.rule,
        true if boxes is None else true.replace(box=boxes),
        flip_test=predictor.flip_test,
        batch_size=predictor.batch_size,
        workers=workers,
        on_bad=on_bad,
        progress=progress,
    )
    rows = np.flatnonzero(pred.labeled.any(axis=1))
    if len(true) - len(rows) != len(skipped):
        raise ValueError(f"{name} gives no finite positions on some images; its weights are broken, train it again.")
    notes = []
    if calibration is not None and calibration.flip_test != predictor.flip_test:
        notes.append(
            f"The model was calibrated {'with' if calibration.flip_test else 'without'} the flip test and is measured "
            f"{'with' if predictor.flip_test else 'without'} it; its stated uncertainty is that of another prediction."
        )
    found = points.calibrated(pred[rows].replace(box=true.box[rows]), calibration)
    return Compared(found, true[rows], rows, skipped, notes, calibration)


def holds_predictions(path: Path) -> bool:
    """Whether a path is a table or folder of predicted keypoints rather than a model."""
    if path.is_dir():
        return not any((path / name).exists() for name in MODEL_FILES)
    return path.is_file() and path.suffix.lower() in PREDICTION_SUFFIXES
