"""Rendered hands that move over a grey stage, and a finder that knows them by their pixels.

The finder sees no more than a network would: the window around a box. Where no hand lies whole inside it, it
answers as networks do, with nonsense.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from knuckle.geometry import frame_box
from knuckle.hands import Hands
from knuckle.predict.detector import Detections
from knuckle.predict.photos import Photo
from knuckle.predict.predictor import Found
from knuckle.predict.video import Frame
from knuckle.render import render
from knuckle.skeleton import NUM_JOINTS

STAGE_WH = (240, 160)
PADDING = 1.5
SIGMA = 0.5

Path = Callable[[int], tuple[int, int] | None]
"""Where the top left corner of a hand's picture lies in a frame, or None where the hand is away."""


class Actor(NamedTuple):
    """A rendered hand: the pixels of its tight box, and its keypoints (21, 2) in them."""

    pixels: UInt8[np.ndarray, "h w 3"]
    xy: Float32[np.ndarray, "21 2"]


@cache
def actors(count: int) -> tuple[Actor, ...]:
    """Rendered hands of which all joints lie in the picture."""
    images, hands = render(2 * count, 3, 96)
    chosen: list[Actor] = []
    for image, hand in zip(images, hands, strict=True):
        x1, y1, x2, y2 = (round(value) for value in hand.box[0].tolist())
        if len(chosen) < count and hand.labeled.all():
            chosen.append(Actor(image[y1 : y2 + 1, x1 : x2 + 1], hand.xy[0] - np.array([x1, y1], np.float32)))
    assert len(chosen) == count
    return tuple(chosen)


def stage(cast: Sequence[Actor], paths: Sequence[Path], number: int) -> UInt8[np.ndarray, "h w 3"]:
    """One frame; later hands lie on top."""
    image = np.full((STAGE_WH[1], STAGE_WH[0], 3), 90, np.uint8)
    for actor, path in zip(cast, paths, strict=True):
        corner = path(number)
        if corner is None:
            continue
        x, y = corner
        height, width = actor.pixels.shape[:2]
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, STAGE_WH[0]), min(y + height, STAGE_WH[1])
        if left < right and top < bottom:
            image[top:bottom, left:right] = actor.pixels[top - y : bottom - y, left - x : right - x]
    return image


def film(cast: Sequence[Actor], paths: Sequence[Path], count: int, rate: float = 25.0) -> Iterator[Frame]:
    """Frames of a film."""
    return (Frame(number, number / rate, stage(cast, paths, number)) for number in range(count))


class PixelFinder:
    """Finds the actors whose pictures lie whole in the window around a box; elsewhere joints at random.

    Attributes:
        boxes: those of every photo it was given; "full" for the whole frame.
    """

    def __init__(self, cast: Sequence[Actor], *, sigma: bool = True) -> None:
        self.cast = cast
        self.sigma = sigma
        self.boxes: list[object] = []
        self._rng = np.random.default_rng(0)

    def stream(self, incoming: Iterable[Photo], /) -> Iterator[Found]:
        """As `Predictor.stream`."""
        for photo in incoming:
            given = photo.boxes.box if isinstance(photo.boxes, Detections) else photo.boxes
            self.boxes.append(given)
            assert given is not None, "it has no detector"
            frame = frame_box(photo.size_wh)[None].astype(np.float32)
            boxes, padding = (frame, 1.0) if isinstance(given, str) else (given, PADDING)
            found = [self._find(photo.image, box, padding) for box in boxes]
            xy = np.array([points for points, _ in found], np.float32).reshape(-1, NUM_JOINTS, 2)
            sigma = np.array([spread for _, spread in found], np.float32)
            hands = Hands(
                image=[photo.name] * len(boxes),
                xy=xy,
                visibility=np.full(xy.shape[:2], 2),
                box=boxes,
                size=np.tile(photo.size_wh, (len(boxes), 1)),
                covariance=np.eye(2) * sigma[:, None, None, None] ** 2 * np.ones((1, NUM_JOINTS, 1, 1))
                if self.sigma
                else None,
            )
            yield Found(photo.name, photo.size_wh, hands)

    def _find(
        self, image: UInt8[np.ndarray, "h w 3"], box: Float32[np.ndarray, " 4"], padding: float
    ) -> tuple[Float32[np.ndarray, "21 2"], float]:
        center, side = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max())
        low = np.floor(center - side * padding / 2).astype(int)
        high = np.ceil(center + side * padding / 2).astype(int) + 1
        left, top = (int(value) for value in np.maximum(low, 0))
        window = image[top : high[1], left : high[0]]
        best, best_xy = 0.0, None
        for actor in self.cast:
            if (np.array(actor.pixels.shape) > window.shape).any():
                continue
            match = cv2.matchTemplate(window, actor.pixels, cv2.TM_CCOEFF_NORMED)
            _, score, _, at = cv2.minMaxLoc(match)
            if score > max(best, 0.95):
                best, best_xy = score, actor.xy + np.array([left + at[0], top + at[1]], np.float32)
        if best_xy is not None:
            return best_xy, SIGMA
        nonsense = self._rng.uniform(low, high, (NUM_JOINTS, 2))
        return nonsense.astype(np.float32), 0.4 * side
