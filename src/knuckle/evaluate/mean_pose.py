"""The mean pose: what a predictor reaches that looks at nothing but the box. Below it, nothing was learnt."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from knuckle.hands import VISIBLE, Hands
from knuckle.metrics.errors import normalizers


def mean_pose(hands: Hands) -> Float64[np.ndarray, "21 2"]:
    """The mean of hands' keypoints in box units: from the box's centre, over its longer side."""
    relative = (hands.xy - _centers(hands)) / normalizers(hands, "box")[:, None, None]
    return np.asarray(np.nanmean(relative, axis=0))


def in_boxes(pose: Float64[np.ndarray, "21 2"], hands: Hands) -> Hands:
    """Predictions that put the same pose into the box of each hand."""
    xy = (_centers(hands) + pose * normalizers(hands, "box")[:, None, None]).astype(np.float32)
    return hands.replace(xy=xy, visibility=np.full(hands.visibility.shape, VISIBLE, dtype=np.uint8))


def _centers(hands: Hands) -> Float64[np.ndarray, "n 1 2"]:
    box = hands.box.astype(np.float64)
    return (box[:, None, :2] + box[:, None, 2:]) / 2
