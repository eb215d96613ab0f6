"""The Kalman filter: against the textbook's arithmetic, its steady state, and what it is for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.linalg import block_diag, solve_discrete_are

from knuckle.hands import Hands
from knuckle.predict.smooth import LEAST_NOISE, SmoothRule, State, predict, smooth, update

RATE = 30.0
SIDE = 100.0
"""Longer side of the hand's extent in pixels."""
RNG_HAND = np.random.default_rng(4).uniform(0, SIDE, (21, 2))
HAND = (RNG_HAND - RNG_HAND.min(axis=0)) / np.ptp(RNG_HAND, axis=0) * (SIDE, 0.8 * SIDE)


def hands(xy: Any, covariance: Any = None) -> Hands:
    xy = np.asarray(xy, np.float32)[None]
    visibility = np.where(np.isfinite(xy).all(axis=-1), 2, 0)
    return Hands(image=["a"], xy=xy, visibility=visibility, covariance=None if covariance is None else covariance[None])


def filtered(clip: Any, times: Any, rule: SmoothRule, covariance: Any = None) -> Any:
    """(frames, 21, 2) smoothed positions of one hand."""
    states: dict[int, State] = {}
    found = []
    for xy, time in zip(clip, times, strict=True):
        states, smoothed = smooth(states, hands(xy, covariance), np.array([7]), float(time), rule)
        found.append(smoothed.xy[0])
    assert list(states) == [7]
    return np.array(found)


def test_it_is_the_textbooks_filter_at_irregular_times_with_missing_joints() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.2, 12))
    clip = 50 + HAND + rng.normal(0, 3, (12, 21, 2))
    clip[3:5, 2] = np.nan
    clip[:2, 9] = np.nan
    roots = rng.normal(0, 2, (21, 2, 2))
    stated = (roots @ roots.swapaxes(-1, -2)).astype(np.float32)
    rule = SmoothRule(agility=0.7, noise=0.05, first_speed=1.5)
    states: dict[int, State] = {}
    expected: dict[int, tuple[Any, Any]] = {}
    for number, (time, xy) in enumerate(zip(times, clip, strict=True)):
        states, smoothed = smooth(states, hands(xy, stated), np.array([1]), float(time), rule)
        side = np.ptp(np.nan_to_num(xy.astype(np.float32), nan=90.0), axis=0).max()
        for joint in range(21):
            noise = stated[joint].astype(float) + (LEAST_NOISE * side) ** 2 * np.eye(2)
            if joint in expected:
                expected[joint] = textbook_predict(*expected[joint], time - times[number - 1], (0.7 * side) ** 2)
            if np.isnan(xy[joint, 0]):
                assert smoothed.visibility[0, joint] == 0
                continue
            if joint not in expected:
                start = np.array([*xy[joint].astype(np.float32), 0, 0])
                expected[joint] = start, block_diag(noise, (1.5 * side) ** 2 * np.eye(2))
            else:
                expected[joint] = textbook_update(*expected[joint], xy[joint].astype(np.float32), noise)
            mean, covariance = expected[joint]
            np.testing.assert_allclose(smoothed.xy[0, joint], mean[:2], rtol=1e-5)
            assert smoothed.covariance is not None
            np.testing.assert_allclose(smoothed.covariance[0, joint], covariance[:2, :2], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(states[1].covariance[2], expected[2][1], rtol=1e-6, atol=1e-9)


def textbook_predict(mean: Any, covariance: Any, dt: float, density: float) -> tuple[Any, Any]:
    """One step in the order x, y, vx, vy, element by element."""
    move = np.array([[1, 0, dt, 0], [0, 1, 0, dt], [0, 0, 1, 0], [0, 0, 0, 1]])
    far, mixed, near = density * dt**3 / 3, density * dt**2 / 2, density * dt
    shake = np.array([[far, 0, mixed, 0], [0, far, 0, mixed], [mixed, 0, near, 0], [0, mixed, 0, near]])
    return move @ mean, move @ covariance @ move.T + shake


def textbook_update(mean: Any, covariance: Any, measured: Any, noise: Any) -> tuple[Any, Any]:
    """In information form: P^-1 = P'^-1 + H^T R^-1 H."""
    look = np.eye(2, 4)
    information = np.linalg.inv(covariance) + look.T @ np.linalg.inv(noise) @ look
    after = np.linalg.inv(information)
    return after @ (np.linalg.inv(covariance) @ mean + look.T @ np.linalg.inv(noise) @ measured), after


def test_the_uncertainty_settles_where_the_riccati_equation_says() -> None:
    noise, density, dt = 4.0, 900.0, 1 / RATE
    stated = np.tile(noise * np.eye(2), (21, 1, 1))
    state = State.unknown(0.0)
    for number in range(400):
        state = update(predict(state, number * dt, density), HAND, stated, first_speed=100.0)
    before = predict(state, 400 * dt, density).covariance[0]
    move, shake = textbook_move(dt), density * textbook_shake(dt)
    steady = solve_discrete_are(move.T, np.array([[1.0], [0.0]]), shake, np.array([[noise]]))
    np.testing.assert_allclose(before[np.ix_([0, 2], [0, 2])], steady, rtol=1e-6)
    np.testing.assert_allclose(before[np.ix_([1, 3], [1, 3])], steady, rtol=1e-6)


def textbook_move(dt: float) -> Any:
    return np.array([[1, dt], [0, 1]])


def textbook_shake(dt: float) -> Any:
    return np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])


