"""What a design can show: power, the smallest difference that it finds, and the photos that would be needed.

A design is a number of own and of base photos (clusters, where photos depend on each other) for each gesture. All
25 gestures are tested and corrected by Holm; a single gesture that differs meets Holm's first step, alpha / 25. So that
is the level used here, and power for more differing gestures is a little higher.
"""

from __future__ import annotations

import functools
import math
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from knuckle.metrics.permutation import permutation_test, smallest_p
from knuckle.metrics.statistics import welch_freedom

MOST_PHOTOS: Final = 100_000
"""Own photos beyond which the search for a design gives up."""

_NODES: Final = 200
"""Of the quadrature; enough for 1e-8."""


class Photos(NamedTuple):
    """Photos of one gesture."""

    own: int
    base: int


def power(
    shift: float, sd: float, own: int, base: int, *, sd_own: float | None = None, alpha: float = 0.05, tests: int = 25
) -> float:
    """The chance that a two-sided test of own against base finds a difference of `shift`, at level alpha / tests.

    Welch's t has, for normal errors, a noncentral t distribution with noncentrality shift / sqrt(sd_own^2 / own +
    sd^2 / base) and Satterthwaite's degrees of freedom. A permutation test that cannot reach the level with so few
    photos (`smallest_p`) has power 0, whatever the formula says of t.

    Args:
        shift: true difference of the means, in the unit of the errors.
        sd: standard deviation of the cluster means of base.
        own: clusters.
        base: clusters.
        sd_own: that of own; the same as `sd` unless given.
        alpha: error rate of the whole family.
        tests: how many gestures are tested.

    Raises:
        ValueError: a standard deviation is not positive, fewer than two clusters in an arm, or a level not within 0..1.
    """
    level = _level(alpha, tests)
    spread = sd if sd_own is None else sd_own
    if not min(sd, spread) > 0 or not math.isfinite(sd + spread) or min(own, base) < 2:
        raise ValueError(
            f"power needs positive standard deviations and two clusters an arm, got {sd}, {spread}, {own} and {base}."
        )
    if smallest_p(own, base) > level:
        return 0.0
    return _t_power(shift, sd, spread, own, base, level)


def photos_needed(
    shift: float,
    sd: float,
    *,
    sd_own: float | None = None,
    base_per_own: float = 2.0,
    target: float = 0.8,
    alpha: float = 0.05,
    tests: int = 25,
) -> Photos | None:
    """The smallest design that finds a difference of `shift` with the power `target`.

    Args:
        shift: see `power`.
        sd: see `power`.
        sd_own: see `power`.
        base_per_own: base photos for each own photo, rounded up.
        target: power wanted.
        alpha: see `power`.
        tests: see `power`.

    Returns:
        Photos of each gesture, or None where even `MOST_PHOTOS` own photos are too few.

    Raises:
        ValueError: see `power`; or base_per_own is not positive, or target not within 0..1.
    """
    if not 0 < base_per_own < math.inf or not 0 < target < 1:
        raise ValueError(f"base_per_own must be positive and target within 0..1, got {base_per_own} and {target}.")

    def found(own: int) -> bool:
        base = max(2, math.ceil(base_per_own * own))
        return power(shift, sd, own, base, sd_own=sd_own, alpha=alpha, tests=tests) >= target

    many = 2
    while not found(many):
        if many >= MOST_PHOTOS:
            return None
        many *= 2
    few = many // 2  # too few, or 1
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if found(middle) else (middle, many)
    return Photos(many, max(2, math.ceil(base_per_own * many)))


def detectable_shift(
    sd: float,
    own: int,
    base: int,
    *,
    sd_own: float | None = None,
    target: float = 0.8,
    alpha: float = 0.05,
    tests: int = 25,
) -> float:
    """The smallest difference that a design finds with the power `target`; infinite where it can find none.

    Args:
        sd: see `power`.
        own: clusters.
        base: clusters.
        sd_own: see `power`.
        target: power wanted.
        alpha: see `power`.
        tests: see `power`.

    Raises:
        ValueError: see `power`; or target not within level..1.
    """
    from scipy import optimize

    level = _level(alpha, tests)
    if not level < target < 1:
        raise ValueError(f"target must be within {level}..1, got {target}.")
    spread = sd if sd_own is None else sd_own
    if power(0.0, sd, own, base, sd_own=sd_own, alpha=alpha, tests=tests) == 0:
        return math.inf
    high = math.hypot(sd, spread)
    while _t_power(high, sd, spread, own, base, level) < target:
        high *= 2
    return float(optimize.brentq(lambda shift: _t_power(shift, sd, spread, own, base, level) - target, 0, high))


