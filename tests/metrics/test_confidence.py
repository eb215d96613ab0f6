"""Reliability and calibration error: nothing for honest confidence, the bias for a biased one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knuckle.metrics.confidence import box_side, expected_calibration_error, is_close, reliability
from tests.metrics.stated import SIDE, stated


def test_honest_confidence_has_no_calibration_error() -> None:
    """Of the keypoints at 0.05, 0.15, ... exactly that share is close."""
    confidence = np.repeat((np.arange(10) + 0.5) / 10, 200)
    close = np.tile(np.arange(200), 10) < np.rint(confidence * 200)
    bins = reliability(confidence, close)
    assert [own.keypoints for own in bins] == [200] * 10
    assert expected_calibration_error(bins) == pytest.approx(0, abs=1e-12)


def test_drawn_honestly_the_error_is_that_of_drawing() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(50_000)
    bins = reliability(confidence, rng.random(50_000) < confidence)
    assert expected_calibration_error(bins) < 0.015
    assert [own.confidence for own in bins] == pytest.approx((np.arange(10) + 0.5) / 10, abs=0.01)


@pytest.mark.parametrize(("stated_as", "is_so", "error"), [(1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.8, 0.5, 0.3)])
def test_a_bias_is_the_calibration_error(stated_as: float, is_so: float, error: float) -> None:
    close = np.arange(100) < is_so * 100
    assert expected_calibration_error(reliability(np.full(100, stated_as), close)) == pytest.approx(error)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_every_keypoint_is_in_the_bin_that_holds_it(rows: list[tuple[float, bool]]) -> None:
    confidence, close = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    bins = reliability(confidence, close)
    assert sum(own.keypoints for own in bins) == len(rows)
    assert sum(own.keypoints * own.close for own in bins) == pytest.approx(close.sum())
    for own in bins:
        assert own.low - 1e-12 <= own.confidence <= own.high + 1e-12
    assert 0 <= expected_calibration_error(bins) <= 1


def test_close_is_within_a_twentieth_of_the_predictions_box() -> None:
    pred, true = stated(2)
    near, far = np.array([3.0, 0.99 * 0.05 * SIDE - 3.0]), np.array([0.0, 1.01 * 0.05 * SIDE])
    pred = pred.replace(xy=true.xy + np.where(np.arange(21)[:, None] < 7, near * [0, 1], far))
    assert box_side(pred).tolist() == [SIDE, SIDE]
    assert is_close(pred, true).tolist() == [[True] * 7 + [False] * 14] * 2
    large = pred.replace(box=np.tile([0.0, 0.0, 2 * SIDE, 1.0], (2, 1)))
    assert is_close(large, true).all(), "its own box counts, not the truth's"
    unlabeled = true.replace(visibility=np.zeros((2, 21)))
    assert not is_close(pred, unlabeled).any()
