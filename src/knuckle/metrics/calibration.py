"""How far stated uncertainty can be believed: coverage, sharpness, risk-coverage, and calibration of `confidence`.

A predicted covariance C states regions: all points x whose score, the squared Mahalanobis distance
(x - p)^T C^-1 (x - p) from the prediction p, is at most a limit. Read as a normal distribution, the limit of level q is
-2 log(1 - q), the quantile of chi-square with two degrees of freedom; `knuckle.metrics.conformal` gives limits that
assume no distribution. Everything runs over keypoints that the truth labels and for which the prediction states a
region; labelled keypoints without one are counted as `unstated`.

Letters in shapes: n hands, m keypoints, t levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy.typing import NDArray

from knuckle.hands import Hands
from knuckle.metrics.columns import cluster_bootstrap_each
from knuckle.metrics.confidence import Bin, box_side, confidences, expected_calibration_error, is_close, reliability
from knuckle.metrics.errors import check_same_hands
from knuckle.metrics.gaussian import gaussian_limit, region_area, squared_mahalanobis
from knuckle.metrics.statistics import Interval
from knuckle.skeleton import FINGERS, JOINT_NAMES, NUM_JOINTS

LEVELS: Final = (0.5, 0.8, 0.9, 0.95)
SHARPNESS_LEVEL: Final = 0.9

CURVE_POINTS: Final = 100
RESAMPLES: Final = 1000


class Coverage(NamedTuple):
    """The share of true keypoints in the regions of one level.

    Attributes:
        kind: "all", "finger" (the wrist is listed among them) or "joint".
        part: "all joints", or the name of the finger or joint.
        level: the share that the regions claim.
        keypoints: how many were looked at.
        share: the share found, with its interval over groups; NaN without a keypoint.
    """

    kind: str
    part: str
    level: float
    keypoints: int
    share: Interval


class Sharpness(NamedTuple):
    """How large the regions of level 0.9 are; of two calibrated predictions the sharper one says more.

    Attributes:
        kind: as in `Coverage`.
        part: as in `Coverage`.
        keypoints: how many regions.
        area: their median area in image pixels squared.
        radius: the median radius of the circle of equal area, over the longer side of the box.
    """

    kind: str
    part: str
    keypoints: int
    area: float
    radius: float


class RiskCoverage(NamedTuple):
    """The mean error of the most certain keypoints, as more and more of them are kept.

    Errors are in units of the box's longer side. An area is the mean of its curve over all numbers of keypoints kept:
    the smaller, the better the uncertainty sorts. Sorting at random gives `area_random`, the mean of all errors.

    Attributes:
        kept: shares of the keypoints, ascending to 1.
        risk: mean error of that share of the most certain ones.
        oracle: mean error of that share of those with the smallest errors; no sorting does better.
        area: under `risk`.
        area_oracle: under `oracle`.
        area_random: under the curve of a random order.
    """

    kept: tuple[float, ...]
    risk: tuple[float, ...]
    oracle: tuple[float, ...]
    area: float
    area_oracle: float
    area_random: float


class Uncertainty(NamedTuple):
    """Everything that is measured of stated uncertainty.

    Attributes:
        keypoints: labelled ones for which a region or a confidence is stated.
        unstated: labelled ones without.
        gaussian: coverage of the regions of a normal distribution; empty without covariances.
        conformal: coverage of the regions of given limits; empty without limits.
        sharpness: of the regions of level 0.9: those of given limits, else those of a normal distribution.
        risk_coverage: None without covariances.
        reliability: confidence against the share that was close, bin by bin; empty without confidence.
        expected_calibration_error: the mean over keypoints of their bins' differences; None without confidence.
    """

    keypoints: int
    unstated: int
    gaussian: tuple[Coverage, ...]
    conformal: tuple[Coverage, ...]
    sharpness: tuple[Sharpness, ...]
    risk_coverage: RiskCoverage | None
    reliability: tuple[Bin, ...]
    expected_calibration_error: float | None


def measure(
    pred: Hands,
    true: Hands,
    limits: Float[np.ndarray, "t 21"] | None = None,
    levels: Sequence[float] = LEVELS,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Uncertainty:
    """Every measure that the predictions' covariances and confidences allow.

    Args:
        pred: predictions, with `covariance`, `confidence` or both.
        true: the truth, row by row the same hands; its groups are resampled.
        limits: squared Mahalanobis distances, one a level and joint, of regions that do not assume a normal
            distribution; infinite for the whole plane.
        levels: what the regions claim.
        resamples: of the bootstrap behind each interval.
        seed: of the bootstrap.

    Raises:
        ValueError: the two do not describe the same hands.
    """
    score = scores(pred, true)
    close, confidence = is_close(pred, true), confidences(pred)
    stated = ~np.isnan(score)
    rated = true.labeled & pred.labeled & ~np.isnan(confidence) & ~np.isnan(box_side(pred))[:, None]
    normal = np.tile([[gaussian_limit(level)] for level in levels], (1, NUM_JOINTS))

    def covered(within: Float[np.ndarray, "t 21"]) -> tuple[Coverage, ...]:
        return coverage(score, within, levels, true.group, resamples=resamples, seed=seed)

    bins = reliability(confidence[rated], close[rated]) if rated.any() else ()
    sharpest = normal if limits is None else limits
    at = list(levels).index(SHARPNESS_LEVEL) if SHARPNESS_LEVEL in levels else None
    return Uncertainty(
        keypoints=int((stated | rated).sum()),
        unstated=int((true.labeled & ~stated & ~rated).sum()),
        gaussian=covered(normal) if stated.any() else (),
        conformal=covered(limits) if stated.any() and limits is not None else (),
        sharpness=sharpness(pred, sharpest[at], stated) if stated.any() and at is not None else (),
        risk_coverage=_risk_coverage(pred, true, stated),
        reliability=bins,
        expected_calibration_error=expected_calibration_error(bins) if bins else None,
    )


def scores(pred: Hands, true: Hands) -> Float64[np.ndarray, "n 21"]:
    """The squared Mahalanobis distance of each true keypoint from the predicted one, under its covariance.

    NaN where the truth is not labelled, and where the prediction has no position or no covariance.

    Raises:
        ValueError: the two do not describe the same hands.
    """
    check_same_hands(pred, true)
    if pred.covariance is None:
        return np.full(pred.xy.shape[:2], np.nan)
    return squared_mahalanobis(true.xy.astype(np.float64) - pred.xy, pred.covariance)


def coverage(
    score: Float[np.ndarray, "n 21"],
    limits: Float[np.ndarray, "t 21"],
    levels: Sequence[float],
    groups: NDArray[np.integer],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Coverage, ...]:
    """The share of scores at or below the limit of each level: of all joints, each finger and each joint.

    Args:
        score: of the true keypoints; NaN is left out.
        limits: one a level and joint.
        levels: what the regions claim.
        groups: (n,), what is resampled together; intervals are 95 %, by the cluster bootstrap.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    known = ~np.isnan(score)
    tops, bottoms, rows = [], [], []
    for level, limit in zip(levels, limits, strict=True):
        inside = score <= limit  # NaN is not
        for kind, part, joints in parts():
            tops.append(inside[:, joints].sum(axis=1))
            bottoms.append(known[:, joints].sum(axis=1))
            rows.append((kind, part, float(level), int(bottoms[-1].sum())))
    shares = cluster_bootstrap_each(
        np.stack(tops, axis=1), np.stack(bottoms, axis=1), groups, resamples=resamples, seed=seed, within=(0, 1)
    )
    return tuple(Coverage(*row, share) for row, share in zip(rows, shares, strict=True))


