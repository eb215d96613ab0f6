"""How far predicted keypoints lie from the truth: EPE, NME, PCK and AUC as the field computes them.

All distances are Euclidean, in image pixels, over the keypoints that the truth labels. A keypoint
that the truth labels and the prediction lacks is a miss: its error is infinite, so it never counts
as correct in PCK and AUC, and EPE and NME become infinite instead of quietly leaving it out.

Letters in formulas: n hands, k keypoints, e[n, k] the error, s[n] the normaliser of a hand. Micro
averages run over all labelled keypoints at once; macro averages take the mean over hands for each
keypoint first, then over the keypoints that were labelled at least once. All sums are in float64. A
metric of nothing, no hand or no labelled keypoint, is NaN.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64
from numpy.typing import ArrayLike

from knuckle.hands import Hands, keypoint_extent

Normalizer = Literal["box", "image", "keypoints", "px"]
Average = Literal["macro", "micro"]
Protocol = Literal["mmpose", "hand3d"]

MMPOSE_AUC_PX: Final = np.arange(20) * 1.5
"""MMPose's thresholds i / 20 of 30 px, i = 0..19. The first is 0, which nothing is strictly below."""

HAND3D_AUC_PX: Final = np.linspace(0.0, 30.0, 20)
"""hand3d's thresholds (`eval2d.py`)."""


def errors(pred: Hands, true: Hands) -> Float32[np.ndarray, "n 21"]:
    """The distance of each predicted keypoint from the true one, in image pixels.

    NaN where `true` is not labelled; infinite where `true` is labelled and `pred` is not.

    Raises:
        ValueError: the two have different lengths, or a row of them names different images.
    """
    return distances(pred, true).astype(np.float32)


def epe(pred: Hands, true: Hands) -> float:
    """End-point error: the mean of e[n, k] over all labelled keypoints (micro), in image pixels.

    MMPose's EPE (`keypoint_epe`). Infinite where a prediction is missing; NaN where nothing is
    labelled. Pixels are those of the image file, so images of another size are not comparable.

    Raises:
        ValueError: the two do not describe the same hands.
    """
    distance = distances(pred, true)
    return _mean(distance[~np.isnan(distance)])


def nme(pred: Hands, true: Hands, average: Literal["point", "hand"] = "point") -> float:
    """Normalised mean error: e[n, k] / s[n] with s the longer side of `true.box`.

    Hands whose box has no extent (one labelled keypoint) are left out, as MMPose does. Infinite
    where a prediction is missing; NaN where nothing is left.

    Args:
        pred: predictions.
        true: the truth, row by row the same hands.
        average: "point" is the mean over all labelled keypoints (MMPose's `keypoint_nme` with
            `bbox_size`); "hand" takes the mean within each hand first, then over hands (Eq. 9 of
            "MLE-Loss Driven Robust Hand Pose Estimation").

    Raises:
        ValueError: the two do not describe the same hands, or a labelled hand has no box.
    """
    _check_choice("average", average, ("point", "hand"))
    ratio = relative_distances(pred, true, "box")
    counted = ~np.isnan(ratio)
    if average == "point":
        return _mean(ratio[counted])
    points = counted.sum(axis=1)
    sums = np.where(counted, ratio, 0.0).sum(axis=1)
    return _mean(sums[points > 0] / points[points > 0])


def pck(
    pred: Hands,
    true: Hands,
    threshold: float = 0.2,
    normalizer: Normalizer = "box",
    average: Average = "macro",
    inclusive: bool = False,
) -> float:
    """Percentage of correct keypoints: the share with e[n, k] / s[n] < threshold, in 0..1.

    The defaults are MMPose's PCK@0.2 (`keypoint_pck_accuracy`): strict, macro over keypoints, s the
    longer side of the annotated box, hands with s = 0 left out. The quotient is compared, not the
    product, so decimal ties such as 3 px of 30 px against 0.1 fall as written.

    Args:
        pred: predictions.
        true: the truth, row by row the same hands.
        threshold: in units of the normaliser; in pixels for "px".
        normalizer: s[n] is the longer side of `true.box` ("box"), of the image ("image"), of the
            extent of the labelled keypoints ("keypoints"), or 1 pixel ("px").
        average: "macro" over keypoints as MMPose, or "micro" over all labelled keypoints.
        inclusive: compare with <= instead of <.

    Raises:
        ValueError: the two do not describe the same hands, the threshold is not finite, or the
            normaliser of a labelled hand is unknown.
    """
    return float(pck_curve(pred, true, [threshold], normalizer, average, inclusive)[0])


