"""Differences between two sets of hands, with intervals: own against base, within a gesture and over gestures.

A study that reports base against base + own reports a diluted difference, as base is part of both sides;
`dilution` says by how much. Two models on the same hands are compared hand by hand: `paired_difference`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from knuckle.metrics.statistics import (
    MIN_GROUPS,
    GroupSums,
    Interval,
    Replicates,
    check_options,
    cluster_bootstrap,
    resample,
    studentized,
)


class Dilution(NamedTuple):
    """What adding own photos to base photos shows of the difference between them.

    Attributes:
        share: weight of the own photos in base + own.
        diluted: mean(base + own) - mean(base) = share * (own - base), with its interval.
        direct: own - base, with its interval.
    """

    share: float
    diluted: Interval
    direct: Interval


def mean_difference(
    own: GroupSums, base: GroupSums, *, resamples: int = 9999, seed: int = 0, confidence: float = 0.95
) -> Interval:
    """The mean of own minus the mean of base, two independent sets of groups.

    The studentised cluster bootstrap draws groups within each set; the variance of the difference is the sum of both.
    Its degrees of freedom are those of the smaller set, as it may be the one that decides.

    Args:
        own: sums of one set (`sum_by_group`, `error_sums`).
        base: sums of the other; the same columns.
        resamples: number of resamples.
        seed: the same seed gives the same interval.
        confidence: probability that the interval is to cover the true difference.

    Returns:
        NaN bounds with fewer than `MIN_GROUPS` groups in either set.

    Raises:
        ValueError: the numbers of columns differ, or an option is out of range.
    """
    return stratified_difference([own], [base], resamples=resamples, seed=seed, confidence=confidence)


def stratified_difference(
    own: Sequence[GroupSums],
    base: Sequence[GroupSums],
    *,
    resamples: int = 9999,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """The mean over strata (gestures) of own - base, every stratum with the same weight.

    Groups are drawn within each set of each stratum, so a group must not lie in two strata. Strata need only two groups
    a set: what is estimated is their mean, and degrees of freedom add up over strata.

    Args:
        own: sums of one set, one a stratum.
        base: sums of the other, in the same order.
        resamples: see `mean_difference`.
        seed: see `mean_difference`.
        confidence: see `mean_difference`.

    Returns:
        NaN bounds where a set has a stratum with fewer than two groups, or fewer degrees of freedom (groups less
        strata) than `MIN_GROUPS` groups of a single stratum.

    Raises:
        ValueError: the strata or columns of own and base differ, there are none, or an option is out of range.
    """
    if len(own) != len(base) or not own:
        raise ValueError(f"a stratified difference needs the same strata of both, got {len(own)} and {len(base)}.")
    check_options(resamples, confidence)
    columns = {arm.top.shape[1] for arm in (*own, *base)}
    if len(columns) > 1:
        raise ValueError(f"own and base need the same columns, got {sorted(columns)}.")
    estimate = float(np.mean([mine.mean - theirs.mean for mine, theirs in zip(own, base, strict=True)]))
    freedom = min(sum(len(arm.top) - 1 for arm in arms) for arms in (own, base))
    fewest = min(len(arm.top) for arm in (*own, *base))
    if fewest < 2 or freedom < MIN_GROUPS - 1 or not math.isfinite(estimate):
        return Interval(estimate, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    mine, theirs = (_mean_of([resample(arm, resamples, rng) for arm in arms]) for arms in (own, base))
    found = Replicates(
        estimate,
        mine.variance + theirs.variance,
        mine.estimates - theirs.estimates,
        mine.variances + theirs.variances,
    )
    return studentized(found, freedom, confidence)


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike,
    *,
    resamples: int = 9999,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """The mean error of one model minus that of another on the same hands, by the cluster bootstrap.

    What hands have in common cancels, so the interval is far shorter than that of two separate sets.

    Args:
        first: (n, 21) or (n,) errors of one model, NaN where a keypoint is not labelled.
        second: errors of the other; the same shape, with NaN at the same places.
        groups: (n,) integers, the group of each hand.
        resamples: see `mean_difference`.
        seed: see `mean_difference`.
        confidence: see `mean_difference`.

    Returns:
        NaN bounds with fewer than `MIN_GROUPS` groups.

    Raises:
        ValueError: shapes or labelled keypoints differ, an error is infinite, or an option is out of range.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape or not np.array_equal(np.isnan(one), np.isnan(other)):
        raise ValueError(
            f"paired errors must be of the same hands and labelled keypoints, got shapes {one.shape} and {other.shape}."
        )
    if np.isinf(one).any() or np.isinf(other).any():
        raise ValueError("paired errors must be finite: compare the hands that both models found.")
    labeled = ~np.isnan(one)
    across = tuple(range(1, one.ndim))
    return cluster_bootstrap(
        np.where(labeled, one - other, 0.0).sum(axis=across),
        labeled.sum(axis=across),
        groups,
        resamples=resamples,
        seed=seed,
        confidence=confidence,
    )


def dilution(
    own: GroupSums, base: GroupSums, *, resamples: int = 9999, seed: int = 0, confidence: float = 0.95
) -> Dilution:
    """What base + own minus base shows of own - base.

    mean(base + own) = (n_own mean(own) + n_base mean(base)) / (n_own + n_base), hence
    mean(base + own) - mean(base) = n_own / (n_own + n_base) * (own - base): with 5 base photos and 2 own ones,
    6.7 px of difference are 23.4 px between own and base. The share is part of the design and taken as fixed.

    Args:
        own: sums of one column.
        base: sums of one column.
        resamples: see `mean_difference`.
        seed: see `mean_difference`.
        confidence: see `mean_difference`.

    Raises:
        ValueError: more than one column, as their shares may differ; nothing is labelled; or an option is out of range.
    """
    mine, theirs = own.bottom.sum(), base.bottom.sum()
    if own.top.shape[1] != 1 or not mine + theirs > 0:
        raise ValueError(f"dilution needs sums of one column with labelled keypoints, got {own.top.shape[1]} columns.")
    share = float(mine / (mine + theirs))
    direct = mean_difference(own, base, resamples=resamples, seed=seed, confidence=confidence)
    return Dilution(share, Interval(*(share * value for value in direct)), direct)


def _mean_of(strata: Sequence[Replicates]) -> Replicates:
    """The mean of independent statistics: variances add up."""
    count = len(strata)
    return Replicates(
        sum(part.estimate for part in strata) / count,
        sum(part.variance for part in strata) / count**2,
        np.sum([part.estimates for part in strata], axis=0) / count,
        np.sum([part.variances for part in strata], axis=0) / count**2,
    )
