from __future__ import annotations

from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from knuckle.data.augment import LUMA, Augmentation, apply_pixels, draw_geometry

EVERYTHING = Augmentation(
    mirror=0.5,
    rotation=30,
    scale=(0.8, 1.2),
    shift=0.1,
    occluders=3,
    brightness=0.3,
    contrast=0.3,
    saturation=0.5,
    hue=30,
    channel_gain=0.1,
    grey=0.2,
    blur=2,
    noise=10,
    jpeg_quality=30,
)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture() -> NDArray[np.uint8]:
    noise = generator(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2).astype(np.float64)
    stretched: NDArray[np.float64] = 40 + (smooth - smooth.min()) / np.ptp(smooth) * 170
    return stretched.astype(np.uint8)


def grey_of(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    grey: NDArray[np.float64] = image.astype(np.float64) @ LUMA
    return grey


def test_none_changes_nothing() -> None:
    for seed in range(20):
        drawn = draw_geometry(Augmentation.none(), generator(seed))
        assert drawn == {"rotation": 0, "scale": 1, "shift": (0, 0), "mirror": False}
        np.testing.assert_array_equal(apply_pixels(picture(), Augmentation.none(), generator(seed)), picture())


def test_mmpose_draws_the_published_distributions() -> None:
    # RandomBBoxTransform of MMPose 1.x: SciPy's normal truncated at -1 and 1, times the factor.
    n, rng = 4000, generator()
    drawn = [draw_geometry(Augmentation.mmpose(shift=0.16), rng) for _ in range(n)]
    rotation = np.array([each["rotation"] for each in drawn])
    scale = np.array([each["scale"] for each in drawn])
    shift = np.array([each["shift"] for each in drawn])
    mirror = np.array([each["mirror"] for each in drawn])
    moved = (shift != 0).all(axis=1)
    for share, probability in ((rotation != 0, 0.6), (moved, 0.3), (mirror, 0.5), (scale != 1, 1.0)):
        assert abs(share.mean() - probability) <= 4 * np.sqrt(probability * (1 - probability) / n)
    truth = scipy.stats.truncnorm(-1, 1)
    for values in (rotation[rotation != 0] / 180, (scale - 1) / 0.3, shift[moved, 0] / 0.16, shift[moved, 1] / 0.16):
        assert scipy.stats.kstest(values, truth.cdf).pvalue > 1e-3
    assert (shift[~moved] == 0).all()
    assert abs(np.corrcoef(shift[moved].T)[0, 1]) < 0.15


def test_mmpose_leaves_the_pixels_alone() -> None:
    np.testing.assert_array_equal(apply_pixels(picture(), Augmentation.mmpose(), generator()), picture())


CHANGES: dict[str, Augmentation] = {
    "occluders": Augmentation(occluders=2),
    "brightness": Augmentation(brightness=0.4),
    "contrast": Augmentation(contrast=0.5),
    "saturation": Augmentation(saturation=0.5),
    "hue": Augmentation(hue=60),
    "channel gain": Augmentation(channel_gain=0.3),
    "grey": Augmentation(grey=1.0),
    "blur": Augmentation(blur=3),
    "noise": Augmentation(noise=30),
    "jpeg": Augmentation(jpeg_quality=10),
    "everything": EVERYTHING,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_shows_and_comes_from_the_generator_alone(name: str) -> None:
    before = picture()
    first, again, other = (apply_pixels(before, CHANGES[name], generator(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(before, picture())
    assert first.dtype == np.uint8
    assert first.shape == before.shape
    assert not np.array_equal(first, before)
    np.testing.assert_array_equal(first, again)
    assert name == "grey" or not np.array_equal(first, other)


@pytest.mark.parametrize(
    "rare",
    [
        Augmentation(occluders=2, occluder_size=(0.3, 0.6), occluder_probability=0.25),
        Augmentation(brightness=0.5, color_probability=0.25),
        Augmentation(blur=3, blur_probability=0.25),
        Augmentation(noise=30, noise_probability=0.25),
        Augmentation(jpeg_quality=10, jpeg_probability=0.25),
        Augmentation(grey=0.25),
    ],
    ids=str,
)
def test_a_probability_is_the_share_of_changed_samples(rare: Augmentation) -> None:
    image, rng = picture(), generator()
    changed = [not np.array_equal(apply_pixels(image, rare, rng), image) for _ in range(400)]
    assert 0.16 < np.mean(changed) < 0.34


def test_brightness_adds_the_same_to_every_value() -> None:
    changes = set()
    for seed in range(30):
        after = apply_pixels(picture(), Augmentation(brightness=0.15), generator(seed)).astype(int)
        difference = after - picture()
        assert np.ptp(difference) <= 1
        changes.add(round(float(difference.mean())))
    assert min(changes) < -25
    assert max(changes) > 25
    assert max(map(abs, changes)) <= 0.15 * 255 + 1


def test_contrast_keeps_middle_grey() -> None:
    middle = np.full((8, 8, 3), 127, dtype=np.uint8)
    after = apply_pixels(middle, Augmentation(contrast=0.8), generator())
    assert np.abs(after.astype(int) - 127).max() <= 1


@pytest.mark.parametrize("augmentation", [Augmentation(hue=180), Augmentation(saturation=0.5)])
def test_hue_and_saturation_keep_luma_and_grey(augmentation: Augmentation) -> None:
    # Pale colours, so that none is clipped.
    pale = (128 + (picture().astype(int) - 128) // 4).astype(np.uint8)
    grey = np.repeat(pale[..., :1], 3, axis=2)
    for seed in range(10):
        after = apply_pixels(pale, augmentation, generator(seed))
        np.testing.assert_allclose(grey_of(after), grey_of(pale), atol=1.5)
        np.testing.assert_allclose(apply_pixels(grey, augmentation, generator(seed)).astype(int), grey, atol=1)


def test_channel_gain_multiplies_each_channel() -> None:
    after = apply_pixels(picture(), Augmentation(channel_gain=0.2), generator(1)).astype(float)
    ratios = (after / picture()).reshape(-1, 3)
    gains = np.median(ratios, axis=0)
    assert np.ptp(gains) > 0.02
    assert (np.abs(gains - 1) < 0.21).all()
    np.testing.assert_allclose(after, picture() * gains, atol=1.5)


def test_grey_gives_three_equal_channels_of_the_same_luma() -> None:
    after = apply_pixels(picture(), Augmentation(grey=1), generator())
    np.testing.assert_array_equal(after[..., 0], after[..., 1])
    np.testing.assert_array_equal(after[..., 0], after[..., 2])
    np.testing.assert_allclose(after[..., 0].astype(float), grey_of(picture()), atol=1)


def test_noise_has_no_bias_and_at_most_the_deviation_asked_for() -> None:
    flat = np.full((64, 64, 3), 128, dtype=np.uint8)
    spreads = []
    for seed in range(40):
        noise = apply_pixels(flat, Augmentation(noise=20), generator(seed)).astype(float) - 128
        spreads.append(noise.std())
        assert abs(noise.mean()) < 1
    assert max(spreads) < 20.5
    assert max(spreads) > 17
    assert min(spreads) < 4


def test_blur_smooths_and_keeps_the_mean() -> None:
    after = apply_pixels(picture(), Augmentation(blur=4), generator(2)).astype(float)
    assert np.abs(np.diff(after, axis=1)).mean() < 0.8 * np.abs(np.diff(picture().astype(float), axis=1)).mean()
    assert abs(after.mean() - picture().mean()) < 2


def test_occluders_cover_about_the_size_asked_for() -> None:
    flat = np.full((100, 100, 3), 128, dtype=np.uint8)
    sizes = Augmentation(occluders=1, occluder_size=(0.3, 0.3))
    covered = [(apply_pixels(flat, sizes, generator(seed)) != 128).any(axis=-1).mean() for seed in range(100)]
    # A square of 0.3 covers 0.09; an ellipse pi / 4 of it; both reach over the crop's edges.
    assert max(covered) <= 0.11
    assert 0.04 < np.mean(covered) < 0.09


WRONG: list[dict[str, Any]] = [
    {"mirror": 1.5},
    {"mirror": float("nan")},
    {"rotation": -1},
    {"rotation": 181},
    {"rotation_probability": -0.1},
    {"scale": (1.3, 0.7)},
    {"scale": (0.0, 1.0)},
    {"shift": float("inf")},
    {"occluders": -1},
    {"occluder_size": (0.5, float("inf"))},
    {"brightness": 2},
    {"color_probability": 7},
    {"blur": -2},
    {"noise": float("nan")},
    {"jpeg_quality": 0},
    {"jpeg_quality": 101},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_an_impossible_value_is_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"augmentation: {next(iter(wrong))} must be") as caught:
        Augmentation(**wrong)
    assert str(caught.value).endswith(".")


def test_all_fields_are_plain_values() -> None:
    for name, value in asdict(EVERYTHING).items():
        assert isinstance(value, float | int | tuple), name
    assert Augmentation(**asdict(EVERYTHING)) == EVERYTHING
