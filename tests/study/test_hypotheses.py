"""The frames of both hypotheses against sums by hand, from predictions whose errors are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike

from knuckle.hands import Hands
from knuckle.study.hypotheses import AUC_RULE, h1_frame, h2_frame, scores
from tests.study.labels import labeled_hands


def moved(true: Hands, px: ArrayLike) -> Hands:
    """Predictions that are off by so many pixels to the right, one number a hand."""
    offset = np.zeros((len(true), 1, 2))
    offset[:, 0, 0] = px
    return true.replace(xy=true.xy.astype(np.float64) + offset)


def auc_of(px: float) -> float:
    """MMPose's AUC of hands that are all off by so much: the share of 0, 1.5, ... 28.5 px that lies above."""
    return sum(1.5 * step > px for step in range(20)) / 20


def sets(
    base_px: ArrayLike, own_px: ArrayLike, base_classes: list[int], own_classes: list[int]
) -> tuple[Hands, Hands, Hands, Hands]:
    """Predictions and truth of base and own hands, in folders of their own."""
    base = labeled_hands([f"b{n}" for n in range(len(base_classes))], base_classes, seed=1)
    own = labeled_hands([f"o{n}" for n in range(len(own_classes))], own_classes, seed=2).replace(root="elsewhere")
    return moved(base, base_px), base, moved(own, own_px), own


def test_the_first_hypothesis_by_hand() -> None:
    # 500 and 50 hands as in the paper, off by 2 px, and 10 px but for five hands that are off by 50.
    own_px = np.full(50, 10.0)
    own_px[:5] = 50.0
    found = h1_frame(*sets(2.0, own_px, [n % 25 for n in range(500)], [n % 25 for n in range(50)]))
    assert (found.base.hands, found.both.hands) == (500, 550)
    assert found.base.auc == pytest.approx(auc_of(2))
    assert found.both.auc == pytest.approx((500 * auc_of(2) + 45 * auc_of(10) + 5 * auc_of(50)) / 550)
    assert found.both.epe == pytest.approx((500 * 2 + 45 * 10 + 5 * 50) / 550, abs=1e-4)
    assert found.base.pck == 1
    assert found.both.pck == pytest.approx(545 / 550)  # 50 px is beyond 44.8
    assert found.difference["epe"] == pytest.approx(found.both.epe - 2, abs=1e-4)
    assert found.difference["auc"] < 0
    base, both, difference = found.rows()
    assert (base["set"], both["set"], difference["set"]) == ("base", "base + own", "difference")
    assert difference["hands"] == 50
    assert difference["pck"] == pytest.approx(-5 / 550)


def test_pck_is_that_of_mmpose_s_224_pixel_box() -> None:
    true = labeled_hands([str(n) for n in range(4)])
    assert scores(moved(true, [44.0, 44.7, 44.9, 46.0]), true).pck == pytest.approx(0.5)


def test_the_second_hypothesis_by_hand() -> None:
    classes = [0, 6, 7, 8, 9]
    base_classes = [gesture for gesture in classes[:4] for _ in range(5)]
    own_classes = [gesture for gesture in (0, 6, 7, 9) for _ in range(2)]
    # Base 2 px. Own: as good, much worse, better than base (which gets 25 px in class 7), and a class without base.
    base_px = np.where(np.array(base_classes) == 7, 25.0, 2.0)
    own_px = [2.0, 2.0, 20.0, 20.0, 1.0, 1.0, 5.0, 5.0]
    found = h2_frame(*sets(base_px, own_px, base_classes, own_classes), classes=classes)
    assert [row.gesture for row in found.rows] == classes
    assert [row.finding for row in found.rows] == ["within", "lower", "higher", "no own hand", "no base hand"]
    assert all(math.isnan(value) for row in found.rows[3:] for value in row.difference.values())
    fist = found.rows[1]
    assert (fist.base.hands, fist.both.hands) == (5, 7)
    assert fist.base.auc == pytest.approx(auc_of(2))
    assert fist.both.auc == pytest.approx((5 * auc_of(2) + 2 * auc_of(20)) / 7)
    assert fist.difference["epe"] == pytest.approx((5 * 2 + 2 * 20) / 7 - 2, abs=1e-4)
    record = fist.record()
    assert (record["class"], record["name"], record["base_hands"], record["own_hands"]) == (6, "fist", 5, 2)
    assert record["auc_difference"] == pytest.approx(2 / 7 * (auc_of(20) - auc_of(2)))
    assert record["auc_difference"] == pytest.approx(record["auc_base_own"] - record["auc_base"])
    assert [row.name for row in found.affected("lower")] == ["6 fist"]
    verdict = found.verdict()
    assert "2 of 3 classes are affected: 1 lower (6 fist), 1 higher (7 thumb_up)" in verdict
    assert "supports the hypothesis" in verdict


def test_a_difference_of_exactly_the_rule_is_within_it() -> None:
    # One base hand at 2 px (AUC 0.9) and one own hand at 5 px (0.8): the mean is lower by exactly 0.05.
    found = h2_frame(*sets(2.0, 5.0, [6], [6]), classes=[6])
    assert found.rows[0].difference["auc"] == pytest.approx(-AUC_RULE)
    assert found.rows[0].finding == "within"
    assert "0 of 1 classes are affected: 0 lower, 0 higher. That does not support" in found.verdict()
    (more,) = h2_frame(*sets(2.0, 6.5, [6], [6]), classes=[6]).rows
    assert more.finding == "lower"


def test_the_gesture_is_the_truth_s() -> None:
    base_pred, base, own_pred, own = sets(2.0, 2.0, [6], [6])
    found = h2_frame(base_pred.replace(gesture=[3]), base, own_pred.replace(gesture=[-1]), own)
    assert [row.gesture for row in found.rows if row.both.hands] == [6]
    assert len(found.rows) == 25


def test_nothing_to_compare_is_said() -> None:
    base_pred, base, own_pred, own = sets(2.0, 2.0, [6], [6])
    none = own[:0]
    with pytest.raises(ValueError, match="there is no own hand"):
        h1_frame(base_pred, base, none, none)
    with pytest.raises(ValueError, match="there is no base hand"):
        h1_frame(none, none, own_pred, own)
    assert "so the rule says nothing" in h2_frame(base_pred, base, none, none).verdict()
