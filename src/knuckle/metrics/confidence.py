"""`Hands.confidence`: what it speaks of, and how far it can be believed.

Confidence is the probability that a predicted keypoint lies within 0.05 times the longer side of the predictions' box
of the true one. Such a keypoint is called close here.

Letters in shapes: n hands, m keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64

from knuckle.hands import Hands
from knuckle.metrics.errors import check_same_hands

CLOSE: Final = 0.05
"""In units of the longer side of the box."""

BINS: Final = 10


class Bin(NamedTuple):
    """Keypoints whose confidence lies within low..high: their mean confidence, and the share that was close."""

    low: float
    high: float
    keypoints: int
    confidence: float
    close: float


def reliability(
    confidence: Float[np.ndarray, " m"], close: Bool[np.ndarray, " m"], bins: int = BINS
) -> tuple[Bin, ...]:
    """Confidence against the share that was close, in bins of equal width over 0..1; empty bins are left out."""
    number = np.clip(np.ceil(np.asarray(confidence, dtype=np.float64) * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(number, minlength=bins)
    stated, hits = np.bincount(number, confidence, minlength=bins), np.bincount(number, close, minlength=bins)
    return tuple(
        Bin(
            own / bins,
            (own + 1) / bins,
            int(count[own]),
            float(stated[own] / count[own]),
            float(hits[own] / count[own]),
        )
        for own in np.flatnonzero(count).tolist()
    )


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """The mean over keypoints of |confidence - share that was close| of their bins (Guo et al., ICML 2017, Eq. 3)."""
    total = sum(own.keypoints for own in bins)
    return sum(own.keypoints * abs(own.confidence - own.close) for own in bins) / total


def is_close(pred: Hands, true: Hands) -> Bool[np.ndarray, "n 21"]:
    """Whether each predicted keypoint is as near as `confidence` speaks of; False where either is missing."""
    check_same_hands(pred, true)
    error = np.linalg.norm(true.xy.astype(np.float64) - pred.xy, axis=-1)
    return np.asarray(error <= CLOSE * box_side(pred)[:, None])


def box_side(hands: Hands) -> Float64[np.ndarray, " n"]:
    """The longer side of each box in image pixels; NaN where there is no box."""
    box = hands.box.astype(np.float64)
    return np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])


def confidences(hands: Hands) -> Float64[np.ndarray, "n 21"]:
    """`confidence` in float64, NaN where there is none."""
    if hands.confidence is None:
        return np.full(hands.xy.shape[:2], np.nan)
    return hands.confidence.astype(np.float64)
