"""The joint order of a data set: right ones pass, each known wrong one is called by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from examples.drawn_hands import drawn_hand
from knuckle.data.joint_order import GIVEN, KNOWN_ORDERS, joint_distances, judge_order, order_cost, row_quantile
from knuckle.formats import read
from knuckle.hands import Hands
from knuckle.skeleton import FROM_RHD


@pytest.fixture(scope="module")
def clean() -> Hands:
    drawn = [drawn_hand(np.random.default_rng(number), 128) for number in range(40)]
    return table(np.stack([xy for _, xy, _ in drawn]), np.stack([visibility for _, _, visibility in drawn]))


def table(xy: NDArray[np.float32], visibility: NDArray[np.uint8]) -> Hands:
    return Hands(image=[f"{row}.jpg" for row in range(len(xy))], xy=xy, visibility=visibility)


def reordered(hands: Hands, order: tuple[int, ...]) -> Hands:
    """The hands as a data set of that order would list them."""
    rows = np.argsort(order)
    return table(hands.xy[:, rows], hands.visibility[:, rows])


@pytest.mark.parametrize("order", KNOWN_ORDERS.values(), ids=KNOWN_ORDERS)
def test_known_orders_are_permutations(order: tuple[int, ...]) -> None:
    assert sorted(order) == list(range(21))
    assert order != GIVEN


def test_the_right_order_passes(clean: Hands) -> None:
    verdict = judge_order(clean)
    assert not verdict.wrong
    assert verdict.best == ""
    assert verdict.judged == len(clean)


@pytest.mark.parametrize("name", KNOWN_ORDERS)
def test_every_known_wrong_order_is_called_by_its_name(clean: Hands, name: str) -> None:
    verdict = judge_order(reordered(clean, KNOWN_ORDERS[name]))
    assert verdict.wrong
    assert verdict.best == name
    assert verdict.better_in > 0.9


def test_hands_that_miss_the_same_joints_are_judged_by_the_rest(clean: Hands) -> None:
    visibility = clean.visibility.copy()
    visibility[:, [1, 7, 11, 15, 19]] = 0
    partly = table(clean.xy, visibility)
    assert not judge_order(partly).wrong
    assert judge_order(reordered(partly, FROM_RHD)).best == "RHD order (each finger from tip to base)"


def test_too_few_labels_are_not_judged(clean: Hands) -> None:
    tips = np.where(np.isin(np.arange(21), (4, 8)), 2, 0) * np.ones((len(clean), 1))
    verdict = judge_order(table(clean.xy, tips.astype(np.uint8)))
    assert verdict.judged == 0
    assert not verdict.wrong
    assert not judge_order(Hands.empty()).wrong


def test_cost_ignores_place_size_turn_and_mirror(clean: Hands) -> None:
    cosine, sine = np.cos(0.7), np.sin(0.7)
    moved = 3.7 * clean.xy @ np.array([[cosine, sine], [sine, -cosine]], dtype=np.float32) + 40
    cost, other = (order_cost(joint_distances(xy), GIVEN) for xy in (clean.xy, moved))
    np.testing.assert_allclose(cost, other, rtol=1e-4)


def test_distances_are_euclidean_and_nan_where_unlabelled() -> None:
    xy = np.zeros((1, 21, 2), dtype=np.float32)
    xy[0, 3], xy[0, 5] = (3, 4), np.nan
    distances = joint_distances(xy)
    assert distances[0, 0, 3] == 5
    assert np.isnan(distances[0, 5]).all()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.7, 1.0])
def test_row_quantile_is_numpys(share: float) -> None:
    values = np.random.default_rng(0).normal(size=(50, 7))
    values[values > 0.8] = np.nan
    np.testing.assert_allclose(row_quantile(values, share), np.nanquantile(values, share, axis=1), rtol=1e-12)
    assert np.isnan(row_quantile(np.full((1, 3), np.nan), share)).all()
    assert np.isnan(row_quantile(np.empty((2, 0)), share)).all()


def test_real_photos_in_the_right_order_pass(shared_data: Path) -> None:
    """Sixteen of the 21 joints are labelled there."""
    hands = read(shared_data / "photos" / "annotations.json")
    assert not judge_order(hands).wrong
    assert judge_order(reordered(hands, FROM_RHD)).wrong
