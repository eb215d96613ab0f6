"""Holm's correction against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from knuckle.metrics import holm, reachable


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_values_are_those_of_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12, abs=1e-15)


def test_by_hand() -> None:
    """0.01 * 3, then 0.02 * 2 = 0.04, then 0.03 * 1, which may not fall below the one before."""
    assert holm([0.03, 0.01, 0.02]).tolist() == pytest.approx([0.04, 0.03, 0.04])


def test_tests_that_were_not_made_stay_nan_and_do_not_count() -> None:
    adjusted = holm([0.01, np.nan, 0.04])
    assert np.isnan(adjusted[1])
    assert adjusted[[0, 2]].tolist() == pytest.approx([0.02, 0.04])


@pytest.mark.parametrize("p", [[0.1, 1.1], [-0.1], [[0.1]]])
def test_what_is_no_list_of_p_values_is_refused(p: list[float]) -> None:
    with pytest.raises(ValueError, match="p-values"):
        holm(p)


def test_a_test_is_within_reach_if_holm_would_call_it_out_at_its_best() -> None:
    """1/21 is above 0.05 / 3, yet the last step asks for 0.05 alone; two of them meet the step that asks for 0.025."""
    assert reachable([1e-9, 1e-9, 1 / 21]).tolist() == [True, True, True]
    assert reachable([1e-9, 1 / 21, 1 / 21]).tolist() == [True, False, False]
    assert reachable([np.nan, 1 / 21]).tolist() == [False, True]
    assert reachable([]).tolist() == []


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 0.2), st.floats(1, 5)), min_size=1, max_size=10))
def test_what_is_out_of_reach_is_never_called_out(cases: list[tuple[float, float]]) -> None:
    smallest = np.array([p for p, _ in cases])
    found = holm(np.minimum(1, smallest * [factor for _, factor in cases])) <= 0.05
    assert not (found & ~reachable(smallest)).any()
