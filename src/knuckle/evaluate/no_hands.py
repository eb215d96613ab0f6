"""Crops that show no hand: places of pictures where none is, and boxes that miss a hand or are far too large or small.

They are rows of `Hands` without a labelled keypoint; the box says what to cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

from knuckle.data.images import image_size
from knuckle.formats import read_checked
from knuckle.formats.image_header import IMAGE_SUFFIXES
from knuckle.formats.problems import OnBad
from knuckle.hands import Hands, group_number
from knuckle.predict.sources import find_images
from knuckle.predict.track import overlap
from knuckle.skeleton import NUM_JOINTS

MOST_OVERLAP: Final = 0.2
"""Intersection over union with every labelled hand, below which a box counts as one without a hand."""
SIDES: Final = (0.12, 0.8)
"""Sides of boxes in places without a hand, over the picture's longer side; log-uniform."""
SMALLER: Final = (0.25, 0.42)
LARGER: Final = (2.4, 4.0)
"""Sides of boxes that are far too small or large, over the hand's own."""
ASIDE: Final = (0.8, 1.5)
"""How far boxes that miss a hand are moved, in the hand's sides."""
TRIES: Final = 30

Box = NDArray[np.float64]


def empty_places(path: Path, count: int, seed: int = 0, on_bad: OnBad = "stop") -> tuple[Hands, list[str]]:
    """Boxes at random places of pictures, away from labelled hands.

    Args:
        path: a folder of pictures that show no hand; or an annotation file that tells of every hand in the folders of
            its pictures, such as `knuckle render --scenes` writes.
        count: how many; spread evenly over the pictures, fewer where hands leave no room.
        seed: of the places.
        on_bad: "skip" leaves out pictures whose size cannot be read, "stop" raises on the first.

    Returns:
        One row a place, each picture a group; and one sentence for everything left out.

    Raises:
        ValueError: there are no pictures, or something cannot be read and `on_bad` is "stop".
    """
    labelled: dict[Path, list[Float32[np.ndarray, " 4"]]] = {}
    skipped: list[str] = []
    folders = [path]
    if path.is_file():
        hands, skipped = read_checked(path, on_bad=on_bad)
        for image, box in zip(hands.paths(), hands.box, strict=True):
            labelled.setdefault(image.resolve(), []).append(box)
        folders = sorted({image.parent for image in hands.paths()})
    pictures = [image for image in find_images(folders) if image.suffix.lower() in IMAGE_SUFFIXES]
    rng = np.random.default_rng(seed)
    each = -(-count // max(len(pictures), 1))
    names: list[str] = []
    rows: list[Box] = []
    sizes: list[tuple[int, int]] = []
    for picture in rng.permutation(np.array(pictures, dtype=object))[: -(-count // each)]:
        try:
            size_wh = image_size(picture)
        except ValueError as error:
            if on_bad == "stop":
                raise
            skipped.append(str(error))
            continue
        boxes = np.array(labelled.get(picture.resolve(), np.empty((0, 4)))).reshape(-1, 4)
        places = (_away(partial(_place, size_wh, rng), boxes) for _ in range(each))
        found = [box for box in places if box is not None]
        names += [str(picture)] * len(found)
        sizes += [size_wh] * len(found)
        rows += found
    return _without_keypoints(names, rows, sizes, [group_number(name) for name in names]), skipped


def missed(hands: Hands, seed: int = 0) -> Hands:
    """For every hand a box that misses it or is far too small or large; a hand where none was found is left out.

    Args:
        hands: labelled hands with boxes; others on the same picture need not be known.
        seed: of the boxes.
    """
    rng = np.random.default_rng(seed)
    rows: list[int] = []
    boxes: list[Box] = []
    for row, own in enumerate(hands.box.astype(np.float64)):
        if not (own[2:] > own[:2]).all():
            continue
        size = hands.size[row] if (hands.size[row] > 0).all() else np.array([math.inf, math.inf])
        box = _away(partial(_missing, own, size, rng), own[None])
        if box is not None:
            rows.append(row)
            boxes.append(box)
    kept = hands[rows]
    return _without_keypoints([str(path) for path in kept.paths()], boxes, kept.size.tolist(), kept.group.tolist())


def _away(draw: Callable[[], Box | None], hands: Float64[np.ndarray, "m 4"]) -> Box | None:
    """The first of some boxes that overlaps no hand much; None where there is none."""
    for _ in range(TRIES):
        box = draw()
        if box is not None and (overlap(box[None], hands) < MOST_OVERLAP).all():
            return box
    return None


def _place(size_wh: tuple[int, int], rng: np.random.Generator) -> Box:
    side = max(size_wh) * math.exp(rng.uniform(*np.log(SIDES)))
    return _square(rng.uniform((0, 0), size_wh), side)


def _missing(own: Box, size_wh: NDArray[np.generic], rng: np.random.Generator) -> Box | None:
    """A box inside the hand's, around it or beside it, one as often as the other; None where its centre is outside."""
    center, side = (own[:2] + own[2:]) / 2, float((own[2:] - own[:2]).max())
    kind = rng.integers(3)
    if kind == 0:
        center = rng.uniform(own[:2], own[2:])
        side *= rng.uniform(*SMALLER)
    elif kind == 1:
        side *= rng.uniform(*LARGER)
        center = center + rng.uniform(-0.25, 0.25, 2) * side
    else:
        turn = rng.uniform(0, 2 * math.pi)
        center = center + np.array([math.cos(turn), math.sin(turn)]) * rng.uniform(*ASIDE) * side
        side *= rng.uniform(0.7, 1.4)
    inside = (center > 0).all() and (center < np.asarray(size_wh, dtype=np.float64)).all()
    return _square(center, side) if inside else None


def _square(center: Float64[np.ndarray, " 2"], side: float) -> Box:
    return np.concatenate([center - side / 2, center + side / 2])


def _without_keypoints(names: list[str], boxes: list[Box], sizes: list[tuple[int, int]], groups: list[int]) -> Hands:
    count = len(names)
    return Hands(
        image=names,
        xy=np.full((count, NUM_JOINTS, 2), np.nan),
        visibility=np.zeros((count, NUM_JOINTS)),
        box=np.array(boxes).reshape(-1, 4),
        size=np.array(sizes).reshape(-1, 2),
        group=groups,
    )
