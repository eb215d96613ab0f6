"""Balanced draws: exact counts, no group on both sides, the same again by seed or by list; the imbalance table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knuckle.study.design import draw_balanced, first_of_each, imbalance, replay
from knuckle.study.lists import write_lists
from tests.study.labels import labeled_hands


def freihand_like(poses: int = 40, versions: int = 4, classes: int = 5) -> tuple[list[str], list[int], list[int]]:
    """Images, gestures and groups of poses that are each shown on several backgrounds."""
    numbers = range(poses * versions)
    groups = [number % poses for number in numbers]
    return [f"{number:08d}.jpg" for number in numbers], [group % classes for group in groups], groups


@given(per_class=st.integers(1, 32), seed=st.integers(0, 5))
def test_counts_are_exact_and_no_group_is_on_both_sides(per_class: int, seed: int) -> None:
    hands = labeled_hands(*freihand_like())
    rows, rest = draw_balanced(hands, per_class, classes=range(5), seed=seed)
    assert np.bincount(hands.gesture[rows]).tolist() == [per_class] * 5
    assert len(np.unique(rows)) == len(rows)
    assert not set(hands.group[rows].tolist()) & set(hands.group[rest].tolist())
    assert len(rest) == (~np.isin(hands.group, hands.group[rows])).sum()
    # Eight poses a class, four hands each: a second hand of a pose only once every pose has given one.
    for gesture in range(5):
        given_by = np.unique(hands.group[rows[hands.gesture[rows] == gesture]], return_counts=True)[1]
        assert len(given_by) == min(per_class, 8)
        assert given_by.max() - given_by.min() <= 1


def test_the_seed_decides_and_a_smaller_draw_is_the_beginning_of_a_larger_one() -> None:
    hands = labeled_hands(*freihand_like())
    rows = draw_balanced(hands, 7, range(5), seed=3).rows
    assert np.array_equal(rows, draw_balanced(hands, 7, range(5), seed=3).rows)
    assert not np.array_equal(rows, draw_balanced(hands, 7, range(5), seed=4).rows)
    smaller = draw_balanced(hands, 2, range(5), seed=3).rows
    assert np.array_equal(first_of_each(hands, rows, 2), smaller)
    assert np.array_equal(draw_balanced(hands, 2, [4], seed=3).rows, smaller[-2:])


def test_classes_that_are_too_small_are_named() -> None:
    hands = labeled_hands([f"{n}" for n in range(6)], gestures=[6, 6, 6, 1, -1, 24])
    with pytest.raises(ValueError, match=r"1 one_point \(1\), 24 fingers_crossed \(1\); ask for fewer"):
        draw_balanced(hands, 2, [1, 6, 24])
    rows, rest = draw_balanced(hands, 2, [1, 6, 24], at_most=True)
    assert hands.gesture[rows].tolist() == [1, 6, 6, 24]
    assert sorted([*rows.tolist(), *rest.tolist()]) == list(range(6))
    with pytest.raises(ValueError, match="at least 1"):
        draw_balanced(hands, 0)
    with pytest.raises(ValueError, match="some of 0 to 24"):
        draw_balanced(hands, 1, [25])


def test_a_recorded_draw_can_be_replayed_on_unlabelled_hands(tmp_path: Path) -> None:
    images, gestures, groups = freihand_like(poses=10, versions=2)
    hands = labeled_hands(images, gestures, groups)
    rows = draw_balanced(hands, 3, range(5), seed=1).rows
    write_lists(hands, rows, tmp_path)
    again, replayed = replay(labeled_hands(images), tmp_path)
    assert replayed.tolist() == rows.tolist()
    assert again.gesture[rows].tolist() == hands.gesture[rows].tolist()
    assert (np.delete(again.gesture, rows) == -1).all()


def test_a_hand_in_two_lines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c0.txt").write_text("a.jpg\nb.jpg\n")
    (tmp_path / "c1.txt").write_text("c.jpg\na\n")
    with pytest.raises(ValueError, match=r"c1\.txt:2 names a again, after .*c0\.txt:1"):
        replay(labeled_hands(["a.jpg", "b.jpg", "c.jpg"]), tmp_path)


def test_imbalance_by_hand() -> None:
    # 30 fists and 20 open palms: chi-square over 25 classes of 2 expected each.
    hands = labeled_hands([str(n) for n in range(53)], gestures=[6] * 30 + [0] * 20 + [-1] * 3)
    found = imbalance(hands)
    assert (found.counts[0], found.counts[6], sum(found.counts), found.unlabeled) == (20, 30, 50, 3)
    assert found.effective_classes == pytest.approx(1 / (0.6**2 + 0.4**2))
    assert found.chi_square == pytest.approx((28**2 + 18**2 + 23 * 2**2) / 2)
    assert found.p_value < 1e-6
    even = imbalance(labeled_hands([str(n) for n in range(50)], gestures=[n % 25 for n in range(50)]))
    assert (even.effective_classes, even.chi_square, even.p_value) == pytest.approx((25, 0, 1))
    assert np.isnan(imbalance(labeled_hands(["a"])).effective_classes)
