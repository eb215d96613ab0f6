"""Writes a model's hands into the Labelme files of photos that have no labels yet, and never over a person's work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32

from knuckle.data.images import read_image
from knuckle.hands import Hands, group_number, keypoint_extent
from knuckle.label.sheets import Proposal, Sheet
from knuckle.label.uncertainty import uncertainties
from knuckle.predict import Predictor
from knuckle.predict.photos import check_name, printable

Redo = Literal["nothing", "proposals", "everything"]
"""Which files with labels get new ones: none, marked proposals that nobody has touched, or all, a person's, too."""

Boxes = Mapping[Path, Float32[np.ndarray, "m 4"]] | Literal["full"] | None


@dataclass
class Written:
    """What became of the photos.

    Attributes:
        photos: files written.
        hands: hands in them.
        without: photos on which no hand was found, or that have no box; they get no file.
        skipped: one sentence for each photo that cannot be used.
    """

    photos: int = 0
    hands: int = 0
    without: int = 0
    skipped: list[str] = field(default_factory=list)


def waiting(sheets: Sequence[Sheet], redo: Redo = "nothing") -> list[Sheet]:
    """The sheets that `propose` would write."""
    states = {"nothing": ("empty", "boxes"), "proposals": ("empty", "boxes", "proposed")}
    return [sheet for sheet in sheets if redo == "everything" or sheet.state in states[redo]]


def propose(
    sheets: Sequence[Sheet],
    predictor: Predictor,
    model: str,
    boxes: Boxes = None,
    progress: Callable[[int], object] | None = None,
) -> Written:
    """Predict photos one by one and write each file at once, so that an interruption loses nothing.

    Boxes that a person has drawn in a file are where the model looks, whatever `boxes` says.

    Args:
        sheets: the photos; what is in their files is replaced.
        predictor: the model.
        model: its name, for the mark.
        boxes: for every photo its boxes, "full", or None for the model's own detector.
        progress: called after every photo with the number of photos done.
    """
    written = Written()
    for done, sheet in enumerate(sheets, start=1):
        try:
            check_name(sheet.image)
            image = read_image(sheet.image)
            places = _places(sheet, boxes)
            hands = predictor.predict(image, places)
            if len(hands):
                measure, uncertainty = uncertainties(hands, image, predictor, whole=isinstance(places, str))
                proposal = Proposal(model, measure, float(uncertainty.max()), int(uncertainty.argmax()))
                sheet.propose(_as_label(hands, sheet), proposal)
        except ValueError as error:
            written.skipped.append(_named(sheet.image, str(error)))
        else:
            written.photos += len(hands) > 0
            written.hands += len(hands)
            written.without += not len(hands)
        if progress is not None:
            progress(done)
    return written


def _places(sheet: Sheet, boxes: Boxes) -> Float32[np.ndarray, "m 4"] | Literal["full"] | None:
    if sheet.state == "boxes":
        return sheet.boxes
    return boxes if boxes is None or isinstance(boxes, str) else boxes[sheet.image]


def _as_label(hands: Hands, sheet: Sheet) -> Hands:
    """The hands as a person checks them: the box around the points; until somebody knows better, a photo is a group."""
    box = keypoint_extent(hands.xy)
    flat = np.asarray((box[:, 2:] <= box[:, :2]).any(axis=1))
    group = np.full(len(hands), group_number(sheet.name))
    return hands.replace(box=np.where(flat[:, None], hands.box, box), group=group)


def _named(image: Path, sentence: str) -> str:
    name = printable(image)
    return sentence if name in sentence else f"{name}: {sentence}"
