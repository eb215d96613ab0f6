"""Own photos against base hands in one metric: per gesture, over all gestures, and what the design can show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

from knuckle.metrics import (
    GroupSums,
    Interval,
    Photos,
    detectable_shift,
    equivalence,
    holm,
    mean_difference,
    permutation_test,
    photos_needed,
    pooled_differences,
    power,
    shrink,
    simulated_power,
    stratified_difference,
    stratified_permutation_test,
)

Metric = Literal["epe", "nme"]
Finding = Literal[
    "own worse",
    "own better",
    "no difference beyond the margin",
    "not shown",
    "cannot show",
    "no own hand",
    "no base hand",
]

ALPHA: Final = 0.05
TARGET: Final = 0.8
SHIFTS: Final = (0.1, 0.25, 0.5, 1.0)
"""True differences that the table of power asks about, in parts of the base's mean error."""
STUDIES: Final = 200
"""Simulated for each power: its standard error is 0.035 at most."""
RESAMPLES: Final = 999
"""Of each simulated test: enough for p <= 0.05 / 25."""
FEWEST_OWN_ERRORS: Final = 10
"""Groups of own hands below which their scatter is taken to be that of the base."""
_NONE: Final = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Design:
    """How many hands of a gesture there are to compare.

    Attributes:
        gesture: index into `skeleton.GESTURES`.
        base: groups of base hands, the number that tests count.
        own: groups of own hands.
        smallest_p: that a permutation test of so many groups can reach; NaN where a side has none.
        smallest_holm: the same after Holm's correction, if every compared gesture gave its smallest.
        reachable: whether that is at most 0.05; otherwise no difference, however large, can be shown.
        paper_share: weight of own photos in the paper's base + own of this gesture.
        paper_difference: EPE of base + own less base on the second hypothesis' hands, px.
        paper_direct: own less base on the same hands: the paper's difference over the share.
    """

    gesture: int
    base: int
    own: int
    smallest_p: float
    smallest_holm: float
    reachable: bool
    paper_share: float
    paper_difference: float
    paper_direct: float


@dataclass(frozen=True)
class Contrast:
    """Own less base of one metric in one gesture; NaN where it cannot be had.

    Attributes:
        base: mean error of base hands.
        own: of own hands.
        difference: own less base; bounds are NaN with fewer than 20 groups on a side.
        p: of the permutation test.
        p_holm: the same, corrected for the number of gestures.
        p_equivalence: of the equivalence test, corrected likewise.
        shrunk: the difference that the hierarchical model holds likely, with its 95 % interval.
        detectable: smallest true difference found with power 0.8 by the test at Holm's first step; infinite: none.
        needed: groups that would find the observed difference with that power, if it were the true one; None where
            100,000 own ones would be too few or nothing is known.
        finding: the verdict.
    """

    base: float
    own: float
    difference: Interval
    p: float
    p_holm: float
    p_equivalence: float
    shrunk: Interval
    detectable: float
    needed: Photos | None
    finding: Finding


@dataclass(frozen=True)
class Overall:
    """Own less base over all gestures.

    Attributes:
        base: mean error over all keypoints of base hands.
        own: of own hands.
        share: weight of own photos in base + own.
        diluted: mean of base + own less that of base: share times `direct`. With EPE the paper's difference.
        direct: own less base, over all keypoints.
        within: the mean over gestures of own less base in each: free of the sets' shares of gestures.
        p: of the permutation test within gestures.
        p_equivalence: of the equivalence test of `direct` over groups.
        groups: of base and of own hands.
    """

    base: float
    own: float
    share: float
    diluted: Interval
    direct: Interval
    within: Interval
    p: float
    p_equivalence: float
    groups: tuple[int, int]


@dataclass(frozen=True)
class Chance:
    """Power of the typical design for one true difference.

    Attributes:
        shift_share: the difference in parts of the base's mean error.
        shift: the same in the metric's unit.
        base: groups of base hands in a gesture, the median.
        own: of own hands.
        power: simulated from the errors at hand, each set with its own scatter (`metrics.simulated_power`).
        by_formula: for normal errors that scatter alike in all arms (`metrics.power`).
        needed: groups a gesture that power 0.8 needs by the formula.
    """

    shift_share: float
    shift: float
    base: int
    own: int
    power: float
    by_formula: float
    needed: Photos | None


