"""What the evidence supports: own photos against base hands within each gesture, with chance taken into account.

The paper compares base with base + own, and base is part of both. Here own is compared with base itself: intervals from
the cluster bootstrap over groups, permutation tests, Holm over the gestures, equivalence tests, power, and a
hierarchical model for designs that are too small for each gesture alone. docs/statistics.md explains them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import NDArray

from knuckle.hands import Hands
from knuckle.metrics import GroupSums, error_sums, holm, reachable, smallest_p
from knuckle.metrics.errors import distances, relative_distances
from knuckle.study.contrasts import ALPHA, Arms, Design, MetricEvidence, contrast_metric

MARGIN_SHARE: Final = 0.05
"""Of the base's mean error: differences below it count as none unless another margin is stated."""


@dataclass(frozen=True)
class Evidence:
    """What can be said of own photos against base hands.

    Attributes:
        designs: one a gesture.
        margin_share: the margin in parts of the base's mean error.
        missing: labelled keypoints that were not found, which are in no number here.
        crossing: whether a group shows several gestures. Tests and intervals over gestures are then left out, as they
            take gestures to be independent.
        epe: in pixels, the paper's unit.
        nme: in parts of the box, which does not change with a photo's size.
    """

    designs: tuple[Design, ...]
    margin_share: float
    missing: int
    crossing: bool
    epe: MetricEvidence
    nme: MetricEvidence


def evidence(
    base_pred: Hands,
    base_true: Hands,
    own_pred: Hands,
    own_true: Hands,
    in_h2: Bool[np.ndarray, " n"],
    classes: Sequence[int],
    *,
    margin_px: float | None = None,
    seed: int = 0,
) -> Evidence:
    """Compare own photos with base hands, gesture by gesture and together.

    Args:
        base_pred: predictions on all base hands.
        base_true: their truth; its gestures and groups count.
        own_pred: predictions on own hands.
        own_true: their truth.
        in_h2: (n,) which base hands the second hypothesis compares.
        classes: the gestures, at least one.
        margin_px: difference of EPE that counts as none; None: 5 % of the base's EPE. For NME the same part.
        seed: of resampling.

    Raises:
        ValueError: predictions and truth do not describe the same hands, or the margin is not positive.
    """
    check_margin(margin_px)
    px = distances(base_pred, base_true), distances(own_pred, own_true)
    side = relative_distances(base_pred, base_true, "box"), relative_distances(own_pred, own_true, "box")
    in_px, in_sides = (_arms(errors, (base_true, own_true), classes) for errors in (px, side))
    epe_of_base = in_px.base.mean
    share = MARGIN_SHARE if margin_px is None or not epe_of_base > 0 else margin_px / epe_of_base
    crossing = any(_crosses(true, classes) for true in (base_true, own_true))
    second = [
        error_sums(_found(px[0])[rows], base_true.group[rows])
        for rows in (in_h2 & (base_true.gesture == gesture) for gesture in classes)
    ]
    designs = _designs(in_px, second, classes)
    return Evidence(
        designs=designs,
        margin_share=share,
        missing=sum(int(np.isinf(values).sum()) for values in px),
        crossing=crossing,
        epe=contrast_metric("epe", in_px, designs, share, crossing, seed),
        nme=contrast_metric("nme", in_sides, designs, share, crossing, seed),
    )


def check_margin(margin_px: float | None) -> None:
    """Refuse a margin that is none.

    Raises:
        ValueError: it is not positive.
    """
    if margin_px is not None and not 0 < margin_px < math.inf:
        raise ValueError(f"the margin must be a positive number of pixels, got {margin_px:g}; leave it out for 5 %.")


def _found(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Errors without those of keypoints that were not found."""
    return np.where(np.isinf(errors), np.nan, errors)


def _arms(
    errors: tuple[Float64[np.ndarray, "n 21"], Float64[np.ndarray, "m 21"]],
    true: tuple[Hands, Hands],
    classes: Sequence[int],
) -> Arms:
    found = [_found(values) for values in errors]
    base, own = (error_sums(values, hands.group) for values, hands in zip(found, true, strict=True))
    bases, owns = (
        [error_sums(values[rows], hands.group[rows]) for rows in (hands.gesture == gesture for gesture in classes)]
        for values, hands in zip(found, true, strict=True)
    )
    return Arms(base, own, bases, owns)


def _crosses(true: Hands, classes: Sequence[int]) -> bool:
    """Whether hands of one group show several of the gestures."""
    kept = np.isin(true.gesture, classes)
    pairs = np.unique(np.stack([true.group[kept], true.gesture[kept]], axis=1), axis=0)
    return len(np.unique(pairs[:, 0])) < len(pairs)


def _designs(arms: Arms, second: Sequence[GroupSums], classes: Sequence[int]) -> tuple[Design, ...]:
    sizes = [(len(base.top), len(own.top)) for base, own in zip(arms.bases, arms.owns, strict=True)]
    least = [smallest_p(own, base) if min(own, base) > 0 else math.nan for base, own in sizes]
    best, within = holm(least).tolist(), reachable(least, ALPHA).tolist()
    found = []
    for row, (gesture, mine, paper) in enumerate(zip(classes, arms.owns, second, strict=True)):
        weight = float(mine.bottom.sum()) + float(paper.bottom.sum())
        share = float(mine.bottom.sum()) / weight if weight else math.nan
        direct = mine.mean - paper.mean
        found.append(Design(gesture, *sizes[row], least[row], best[row], within[row], share, share * direct, direct))
    return tuple(found)
