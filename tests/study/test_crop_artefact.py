"""The crop that MMPose's loader cuts out of photos that are not 224 px, against a restatement of its arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.study.crop_artefact import MMPOSE_RULE, assumed_box, assumed_rule, crop_artefact, keypoints_cut_off


def mmpose_crop(xy: np.ndarray, side: float) -> np.ndarray:
    """Crop pixels in MMPose: centre of the box to 112, scale 224 over the padded side."""
    return (xy - side / 2) * (224 / (0.8 * side)) + 112


def test_the_paper_s_photos_by_hand() -> None:
    found = crop_artefact(244)
    assert (found.offset, found.window, found.right_window) == pytest.approx((10, 179.2, 195.2))
    assert found.magnification == pytest.approx(244 / 224)
    assert found.shift == pytest.approx(12.5)  # 10 px at 1.25 crop pixels each
    assert found.margins == pytest.approx((22.4, 42.4))
    assert found.right_margin == pytest.approx(24.4)
    sentence = found.sentence()
    for number in ("244", "179.2", "195.2", "1.089", "10.0", "12.5", "22.4", "42.4", "24.4"):
        assert number in sentence


def test_at_224_pixels_there_is_none() -> None:
    found = crop_artefact(224)
    assert (found.offset, found.shift, found.magnification) == pytest.approx((0, 0, 1))
    assert found.margins == pytest.approx((22.4, 22.4))
    assert "in the middle and at the right scale" in found.sentence()
    with pytest.raises(ValueError, match="at least 1 pixel"):
        crop_artefact(0)


@given(st.integers(50, 1000))
def test_any_size_agrees_with_mmpose(size: int) -> None:
    found = crop_artefact(size)
    middle = np.full(2, size / 2)
    assert found.shift == pytest.approx(float((mmpose_crop(middle, 224) - mmpose_crop(middle, size))[0]), abs=1e-9)
    left, right = (112 + 112 * sign * 0.8 for sign in (-1, 1))
    assert found.margins == pytest.approx((left, size - right))


@pytest.mark.parametrize("rule", [MMPOSE_RULE, CropRule(size=64, frame_padding=0.9, whole_image=True)])
def test_predictions_can_be_cut_the_same_way(rule: CropRule) -> None:
    cut = assumed_rule(rule)
    assert not cut.whole_image
    same, right = cut.around_box(assumed_box(rule)), rule.around_frame((224, 224))
    np.testing.assert_allclose(same.image_to_crop, right.image_to_crop, atol=1e-12)


def test_keypoints_that_leave_the_crop_are_counted() -> None:
    xy = np.full((1, 21, 2), 122.0)
    xy[0, 0] = (205, 122)  # beyond 201.6, within 219.6
    xy[0, 1] = (23, 122)  # within 22.4, beyond 24.4
    xy[0, 2] = (122, 230)  # beyond both
    xy[0, 3] = (500, 500)  # not labelled
    visibility = np.full((1, 21), 2)
    visibility[0, 3] = 0
    hands = Hands(image=["a"], xy=xy, visibility=visibility, size=[(244, 244)])
    assert keypoints_cut_off(hands) == (2, 2)
    xy[0, 1] = (122, 210)
    assert keypoints_cut_off(hands.replace(xy=xy)) == (3, 1)
