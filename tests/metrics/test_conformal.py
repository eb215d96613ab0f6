"""Fitting: scales are found, the conformal promise holds, confidence becomes honest, records survive JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from knuckle.metrics import Calibration
from knuckle.metrics.calibration import measure
from knuckle.metrics.conformal import conformal_rank, fit, isotonic, pool_adjacent_violators
from knuckle.skeleton import FINGERS
from tests.metrics.stated import SIDE, stated

TOO_SMALL = np.exp(np.linspace(-1.5, 1.5, 21))


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return fit(*stated(2000, kind="laplace", too_small=TOO_SMALL))


def test_the_scale_is_that_of_normal_errors() -> None:
    found = fit(*stated(2000, too_small=TOO_SMALL))
    assert found.source == "covariance"
    assert (found.hands, found.groups) == (2000, 2000)
    np.testing.assert_allclose(np.array(found.scale, dtype=float), TOO_SMALL, rtol=0.12)


def test_the_scale_stands_wrong_labels() -> None:
    """A tenth of them anywhere: the mean of the scores grows a hundredfold, the scale by an eighth."""
    pred, true = stated(1000)
    wrong = np.random.default_rng(1).random((1000, 21, 1)) < 0.1
    found = fit(pred, true.replace(xy=true.xy + 500 * wrong))
    np.testing.assert_allclose(np.array(found.scale, dtype=float), 1.15, rtol=0.2)


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_regions_hold_what_they_state_on_new_hands(kind: str) -> None:
    too_small = TOO_SMALL
    found = fit(*stated(2000, seed=1, kind=kind, too_small=too_small))  # type: ignore[arg-type]
    pred, true = stated(2000, seed=2, kind=kind, too_small=too_small)  # type: ignore[arg-type]
    measured = measure(found.apply(pred), true, found.limits_array(), resamples=10)
    for row in measured.conformal:
        # The limits err as much as the measured share does, hence 2.
        bound = 4 * math.sqrt(2 * row.level * (1 - row.level) / row.keypoints)
        assert row.share.estimate == pytest.approx(row.level, abs=bound)
    nine = {row.part: row.share.estimate for row in measured.conformal if row.level == 0.9 and row.kind != "joint"}
    assert nine.keys() == {"all joints", "wrist", *FINGERS}
    assert all(0.88 <= share <= 0.92 for share in nine.values())
    before = {row.part: row.share.estimate for row in measure(pred, true, resamples=10).gaussian if row.level == 0.9}
    assert not 0.88 <= before["little"] <= 0.92, "there was something to calibrate"


@pytest.mark.parametrize(("n", "level"), [(9, 0.9), (19, 0.9), (19, 0.95), (7, 0.5), (30, 0.8)])
def test_the_conformal_promise_to_the_letter(n: int, level: float) -> None:
    """Over many small fitting sets the coverage of one more hand is ceil((n + 1) level) / (n + 1), not more or less."""
    rng = np.random.default_rng(n)
    trials = 20_000
    score = rng.standard_cauchy((trials, n + 1)) ** 2  # no moments are needed
    rank = conformal_rank(n, level)
    limit = np.sort(score[:, :n], axis=1)[:, rank - 1]
    promised = rank / (n + 1)
    assert level <= promised < level + 1 / (n + 1)
    assert (score[:, n] <= limit).mean() == pytest.approx(promised, abs=4 * math.sqrt(promised / 4 / trials))


def test_the_fitted_limit_is_the_score_of_that_rank() -> None:
    """Scaled covariances are float32, hence the hair."""
    pred, true = stated(39)
    found = fit(pred, true)
    scaled = found.apply(pred)
    inside = [
        round(row.share.estimate * 39)
        for row in measure(scaled, true, found.limits_array() * (1 + 1e-5), resamples=10).conformal
        if row.kind == "joint"
    ]
    assert inside == [rank for rank in (20, 32, 36, 38) for _ in range(21)]


@given(n=st.integers(1, 5000), percent=st.integers(1, 99))
def test_the_rank_is_exact_for_decimal_levels(n: int, percent: int) -> None:
    """(n + 1) level in binary may pass a whole number: 100 * 0.55 is 55.00000000000001."""
    assert conformal_rank(n, percent / 100) == -(-(n + 1) * percent // 100)


def test_too_few_hands_state_the_whole_plane() -> None:
    found = fit(*stated(8))
    assert [row[0] is None for row in found.limits] == [False, False, True, True]
    assert found.limits_array()[2, 0] == np.inf


def test_confidence_is_the_share_that_is_close(calibration: Calibration) -> None:
    pred, true = stated(2000, seed=5, kind="laplace", too_small=TOO_SMALL)
    found = measure(calibration.apply(pred), true, resamples=10)
    assert found.expected_calibration_error is not None
    assert found.expected_calibration_error < 0.02
    confidence = calibration.apply(pred).confidence
    assert confidence is not None
    assert confidence.std() > 0.1
    # Without the map heavy tails make it wrong.
    honest = replace(calibration, disc=(0.0, 1.0), confidence=(0.0, 1.0))
    raw = measure(honest.apply(pred), true, resamples=10).expected_calibration_error
    assert raw is not None
    assert raw > 2 * found.expected_calibration_error


def test_confidence_falls_with_the_covariance(calibration: Calibration) -> None:
    pred, _ = stated(3)
    assert pred.covariance is not None
    sure, unsure = (calibration.apply(pred.replace(covariance=pred.covariance * by)).confidence for by in (0.1, 10))
    assert sure is not None
    assert unsure is not None
    assert (sure > unsure).mean() > 0.9
    assert (sure >= unsure).all()


def test_without_covariance_calibration_gives_one() -> None:
    """Isotropic errors of one pixel at a box of 100 and two at 200: variances are a multiple of the box squared."""
    rng = np.random.default_rng(0)
    pred, true = stated(2000)
    by = rng.choice([1.0, 2.0], 2000)
    spread = np.where(np.arange(21) == 4, 3.0, 1.0)
    pred = pred.replace(
        covariance=None,
        xy=true.xy + rng.normal(size=(2000, 21, 2)) * spread[:, None] * by[:, None, None],
        box=true.box * by[:, None],
    )
    found = fit(pred, true)
    assert found.source == "box"
    np.testing.assert_allclose(np.array(found.scale, dtype=float), (spread / SIDE) ** 2, rtol=0.12)
    covariance = found.apply(pred).covariance
    assert covariance is not None
    np.testing.assert_allclose(covariance[:, 4], 9 * by[:, None, None] ** 2 * np.eye(2), rtol=0.12, atol=1e-6)
    measured = measure(found.apply(pred), true, found.limits_array(), resamples=10)
    assert all(abs(row.share.estimate - row.level) < 0.02 for row in measured.conformal if row.kind == "finger")
    assert measured.expected_calibration_error is not None
    assert measured.expected_calibration_error < 0.01


def test_joints_that_were_never_fitted_state_nothing() -> None:
    pred, true = stated(200)
    visibility = np.full((200, 21), 2)
    visibility[:, 6] = 0
    found = fit(pred, true.replace(visibility=visibility))
    assert found.scale[6] is None
    assert {row[6] for row in found.limits} == {None}
    applied = found.apply(pred)
    assert applied.covariance is not None
    assert applied.confidence is not None
    assert np.isnan(applied.covariance[:, 6]).all()
    assert np.isnan(applied.confidence[:, 6]).all()
    assert np.isfinite(np.delete(applied.confidence, 6, axis=1)).all()


def test_what_cannot_be_fitted_or_applied_gets_a_sentence() -> None:
    pred, true = stated(30)
    with pytest.raises(ValueError, match="no keypoint has both a label and a usable prediction"):
        fit(pred, true.replace(visibility=np.zeros((30, 21))))
    with pytest.raises(ValueError, match="box with an extent"):
        fit(pred.replace(box=np.full((30, 4), np.nan)), true)
    with pytest.raises(ValueError, match="these predictions have none"):
        fit(pred, true).apply(pred.replace(covariance=None))


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 9)), min_size=1, max_size=12))
def test_pooling_is_the_nearest_rising_sequence(rows: list[tuple[float, int]]) -> None:
    value, weight = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    oracle = optimize.isotonic_regression(value, weights=weight).x
    np.testing.assert_allclose(pool_adjacent_violators(value, weight), oracle, atol=1e-12)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), min_size=1, max_size=400))
def test_the_map_never_falls_and_keeps_the_mean(rows: list[tuple[float, bool]]) -> None:
    value, hit = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    disc, confidence = isotonic(value, hit)
    assert list(disc) == sorted(set(disc))
    assert list(confidence) == sorted(confidence)
    assert len(disc) <= max(1, len(rows) // 50)
    if len(disc) == 1:
        assert confidence == pytest.approx((hit.mean(),))


def test_records_survive_json(calibration: Calibration) -> None:
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict(), allow_nan=False))) == calibration
    few = fit(*stated(8))
    assert Calibration.from_dict(json.loads(json.dumps(few.to_dict(), allow_nan=False))) == few


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"source": "hope"}, "source is covariance or box"),
        ({"scale": [1.0]}, "needs 21 scales"),
        ({"scale": [0.0] * 21}, "scales are positive"),
        ({"scale": [math.nan] * 21}, "scales are positive"),
        ({"limits": [[1.0] * 21]}, "limits for each"),
        ({"limits": [[1.0] * 20] * 4}, "needs 21 scales"),
        ({"levels": [0.9, 0.5, 0.95, 0.99]}, "ascending levels"),
        ({"levels": [0.5, 0.8, 0.9, 1.1]}, "lie in 0..1"),
        ({"confidence": [0.9, 0.1], "disc": [0.2, 0.3]}, "must not fall"),
        ({"confidence": [], "disc": []}, "at least one"),
        ({"confidence": [0.5], "disc": [0.2, 0.3]}, "as many values"),
        ({"hands": None}, "missing or of another kind"),
        ({"colour": 1}, "has the fields"),
    ],
)
def test_wrong_records_are_refused(calibration: Calibration, change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Calibration.from_dict(calibration.to_dict() | change)
