"""Sides and scores against labels: shares, what does not count, ranks and calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from knuckle.hands import Hands
from knuckle.metrics.recognition import area_under_roc, recognition, refusal


def hands(count: int, **columns: Any) -> Hands:
    xy = np.random.default_rng(0).uniform(0, 50, (count, 21, 2))
    group = np.arange(count) // 2
    return Hands(image=["a.png"] * count, xy=xy, visibility=np.full((count, 21), 2), group=group, **columns)


def test_shares_are_of_what_is_labelled_and_stated() -> None:
    true = hands(6, side=[0, 1, 0, 1, -1, 1])
    stated = [0.95, 0.85, 0.75, np.nan, 0.95, 0.65]
    pred = hands(6, side=[0, 0, 0, -1, 0, 1], side_probability=stated, score=[0.9, 0.5, 0.4, 0.1, np.nan, 1])
    found = recognition(pred, true)
    assert found is not None
    assert (found.hands, found.sided) == (5, 4)  # row 3 has no side, row 4 no label and no score
    assert found.found is not None
    assert found.right is not None
    assert found.found.estimate == pytest.approx(3 / 5)
    assert found.right.estimate == pytest.approx(3 / 4)
    # Each of the four stands alone in its bin.
    assert found.side_calibration_error == pytest.approx((0.05 + 0.85 + 0.25 + 0.35) / 4)


def test_sides_without_a_probability_may_be_the_labels_own() -> None:
    true = hands(4, side=[0, 1, 0, 1])
    assert recognition(true, true) is None
    only_score = recognition(true.replace(score=np.ones(4)), true)
    assert only_score is not None
    assert (only_score.right, only_score.side_calibration_error, only_score.sided) == (None, None, 0)


def test_intervals_resample_groups() -> None:
    true = hands(80, side=np.zeros(80))
    pred = true.replace(side=np.arange(80) < 16, side_probability=np.full(80, 0.8))
    together, alone = recognition(pred, true), recognition(pred, true.replace(group=np.arange(80)))
    assert together is not None
    assert together.right is not None
    assert alone is not None
    assert alone.right is not None
    assert together.right.low < alone.right.low < 0.8 < alone.right.high


def test_ranks_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 9, 40) / 9, rng.integers(0, 7, 30) / 9
    pairs = positive[:, None] - negative
    assert area_under_roc(positive, negative) == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean())


def test_crops_without_a_hand() -> None:
    found = refusal(np.array([0.05, 0.05, 0.65, 0.25]), np.array([0.95, 0.95]), np.array([0, 0, 1, 2]))
    assert (found.crops, found.pictures) == (4, 3)
    assert found.refused.estimate == pytest.approx(0.75)
    assert found.ranked == 1
    # Half of the weight are hands: stated 0.95 of 1; the other half is in three bins of none.
    assert found.calibration_error == pytest.approx(0.5 * 0.05 + 0.25 * 0.05 + 0.125 * (0.65 + 0.25))
