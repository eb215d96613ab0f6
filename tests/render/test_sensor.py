"""The sensor: each effect does what its name says, alone, and keypoints stay where they are."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from jaxtyping import Float32

from knuckle.render.sensor import Sensor, SensorRanges, _convolved, draw_sensor, expose, to_linear

NEUTRAL = Sensor(
    stops=0.0,
    metering=0.0,
    gains=(1.0, 1.0, 1.0),
    exponent=1.0,
    saturation=1.0,
    vignette=0.0,
    defocus=0.0,
    motion=0.0,
    motion_angle=0.0,
    noise=0.0,
    jpeg=0,
)


def _generator() -> np.random.Generator:
    return np.random.Generator(np.random.SFC64((3, 4)))


def _exposed(light: Float32[np.ndarray, "h w 3"], sensor: Sensor | None) -> Float32[np.ndarray, "h w 3"]:
    return expose(light, sensor, _generator()).astype(np.float32)


def _flat(value: float, size: int = 64) -> Float32[np.ndarray, "h w 3"]:
    return np.full((size, size, 3), value, dtype=np.float32)


def _spot(size: int = 65) -> Float32[np.ndarray, "h w 3"]:
    light = _flat(0.01, size)
    light[32, 32] = 0.69
    return light


def _centroid(image: Float32[np.ndarray, "h w 3"]) -> tuple[float, float]:
    weight = image.sum(axis=2) - image.sum(axis=2).min()
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return float((weight * x).sum() / weight.sum()), float((weight * y).sum() / weight.sum())


def test_srgb_and_linear_light_are_inverse_below_the_shoulder() -> None:
    bytes_ = np.arange(215, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    np.testing.assert_array_equal(expose(to_linear(bytes_), None, _generator()), bytes_)
    np.testing.assert_array_equal(expose(to_linear(bytes_), NEUTRAL, _generator()), bytes_)


def test_highlights_keep_their_order_instead_of_clipping() -> None:
    tones = [float(_exposed(_flat(value), NEUTRAL).mean()) for value in (0.5, 0.8, 1.0, 1.5, 9.0)]
    assert tones == sorted(tones)
    assert len(set(tones)) == 5
    assert tones[-1] == 255


def test_exposure_and_metering() -> None:
    middle = _exposed(_flat(0.2), NEUTRAL).mean()
    assert _exposed(_flat(0.2), replace(NEUTRAL, stops=-1.0)).mean() < middle < 255
    assert _exposed(_flat(0.05), replace(NEUTRAL, metering=1.0)).mean() == pytest.approx(middle, abs=1)


def test_white_balance_grey_and_contrast() -> None:
    red, green, blue = _exposed(_flat(0.2), replace(NEUTRAL, gains=(1.3, 1.0, 0.8))).mean(axis=(0, 1))
    assert red > green > blue
    colored = _flat(0.2) * np.array([1.0, 0.5, 0.2], dtype=np.float32)
    assert np.ptp(_exposed(colored, replace(NEUTRAL, saturation=0.0)), axis=2).max() <= 1
    assert _exposed(_flat(0.2), replace(NEUTRAL, exponent=1.4)).mean() < _exposed(_flat(0.2), NEUTRAL).mean()


def test_a_vignette_darkens_corners_only() -> None:
    image = _exposed(_flat(0.4), replace(NEUTRAL, vignette=0.3))
    assert image[32, 32].mean() == pytest.approx(_exposed(_flat(0.4), NEUTRAL)[0, 0].mean(), abs=1)
    assert image[0, 0].mean() < image[32, 32].mean() - 15


@pytest.mark.parametrize("sensor", [replace(NEUTRAL, defocus=8.0), replace(NEUTRAL, motion=30.0, motion_angle=0.6)])
def test_blur_keeps_things_where_they_are(sensor: Sensor) -> None:
    image = _exposed(_spot(), sensor)
    assert image[32, 32].mean() < 0.7 * _exposed(_spot(), NEUTRAL)[32, 32].mean()
    assert _centroid(image) == pytest.approx((32, 32), abs=0.05)


def test_motion_blurs_along_its_direction() -> None:
    streak = _exposed(_spot(), replace(NEUTRAL, motion=40.0, motion_angle=0.0)).mean(axis=2)
    base = streak[0, 0]
    assert streak[32, 29] > base + 5
    assert streak[29, 32] == pytest.approx(base, abs=1)


def test_a_long_streak_in_pieces_is_that_of_the_whole_kernel() -> None:
    rng = _generator()
    light = rng.random((40, 50, 3), dtype=np.float32)
    kernel = np.zeros((27, 27), dtype=np.float32)
    steps = np.arange(27)
    kernel[steps, steps // 2 + 5] = rng.random(27, dtype=np.float32)
    np.testing.assert_allclose(_convolved(light, kernel), cv2.filter2D(light, -1, kernel), rtol=1e-4, atol=1e-4)


def test_noise_grows_with_light_and_follows_from_the_generator() -> None:
    noisy = replace(NEUTRAL, noise=0.02)
    dark, bright = (expose(_flat(value), noisy, _generator()) for value in (0.02, 0.5))
    assert to_linear(dark).std() < to_linear(bright).std()
    np.testing.assert_array_equal(dark, expose(_flat(0.02), noisy, _generator()))


def test_a_log_uniform_range_from_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must begin above 0, got 0 to 0\.03"):
        SensorRanges(noise=(0.0, 0.03))


def test_jpeg_changes_little_and_in_place() -> None:
    smooth = np.linspace(0.05, 0.5, 64, dtype=np.float32)[None, :, None].repeat(64, axis=0).repeat(3, axis=2)
    smooth[..., 0] *= 0.4
    difference = np.abs(_exposed(smooth, replace(NEUTRAL, jpeg=60)) - _exposed(smooth, NEUTRAL))
    assert 0 < difference.mean() < 6


def test_draws_stay_within_their_ranges_and_effects_can_be_off() -> None:
    ranges = SensorRanges(defocus=(0.0, (1.0, 2.0)), motion=(1.0, (3.0, 5.0)), noise=(0.0, 0.0), grey=0.0)
    rng = _generator()
    for _ in range(50):
        sensor = draw_sensor(ranges, rng)
        assert sensor.defocus == 0
        assert sensor.noise == 0
        assert 3 <= sensor.motion <= 5
        assert ranges.exposure[0] <= sensor.stops <= ranges.exposure[1]
        assert sensor.jpeg == 0 or 30 <= sensor.jpeg <= 95
        assert sensor.saturation > 0
