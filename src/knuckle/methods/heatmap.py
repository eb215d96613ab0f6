"""The heatmap method: one Gaussian map a keypoint, as in "Simple Baselines" (Xiao et al., ECCV 2018).

A backbone, three deconvolutions that bring its stride of 32 to 4, and a 1 x 1 convolution to K maps.
This is the model of MMPose's published hand results and the baseline of everything else here.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from knuckle.geometry import Alignment
from knuckle.methods.backbones import build_backbone
from knuckle.methods.base import Decoded, Method, Outputs, Targets
from knuckle.methods.codec import (
    argmax_quarter,
    crop_to_heatmap,
    dark,
    gaussian_heatmaps,
    heatmap_to_crop,
    mmpose_heatmaps,
)
from knuckle.skeleton import NUM_JOINTS

WIDTH: Final = 256
"""Channels of every deconvolution."""

DECODERS: Final = ("quarter", "dark")


class Heatmap(Method):
    """A backbone with a deconvolution head that gives one heatmap a keypoint.

    Args:
        backbone: a timm model name.
        size: side of the square crop in pixels.
        alignment: "center", or "corner" to train and decode as MMPose does: targets on whole cells,
            maps that mirror with a shift of one cell.
        sigma: standard deviation of the target Gaussians in cells.
        decoder: "quarter" for the highest cell and a quarter step, "dark" for distribution-aware decoding.
        weights: of the backbone; see `build_backbone`.
        num_joints: K, the number of maps.

    Attributes:
        stride: crop pixels a heatmap cell.

    Raises:
        ValueError: an unknown decoder, a sigma that is not positive, or a backbone that cannot be had.
    """

    name: ClassVar[str] = "heatmap"

    def __init__(
        self,
        backbone: str = "resnet50",
        size: int = 256,
        *,
        alignment: Alignment = "center",
        sigma: float = 2.0,
        decoder: Literal["quarter", "dark"] = "quarter",
        weights: str | None = None,
        num_joints: int = NUM_JOINTS,
    ) -> None:
        super().__init__(size, alignment)
        if decoder not in DECODERS:
            raise ValueError(f"decoder must be one of {', '.join(DECODERS)}, got {decoder!r}.")
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}.")
        self.sigma = sigma
        self.decoder = decoder
        self.backbone = build_backbone(backbone, weights, size)
        self.deconvolutions = deconvolutions(self.backbone.channels)
        self.final = nn.Conv2d(WIDTH, num_joints, kernel_size=1)
        nn.init.normal_(self.final.weight, std=0.001)
        assert self.final.bias is not None
        nn.init.zeros_(self.final.bias)
        self.stride = self.backbone.stride / 8

    def forward(self, images: Tensor) -> Outputs:
        """Crops (B, 3, S, S) to "heatmaps" (B, K, S / stride, S / stride)."""
        return {"heatmaps": self.final(self.deconvolutions(self.backbone(self.normalize(images))))}

    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """The squared error, weighted by keypoint, over the mean of all B K h w cells (MMPose's `KeypointMSELoss`).

        A keypoint outside the crop has weight 0; in corner alignment, as in MMPose, from 3 sigma outside.
        """
        maps = outputs["heatmaps"].float()
        encode = mmpose_heatmaps if self.alignment == "corner" else gaussian_heatmaps
        xy_heatmap = crop_to_heatmap(targets.xy_crop.float(), self.stride, self.alignment)
        target, weight = encode(xy_heatmap, targets.labeled, (maps.shape[-2], maps.shape[-1]), self.sigma)
        return {"loss": (F.mse_loss(maps, target, reduction="none").mean(dim=(-2, -1)) * weight).mean()}

    def decode(self, outputs: Outputs) -> Decoded:
        """The keypoints; heatmaps of this kind hold no calibrated spread, so sigma_crop is None."""
        maps = outputs["heatmaps"]
        xy = dark(maps, self.sigma) if self.decoder == "dark" else argmax_quarter(maps, self.alignment)
        return Decoded(heatmap_to_crop(xy, self.stride, self.alignment), None)

    def unmirror(self, outputs: Outputs) -> Outputs:
        """The maps flipped left to right; exact in center alignment, with MMPose's shift of one cell in corner."""
        flipped = outputs["heatmaps"].flip(-1)
        if self.alignment == "corner":
            flipped = torch.cat([flipped[..., :1], flipped[..., :-1]], dim=-1)
        return {"heatmaps": flipped}


def deconvolutions(channels: int, layers: int = 3) -> nn.Sequential:
    """Transposed convolutions (4 x 4, stride 2) with batch norm and ReLU; each doubles rows and columns."""
    modules: list[nn.Module] = []
    for _ in range(layers):
        deconvolution = nn.ConvTranspose2d(channels, WIDTH, kernel_size=4, stride=2, padding=1, bias=False)
        nn.init.normal_(deconvolution.weight, std=0.001)
        modules += [deconvolution, nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)]
        channels = WIDTH
    return nn.Sequential(*modules)
