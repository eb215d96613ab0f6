"""Intervals of many columns: those that each column has alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from knuckle.metrics.columns import cluster_bootstrap_each
from knuckle.metrics.statistics import MIN_GROUPS, cluster_bootstrap


def test_each_column_has_the_interval_that_it_has_alone() -> None:
    rng = np.random.default_rng(8)
    groups = rng.permutation(np.repeat(np.arange(30), 3))
    bottom = rng.integers(1, 5, (90, 4)).astype(float)
    top = bottom * rng.gamma(2.0, 2.0, (90, 4))
    bottom[:, 1] = top[:, 1] = 0
    top[5, 3] = np.inf
    together = cluster_bootstrap_each(top, bottom, groups, resamples=400, seed=4)
    for column in (0, 2):
        alone = cluster_bootstrap(top[:, column], bottom[:, column], groups, resamples=400, seed=4)
        assert together[column] == pytest.approx(alone, rel=1e-9)
        assert alone.low < alone.estimate < alone.high
    assert np.isnan(together[1]).all()
    assert together[3].estimate == math.inf
    assert math.isnan(together[3].low)


def test_bounds_are_cut_where_shares_end_and_missing_where_nothing_varies() -> None:
    rng = np.random.default_rng(1)
    hits = np.stack([rng.random(60) < 0.9, np.ones(60)], axis=1).astype(float)
    nearly, always = cluster_bootstrap_each(hits, np.ones((60, 2)), np.arange(60), resamples=400, within=(0, 0.95))
    assert nearly.high == 0.95
    assert 0.7 < nearly.low < nearly.estimate == pytest.approx(0.9)
    assert always.estimate == 1
    assert math.isnan(always.low)


def test_too_few_groups_have_no_bounds_column_by_column() -> None:
    rng = np.random.default_rng(2)
    top = rng.gamma(2.0, 2.0, (40, 2))
    bottom = np.ones((40, 2))
    bottom[MIN_GROUPS - 1 :, 1] = top[MIN_GROUPS - 1 :, 1] = 0
    enough, too_few = cluster_bootstrap_each(top, bottom, np.arange(40), resamples=200)
    assert enough.low < enough.high
    assert too_few.estimate == pytest.approx(top[: MIN_GROUPS - 1, 1].mean())
    assert math.isnan(too_few.high)
