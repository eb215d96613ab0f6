"""Small designs, pooled: what 25 gestures say about each other where a single one has too few photos.

Five base photos and two own ones estimate a gesture's difference so badly that the largest of 25 is mostly luck. A
hierarchical model shrinks every difference toward their common mean, the more the less it is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

_STEPS: Final = 1000
"""Values of tau over which the posterior is summed."""


class Pooled(NamedTuple):
    """Differences of strata whose errors are taken to scatter alike.

    Attributes:
        difference: (k,) mean of own - mean of base.
        variance: (k,) squared standard errors, sd^2 (1 / n_own + 1 / n_base).
        sd: the pooled standard deviation within the arms.
        freedom: its degrees of freedom, clusters less means.
    """

    difference: Float64[np.ndarray, " k"]
    variance: Float64[np.ndarray, " k"]
    sd: float
    freedom: int


class Shrunk(NamedTuple):
    """The outcome of the hierarchical model.

    Attributes:
        mean: of the common mean mu.
        mean_sd: its posterior standard deviation.
        tau: posterior median of the standard deviation between strata.
        estimates: (k,) posterior means of the strata's true differences.
        sd: (k,) their posterior standard deviations; estimate +- 1.96 sd is an approximate 95 % interval.
    """

    mean: float
    mean_sd: float
    tau: float
    estimates: Float64[np.ndarray, " k"]
    sd: Float64[np.ndarray, " k"]


def pooled_differences(own: Sequence[ArrayLike], base: Sequence[ArrayLike]) -> Pooled:
    """Own - base in each stratum, with one variance for all: two photos have none of their own worth the name.

    sd^2 = sum over arms of squared deviations from the arm's mean / (clusters - arms), as in an analysis of variance.
    Assumes that own and base scatter alike in every gesture; docs/statistics.md says what happens where they do not.

    Args:
        own: one array of cluster means a stratum.
        base: the same, in the same order.

    Raises:
        ValueError: the strata differ, an arm is empty or not finite, or no arm has two clusters.
    """
    if len(own) != len(base) or not own:
        raise ValueError(f"pooling needs the same strata of own and base, got {len(own)} and {len(base)}.")
    arms = [np.asarray(arm, dtype=np.float64) for arm in (*own, *base)]
    if any(arm.ndim != 1 or not arm.size or not np.isfinite(arm).all() for arm in arms):
        raise ValueError("pooling needs at least one finite cluster mean, shape (n,), in each arm.")
    freedom = sum(arm.size - 1 for arm in arms)
    if freedom < 1:
        raise ValueError("pooling needs an arm with two clusters, as one alone shows no scatter.")
    variance = sum(float(((arm - arm.mean()) ** 2).sum()) for arm in arms) / freedom
    mine, theirs = arms[: len(own)], arms[len(own) :]
    return Pooled(
        np.array([a.mean() - b.mean() for a, b in zip(mine, theirs, strict=True)]),
        np.array([variance * (1 / a.size + 1 / b.size) for a, b in zip(mine, theirs, strict=True)]),
        math.sqrt(variance),
        freedom,
    )


def between_variance(estimates: ArrayLike, variances: ArrayLike) -> float:
    """The variance between strata that is not noise, by DerSimonian and Laird (1986), equation 8.

    tau^2 = max(0, (Q - (k - 1)) / (sum w - sum w^2 / sum w)) with w = 1 / variance and Q = sum w (d - weighted mean)^2.

    Args:
        estimates: (k,) one difference a stratum.
        variances: (k,) their squared standard errors, positive.

    Raises:
        ValueError: fewer than two strata, or a variance that is not positive and finite.
    """
    d, s2 = _check(estimates, variances)
    w = 1 / s2
    q = float((w * (d - (w * d).sum() / w.sum()) ** 2).sum())
    return max(0.0, float((q - (len(d) - 1)) / (w.sum() - (w**2).sum() / w.sum())))


def shrink(estimates: ArrayLike, variances: ArrayLike) -> Shrunk:
    """Shrink the differences of strata toward their mean by the normal-normal model.

    d_c ~ N(theta_c, s_c^2) with known s_c, theta_c ~ N(mu, tau^2), mu and tau with flat priors (Gelman et al., Bayesian
    Data Analysis, third edition, section 5.4). Plugging in one value of tau, as empirical Bayes does, gives intervals
    that are too short, all the same one where that value is 0; here tau is summed over on a grid, weighted by its
    restricted likelihood (equation 5.21).

    Assumes: differences are normal around their true values, strata are exchangeable before looking, and true
    differences scatter normally around mu, so a single gesture far from all others is drawn in too much.

    Args:
        estimates: (k,) one difference a stratum.
        variances: (k,) their squared standard errors, positive.

    Raises:
        ValueError: fewer than three strata, as tau is not known then, or a variance that is not positive and finite.
    """
    d, s2 = _check(estimates, variances)
    if len(d) < 3:
        raise ValueError(f"a hierarchical model needs at least three strata, got {len(d)}.")
    # Beyond ten times the visible spread nothing is left of the likelihood, unless strata are very few.
    widest = 10 * (float(d.std(ddof=1)) + math.sqrt(float(s2.max())))
    tau = (np.arange(_STEPS) + 0.5) / _STEPS * widest
    total = s2 + tau[:, None] ** 2
    w = 1 / total
    mean_variance = 1 / w.sum(axis=1)
    mean = (w * d).sum(axis=1) * mean_variance
    misfit = np.log(total).sum(axis=1) + (w * (d - mean[:, None]) ** 2).sum(axis=1)
    log = 0.5 * (np.log(mean_variance) - misfit)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    keep = tau[:, None] ** 2 / total  # how much of a stratum's own estimate stays
    centers = keep * d + (1 - keep) * mean[:, None]
    spreads = keep * s2 + (1 - keep) ** 2 * mean_variance[:, None]
    center = weight @ centers
    overall = float(weight @ mean)
    return Shrunk(
        overall,
        math.sqrt(float(weight @ (mean_variance + (mean - overall) ** 2))),
        float(tau[np.searchsorted(np.cumsum(weight), 0.5)]),
        center,
        np.sqrt(weight @ (spreads + (centers - center) ** 2)),
    )


def _check(estimates: ArrayLike, variances: ArrayLike) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    d, s2 = np.asarray(estimates, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if d.ndim != 1 or d.shape != s2.shape or len(d) < 2:
        raise ValueError(
            f"pooling needs estimates and variances (k,) of 2 strata or more, got {d.shape} and {s2.shape}."
        )
    if not np.isfinite(d).all() or not np.isfinite(s2).all() or (s2 <= 0).any():
        raise ValueError("pooling needs finite estimates and positive, finite variances.")
    return d, s2
