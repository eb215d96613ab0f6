"""The integral method: the mean of a heatmap's softmax is the keypoint.

After "Integral Human Pose Regression" (Sun et al., ECCV 2018). The network is that of the heatmap method. Its maps H
are unnormalised log-probabilities of the cells p, and the keypoint is their expectation,

    mu = sum over cells p of  p softmax(H)(p)        (Eqs. 2 and 3, in the discrete form)

so that the loss is a distance in the picture and no position is rounded to a cell.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from knuckle.geometry import Alignment
from knuckle.methods.backbones import build_backbone
from knuckle.methods.base import Decoded, Features, Method, Outputs, Targets
from knuckle.methods.codec import heatmap_to_crop, soft_argmax
from knuckle.methods.density import scaled_covariance
from knuckle.methods.heatmap import deconvolutions, final_convolution
from knuckle.skeleton import NUM_JOINTS


class Integral(Method):
    """A backbone with a deconvolution head whose maps are read by their mean.

    Args:
        backbone: a timm model name.
        size: side of the square crop in pixels.
        alignment: where heatmap cells lie in the crop; see `knuckle.geometry`.
        width: channels of every deconvolution.
        weights: of the backbone; see `build_backbone`.
        num_joints: K, the number of maps.

    Attributes:
        stride: crop pixels a heatmap cell.

    Raises:
        ValueError: a width that is not positive, or a backbone that cannot be had.
    """

    name: ClassVar[str] = "integral"

    def __init__(
        self,
        backbone: str = "resnet50",
        size: int = 256,
        *,
        alignment: Alignment = "center",
        width: int = 256,
        weights: str | None = None,
        num_joints: int = NUM_JOINTS,
    ) -> None:
        super().__init__(size, alignment)
        self.backbone = build_backbone(backbone, weights, size)
        self.deconvolutions = deconvolutions(self.backbone.channels, width)
        self.final = final_convolution(width, num_joints)
        self.stride = self.backbone.stride / 8

    def features_of(self, images: Tensor) -> Features:
        """The backbone's last feature map of crops (B, 3, S, S)."""
        return (self.backbone(self.normalize(images)),)

    def outputs_of(self, features: Features) -> Outputs:
        """The "xy_crop" and "sigma_crop", both (B, K, 2) in crop pixels; see `read`."""
        return self.read(self.final(self.deconvolutions(features[-1])))

    def read(self, maps: Float[Tensor, "B K h w"]) -> Outputs:
        """Mean and standard deviation of the maps' softmax in crop pixels; float32, under autocast too."""
        mean, spread = soft_argmax(maps)
        xy_crop = heatmap_to_crop(mean, self.stride, self.alignment)
        return {"xy_crop": xy_crop, "sigma_crop": spread * self.stride}

    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """The L1 distance in crop sides, |x - x_g| / S + |y - y_g| / S, summed over keypoints and divided by B K.

        Keypoints outside the crop are left out like unlabelled ones: no mean of its cells lies there, and
        the nearest edge would be a wrong label.
        """
        error = (outputs["xy_crop"] - targets.xy_crop) / self.size
        error = error.masked_fill(~targets.placeable(self.size).unsqueeze(-1), 0)
        return {"loss": error.abs().sum(dim=-1).mean()}

    def decode(self, outputs: Outputs) -> Decoded:
        """The mean of the maps, and their variances along x and y as a diagonal covariance_crop.

        No term of the loss ties the spread to the error: it ranks keypoints by how peaked their maps are and
        wants calibration before it is taken for a covariance of the error. Its shape means less still, so the
        mixed moment is not computed.
        """
        sigma_crop = outputs["sigma_crop"]
        return Decoded(outputs["xy_crop"], scaled_covariance(sigma_crop, torch.eye(2, device=sigma_crop.device)))

    def unmirror(self, outputs: Outputs) -> Outputs:
        """Points x to S - 1 - x, exact in either alignment; the spread stays."""
        x, y = outputs["xy_crop"].unbind(-1)
        return {"xy_crop": torch.stack([self.size - 1 - x, y], dim=-1), "sigma_crop": outputs["sigma_crop"]}
