"""Average precision: an example worked by hand, the definition restated, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knuckle.metrics.detection import Found, precision_recall

HAND = (0.0, 0.0, 10.0, 10.0)
OTHER = (40.0, 40.0, 60.0, 60.0)
NOWHERE = (80.0, 0.0, 90.0, 10.0)


def boxes(*rows: tuple[float, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(rows, dtype=np.float32).reshape(-1, 4)


def found(*rows: tuple[tuple[float, ...], float]) -> Found:
    return boxes(*(box for box, _ in rows)), np.array([score for _, score in rows], dtype=np.float32)


def test_an_example_worked_by_hand() -> None:
    """Scores 0.9 right, 0.8 wrong (nowhere), 0.7 right, 0.6 wrong (a hand found twice); one hand of three is missed."""
    pictures = [found((HAND, 0.9), (NOWHERE, 0.8), (HAND, 0.6)), found((OTHER, 0.7)), found()]
    truth = [boxes(HAND), boxes(OTHER), boxes(HAND)]
    curve = precision_recall(pictures, truth)
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 2 / 4])
    np.testing.assert_allclose(curve.recall, np.array([1, 1, 2, 2]) / 3)
    assert curve.average_precision == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    precision, recall, wrong = curve.at(0.65)
    assert (precision, recall, wrong) == pytest.approx((2 / 3, 2 / 3, 1 / 3))
    assert curve.at(0.95) == pytest.approx((float("nan"), 0, 0), nan_ok=True)


def test_overlap_decides_from_half_on() -> None:
    half = (0.0, 0.0, 5.0, 10.0)
    assert precision_recall([found((half, 1.0))], [boxes(HAND)]).average_precision == 1
    assert precision_recall([found(((0.0, 0.0, 4.9, 10.0), 1.0))], [boxes(HAND)]).average_precision == 0
    assert precision_recall([found((half, 1.0))], [boxes(HAND)], least_iou=0.6).average_precision == 0


def test_a_surer_box_takes_the_hand_that_it_overlaps_most() -> None:
    """The second box could have the first hand only, which is taken: two boxes, two hands, one right."""
    near = (0.0, 0.0, 12.0, 10.0)
    curve = precision_recall([found((HAND, 0.9), (near, 0.5))], [boxes(HAND, OTHER)])
    assert curve.recall.tolist() == [0.5, 0.5]


def test_pictures_without_hands_count_false_boxes() -> None:
    curve = precision_recall([found((HAND, 0.9)), found((HAND, 0.3)), found()], [boxes()] * 3)
    assert np.isnan(curve.average_precision)
    assert curve.at(0.5)[2] == pytest.approx(1 / 3)
    assert curve.at(0.1)[2] == pytest.approx(2 / 3)


def test_pictures_must_agree() -> None:
    with pytest.raises(ValueError, match="1 pictures cannot be compared with the hands of 2"):
        precision_recall([found()], [boxes(), boxes()])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1000)), min_size=1, max_size=30, unique_by=lambda row: row[1]))
def test_it_is_the_mean_of_the_best_precision_at_each_hand(rows: list[tuple[bool, int]]) -> None:
    """A picture a box; right ones lie on their hand. AP is the mean over hands of the best precision from there."""
    pictures = [found((HAND if right else NOWHERE, score / 1000)) for right, score in rows]
    hits = [right for right, _ in sorted(rows, key=lambda row: -row[1])]
    precisions = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    expected = sum(max(precisions[n:]) for n, hit in enumerate(hits) if hit) / len(rows)
    curve = precision_recall(pictures, [boxes(HAND)] * len(rows))
    assert curve.average_precision == pytest.approx(expected)
    doubled = [(box, score / 2) for box, score in pictures]
    assert precision_recall(doubled, [boxes(HAND)] * len(rows)).average_precision == pytest.approx(expected)
