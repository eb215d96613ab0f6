"""Pooling against an analysis of variance, statsmodels' meta-analysis, and a textbook's eight schools."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from knuckle.metrics import between_variance, pooled_differences, shrink

SCHOOLS = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
SCHOOL_ERRORS = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
"""Effects of coaching in eight schools (Rubin, 1981; Gelman et al., Bayesian Data Analysis, table 5.2)."""


def test_two_arms_pool_as_in_students_t_test() -> None:
    rng = np.random.default_rng(0)
    own, base = rng.gamma(2, 6, 4), rng.gamma(2, 3, 9)
    found = pooled_differences([own], [base])
    oracle = stats.ttest_ind(own, base)
    assert found.difference[0] / math.sqrt(found.variance[0]) == pytest.approx(oracle.statistic)
    assert found.freedom == oracle.df == 11


def test_strata_pool_to_the_residual_variance_of_an_analysis_of_variance() -> None:
    rng = np.random.default_rng(1)
    own, base = [rng.normal(c, 2, 2) for c in range(25)], [rng.normal(c, 2, 5) for c in range(25)]
    found = pooled_differences(own, base)
    # F = variance between arms / variance within, so the oracle gives the latter.
    arms = [*own, *base]
    overall = np.concatenate(arms).mean()
    between = sum(len(arm) * (arm.mean() - overall) ** 2 for arm in arms) / (len(arms) - 1)
    assert found.sd**2 == pytest.approx(between / stats.f_oneway(*arms).statistic)
    assert found.freedom == 25 * 5
    assert found.variance == pytest.approx(found.sd**2 * 0.7 * np.ones(25))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning:statsmodels")
@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 30), spread=st.floats(0, 5))
def test_the_variance_between_strata_is_statsmodels(seed: int, count: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    variances = rng.uniform(0.5, 4, count)
    estimates = rng.normal(3, np.sqrt(variances + spread**2))
    oracle = combine_effects(estimates, variances, method_re="chi2").tau2
    assert between_variance(estimates, variances) == pytest.approx(max(0.0, oracle), abs=1e-9)


def test_the_eight_schools_come_out_as_in_the_textbook() -> None:
    """Posterior of the book's section 5.5, against a brute force sum over mu and tau and its printed roundings."""
    found = shrink(SCHOOLS, SCHOOL_ERRORS**2)
    mu, tau = np.meshgrid(np.linspace(-60, 80, 561), np.linspace(0.05, 300, 1500))
    log = sum(stats.norm.logpdf(y, mu, np.hypot(s, tau)) for y, s in zip(SCHOOLS, SCHOOL_ERRORS, strict=True))
    weight = np.exp(log - np.max(log))
    weight /= weight.sum()
    assert found.mean == pytest.approx((weight * mu).sum(), abs=0.05)
    for school in (0, 2, 7):
        keep = tau**2 / (tau**2 + SCHOOL_ERRORS[school] ** 2)
        theta = keep * SCHOOLS[school] + (1 - keep) * mu
        mean = (weight * theta).sum()
        assert found.estimates[school] == pytest.approx(mean, abs=0.05)
        variance = (weight * (keep * SCHOOL_ERRORS[school] ** 2 + (theta - mean) ** 2)).sum()
        assert found.sd[school] == pytest.approx(math.sqrt(variance), rel=0.02)
    assert found.mean == pytest.approx(8, abs=0.5)
    assert found.tau == pytest.approx(5, abs=0.6)
    assert found.estimates[0] == pytest.approx(11, abs=0.6)
    assert between_variance(SCHOOLS, SCHOOL_ERRORS**2) == 0.0


def test_large_true_differences_are_left_alone_and_noise_is_pooled() -> None:
    far = np.array([-100.0, 0, 50, 200, -30])
    assert shrink(far, np.ones(5)).estimates == pytest.approx(far, abs=0.1)
    noise = np.random.default_rng(2).normal(5, 3, 25)
    pooled = shrink(noise, np.full(25, 9.0))
    assert pooled.estimates.std() < 0.5 * noise.std()
    assert pooled.mean == pytest.approx(noise.mean(), abs=0.05)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), shift=st.floats(-100, 100), scale=st.floats(0.1, 10))
def test_units_origins_and_orders_do_not_matter(seed: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    variances = rng.uniform(0.5, 4, 9)
    estimates, order = rng.normal(0, 2, 9), rng.permutation(9)
    before = shrink(estimates, variances)
    after = shrink((scale * estimates + shift)[order], (scale**2 * variances)[order])
    assert after.estimates == pytest.approx((scale * before.estimates + shift)[order], rel=1e-6, abs=1e-6)
    assert after.sd == pytest.approx(scale * before.sd[order], rel=1e-6)
    assert after.tau == pytest.approx(scale * before.tau, rel=1e-6)


@pytest.mark.parametrize("tau", [0.0, 1.0, 3.0])
def test_intervals_of_strata_cover_also_where_nothing_differs_between_them(tau: float) -> None:
    """200 studies of 25 gestures with 5 + 2 photos. With one value of tau plugged in, 0.84 are covered at tau 1."""
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(200):
        truth = rng.normal(4, tau, 25)
        own = [rng.normal(true, 2, 2) for true in truth]
        pooled = pooled_differences(own, list(rng.normal(0, 2, (25, 5))))
        found = shrink(pooled.difference, pooled.variance)
        covered.append(np.abs(found.estimates - truth) <= 1.96 * found.sd)
    assert np.mean(covered) >= 0.91


def test_unfit_input_is_refused() -> None:
    with pytest.raises(ValueError, match="same strata"):
        pooled_differences([], [])
    with pytest.raises(ValueError, match="one finite cluster mean"):
        pooled_differences([[]], [[1.0]])
    with pytest.raises(ValueError, match="two clusters"):
        pooled_differences([[1.0]], [[1.0]])
    with pytest.raises(ValueError, match="2 strata or more"):
        between_variance([1.0], [1.0])
    with pytest.raises(ValueError, match="positive, finite variances"):
        shrink([1.0, 2.0, 3.0], [1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="at least three strata"):
        shrink([1.0, 2.0], [1.0, 1.0])