def test_a_still_hand_jitters_a_third_as_much() -> None:
    rng = np.random.default_rng(1)
    rule = SmoothRule()
    clip = 300 + HAND + rng.normal(0, rule.noise * SIDE, (300, 21, 2))
    smoothed = filtered(clip, np.arange(300) / RATE, rule)
    raw, calm = (np.diff(xy[30:], axis=0).std() for xy in (clip, smoothed))
    assert calm < raw / 2.9
    assert smoothed[30:].mean() == pytest.approx(clip[30:].mean(), abs=0.1)
    assert (smoothed[30:] - clip.mean(axis=0)).std() < 0.75 * rule.noise * SIDE


def test_steady_motion_is_followed_without_lag() -> None:
    rng = np.random.default_rng(2)
    times = np.cumsum(rng.uniform(0.5, 1.5, 200)) / RATE
    path = HAND + times[:, None, None] * np.array([250.0, -80.0])
    smoothed = filtered(path, times, SmoothRule())
    np.testing.assert_allclose(smoothed[60:], path[60:], atol=0.02)


def test_a_hand_that_speeds_up_lags_by_less_than_a_twentieth_of_its_side() -> None:
    # From rest to two sides a second within 0.2 s: the start of a wave.
    times = np.arange(60) / RATE
    gone = np.interp(times, [1.0, 1.2], [0, 1]) * np.clip(times - 1.0, 0, 0.2) * SIDE
    gone += np.clip(times - 1.2, 0, None) * 2 * SIDE
    path = 100 + HAND + gone[:, None, None] * np.array([1.0, 0.0])
    lag = np.abs(filtered(path, times, SmoothRule()) - path).max()
    assert 0.001 * SIDE < lag < 0.05 * SIDE


def test_an_uncertain_point_is_believed_less() -> None:
    stated = np.tile(np.eye(2), (21, 1, 1)).astype(np.float32)
    stated[4] = np.diag([1.0, 400.0])
    clip = np.stack([HAND] * 30 + [HAND + 10])
    jump = filtered(clip, np.arange(31) / RATE, SmoothRule(), stated)[-1] - HAND
    others = np.delete(jump, 4, axis=0)
    np.testing.assert_allclose(jump[4, 0], others[:, 0].mean(), rtol=1e-3)
    assert jump[4, 1] < 0.5 * others[:, 1].min()


def test_a_gap_makes_the_filter_trust_the_next_measurement_more() -> None:
    def pull(gap: int) -> float:
        times = np.array([*range(30), 29 + gap]) / RATE
        clip = np.stack([HAND] * 30 + [HAND + 10])
        return float((filtered(clip, times, SmoothRule())[-1] - HAND).mean())

    assert pull(1) < pull(5) < pull(15) <= 10


def test_after_a_long_gap_the_filter_starts_again() -> None:
    rule = SmoothRule()
    times = np.array([*range(30), *range(60, 65)]) / RATE
    clip = HAND + np.where(times < 1.5, 30 * times, 500.0)[:, None, None]
    late = filtered(clip, times, rule)[30:]
    np.testing.assert_allclose(late, np.stack([HAND + 500] * 5), atol=1e-3)  # neither the old nor the jump's velocity
    tenth = rule.longest_gap / 10
    bridged = filtered(clip[:2], np.array([0, tenth]), rule)[1]
    assert not np.allclose(bridged, clip[1], atol=1e-4), "a short gap is bridged"


def test_other_tracks_stay_as_they_are_and_a_covariance_of_zero_is_survived() -> None:
    still = State.unknown(0.0)
    states, smoothed = smooth({3: still}, hands(HAND, np.zeros((21, 2, 2))), np.array([5]), 1.0, SmoothRule())
    states, smoothed = smooth(states, hands(HAND, np.zeros((21, 2, 2))), np.array([5]), 1.0, SmoothRule())
    assert states[3] is still
    np.testing.assert_allclose(smoothed.xy[0], HAND, rtol=1e-5)


def test_a_rule_without_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        SmoothRule(noise=0)
