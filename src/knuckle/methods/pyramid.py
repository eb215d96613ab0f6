"""The pyramid method: for every keypoint a distribution over the cells of a fine map, made from a feature pyramid.

The three deconvolutions of the heatmap method have to bring all that they say about places through the backbone's
last map, 4 x 4 cells for a crop of 128 pixels. Here its finer maps join on the way up, as in "Feature Pyramid Networks
for Object Detection" (Lin et al., CVPR 2017): a 1 x 1 convolution brings each to the width of the coarser one, which is
enlarged twice and added.

The maps H are unnormalised log-probabilities of the cells, and learn by the divergence of softmax(H) from a Gaussian
around the truth, one classification over all cells, where squared errors spend most of their gradient on empty cells.
What the network does not know stays visible: two likely places are two peaks. The point with the smallest expected
distance to the truth, the geometric median of the distribution, is the keypoint.
"""

from __future__ import annotations

import itertools
from typing import ClassVar, Final, Literal

import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn import functional as F

from knuckle.geometry import Alignment
from knuckle.methods.backbones import build_backbone
from knuckle.methods.base import Decoded, Features, Method, Outputs, Targets
from knuckle.methods.codec import crop_to_heatmap, dark, gaussian_heatmaps, geometric_median, heatmap_to_crop
from knuckle.methods.heatmap import final_convolution, flip_heatmaps
from knuckle.skeleton import NUM_JOINTS

DECODERS: Final = ("median", "dark")

FINEST_STRIDE: Final = 4
"""Crop pixels a cell of the maps."""

SHARPER: Final = 1.5
"""Power of the likelihood whose median is taken: takes away a part of the targets' own spread and of the mass that is
left in cells far away. Chosen on 800 rendered hands with the weights of `light`: 1, 1.5, 2 and 3 have an NME of 0.0785,
0.0783, 0.0787 and 0.0796, and a PCK@0.05 of 0.561, 0.576, 0.582 and 0.586."""

LEAST_VARIANCE: Final = 0.01
"""The smallest variance that `decode` states along both axes together, in squared cells."""


