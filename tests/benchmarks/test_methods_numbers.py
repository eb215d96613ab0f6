"""The verdicts of the experiments, on errors made by hand: which numbers make a claim hold, fail or stay open."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float64
from scipy import stats

from benchmarks import choices, small
from benchmarks.label_noise import CLEAN, PLANS, Job, Plan, compare, judge, slopes
from benchmarks.methods_numbers import (
    FAILS,
    HOLDS,
    MARGIN,
    OPEN,
    SUBSTANTIAL,
    Difference,
    better_verdict,
    comparisons,
    has_learnt,
    joint_verdict,
    no_gain_verdict,
    paired,
    row,
    stage_numbers,
    unpaired,
)
from knuckle.metrics import holm
from knuckle.metrics.statistics import Interval

HANDS = 120
GROUPS = np.arange(HANDS)


def difference(hands: tuple[float, float], seeds: tuple[float, float], p: float = 0.001) -> Difference:
    """A difference with these intervals."""
    return Difference(Interval(sum(hands) / 2, *hands), Interval(sum(seeds) / 2, *seeds), p)


def test_who_has_not_learnt_gets_no_verdict() -> None:
    clear = difference((-0.03, -0.01), (-0.04, -0.01))
    assert (choices.verdict(clear, True), choices.verdict(clear, False)) == (choices.BETTER, OPEN)
    assert (small.verdict(clear, 0.0, True), small.verdict(clear, 0.0, False)) == (HOLDS, OPEN)
    assert has_learnt(np.array([[0.02, 0.08], [0.03, 0.06]]), 0.1)
    assert not has_learnt(np.array([[0.02, 0.08], [0.03, 0.08]]), 0.1), "one of them has not"


def errors(mean: float, seeds: int = 3, spread: float = 0.002) -> Float64[np.ndarray, "seeds n 21"]:
    """Errors of hands that are hard and easy in the same order, with a little chance of hand and seed."""
    rng = np.random.default_rng(round(mean * 1e6))
    hard = np.linspace(0.5, 1.5, HANDS)[:, None]
    return mean * hard + spread * rng.standard_normal((seeds, HANDS, 1)) + np.zeros((seeds, HANDS, 21))


# One comparison


@pytest.mark.parametrize(
    ("hands", "seeds", "p", "verdict"),
    [
        ((-0.03, -0.01), (-0.04, -0.01), 0.01, HOLDS),
        ((-0.03, -0.01), (-0.04, 0.01), 0.01, OPEN),  # other trainings might not be better
        ((-0.03, 0.01), (-0.04, -0.01), 0.01, OPEN),  # on other hands it might not be
        ((-0.03, -0.01), (-0.04, -0.01), 0.06, OPEN),  # of many comparisons one is so low by chance
        ((0.01, 0.03), (0.01, 0.04), 0.01, FAILS),
        ((-0.0019, 0.03), (-0.0019, 0.04), 0.9, FAILS),  # an advantage below the margin is none
        ((-0.0021, 0.03), (-0.0019, 0.04), 0.9, OPEN),
        ((-0.0019, 0.03), (-0.0021, 0.04), 0.9, OPEN),
    ],
)
def test_when_an_error_is_lower(hands: tuple[float, float], seeds: tuple[float, float], p: float, verdict: str) -> None:
    assert pytest.approx(0.02) == MARGIN  # of the rival's 0.1
    assert better_verdict(difference(hands, seeds), p, rival_nme=0.1) == verdict


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([((-0.01, 0.004), (-0.02, 0.004))], HOLDS),
        ([((-0.01, 0.004), (-0.02, 0.004)), ((0.0, 0.003), (0.0, 0.003))], HOLDS),
        ([((-0.01, 0.004), (-0.02, 0.006))], OPEN),
        ([((0.006, 0.02), (0.006, 0.03))], FAILS),
        ([((0.006, 0.02), (0.004, 0.03))], OPEN),
        ([((-0.01, 0.004), (-0.02, 0.004)), ((0.006, 0.02), (0.006, 0.03))], FAILS),  # one later stage is enough
        ([((0.006, 0.02), (0.0, 0.001)), ((0.0, 0.001), (0.006, 0.02))], OPEN),  # both intervals of the same stage
    ],
)
def test_when_later_stages_gain_nothing(gains: list[Any], verdict: str) -> None:
    assert SUBSTANTIAL == 0.005
    assert no_gain_verdict([difference(*gain) for gain in gains]) == verdict


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([HOLDS, FAILS, OPEN], FAILS),
        ([HOLDS, OPEN], OPEN),
        ([OPEN], OPEN),
    ],
)
def test_a_claim_with_parts(parts: list[str], verdict: str) -> None:
    assert joint_verdict(parts) == verdict


# Differences


def test_two_kinds_of_networks_are_compared_by_welchs_test_over_seeds() -> None:
    ours, theirs = errors(0.10).mean(axis=-1), errors(0.12).mean(axis=-1)
    found = unpaired(ours, theirs, GROUPS)
    own, other = ours.mean(axis=1), theirs.mean(axis=1)
    expected = stats.ttest_ind(own, other, equal_var=False)
    between = expected.confidence_interval(0.95)
    assert found.seeds == pytest.approx((own.mean() - other.mean(), between.low, between.high))
    p_hands = stats.ttest_rel(ours.mean(axis=0), theirs.mean(axis=0)).pvalue
    assert found.p == pytest.approx(max(expected.pvalue, p_hands))
    assert found.hands.estimate == pytest.approx(found.seeds.estimate)
    assert found.hands.low < found.hands.estimate < found.hands.high < 0


def test_outputs_of_the_same_networks_are_compared_seed_by_seed() -> None:
    rng = np.random.default_rng(0)
    gain = 0.01 + 0.003 * rng.standard_normal((4, 1)) + 0.001 * rng.standard_normal((4, HANDS))
    found = paired(gain, GROUPS)
    expected = stats.ttest_1samp(gain.mean(axis=1), 0)
    between = expected.confidence_interval(0.95)
    assert found.seeds == pytest.approx((gain.mean(), between.low, between.high))
    assert found.p == pytest.approx(max(expected.pvalue, stats.ttest_1samp(gain.mean(axis=0), 0).pvalue))


def test_hands_of_a_scene_are_one_draw() -> None:
    gain = np.repeat(np.random.default_rng(0).standard_normal((3, HANDS // 4)) + 0.2, 4, axis=1)
    alone, scenes = paired(gain, GROUPS), paired(gain, GROUPS // 4)
    assert scenes.hands.high - scenes.hands.low > 1.5 * (alone.hands.high - alone.hands.low)
    assert scenes.seeds == alone.seeds


def test_equal_networks_differ_by_nothing() -> None:
    same = errors(0.1, spread=0).mean(axis=-1)
    found = unpaired(same, same, GROUPS)
    assert found.seeds == pytest.approx((0, 0, 0), abs=1e-12)
    assert found.p == 1


# From errors to verdicts


def verdicts_of(ours: float, rivals: dict[str, float]) -> dict[str, dict[str, Any]]:
    made = {"ours": errors(ours), **{name: errors(mean) for name, mean in rivals.items()}}
    rows = {name: row(of_seeds, mean_pose_nme=0.25) for name, of_seeds in made.items()}
    return comparisons(made, rows, GROUPS, "ours", dict.fromkeys(rivals))


def test_errors_that_are_lower_equal_and_higher() -> None:
    found = verdicts_of(0.1, {"worse": 0.115, "alike": 0.1003, "better": 0.085})
    assert {name: one["verdict"] for name, one in found.items()} == {"worse": HOLDS, "alike": FAILS, "better": FAILS}


def test_p_values_are_adjusted_over_all_comparisons() -> None:
    few, many = verdicts_of(0.1, {"a": 0.115}), verdicts_of(0.1, {"a": 0.115, "b": 0.1151, "c": 0.1152})
    assert few["a"]["p_holm"] == few["a"]["nme_difference"]["p"]
    plain = [one["nme_difference"]["p"] for one in many.values()]
    assert [one["p_holm"] for one in many.values()] == pytest.approx(holm(plain).tolist())
    assert many["a"]["p_holm"] > few["a"]["p_holm"]


def test_networks_that_have_learnt_too_little_are_not_compared() -> None:
    assert list(verdicts_of(0.1, {"learnt": 0.12, "not": 0.13})) == ["learnt"]
    assert verdicts_of(0.13, {"learnt": 0.12}) == {}


def test_only_the_joints_named_are_compared() -> None:
    made = {"ours": errors(0.1), "other": errors(0.1)}
    made["other"][..., 5] += 0.05
    rows = {name: row(of_seeds, 0.25) for name, of_seeds in made.items()}
    at = {
        joint: comparisons(made, rows, GROUPS, "ours", {"other": (joint,)})["other"]["nme_difference"]
        for joint in (4, 5)
    }
    assert at[4]["seeds"]["estimate"] == pytest.approx(0)
    assert at[5]["seeds"]["estimate"] == pytest.approx(-0.05)


@pytest.mark.parametrize(("gain", "verdict"), [(-0.03, HOLDS), (0.1, FAILS), (0.005, OPEN)])
@pytest.mark.parametrize("same_network", [True, False])
def test_stages_after_the_last(gain: float, verdict: str, same_network: bool) -> None:
    """Stage 6 has fewer joints right than stage 5, stage 7 that share more."""
    hard = np.random.default_rng(0).uniform(size=(HANDS, 21))

    def right(share: float) -> Float64[np.ndarray, "seeds n 21"]:
        chance = 0.005 * np.random.default_rng(round(1000 * share)).standard_normal((3, HANDS, 21))
        return np.where(hard + chance < share, 0.1, 0.3)

    found = stage_numbers({1: right(0.3), 5: right(0.6), 6: right(0.57), 7: right(0.6 + gain)}, GROUPS, 5, same_network)
    assert list(found["gains_after"]) == ["6", "7"]
    assert found["gains_after"]["7"]["seeds"]["estimate"] == pytest.approx(gain, abs=0.01)
    assert found["verdict"] == verdict
    assert found["gained_before"]
    assert found["stages"]["5"]["pck_20"]["estimate"] == pytest.approx(0.6, abs=0.05)


def test_a_stage_that_changes_nothing_is_open() -> None:
    """Hands that never differ have no spread, and without it no interval."""
    found = stage_numbers({1: errors(0.2), 5: errors(0.19), 6: errors(0.19)}, GROUPS, 5, same_network=True)
    assert math.isnan(found["gains_after"]["6"]["hands"]["low"])
    assert found["verdict"] == OPEN


# Label noise


def noise_plan() -> Plan:
    smoke = PLANS["smoke"]
    rates = {"gaussian": (0.05, 0.1)}
    return Plan(replace(smoke.networks, seeds=3), ("sequential", "sequential_heatmap"), rates)


def nmes(ours: float, theirs: float, clean: float = 0.1, wobble: float = 0.0) -> dict[Job, float]:
    """NMEs that grow by these slopes; a seed's slope is off by some of the wobble."""
    plan, found = noise_plan(), {}
    for name, slope in zip(plan.names, (ours, theirs), strict=True):
        for seed in range(3):
            start = clean + 0.01 * seed
            found[Job(seed, CLEAN, 0.0, name)] = start
            for rate in plan.rates["gaussian"]:
                found[Job(seed, "gaussian", rate, name)] = start + (slope + wobble * (seed - 1)) * rate
    return found


