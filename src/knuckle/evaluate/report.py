"""Every metric of predictions against the truth, as one report of plain numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from knuckle.hands import Hands
from knuckle.metrics import (
    Breakdown,
    Calibration,
    Interval,
    auc,
    breakdown,
    cluster_bootstrap,
    epe,
    nme,
    pck,
    pck_curve,
)
from knuckle.metrics.calibration import Uncertainty, measure
from knuckle.metrics.errors import check_same_hands, distances, relative_distances
from knuckle.metrics.recognition import Recognition, recognition

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 1000
"""Another seed then moves a bound by about 2 % of the interval's width."""


@dataclass(frozen=True)
class Report:
    """How far predictions lie from the truth. Lengths are image pixels; rates lie in 0..1.

    Attributes:
        hands: hands compared.
        images: different images among them.
        groups: different groups among them.
        keypoints: labelled keypoints, which all metrics run over.
        missing: labelled keypoints without a prediction; they make `epe` and `nme` infinite.
        without_extent: hands with labelled keypoints whose box has no extent; NME and the PCK of
            the box leave them out.
        epe: mean error.
        epe_found: mean error of the keypoints that have a prediction.
        nme_found: the same over the longer side of the box, micro.
        median_error: median error, missing predictions counted as infinite.
        nme: mean error over the longer side of the box, micro.
        nme_hand: the same, averaged within each hand first.
        pck_box_20: PCK@0.2 of the box's longer side, strict, macro over joints (MMPose).
        pck_box_10: at 0.1.
        pck_box_05: at 0.05.
        pck_image_20: PCK@0.2 of the image's longer side, None where a size is unknown.
        auc_mmpose: AUC as MMPose computes it; at most 0.95.
        auc_hand3d: AUC as hand3d computes it; at most 1.
        intervals: 95 % intervals of epe, nme and pck_box_20 by the cluster bootstrap over groups; NaN bounds where
            groups are too few.
        breakdown: tables by joint, finger, side, gesture, visibility and group.
        uncertainty: how far the stated uncertainty can be believed; None where none is stated.
        recognition: how well hands and their sides were recognised; None where nothing is said of that.
        skipped: one sentence a sample that could not be read and is not in these numbers.
    """

    hands: int
    images: int
    groups: int
    keypoints: int
    missing: int
    without_extent: int
    epe: float
    epe_found: float
    nme_found: float
    median_error: float
    nme: float
    nme_hand: float
    pck_box_20: float
    pck_box_10: float
    pck_box_05: float
    pck_image_20: float | None
    auc_mmpose: float
    auc_hand3d: float
    intervals: Mapping[str, Interval]
    breakdown: Breakdown
    uncertainty: Uncertainty | None = None
    recognition: Recognition | None = None
    skipped: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The report as JSON text; null stands for a number that is infinite or not defined."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        plain["intervals"] = {
            "confidence": CONFIDENCE,
            **{name: [interval.low, interval.high] for name, interval in self.intervals.items()},
        }
        plain["breakdown"] = {name: [asdict(row) for row in rows] for name, rows in self.breakdown._asdict().items()}
        plain["uncertainty"] = named(self.uncertainty)
        plain["recognition"] = named(self.recognition)
        return json.dumps(finite(plain), indent=2, allow_nan=False)


def evaluate(
    pred: Hands,
    true: Hands,
    *,
    calibration: Calibration | None = None,
    skipped: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Report:
    """Every metric of predictions against the truth, row by row the same hands.

    Args:
        pred: predictions; keypoints with visibility 0 are missing.
        true: the truth; only its labelled keypoints count.
        calibration: what calibrated the predictions; its conformal regions are measured.
        skipped: sentences about samples that are not in the two tables, for the record.
        resamples: of the bootstrap behind each interval.
        seed: of the bootstrap.

    Raises:
        ValueError: the two do not describe the same hands, or a labelled hand has no box.
    """
    check_same_hands(pred, true)
    if not np.array_equal(pred.image, true.image):
        pred = pred.replace(image=true.image, root=true.root)  # so that no metric compares the paths again
    distance, ratio = distances(pred, true), relative_distances(pred, true, "box")
    labeled = true.labeled
    known = distance[labeled]
    with_size = (true.size > 0).all(axis=1) | ~labeled.any(axis=1)

    def interval(top: NDArray[np.generic], bottom: NDArray[np.generic], most: float) -> Interval:
        return cluster_bootstrap(
            top, bottom, true.group, resamples=resamples, seed=seed, confidence=CONFIDENCE, within=(0.0, most)
        )

    scaled = ~np.isnan(ratio)
    pck_box = pck_curve(pred, true, [0.2, 0.1, 0.05])
    return Report(
        hands=len(true),
        images=len(set(true.image.tolist())),
        groups=len(np.unique(true.group)),
        keypoints=len(known),
        missing=int(np.isinf(known).sum()),
        without_extent=int((labeled.any(axis=1) & ~scaled.any(axis=1)).sum()),
        epe=epe(pred, true),
        epe_found=_finite_mean(known),
        nme_found=_finite_mean(ratio[scaled]),
        median_error=_median(known),
        nme=nme(pred, true),
        nme_hand=nme(pred, true, average="hand"),
        pck_box_20=float(pck_box[0]),
        pck_box_10=float(pck_box[1]),
        pck_box_05=float(pck_box[2]),
        pck_image_20=pck(pred, true, 0.2, "image") if with_size.all() else None,
        auc_mmpose=auc(pred, true, "mmpose"),
        auc_hand3d=auc(pred, true, "hand3d"),
        intervals={
            "epe": interval(np.where(labeled, distance, 0.0).sum(axis=1), labeled.sum(axis=1), math.inf),
            "nme": interval(np.where(scaled, ratio, 0.0).sum(axis=1), scaled.sum(axis=1), math.inf),
            "pck_box_20": interval(ratio < 0.2, scaled, 1.0),
        },
        breakdown=breakdown(pred, true),
        uncertainty=_uncertainty(pred, true, calibration, resamples, seed),
        recognition=recognition(pred, true, resamples=resamples, seed=seed),
        skipped=tuple(skipped),
    )


def _uncertainty(
    pred: Hands, true: Hands, calibration: Calibration | None, resamples: int, seed: int
) -> Uncertainty | None:
    """None where the predictions state none."""
    if pred.covariance is None and pred.confidence is None:
        return None
    if calibration is None:
        return measure(pred, true, resamples=resamples, seed=seed)
    return measure(pred, true, calibration.limits_array(), calibration.levels, resamples=resamples, seed=seed)


def _finite_mean(values: Float64[np.ndarray, " m"]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def _median(values: Float64[np.ndarray, " m"]) -> float:
    """The median where infinities may be among the values."""
    if values.size == 0:
        return math.nan
    middle = [(values.size - 1) // 2, values.size // 2]
    return float(np.partition(values, middle)[middle].mean())


def finite(value: Any) -> Any:
    """The same structure with None for numbers that JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def named(value: Any) -> Any:
    """The same structure with dictionaries for named tuples, however deep."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {key: named(item) for key, item in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [named(item) for item in value]
    return value
