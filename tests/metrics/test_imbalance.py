"""Balance against SciPy's chi-square, rank correlation against SciPy's Spearman."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from knuckle.metrics import balance, rank_correlation

COUNTS = st.lists(st.integers(0, 1000), min_size=2, max_size=25)


@given(COUNTS)
def test_chi_square_is_scipys(counts: list[int]) -> None:
    assume(sum(counts))
    found, oracle = balance(counts), stats.chisquare(counts)
    assert (found.chi_square, found.p) == pytest.approx((oracle.statistic, oracle.pvalue), rel=1e-9, abs=1e-12)


@given(COUNTS)
def test_effective_classes_lie_between_one_and_the_number_of_classes_present(counts: list[int]) -> None:
    assume(sum(counts))
    found = balance(counts)
    assert found.shares.sum() == pytest.approx(1)
    assert 1 - 1e-9 <= found.effective_classes <= np.count_nonzero(counts) + 1e-9


def test_effective_classes_by_hand() -> None:
    assert balance([20] * 25).effective_classes == pytest.approx(25)
    assert balance([7, 0, 0]).effective_classes == 1
    assert balance([1, 3]).effective_classes == pytest.approx(1 / (1 / 16 + 9 / 16))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=25))
def test_rho_is_spearmans_with_ties(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs).T
    assume(len(set(x)) > 1 and len(set(y)) > 1)
    assert rank_correlation(x, y, resamples=99).rho == pytest.approx(stats.spearmanr(x, y).statistic)


def test_p_of_few_classes_is_over_all_orders() -> None:
    x, y = [0.1, 0.2, 0.3, 0.4, 0.5], [9.0, 7.0, 8.0, 3.0, 2.0]
    rhos = [abs(stats.spearmanr(x, order).statistic) for order in itertools.permutations(y)]
    expected = np.mean(np.array(rhos) >= rhos[0] - 1e-12)
    assert 0 < expected < 0.2
    assert rank_correlation(x, y).p == expected


def test_p_of_many_classes_is_near_spearmans_approximation() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(25))
    errors = 5 - 20 * shares + rng.normal(0, 1.5, 25)
    oracle = stats.spearmanr(shares, errors)
    found = rank_correlation(shares, errors)
    assert oracle.statistic < 0
    assert 0.001 < oracle.pvalue < 0.3
    assert found.p == pytest.approx(oracle.pvalue, rel=0.15)
    assert rank_correlation(shares, errors).p == found.p
    assert rank_correlation(np.exp(shares), errors).p == found.p  # only ranks count


def test_equal_shares_show_no_relation() -> None:
    found = rank_correlation([0.04] * 5, [1.0, 2, 3, 4, 5])
    assert math.isnan(found.rho)
    assert found.p == 1.0


def test_unfit_input_is_refused() -> None:
    with pytest.raises(ValueError, match="not all 0"):
        balance([0, 0])
    with pytest.raises(ValueError, match="not all 0"):
        balance([3, -1])
    with pytest.raises(ValueError, match="3 classes or more"):
        rank_correlation([1, 2], [1, 2])
    with pytest.raises(ValueError, match="resamples"):
        rank_correlation([1, 2, 3], [1, 2, 3], resamples=0)
