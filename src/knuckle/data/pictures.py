"""Whole pictures with all their hands' boxes: what a detector is trained and measured on.

`Hands` has a row a hand; here there is a row a picture, those without a hand included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from knuckle.formats import read
from knuckle.formats.image_header import IMAGE_SUFFIXES
from knuckle.hands import ENOUGH_POINTS, Hands, group_number, keypoint_extent


@dataclass(frozen=True)
class Pictures:
    """n whole pictures.

    Attributes:
        paths: the n files.
        boxes: of each picture the (m, 4) float32 boxes of its hands, x1, y1, x2, y2 in image pixels; m may be 0.
        group: (n,) what a split must not divide, that of the first hand; pictures without a hand are a group each.
    """

    paths: tuple[Path, ...]
    boxes: tuple[Float32[np.ndarray, "m 4"], ...]
    group: Int64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, rows: Sequence[int] | Int64[np.ndarray, " k"]) -> Pictures:
        """Some of the pictures."""
        chosen = np.array(rows, dtype=np.int64)
        return Pictures(
            tuple(self.paths[row] for row in chosen),
            tuple(self.boxes[row] for row in chosen),
            self.group[chosen],
        )


def read_pictures(path: Path, *, box_scale: float = 1.0, handless: bool = False) -> Pictures:
    """The pictures of anything that `knuckle.read` reads.

    Args:
        path: an annotation file or folder; or, where it has no hand at all, a folder of pictures.
        box_scale: labelled boxes grow by this factor about their middles, for those that were drawn more loosely (below
            1) or tightly than keypoints reach. Boxes of hands with enough keypoints are the keypoints' extent.
        handless: add the pictures that show no hand: those that the pictures.csv of `knuckle render --scenes` lists,
            else all others in the folder.

    Raises:
        ValueError: there is nothing to read, or a hand has no box.
    """
    if path.is_dir() and handless and not list(path.glob("*.json")):
        return _without_hands(_images_below(path))
    annotations = path / "annotations.json"
    shown = _by_picture(read(annotations if annotations.is_file() else path), box_scale)
    if not handless:
        return shown
    taken = {file.resolve() for file in shown.paths}
    folder = path if path.is_dir() else path.parent
    return concat([shown, _without_hands([file for file in _listed(folder) if file.resolve() not in taken])])


def concat(parts: Sequence[Pictures]) -> Pictures:
    """All pictures in order."""
    return Pictures(
        tuple(path for part in parts for path in part.paths),
        tuple(box for part in parts for box in part.boxes),
        np.concatenate([part.group for part in parts]),
    )


def hand_boxes(hands: Hands, box_scale: float = 1.0) -> Float32[np.ndarray, "n 4"]:
    """The extent of each hand's keypoints, or, of hands with few labelled ones, their box, scaled about its middle."""
    middle, half = (hands.box[:, :2] + hands.box[:, 2:]) / 2, (hands.box[:, 2:] - hands.box[:, :2]) / 2 * box_scale
    scaled = np.concatenate([middle - half, middle + half], axis=1)
    enough = hands.labeled.sum(axis=1) >= ENOUGH_POINTS
    return np.asarray(np.where(enough[:, None], keypoint_extent(hands.xy), scaled), dtype=np.float32)


def _by_picture(hands: Hands, box_scale: float) -> Pictures:
    boxes = hand_boxes(hands, box_scale)
    for row in np.flatnonzero(~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1))).tolist():
        raise ValueError(f"{hands.paths()[row]}: a hand has neither a box with an area nor enough keypoints for one.")
    rows: dict[Path, list[int]] = {}
    for row, path in enumerate(hands.paths()):
        rows.setdefault(path, []).append(row)
    first = np.array([own[0] for own in rows.values()], dtype=np.int64)
    return Pictures(tuple(rows), tuple(boxes[own] for own in rows.values()), hands.group[first])


def _without_hands(files: Sequence[Path]) -> Pictures:
    group = np.array([group_number(str(file)) for file in files], dtype=np.int64)
    return Pictures(tuple(files), (np.empty((0, 4), np.float32),) * len(files), group)


def _listed(folder: Path) -> list[Path]:
    """The pictures of a folder; of rendered scenes those that are finished and labelled."""
    counts = folder / "pictures.csv"
    if not counts.is_file():
        return _images_below(folder)
    return [folder / line.rpartition(",")[0] for line in counts.read_text().splitlines()[1:]]


def _images_below(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