def test_slopes_are_fitted_through_the_clean_run_of_each_seed() -> None:
    found = slopes(noise_plan(), nmes(0.2, 0.5, wobble=0.05), "gaussian", "sequential")
    assert found.absolute == pytest.approx([0.15, 0.2, 0.25])
    assert found.relative == pytest.approx([0.15 / 0.1, 0.2 / 0.11, 0.25 / 0.12])


def test_a_slope_that_no_line_fits_is_that_of_least_squares() -> None:
    crooked = nmes(0, 0)
    crooked[Job(0, "gaussian", 0.1, "sequential")] += 0.01
    rates, rise = np.array([[0.05], [0.1]]), np.array([0.0, 0.01])
    expected = np.linalg.lstsq(rates, rise, rcond=None)[0][0]
    assert slopes(noise_plan(), crooked, "gaussian", "sequential").absolute == pytest.approx([expected, 0, 0])


@pytest.mark.parametrize(("ours", "theirs", "verdict"), [(0.2, 0.5, HOLDS), (0.5, 0.2, FAILS), (0.2, 0.2, OPEN)])
def test_the_loss_that_degrades_more_slowly(ours: float, theirs: float, verdict: str) -> None:
    learnt = dict.fromkeys(noise_plan().names, True)
    (found,) = compare(noise_plan(), nmes(ours, theirs), "gaussian", learnt)
    assert found["steeper"]["estimate"] == pytest.approx(theirs - ours)
    assert found["verdict"] == verdict
    assert judge("gaussian", [found])["verdict"] == verdict


