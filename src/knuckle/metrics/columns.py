"""Intervals of many means at once: each column of a table by the studentised bootstrap, all from the same resamples."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from knuckle.metrics.statistics import MIN_GROUPS, Interval, Replicates, check_options, draws, studentized, sum_by_group


def cluster_bootstrap_each(
    numerator: ArrayLike,
    denominator: ArrayLike,
    groups: ArrayLike,
    *,
    resamples: int = 9999,
    seed: int = 0,
    confidence: float = 0.95,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> list[Interval]:
    """`cluster_bootstrap` of each of k columns, (n, k).

    The variance of a column's quotient q is that of `statistics.resample`, the sum over groups of (top - q bottom)^2
    over the squared sum of bottom; multiplied out, so that one product serves all columns.

    Returns:
        One interval a column. A column whose denominators sum to 0 has an estimate and bounds of NaN, one with infinite
        entries or fewer than `MIN_GROUPS` groups that count has bounds of NaN.

    Raises:
        ValueError: as `cluster_bootstrap`.
    """
    check_options(resamples, confidence)
    sums = sum_by_group(numerator, denominator, groups)
    top, bottom = sums.top, sums.bottom
    estimates = _quotients(top.sum(axis=0), bottom.sum(axis=0))
    counted = (bottom > 0).sum(axis=0)
    found = [Interval(float(estimate), math.nan, math.nan) for estimate in estimates]
    usable = np.flatnonzero(np.isfinite(estimates) & (counted >= MIN_GROUPS))
    if not len(usable):
        return found
    top, bottom = top[:, usable], bottom[:, usable]
    products = np.hstack([top, bottom, top * top, top * bottom, bottom * bottom])
    of_data = _with_variance(products.sum(axis=0, keepdims=True), len(top))
    drawn = [
        _with_variance(times @ products, len(top)) for times in draws(len(top), resamples, np.random.default_rng(seed))
    ]
    values, variances = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    for place, column in enumerate(usable.tolist()):
        material = Replicates(
            float(of_data[0][0, place]), float(of_data[1][0, place]), values[:, place], variances[:, place]
        )
        low, high = studentized(material, int(counted[column]) - 1, confidence)[1:]
        found[column] = Interval(material.estimate, float(np.clip(low, *within)), float(np.clip(high, *within)))
    return found


def _with_variance(
    sums: Float64[np.ndarray, "r 5k"], groups: int
) -> tuple[Float64[np.ndarray, "r k"], Float64[np.ndarray, "r k"]]:
    """The quotients and their variances from sums of top, bottom, top^2, top bottom and bottom^2."""
    top, bottom, top2, both, bottom2 = np.split(sums, 5, axis=1)
    quotient = _quotients(top, bottom)
    squares = np.maximum(top2 - 2 * quotient * both + quotient**2 * bottom2, 0)
    # What is left of equal terms by rounding is no spread.
    squares[squares < 1e-12 * np.maximum(top2, 1e-300)] = 0
    return quotient, _quotients(squares, bottom**2) * groups / max(1, groups - 1)


def _quotients(top: Float64[np.ndarray, "*r"], bottom: Float64[np.ndarray, "*r"]) -> Float64[np.ndarray, "*r"]:
    """One over the other, NaN where the divisor is 0."""
    quotient: Float64[np.ndarray, "*r"] = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=quotient, where=bottom > 0)
    return quotient
