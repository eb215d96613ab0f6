"""From a model or a file of predictions to two tables that can be compared row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from knuckle.hands import Hands
from knuckle.metrics.matching import match

if TYPE_CHECKING:
    from knuckle.formats.problems import OnBad

Boxes = Literal["box", "full"]

PREDICTION_SUFFIXES: Final = (".json", ".csv", ".parquet")
MODEL_FILES: Final = ("best.safetensors", "last.safetensors", "recipe.yaml")


class Compared(NamedTuple):
    """Predictions and truth, row by row the same hands, and what is not in them."""

    pred: Hands
    true: Hands
    skipped: list[str]
    notes: list[str]


def predictions_from_file(path: Path, true: Hands, on_bad: OnBad = "stop") -> Compared:
    """Predictions in any readable format, matched to the truth.

    Raises:
        ValueError: the file cannot be read, or its hands cannot be matched; see `metrics.matching.match`.
    """
    from knuckle.formats import read_checked

    listed, skipped = read_checked(path, on_bad=on_bad)
    pred, notes = match(listed, true)
    return Compared(pred, true, skipped, notes)


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
    from knuckle.predict.inference import predict_hands

    predictor = load(model, flip_test=flip_test, device=device)
    rule = predictor.rule if boxes is None else replace(predictor.rule, whole_image=boxes == "full")
    pred, skipped = predict_hands(
        predictor.method,
        rule,
        true,
        flip_test=predictor.flip_test,
        batch_size=predictor.batch_size,
        workers=workers,
        device=predictor.device,
        on_bad=on_bad,
        progress=progress,
    )
    found = pred.labeled.any(axis=1)
    if int((~found).sum()) != len(skipped):
        raise ValueError(f"{model} gives no finite positions on some images; its weights are broken, train it again.")
    return Compared(pred[found], true[found], skipped, [])


def holds_predictions(path: Path) -> bool:
    """Whether a path is a table or folder of predicted keypoints rather than a model."""
    if path.is_dir():
        return not any((path / name).exists() for name in MODEL_FILES)
    return path.is_file() and path.suffix.lower() in PREDICTION_SUFFIXES