@dataclass(frozen=True)
class Model:
    """The hierarchical model over gestures: common mean, spread between gestures, spread within an arm."""

    mean: float
    mean_sd: float
    tau: float
    sd: float
    freedom: int


@dataclass(frozen=True)
class MetricEvidence:
    """Everything about one metric. Lengths are pixels for "epe", parts of the box's longer side for "nme".

    Attributes:
        metric: which one.
        margin: difference that counts as none.
        overall: over all gestures.
        rows: one a gesture, in the order of `Evidence.designs`.
        chances: power for some true differences; empty where the spread is unknown.
        model: None with fewer than three gestures on both sides, or without any spread.
    """

    metric: Metric
    margin: float
    overall: Overall
    rows: tuple[Contrast, ...]
    chances: tuple[Chance, ...]
    model: Model | None


class Arms(NamedTuple):
    """Sums over groups of one metric: all hands, and gesture by gesture."""

    base: GroupSums
    own: GroupSums
    bases: list[GroupSums]
    owns: list[GroupSums]


def contrast_metric(
    metric: Metric, arms: Arms, designs: Sequence[Design], share: float, crossing: bool, seed: int
) -> MetricEvidence:
    """Every number of one metric.

    Args:
        metric: which one it is.
        arms: sums of its errors over groups.
        designs: one a gesture, in the order of the arms' lists.
        share: the margin in parts of the base's mean error.
        crossing: whether groups show several gestures, so that nothing may be said over gestures.
        seed: of resampling.
    """
    both = [row for row, design in enumerate(designs) if design.base > 0 and design.own > 0]
    owns, bases = [arms.owns[row] for row in both], [arms.bases[row] for row in both]
    margin = share * arms.base.mean
    tested = [permutation_test(own.means, base.means, seed=seed).p for own, base in zip(owns, bases, strict=True)]
    alike = [_equivalence(own, base, margin) for own, base in zip(owns, bases, strict=True)]
    sd, freedom = _spread(owns, bases)
    shrunk, model = _shrunk(owns, bases, sd, freedom)
    rows: list[Contrast] = []
    adjusted, alike_adjusted = holm(tested), holm(alike)
    for number, design in enumerate(designs):
        own, base = arms.owns[number], arms.bases[number]
        if number not in both:
            finding: Finding = "no own hand" if design.own == 0 else "no base hand"
            nan = math.nan
            rows.append(Contrast(base.mean, own.mean, _NONE, nan, nan, nan, _NONE, nan, None, finding))
            continue
        place = both.index(number)
        difference = mean_difference(own, base, seed=seed)
        p_holm, p_alike = float(adjusted[place]), float(alike_adjusted[place])
        rows.append(
            Contrast(
                base=base.mean,
                own=own.mean,
                difference=difference,
                p=tested[place],
                p_holm=p_holm,
                p_equivalence=p_alike,
                shrunk=shrunk[place],
                detectable=_detectable(sd, design, len(both)),
                needed=_needed(abs(difference.estimate), sd, design.base / design.own, len(both)),
                finding=_finding(difference.estimate, p_holm, p_alike, design.reachable),
            )
        )
    overall = _overall(arms, owns, bases, margin, crossing, seed)
    return MetricEvidence(metric, margin, overall, tuple(rows), _chances(arms, designs, both, sd, seed), model)


def _finding(difference: float, p_holm: float, p_alike: float, reachable: bool) -> Finding:
    if p_holm <= ALPHA:
        return "own worse" if difference > 0 else "own better"
    if p_alike <= ALPHA:
        return "no difference beyond the margin"
    return "not shown" if reachable else "cannot show"


def _overall(
    arms: Arms, owns: list[GroupSums], bases: list[GroupSums], margin: float, crossing: bool, seed: int
) -> Overall:
    mine, theirs = float(arms.own.bottom.sum()), float(arms.base.bottom.sum())
    share = mine / (mine + theirs) if mine + theirs else math.nan
    direct = mean_difference(arms.own, arms.base, seed=seed)
    tests = bool(owns) and not crossing
    within = stratified_difference(owns, bases, seed=seed) if tests else _NONE
    p = math.nan
    if tests:
        means = [[arm.means for arm in side] for side in (owns, bases)]
        p = stratified_permutation_test(means[0], means[1], seed=seed).p
    diluted = Interval(*(share * value for value in direct))
    alike = _equivalence(arms.own, arms.base, margin)
    groups = (len(arms.base.top), len(arms.own.top))
    return Overall(arms.base.mean, arms.own.mean, share, diluted, direct, within, p, alike, groups)


