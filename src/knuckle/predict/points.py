"""What a network says of crops, and what becomes of it: keypoints in image pixels with calibrated uncertainty.

Letters in shapes: B hands in a batch, n hands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from knuckle.hands import LEFT, RIGHT, UNKNOWN, UNLABELED, VISIBLE, Hands

if TYPE_CHECKING:
    from knuckle.metrics.conformal import Calibration


class CropPoints(NamedTuple):
    """Keypoints on crops.

    Attributes:
        xy_crop: (B, 21, 2), crop pixels; NaN for joints that the network was never taught.
        covariance_crop: (B, 21, 2, 2), crop pixels squared, or None where the method has none.
        score: (B,), probability that a crop shows a hand, or None where the network has no hand head.
        left: (B,), probability that it is a left one, if it is a hand; None likewise.
    """

    xy_crop: Float[np.ndarray, "B 21 2"]
    covariance_crop: Float[np.ndarray, "B 21 2 2"] | None
    score: Float[np.ndarray, " B"] | None = None
    left: Float[np.ndarray, " B"] | None = None

    @classmethod
    def concat(cls, parts: Sequence[CropPoints]) -> CropPoints:
        """The crops of all parts, at least one, in order; all come from one network."""
        xy, *others = zip(*parts, strict=True)
        return cls(np.concatenate(xy), *(None if column[0] is None else np.concatenate(column) for column in others))


def to_image(
    points: CropPoints, image_to_crop: Float64[np.ndarray, "B 3 3"]
) -> tuple[Float32[np.ndarray, "B 21 2"], Float32[np.ndarray, "B 21 2 2"] | None]:
    """Keypoints, and their covariances where the method has them, from crop pixels to image pixels.

    With x = A x_crop + t, the covariance C becomes A C A^T.
    """
    crop_to_image = np.linalg.inv(image_to_crop)
    linear, offset = crop_to_image[:, None, :2, :2], crop_to_image[:, None, :2, 2]
    xy_image = (linear @ points.xy_crop.astype(np.float64)[..., None])[..., 0] + offset
    if points.covariance_crop is None:
        return xy_image.astype(np.float32), None
    covariance = linear @ points.covariance_crop.astype(np.float64) @ np.swapaxes(linear, -1, -2)
    return xy_image.astype(np.float32), covariance.astype(np.float32)


def sides(points: CropPoints) -> dict[str, Any]:
    """What a network with a hand head says of each hand as a whole, as columns of `Hands`; nothing without one.

    The side is the more probable one, and unknown where both are equally probable.
    """
    if points.score is None or points.left is None:
        return {}
    side = np.select([points.left > 0.5, points.left < 0.5], [LEFT, RIGHT], UNKNOWN)
    probability = np.where(side == UNKNOWN, np.nan, np.maximum(points.left, 1 - points.left))
    return {"score": points.score, "side": side, "side_probability": probability}


def calibrated(hands: Hands, calibration: Calibration | None) -> Hands:
    """Predictions with calibrated covariance and confidence; as they are without calibration or keypoints."""
    return hands if calibration is None or not hands.labeled.any() else calibration.apply(hands)


def visibility_of(xy: Float32[np.ndarray, "n 21 2"]) -> UInt8[np.ndarray, "n 21"]:
    """The visibility of predicted points: 2, or 0 where there is no finite number."""
    return np.where(np.isfinite(xy).all(axis=-1), VISIBLE, UNLABELED).astype(np.uint8)