def pck_curve(
    pred: Hands,
    true: Hands,
    thresholds: ArrayLike,
    normalizer: Normalizer = "box",
    average: Average = "macro",
    inclusive: bool = False,
) -> Float64[np.ndarray, " t"]:
    """`pck` at each of several thresholds, from one pass over the errors.

    Raises:
        ValueError: as `pck`.
    """
    _check_choice("average", average, ("macro", "micro"))
    correct, labeled = count_correct(relative_distances(pred, true, normalizer), thresholds, inclusive)
    if average == "micro":
        correct, labeled = correct.sum(axis=1, keepdims=True), labeled.sum(keepdims=True)
    return macro_average(correct, labeled)


def auc(pred: Hands, true: Hands, protocol: Protocol = "mmpose") -> float:
    """Area under the PCK curve over 0 to 30 image pixels, by one of two protocols that differ.

    - "mmpose" (`keypoint_auc`, norm_factor 30, num_thrs 20): the plain mean of the strict macro PCK
      at 0, 1.5, ... 28.5 px. Nothing is below 0 px, so a perfect prediction scores 0.95.
    - "hand3d" (Zimmermann and Brox, `EvalUtil.get_measures` with 0, 30 px, 20 steps): for each
      keypoint the trapezoid rule over `linspace(0, 30, 20)` with <=, divided by 30; then the mean
      over keypoints. A perfect prediction scores 1.

    For errors below 28.5 px without masked keypoints the first is close to 0.975 - EPE / 30, so it
    says little that EPE does not.

    Raises:
        ValueError: the two do not describe the same hands.
    """
    _check_choice("protocol", protocol, ("mmpose", "hand3d"))
    distance = distances(pred, true)
    if protocol == "mmpose":
        return _mean(macro_average(*count_correct(distance, MMPOSE_AUC_PX)))
    correct, labeled = count_correct(distance, HAND3D_AUC_PX, inclusive=True)
    seen = labeled > 0
    areas = np.trapezoid(correct[:, seen] / labeled[seen], HAND3D_AUC_PX, axis=0) / HAND3D_AUC_PX[-1]
    return _mean(areas)


def distances(pred: Hands, true: Hands) -> Float64[np.ndarray, "n 21"]:
    """`errors` in float64, from which every metric is computed.

    Raises:
        ValueError: the two have different lengths, or a row of them names different images.
    """
    check_same_hands(pred, true)
    dx, dy = (pred.xy[..., axis].astype(np.float64) - true.xy[..., axis] for axis in (0, 1))
    distance: Float64[np.ndarray, "n 21"] = np.sqrt(dx * dx + dy * dy)
    distance[~pred.labeled] = np.inf
    distance[~true.labeled] = np.nan
    return distance


def relative_distances(pred: Hands, true: Hands, normalizer: Normalizer) -> Float64[np.ndarray, "n 21"]:
    """Distances over the hand's normaliser; NaN where not labelled and where the normaliser is 0.

    Raises:
        ValueError: the two do not describe the same hands, or a labelled hand's normaliser is unknown.
    """
    scale = normalizers(true, normalizer)
    return distances(pred, true) / np.where(scale > 0, scale, np.nan)[:, None]