def _equivalence(own: GroupSums, base: GroupSums, margin: float) -> float:
    return equivalence(own.means, base.means, margin).p if margin > 0 else math.nan


def _spread(owns: list[GroupSums], bases: list[GroupSums]) -> tuple[float, int]:
    """The standard deviation of group means within an arm, pooled over all arms; NaN where none has two groups."""
    if not any(len(arm.top) > 1 for arm in (*owns, *bases)):
        return math.nan, 0
    pooled = pooled_differences([arm.means for arm in owns], [arm.means for arm in bases])
    return pooled.sd, pooled.freedom


def _shrunk(
    owns: list[GroupSums], bases: list[GroupSums], sd: float, freedom: int
) -> tuple[list[Interval], Model | None]:
    if len(owns) < 3 or not sd > 0:
        return [_NONE] * len(owns), None
    pooled = pooled_differences([arm.means for arm in owns], [arm.means for arm in bases])
    found = shrink(pooled.difference, pooled.variance)
    reach = 1.96 * found.sd
    rows = zip(found.estimates.tolist(), reach.tolist(), strict=True)
    model = Model(found.mean, found.mean_sd, found.tau, sd, freedom)
    return [Interval(middle, middle - side, middle + side) for middle, side in rows], model


def _detectable(sd: float, design: Design, tests: int) -> float:
    if not sd > 0 or min(design.own, design.base) < 2:
        return math.inf if sd > 0 else math.nan
    return detectable_shift(sd, design.own, design.base, target=TARGET, alpha=ALPHA, tests=tests)


def _needed(shift: float, sd: float, base_per_own: float, tests: int) -> Photos | None:
    if not sd > 0 or not shift > 0:
        return None
    return photos_needed(shift, sd, base_per_own=base_per_own, target=TARGET, alpha=ALPHA, tests=tests)


def _chances(arms: Arms, designs: Sequence[Design], both: list[int], sd: float, seed: int) -> tuple[Chance, ...]:
    """Power of the median design for differences in parts of the base's error."""
    mean = arms.base.mean
    if not both or not sd > 0 or not mean > 0:
        return ()
    base, own = (int(np.median([getattr(designs[row], side) for row in both])) for side in ("base", "own"))
    of_base, of_own = _pilots([arms.bases[row] for row in both], [arms.owns[row] for row in both])
    found: list[Chance] = []
    for part in SHIFTS:
        shift, tests = part * mean, len(both)
        by_formula = power(shift, sd, own, base, alpha=ALPHA, tests=tests) if min(own, base) > 1 else 0.0
        if found and found[-1].power == 1:
            chance = 1.0  # a larger difference is found as surely
        else:
            chance = simulated_power(
                of_own + shift,
                of_base,
                own,
                base,
                alpha=ALPHA,
                tests=tests,
                studies=STUDIES,
                resamples=RESAMPLES,
                seed=seed,
            )
        found.append(Chance(part, shift, base, own, chance, by_formula, _needed(shift, sd, base / own, tests)))
    return tuple(found)


def _pilots(
    bases: Sequence[GroupSums], owns: Sequence[GroupSums]
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " m"]]:
    """How group means of base and of own hands scatter about the mean of their gesture, all gestures together.

    Where own groups are too few to say, they are taken to scatter as those of the base, and the other way round.
    """
    of_base, of_own = (_scatter(arms) for arms in (bases, owns))
    if len(of_own) < FEWEST_OWN_ERRORS and len(of_base):
        of_own = of_base
    return (of_base if len(of_base) else of_own), of_own


def _scatter(arms: Sequence[GroupSums]) -> Float64[np.ndarray, " n"]:
    """Deviations of group means from their arm's mean, as wide as those from the true mean would be."""
    several = [arm.means for arm in arms if len(arm.top) > 1]
    wide = [(means - means.mean()) * math.sqrt(len(means) / (len(means) - 1)) for means in several]
    return np.concatenate([np.empty(0), *wide])
