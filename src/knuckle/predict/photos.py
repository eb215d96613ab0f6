"""Photos that a predictor can take: pixels that are RGB, and boxes that lie on them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import ArrayLike, NDArray

from knuckle.data.images import read_image

if TYPE_CHECKING:
    from knuckle.predict.detector import Detections

ImageLike = Any
"""A path, or what numpy sees as a uint8 (h, w, 3) RGB array, such as a PIL image in mode RGB."""

NAMELESS: Final = ""
"""The `image` of hands on bare pixels. Metrics let it stand for any image."""

FULL: Final = "full"
"""In place of boxes: one hand, anywhere in the frame."""


FARTHEST: Final = 1e6
"""Pixels from the image's corner that a box may reach; the sides of images are far shorter."""


class Photo(NamedTuple):
    """One image and where its hands are.

    Attributes:
        name: what the hands' `image` column will say: a path, or `NAMELESS`.
        image: (h, w, 3) uint8 RGB.
        boxes: (m, 4) float32 x1, y1, x2, y2 in image pixels, as `check_boxes` returns them; "full"; what a detector
            found, of which the network may take some for no hands; or None where a detector is yet to look.
    """

    name: str
    image: UInt8[np.ndarray, "h w 3"]
    boxes: Float32[np.ndarray, "m 4"] | Literal["full"] | Detections | None

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[1], self.image.shape[0]


def photos(images: ImageLike | Sequence[ImageLike], boxes: ArrayLike | Sequence[ArrayLike] | None) -> Iterator[Photo]:
    """The arguments of `Predictor.predict` as photos, read one at a time.

    Raises:
        ValueError: as `Predictor.predict` says.
    """
    several = isinstance(images, list | tuple) or (isinstance(images, np.ndarray) and images.ndim == 4)
    every_image: Sequence[ImageLike] = images if several else [images]
    every_boxes = _boxes_by_image(boxes, len(every_image), several)
    for index, (image, own) in enumerate(zip(every_image, every_boxes, strict=True)):
        if isinstance(image, str | os.PathLike):
            name: str = os.fspath(image)
            pixels, where = read_image(name), f"image {index} ({name})"
        else:
            name, where = NAMELESS, f"image {index}"
            pixels = _pixels(image, where)
        size_wh = (pixels.shape[1], pixels.shape[0])
        if own is None or isinstance(own, str):
            yield Photo(name, pixels, None if own is None else FULL)
        else:
            yield Photo(name, pixels, check_boxes(own, size_wh, where))


def check_boxes(boxes: ArrayLike, size_wh: tuple[int, int], where: str) -> Float32[np.ndarray, "m 4"]:
    """The boxes of one image as float32, the precision that `Hands` keeps, so that crops agree.

    Args:
        boxes: (m, 4) x1, y1, x2, y2 in image pixels; m may be 0.
        size_wh: the image's width and height.
        where: how an error names the image.

    Raises:
        ValueError: not (m, 4) numbers, or a box that is not finite, has no area, misses the image or is beyond all
            measure.
    """
    try:
        array = np.asarray(boxes, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: boxes must be (m, 4) numbers x1, y1, x2, y2, got {boxes!r}.") from error
    if array.size == 0:
        return np.empty((0, 4), dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{where}: boxes must have shape (m, 4): x1, y1, x2, y2 a hand, got {array.shape}.")
    for row, (x1, y1, x2, y2) in enumerate(array.tolist()):
        box = f"{where}, box {row} ({x1:g}, {y1:g}, {x2:g}, {y2:g})"
        if not np.isfinite([x1, y1, x2, y2]).all():
            raise ValueError(f"{box} must be finite.")
        if x2 <= x1 or y2 <= y1:
            raise ValueError(f"{box} has no area; boxes are x1, y1, x2, y2 with x1 < x2 and y1 < y2.")
        if x2 <= -0.5 or y2 <= -0.5 or x1 >= size_wh[0] - 0.5 or y1 >= size_wh[1] - 0.5:
            raise ValueError(f"{box} lies outside its image of {size_wh[0]} x {size_wh[1]} pixels.")
        if max(map(abs, (x1, y1, x2, y2))) > FARTHEST:
            raise ValueError(f"{box} is far larger than its image of {size_wh[0]} x {size_wh[1]} pixels; correct it.")
    return array


def check_name(image: Path) -> None:
    """Refuse a photo by whose name no output could find it again.

    Raises:
        ValueError: the name is not UTF-8, which Linux allows.
    """
    try:
        str(image).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{printable(image)} has a name that no output file can hold, as it is not UTF-8; rename it."
        ) from None


def printable(image: Path) -> str:
    """A photo's path, with escapes for bytes that are no text."""
    return str(image).encode(errors="backslashreplace").decode()


def _boxes_by_image(boxes: Any, count: int, several: bool) -> Sequence[Any]:
    if boxes is None:
        return [None] * count
    if isinstance(boxes, str):
        if boxes != FULL:
            raise ValueError(f'boxes must be "full" or numbers, got {boxes!r}.')
        return [FULL] * count
    if not several:
        return [boxes]
    if not isinstance(boxes, Sequence | np.ndarray) or len(boxes) != count:
        given = len(boxes) if isinstance(boxes, Sequence | np.ndarray) else type(boxes).__name__
        raise ValueError(f"boxes for {count} images must be {count} arrays, one an image, got {given}.")
    return list(boxes)


def _pixels(image: ImageLike, name: str) -> UInt8[np.ndarray, "h w 3"]:
    array = np.asarray(image)
    mode = _mode(image)  # those of YCbCr, HSV and LAB have the shape of RGB
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0 or mode not in ("", "RGB"):
        kind = f"{type(image).__name__} in mode {mode}" if mode else type(image).__name__
        raise ValueError(
            f"{name} must be a path or RGB pixels of dtype uint8 and shape (h, w, 3), "
            f"got {kind} with dtype {array.dtype} and shape {array.shape}{_advice(image, array)}."
        )
    return array


def _mode(image: ImageLike) -> str:
    """What a PIL image calls its kind of pixels; "" of anything else."""
    mode = getattr(image, "mode", "")
    return mode if isinstance(mode, str) else ""


def _advice(image: ImageLike, array: NDArray[Any]) -> str:
    """What would make an image of what was given, as the end of a sentence."""
    if _mode(image):
        return '; give image.convert("RGB")'
    if array.dtype != np.uint8 and np.issubdtype(array.dtype, np.number) and array.ndim == 3 and array.shape[2] == 3:
        return "; bring its numbers to 0..255 and give image.astype(np.uint8)"
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 4:
        return "; give the colours alone, image[..., :3]"
    if array.dtype == np.uint8 and array.ndim == 2:
        return "; give the grey level three times, np.stack([image] * 3, axis=-1)"
    return ""
