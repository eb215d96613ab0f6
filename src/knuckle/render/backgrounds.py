"""What lies behind the hand: pictures made from noise, patterns and shapes, or crops of photos.

Domain randomisation needs variety rather than realism (Tobin et al., IROS 2017): colours, scales and
edges of every kind, and shapes in the colours of skin, so that colour alone never gives a hand away.
"""

from __future__ import annotations

import colorsys
import hashlib
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from knuckle.formats.image_header import IMAGE_SUFFIXES, header_size_wh
from knuckle.render.grain import normal_noise
from knuckle.render.ranges import check_numbers, check_ranges

Canvas = UInt8[np.ndarray, "s s 3"]

_SKIN: Final = np.array(
    [(246, 237, 228), (247, 234, 208), (215, 189, 150), (160, 126, 86), (130, 92, 67), (96, 65, 52), (58, 49, 42)]
)
"""Tones of the Monk scale, for shapes that are no hand."""
_FIXED_POINT_BITS: Final = 4


@dataclass(frozen=True)
class Procedural:
    """Backgrounds made by code.

    Attributes:
        shapes: fewest and most shapes.
        skin_colored: part of the shapes that have a colour of skin.
        pattern: probability of stripes, squares or waves.
        grain: standard deviation of brightness that noise adds, from a plain wall to foliage, in levels of 255.
        blur: largest standard deviation of the blur, in 1/256 of the picture's side.

    Raises:
        ValueError: a range, share or probability cannot be one; names the field.
    """

    shapes: tuple[int, int] = (0, 14)
    skin_colored: float = 0.25
    pattern: float = 0.4
    grain: tuple[float, float] = (2.0, 45.0)
    blur: float = 9.0

    def __post_init__(self) -> None:
        check_ranges(self, "shapes", "grain", least=0)
        check_numbers(self, "skin_colored", "pattern", most=1.0)
        check_numbers(self, "blur")

    def draw(self, size: int, rng: np.random.Generator) -> Canvas:
        """One background, (size, size, 3) sRGB."""
        canvas = _gradient(size, rng)
        if rng.random() < self.pattern:
            canvas = _patterned(canvas, rng)
        count = int(rng.integers(self.shapes[0], self.shapes[1] + 1))
        behind = int(rng.integers(0, count + 1))
        self._add_shapes(canvas, behind, rng)
        canvas = _blurred(canvas, self.blur * rng.random() ** 2 * size / 256)
        self._add_shapes(canvas, count - behind, rng)
        canvas = _lit_and_grained(canvas, rng.uniform(*self.grain) * rng.random(), rng)
        return _blurred(canvas, self.blur * rng.random() ** 3 * size / 256)

    def _add_shapes(self, canvas: Canvas, count: int, rng: np.random.Generator) -> None:
        for _ in range(count):
            skin = rng.random() < self.skin_colored
            color = _SKIN[rng.integers(len(_SKIN))] * rng.uniform(0.5, 1.05) if skin else _color(rng)
            _add_shape(canvas, np.clip(color, 0, 255), rng)


