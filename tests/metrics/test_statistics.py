"""Studentised cluster intervals against statsmodels, a bootstrap in a loop, and their promise of coverage."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float64
from scipy import stats

from knuckle.metrics import MIN_GROUPS, cluster_bootstrap, error_sums, sum_by_group
from knuckle.metrics.statistics import resample, student_quantile


def skewed_errors(seed: int, groups: int = 25) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"], Any]:
    """Sums, numbers of labelled keypoints and groups of hands that come one to four a group."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rng.integers(1, 5, groups))
    weight = rng.integers(1, 22, len(group)).astype(float)
    return weight * rng.lognormal(1.0, 0.5, groups)[group] * rng.gamma(4.0, 0.25, len(group)), weight, group


def test_the_standard_error_is_that_of_a_clustered_regression() -> None:
    """A weighted mean is a weighted regression on a constant; statsmodels corrects by G / (G - 1) as well."""
    top, bottom, groups = skewed_errors(0)
    found = resample(sum_by_group(top, bottom, groups), 1, np.random.default_rng(0))
    fit = sm.WLS(top / bottom, np.ones(len(top)), weights=bottom).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert found.estimate == pytest.approx(fit.params[0], rel=1e-12)
    assert math.sqrt(found.variance) == pytest.approx(fit.bse[0], rel=1e-12)


def test_bounds_are_those_of_a_studentised_bootstrap_in_a_loop() -> None:
    """The mean of two ratios, whose standard error is taken by the jackknife instead of by linearisation."""
    rng = np.random.default_rng(5)
    groups = rng.integers(0, 40, 240)
    bottom = rng.integers(0, 2, (240, 2)).astype(float)
    top = bottom * rng.gamma(2.0, (1.0, 3.0), (240, 2))

    def mean(rows: Any) -> float:
        return float((top[rows].sum(axis=0) / bottom[rows].sum(axis=0)).mean())

    members = [np.flatnonzero(groups == name) for name in np.unique(groups)]

    def both(drawn: Any) -> tuple[float, float]:
        without = [mean(np.concatenate([members[g] for g in np.delete(drawn, i)])) for i in range(len(drawn))]
        return mean(np.concatenate([members[g] for g in drawn])), math.sqrt(np.var(without) * (len(drawn) - 1))

    estimate, error = both(np.arange(len(members)))
    values = np.array([both(rng.choice(len(members), len(members))) for _ in range(1500)])
    tail = stats.norm.cdf(-stats.t.ppf(0.975, len(members) - 1))
    first, last = np.quantile((values[:, 0] - estimate) / values[:, 1], [tail, 1 - tail])
    ours = cluster_bootstrap(top, bottom, groups, seed=6)
    width = (last - first) * error
    assert ours.estimate == pytest.approx(estimate, rel=1e-12)
    assert ours.low == pytest.approx(estimate - last * error, abs=0.06 * width)
    assert ours.high == pytest.approx(estimate - first * error, abs=0.06 * width)
    assert ours.high - ours.estimate > 1.1 * (ours.estimate - ours.low)  # the tail of the errors is on that side


@pytest.mark.parametrize("probability", [0.9, 0.975, 0.995])
@pytest.mark.parametrize("freedom", [10, 19, 200])
def test_students_quantile_is_scipys(probability: float, freedom: int) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), abs=1e-4)


def test_twenty_skewed_groups_are_covered_as_often_as_is_said() -> None:
    """400 studies, of which percentile intervals cover 0.89; the full simulation is benchmarks/statistics.py."""
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(MIN_GROUPS), 2)
    covered = 0
    for seed in range(400):
        errors = rng.lognormal(0.0, 0.8, MIN_GROUPS)[groups] * rng.gamma(4.0, 0.25, len(groups))
        interval = cluster_bootstrap(errors, np.ones(len(groups)), groups, resamples=600, seed=seed)
        covered += interval.low <= math.exp(0.8**2 / 2) <= interval.high
    assert 0.92 <= covered / 400 <= 0.98


def test_dependent_samples_widen_the_interval() -> None:
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(30), 10)
    values = rng.normal(size=30)[groups] + 0.1 * rng.normal(size=300)
    clustered = cluster_bootstrap(values, np.ones(300), groups)
    naive = cluster_bootstrap(values, np.ones(300), np.arange(300))
    assert clustered.estimate == pytest.approx(naive.estimate)
    assert (clustered.high - clustered.low) > 2.5 * (naive.high - naive.low)


def test_a_column_without_weight_is_left_out() -> None:
    top, bottom, groups = skewed_errors(1)
    alone = cluster_bootstrap(top, bottom, groups)
    beside = cluster_bootstrap(np.stack([top, 0 * top], 1), np.stack([bottom, 0 * bottom], 1), groups)
    assert beside == pytest.approx(alone, rel=1e-12)


@settings(deadline=None, max_examples=20)
@given(shift=st.floats(-100, 100), scale=st.floats(0.01, 100), seed=st.integers(0, 1000))
def test_bounds_move_with_the_errors(shift: float, scale: float, seed: int) -> None:
    """Another unit, another origin and other names of groups change nothing else."""
    top, bottom, groups = skewed_errors(seed)
    before = cluster_bootstrap(top, bottom, groups, resamples=199, seed=seed)
    after = cluster_bootstrap(scale * top + shift * bottom, bottom, groups * 7 - 3, resamples=199, seed=seed)
    expected = [scale * value + shift for value in before]
    assert after == pytest.approx(expected, rel=1e-6, abs=1e-6 * (abs(shift) + scale))


