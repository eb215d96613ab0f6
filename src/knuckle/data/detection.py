"""Training pictures of a detector: one picture or several in a square, moved, turned, mirrored and recoloured.

Each square follows from (seed, epoch, number) alone. Pixels and boxes go through one matrix. Several pictures in a
square (mosaic, as in YOLOv4, Bochkovskiy et al. 2020) show smaller hands and more of them.

Letters in shapes: B squares, S their side in pixels, M hands of a square at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from knuckle.data.augment import Augmentation, apply_pixels
from knuckle.data.images import read_image
from knuckle.data.pictures import Pictures
from knuckle.geometry import Crop

FILL: Final = 114
"""Grey level outside the picture, in training and prediction."""
SMALLEST: Final = 8.0
"""Hands whose longer side is shorter, in pixels of the square, are not taught."""
LEFT: Final = 0.35
"""Part of a box that must lie in the square."""

LOOKS: Final = Augmentation(
    brightness=0.2,
    contrast=0.35,
    saturation=0.5,
    hue=12.0,
    channel_gain=0.15,
    color_probability=0.7,
    grey=0.05,
    blur=1.2,
    blur_probability=0.2,
    noise=10.0,
    noise_probability=0.2,
    jpeg_quality=50,
    jpeg_probability=0.2,
)
"""Colour, blur and noise of training squares."""


@dataclass(frozen=True)
class Layout:
    """How pictures come into squares.

    Attributes:
        side: of the square in pixels.
        mosaic: part of the squares that show four pictures.
        zoom: smallest and largest size of a picture over the size that fits the square; log-uniform.
        turned: part of the pictures that are turned by a quarter, a half or three quarters.
    """

    side: int = 256
    mosaic: float = 0.3
    zoom: tuple[float, float] = (0.6, 1.6)
    turned: float = 0.25


class Square(NamedTuple):
    """One training picture.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        boxes: (m, 4) float32 x1, y1, x2, y2 in its pixels, cut at its frame.
    """

    image: UInt8[np.ndarray, "S S 3"]
    boxes: Float32[np.ndarray, "m 4"]


@dataclass(frozen=True)
class Mixture:
    """Several sets of pictures and how often each is drawn from.

    Attributes:
        parts: the sets, none empty.
        shares: of the draws, adding up to anything.
    """

    parts: tuple[Pictures, ...]
    shares: tuple[float, ...]

    def draw(self, rng: np.random.Generator) -> tuple[Pictures, int]:
        """A set and a row of it."""
        part = self.parts[int(rng.choice(len(self.parts), p=np.array(self.shares) / sum(self.shares)))]
        return part, int(rng.integers(len(part)))


def draw_square(pictures: Mixture, layout: Layout, seed: int, epoch: int, number: int) -> Square:
    """Training square `number` of an epoch.

    Raises:
        ImageError: a picture cannot be read.
    """
    rng = np.random.default_rng((seed, epoch, number))
    square = _mosaic(pictures, layout, rng) if rng.random() < layout.mosaic else _single(pictures, layout, rng)
    return Square(apply_pixels(square.image, LOOKS, rng), square.boxes)


def stack(squares: Sequence[Square]) -> tuple[UInt8[np.ndarray, "B 3 S S"], Float32[np.ndarray, "B M 4"]]:
    """Squares as one batch; NaN fills the boxes up."""
    most = max(len(square.boxes) for square in squares)
    boxes = np.full((len(squares), most, 4), np.nan, dtype=np.float32)
    for row, square in enumerate(squares):
        boxes[row, : len(square.boxes)] = square.boxes
    return np.ascontiguousarray(np.stack([square.image for square in squares]).transpose(0, 3, 1, 2)), boxes


def _single(pictures: Mixture, layout: Layout, rng: np.random.Generator) -> Square:
    return _placed(pictures, (layout.side, layout.side), layout, rng)


def _mosaic(pictures: Mixture, layout: Layout, rng: np.random.Generator) -> Square:
    """Four pictures around a point near the middle."""
    side = layout.side
    image = np.empty((side, side, 3), dtype=np.uint8)
    x, y = (int(value) for value in rng.uniform(0.3, 0.7, 2) * side)
    boxes = []
    for left, right in ((0, x), (x, side)):
        for top, bottom in ((0, y), (y, side)):
            tile = _placed(pictures, (right - left, bottom - top), layout, rng)
            image[top:bottom, left:right] = tile.image
            boxes.append(tile.boxes + np.array([left, top, left, top], dtype=np.float32))
    return Square(image, np.concatenate(boxes))


def _placed(pictures: Mixture, size_wh: tuple[int, int], layout: Layout, rng: np.random.Generator) -> Square:
    """A picture somewhere in a window: a large one is cut by it, a small one leaves a margin."""
    part, row = pictures.draw(rng)
    photo, boxes = read_image(part.paths[row]), part.boxes[row]
    low, high = layout.zoom
    zoom = low * (high / low) ** rng.random()
    quarters = int(rng.integers(1, 4)) if rng.random() < layout.turned else 0
    crop = _window(
        (photo.shape[1], photo.shape[0]), size_wh, zoom, rng.random(2), quarters=quarters, mirror=rng.random() < 0.5
    )
    return Square(crop.warp(photo, FILL), _seen(moved(boxes, crop), size_wh))


def _window(
    frame_wh: tuple[int, int],
    size_wh: tuple[int, int],
    zoom: float,
    place: Float[np.ndarray, " 2"],
    *,
    quarters: int,
    mirror: bool,
) -> Crop:
    """The matrix that turns a picture, fits it into a window, zooms it, and slides it by `place`, each from 0 to 1."""
    angle = quarters * math.pi / 2
    linear = np.round(np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]))
    linear[0] *= -1 if mirror else 1
    turned_wh = np.abs(linear) @ frame_wh
    linear = linear * zoom * min(size_wh[0] / turned_wh[0], size_wh[1] / turned_wh[1])
    shown_wh = np.abs(linear) @ frame_wh
    middle = shown_wh / 2 + place * (np.array(size_wh) - shown_wh) - 0.5
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = middle - linear @ ((np.array(frame_wh) - 1) / 2)
    return Crop(matrix, size_wh)


def moved(boxes: Float32[np.ndarray, "m 4"], crop: Crop) -> Float32[np.ndarray, "m 4"]:
    """Boxes in the crop's pixels, where the crop turns by quarters alone."""
    corners = crop.to_crop(boxes.reshape(-1, 2, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)


def _seen(boxes: Float32[np.ndarray, "m 4"], size_wh: tuple[int, int]) -> Float32[np.ndarray, "m 4"]:
    """The boxes cut at the frame; without those that are too small or of which too little is left."""
    low, high = np.float32(-0.5), np.array([*size_wh, *size_wh], dtype=np.float32) - np.float32(0.5)
    cut = np.clip(boxes, low, high)
    side, whole = cut[:, 2:] - cut[:, :2], (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    keep = (side.max(axis=1, initial=0) >= SMALLEST) & (side.prod(axis=1) >= LEFT * whole)
    return np.asarray(cut[keep], dtype=np.float32)


def limit_threads() -> None:
    """OpenCV's own threads cost more than they save on pictures of this size."""
    cv2.setNumThreads(1)