class Pyramid(Method):
    """A backbone whose maps from stride 4 on are joined from the coarsest to the finest.

    Args:
        backbone: a timm model name, of a network with maps of strides 4, 8, ...
        size: side of the square crop in pixels.
        alignment: where cells lie in the crop; see `knuckle.geometry`.
        sigma: standard deviation of the target Gaussians in cells.
        decoder: "median" for the geometric median of the distribution, made a little sharper (`SHARPER`); "dark" for
            distribution-aware decoding of its highest peak.
        width: channels of the two finest joined maps; the coarser ones have twice as many.
        weights: of the backbone; see `build_backbone`.
        num_joints: K, the number of maps.

    Attributes:
        stride: crop pixels a cell of the maps.

    Raises:
        ValueError: an unknown decoder, a sigma or width that is not positive, or a backbone that cannot be had.
    """

    name: ClassVar[str] = "pyramid"

    def __init__(
        self,
        backbone: str = "resnet50",
        size: int = 256,
        *,
        alignment: Alignment = "center",
        sigma: float = 1.5,
        decoder: Literal["median", "dark"] = "median",
        width: int = 128,
        weights: str | None = None,
        num_joints: int = NUM_JOINTS,
    ) -> None:
        super().__init__(size, alignment)
        if decoder not in DECODERS:
            raise ValueError(f"decoder must be one of {', '.join(DECODERS)}, got {decoder!r}.")
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}.")
        if width < 1:
            raise ValueError(f"width must be positive, got {width}.")
        self.sigma = sigma
        self.decoder = decoder
        self.stride = float(FINEST_STRIDE)
        self.backbone = build_backbone(backbone, weights, size, FINEST_STRIDE)
        coarsest, *finer = reversed(self.backbone.level_channels)
        # What a level hands on: twice the width, and the width from the second finest on.
        widths = [2 * width] * (len(finer) - 1) + [width, width]
        self.top = _convolution(coarsest, widths[0], 1)
        self.laterals = nn.ModuleList(
            _convolution(channels, receives, 1) for channels, receives in zip(finer, widths[:-1], strict=True)
        )
        self.joins = nn.ModuleList(_convolution(receives, gives, 3) for receives, gives in itertools.pairwise(widths))
        self.final = final_convolution(widths[-1], num_joints)

    def features_of(self, images: Tensor) -> Features:
        """The backbone's feature maps of crops (B, 3, S, S), the finest first."""
        return self.backbone.pyramid(self.normalize(images))

    def outputs_of(self, features: Features) -> Outputs:
        """The logits of the cells, "heatmaps" (B, K, S / 4, S / 4)."""
        coarsest, *finer = reversed(features)
        joined: Tensor = self.top(coarsest)
        for lateral, join, level in zip(self.laterals, self.joins, finer, strict=True):
            joined = join(F.interpolate(joined, scale_factor=2, mode="nearest") + lateral(level))
        return {"heatmaps": self.final(joined)}

    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """The Kullback-Leibler divergence of prediction from target, summed over keypoints, divided by B K.

        Targets are Gaussians over the cells, normalised. Keypoints outside the crop are left out like unlabelled
        ones: there is no cell for them.
        """
        logits = outputs["heatmaps"]
        cells = crop_to_heatmap(targets.xy_crop.float(), self.stride, self.alignment)
        # A keypoint far outside would leave nothing to normalise; it has no weight, so it may lie anywhere.
        placeable = targets.placeable(self.size)
        cells = torch.where(placeable.unsqueeze(-1), cells, 0.0)
        maps, weight = gaussian_heatmaps(cells, placeable, (logits.shape[-2], logits.shape[-1]), self.sigma)
        target = maps.flatten(-2) / maps.sum(dim=(-2, -1)).unsqueeze(-1)
        cross_entropy = -(target * logits.float().flatten(-2).log_softmax(dim=-1)).sum(dim=-1)
        divergence = cross_entropy - torch.special.entr(target).sum(dim=-1)
        return {"loss": (divergence * weight).mean()}

    def decode(self, outputs: Outputs) -> Decoded:
        """The keypoints; covariance_crop holds the second moments of the distribution about them.

        The targets' own Gaussian is taken off, as far as that leaves something: all entries are multiplied by one
        factor, so that the matrix stays positive.
        """
        logits = outputs["heatmaps"].float()
        likelihood = _softmax(logits)
        cells = dark(likelihood, self.sigma) if self.decoder == "dark" else geometric_median(_softmax(SHARPER * logits))
        moments = _second_moments(likelihood, cells)
        trace = moments.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
        rest = (trace - 2 * self.sigma**2).clamp(min=LEAST_VARIANCE)
        covariance = moments * (rest / trace.clamp(min=LEAST_VARIANCE))[..., None, None]
        return Decoded(heatmap_to_crop(cells, self.stride, self.alignment), covariance * self.stride**2)

    def unmirror(self, outputs: Outputs) -> Outputs:
        """The logits flipped left to right; exact in center alignment, with MMPose's shift of one cell in corner."""
        return {"heatmaps": flip_heatmaps(outputs["heatmaps"], self.alignment)}


def _convolution(channels: int, width: int, kernel_size: int) -> nn.Sequential:
    """A convolution that keeps rows and columns, with batch norm and SiLU."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(width),
        nn.SiLU(inplace=True),
    )


def _softmax(logits: Float32[Tensor, "B K h w"]) -> Float32[Tensor, "B K h w"]:
    return logits.flatten(-2).softmax(dim=-1).view_as(logits)


def _second_moments(likelihood: Float32[Tensor, "B K h w"], point: Float32[Tensor, "B K 2"]) -> Tensor:
    """The mean of (p - point)(p - point)^T over the cells p: (B, K, 2, 2), squared cells."""
    height, width = likelihood.shape[-2:]
    x = torch.arange(width, device=point.device) - point[..., 0:1]
    y = torch.arange(height, device=point.device) - point[..., 1:2]
    xx = (likelihood.sum(dim=-2) * x.square()).sum(dim=-1)
    yy = (likelihood.sum(dim=-1) * y.square()).sum(dim=-1)
    xy = ((likelihood * x.unsqueeze(-2)).sum(dim=-1) * y).sum(dim=-1)
    return torch.stack([torch.stack([xx, xy], dim=-1), torch.stack([xy, yy], dim=-1)], dim=-2)