def test_the_seed_decides_and_memory_bounds_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    values, groups = np.random.default_rng(7).normal(size=50), np.arange(50) // 2
    first = cluster_bootstrap(values, np.ones(50), groups, seed=8)
    assert cluster_bootstrap(values, np.ones(50), groups, seed=8) == first
    assert cluster_bootstrap(values, np.ones(50), groups, seed=9) != first
    monkeypatch.setattr("knuckle.metrics.statistics._CHUNK", 100)
    assert cluster_bootstrap(values, np.ones(50), groups, seed=8) == pytest.approx(first, rel=1e-12)


@pytest.mark.parametrize("count", [0, 1, MIN_GROUPS - 1])
def test_too_few_groups_have_no_bounds(count: int) -> None:
    interval = cluster_bootstrap(np.arange(2 * count), np.ones(2 * count), np.arange(2 * count) // 2)
    assert interval.estimate == (2 * count - 1) / 2 if count else math.isnan(interval.estimate)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert math.isfinite(cluster_bootstrap(np.arange(20), np.ones(20), np.arange(20)).low)


def test_a_sum_without_weight_of_its_own_still_counts() -> None:
    """Errors in harder pictures over those of the same hands in the originals, one of which was perfect."""
    harder, clean = np.arange(1.0, 31.0), np.r_[0.0, np.ones(29)]
    assert cluster_bootstrap(harder, clean, np.arange(30)).estimate == harder.sum() / 29


def test_groups_without_weight_do_not_count_as_groups() -> None:
    weight = np.r_[np.ones(MIN_GROUPS - 1), np.zeros(5)]
    assert math.isnan(cluster_bootstrap(weight * np.arange(24), weight, np.arange(24)).low)


@pytest.mark.parametrize("misses", [0, 1, 2])
def test_groups_that_hardly_ever_differ_have_no_bounds(misses: int) -> None:
    """Most resamples of a hundred hits and a miss hold no miss at all, so its share has no upper bound."""
    hits = np.r_[np.zeros(misses), np.ones(100 - misses)]
    interval = cluster_bootstrap(hits, np.ones(100), np.arange(100))
    assert interval.estimate == pytest.approx(1 - misses / 100)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_bounds_end_where_the_statistic_ends() -> None:
    hits = np.r_[np.zeros(6), np.ones(34)]
    free = cluster_bootstrap(hits, np.ones(40), np.arange(40))
    cut = cluster_bootstrap(hits, np.ones(40), np.arange(40), within=(free.low + 0.01, 0.9))
    assert cut == pytest.approx((0.85, free.low + 0.01, 0.9))


def test_an_infinite_error_has_no_bounds() -> None:
    interval = cluster_bootstrap(np.r_[np.inf, np.arange(30)], np.ones(31), np.arange(31))
    assert interval.estimate == math.inf
    assert math.isnan(interval.low)


def test_sums_of_errors_are_over_the_labelled_keypoints_of_a_group() -> None:
    errors = np.array([[1.0, np.nan], [2.0, 6.0], [np.nan, np.nan], [5.0, 7.0]])
    sums = error_sums(errors, [4, 4, 9, 2])
    assert sums.top.tolist() == [[12.0], [9.0]]
    assert sums.bottom.tolist() == [[2.0], [3.0]]
    assert sums.means.tolist() == [6.0, 3.0]
    assert sums.mean == 21 / 5


def test_ten_thousand_resamples_of_four_thousand_hands_take_seconds() -> None:
    """The goal, 5 s for 4,000 x 21 errors, is measured in benchmarks/statistics.py; this is a tenth of it."""
    errors = np.random.default_rng(2).gamma(2.0, 3.0, (4000, 21))
    start = time.perf_counter()
    interval = cluster_bootstrap(errors, np.ones_like(errors), np.arange(4000), resamples=1000)
    assert time.perf_counter() - start < 5
    oracle = stats.t.interval(0.95, 3999, errors.mean(), stats.sem(errors.mean(axis=1)))
    assert interval[1:] == pytest.approx(oracle, rel=1e-3)


@pytest.mark.parametrize(
    ("numerator", "denominator", "groups", "options", "message"),
    [
        ([1, 2], [1, 2, 3], [0, 1], {}, "denominator of the same shape"),
        ([1, 2], [1, 2], [0, 1, 2], {}, "groups"),
        ([1, np.nan], [1, 1], [0, 1], {}, "without NaN"),
        ([1, 2], [1, -1], [0, 1], {}, "not negative"),
        ([1, 2], [1, 1], [0, 1], {"resamples": 0}, "resamples must be >= 1"),
        ([1, 2], [1, 1], [0, 1], {"confidence": 95}, "confidence within 0..1"),
    ],
)
def test_unfit_input_is_refused(
    numerator: list[float], denominator: list[float], groups: list[int], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cluster_bootstrap(numerator, denominator, groups, **options)
