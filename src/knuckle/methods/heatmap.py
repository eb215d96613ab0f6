"""The heatmap method: one Gaussian map a keypoint, as in "Simple Baselines" (Xiao et al., ECCV 2018).

A backbone, three deconvolutions that bring its stride of 32 to 4, and a 1 x 1 convolution to K maps.
This is the model of MMPose's published hand results and the baseline of everything else here.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from knuckle.geometry import Alignment
from knuckle.methods.backbones import build_backbone
from knuckle.methods.base import Decoded, Features, Method, Outputs, Targets
from knuckle.methods.codec import (
    argmax_quarter,
    crop_to_heatmap,
    dark,
    gaussian_heatmaps,
    heatmap_to_crop,
    mmpose_heatmaps,
    peak_variance,
)
from knuckle.skeleton import NUM_JOINTS

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
        width: channels of every deconvolution.
        weights: of the backbone; see `build_backbone`.
        num_joints: K, the number of maps.

    Attributes:
        stride: crop pixels a heatmap cell.

    Raises:
        ValueError: an unknown decoder, a sigma or width that is not positive, or a backbone that cannot be had.
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
        width: int = 256,
        weights: str | None = None,
        num_joints: int = NUM_JOINTS,
    ) -> None:
        super().__init__(size, alignment)
        check_decoder(decoder)
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}.")
        self.sigma = sigma
        self.decoder = decoder
        self.backbone = build_backbone(backbone, weights, size)
        self.deconvolutions = deconvolutions(self.backbone.channels, width)
        self.final = final_convolution(width, num_joints)
        self.stride = self.backbone.stride / 8

    def features_of(self, images: Tensor) -> Features:
        """The backbone's last feature map of crops (B, 3, S, S)."""
        return (self.backbone(self.normalize(images)),)

    def outputs_of(self, features: Features) -> Outputs:
        """The "heatmaps" (B, K, S / stride, S / stride)."""
        return {"heatmaps": self.final(self.deconvolutions(features[-1]))}

    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """The squared error, weighted by keypoint, over the mean of all B K h w cells (MMPose's `KeypointMSELoss`).

        A keypoint outside the crop has weight 0; in corner alignment, as in MMPose, from 3 sigma outside.
        """
        heatmaps = outputs["heatmaps"].unsqueeze(1)
        return {"loss": heatmap_losses(heatmaps, targets, self.stride, self.alignment, self.sigma)[0]}

    def decode(self, outputs: Outputs) -> Decoded:
        """The keypoints; covariance_crop is round and comes from the height of each peak, see `peak_variance`.

        The second moment of such a map would tell of the targets' own Gaussian and of what is left of the background
        in thousands of cells, and hardly of the error.
        """
        return decode_heatmaps(outputs["heatmaps"], self.stride, self.alignment, self.sigma, self.decoder)

    def unmirror(self, outputs: Outputs) -> Outputs:
        """The maps flipped left to right; exact in center alignment, with MMPose's shift of one cell in corner."""
        return {"heatmaps": flip_heatmaps(outputs["heatmaps"], self.alignment)}


def check_decoder(decoder: str) -> None:
    """Raise ValueError where there is no such decoder."""
    if decoder not in DECODERS:
        raise ValueError(f"decoder must be one of {', '.join(DECODERS)}, got {decoder!r}.")


def heatmap_losses(
    heatmaps: Float[Tensor, "B n K h w"], targets: Targets, stride: float, alignment: Alignment, sigma: float
) -> Float32[Tensor, " n"]:
    """The loss of `Heatmap` for each of n sets of maps of the same crops.

    Args:
        heatmaps: what a network gave; n stages, say.
        targets: the truth.
        stride: crop pixels a cell.
        alignment: "corner" makes the target maps as MMPose does.
        sigma: standard deviation of the target Gaussians in cells.
    """
    encode = mmpose_heatmaps if alignment == "corner" else gaussian_heatmaps
    cells = crop_to_heatmap(targets.xy_crop.float(), stride, alignment)
    maps, weight = encode(cells, targets.labeled, (heatmaps.shape[-2], heatmaps.shape[-1]), sigma)
    squared = (heatmaps.float() - maps.unsqueeze(1)).square().mean(dim=(-2, -1))
    return (squared * weight.unsqueeze(1)).mean(dim=(0, 2))


def decode_heatmaps(
    heatmaps: Float[Tensor, "B K h w"], stride: float, alignment: Alignment, sigma: float, decoder: str
) -> Decoded:
    """Keypoints by "dark" or "quarter" as `Heatmap` says, with the covariance that the peaks' heights tell.

    Args:
        heatmaps: what a network gave that was trained by `heatmap_losses`.
        stride: crop pixels a cell.
        alignment: as in training.
        sigma: standard deviation of the target Gaussians in cells.
        decoder: one of DECODERS.
    """
    cells = dark(heatmaps, sigma) if decoder == "dark" else argmax_quarter(heatmaps, alignment)
    variance_crop = peak_variance(heatmaps, sigma) * stride**2
    covariance_crop = variance_crop[..., None, None] * torch.eye(2, device=heatmaps.device)
    return Decoded(heatmap_to_crop(cells, stride, alignment), covariance_crop)


def flip_heatmaps(heatmaps: Float[Tensor, "*n h w"], alignment: Alignment) -> Float[Tensor, "*n h w"]:
    """The maps flipped left to right, and in corner alignment moved right by one cell, as MMPose does."""
    flipped = heatmaps.flip(-1)
    return flipped if alignment == "center" else torch.cat([flipped[..., :1], flipped[..., :-1]], dim=-1)


def deconvolutions(channels: int, width: int = 256, layers: int = 3) -> nn.Sequential:
    """Transposed convolutions (4 x 4, stride 2) with batch norm and ReLU; each doubles rows and columns.

    Args:
        channels: of the input.
        width: channels of every layer's output.
        layers: how many.

    Raises:
        ValueError: the width is not positive.
    """
    if width < 1:
        raise ValueError(f"width must be positive, got {width}.")
    modules: list[nn.Module] = []
    for _ in range(layers):
        deconvolution = nn.ConvTranspose2d(channels, width, kernel_size=4, stride=2, padding=1, bias=False)
        nn.init.normal_(deconvolution.weight, std=0.001)
        modules += [deconvolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*modules)


def final_convolution(channels: int, num_joints: int) -> nn.Conv2d:
    """A 1 x 1 convolution to one map a keypoint, nearly zero at first."""
    convolution = nn.Conv2d(channels, num_joints, kernel_size=1)
    nn.init.normal_(convolution.weight, std=0.001)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution
