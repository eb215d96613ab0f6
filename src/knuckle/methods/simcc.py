"""The SimCC method: each coordinate is a class among bins of half a pixel.

After "SimCC: a Simple Coordinate Classification Perspective for Human Pose Estimation" (Li et al., ECCV 2022), section
3, in its form without upsampling: a 1 x 1 convolution to K maps at the backbone's own stride, and for each axis one
fully connected layer, shared by all keypoints, from the cells of a map to S k bins (k the split ratio). The bins that
are most likely in x and in y, divided by k, are the keypoint.

The labels are smoothed as in "RTMPose: Real-Time Multi-Person Pose Estimation based on MMPose" (Jiang et al., 2023),
section 3: with the label at position t,

    phi_i = exp(-(i - t)^2 / (2 s^2)),    y_i = softmax over bins of phi_i / tau,    s = sqrt(bins / 16),    tau = 0.1

Positions keep their fractions here; the published implementations round t to a bin.
"""

from __future__ import annotations

from typing import ClassVar, Final

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional as F

from knuckle.geometry import Alignment
from knuckle.methods.backbones import build_backbone
from knuckle.methods.base import Decoded, Features, Method, Outputs, Targets
from knuckle.methods.codec import crop_to_heatmap, heatmap_to_crop
from knuckle.methods.heatmap import final_convolution
from knuckle.skeleton import NUM_JOINTS

TEMPERATURE: Final = 0.1
"""tau of the labels."""


class SimCC(Method):
    """A backbone with one classification over bins an axis.

    Args:
        backbone: a timm model name.
        size: side of the square crop in pixels.
        alignment: where bins lie in the crop: cells of 1 / split_ratio pixels as `knuckle.geometry` counts them, so
            that "corner" has bin i at i / split_ratio, as published.
        split_ratio: bins a pixel.
        weights: of the backbone; see `build_backbone`.
        num_joints: K.

    Attributes:
        bins: of an axis, S x split_ratio.

    Raises:
        ValueError: a split ratio that is no positive whole number, or a backbone that cannot be had.
    """

    name: ClassVar[str] = "simcc"

    def __init__(
        self,
        backbone: str = "resnet50",
        size: int = 256,
        *,
        alignment: Alignment = "center",
        split_ratio: int = 2,
        weights: str | None = None,
        num_joints: int = NUM_JOINTS,
    ) -> None:
        super().__init__(size, alignment)
        if split_ratio != int(split_ratio) or split_ratio < 1:
            raise ValueError(f"split_ratio must be a positive whole number, got {split_ratio}.")
        self.split_ratio = int(split_ratio)
        self.bins = size * self.split_ratio
        self.backbone = build_backbone(backbone, weights, size)
        self.final = final_convolution(self.backbone.channels, num_joints)
        cells = (size // self.backbone.stride) ** 2
        self.to_x, self.to_y = _classifier(cells, self.bins), _classifier(cells, self.bins)

    def features_of(self, images: Tensor) -> Features:
        """The backbone's last feature map of crops (B, 3, S, S)."""
        return (self.backbone(self.normalize(images)),)

    def outputs_of(self, features: Features) -> Outputs:
        """The logits "x" and "y", (B, K, bins) each.

        The last layers compute in float32 under autocast too: bfloat16 would make equals of bins near the peak.
        """
        maps = self.final(features[-1])
        with torch.autocast(maps.device.type, enabled=False):
            cells = maps.to(torch.promote_types(maps.dtype, torch.float32)).flatten(-2)
            return {"x": self.to_x(cells), "y": self.to_y(cells)}

    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """The Kullback-Leibler divergence of prediction from label, summed over x, y and keypoints, divided by B K.

        Keypoints outside the crop are left out like unlabelled ones: there is no bin for them.
        """
        # However far away a position is, its label stays a distribution, so masking may wait until the end.
        positions = crop_to_heatmap(targets.xy_crop.float(), 1 / self.split_ratio, self.alignment)
        terms = [
            F.kl_div(
                outputs[axis].log_softmax(dim=-1),
                smooth_labels(position, self.bins).log(),
                reduction="none",
                log_target=True,
            ).sum(dim=-1)
            for axis, position in zip("xy", positions.unbind(-1), strict=True)
        ]
        return {"loss": ((terms[0] + terms[1]) * targets.placeable(self.size)).mean()}

    def decode(self, outputs: Outputs) -> Decoded:
        """The centre of the most likely bin of each axis; covariance_crop is None.

        The spread of such a distribution tells of the labels, not of the error. They spread 0.5 % of the mass over
        all bins (at 256 px and split ratio 2), and that alone adds 28 times the variance of the peak, or more.
        """
        bins = torch.stack([outputs[axis].argmax(dim=-1) for axis in "xy"], dim=-1)
        return Decoded(heatmap_to_crop(bins.float(), 1 / self.split_ratio, self.alignment), None)

    def unmirror(self, outputs: Outputs) -> Outputs:
        """The bins of x in reverse order, so that every bin takes the logit of the bin at S - 1 - x.

        Exact in either alignment. In corner alignment the last split_ratio - 1 bins, right of the last pixel, have
        no such bin, and take the logit of the first.
        """
        last = self.bins - (self.split_ratio if self.alignment == "corner" else 1)
        x = outputs["x"]
        source = (last - torch.arange(self.bins, device=x.device)).clamp(min=0)
        return {"x": x[..., source], "y": outputs["y"]}


def smooth_labels(position: Float[Tensor, "B K"], bins: int) -> Float32[Tensor, "B K bins"]:
    """RTMPose's label of each position (in bins, fractions allowed): a distribution that peaks there."""
    offset = torch.arange(bins, device=position.device, dtype=torch.float32) - position.float().unsqueeze(-1)
    phi = torch.exp(-offset.square() / (2 * bins / 16))
    return (phi / TEMPERATURE).softmax(dim=-1)


def _classifier(cells: int, bins: int) -> nn.Linear:
    """A fully connected layer from the cells of a map to bins."""
    layer = nn.Linear(cells, bins)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
