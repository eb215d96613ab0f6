"""How unsure a model is of a hand, by the best that it offers: one number, larger for a hand to look at first.

- confidence, of a calibrated model: the share of points that it expects to be off by more than 5 % of the box's
  longer side.
- covariance, of a method with sigma: the root of a point's mean variance (both axes summed) over the longer side of
  the points' extent.
- mirror, of any model: the root mean square distance between its answers for photo and mirror image over that side.

Only numbers of one measure and one model can be compared.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, UInt8

from knuckle.geometry import mirror_boxes, mirror_image
from knuckle.hands import Hands
from knuckle.predict import Predictor
from knuckle.predict.proposals import Measure, longer_side, stated_uncertainty


def uncertainties(
    hands: Hands, image: UInt8[np.ndarray, "h w 3"], predictor: Predictor, *, whole: bool = False
) -> tuple[Measure, Float64[np.ndarray, " m"]]:
    """The measure that this model allows, and the uncertainty of each of the hands that it found on an image.

    Args:
        hands: as the predictor gave them: `box` is where it looked.
        image: RGB, looked at once more, mirrored, where the model states nothing of its own.
        predictor: the model.
        whole: it looked at the whole frame rather than into boxes.
    """
    stated = stated_uncertainty(hands)
    if stated is not None:
        return stated
    places = "full" if whole else mirror_boxes(hands.box, image.shape[1])
    again = predictor.predict(mirror_image(image), places)
    squared = ((again.mirrored().xy.astype(np.float64) - hands.xy) ** 2).sum(axis=2)
    return "mirror", np.sqrt(np.nanmean(squared, axis=1)) / longer_side(hands)
