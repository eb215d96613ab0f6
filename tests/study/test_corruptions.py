"""The factors: each does what its name says, more of it at each severity, and nothing else."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import UInt8

from knuckle.render.sensor import to_linear
from knuckle.study.corruptions import FACTORS, SEVERITIES, Patch

SIDE = 144
HAND = slice(36, 109)


def a_patch(seed: int = 0, other: bool = False) -> Patch:
    """Something with edges and texture; the keypoints lie in its middle, and a strip lies outside the photo."""
    rng = np.random.default_rng(seed)
    image = np.kron(rng.integers(20, 235, (18, 18, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    inside = np.ones((SIDE, SIDE), dtype=bool)
    inside[:, :6] = False
    image[~inside] = 0
    xy = rng.uniform(39, 105, (21, 2)).astype(np.float32)
    xy[3] = np.nan
    box = np.array([36.0, 36.0, 108.0, 108.0], dtype=np.float32)
    return Patch(image, xy, box, inside, np.full_like(image, 128) if other else None)


def at(name: str, severity: int, patch: Patch, seed: int = 0) -> UInt8[np.ndarray, "s s 3"]:
    return FACTORS[name].at(patch, severity, np.random.default_rng(seed))


@pytest.mark.parametrize("name", FACTORS)
@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_a_change_grows_with_severity_and_follows_from_the_seed(name: str, seed: int) -> None:
    patch = a_patch(seed)
    before = patch.image.copy()
    changes = [np.abs(at(name, severity, patch, seed).astype(float) - patch.image).mean() for severity in SEVERITIES]
    assert changes[0] > 0
    assert changes[-1] > changes[0]
    # A rectangle over another one may change less than the lower one did, and coarse pixels may fall on edges.
    assert all(later > 0.75 * earlier for earlier, later in itertools.pairwise(changes))
    np.testing.assert_array_equal(at(name, 3, patch, seed), at(name, 3, patch, seed))
    np.testing.assert_array_equal(patch.image, before)


@pytest.mark.parametrize("name", FACTORS)
def test_what_the_photo_does_not_hold_stays_black(name: str) -> None:
    patch = a_patch()
    assert (at(name, 5, patch)[~patch.inside] == 0).all()


def test_resolution_leaves_as_many_pixels_along_the_hand_as_it_says() -> None:
    patch = a_patch()
    coarse = at("resolution", 5, patch).astype(float)
    spectrum = np.abs(np.fft.fft2(coarse[:, 6:, 1] - coarse[:, 6:, 1].mean()))
    kept = 16 / 72 / 2  # cycles a pixel that 16 pixels along 72 can hold
    above = np.abs(np.fft.fftfreq(SIDE))[:, None] > 1.6 * kept
    assert (spectrum**2 * above).sum() < 0.02 * (spectrum**2).sum()


def test_exposure_is_a_factor_on_light() -> None:
    patch = a_patch()
    darker, brighter = at("darkness", 1, patch), at("brightness", 2, patch)
    light = to_linear(patch.image)
    np.testing.assert_allclose(to_linear(darker), light / 2, atol=0.006)
    unclipped = light < 0.45
    np.testing.assert_allclose(to_linear(brighter)[unclipped], 2 * light[unclipped], atol=0.02)
    assert (brighter[light > 0.55] == 255).all()


def test_contrast_keeps_the_mean() -> None:
    patch = a_patch()
    flat = at("contrast", 5, patch)
    assert flat[patch.inside].std() == pytest.approx(0.1 * patch.image[patch.inside].std(), rel=0.15)
    luma = np.array([0.299, 0.587, 0.114])
    assert (flat[patch.inside] @ luma).mean() == pytest.approx((patch.image[patch.inside] @ luma).mean(), abs=0.5)


def test_a_tint_keeps_grey_as_bright_and_gives_it_a_colour() -> None:
    grey = a_patch()
    grey.image[grey.inside] = 100
    tinted = at("colour", 3, grey)[grey.inside].astype(float)
    assert (tinted @ np.array([0.299, 0.587, 0.114])).mean() == pytest.approx(100, abs=1)
    assert np.ptp(tinted.mean(axis=0)) > 20


def test_noise_has_its_standard_deviation() -> None:
    grey = a_patch()
    grey.image[grey.inside] = 128
    assert at("noise", 2, grey)[grey.inside].std() == pytest.approx(16, rel=0.05)


def test_a_known_background_is_mixed_in_as_given() -> None:
    patch = a_patch(other=True)
    assert patch.other is not None
    expected = np.where(patch.inside[..., None], np.rint(patch.image * 0.4 + patch.other * 0.6), 0)
    assert np.abs(at("background", 3, patch) - expected).max() <= 1
    np.testing.assert_array_equal(at("background", 5, patch)[patch.inside], patch.other[patch.inside])


def test_an_unknown_background_leaves_the_hand_alone() -> None:
    patch = a_patch()
    changed = (at("background", 5, patch) != patch.image).any(axis=2)
    for x, y in np.delete(patch.xy, 3, axis=0).round().astype(int):
        assert not changed[y - 1 : y + 2, x - 1 : x + 2].any()
    assert changed[:10, 8:].mean() > 0.9


@pytest.mark.parametrize("severity", SEVERITIES)
def test_occluders_cover_the_share_of_the_box_that_is_stated(severity: int) -> None:
    patch = a_patch()
    inside_box = (at("occlusion", severity, patch) != patch.image).any(axis=2)[HAND, HAND]
    share = FACTORS["occlusion"].levels[severity - 1]
    assert share * 0.97 <= inside_box.mean() <= share + 0.12  # the last rectangle is a tenth of the box


BADLY_DRAWN = {
    "in a corner": ([(85, 85), (95, 90), (90, 100)], (80, 80, 240, 240)),
    "away from its points": ([(200, 210), (230, 220), (210, 250)], (5, 5, 40, 40)),
    "far outside the patch": ([(-900, 3), (950, -20), (4, 2000)], (80, 80, 240, 240)),
    "narrow": ([(10, 10), (12, 14), (300, 300)], (80, 80, 82, 240)),
}


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize(("points", "box"), BADLY_DRAWN.values(), ids=BADLY_DRAWN)
def test_a_box_that_does_not_fit_its_points_is_met_all_the_same(
    name: str, points: list[tuple[int, int]], box: tuple[int, ...]
) -> None:
    image = np.random.default_rng(0).integers(20, 235, (320, 320, 3), dtype=np.uint8)
    xy = np.full((21, 2), np.nan, dtype=np.float32)
    xy[:3] = points
    patch = Patch(image, xy, np.array(box, dtype=np.float32), np.ones((320, 320), dtype=bool))
    changed = at(name, 5, patch)
    np.testing.assert_array_equal(changed, at(name, 5, patch))
    if name == "occlusion":
        left, top, right, bottom = box
        inside = (changed != image).any(axis=2)[top : bottom + 1, left : right + 1]
        assert inside.mean() >= 0.44  # one colour in a hundred is that of the picture


def test_occluders_of_ordinary_hands_are_what_they_were() -> None:
    """A digest from before occluders were bounded: their number does not change what ordinary hands get."""
    digest = hashlib.sha256(b"".join(at("occlusion", severity, a_patch(4), 7).tobytes() for severity in SEVERITIES))
    assert digest.hexdigest()[:16] == "007c59776278fbd5"