def normalizers(true: Hands, normalizer: Normalizer) -> Float64[np.ndarray, " n"]:
    """The length in image pixels that each hand's errors are divided by; see `pck`.

    Raises:
        ValueError: a hand with labelled keypoints has no box, or its image's size is unknown.
    """
    _check_choice("normalizer", normalizer, ("box", "image", "keypoints", "px"))
    if normalizer == "px":
        return np.ones(len(true))
    if normalizer == "image":
        _refuse(
            true, true.size <= 0, 'no image size, which normalizer="image" needs; use "box" or fill the size column'
        )
        return np.asarray(true.size.max(axis=1, initial=0), dtype=np.float64)
    box = (true.box if normalizer == "box" else keypoint_extent(true.xy)).astype(np.float64)
    _refuse(true, np.isnan(box), 'no box, which normalizer="box" needs; fill `box` or use "keypoints"')
    longer: Float64[np.ndarray, " n"] = np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])
    return longer


def count_correct(
    ratio: Float[np.ndarray, "n k"], thresholds: ArrayLike, inclusive: bool = False
) -> tuple[Int64[np.ndarray, "t k"], Int64[np.ndarray, " k"]]:
    """How many errors of each keypoint lie below each threshold, and how many were labelled.

    Args:
        ratio: errors over their normaliser; NaN is not labelled, infinite is never below.
        thresholds: (t,) in the same units.
        inclusive: at or below instead of below.

    Raises:
        ValueError: a threshold is not a finite number.
    """
    limits = np.atleast_1d(np.asarray(thresholds, dtype=np.float64))
    if not np.isfinite(limits).all():
        raise ValueError(f"a PCK threshold must be a finite number, got {limits[~np.isfinite(limits)][0]:g}.")
    ordered = np.sort(np.ascontiguousarray(ratio.T), axis=1)  # NaN comes last
    labeled = np.asarray((~np.isnan(ratio)).sum(axis=0), dtype=np.int64)
    side: Literal["left", "right"] = "right" if inclusive else "left"
    correct = [row[:count].searchsorted(limits, side) for row, count in zip(ordered, labeled, strict=True)]
    return np.stack(correct, axis=1).astype(np.int64), labeled


def check_same_hands(pred: Hands, true: Hands) -> None:
    """Refuse tables that are not row by row about the same images; an empty name matches any.

    Raises:
        ValueError: says the two lengths, or the first row that differs.
    """
    if len(pred) != len(true):
        raise ValueError(f"predictions and truth must have the same rows, got {len(pred)} and {len(true)} hands.")
    differ = np.flatnonzero(pred.image != true.image)
    # The same files may be named from another root.
    for row, left, right in zip(differ, pred[differ].paths(), true[differ].paths(), strict=True):
        if pred.image[row] and true.image[row] and _full_path(left) != _full_path(right):
            raise ValueError(
                f"predictions and truth must list the same images in the same order, but row {row} has "
                f"{pred.image[row]} and {true.image[row]}; where they are the same picture under two names, pass "
                "pred.replace(image=true.image, root=true.root)."
            )


def _full_path(path: Path) -> str:
    """As written, from the root of the file system; links are not followed, which keeps this quick."""
    return os.path.normpath(path.absolute())


def macro_average(correct: Int64[np.ndarray, "t k"], labeled: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, " t"]:
    """The mean over keypoints of the share of each, keypoints that were never labelled left out."""
    seen = labeled > 0
    if not seen.any():
        return np.full(len(correct), np.nan)
    shares = np.ascontiguousarray(correct[:, seen] / labeled[seen])  # so that one threshold sums as many do
    return np.asarray(shares.mean(axis=1))


def _mean(values: Float[np.ndarray, " n"]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _refuse(true: Hands, lacking: Bool[np.ndarray, "n c"], what: str) -> None:
    """ValueError on the first hand with labelled keypoints that lacks a column's number."""
    rows = np.flatnonzero(lacking.any(axis=1) & true.labeled.any(axis=1))
    if rows.size:
        row = int(rows[0])
        raise ValueError(f"row {row} ({true.image[row]}) has {what}.")


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}.")
