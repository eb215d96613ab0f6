"""The camera's sensor and software: from linear light to the bytes of a photo.

Each effect is drawn for one image from its range. Order as in a camera: defocus and motion while
light falls in, vignette, exposure, white balance, photon and read noise, tone curve, JPEG.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from knuckle.render.grain import normal_noise
from knuckle.render.ranges import Range, check_numbers, check_ranges

MIDDLE_GREY: Final = 0.2
"""Mean linear light that automatic exposure aims for; paper in the sun is 1."""
_SHOULDER: Final = 0.7
_CURVE_STEPS: Final = 1 << 16
_BRIGHTEST: Final = 4.0
_PIECE: Final = 11
"""Cells along a side of the largest kernel that OpenCV does not take through a Fourier transform."""


@dataclass(frozen=True)
class SensorRanges:
    """What a sensor may do to an image; an effect is off where its probability or range is 0.

    Raises:
        ValueError: a range, probability or strength cannot be one; names the field.

    Attributes:
        exposure: stops by which automatic exposure misses.
        metering: how far exposure follows the scene's brightness, 0 not at all, 1 fully.
        white_balance: scale of the error that white balance leaves, in log gains of red and blue: warm against cool,
            and a third as much magenta against green. Mostly small, now and then large (Student's t, 4 degrees of
            freedom, cut off at 4 scales).
        contrast: standard deviation of the log exponent of the tone curve.
        saturation: low and high factor on colourfulness.
        vignette: loss of light in the corners.
        defocus: probability, and standard deviation of the blur in 1/256 of the picture's side.
        motion: probability, and length of the streak in 1/256 of the picture's side.
        noise: standard deviation in the shadows and growth with light, at 1 for full light; log-uniform.
        jpeg: probability, and quality from 1 to 100.
        grey: probability of a picture without colour.
    """

    exposure: Range = (-1.1, 0.8)
    metering: Range = (0.3, 0.8)
    white_balance: float = 0.05
    contrast: float = 0.14
    saturation: Range = (0.6, 1.35)
    vignette: Range = (0.0, 0.35)
    defocus: tuple[float, Range] = (0.6, (0.4, 2.2))
    motion: tuple[float, Range] = (0.2, (3.0, 14.0))
    noise: Range = (0.001, 0.03)
    jpeg: tuple[float, Range] = (0.8, (30.0, 95.0))
    grey: float = 0.02

    def __post_init__(self) -> None:
        low, high = self.noise
        if low <= 0 < high:
            raise ValueError(f"noise is drawn log-uniformly: its range must begin above 0, got {low:g} to {high:g}.")
        check_ranges(self, "exposure", "metering")
        check_ranges(self, "saturation", "vignette", "noise", least=0.0)
        check_numbers(self, "white_balance", "contrast")
        check_numbers(self, "grey", most=1.0)
        for name in ("defocus", "motion", "jpeg"):
            probability, (least, greatest) = getattr(self, name)
            if not (0 <= probability <= 1 and 0 <= least <= greatest):
                raise ValueError(
                    f"{name} of SensorRanges must be a probability and two numbers that ascend from 0, but is "
                    f"{getattr(self, name)}."
                )


@dataclass(frozen=True)
class Sensor:
    """What one sensor does to one image; lengths in 1/256 of the picture's side, 0 for none."""

    stops: float
    metering: float
    gains: tuple[float, float, float]
    exponent: float
    saturation: float
    vignette: float
    defocus: float
    motion: float
    motion_angle: float
    noise: float
    jpeg: int


def draw_sensor(ranges: SensorRanges, rng: np.random.Generator) -> Sensor:
    """One sensor's numbers."""
    warm, magenta = ranges.white_balance * np.clip(rng.standard_t(4, 2), -4, 4)
    red, blue = math.exp(warm + magenta / 3), math.exp(magenta / 3 - warm)
    low, high = ranges.noise
    return Sensor(
        stops=rng.uniform(*ranges.exposure),
        metering=rng.uniform(*ranges.metering),
        gains=(red, 1.0, blue),
        exponent=math.exp(rng.normal(0, ranges.contrast)),
        saturation=rng.uniform(*ranges.saturation) * float(rng.random() >= ranges.grey),
        vignette=rng.uniform(*ranges.vignette),
        defocus=_sometimes(ranges.defocus, rng),
        motion=_sometimes(ranges.motion, rng),
        motion_angle=rng.uniform(0, math.pi),
        noise=low * (high / low) ** rng.random() if low > 0 else 0.0,
        jpeg=round(_sometimes(ranges.jpeg, rng)),
    )


