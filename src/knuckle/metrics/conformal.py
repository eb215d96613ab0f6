"""Making stated uncertainty true: scales, conformal regions and confidence, fitted on hands whose truth is known.

With p the prediction, x the truth and C the predicted covariance, a keypoint's score is (x - p)^T C^-1 (x - p).

- **Scale**, one a joint: C is multiplied by median(score) / (2 log 2). 2 log 2 is the median score of a normal
  distribution of the right covariance. A median stands heavy tails and up to half of the labels being wrong.
- **Limits**, one a joint and level: the score of rank ceil((n + 1) level) among the n of the fitting hands (split
  conformal prediction; Lei et al., JASA 2018, section 2.2). For hands that are exchangeable with these the region
  {score <= limit} covers the truth with a probability of at least `level`, and at most level + 1 / (n + 1) if no two
  scores are equal, whatever the distribution. Scales change neither region nor guarantee.
- **Confidence**: the probability that a normal distribution of the scaled covariance gives to the disc of 0.05 box
  sides, through a monotone map that makes it the share found among the fitting hands: isotonic regression over up to
  20 groups of keypoints, sorted by that probability and equally large, and straight lines between their means.

Predictions without covariance get one from calibration alone, the same for all hands: a multiple of the square of the
box's longer side for each joint, equal in all directions. The record says so (`source`).

Letters in shapes: n hands, m keypoints, t levels, g groups.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy.typing import NDArray

from knuckle.hands import Hands
from knuckle.metrics.calibration import LEVELS, scores
from knuckle.metrics.confidence import CLOSE, box_side, is_close
from knuckle.metrics.gaussian import probability_within
from knuckle.skeleton import NUM_JOINTS

Source = Literal["covariance", "box"]

GAUSSIAN_MEDIAN: Final = 2 * math.log(2)
"""The median of the squared Mahalanobis distance in the plane."""

KNOTS: Final = 20
KEYPOINTS_A_KNOT: Final = 50
"""At least so many keypoints stand behind a knot of the map to confidence, where there are so many at all."""


@dataclass(frozen=True)
class Calibration:
    """What calibration found, as it is stored with a model. `fit` makes it.

    Attributes:
        source: "covariance" where the method's own covariance is scaled; "box" where it has none, so that the
            square of the box's longer side is.
        scale: one factor a joint; None for a joint that no fitting hand showed, which gets no covariance.
        levels: what the regions claim, ascending.
        limits: for each level and joint the squared Mahalanobis distance, under the scaled covariance, at which the
            region ends; None for the whole plane, where too few hands were there to be sure of less.
        disc: probabilities of the disc under the scaled covariance, ascending.
        confidence: what is stated at each of them, not falling.
        hands: how many hands were fitted.
        groups: how many groups they came from.
        flip_test: whether they were predicted with the flip test.

    Raises:
        ValueError: a length, an order or a range is wrong.
    """

    source: Source
    scale: tuple[float | None, ...]
    levels: tuple[float, ...]
    limits: tuple[tuple[float | None, ...], ...]
    disc: tuple[float, ...]
    confidence: tuple[float, ...]
    hands: int
    groups: int
    flip_test: bool = False

    def __post_init__(self) -> None:
        if self.source not in ("covariance", "box"):
            raise ValueError(f"a calibration's source is covariance or box, got {self.source!r}.")
        if len(self.scale) != NUM_JOINTS or any(len(row) != NUM_JOINTS for row in self.limits):
            raise ValueError(f"a calibration needs {NUM_JOINTS} scales and limits a level.")
        if not _rises(self.levels, strictly=True) or len(self.levels) != len(self.limits):
            raise ValueError(f"a calibration needs ascending levels, and limits for each, got {self.levels}.")
        if not self.disc or len(self.disc) != len(self.confidence) or not _rises(self.disc, strictly=True):
            raise ValueError(
                "a calibration's confidence needs as many values as ascending probabilities, at least one."
            )
        if not _rises(self.confidence):
            raise ValueError("a calibration's confidence must not fall.")
        if not all(0 <= value <= 1 for value in (*self.levels, *self.disc, *self.confidence)):
            raise ValueError("a calibration's levels and probabilities lie in 0..1.")
        given = [
            value for value in (*self.scale, *(value for row in self.limits for value in row)) if value is not None
        ]
        if not all(math.isfinite(value) and value >= 0 for value in given) or 0 in self.scale:
            raise ValueError("a calibration's scales are positive and its limits not negative.")

    def apply(self, hands: Hands) -> Hands:
        """The hands with scaled covariances and with confidence.

        Both are NaN where there is no prediction, no box that the source needs, or the joint was never fitted.

        Raises:
            ValueError: the source is the method's covariance, and these hands have none.
        """
        scale = np.array([np.nan if value is None else value for value in self.scale])
        covariance = base_covariance(hands, self.source) * scale[:, None, None]
        disc = probability_within(covariance, CLOSE * box_side(hands)[:, None])
        confidence = np.where(np.isnan(disc), np.nan, np.interp(disc, self.disc, self.confidence))
        return hands.replace(covariance=covariance, confidence=confidence)

    def limits_array(self) -> Float64[np.ndarray, "t 21"]:
        """The limits, infinite where the region is the whole plane."""
        return np.array([[np.inf if value is None else value for value in row] for row in self.limits])

    def to_dict(self) -> dict[str, Any]:
        """Everything in types that JSON has."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Calibration:
        """What `to_dict` made, also after a way through JSON.

        Raises:
            ValueError: it is no calibration; says why.
        """
        names = {item.name for item in fields(cls)}
        if not isinstance(content, Mapping) or set(content) != names:
            raise ValueError(f"a calibration has the fields {', '.join(sorted(names))}.")
        try:
            return cls(
                source=content["source"],
                scale=_numbers(content["scale"]),
                levels=tuple(float(value) for value in content["levels"]),
                limits=tuple(_numbers(row) for row in content["limits"]),
                disc=tuple(float(value) for value in content["disc"]),
                confidence=tuple(float(value) for value in content["confidence"]),
                hands=int(content["hands"]),
                groups=int(content["groups"]),
                flip_test=bool(content["flip_test"]),
            )
        except TypeError as error:
            raise ValueError(f"a calibration's numbers are missing or of another kind ({error}).") from error


