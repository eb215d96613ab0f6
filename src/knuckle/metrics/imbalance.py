"""Unbalanced sets: how far from balance, how many classes they amount to, and whether rare classes fail more often."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike


class Balance(NamedTuple):
    """Counts of classes against equal counts.

    Attributes:
        shares: (k,) parts of the whole.
        chi_square: Pearson's statistic against equal expected counts.
        freedom: k - 1.
        p: its p-value; by the chi-square distribution, so expected counts should be 5 or more.
        effective_classes: inverse Simpson index 1 / sum of shares^2 (Hill number of order 2): k where all counts are
            equal, 1 where all is in one class.
    """

    shares: Float64[np.ndarray, " k"]
    chi_square: float
    freedom: int
    p: float
    effective_classes: float


class RankCorrelation(NamedTuple):
    """Spearman's rho with the p-value of a permutation test."""

    rho: float
    p: float


def balance(counts: ArrayLike) -> Balance:
    """How far the counts of classes are from balance.

    Pearson's chi-square asks whether the counts could be an even draw; it takes samples to be independent. Where groups
    of images belong together, count the groups, or four backgrounds of a pose quadruple the statistic.

    Args:
        counts: (k,) one count a class, 0 for a class that is missing.

    Raises:
        ValueError: fewer than two classes, a negative count, or nothing counted.
    """
    from scipy import stats

    found = np.asarray(counts, dtype=np.float64)
    if found.ndim != 1 or len(found) < 2 or not np.isfinite(found).all() or (found < 0).any() or not found.sum() > 0:
        raise ValueError(f"balance needs counts (k,) of two classes or more that are not all 0, got {found}.")
    shares = found / found.sum()
    expected = found.sum() / len(found)
    statistic = float(((found - expected) ** 2 / expected).sum())
    freedom = len(found) - 1
    return Balance(shares, statistic, freedom, float(stats.chi2.sf(statistic, freedom)), float(1 / (shares**2).sum()))


def rank_correlation(shares: ArrayLike, errors: ArrayLike, *, resamples: int = 9999, seed: int = 0) -> RankCorrelation:
    """Do classes that are rare in the training set have larger errors? Spearman's rank correlation, two-sided.

    Ranks, so no shape of the relation is assumed; ties share their mean rank. p is the share of orders of the classes
    with a correlation as strong: all orders up to 7 classes, else random ones by (b + 1) / (resamples + 1). An
    association over 25 classes is no cause: gestures that are rare may also be hard.

    Args:
        shares: (k,) each class's part of the training set.
        errors: (k,) its error.
        resamples: random orders.
        seed: the same seed gives the same p.

    Returns:
        NaN and p = 1 where shares or errors are all equal.

    Raises:
        ValueError: shapes differ, fewer than three classes, a value is not finite, or resamples < 1.
    """
    x, y = np.asarray(shares, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 3 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"a correlation needs two finite columns (k,) of 3 classes or more, got {x.shape}, {y.shape}.")
    if resamples < 1:
        raise ValueError(f"resamples must be >= 1, got {resamples}.")
    a, b = _centered_ranks(x), _centered_ranks(y)
    length = math.sqrt(float((a**2).sum() * (b**2).sum()))
    if length == 0:
        return RankCorrelation(math.nan, 1.0)
    if math.factorial(len(a)) <= min(resamples + 1, 5040):
        orders = np.array(list(itertools.permutations(range(len(a)))))
    else:
        rng = np.random.default_rng(seed)
        orders = np.vstack([np.arange(len(a)), rng.permuted(np.tile(np.arange(len(a)), (resamples, 1)), axis=1)])
    found = b[orders] @ a  # ranks are multiples of 0.5: exact
    return RankCorrelation(float(found[0] / length), float(np.mean(np.abs(found) >= np.abs(found[0]) - 1e-9)))


def _centered_ranks(values: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Ranks less their mean; ties share the mean of their ranks."""
    _, rows, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = last - (counts - 1) / 2
    return np.asarray(ranks[rows] - (len(values) + 1) / 2)
