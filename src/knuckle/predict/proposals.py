"""What the Labelme files of a model's hands say of them, so that nobody takes them for a person's labels."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from knuckle.hands import Hands, keypoint_extent

Measure = Literal["confidence", "covariance", "mirror"]
"""What an uncertainty was measured by; `knuckle.label.uncertainty` defines each."""


def mark_of(hands: Hands, model: str) -> dict[str, Any]:
    """What the mark of a file says, for `knuckle.formats.labelme_shapes.with_mark`.

    Args:
        hands: all of one photo, as the model found them, at least one.
        model: its name.

    Returns:
        `model`; and where the model states how certain it is, `measure`, `uncertainty` of the least certain hand and
        `hand`, which of them that is, from 0.
    """
    stated = stated_uncertainty(hands)
    if stated is None or not np.isfinite(stated[1]).all():
        return {"model": model}
    measure, uncertainty = stated
    worst = int(uncertainty.argmax())
    return {"model": model, "measure": measure, "uncertainty": round(float(uncertainty[worst]), 6), "hand": worst}


def stated_uncertainty(hands: Hands) -> tuple[Measure, Float64[np.ndarray, " m"]] | None:
    """The measure that hands allow by themselves, and the uncertainty of each; None where nothing is stated."""
    if hands.confidence is not None:
        return "confidence", 1.0 - np.nanmean(hands.confidence.astype(np.float64), axis=1)
    if hands.covariance is not None:
        variance = np.trace(hands.covariance.astype(np.float64), axis1=2, axis2=3)
        return "covariance", np.sqrt(np.nanmean(variance, axis=1)) / longer_side(hands)
    return None


def longer_side(hands: Hands) -> Float64[np.ndarray, " m"]:
    """The longer side of each hand's keypoints in pixels, one at least."""
    extent = keypoint_extent(hands.xy).astype(np.float64)
    return np.asarray(np.maximum(extent[:, 2:] - extent[:, :2], 1.0).max(axis=1))