def fit(pred: Hands, true: Hands, levels: Sequence[float] = LEVELS, *, flip_test: bool = False) -> Calibration:
    """The calibration of predictions by hands whose truth is known.

    Args:
        pred: predictions, not calibrated yet.
        true: the truth, row by row the same hands.
        levels: of the conformal regions, ascending within 0..1.
        flip_test: for the record, whether the flip test was on.

    Raises:
        ValueError: the two do not describe the same hands, or no keypoint can be compared.
    """
    source: Source = "box" if pred.covariance is None else "covariance"
    score = scores(pred.replace(covariance=base_covariance(pred, source)), true)
    by_joint = [column[~np.isnan(column)] for column in score.T]
    scale = [_scale(column) for column in by_joint]
    if all(value is None for value in scale):
        raise ValueError("nothing can be calibrated: no keypoint has both a label and a usable prediction.")
    limits = tuple(
        tuple(
            None if factor is None else _limit(column / factor, level)
            for column, factor in zip(by_joint, scale, strict=True)
        )
        for level in levels
    )
    counted = ~np.isnan(score).all(axis=1)
    first = Calibration(
        source=source,
        scale=tuple(scale),
        levels=tuple(levels),
        limits=limits,
        disc=(0.0, 1.0),
        confidence=(0.0, 1.0),  # what a normal distribution says, until the lines below
        hands=int(counted.sum()),
        groups=len(np.unique(true.group[counted])),
        flip_test=flip_test,
    )
    stated = first.apply(pred).confidence
    assert stated is not None
    rated = ~np.isnan(stated) & ~np.isnan(score)
    if not rated.any():
        raise ValueError("confidence cannot be calibrated: no compared hand has a box with an extent.")
    disc, confidence = isotonic(stated[rated].astype(np.float64), is_close(pred, true)[rated])
    return replace(first, disc=disc, confidence=confidence)


def base_covariance(hands: Hands, source: Source) -> Float64[np.ndarray, "n 21 2 2"]:
    """What the scales multiply: the method's own covariance, or the square of the box's longer side.

    Raises:
        ValueError: the method's own is asked for, and these hands have none.
    """
    if source == "box":
        side = np.where(hands.labeled, box_side(hands)[:, None], np.nan)
        return np.asarray(np.where(side > 0, side, np.nan)[..., None, None] ** 2 * np.eye(2))
    if hands.covariance is None:
        raise ValueError("this calibration scales the method's own covariance, but these predictions have none.")
    return hands.covariance.astype(np.float64)


def conformal_rank(n: int, level: float) -> int:
    """ceil((n + 1) level), with the level taken as the decimal number that it is written as."""
    return math.ceil((n + 1) * Fraction(str(level)))


def isotonic(value: Float[np.ndarray, " m"], hit: NDArray[np.bool_]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """A map from a number to the probability of a hit that never falls: the knots, and what it is there.

    Keypoints are grouped by the number, equal numbers together; the groups' shares of hits are made monotone by pooling
    adjacent violators (Ayer et al., 1955), weighted by their sizes.
    """
    knots = max(1, min(KNOTS, len(value) // KEYPOINTS_A_KNOT))
    edges = np.unique(np.quantile(value, np.linspace(0, 1, knots + 1)[1:-1]))
    group = np.searchsorted(edges, value, side="left")
    size = np.bincount(group, minlength=len(edges) + 1)
    kept = size > 0
    place = np.bincount(group, value, minlength=len(size))[kept] / size[kept]
    share = pool_adjacent_violators(np.bincount(group, hit, minlength=len(size))[kept] / size[kept], size[kept])
    return tuple(place.tolist()), tuple(share.tolist())


def pool_adjacent_violators(
    value: Float[np.ndarray, " g"], weight: Int64[np.ndarray, " g"]
) -> Float64[np.ndarray, " g"]:
    """The sequence that never falls and is nearest to `value` in the weighted sum of squares."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many
    for own, heaviness in zip(value.tolist(), weight.tolist(), strict=True):
        mean, total, count = own, heaviness, 1
        while blocks and blocks[-1][0] >= mean:
            before, weight_before, count_before = blocks.pop()
            mean = (before * weight_before + mean * total) / (weight_before + total)
            total, count = total + weight_before, count + count_before
        blocks.append((mean, total, count))
    return np.repeat([mean for mean, _, _ in blocks], [count for _, _, count in blocks])


def _scale(score: Float64[np.ndarray, " n"]) -> float | None:
    """None where there is no score, or a median without meaning: a perfect half, or a half of empty regions."""
    median = float(np.median(score)) if score.size else 0.0
    return median / GAUSSIAN_MEDIAN if 0 < median < math.inf else None


def _limit(score: Float64[np.ndarray, " n"], level: float) -> float | None:
    rank = conformal_rank(len(score), level)
    value = float(np.partition(score, rank - 1)[rank - 1]) if rank <= len(score) else math.inf
    return value if math.isfinite(value) else None


def _rises(values: Sequence[float], *, strictly: bool = False) -> bool:
    return all(low < high or (not strictly and low == high) for low, high in itertools.pairwise(values))


def _numbers(values: Sequence[float | None]) -> tuple[float | None, ...]:
    return tuple(None if value is None else float(value) for value in values)