def test_a_slope_must_be_smaller_in_parts_of_the_clean_error_too() -> None:
    """Half the error grows less for being half."""
    half = nmes(0.2, 0.3)
    half = {job: value * (0.5 if job.name == "sequential" else 1.0) for job, value in half.items()}
    learnt = dict.fromkeys(noise_plan().names, True)
    (found,) = compare(noise_plan(), nmes(0.2, 0.3) | half, "gaussian", learnt)
    assert found["verdict"] == HOLDS
    steep = {job: value * (0.5 if job.name == "sequential" else 1.0) for job, value in nmes(0.4, 0.3).items()}
    (found,) = compare(noise_plan(), steep, "gaussian", learnt)
    assert found["steeper"]["low"] > 0
    assert found["relatively_steeper"]["high"] < 0
    assert found["verdict"] == OPEN


def test_a_network_that_learnt_too_little_or_diverged_is_not_judged() -> None:
    for name in noise_plan().names:
        learnt = dict.fromkeys(noise_plan().names, True) | {name: False}
        (found,) = compare(noise_plan(), nmes(0.2, 0.5), "gaussian", learnt)
        assert found["verdict"] == OPEN
    diverged = nmes(0.2, 0.5) | {Job(1, "gaussian", 0.1, "sequential_heatmap"): math.nan}
    (found,) = compare(noise_plan(), diverged, "gaussian", dict.fromkeys(noise_plan().names, True))
    assert found["verdict"] == OPEN
