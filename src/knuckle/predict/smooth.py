"""Smoothing over time: a constant-velocity Kalman filter for every keypoint, weighted by its covariance.

The state of a keypoint is x = (px, py, vx, vy): its position in image pixels and its velocity in pixels a
second. Between two measurements dt seconds apart, white noise of spectral density q accelerates it (Bar-Shalom,
Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 6.2.2):

    x' = F x,  P' = F P F^T + Q,   F = [[1, dt], [0, 1]] (x) I2,   Q = q [[dt^3/3, dt^2/2], [dt^2/2, dt]] (x) I2

with (x) the Kronecker product. A measurement z is the predicted keypoint, and its noise R the 2 x 2 covariance that
the model states for it (Kalman, 1960; the update of P in Joseph's form, which stays positive definite):

    z = H x + noise,   H = [I2, 0],   S = H P' H^T + R,   K = P' H^T S^-1
    x = x' + K (z - H x'),   P = (I - K H) P' (I - K H)^T + K R K^T

The first measurement starts it: x = (z, 0), P = diag(R, s^2 I2). A joint that is not measured is only moved on, so
frames may be missing and come at any time. q, s, and R where the model states none scale with the hand: they are
given in sides, where a side is the longer side of the extent of the hand's keypoints in that frame. After a long gap
the velocity says nothing of where the hand went, and one made of the jump would throw the next frames off: the filter
starts again.

The filter uses no later frame, so it works live; at a constant velocity it has no lag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from knuckle.hands import Hands, keypoint_extent
from knuckle.skeleton import NUM_JOINTS

LEAST_NOISE: Final = 1e-3
"""Standard deviation in sides below which no measurement is believed: a covariance of 0 would end all filtering."""

_EYE2: Final = np.eye(2)
_EYE4: Final = np.eye(4)


@dataclass(frozen=True)
class SmoothRule:
    """How strongly to smooth.

    Attributes:
        agility: root of the spectral density q, in sides per second^1.5: how much a joint's velocity may change in a
            second. Less is smoother and lags more where a movement starts or ends. At 30 frames a second and the
            default noise, 0.5 brings the jitter of a still hand to a third, and a hand that goes from rest to two
            sides a second within 0.2 s is at most a twentieth of its side ahead; 1.0 means 2.3 times less and 0.025.
        noise: standard deviation of a measurement along each axis in sides, where the model states no covariance.
        first_speed: standard deviation s of the unknown first velocity along each axis, in sides a second.
        longest_gap: seconds since a hand was last seen after which its filter starts again.

    Raises:
        ValueError: a number is not positive.
    """

    agility: float = 0.5
    noise: float = 0.02
    first_speed: float = 2.0
    longest_gap: float = 0.5

    def __post_init__(self) -> None:
        if min(self.agility, self.noise, self.first_speed, self.longest_gap) <= 0:
            raise ValueError(f"smoothing needs positive numbers, got {self}.")


class State(NamedTuple):
    """The filters of one hand's 21 joints.

    Attributes:
        time: of the latest frame, in seconds.
        mean: (21, 4) x, NaN for joints that were never measured.
        covariance: (21, 4, 4) P.
    """

    time: float
    mean: Float64[np.ndarray, "21 4"]
    covariance: Float64[np.ndarray, "21 4 4"]

    @classmethod
    def unknown(cls, time: float) -> State:
        """Before the first measurement."""
        return cls(time, np.full((NUM_JOINTS, 4), np.nan), np.zeros((NUM_JOINTS, 4, 4)))


def predict(state: State, time: float, density: float) -> State:
    """The state at a later time, before its measurement.

    Args:
        state: at an earlier time.
        time: in seconds.
        density: q, in pixels^2 / second^3.
    """
    dt = time - state.time
    assert dt >= 0, "frames come in the order of their times"
    move = np.kron([[1, dt], [0, 1]], _EYE2)
    shake = density * np.kron([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]], _EYE2)
    return State(time, state.mean @ move.T, move @ state.covariance @ move.T + shake)


def update(
    state: State, xy: Float64[np.ndarray, "21 2"], noise: Float64[np.ndarray, "21 2 2"], first_speed: float
) -> State:
    """The state after the measurement of its time.

    Args:
        state: as `predict` gives it.
        xy: measured positions in pixels, NaN for joints that are not measured.
        noise: R, in pixels^2.
        first_speed: s, in pixels a second, of joints that are measured for the first time.
    """
    mean, covariance = state.mean.copy(), state.covariance.copy()
    measured = np.isfinite(xy).all(axis=1)
    first = measured & np.isnan(mean[:, 0])
    mean[first] = np.concatenate([xy[first], np.zeros((int(first.sum()), 2))], axis=1)
    covariance[first] = 0
    covariance[first, :2, :2] = noise[first]
    covariance[first, 2:, 2:] = first_speed**2 * _EYE2
    again = measured & ~first
    before, spread = covariance[again], noise[again]
    gain = before[:, :, :2] @ np.linalg.inv(before[:, :2, :2] + spread)
    mean[again] += (gain @ (xy[again] - mean[again, :2])[..., None])[..., 0]
    rest = _EYE4 - np.concatenate([gain, np.zeros_like(gain)], axis=-1)
    covariance[again] = rest @ before @ rest.swapaxes(-1, -2) + gain @ spread @ gain.swapaxes(-1, -2)
    return State(state.time, mean, covariance)


def smooth(
    states: Mapping[int, State], hands: Hands, track: Int64[np.ndarray, " m"], time: float, rule: SmoothRule
) -> tuple[dict[int, State], Hands]:
    """One frame's hands, smoothed, and the filters after it.

    Args:
        states: the filters of the tracks seen so far. Those of other tracks stay as they are.
        hands: the frame's hands.
        track: the track of each.
        time: of the frame, in seconds.
        rule: how strongly to smooth.

    Returns:
        The filters, and the hands with `xy` and `covariance` of the filters. Joints that the model did not find in
        this frame stay unlabelled.
    """
    after = dict(states)
    xy = hands.xy.astype(np.float64)
    covariance = np.full((len(hands), NUM_JOINTS, 2, 2), np.nan)
    extent = keypoint_extent(hands.xy).astype(np.float64)
    for row, number in enumerate(track.tolist()):
        side = float((extent[row, 2:] - extent[row, :2]).max())
        if not np.isfinite(side) or side == 0:
            continue
        before = after.get(number, State.unknown(time))
        if time - before.time > rule.longest_gap:
            before = State.unknown(time)
        moved = predict(before, time, (rule.agility * side) ** 2)
        noise = _noise(None if hands.covariance is None else hands.covariance[row], side, rule)
        state = update(moved, xy[row], noise, rule.first_speed * side)
        found = hands.labeled[row]
        xy[row, found] = state.mean[found, :2]
        covariance[row, found] = state.covariance[found, :2, :2]
        after[number] = state
    return after, hands.replace(xy=xy, covariance=covariance)


def _noise(stated: NDArray[np.float32] | None, side: float, rule: SmoothRule) -> Float64[np.ndarray, "21 2 2"]:
    """R of every joint: what the model states, and a little more; a fixed one where it states none."""
    fixed = np.tile((rule.noise * side) ** 2 * _EYE2, (NUM_JOINTS, 1, 1))
    if stated is None:
        return fixed
    is_stated = np.isfinite(stated).all(axis=(1, 2), keepdims=True)
    least = (LEAST_NOISE * side) ** 2 * _EYE2
    return np.where(is_stated, stated.astype(np.float64) + least, fixed)