@dataclass(frozen=True)
class Photos:
    """Backgrounds cut out of photos, which should show no hands.

    Attributes:
        folder: every JPEG, PNG, BMP and WebP file below it is used.
        zoom: smallest and largest part of a photo's shorter side that is shown.

    Raises:
        ValueError: a range, share or probability cannot be one; names the field.
    """

    folder: Path
    zoom: tuple[float, float] = (0.25, 1.0)

    def __post_init__(self) -> None:
        check_ranges(self, "zoom", above=0.0, most=1.0)

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The photos, sorted by path.

        Raises:
            ValueError: there are none.
        """
        found = sorted(
            path for path in self.folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        )
        if not found:
            raise ValueError(f"{self.folder} holds no photo for backgrounds ({', '.join(IMAGE_SUFFIXES)}).")
        return tuple(found)

    @property
    def digest(self) -> str:
        """SHA-256 of the photos' names and sizes: with another one, other photos are drawn.

        Raises:
            ValueError: there are none.
        """
        lines = [f"{file.relative_to(self.folder).as_posix()}\0{file.stat().st_size}\n" for file in self.files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def draw(self, size: int, rng: np.random.Generator) -> Canvas:
        """One background, (size, size, 3) sRGB, mirrored half of the time.

        Raises:
            ValueError: the photo cannot be read.
        """
        path = self.files[int(rng.integers(len(self.files)))]
        zoom, across, down, mirror = rng.uniform(*self.zoom), rng.random(), rng.random(), rng.random() < 0.5
        photo = _read(path, wanted=size / zoom)
        height, width = photo.shape[:2]
        side = max(1, round(zoom * min(height, width)))
        left, top = int(across * (width - side + 1)), int(down * (height - side + 1))
        part = photo[top : top + side, left : left + side]
        shown = cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
        return np.asarray(cv2.cvtColor(shown[:, ::-1] if mirror else shown, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _read(path: Path, wanted: float) -> UInt8[np.ndarray, "h w 3"]:
    """A photo as BGR, decoded at a half, a quarter or an eighth where that leaves enough pixels."""
    try:
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        said = error.strerror or error
        raise ValueError(f"{path} cannot be read ({said}); take it out of the folder of backgrounds.") from error
    spare = min(header_size_wh(path)) / wanted
    reduced = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}
    flag = next((flag for factor, flag in reduced.items() if spare >= factor), cv2.IMREAD_COLOR)
    try:
        photo = cv2.imdecode(data, flag)
    except cv2.error:
        photo = None
    if photo is None:
        raise ValueError(f"{path} cannot be decoded; take it out of the folder of backgrounds.")
    return np.asarray(photo, dtype=np.uint8)


def _color(rng: np.random.Generator) -> Float32[np.ndarray, " 3"]:
    """Any colour, the dull ones more often, as rooms and gardens have them."""
    hue, saturation, value = rng.random(), rng.beta(1.1, 2.2), rng.uniform(0.05, 1.0)
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), dtype=np.float32) * 255


@lru_cache(maxsize=4)
def _grid(size: int) -> tuple[Float32[np.ndarray, "1 s"], Float32[np.ndarray, "s 1"]]:
    line = np.linspace(-1, 1, size, dtype=np.float32)
    return line[None], line[:, None]


def _gradient(size: int, rng: np.random.Generator) -> Canvas:
    first, second, angle = _color(rng), _color(rng), rng.uniform(0, 2 * math.pi)
    second = first + (second - first) * np.float32(rng.random())
    x, y = _grid(8)
    position = np.clip((x * np.float32(math.cos(angle)) + y * np.float32(math.sin(angle))) / 2.8 + 0.5, 0, 1)
    coarse = (first + (second - first) * position[..., None]).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _patterned(canvas: Canvas, rng: np.random.Generator) -> Canvas:
    """Stripes, squares or soft waves over the canvas, turned, and bent a little."""
    kind, angle, frequency = rng.integers(3), rng.uniform(0, math.pi), math.exp(rng.uniform(1.2, 3.9))
    bend, phase, opacity = rng.uniform(0, 1.5), rng.uniform(0, 6.3), rng.uniform(0.2, 0.9)
    color = _color(rng)
    x, y = _grid(canvas.shape[0])
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    along, across = x * cos + y * sin, y * cos - x * sin
    wave = np.sin(along * np.float32(frequency) + np.sin(across * np.float32(2 + bend)) * np.float32(bend + phase))
    if kind == 1:
        wave *= np.sin(across * np.float32(frequency))
    cover = (wave + 1) / 2 if kind == 2 else np.clip(wave * np.float32(canvas.shape[0] / frequency / 2) + 0.5, 0, 1)
    change = _by_rows(canvas, color) - canvas.reshape(len(canvas), -1)
    change *= _of_channels(cover * np.float32(opacity))
    return _sum(canvas, change)


def _add_shape(canvas: Canvas, color: Float32[np.ndarray, " 3"], rng: np.random.Generator) -> None:
    """A polygon, an ellipse or a thick line with round ends, somewhere, of any size."""
    size = canvas.shape[0]
    center, radius = rng.uniform(-0.1, 1.1, 2) * size, size * math.exp(rng.uniform(-3.2, -0.7))
    kind, angle = rng.random(), rng.uniform(0, 2 * math.pi)
    fill = tuple(float(channel) for channel in color)
    if kind < 0.45:
        corners = int(rng.integers(3, 8))
        around = angle + (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * (2 * math.pi / corners)
        reach = radius * rng.uniform(0.5, 1.3, (corners, 1))
        polygon = center + reach * np.stack([np.cos(around), np.sin(around)], axis=1)
        cv2.fillPoly(canvas, [_fixed(polygon)], fill, cv2.LINE_AA, _FIXED_POINT_BITS)
    elif kind < 0.65:
        axes = _fixed(radius * rng.uniform(0.3, 1.0, 2)).tolist()
        at = _fixed(center).tolist()
        cv2.ellipse(canvas, at, axes, math.degrees(angle), 0, 360, fill, -1, cv2.LINE_AA, _FIXED_POINT_BITS)
    else:
        reach = radius * rng.uniform(0.8, 3.0) * np.array([math.cos(angle), math.sin(angle)])
        bend = center + reach * 0.6 + radius * rng.uniform(-0.6, 0.6, 2)
        line = _fixed(np.stack([center - reach, center, bend]))
        width = max(1, round(radius * rng.uniform(0.15, 0.7)))
        cv2.polylines(canvas, [line], False, fill, width, cv2.LINE_AA, _FIXED_POINT_BITS)


def _fixed(
    points: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.round(points * (1 << _FIXED_POINT_BITS)).astype(np.int32)


def _lit_and_grained(canvas: Canvas, strength: float, rng: np.random.Generator) -> Canvas:
    """Light and shade in large patches, and noise of every scale on top."""
    size = canvas.shape[0]
    shade = cv2.resize(rng.standard_normal((3, 3), dtype=np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    light = np.exp(shade * np.float32(rng.uniform(0, 0.45)))
    noise = _of_channels(_fractal_noise(size, rng) * np.float32(strength))
    noise *= _by_rows(canvas, 1 + rng.normal(0, 0.25, 3).astype(np.float32))
    change = _of_channels(light - 1)
    change *= canvas.reshape(size, -1)
    return _sum(canvas, np.add(change, noise, out=change))


# NumPy is slow along an axis of three: below, a row of a picture holds all its pixels' channels.


def _of_channels(plane: Float32[np.ndarray, "s s"]) -> Float32[np.ndarray, "s 3*s"]:
    """The same number for all channels of a pixel."""
    return np.asarray(cv2.cvtColor(plane, cv2.COLOR_GRAY2RGB), dtype=np.float32).reshape(len(plane), -1)


def _by_rows(canvas: Canvas, color: Float32[np.ndarray, " 3"]) -> Float32[np.ndarray, " 3*s"]:
    """One colour for all pixels of a row."""
    return np.tile(color, canvas.shape[1])


def _sum(canvas: Canvas, change: Float32[np.ndarray, "s 3*s"]) -> Canvas:
    """A picture and what changes it, rounded and cut off at black and white in one pass."""
    changed = cv2.add(canvas.reshape(len(canvas), -1), change, dtype=cv2.CV_8U)
    return np.asarray(changed, dtype=np.uint8).reshape(canvas.shape)


def _fractal_noise(size: int, rng: np.random.Generator) -> Float32[np.ndarray, "s s"]:
    """Noise whose strength falls from octave to octave by a random factor: clouds, plaster, grass, sand."""
    roughness, side = rng.uniform(0.45, 1.1), int(rng.integers(2, 9))
    field, weight, power = np.zeros((side, side), dtype=np.float32), 1.0, 0.0
    while True:
        field += normal_noise(rng, (side, side)) * np.float32(weight)
        power += weight**2
        if side >= size // 2:
            break
        side, weight = min(2 * side, size), weight * roughness
        field = cv2.resize(field, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    whole = cv2.resize(field, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(whole / math.sqrt(power), dtype=np.float32)


def _blurred(canvas: Canvas, sigma: float) -> Canvas:
    """Gaussian blur; a wide one on a shrunk picture, which costs a tenth and looks the same."""
    if sigma < 0.3:
        return canvas
    size, shrink = canvas.shape[0], max(1, int(sigma / 1.5))
    side = -(-size // shrink)
    small = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA) if shrink > 1 else canvas
    small = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
    return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
