"""Differences of means against Welch's t, a paired analysis, and the arithmetic of dilution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from knuckle.metrics import (
    GroupSums,
    cluster_bootstrap,
    dilution,
    error_sums,
    mean_difference,
    paired_difference,
    stratified_difference,
)


def errors_of(seed: int, clusters: int, mean: float = 6.0) -> GroupSums:
    """Sums of clusters of one hand each, all of whose 21 keypoints are labelled."""
    rng = np.random.default_rng(seed)
    return error_sums(mean * rng.gamma(4.0, 0.25, (clusters, 1)) * np.ones(21), np.arange(clusters))


def test_of_many_clusters_it_is_welchs_interval() -> None:
    own, base = errors_of(0, 400, 9.0), errors_of(1, 900)
    ours = mean_difference(own, base)
    oracle = stats.ttest_ind(own.means, base.means, equal_var=False)
    bounds = oracle.confidence_interval(0.95)
    assert ours.estimate == pytest.approx(own.means.mean() - base.means.mean())
    assert ours.low == pytest.approx(bounds.low, abs=0.04 * (bounds.high - bounds.low))
    assert ours.high == pytest.approx(bounds.high, abs=0.04 * (bounds.high - bounds.low))


def test_a_difference_turns_its_sign_with_the_sides() -> None:
    own, base = errors_of(2, 30, 9.0), errors_of(3, 50)
    there, back = mean_difference(own, base, seed=1), mean_difference(base, own, seed=2)
    width = there.high - there.low
    assert back.estimate == pytest.approx(-there.estimate)
    assert back.low == pytest.approx(-there.high, abs=0.06 * width)
    assert back.high == pytest.approx(-there.low, abs=0.06 * width)


def test_a_gesture_without_own_photos_has_no_difference() -> None:
    none, some = errors_of(0, 0), errors_of(1, 30)
    assert np.isnan(mean_difference(none, some)).all()
    assert np.isnan(stratified_difference([some, none], [some, some])).all()


@pytest.mark.parametrize(("own", "base", "supported"), [(19, 100, False), (100, 19, False), (20, 20, True)])
def test_each_side_needs_twenty_clusters(own: int, base: int, supported: bool) -> None:
    found = mean_difference(errors_of(0, own), errors_of(1, base), resamples=199)
    assert math.isfinite(found.estimate)
    assert math.isfinite(found.low) == math.isfinite(found.high) == supported


def test_strata_are_weighted_alike_and_their_levels_cancel() -> None:
    """25 gestures of very different difficulty, 2 own photos and 5 base photos each, own 3 px worse."""
    levels = np.linspace(2, 400, 25)
    rng = np.random.default_rng(4)
    own = [error_sums(level + 3 + rng.normal(0, 1, 2), [0, 1]) for level in levels]
    base = [error_sums(level + rng.normal(0, 1, 5), np.arange(5)) for level in levels]
    found = stratified_difference(own, base)
    means = [a.means.mean() - b.means.mean() for a, b in zip(own, base, strict=True)]
    assert found.estimate == pytest.approx(np.mean(means))
    variances = [a.means.var(ddof=1) / 2 + b.means.var(ddof=1) / 5 for a, b in zip(own, base, strict=True)]
    error = math.sqrt(sum(variances)) / 25
    assert 2.0 * error < (found.high - found.low) / 2 < 2.5 * error
    assert found.low < 3 < found.high


def test_one_stratum_is_the_plain_difference_and_small_ones_need_company() -> None:
    own, base = errors_of(0, 25), errors_of(1, 30)
    assert stratified_difference([own], [base]) == mean_difference(own, base)
    few = [errors_of(seed, 2) for seed in range(18)], [errors_of(seed, 5) for seed in range(18)]
    assert math.isnan(stratified_difference(*few).low)
    one = [errors_of(0, 1), *(errors_of(seed, 5) for seed in range(9))]
    assert math.isnan(stratified_difference(one, one).low)


def test_pairs_cancel_what_hands_have_in_common() -> None:
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(40), 2)
    hard = rng.lognormal(2, 1, (80, 1)) * np.ones(21)
    first, second = hard + rng.normal(1.0, 0.3, (80, 21)), hard + rng.normal(0.0, 0.3, (80, 21))
    first[3, :5] = second[3, :5] = np.nan
    found = paired_difference(first, second, groups)
    assert found.estimate == pytest.approx(np.nanmean(first) - np.nanmean(second))
    assert 0.9 < found.low < 1.0 < found.high < 1.1
    means = error_sums(first - second, groups).means
    oracle = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert found.high - found.low == pytest.approx(oracle.high - oracle.low, rel=0.15)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 100), shift=st.floats(-50, 50), scale=st.floats(0.1, 10))
def test_a_common_shift_cancels_and_a_unit_scales(seed: int, shift: float, scale: float) -> None:
    own, base = errors_of(seed, 20), errors_of(seed + 1, 22)
    moved = [GroupSums(arm.top * scale + shift * arm.bottom, arm.bottom) for arm in (own, base)]
    before = mean_difference(own, base, resamples=99)
    after = mean_difference(moved[0], moved[1], resamples=99)
    assert after == pytest.approx([scale * value for value in before], rel=1e-6, abs=1e-6 * (1 + abs(shift)))


def test_the_papers_difference_is_diluted_to_two_sevenths() -> None:
    own, base = errors_of(0, 2, 30.0), errors_of(1, 5)
    found = dilution(own, base)
    together = np.r_[own.means, base.means].mean() - base.means.mean()
    assert found.share == pytest.approx(2 / 7)
    assert found.diluted.estimate == pytest.approx(together)
    assert found.direct.estimate == pytest.approx(own.means.mean() - base.means.mean())
    assert 6.7 / found.share == pytest.approx(23.45)
    assert math.isnan(found.direct.low)


def test_dilution_weighs_by_labelled_keypoints_and_takes_the_interval_along() -> None:
    rng = np.random.default_rng(6)
    own_errors, base_errors = rng.gamma(2, 6, (30, 21)), rng.gamma(2, 3, (60, 21))
    own_errors[:20, 5:] = np.nan
    own, base = error_sums(own_errors, np.arange(30)), error_sums(base_errors, np.arange(60))
    found = dilution(own, base, seed=3)
    together = np.nanmean(np.r_[own_errors, base_errors]) - np.nanmean(base_errors)
    assert found.diluted.estimate == pytest.approx(together)
    assert found.diluted.low == pytest.approx(found.share * found.direct.low)
    assert found.direct == mean_difference(own, base, seed=3)


def test_unfit_input_is_refused() -> None:
    one, two = errors_of(0, 20), GroupSums(np.ones((20, 2)), np.ones((20, 2)))
    with pytest.raises(ValueError, match="same columns"):
        mean_difference(one, two)
    with pytest.raises(ValueError, match="same strata"):
        stratified_difference([], [])
    with pytest.raises(ValueError, match="one column"):
        dilution(two, two)
    with pytest.raises(ValueError, match="confidence within"):
        mean_difference(one, one, confidence=2)
    with pytest.raises(ValueError, match="same hands and labelled keypoints"):
        paired_difference([1.0, np.nan], [1.0, 2.0], [0, 1])
    with pytest.raises(ValueError, match="must be finite"):
        paired_difference([1.0, np.inf], [1.0, 2.0], [0, 1])


def test_a_paired_difference_is_the_bootstrap_of_the_differences() -> None:
    first, second = np.random.default_rng(7).gamma(2, 3, (2, 50))
    ours = paired_difference(first, second, np.arange(50), seed=4)
    assert ours == cluster_bootstrap(first - second, np.ones(50), np.arange(50), seed=4)
