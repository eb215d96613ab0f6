"""Coverage, sharpness and risk-coverage of predictions whose errors have known distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from knuckle.hands import Hands
from knuckle.metrics.calibration import LEVELS, Coverage, coverage, measure, risk_coverage, scores
from tests.metrics.stated import SIDE, stated

N = 600


def by_level(rows: tuple[Coverage, ...], part: str = "all joints", kind: str = "all") -> dict[float, Coverage]:
    return {row.level: row for row in rows if (row.kind, row.part) == (kind, part)}


def four_errors(level: float, keypoints: int) -> float:
    """Four standard errors of a share."""
    return 4 * math.sqrt(level * (1 - level) / keypoints)


def test_true_covariances_cover_what_they_say() -> None:
    pred, true = stated(N)
    rows = measure(pred, true).gaussian
    assert len(rows) == len(LEVELS) * (1 + 6 + 21)
    for row in rows:
        assert row.keypoints == N * {"all": 21, "joint": 1, "finger": 1 if row.part == "wrist" else 4}[row.kind]
        assert row.share.estimate == pytest.approx(row.level, abs=four_errors(row.level, row.keypoints))
        assert row.share.low < row.share.estimate < row.share.high


def test_heavy_tails_cover_what_their_distribution_says() -> None:
    """A normal vector with an exponential variance: P(score <= q) is the mean of 1 - exp(-q / 2 v) over v."""
    pred, true = stated(N, kind="laplace")
    variance = stats.expon.ppf((np.arange(100_000) + 0.5) / 100_000)
    for level, row in by_level(measure(pred, true).gaussian).items():
        expected = np.mean(-np.expm1(math.log1p(-level) / variance))
        assert row.share.estimate == pytest.approx(expected, abs=four_errors(level, row.keypoints))


def test_a_joint_whose_covariance_is_too_small_is_named() -> None:
    too_small = np.ones(21)
    too_small[8] = 4.0
    pred, true = stated(N, too_small=too_small)
    rows = measure(pred, true).gaussian
    for level in LEVELS:
        expected = stats.chi2.cdf(stats.chi2.ppf(level, 2) / 4, 2)
        found = by_level(rows, "index_tip", "joint")[level]
        assert found.share.estimate == pytest.approx(expected, abs=four_errors(expected, N))
        others = by_level(rows, "index_dip", "joint")[level]
        assert others.share.estimate == pytest.approx(level, abs=four_errors(level, N))
        finger = by_level(rows, "index", "finger")[level].share.estimate
        assert finger == pytest.approx((3 * level + expected) / 4, abs=four_errors(level, 4 * N))


def test_given_limits_replace_the_normal_ones() -> None:
    pred, true = stated(50)
    everything, nothing = np.full((4, 21), np.inf), np.zeros((4, 21))
    assert all(row.share.estimate == 1 for row in measure(pred, true, everything).conformal)
    assert all(row.share.estimate == 0 for row in measure(pred, true, nothing).conformal)
    assert measure(pred, true).conformal == ()
    # On the limit is inside.
    score = np.full((50, 21), 2.0)
    assert coverage(score, np.full((1, 21), 2.0), [0.9], np.arange(50))[0].share.estimate == 1


def test_intervals_resample_groups() -> None:
    rng = np.random.default_rng(0)
    hit = np.repeat(rng.random(40) < 0.8, 10)  # ten hands of a group share their fate
    score = np.where(hit[:, None], 0.0, 99.0) * np.ones((1, 21))
    together = coverage(score, np.ones((1, 21)), [0.8], np.repeat(np.arange(40), 10))[0].share
    apart = coverage(score, np.ones((1, 21)), [0.8], np.arange(400))[0].share
    assert together.estimate == apart.estimate == pytest.approx(hit.mean())
    assert together.high - together.low > 2.5 * (apart.high - apart.low)


def test_only_keypoints_with_label_and_region_count() -> None:
    pred, true = stated(30)
    visibility = np.full((30, 21), 2)
    visibility[:, 3] = 0
    lacking = np.full((30, 21), 2)
    lacking[:10, 5] = 0
    covariance = np.array(pred.covariance)
    covariance[20:, 7] = np.nan
    found = measure(pred.replace(visibility=lacking, covariance=covariance), true.replace(visibility=visibility))
    assert (found.keypoints, found.unstated) == (30 * 20 - 20, 20)
    joints = {row.part: row for row in found.gaussian if row.kind == "joint" and row.level == 0.5}
    assert [joints[name].keypoints for name in ("thumb_ip", "index_mcp", "index_dip")] == [0, 20, 20]
    assert math.isnan(joints["thumb_ip"].share.estimate)


def test_sharpness_is_the_size_of_the_regions() -> None:
    pred, true = stated(20)
    pred = pred.replace(covariance=np.tile(np.diag([9.0, 4.0]), (20, 21, 1, 1)))
    rows = measure(pred, true).sharpness
    q = stats.chi2.ppf(0.9, 2)
    assert rows[0].area == pytest.approx(math.pi * q * 6, rel=1e-6)
    assert rows[0].radius == pytest.approx(math.sqrt(q * 6) / SIDE, rel=1e-6)
    wider = measure(pred, true, np.tile([[1.0], [2.0], [2 * q], [9.0]], (1, 21))).sharpness
    assert wider[0].area == pytest.approx(2 * rows[0].area, rel=1e-6)


def test_risk_coverage_of_an_order_that_is_known() -> None:
    error = np.array([4.0, 1.0, 3.0, 2.0])
    best = risk_coverage(error, error)
    assert best.kept == (0.25, 0.5, 0.75, 1.0)
    assert best.risk == best.oracle == (1.0, 1.5, 2.0, 2.5)
    assert (best.area, best.area_oracle, best.area_random) == (1.75, 1.75, 2.5)
    worst = risk_coverage(error, -error)
    assert worst.risk == (4.0, 3.5, 3.0, 2.5)
    tied = risk_coverage(error, np.array([0.0, 0.0, 1.0, 1.0]))
    assert tied.risk == (2.5, 2.5, 2.5, 2.5), "ties are not broken by the order of the rows"
    assert risk_coverage(error, np.zeros(4)).area == 2.5


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=300))
def test_no_order_beats_the_oracle(rows: list[tuple[float, float]]) -> None:
    error, uncertainty = np.array(rows).T
    found = risk_coverage(error, uncertainty)
    assert found.area_oracle <= found.area + 1e-9
    assert found.area_oracle <= found.area_random + 1e-9
    assert found.kept[-1] == 1
    assert found.risk[-1] == pytest.approx(error.mean())
    assert all(low <= risk + 1e-9 for low, risk in zip(found.oracle, found.risk, strict=True))


def test_uncertainty_that_knows_its_errors_sorts_better_than_chance() -> None:
    found = measure(*stated(N)).risk_coverage
    assert found is not None
    assert found.area_oracle < 0.9 * found.area < 0.8 * found.area_random


def moved(hands: Hands, turn: float, zoom: float, shift: float) -> Hands:
    """The picture turned, enlarged and moved; boxes keep their meaning as a length."""
    linear = zoom * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    covariance = None if hands.covariance is None else linear @ hands.covariance.astype(float) @ linear.T
    return hands.replace(xy=hands.xy @ linear.T + shift, box=hands.box * zoom, covariance=covariance)


@settings(max_examples=20)
@given(turn=st.floats(0, 6), zoom=st.floats(0.2, 5), shift=st.floats(-50, 50))
def test_nothing_depends_on_the_pictures_axes_and_pixels(turn: float, zoom: float, shift: float) -> None:
    pred, true = stated(20)
    there, truth = moved(pred, turn, zoom, shift), moved(true, turn, zoom, shift)
    np.testing.assert_allclose(scores(there, truth), scores(pred, true), rtol=2e-2, atol=1e-3)  # xy is float32
    ours, theirs = measure(pred, true, resamples=10), measure(there, truth, resamples=10)
    assert theirs.sharpness[0].radius == pytest.approx(ours.sharpness[0].radius, rel=1e-3)
    assert ours.risk_coverage is not None
    assert theirs.risk_coverage is not None
    assert theirs.risk_coverage.area == pytest.approx(ours.risk_coverage.area, rel=1e-3)


def test_predictions_without_any_uncertainty_state_nothing() -> None:
    pred, true = stated(5)
    found = measure(pred.replace(covariance=None), true)
    assert (found.keypoints, found.unstated) == (0, 105)
    assert (found.gaussian, found.sharpness, found.reliability) == ((), (), ())
    assert found.risk_coverage is None
    assert found.expected_calibration_error is None


def test_tables_of_other_hands_are_refused() -> None:
    pred, true = stated(5)
    with pytest.raises(ValueError, match="the same rows"):
        measure(pred, true[:4])
