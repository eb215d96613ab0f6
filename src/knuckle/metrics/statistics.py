"""Confidence intervals by resampling whole groups, since hands of one group are not independent.

FreiHAND shows each pose on four backgrounds, videos show one hand many times: resampling single
hands would pretend to far more evidence than there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy.typing import ArrayLike

_CHUNK: Final = 1 << 18
"""Resampled groups held in memory at a time: 2 MB of counts, small enough for the cache to help."""


class Interval(NamedTuple):
    """An estimate with the bounds of its confidence interval."""

    estimate: float
    low: float
    high: float


def cluster_bootstrap(
    numerator: ArrayLike,
    denominator: ArrayLike,
    groups: ArrayLike,
    *,
    resamples: int = 9999,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """The percentile interval of a mean, by the cluster bootstrap (Davison and Hinkley, 1997, section 3.8).

    The statistic is sum(numerator) / sum(denominator), the mean of an error over labelled keypoints
    for instance. With k columns it is the mean of their k quotients (a macro average), columns
    whose denominators sum to 0 left out. Each resample draws as many groups as there are, with
    replacement, and keeps the samples of a group together.

    Args:
        numerator: (n,) or (n, k), one sum a sample. Infinite entries give NaN bounds.
        denominator: the same shape, the weight behind each sum, not negative.
        groups: (n,) integers, the group of each sample.
        resamples: number of resamples.
        seed: the same seed gives the same interval.
        confidence: probability that the interval is to cover the true value.

    Returns:
        The statistic of the data and the bounds; bounds are NaN with fewer than two groups.

    Raises:
        ValueError: shapes disagree, a denominator is negative, or an option is out of range.
    """
    top, bottom, labels = _check(numerator, denominator, groups)
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"resamples must be >= 1 and confidence within 0..1, got {resamples} and {confidence}.")
    unique, rows = np.unique(labels, return_inverse=True)
    tops, bottoms = _group_sums(top, rows, len(unique)), _group_sums(bottom, rows, len(unique))
    estimate = float(_mean_quotient(tops.sum(axis=0), bottoms.sum(axis=0)))
    if len(unique) < 2 or not np.isfinite(estimate):
        return Interval(estimate, float("nan"), float("nan"))
    values = np.concatenate(
        [_mean_quotient(times @ tops, times @ bottoms) for times in _draws(len(unique), resamples, seed)]
    )
    tail = 50 * (1 - confidence)
    # A resample may miss every weighted sample; it says nothing.
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return Interval(estimate, float(low), float(high))


def _draws(groups: int, resamples: int, seed: int) -> Iterator[Float64[np.ndarray, "r groups"]]:
    """How often each resample drew each group: multinomial counts, a bounded number of rows at a time.

    Counting uniform draws is several times faster than NumPy's `multinomial`, which draws a binomial a group.
    """
    rng = np.random.default_rng(seed)
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
