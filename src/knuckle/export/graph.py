"""What an exported file computes, as a module that the exporter follows: from pixels to calibrated keypoints.

Inputs:
- `crops`: (B, S, S, 3) uint8 RGB, cut by the file's crop rule.
- `flip_test`: bool, average over crops and mirror images; false where it is not given.
- `box_side`: float, of calibrated models alone: the longer side of the hands' boxes in crop pixels, which confidence
  refers to. Where it is not given it is that of crops cut around boxes (S / padding), or of whole frames for models
  that learnt from these.

Outputs:
- `xy_crop`: (B, 21, 2) crop pixels; NaN for joints that were never taught.
- `covariance_crop`: (B, 21, 2, 2) crop pixels squared, as the method states it; absent where it states none.
- `score`: (B,) probability that the crop shows a hand, of models with a hand head alone.
- `left`: (B,) probability that it is a left one, if it is a hand; of the same models.
- `calibrated_covariance_crop`: (B, 21, 2, 2), of calibrated models alone.
- `confidence`: (B, 21) probability of an error of at most 0.05 box sides, of calibrated models alone.

Letters in shapes: B hands in a batch, S the side of the crop in pixels.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from knuckle.methods.base import Method, Outputs
from knuckle.methods.hand_head import HAND, LEFT, unmirror_logits
from knuckle.metrics.confidence import CLOSE
from knuckle.metrics.conformal import Calibration
from knuckle.metrics.gaussian import ANGLES


class Graph(nn.Module):
    """A method with all that comes before and after its network.

    Args:
        method: the network, in evaluation mode.
        calibration: of the model; None for one that was not calibrated.
    """

    def __init__(self, method: Method, calibration: Calibration | None) -> None:
        super().__init__()
        self.method = method
        self.calibration = calibration

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The values of `compute`; the exporter wants no names here."""
        return tuple(self.compute(*inputs).values())

    def compute(
        self,
        crops: UInt8[Tensor, "B S S 3"],
        flip_test: Bool[Tensor, ""],
        box_side: Float[Tensor, ""] | None = None,
    ) -> dict[str, Tensor]:
        """The outputs by name, in the order of the list above; `box_side` is for calibrated models."""
        outputs, hand_logits = self._outputs(crops.permute(0, 3, 1, 2), flip_test)
        xy_crop, covariance_crop = self.method.decode(outputs)
        untaught = ~self.method.get_buffer("taught")[:, None]
        found = {"xy_crop": xy_crop.masked_fill(untaught, torch.nan)}
        if covariance_crop is not None:
            # A flow gives crop and mirror image one correlation, which has opposite signs in the picture.
            kept = torch.eye(2, dtype=torch.bool) | ~flip_test
            covariance_crop = torch.where(kept, covariance_crop, torch.zeros(()))
            found["covariance_crop"] = covariance_crop.masked_fill(untaught[..., None], torch.nan)
        if hand_logits is not None:
            probability = hand_logits.sigmoid()
            found |= {"score": probability[:, HAND], "left": probability[:, LEFT]}
        if self.calibration is None:
            return found
        assert box_side is not None, "confidence refers to a box"
        return found | calibrate(found, box_side, self.calibration)

    def _outputs(self, images: Tensor, flip_test: Tensor) -> tuple[Outputs, Tensor | None]:
        """What the network and its hand head give, merged with what they give for mirror images if asked for.

        The mirror images are the first n crops, where n is B or 0. So there is one path without branches, which every
        run-time can follow, and (v + v) / 2 is v.
        """
        batch = images.shape[0]
        mirrored = batch * flip_test.to(torch.int64)
        features = self.method.features_of(torch.cat([images, images[:mirrored].flip(-1)]))
        both = self.method.outputs_of(features)
        others = self.method.unmirror({name: value[batch:] for name, value in both.items()})

        def merged(value: Tensor, other: Tensor) -> Tensor:
            return (value[:batch] + torch.cat([other, value[mirrored:batch]])) / 2

        outputs = {name: merged(value, others[name]) for name, value in both.items()}
        if self.method.hand_head is None:
            return outputs, None
        logits: Tensor = self.method.hand_head(features[-1])
        return outputs, merged(logits, unmirror_logits(logits[batch:]))


def calibrate(found: dict[str, Tensor], box_side: Float[Tensor, ""], calibration: Calibration) -> dict[str, Tensor]:
    """`Calibration.apply` in crop pixels and float32."""
    scale = torch.tensor([1.0 if value is None else value for value in calibration.scale])[:, None, None]
    if calibration.source == "box":
        unknown = found["xy_crop"].isnan().any(dim=-1)[..., None, None]
        covariance = (box_side.square() * torch.eye(2) * scale).masked_fill(unknown, torch.nan)
    else:
        covariance = found["covariance_crop"] * scale
    if None in calibration.scale:
        # Masked, not multiplied by NaN, which OpenVINO loses on the way to confidence in graphs with int8 layers.
        unfitted = torch.tensor([value is None for value in calibration.scale])
        covariance = covariance.masked_fill(unfitted[:, None, None], torch.nan)
    disc = probability_within(covariance, CLOSE * box_side)
    # Said once more, as not every run-time's clamp hands NaN on.
    missing = covariance.flatten(-2).sum(dim=-1).isnan()
    confidence = interpolate(disc, calibration).masked_fill(missing, torch.nan)
    return {"calibrated_covariance_crop": covariance, "confidence": confidence}


def probability_within(covariance: Float[Tensor, "B 21 2 2"], radius: Float[Tensor, ""]) -> Float[Tensor, "B 21"]:
    """As `metrics.gaussian.probability_within`.

    Entries are cut out of the flattened matrix and not picked by number: two picks in a row become two gathers, which
    NNCF joins wrongly when it quantises the graph.
    """
    xx, xy, yx, yy = (covariance.flatten(-2)[..., n : n + 1].sum(dim=-1) for n in range(4))
    xy = (xy + yx) / 2
    middle, spread = (xx + yy) / 2, (((xx - yy) / 2).square() + xy.square()).sqrt()
    turn = torch.cos((torch.arange(ANGLES) + 0.5) * (math.pi / ANGLES))
    variance = (middle[..., None] + spread[..., None] * turn).clamp(min=torch.finfo(torch.float32).tiny)
    return (1 - torch.exp(-radius.square() / (2 * variance))).mean(dim=-1)


def interpolate(disc: Float[Tensor, "B 21"], calibration: Calibration) -> Float[Tensor, "B 21"]:
    """As np.interp over the calibration's knots; a sum of ramps, each from 0 to one knot's rise."""
    knots, stated = torch.tensor(calibration.disc), torch.tensor(calibration.confidence)
    ramps = ((disc[..., None] - knots[:-1]) / knots.diff()).clamp(0, 1) * stated.diff()
    # The first term carries the NaN of a missing prediction where there is only one knot.
    return disc * 0 + stated[0] + ramps.sum(dim=-1)
