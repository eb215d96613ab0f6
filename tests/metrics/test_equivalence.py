"""Equivalence tests against statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from knuckle.metrics import equivalence, paired_equivalence


@pytest.mark.parametrize("margin", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.8])
def test_two_sets_as_in_statsmodels(margin: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    own, base = rng.normal(6 + shift, 3, 25), rng.normal(6, 2, 60)
    found = equivalence(own, base, margin)
    assert found.p == pytest.approx(ttost_ind(own, base, -margin, margin, usevar="unequal")[0], rel=1e-9)
    bounds = stats.ttest_ind(own, base, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high))
    assert found.equivalent == (-margin < bounds.low and bounds.high < margin)


@pytest.mark.parametrize("margin", [0.2, 0.6, 2.0])
def test_pairs_as_in_statsmodels(margin: float) -> None:
    rng = np.random.default_rng(1)
    first, second = rng.gamma(2, 3, 30), rng.gamma(2, 3, 30)
    found = paired_equivalence((first - second) / 5, margin)
    assert found.p == pytest.approx(ttost_paired(first / 5, second / 5, -margin, margin)[0], rel=1e-9)
    assert found.equivalent == (found.p <= 0.05)


def test_few_noisy_photos_are_not_equivalent_though_no_test_finds_a_difference() -> None:
    own, base = [4.0, 9.0], [3.0, 8.0, 5.0, 6.0, 9.5]
    assert stats.ttest_ind(own, base, equal_var=False).pvalue > 0.9
    assert not equivalence(own, base, 2.0).equivalent


def test_a_difference_as_large_as_the_margin_is_called_equivalent_in_five_of_a_hundred_studies() -> None:
    rng = np.random.default_rng(2)
    claims = [equivalence(rng.normal(2, 3, 20), rng.normal(0, 3, 40), 2.0).equivalent for _ in range(1000)]
    assert 0.02 <= np.mean(claims) <= 0.075


def test_too_few_clusters_show_nothing() -> None:
    for found in (
        equivalence([1.0], [1.0, 1.1], 5.0),
        equivalence([], [1.0, 2.0], 5.0),
        paired_equivalence([1.0], 5.0),
    ):
        assert not found.equivalent
        assert math.isnan(found.p)


@pytest.mark.parametrize(("difference", "p"), [(0.5, 0.0), (-3.0, 1.0)])
def test_pairs_that_all_differ_alike(difference: float, p: float) -> None:
    assert paired_equivalence([difference] * 4, 1.0).p == p


def test_unfit_input_is_refused() -> None:
    with pytest.raises(ValueError, match="margin must be positive"):
        equivalence([1.0, 2.0], [1.0, 2.0], 0.0)
    with pytest.raises(ValueError, match="margin must be positive"):
        paired_equivalence([1.0], -1.0)
    with pytest.raises(ValueError, match="alpha"):
        paired_equivalence([1.0, 2.0], 1.0, alpha=0.5)
    with pytest.raises(ValueError, match="finite mean a cluster"):
        equivalence([1.0, math.nan], [1.0, 2.0], 1.0)
