"""Confidence intervals by resampling whole groups, since hands of one group are not independent.

FreiHAND shows each pose on four backgrounds, videos show one hand many times: resampling single
hands would pretend to far more evidence than there is.

Errors are skewed: many small ones, a few large ones. A percentile interval of 20 groups then covers the true mean in
85 to 90 % of studies instead of 95 %. The studentised bootstrap resamples the mean together with its standard error,
and so sees that small means come with small standard errors. docs/statistics.md has the measured coverage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy.typing import ArrayLike

MIN_GROUPS: Final = 20
"""Groups below which no interval is given, as none that was tried covers what it says."""

_CHUNK: Final = 1 << 18
"""Resampled groups held in memory at a time: 2 MB of counts, small enough for the cache to help."""


class Interval(NamedTuple):
    """An estimate with the bounds of its confidence interval; NaN bounds where the evidence supports none."""

    estimate: float
    low: float
    high: float


class GroupSums(NamedTuple):
    """What the statistics need to know of a set of hands: sums over each group.

    Attributes:
        top: (G, k) sums of errors.
        bottom: (G, k) their weights, such as numbers of labelled keypoints.
    """

    top: Float64[np.ndarray, "G k"]
    bottom: Float64[np.ndarray, "G k"]

    @property
    def mean(self) -> float:
        """The mean over columns of the ratio of all sums; NaN without groups."""
        return float(_mean_quotient(self.top.sum(axis=0), self.bottom.sum(axis=0)))

    @property
    def means(self) -> Float64[np.ndarray, " G"]:
        """One mean a group, over columns too."""
        return _mean_quotient(self.top, self.bottom)


class Replicates(NamedTuple):
    """A statistic, its variance, and both for each resample: the material of a studentised interval.

    Attributes:
        estimate: of the data.
        variance: of the estimate, by linearisation.
        estimates: (r,) of the resamples.
        variances: (r,)
    """

    estimate: float
    variance: float
    estimates: Float64[np.ndarray, " r"]
    variances: Float64[np.ndarray, " r"]


def cluster_bootstrap(
    numerator: ArrayLike,
    denominator: ArrayLike,
    groups: ArrayLike,
    *,
    resamples: int = 9999,
    seed: int = 0,
    confidence: float = 0.95,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """The studentised interval of a mean, by the cluster bootstrap (Davison and Hinkley, 1997, sections 3.8 and 5.2).

    The statistic is sum(numerator) / sum(denominator), the mean of an error over labelled keypoints
    for instance. With k columns it is the mean of their k quotients (a macro average), columns
    whose denominators sum to 0 left out. Each resample draws as many groups as there are, with
    replacement, and keeps the samples of a group together. See `studentized` for the bounds.

    Args:
        numerator: (n,) or (n, k), one sum a sample. Infinite entries give NaN bounds.
        denominator: the same shape, the weight behind each sum, not negative.
        groups: (n,) integers, the group of each sample.
        resamples: number of resamples.
        seed: the same seed gives the same interval.
        confidence: probability that the interval is to cover the true value.
        within: smallest and largest value that the statistic can take; bounds are cut there.

    Returns:
        The statistic of the data and the bounds. Bounds are NaN with fewer than `MIN_GROUPS` groups, and where groups
        hardly ever differ, as their spread is then unknown.

    Raises:
        ValueError: shapes disagree, a denominator is negative, or an option is out of range.
    """
    check_options(resamples, confidence)
    sums = sum_by_group(numerator, denominator, groups)
    if len(sums.top) < MIN_GROUPS or not math.isfinite(sums.mean):
        return Interval(sums.mean, math.nan, math.nan)
    found = resample(sums, resamples, np.random.default_rng(seed))
    low, high = studentized(found, len(sums.top) - 1, confidence)[1:]
    return Interval(sums.mean, float(np.clip(low, *within)), float(np.clip(high, *within)))


def sum_by_group(numerator: ArrayLike, denominator: ArrayLike, groups: ArrayLike) -> GroupSums:
    """Sums over the samples of each group, in the order of the sorted groups; groups of zeros only are left out.

    Args:
        numerator: (n,) or (n, k), one sum a sample.
        denominator: the same shape, the weight behind each sum, not negative.
        groups: (n,) integers, the group of each sample.

    Raises:
        ValueError: shapes disagree, a numerator is NaN, or a denominator is negative or not finite.
    """
    top, bottom, labels = _check(numerator, denominator, groups)
    counted = ((top != 0) | (bottom > 0)).any(axis=1)
    top, bottom = top[counted], bottom[counted]
    unique, rows = np.unique(labels[counted], return_inverse=True)
    return GroupSums(_group_sums(top, rows, len(unique)), _group_sums(bottom, rows, len(unique)))


def error_sums(errors: ArrayLike, groups: ArrayLike) -> GroupSums:
    """The sums of a table of errors, one column: the mean error over labelled keypoints.

    Args:
        errors: (n, 21) as `knuckle.metrics.errors` gives them, NaN where a keypoint is not labelled; or (n,).
        groups: (n,) integers, the group of each hand.

    Raises:
        ValueError: shapes disagree.
    """
    table = np.asarray(errors, dtype=np.float64)
    labeled = ~np.isnan(table)
    across = tuple(range(1, table.ndim))
    return sum_by_group(np.where(labeled, table, 0.0).sum(axis=across), labeled.sum(axis=across), groups)


def resample(sums: GroupSums, resamples: int, rng: np.random.Generator) -> Replicates:
    """Draw whole groups with replacement; the statistic and its variance for the data and for each draw.

    The variance is that of the linearised statistic: G / (G - 1) times the sum over groups of u^2, where
    u = mean over columns of (top - quotient * bottom) / sum(bottom).

    Args:
        sums: G groups.
        resamples: number of draws.
        rng: source of the draws.
    """
    groups = len(sums.top)
    estimates, variances = _estimates(np.ones((1, groups)), sums)
    drawn = [_estimates(times, sums) for times in draws(groups, resamples, rng)]
    return Replicates(
        float(estimates[0]),
        float(variances[0]),
        np.concatenate([part[0] for part in drawn]),
        np.concatenate([part[1] for part in drawn]),
    )


def studentized(found: Replicates, freedom: float, confidence: float) -> Interval:
    """The interval [estimate - t_high s, estimate - t_low s], t the quantiles of (resampled - estimate) / its s.

    The quantiles are taken a little farther out than the confidence says, at Phi(-sqrt((f + 1) / f) t) where t is
    Student's with f degrees of freedom: bootstrap distributions are too short in small samples (Hesterberg, 2015,
    "What Teachers Should Know About the Bootstrap", who widens percentile intervals so).

    Args:
        found: the statistic and its resamples.
        freedom: f, the number of groups less one; of a difference, that of the smaller side.
        confidence: probability of covering the true value.

    Returns:
        NaN bounds where the data show no spread, or where more resamples show none than the tail holds.
    """
    error = math.sqrt(found.variance) if found.variance > 0 else 0.0
    moved, spread = found.estimates - found.estimate, np.sqrt(found.variances)
    if not error > 1e-12 * abs(found.estimate):
        return Interval(found.estimate, math.nan, math.nan)
    moved = np.where(np.abs(moved) < 1e-9 * error, 0.0, moved)  # else a rounding error over no spread
    t = np.divide(moved, spread, out=np.copysign(np.inf, moved), where=spread > 1e-9 * error)
    t[(moved == 0) & ~(spread > 1e-9 * error)] = 0.0
    tail = NormalDist().cdf(-math.sqrt((freedom + 1) / freedom) * student_quantile((1 + confidence) / 2, freedom))
    outside = max(1, math.floor((len(t) + 1) * tail))  # the bound is the last of so many at either end
    t = np.sort(t)
    low, high = found.estimate - t[-outside] * error, found.estimate - t[outside - 1] * error
    bounded = math.isfinite(low) and math.isfinite(high)
    return Interval(found.estimate, float(low) if bounded else math.nan, float(high) if bounded else math.nan)


def welch_freedom(first: float, second: float, freedom_first: float, freedom_second: float) -> float:
    """Degrees of freedom of a difference (Satterthwaite, 1946), from two squared standard errors and theirs."""
    spread = first**2 / freedom_first + second**2 / freedom_second
    return (first + second) ** 2 / spread if spread > 0 else freedom_first + freedom_second


def student_quantile(probability: float, freedom: float) -> float:
    """A quantile of Student's t without SciPy, to 1e-4 from 10 degrees of freedom (Abramowitz and Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))


