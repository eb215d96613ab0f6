"""Augmentation: random changes of a crop during training, drawn from one generator a sample.

Geometry is drawn as numbers for `CropRule.around_box`, so that image and keypoints share one matrix.
Pixels change after the crop is cut: what covers the hand, then light and colour, then the lens, the
sensor and the file, in the order in which a camera adds them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Final, TypedDict

import cv2
import numpy as np
from jaxtyping import Float32, Int16, UInt8
from numpy.typing import NDArray

Image = NDArray[np.uint8]

LUMA: Final = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in grey (ITU-R BT.601)."""

SMALLEST_BLUR: Final = 0.2
"""Blurs with a standard deviation below this many pixels would change no grey level."""


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a crop, and how often. Every range starts switched off.

    A `_probability` is the share of samples to which its change is applied; each is drawn on its own.
    Rotation, scale and shift follow a standard normal distribution cut off at -1 and 1, times the
    range given, as MMPose 1.x draws them; all else is uniform over its range.

    Attributes:
        mirror: probability that left and right swap.
        rotation: largest turn in degrees, either way.
        rotation_probability: share of samples that are turned.
        scale: smallest and largest factor of the crop's window; above 1 the hand becomes smaller.
        scale_probability: share of samples whose scale changes.
        shift: largest move of the window along x and along y, as a fraction of its padded side.
        shift_probability: share of samples that are moved.
        occluders: most shapes (rectangles and ellipses, of one colour or of noise) drawn over a crop.
        occluder_size: smallest and largest length and width of a shape, as fractions of the crop's side.
        occluder_probability: share of samples with at least one shape.
        brightness: largest change of all grey levels, as a fraction of the full range.
        contrast: largest relative change of contrast about middle grey.
        saturation: largest relative change of saturation.
        hue: largest turn of the hue in degrees, either way.
        channel_gain: largest relative change of each of red, green and blue, as by white balance.
        color_probability: share of samples with any of these five.
        grey: probability that the crop loses its colour.
        blur: largest standard deviation of a Gaussian blur in crop pixels.
        blur_probability: share of samples that are blurred.
        noise: largest standard deviation of Gaussian noise in grey levels, independent in each value.
        noise_probability: share of samples with noise.
        jpeg_quality: lowest JPEG quality (1 to 100) at which the crop is saved once more; 100: never.
        jpeg_probability: share of samples that are saved once more.

    Raises:
        ValueError: a probability lies outside 0..1 or a range is impossible; names the field.
    """

    mirror: float = 0.0
    rotation: float = 0.0
    rotation_probability: float = 1.0
    scale: tuple[float, float] = (1.0, 1.0)
    scale_probability: float = 1.0
    shift: float = 0.0
    shift_probability: float = 1.0
    occluders: int = 0
    occluder_size: tuple[float, float] = (0.1, 0.4)
    occluder_probability: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    channel_gain: float = 0.0
    color_probability: float = 1.0
    grey: float = 0.0
    blur: float = 0.0
    blur_probability: float = 1.0
    noise: float = 0.0
    noise_probability: float = 1.0
    jpeg_quality: int = 100
    jpeg_probability: float = 1.0

    def __post_init__(self) -> None:
        for name, (low, high) in _limits().items():
            value = getattr(self, name)
            if not low <= value <= high or not np.isfinite(value):
                until = f"to {high:g}" if np.isfinite(high) else "or more"
                raise ValueError(f"augmentation: {name} must be {low:g} {until}, got {value}.")
        for name in ("scale", "occluder_size"):
            low, high = getattr(self, name)
            if not 0 < low <= high < np.inf:
                raise ValueError(f"augmentation: {name} must be two numbers 0 < low <= high, got ({low}, {high}).")

    @classmethod
    def none(cls) -> Augmentation:
        """No change at all."""
        return cls()

    @classmethod
    def mmpose(cls, shift: float = 0.25) -> Augmentation:
        """What MMPose 1.x does to hands: RandomFlip, then RandomBBoxTransform, no change of colour.

        Args:
            shift: 0.25 in its FreiHAND configuration, 0.16 in the one for RHD.
        """
        return cls(
            mirror=0.5,
            rotation=180.0,
            rotation_probability=0.6,
            scale=(0.7, 1.3),
            shift=shift,
            shift_probability=0.3,
        )


def _limits() -> dict[str, tuple[float, float]]:
    """The smallest and largest value of every field that is one number."""
    shares = [field.name for field in fields(Augmentation) if field.name.endswith("_probability")]
    shares += ["mirror", "grey", "brightness", "contrast", "saturation", "channel_gain"]
    return {
        **dict.fromkeys(shares, (0.0, 1.0)),
        **dict.fromkeys(("rotation", "hue"), (0.0, 180.0)),
        **dict.fromkeys(("shift", "occluders", "blur", "noise"), (0.0, np.inf)),
        "jpeg_quality": (1.0, 100.0),
    }


class Geometry(TypedDict):
    """Keyword arguments of `Crop.around`, in its units."""

    rotation: float
    scale: float
    shift: tuple[float, float]
    mirror: bool


def draw_geometry(augmentation: Augmentation, rng: np.random.Generator) -> Geometry:
    """Random arguments for `CropRule.around_box` and `around_frame`."""
    rotation, scale, shift = 0.0, 1.0, (0.0, 0.0)
    low, high = augmentation.scale
    mirror = _happens(augmentation.mirror, rng)
    if _happens(augmentation.shift_probability, rng):
        shift = (augmentation.shift * _cut_normal(rng), augmentation.shift * _cut_normal(rng))
    if _happens(augmentation.scale_probability, rng):
        scale = (low + high) / 2 + (high - low) / 2 * _cut_normal(rng)
    if _happens(augmentation.rotation_probability, rng):
        rotation = augmentation.rotation * _cut_normal(rng)
    return Geometry(rotation=rotation, scale=scale, shift=shift, mirror=mirror)


def apply_pixels(
    image: UInt8[np.ndarray, "h w 3"], augmentation: Augmentation, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """The RGB crop with random occluders, colour, blur, noise and JPEG traces. `image` stays as it is."""
    if augmentation.occluders and _happens(augmentation.occluder_probability, rng):
        image = _occluded(image, augmentation, rng)
    matrix = _color_matrix(augmentation, rng)
    if matrix is not None:
        image = _as_uint8(cv2.transform(image, matrix))
    if augmentation.blur and _happens(augmentation.blur_probability, rng):
        sigma = augmentation.blur * rng.random()
        if sigma >= SMALLEST_BLUR:
            image = _as_uint8(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))
    if augmentation.noise and _happens(augmentation.noise_probability, rng):
        noise = _noise(image.shape, augmentation.noise * rng.random(), rng)
        image = _as_uint8(cv2.add(image, noise, dtype=cv2.CV_8U))
    if augmentation.jpeg_quality < 100 and _happens(augmentation.jpeg_probability, rng):
        image = _saved_as_jpeg(image, int(rng.integers(augmentation.jpeg_quality, 101)))
    return image


def _happens(probability: float, rng: np.random.Generator) -> bool:
    return rng.random() < probability


def _cut_normal(rng: np.random.Generator) -> float:
    """A standard normal number, drawn again until it lies in -1..1."""
    while abs(value := rng.standard_normal()) > 1:
        pass
    return float(value)


def _uniform(limit: float, rng: np.random.Generator) -> float:
    return limit * (2 * rng.random() - 1)


def _color_matrix(augmentation: Augmentation, rng: np.random.Generator) -> Float32[np.ndarray, "3 4"] | None:
    """All changes of colour as one affine map of (red, green, blue, 1), or None where nothing changes.

    Saturation scales the distance from the grey axis and hue turns about it; contrast scales about
    middle grey; brightness adds; channel gains multiply last.
    """
    changes = (
        augmentation.brightness,
        augmentation.contrast,
        augmentation.saturation,
        augmentation.hue,
        augmentation.channel_gain,
    )
    linear, offset = np.eye(3), np.zeros(3)
    colored = any(changes) and _happens(augmentation.color_probability, rng)
    if colored:
        brightness, contrast, saturation, hue = (_uniform(limit, rng) for limit in changes[:4])
        gains = 1 + augmentation.channel_gain * (2 * rng.random(3) - 1)
        grey = np.tile(LUMA, (3, 1))
        linear = grey + (1 + saturation) * (_hue_turn(hue) - grey)
        linear *= (1 + contrast) * gains[:, None]
        offset = (255 * brightness - 127.5 * contrast) * gains
    if augmentation.grey and _happens(augmentation.grey, rng):
        linear, offset = np.tile(LUMA @ linear, (3, 1)), np.full(3, LUMA @ offset)
    elif not colored:
        return None
    return np.column_stack([linear, offset]).astype(np.float32)


def _hue_turn(degrees: float) -> NDArray[np.float64]:
    """The 3 x 3 matrix that turns colours about the grey axis and keeps their luma: hue in YIQ."""
    to_yiq = np.array([LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    turned: NDArray[np.float64] = np.linalg.inv(to_yiq) @ turn @ to_yiq
    return turned


def _occluded(image: Image, augmentation: Augmentation, rng: np.random.Generator) -> Image:
    """The crop under 1 to `occluders` rotated ellipses and rectangles, each of one colour or of noise."""
    covered = image.copy()
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(1, augmentation.occluders + 1))):
        center = (width * rng.random(), height * rng.random())
        length, breadth = max(width, height) * rng.uniform(*augmentation.occluder_size, size=2)
        box = (center, (float(length), float(breadth)), 360 * rng.random())
        ellipse = _happens(0.5, rng)
        if _happens(0.5, rng):
            red, green, blue = rng.integers(0, 256, 3).tolist()
            _fill(covered, box, ellipse, (red, green, blue))
        else:
            mask = np.zeros((height, width), dtype=np.uint8)
            _fill(mask, box, ellipse, (255,))
            cv2.copyTo(_random_bytes(image.shape, rng), mask, covered)
    return covered


def _fill(canvas: Image, box: cv2.typing.RotatedRect, ellipse: bool, color: tuple[int, ...]) -> None:
    if ellipse:
        cv2.ellipse(canvas, box, color, cv2.FILLED)
    else:
        cv2.fillConvexPoly(canvas, cv2.boxPoints(box).round().astype(np.int32), color)


_NORMAL_QUANTILES: Final = np.array([NormalDist().inv_cdf((byte + 0.5) / 256) for byte in range(256)])


def _noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Int16[np.ndarray, "*shape"]:
    """Gaussian noise in whole grey levels: random bytes through a table of quantiles, fast."""
    levels = np.rint(sigma * _NORMAL_QUANTILES / _NORMAL_QUANTILES.std()).astype(np.int16)
    return np.asarray(cv2.LUT(_random_bytes(shape, rng), levels), dtype=np.int16)


def _random_bytes(shape: tuple[int, ...], rng: np.random.Generator) -> Image:
    return np.frombuffer(rng.bytes(math.prod(shape)), dtype=np.uint8).reshape(shape)


def _saved_as_jpeg(image: Image, quality: int) -> Image:
    """The crop as it comes back from a JPEG file."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return _as_uint8(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def _as_uint8(image: NDArray[np.generic]) -> Image:
    """The same array; OpenCV's types do not say that it holds bytes."""
    assert image.dtype == np.uint8
    return image  # type: ignore[return-value]