def sharpness(pred: Hands, limit: Float[np.ndarray, " 21"], counted: Bool[np.ndarray, "n 21"]) -> tuple[Sharpness, ...]:
    """The size of the regions within `limit` of each joint, over the keypoints that count."""
    assert pred.covariance is not None
    area = region_area(pred.covariance, np.broadcast_to(limit, counted.shape))
    side = box_side(pred)
    radius = np.sqrt(area / np.pi) / np.where(side > 0, side, np.nan)[:, None]
    return tuple(
        Sharpness(
            kind,
            part,
            int(counted[:, joints].sum()),
            _median(area[:, joints][counted[:, joints]]),
            _median(radius[:, joints][counted[:, joints]]),
        )
        for kind, part, joints in parts()
    )


def risk_coverage(error: Float[np.ndarray, " m"], uncertainty: Float[np.ndarray, " m"]) -> RiskCoverage:
    """Errors in the order of uncertainty; equally uncertain keypoints take the mean of their errors.

    That is the curve expected where ties are broken at random, so constants sort nothing (El-Yaniv and Wiener, 2010,
    have the curve; Geifman et al., 2019, its area).
    """
    _, tie, sizes = np.unique(uncertainty, return_inverse=True, return_counts=True)
    mean_of_tie = np.bincount(tie, error) / sizes
    count = np.arange(1, len(error) + 1)
    risk = np.cumsum(np.repeat(mean_of_tie, sizes)) / count
    oracle = np.cumsum(np.sort(error)) / count
    shown = np.unique(np.ceil(np.linspace(0, len(error), CURVE_POINTS + 1)[1:]).astype(int) - 1)
    return RiskCoverage(
        kept=tuple((count[shown] / len(error)).tolist()),
        risk=tuple(risk[shown].tolist()),
        oracle=tuple(oracle[shown].tolist()),
        area=float(risk.mean()),
        area_oracle=float(oracle.mean()),
        area_random=float(np.mean(error)),
    )


def parts() -> Iterator[tuple[str, str, list[int]]]:
    """Kind, name and joints of everything that has a row of its own."""
    yield "all", "all joints", list(range(NUM_JOINTS))
    yield "finger", "wrist", [0]
    yield from (("finger", finger, list(joints)) for finger, joints in FINGERS.items())
    yield from (("joint", name, [joint]) for joint, name in enumerate(JOINT_NAMES))


def _risk_coverage(pred: Hands, true: Hands, stated: Bool[np.ndarray, "n 21"]) -> RiskCoverage | None:
    """Sorted by the size of the region over the box."""
    side = box_side(pred)
    counted = stated & (side > 0)[:, None]
    if pred.covariance is None or not counted.any():
        return None
    hand, joint = np.nonzero(counted)
    error = np.linalg.norm(true.xy[hand, joint].astype(np.float64) - pred.xy[hand, joint], axis=-1)
    area = region_area(pred.covariance[hand, joint], np.ones(len(hand)))
    return risk_coverage(error / side[hand], np.sqrt(area) / side[hand])


def _median(values: Float64[np.ndarray, " m"]) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float("nan")
