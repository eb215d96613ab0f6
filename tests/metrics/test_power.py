"""Power against statsmodels, against simulated t tests, and against simulated permutation tests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower

from knuckle.metrics import detectable_shift, photos_needed, power, simulated_power


@pytest.mark.parametrize("photos", [8, 20, 60])
@pytest.mark.parametrize("shift", [2.0, 10.0, 23.0])
@pytest.mark.parametrize("tests", [1, 25])
def test_of_equal_arms_it_is_statsmodels_power_of_the_t_test(photos: int, shift: float, tests: int) -> None:
    oracle = TTestIndPower().power(shift / 15, photos, 0.05 / tests, ratio=1, alternative="two-sided")
    if math.isnan(oracle):  # SciPy's noncentral t far from 0
        oracle = 1.0
    assert power(shift, 15.0, photos, photos, tests=tests) == pytest.approx(oracle, abs=1e-6)


@pytest.mark.parametrize(("own", "base", "sd_own"), [(10, 20, 15.0), (10, 20, 30.0), (20, 10, 30.0)])
def test_of_unequal_arms_it_is_how_often_welchs_t_finds_the_shift(own: int, base: int, sd_own: float) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(23, sd_own, (own, 4000)), rng.normal(0, 15, (base, 4000))
    found = float(np.mean(stats.ttest_ind(first, second, equal_var=False).pvalue <= 0.05))
    claimed = power(23.0, 15.0, own, base, sd_own=sd_own, tests=1)
    assert 0.3 < claimed < 0.99
    assert found == pytest.approx(claimed, abs=0.03)


def test_five_and_two_photos_find_nothing_however_large() -> None:
    """1/21 cannot fall below 0.05 / 25, though the t test alone would call an enormous shift significant."""
    assert power(1e6, 1.0, 2, 5) == 0.0
    assert detectable_shift(1.0, 2, 5) == math.inf
    assert simulated_power([1e6], [1.0, 2.0, 3.0], 2, 5) == 0.0
    assert power(1e6, 1.0, 2, 5, tests=1) > 0.9  # 1/21 is below 0.05: one gesture alone could be shown


def test_without_a_shift_it_is_the_level() -> None:
    assert power(0.0, 3.0, 20, 20) == pytest.approx(0.05 / 25)


def test_power_grows_with_photos_and_shift_and_not_with_direction() -> None:
    values = [power(10.0, 15.0, n, 2 * n) for n in (5, 10, 20, 50, 100)]
    assert values == sorted(values)
    assert values[0] < 0.1 < 0.9 < values[-1]
    assert power(-10.0, 15.0, 20, 40) == pytest.approx(power(10.0, 15.0, 20, 40))


@pytest.mark.parametrize(("shift", "ratio"), [(23.0, 2.0), (6.7, 2.5), (23.0, 0.5), (200.0, 2.0)])
def test_photos_needed_are_enough_and_one_less_is_not(shift: float, ratio: float) -> None:
    found = photos_needed(shift, 15.0, base_per_own=ratio)
    assert found is not None
    assert found.base == max(2, math.ceil(ratio * found.own))
    assert power(shift, 15.0, *found) >= 0.8
    assert power(shift, 15.0, found.own - 1, max(2, math.ceil(ratio * (found.own - 1)))) < 0.8


def test_photos_needed_of_equal_arms_are_statsmodels() -> None:
    size = TTestIndPower().solve_power(23 / 15, None, 0.05 / 25, 0.8, ratio=1)
    assert photos_needed(23.0, 15.0, base_per_own=1.0) == (math.ceil(size), math.ceil(size))


def test_a_difference_of_nothing_is_never_found() -> None:
    assert photos_needed(0.0, 15.0) is None


def test_the_detectable_shift_has_the_power_it_is_named_for() -> None:
    shift = detectable_shift(15.0, 50, 100, target=0.9)
    assert power(shift, 15.0, 50, 100) == pytest.approx(0.9, abs=1e-9)


def test_the_formula_agrees_with_the_permutation_test_on_normal_errors() -> None:
    pilot = stats.norm(30, 15).ppf((np.arange(400) + 0.5) / 400)
    claimed = power(23.0, float(pilot.std()), 10, 20)
    found = simulated_power(pilot + 23, pilot, 10, 20, studies=300, resamples=999)
    assert 0.4 < claimed < 0.8
    assert found == pytest.approx(claimed, abs=3.5 * 0.5 / math.sqrt(300))
    assert simulated_power(pilot + 23, pilot, 10, 20, studies=300, resamples=999) == found
    assert simulated_power(pilot, pilot, 10, 20, studies=300, resamples=999) <= 0.02


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: power(1.0, 0.0, 5, 5), "positive standard deviations"),
        (lambda: power(1.0, 1.0, 1, 5), "two clusters an arm"),
        (lambda: power(1.0, 1.0, 5, 5, tests=0), "tests >= 1"),
        (lambda: photos_needed(1.0, 1.0, target=1.0), "target within"),
        (lambda: photos_needed(1.0, 1.0, base_per_own=0.0), "base_per_own must be positive"),
        (lambda: detectable_shift(1.0, 9, 9, target=0.001), "target must be within"),
        (lambda: simulated_power([], [1.0], 5, 5), "pilots need"),
        (lambda: simulated_power([1.0], [1.0], 5, 5, resamples=99), "resamples"),
    ],
)
def test_unfit_input_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
