"""Predictions that are listed in another order, or not at all, find their hands or are refused."""

from __future__ import annotations

import numpy as np
import pytest

from knuckle.hands import LEFT, RIGHT, UNKNOWN, Hands
from knuckle.metrics import epe
from knuckle.metrics.matching import box_iou, match


def table(image: list[str], corners: list[tuple[float, float]]) -> Hands:
    """Hands of 20 x 20 px whose boxes start at the given corners."""
    grid = np.stack(np.meshgrid(np.linspace(0, 20, 3), np.linspace(0, 20, 7)), axis=-1).reshape(21, 2)
    return Hands(image=image, xy=grid + np.array(corners).reshape(-1, 1, 2), visibility=np.full((len(image), 21), 2))


TRUE = table(["a", "b", "b", "c"], [(0, 0), (0, 0), (100, 0), (50, 50)])


def test_the_same_images_in_order_stay_as_they_are() -> None:
    pred = TRUE.replace(xy=TRUE.xy + 300, box=TRUE.box + 300)
    matched, notes = match(pred, TRUE)
    assert np.array_equal(matched.xy, pred.xy)
    assert notes == []


def test_another_order_is_put_right_by_image_and_overlap() -> None:
    order = [2, 3, 1, 0]
    pred = TRUE.replace(xy=TRUE.xy + 1, box=TRUE.box + 1, score=np.array([0.1, 0.2, 0.3, 0.4]))[order]
    matched, notes = match(pred, TRUE)
    assert notes == []
    assert epe(matched, TRUE) == pytest.approx(np.sqrt(2))
    assert matched.score is not None
    assert matched.score.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert np.array_equal(matched.image, TRUE.image)


def test_a_single_prediction_belongs_to_the_single_hand_whatever_its_box() -> None:
    frame = np.where(np.arange(4)[:, None] == 3, (0, 0, 640, 480), TRUE.box)
    pred = TRUE.replace(box=frame)[[3, 0, 1, 2]]
    matched, _ = match(pred, TRUE)
    assert epe(matched, TRUE) == 0


def test_missing_and_surplus_predictions_are_counted() -> None:
    pred = table(["z", "b", "b", "a"], [(0, 0), (101, 0), (500, 500), (0, 0)])
    matched, notes = match(pred, TRUE)
    assert matched.labeled.any(axis=1).tolist() == [True, False, True, False]
    assert notes == [
        "Predictions left out because the truth does not list their image: 1.",
        "Predictions left out because they match no true hand of their image: 1.",
        "Hands without a prediction, which count as missing: 2.",
    ]


def test_a_hand_without_a_prediction_borrows_nothing_of_another() -> None:
    told = {"score": np.array([0.9, 0.8]), "side": [LEFT, RIGHT], "side_probability": np.array([0.7, 0.6])}
    pred = table(["a", "b"], [(0, 0), (101, 0)]).replace(confidence=np.full((2, 21), 0.5), **told)
    matched, _ = match(pred, TRUE.replace(side=[LEFT] * 4, side_probability=np.ones(4)))
    assert matched.score is not None
    assert matched.score.tolist() == pytest.approx([0.9, 0, 0.8, 0])
    assert matched.side.tolist() == [LEFT, UNKNOWN, RIGHT, UNKNOWN]
    assert matched.side_probability is not None
    np.testing.assert_allclose(matched.side_probability, [0.7, np.nan, 0.6, np.nan], rtol=1e-6)
    assert matched.confidence is not None
    assert np.isnan(matched.confidence).all(axis=1).tolist() == [False, True, False, True]
    missing, _ = match(Hands.empty(), TRUE.replace(side_probability=np.ones(4)))
    assert missing.side_probability is None


def test_no_predictions_at_all_are_all_missing() -> None:
    matched, notes = match(Hands.empty(), TRUE)
    assert not matched.labeled.any()
    assert notes == ["Hands without a prediction, which count as missing: 4."]


def test_two_hands_that_claim_one_prediction_are_refused() -> None:
    true = table(["a", "a"], [(0, 0), (2, 0)])
    with pytest.raises(ValueError, match=r"two hands of a overlap the same predicted box"):
        match(table(["a"], [(1, 0)]), true)


def test_tables_without_a_common_image_are_refused() -> None:
    with pytest.raises(ValueError, match=r"share no image: the first ones are x\.jpg and a"):
        match(table(["x.jpg"], [(0, 0)]), TRUE)


def test_images_may_be_named_from_another_root() -> None:
    true = TRUE.replace(root="data")
    pred = TRUE.replace(image=[f"data/{name}" for name in TRUE.image])[::-1]
    matched, _ = match(pred, true)
    assert epe(matched, true) == 0


def test_box_iou() -> None:
    a = np.array([[0, 0, 2, 2], [0, 0, 0, 0], [np.nan] * 4])
    b = np.array([[1, 0, 3, 2], [0, 0, 2, 2], [5, 5, 6, 6]])
    assert box_iou(a, b).tolist() == [[pytest.approx(1 / 3), 1.0, 0.0], [0.0] * 3, [0.0] * 3]
