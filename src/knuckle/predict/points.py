"""What a network says of crops, and what becomes of it: keypoints in image pixels with calibrated uncertainty.

Letters in shapes: B hands in a batch, n hands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from knuckle.hands import UNLABELED, VISIBLE, Hands

if TYPE_CHECKING:
    from knuckle.metrics.conformal import Calibration


class CropPoints(NamedTuple):
    """Keypoints on crops.

    Attributes:
        xy_crop: (B, 21, 2), crop pixels; NaN for joints that the network was never taught.
        covariance_crop: (B, 21, 2, 2), crop pixels squared, or None where the method has none.
    """

    xy_crop: Float[np.ndarray, "B 21 2"]
    covariance_crop: Float[np.ndarray, "B 21 2 2"] | None


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


def calibrated(hands: Hands, calibration: Calibration | None) -> Hands:
    """Predictions with calibrated covariance and confidence; as they are without calibration or keypoints."""
    return hands if calibration is None or not hands.labeled.any() else calibration.apply(hands)


def visibility_of(xy: Float32[np.ndarray, "n 21 2"]) -> UInt8[np.ndarray, "n 21"]:
    """The visibility of predicted points: 2, or 0 where there is no finite number."""
    return np.where(np.isfinite(xy).all(axis=-1), VISIBLE, UNLABELED).astype(np.uint8)