def expose(
    light: Float32[np.ndarray, "h w 3"], sensor: Sensor | None, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """The photo that a sensor takes of linear light; without a sensor, the light in sRGB as it is.

    Args:
        light: linear RGB, 1 is white; may exceed 1.
        sensor: what happens to it.
        rng: where the noise of each pixel comes from.
    """
    if sensor is None:
        return _to_srgb(light)
    scale = light.shape[0] / 256
    light = _streak(_soften(light, sensor.defocus * scale), sensor.motion * scale, sensor.motion_angle)
    # NumPy is slow along an axis of three: here a row holds all its pixels' channels.
    height, width, _ = light.shape
    rows = light.reshape(height, 3 * width) * np.tile(_gains(light, sensor), width)
    if sensor.vignette:
        left = _distance_squared(height, width) * np.float32(-sensor.vignette)
        left += 1
        rows *= left
    if sensor.noise:
        grain = normal_noise(rng, rows.shape)
        deviation = rows + np.float32(0.1)
        deviation *= np.float32(4 * sensor.noise**2)
        grain *= np.sqrt(deviation, out=deviation)
        rows += grain
    image = cv2.LUT(_to_srgb(rows.reshape(height, width, 3)), _tone_curve(sensor.exponent))
    return _compressed(_saturated(np.asarray(image, dtype=np.uint8), sensor.saturation), sensor.jpeg)


def _sometimes(effect: tuple[float, Range], rng: np.random.Generator) -> float:
    probability, (low, high) = effect
    happens, value = rng.random() < probability, rng.uniform(low, high)
    return float(value) if happens else 0.0


def _soften(light: Float32[np.ndarray, "h w 3"], sigma: float) -> Float32[np.ndarray, "h w 3"]:
    return light if sigma < 0.2 else np.asarray(cv2.GaussianBlur(light, (0, 0), sigma), dtype=np.float32)


def _streak(light: Float32[np.ndarray, "h w 3"], length: float, angle: float) -> Float32[np.ndarray, "h w 3"]:
    """Blur along a line that is centred on each pixel, so that keypoints stay where they are."""
    if length < 1.5:
        return light
    reach = math.ceil(length / 2)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), dtype=np.float32)
    steps = np.linspace(-length / 2, length / 2, 4 * reach + 1)
    x, y = reach + steps * math.cos(angle), reach + steps * math.sin(angle)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    right, below = x - column, y - row
    for down in (0, 1):
        for across in (0, 1):
            weight = (below if down else 1 - below) * (right if across else 1 - right)
            inside = weight > 0
            np.add.at(kernel, ((row + down)[inside], (column + across)[inside]), weight[inside])
    return _convolved(light, kernel / kernel.sum())


def _convolved(light: Float32[np.ndarray, "h w 3"], kernel: Float32[np.ndarray, "s s"]) -> Float32[np.ndarray, "h w 3"]:
    """The picture under a kernel that is mostly empty, of odd side.

    OpenCV takes kernels of more than 11 cells a side through a Fourier transform, whatever they hold. In pieces, it
    skips empty cells, and we empty pieces: six times as fast for a streak.
    """
    height, width, _ = light.shape
    reach = len(kernel) // 2
    padded = cv2.copyMakeBorder(light, reach, reach, reach, reach, cv2.BORDER_REFLECT_101)
    total = np.zeros_like(light)
    for row in range(0, len(kernel), _PIECE):
        for column in range(0, len(kernel), _PIECE):
            piece = kernel[row : row + _PIECE, column : column + _PIECE]
            if piece.any():
                below, right = (side - 1 for side in piece.shape)
                part = padded[row : row + height + below, column : column + width + right]
                total += cv2.filter2D(part, -1, piece, anchor=(0, 0))[:height, :width]
    return total


def _gains(light: Float32[np.ndarray, "h w 3"], sensor: Sensor) -> Float32[np.ndarray, " 3"]:
    """Automatic exposure and white balance: what each channel is multiplied with."""
    brightness = max(float(light[::4, ::4].mean()), 0.01)
    exposure = (MIDDLE_GREY / brightness) ** sensor.metering * 2**sensor.stops
    return np.asarray(exposure * np.array(sensor.gains), dtype=np.float32)


@lru_cache(maxsize=4)
def _distance_squared(height: int, width: int) -> Float32[np.ndarray, "h 3*w"]:
    """From the centre of the picture, for each channel of each pixel; 1 in the corners."""
    y, x = np.linspace(-1, 1, height)[:, None], np.repeat(np.linspace(-1, 1, width), 3)[None]
    return ((x * x + y * y) / 2).astype(np.float32)


@lru_cache(maxsize=1)
def _srgb_curve() -> UInt8[np.ndarray, " steps"]:
    """The transfer function of sRGB (IEC 61966-2-1) after a shoulder that keeps highlights from clipping at once."""
    light = np.linspace(0, _BRIGHTEST, _CURVE_STEPS)
    room = 1 - _SHOULDER
    shown = np.where(light < _SHOULDER, light, 1 - room * np.exp(-(light - _SHOULDER) / room))
    encoded = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)


@lru_cache(maxsize=1)
def _linear_curve() -> Float32[np.ndarray, " 256"]:
    encoded = np.arange(256) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_linear(image: UInt8[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Linear light of sRGB bytes."""
    return np.asarray(cv2.LUT(np.atleast_2d(image), _linear_curve()), dtype=np.float32).reshape(image.shape)


def _to_srgb(light: Float32[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    height, width, _ = light.shape
    # One pass that rounds to the nearest step and cuts off what is beyond the curve, which ends where 16 bits do.
    scale = (_CURVE_STEPS - 1) / _BRIGHTEST
    steps = cv2.multiply(light.reshape(height, 3 * width), scale, dtype=cv2.CV_16U)  # type: ignore[call-overload]
    return np.asarray(_srgb_curve().take(np.asarray(steps))).reshape(light.shape)


def _tone_curve(exponent: float) -> UInt8[np.ndarray, " 256"]:
    return np.round(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)


def _saturated(image: UInt8[np.ndarray, "h w 3"], factor: float) -> UInt8[np.ndarray, "h w 3"]:
    """Colours moved away from grey, or towards it, at equal luma (ITU-R BT.601)."""
    if factor == 1.0:
        return image
    luma = np.array([0.299, 0.587, 0.114])
    matrix = factor * np.eye(3) + (1 - factor) * luma[None]
    return np.asarray(cv2.transform(image, matrix.astype(np.float32)), dtype=np.uint8)


def _compressed(image: UInt8[np.ndarray, "h w 3"], quality: int) -> UInt8[np.ndarray, "h w 3"]:
    if not quality:
        return image
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)