def simulated_power(
    own_pilot: ArrayLike,
    base_pilot: ArrayLike,
    own: int,
    base: int,
    *,
    alpha: float = 0.05,
    tests: int = 25,
    studies: int = 500,
    resamples: int = 1999,
    seed: int = 0,
) -> float:
    """The same chance by simulation: errors as skewed as those at hand, and the permutation test itself.

    Each study draws its cluster means from the pilots, with replacement. For a difference that is only supposed, let
    `own_pilot` be `base_pilot` + shift, or a multiple of it. Errors are skewed, so `power` may promise too much or too
    little; this does not, as long as the pilots show the tails. The standard error is
    sqrt(power (1 - power) / studies), at most 0.022 with 500 studies.

    Args:
        own_pilot: (n,) cluster means like those of the own photos to come; the more, the better.
        base_pilot: (m,) cluster means like those of the base photos.
        own: clusters of a gesture.
        base: clusters of a gesture.
        alpha: see `power`.
        tests: see `power`.
        studies: simulated studies.
        resamples: of each permutation test; 1 / (resamples + 1) must lie below alpha / tests.
        seed: the same seed gives the same power.

    Raises:
        ValueError: a pilot is empty or not finite, resamples cannot reach the level, or a count is below 1.
    """
    level = _level(alpha, tests)
    pilots = [np.asarray(pilot, dtype=np.float64) for pilot in (own_pilot, base_pilot)]
    if any(pilot.ndim != 1 or not pilot.size or not np.isfinite(pilot).all() for pilot in pilots):
        raise ValueError(
            f"pilots need one finite mean a cluster, shape (n,), got shapes {pilots[0].shape} and {pilots[1].shape}."
        )
    if min(own, base, studies) < 1 or 1 / (resamples + 1) > level:
        raise ValueError(
            f"studies and clusters must be >= 1 and 1 / (resamples + 1) at most {level}, "
            f"got {studies}, {own}, {base} and {resamples} resamples."
        )
    if smallest_p(own, base) > level:
        return 0.0
    rng = np.random.default_rng(seed)
    found = 0
    for study in range(studies):
        drawn = [rng.choice(pilot, count) for pilot, count in zip(pilots, (own, base), strict=True)]
        found += permutation_test(drawn[0], drawn[1], resamples=resamples, seed=study).p <= level
    return found / studies


def _t_power(shift: float, sd: float, sd_own: float, own: int, base: int, level: float) -> float:
    """P(|T| > critical) of T = (Z + away) / S, S^2 a chi-square over its freedom f: a noncentral t.

    Summed over S by Gauss and Legendre's rule, as SciPy's noncentral t returns NaN for large shifts.
    """
    from scipy import special, stats

    a, b = sd_own**2 / own, sd**2 / base
    freedom = welch_freedom(a, b, own - 1, base - 1)
    away, critical = abs(shift) / math.sqrt(a + b), stats.t.isf(level / 2, freedom)
    spread = stats.chi(freedom, scale=1 / math.sqrt(freedom))
    first, last = spread.ppf(1e-12), spread.isf(1e-12)
    nodes, weights = _legendre()
    s = first + (nodes + 1) / 2 * (last - first)
    beyond = special.ndtr(away - critical * s) + special.ndtr(-away - critical * s)
    return min(1.0, float((weights * spread.pdf(s) * beyond).sum() * (last - first) / 2))


@functools.cache
def _legendre() -> tuple[Float64[np.ndarray, " q"], Float64[np.ndarray, " q"]]:
    return np.polynomial.legendre.leggauss(_NODES)


def _level(alpha: float, tests: int) -> float:
    if not 0 < alpha < 1 or tests < 1:
        raise ValueError(f"alpha must be within 0..1 and tests >= 1, got {alpha} and {tests}.")
    return alpha / tests
