"""Permutation tests against enumeration by hand, SciPy, and their promise where nothing differs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from knuckle.metrics import paired_permutation_test, permutation_test, smallest_p, stratified_permutation_test

SMALL = st.lists(st.integers(0, 3), min_size=1, max_size=5)


def test_two_own_photos_far_above_five_base_photos_give_one_in_twenty_one() -> None:
    """The design of the study's second hypothesis: 21 labellings, of which only the data's own is so extreme."""
    found = permutation_test([40.0, 41.0], [3.0, 4.0, 4.5, 5.0, 6.5])
    assert found.difference == pytest.approx(40.5 - 4.6)
    assert found[1:] == (1 / 21, 21, True)
    assert found.p == smallest_p(2, 5) > 0.05 / 25


def test_the_smallest_p_of_designs() -> None:
    assert smallest_p(2, 5) == 1 / 21
    assert smallest_p(5, 2) == 1 / 21
    assert smallest_p(3, 3) == 2 / 20  # the mirrored labelling is as extreme
    assert smallest_p(1, 1) == 1.0
    assert smallest_p(2000, 4000) == 0.0  # below the smallest float
    assert permutation_test([9.0, 8.0, 7.0], [1.0, 2.0, 4.0]).p == smallest_p(3, 3)


def test_p_is_the_share_of_labellings_with_a_welch_t_as_large() -> None:
    """Three own against four base: 35 labellings, each tested by SciPy."""
    own, base = np.array([7.0, 3.5, 9.0]), np.array([2.0, 4.0, 3.0, 5.5])
    values = np.r_[own, base]

    def t(chosen: tuple[int, ...]) -> float:
        rest = np.delete(values, chosen)
        return abs(float(stats.ttest_ind(values[list(chosen)], rest, equal_var=False).statistic))

    found = [t(chosen) for chosen in itertools.combinations(range(7), 3)]
    expected = np.mean(np.array(found) >= t((0, 1, 2)) - 1e-12)
    assert 1 / 35 < expected < 1
    assert permutation_test(own, base).p == expected


def test_random_labellings_agree_with_scipys_permutation_test() -> None:
    rng = np.random.default_rng(0)
    own, base = rng.lognormal(1.4, 0.6, 12), rng.lognormal(1.0, 0.6, 25)
    ours = permutation_test(own, base, resamples=9999, seed=1)
    oracle = stats.permutation_test(
        (own, base),
        lambda a, b, axis: np.abs(stats.ttest_ind(a, b, axis=axis, equal_var=False).statistic),
        permutation_type="independent",
        vectorized=True,
        n_resamples=9999,
        alternative="greater",
        rng=np.random.default_rng(2),
    )
    assert not ours.exact
    assert ours.permutations == 10_000
    assert 0.005 < oracle.pvalue < 0.5
    assert ours.p == pytest.approx(oracle.pvalue, abs=5 * math.sqrt(2 * oracle.pvalue / 9999))


def test_random_labellings_never_give_a_p_of_zero() -> None:
    found = permutation_test(np.arange(100.0, 120.0), np.arange(20.0), resamples=99)
    assert found.p == 1 / 100


def test_strata_are_permuted_within_and_enumerated_together() -> None:
    """Two strata of 2 + 2: 36 labellings by hand. Mixing strata would see the large difference between them."""
    own, base = [[5.0, 7.0], [105.0, 104.0]], [[1.0, 6.0], [100.0, 103.0]]
    found = stratified_permutation_test(own, base)
    ts = []
    for first, second in itertools.product(itertools.combinations(range(4), 2), repeat=2):
        difference, variance = 0.0, 0.0
        for chosen, mine, theirs in zip((first, second), own, base, strict=True):
            values = np.array(mine + theirs)
            inside, outside = values[list(chosen)], np.delete(values, chosen)
            difference += inside.mean() - outside.mean()
            variance += inside.var(ddof=1) / 2 + outside.var(ddof=1) / 2
        ts.append(abs(difference) / math.sqrt(variance))
    assert found.exact
    assert found.permutations == 36
    assert found.p == np.mean(np.array(ts) >= ts[0] - 1e-12)
    assert found.difference == pytest.approx(((6 - 3.5) + (104.5 - 101.5)) / 2)


def test_many_small_strata_show_together_what_none_can_show_alone() -> None:
    rng = np.random.default_rng(3)
    own, base = 12 + rng.normal(0, 5, (25, 2)), 5 + rng.normal(0, 5, (25, 5))
    assert min(permutation_test(a, b).p for a, b in zip(own, base, strict=True)) >= 1 / 21
    assert stratified_permutation_test(list(own), list(base)).p < 0.002


@settings(deadline=None, max_examples=25)
@given(shift=st.floats(-1e3, 1e3), scale=st.floats(0.01, 100), seed=st.integers(0, 99), turned=st.booleans())
def test_units_origins_and_orders_do_not_matter(shift: float, scale: float, seed: int, turned: bool) -> None:
    rng = np.random.default_rng(seed)
    own, base = rng.gamma(2.0, 3.0, 4), rng.gamma(2.0, 2.0, 5)
    before = permutation_test(own, base)
    after = permutation_test(shift + scale * own[::-1], shift + scale * rng.permutation(base))
    if turned:
        after = permutation_test(base, own)
    assert after.p == before.p


@settings(deadline=None, max_examples=25)
@given(
    own=st.lists(st.integers(0, 3), min_size=1, max_size=5), base=st.lists(st.integers(0, 3), min_size=1, max_size=5)
)
def test_ties_and_equal_values_give_a_p_between_the_smallest_and_one(own: list[int], base: list[int]) -> None:
    found = permutation_test(own, base)
    assert smallest_p(len(own), len(base)) <= found.p <= 1
    assert permutation_test(own, own).p == 1.0


def test_where_nothing_differs_five_in_a_hundred_are_significant() -> None:
    """1,000 studies of 4 + 8 skewed clusters, exact; the chance of leaving these limits is below 1e-3."""
    rng = np.random.default_rng(4)
    values = rng.lognormal(1.0, 0.7, (1000, 12))
    p = np.array([permutation_test(row[:4], row[4:]).p for row in values])
    assert 0.027 <= np.mean(p <= 0.05) <= 0.073
    assert 0.45 <= p.mean() <= 0.56


def test_own_photos_that_scatter_more_are_no_effect() -> None:
    """Equal means, five times the variance: the plain difference of means is significant in one study of five."""
    rng = np.random.default_rng(5)
    p = [permutation_test(rng.normal(0, 5**0.5, 10), rng.normal(0, 1, 30), resamples=299).p for _ in range(600)]
    assert np.mean(np.array(p) <= 0.05) <= 0.085


def test_memory_bounds_do_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    own, base = np.arange(12.0), np.arange(4.0, 29.0)
    first = permutation_test(own, base, resamples=500, seed=1)
    assert permutation_test(own, base, resamples=500, seed=1) == first
    monkeypatch.setattr("knuckle.metrics.permutation._CHUNK", 37 * 7)
    assert permutation_test(own, base, resamples=500, seed=1) == first


def test_unfit_input_is_refused() -> None:
    with pytest.raises(ValueError, match="own arm"):
        permutation_test([], [1.0])
    with pytest.raises(ValueError, match="base arm"):
        permutation_test([1.0], [np.nan])
    with pytest.raises(ValueError, match="resamples must be >= 1"):
        permutation_test([1.0], [1.0], resamples=0)
    with pytest.raises(ValueError, match="same strata"):
        stratified_permutation_test([[1.0]], [])


def test_paired_differences_turn_their_signs_as_scipy_does() -> None:
    values = np.array([0.5, 1.25, -0.25, 2.0, 0.75, 0.5])
    found = paired_permutation_test(values)
    expected = stats.permutation_test(
        [values], lambda x: abs(x.mean()), permutation_type="samples", alternative="greater", n_resamples=1000
    )
    assert found.exact
    assert found.permutations == 2**6
    assert found.p == pytest.approx(expected.pvalue)
    assert found.difference == pytest.approx(values.mean())
    assert paired_permutation_test(np.ones(6)).p == 2 / 2**6  # the data, and all of it turned
    assert paired_permutation_test([3.0]).p == 1.0


def test_random_turns_agree_with_all_of_them() -> None:
    values = np.random.default_rng(1).normal(0.4, 1, 12)
    exact, drawn = paired_permutation_test(values), paired_permutation_test(values, resamples=4000)
    assert exact.exact
    assert not drawn.exact
    assert drawn.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p / 4000))
    with pytest.raises(ValueError, match="paired arm"):
        paired_permutation_test([1.0, math.nan])
