"""Equivalence tests: what it takes to say "no difference".

A test that finds nothing has not shown that there is nothing; a small study finds nothing as a rule. To claim "no
difference" one states a margin, in the unit of the error, below which a difference would not matter, and shows
that the difference is smaller.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from knuckle.metrics.statistics import welch_freedom


class Equivalence(NamedTuple):
    """The outcome of two one-sided tests.

    Attributes:
        difference: mean of own - mean of base, or the mean of paired differences.
        low: lower bound of its interval of confidence 1 - 2 alpha.
        high: upper bound.
        p: the larger p-value of the two tests.
        equivalent: p <= alpha, which is the same as -margin < low and high < margin.
    """

    difference: float
    low: float
    high: float
    p: float
    equivalent: bool


def equivalence(own: ArrayLike, base: ArrayLike, margin: float, *, alpha: float = 0.05) -> Equivalence:
    """Is the mean of own within `margin` of the mean of base? Two one-sided Welch t tests (Schuirmann, 1987).

    Rejects both "own - base <= -margin" and "own - base >= margin". Student's t on cluster means: right for normal
    means, and close to it from about 20 clusters an arm; docs/statistics.md has its measured error rate.

    Args:
        own: (n,) one mean a cluster.
        base: (m,) the same.
        margin: largest difference that does not matter, in the unit of the values; choose it before looking.
        alpha: chance of claiming equivalence where the difference is as large as the margin.

    Returns:
        NaN bounds, p = NaN and equivalent = False where an arm has fewer than two clusters.

    Raises:
        ValueError: an arm is not one-dimensional and finite, the margin is not positive, or alpha is not within 0..0.5.
    """
    mine, theirs = _values(own), _values(base)
    difference = float(mine.mean() - theirs.mean()) if mine.size and theirs.size else math.nan
    if min(mine.size, theirs.size) < 2:
        _check(margin, alpha)
        return Equivalence(difference, math.nan, math.nan, math.nan, False)
    a, b = mine.var(ddof=1) / mine.size, theirs.var(ddof=1) / theirs.size
    freedom = welch_freedom(float(a), float(b), mine.size - 1, theirs.size - 1)
    return _two_one_sided(difference, math.sqrt(a + b), freedom, margin, alpha)


def paired_equivalence(difference: ArrayLike, margin: float, *, alpha: float = 0.05) -> Equivalence:
    """Is the mean of paired differences, one a cluster, within `margin` of 0? Two one-sided t tests.

    Args:
        difference: (n,) one mean difference a cluster: two models on the same hands, for instance.
        margin: see `equivalence`.
        alpha: see `equivalence`.

    Raises:
        ValueError: see `equivalence`.
    """
    values = _values(difference)
    mean = float(values.mean()) if values.size else math.nan
    if values.size < 2:
        _check(margin, alpha)
        return Equivalence(mean, math.nan, math.nan, math.nan, False)
    return _two_one_sided(mean, float(values.std(ddof=1)) / math.sqrt(values.size), values.size - 1, margin, alpha)


def _two_one_sided(difference: float, error: float, freedom: float, margin: float, alpha: float) -> Equivalence:
    from scipy import stats

    _check(margin, alpha)
    reach = float(stats.t.ppf(1 - alpha, freedom)) * error
    nearer = margin - abs(difference)  # distance to the nearer end of the margin: its test has the larger p
    t = nearer / error if error > 0 else math.copysign(math.inf, nearer)
    p = float(stats.t.sf(t, freedom))
    return Equivalence(difference, difference - reach, difference + reach, p, p <= alpha)


def _values(values: ArrayLike) -> Float64[np.ndarray, " n"]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"an equivalence test needs one finite mean a cluster, shape (n,), got shape {array.shape}.")
    return array


def _check(margin: float, alpha: float) -> None:
    if not 0 < margin < math.inf or not 0 < alpha < 0.5:
        raise ValueError(f"the margin must be positive and alpha within 0..0.5, got {margin} and {alpha}.")
