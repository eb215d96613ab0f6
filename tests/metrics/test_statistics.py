"""The cluster bootstrap against SciPy's, against its promise of coverage, and against the naive interval."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from knuckle.metrics import cluster_bootstrap


def test_without_clusters_it_is_scipys_percentile_bootstrap_of_a_ratio() -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(1, 22, 300).astype(float)
    total = weight * rng.gamma(2.0, 2.0, 300)
    ours = cluster_bootstrap(total, weight, np.arange(300), seed=1)
    oracle = stats.bootstrap(
        (total, weight),
        lambda top, bottom, axis: top.sum(axis=axis) / bottom.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=9999,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert ours.estimate == pytest.approx(total.sum() / weight.sum(), rel=1e-12)
    width = oracle.high - oracle.low
    assert ours.low == pytest.approx(oracle.low, abs=0.04 * width)
    assert ours.high == pytest.approx(oracle.high, abs=0.04 * width)


def test_the_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    """400 data sets of 40 groups of 5 samples with a shared group effect; 90 % intervals."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 5)
    covered = 0
    for seed in range(400):
        values = 10 + rng.normal(size=40)[groups] + 0.5 * rng.normal(size=200)
        interval = cluster_bootstrap(values, np.ones(200), groups, resamples=400, seed=seed, confidence=0.9)
        covered += interval.low <= 10 <= interval.high
    # Percentile intervals of 40 groups cover a little less than they say; 4 standard errors are 0.06.
    assert 0.83 <= covered / 400 <= 0.95


def test_dependent_samples_widen_the_interval() -> None:
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(30), 10)
    values = rng.normal(size=30)[groups] + 0.1 * rng.normal(size=300)
    clustered = cluster_bootstrap(values, np.ones(300), groups)
    naive = cluster_bootstrap(values, np.ones(300), np.arange(300))
    assert clustered.estimate == pytest.approx(naive.estimate)
    assert (clustered.high - clustered.low) > 2.5 * (naive.high - naive.low)


def test_columns_give_the_interval_of_a_macro_average() -> None:
    """The mean of two ratios, against the same statistic resampled in a loop."""
    rng = np.random.default_rng(5)
    groups = rng.integers(0, 25, 120)
    bottom = rng.integers(0, 2, (120, 2)).astype(float)
    top = bottom * rng.normal((1.0, 5.0), 1.0, (120, 2))
    ours = cluster_bootstrap(top, bottom, groups, seed=6)
    assert ours.estimate == pytest.approx((top.sum(axis=0) / bottom.sum(axis=0)).mean())
    values = []
    names = np.unique(groups)
    for _ in range(2000):
        rows = np.concatenate([np.flatnonzero(groups == name) for name in rng.choice(names, len(names))])
        values.append((top[rows].sum(axis=0) / bottom[rows].sum(axis=0)).mean())
    low, high = np.percentile(values, [2.5, 97.5])
    assert ours.low == pytest.approx(low, abs=0.1 * (high - low))
    assert ours.high == pytest.approx(high, abs=0.1 * (high - low))


def test_a_column_without_weight_is_left_out() -> None:
    top, bottom = np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    interval = cluster_bootstrap(top, bottom, [0, 1])
    assert interval == (2.0, 1.0, 3.0)


def test_the_seed_decides_and_memory_bounds_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    values, groups = np.random.default_rng(7).normal(size=50), np.arange(50) // 2
    first = cluster_bootstrap(values, np.ones(50), groups, seed=8)
    assert cluster_bootstrap(values, np.ones(50), groups, seed=8) == first
    assert cluster_bootstrap(values, np.ones(50), groups, seed=9) != first
    monkeypatch.setattr("knuckle.metrics.statistics._CHUNK", 100)
    assert cluster_bootstrap(values, np.ones(50), groups, seed=8) == pytest.approx(first, rel=1e-12)


@pytest.mark.parametrize("groups", [[3, 3, 3], []])
def test_fewer_than_two_groups_have_no_bounds(groups: list[int]) -> None:
    interval = cluster_bootstrap(np.arange(len(groups)), np.ones(len(groups)), groups)
    assert interval.estimate == 1.0 if groups else math.isnan(interval.estimate)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_an_infinite_error_has_no_bounds() -> None:
    interval = cluster_bootstrap([1.0, np.inf, 2.0], np.ones(3), [0, 1, 2])
    assert interval.estimate == math.inf
    assert math.isnan(interval.low)


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