def check_options(resamples: int, confidence: float) -> None:
    """Refuse options that mean nothing.

    Raises:
        ValueError: resamples below 1 or confidence not within 0..1.
    """
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"resamples must be >= 1 and confidence within 0..1, got {resamples} and {confidence}.")


def _estimates(
    times: Float64[np.ndarray, "r G"], sums: GroupSums
) -> tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, " r"]]:
    """The statistic and its variance where each group counts `times`."""
    groups = len(sums.top)
    top, bottom = times @ sums.top, times @ sums.bottom
    seen = bottom > 0
    quotient = np.divide(top, bottom, out=np.zeros(top.shape), where=seen)
    weight = np.divide(1.0, bottom, out=np.zeros(top.shape), where=seen)
    weight /= np.maximum(1, seen.sum(axis=1, keepdims=True))
    influence = np.hstack([weight, -weight * quotient]) @ np.hstack(sums).T
    variance = np.einsum("rg,rg,rg->r", times, influence, influence) * groups / max(1, groups - 1)
    return _mean_quotient(top, bottom), variance


def draws(groups: int, resamples: int, rng: np.random.Generator) -> Iterator[Float64[np.ndarray, "r groups"]]:
    """How often each resample drew each group: multinomial counts, a bounded number of rows at a time.

    Counting uniform draws is several times faster than NumPy's `multinomial`, which draws a binomial a group.
    """
    step = max(1, _CHUNK // groups)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(groups, size=(rows, groups))
        drawn += np.arange(rows)[:, None] * groups
        yield np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


def _mean_quotient(top: Float[np.ndarray, "*r k"], bottom: Float[np.ndarray, "*r k"]) -> Float64[np.ndarray, "*r"]:
    """The mean over columns of top / bottom; columns with bottom 0 are left out, NaN where all are."""
    seen = bottom > 0
    quotient = np.divide(top, bottom, out=np.zeros(top.shape), where=seen)
    columns = np.asarray(seen.sum(axis=-1))
    means: Float64[np.ndarray, "*r"] = np.full(columns.shape, np.nan)
    np.divide(quotient.sum(axis=-1), columns, out=means, where=columns > 0)
    return means


def _group_sums(
    values: Float64[np.ndarray, "n k"], rows: Int64[np.ndarray, " n"], groups: int
) -> Float64[np.ndarray, "groups k"]:
    return np.stack([np.bincount(rows, column, minlength=groups) for column in values.T], axis=1)


def _check(
    numerator: ArrayLike, denominator: ArrayLike, groups: ArrayLike
) -> tuple[Float64[np.ndarray, "n k"], Float64[np.ndarray, "n k"], Int64[np.ndarray, " n"]]:
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    labels = np.asarray(groups)
    if top.ndim not in (1, 2) or top.shape != bottom.shape or labels.shape != top.shape[:1]:
        raise ValueError(
            "the bootstrap needs a numerator (n,) or (n, k), a denominator of the same shape and groups (n,), "
            f"got {top.shape}, {bottom.shape} and {labels.shape}."
        )
    if np.isnan(top).any() or not np.isfinite(bottom).all() or (bottom < 0).any():
        raise ValueError("the bootstrap needs numerators without NaN and finite denominators that are not negative.")
    return (top[:, None], bottom[:, None], labels) if top.ndim == 1 else (top, bottom, labels)
