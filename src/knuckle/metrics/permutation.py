"""Permutation tests of own photos against base photos, which need no model of the errors.

If own and base photos do not differ, their labels "own" and "base" may be exchanged. The test exchanges them in every
way, or in many random ways, and asks how often the difference comes out as large as in the data. What is exchanged are
whole clusters: callers hand over one mean a cluster (`GroupSums.means`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike

_CHUNK: Final = 1 << 20
"""Cells of the table permutations x clusters that are held in memory at a time."""


class Permutation(NamedTuple):
    """The outcome of a permutation test.

    Attributes:
        difference: mean of own - mean of base; over several strata, the mean of their differences.
        p: two-sided p-value.
        permutations: labellings behind p, the one of the data included.
        exact: whether those are all that there are.
    """

    difference: float
    p: float
    permutations: int
    exact: bool


def permutation_test(own: ArrayLike, base: ArrayLike, *, resamples: int = 9999, seed: int = 0) -> Permutation:
    """Do own and base clusters differ? Two-sided, on Welch's t.

    Dividing the difference by its standard error keeps the test exact where own and base are alike in everything,
    and makes it right in large samples where they only share their mean (Janssen, 1997; Chung and Romano, 2013):
    a few own photos that scatter more than the base would otherwise pass for an effect.

    Args:
        own: (n,) one mean a cluster.
        base: (m,) the same.
        resamples: random labellings, p = (b + 1) / (resamples + 1) (Phipson and Smyth, 2010). Where there are no more
            than resamples + 1 labellings in all, each is taken once and p is exact.
        seed: the same seed gives the same p.

    Raises:
        ValueError: an arm is empty, not one-dimensional or not finite, or resamples < 1.
    """
    return stratified_permutation_test([own], [base], resamples=resamples, seed=seed)


def stratified_permutation_test(
    own: Sequence[ArrayLike], base: Sequence[ArrayLike], *, resamples: int = 9999, seed: int = 0
) -> Permutation:
    """The same question pooled over strata (gestures): labels are exchanged within each stratum only.

    The statistic is the mean over strata of own - base, every stratum with the same weight, over its standard error.
    Many small strata can show together what none of them can show alone.

    Args:
        own: one array of cluster means a stratum.
        base: the same, in the same order.
        resamples: see `permutation_test`.
        seed: see `permutation_test`.

    Raises:
        ValueError: there is no stratum, the numbers of strata differ, an arm is unfit, or resamples < 1.
    """
    if len(own) != len(base) or not own:
        raise ValueError(f"a stratified test needs the same strata of own and base, got {len(own)} and {len(base)}.")
    if resamples < 1:
        raise ValueError(f"resamples must be >= 1, got {resamples}.")
    arms = [(_arm(mine, "own"), _arm(theirs, "base")) for mine, theirs in zip(own, base, strict=True)]
    differences = [mine.mean() - theirs.mean() for mine, theirs in arms]
    pooled = [np.concatenate(arm) for arm in arms]
    pooled = [values - values.mean() for values in pooled]  # no digits are lost when squares are summed
    scale = max(np.abs(values).max() for values in pooled)
    exact = math.prod(labellings(len(mine), len(theirs)) for mine, theirs in arms) <= resamples + 1
    rng = np.random.default_rng(seed)
    numerators, variances = np.zeros(1), np.zeros(1)
    for values, (mine, _) in zip(pooled, arms, strict=True):
        scaled = values / scale if scale > 0 else values
        if exact:
            found = _contrast(_all_labellings(len(values), len(mine)), scaled, len(mine))
            numerators = np.add.outer(numerators, found[0]).ravel()
            variances = np.add.outer(variances, found[1]).ravel()
        else:
            found = _random_contrasts(scaled, len(mine), resamples, rng)
            numerators, variances = numerators + found[0], variances + found[1]
    # A variance of rounding errors is none; t is then infinite, or 0 where nothing differs.
    spread = np.sqrt(np.where(variances > 1e-12, variances, 0.0))
    numerators = np.where(np.abs(numerators) > 1e-12, np.abs(numerators), 0.0)
    t = np.divide(numerators, spread, out=np.where(numerators > 0, np.inf, 0.0), where=spread > 0)
    # The first labelling is that of the data. Ties with it count, whatever summation did to their last bit.
    p = float(np.mean(t >= t[0] * (1 - 1e-9)))
    return Permutation(float(np.mean(differences)), p, len(t), exact)


def paired_permutation_test(difference: ArrayLike, *, resamples: int = 9999, seed: int = 0) -> Permutation:
    """Do two models differ on the same hands? Two-sided, by turning the signs of paired differences (Fisher, 1935).

    If the models are alike, either could have had either error of a pair. The statistic is the mean; Student's t would
    give the same p, as turning signs leaves the sum of squares as it is. The test takes differences to be symmetric
    about 0 then: skewed ones of mean 0 are called a difference too often (docs/statistics.md).

    Args:
        difference: (n,) one mean paired difference a cluster.
        resamples: random turns, p = (b + 1) / (resamples + 1). Where there are no more than resamples + 1 in all, each
            is taken once and p is exact; it is then at least 2 / 2^n, or 1 with a single cluster.
        seed: the same seed gives the same p.

    Raises:
        ValueError: there is no cluster, a difference is not finite, or resamples < 1.
    """
    values = _arm(difference, "paired")
    if resamples < 1:
        raise ValueError(f"resamples must be >= 1, got {resamples}.")
    scale = float(np.abs(values).max())
    scaled = values / scale if scale > 0 else values
    exact = 2 ** min(len(values), 63) <= resamples + 1
    if exact:
        sums = np.array([np.dot(turn, scaled) for turn in itertools.product((1.0, -1.0), repeat=len(values))])
    else:
        rng, step = np.random.default_rng(seed), max(1, _CHUNK // len(values))
        parts = [scaled.sum()[None]]
        for start in range(0, resamples, step):
            turned = rng.integers(0, 2, (min(step, resamples - start), len(values)), dtype=np.int8)
            parts.append(scaled.sum() - 2 * (turned @ scaled))
        sums = np.concatenate(parts)
    p = float(np.mean(np.abs(sums) >= abs(sums[0]) - 1e-9 * len(values)))
    return Permutation(float(values.mean()), p, len(sums), exact)


def labellings(own: int, base: int) -> int:
    """In how many ways own + base clusters can be labelled as so many own and so many base: a binomial coefficient."""
    return math.comb(own + base, own)


def smallest_p(own: int, base: int) -> float:
    """The smallest two-sided p-value that a permutation test of so many clusters can give, whatever the data.

    One labelling of all, or two where the arms are equally large, as exchanging them turns the sign only. Two own
    photos against five base photos give 1/21: no error, however large, is significant at 0.05 / 25.
    """
    return (2 if own == base else 1) / labellings(own, base)


def _arm(values: ArrayLike, name: str) -> Float64[np.ndarray, " n"]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"the {name} arm needs one finite mean a cluster, shape (n,), got shape {array.shape}.")
    return array


def _all_labellings(clusters: int, own: int) -> Bool[np.ndarray, "m clusters"]:
    """Every choice of the own clusters, the first ones first."""
    chosen = np.array(list(itertools.combinations(range(clusters), own)))
    return _mask(chosen, clusters)


def _random_contrasts(
    values: Float64[np.ndarray, " n"], own: int, resamples: int, rng: np.random.Generator
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Contrasts of the labelling of the data and of random ones."""
    parts = [_contrast(_mask(np.arange(own)[None], len(values)), values, own)]
    step = max(1, _CHUNK // len(values))
    for start in range(0, resamples, step):
        draws = rng.random((min(step, resamples - start), len(values)), dtype=np.float32)
        parts.append(_contrast(_mask(np.argpartition(draws, own - 1, axis=1)[:, :own], len(values)), values, own))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _mask(chosen: np.ndarray, clusters: int) -> Bool[np.ndarray, "m clusters"]:
    mask = np.zeros((len(chosen), clusters), dtype=bool)
    np.put_along_axis(mask, chosen, True, axis=1)
    return mask


def _contrast(
    mask: Bool[np.ndarray, "m n"], values: Float64[np.ndarray, " n"], own: int
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Mean of own - mean of base, and its variance by Welch, for each labelling.

    An arm of a single cluster shows no variance and adds none.
    """
    sums = mask.astype(np.float64) @ np.stack([values, values**2], axis=1)
    rest = np.array([values.sum(), (values**2).sum()]) - sums
    base = len(values) - own
    squares = [part[:, 1] - part[:, 0] ** 2 / count for part, count in ((sums, own), (rest, base))]
    variances = [np.maximum(part, 0.0) / max(1, n - 1) / n for part, n in zip(squares, (own, base), strict=True)]
    return sums[:, 0] / own - rest[:, 0] / base, variances[0] + variances[1]
