from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knuckle.data.splits import split_by_group
from knuckle.hands import Hands

PARTS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def hands_in_groups(groups: list[int]) -> Hands:
    n = len(groups)
    return Hands(image=["a.jpg"] * n, xy=np.zeros((n, 21, 2)), visibility=np.full((n, 21), 2), group=groups)


@given(st.lists(st.integers(-5, 20), min_size=3, max_size=200), st.integers(0, 5))
def test_every_hand_lands_in_one_part_and_no_group_is_divided(groups: list[int], seed: int) -> None:
    if len(set(groups)) < 3:
        groups = [*groups, 100, 101, 102]
    parts = split_by_group(hands_in_groups(groups), PARTS, seed)
    assert list(parts) == list(PARTS)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(groups)))
    found = [set(np.array(groups)[rows].tolist()) for rows in parts.values()]
    assert all(found)
    assert sum(map(len, found)) == len(set(groups))
    for rows in parts.values():
        assert (np.diff(rows) > 0).all()


@given(st.lists(st.integers(1, 30), min_size=20, max_size=60), st.integers(0, 3))
def test_parts_are_as_large_as_the_largest_group_allows(sizes: list[int], seed: int) -> None:
    hands = hands_in_groups(np.repeat(np.arange(len(sizes)), sizes).tolist())
    for name, rows in split_by_group(hands, PARTS, seed).items():
        assert abs(len(rows) - PARTS[name] * len(hands)) <= max(sizes)


def test_equal_groups_are_split_exactly_as_in_mmpose_freihand() -> None:
    hands = hands_in_groups(list(range(3256)) * 4)
    parts = split_by_group(hands, {"train": 0.8, "validation": 0.1, "test": 0.1})
    assert [len(rows) for rows in parts.values()] == [10420, 1304, 1300]


def test_the_seed_decides() -> None:
    hands = hands_in_groups(list(range(100)))
    first, again, other = (split_by_group(hands, PARTS, seed)["train"].tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_groups_are_dealt_out_at_random() -> None:
    hands = hands_in_groups(np.arange(1000).tolist())
    test = split_by_group(hands, PARTS, seed=4)["test"]
    assert 400 < test.mean() < 600
    assert test.std() > 200


@pytest.mark.parametrize(
    ("fractions", "reason"),
    [
        ({}, "add up to 1"),
        ({"a": 0.5, "b": 0.6}, "add up to 1, got a 0.5, b 0.6"),
        ({"a": 1.0, "b": 0.0}, "above 0"),
        ({"a": 1.5, "b": -0.5}, "above 0"),
        ({"a": float("nan")}, "above 0"),
    ],
)
def test_wrong_fractions_are_refused(fractions: Mapping[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        split_by_group(hands_in_groups([1, 2, 3]), fractions)


@pytest.mark.parametrize("groups", [[], [1], [1, 1, 1, 2]])
def test_too_few_groups_are_refused(groups: list[int]) -> None:
    with pytest.raises(ValueError, match=r"groups cannot be split into 3 parts \(train, validation, test\)"):
        split_by_group(hands_in_groups(groups), PARTS)
