"""The CPM method: stages of heatmaps, each of which sees the picture and the maps of the stage before.

After "Convolutional Pose Machines" (CPM; Wei et al., CVPR 2016), section 3 and Figure 2: maps at an eighth of the
crop's side, six stages, and as loss the sum of every stage's squared error (Eqs. 4 and 5), so that gradients reach
early layers from near. The last stage's maps are the result.

Unlike the paper there is batch normalisation, no map for the background and none for the centre of the person: a
crop shows one hand. So has it MMPose.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from knuckle.geometry import Alignment
from knuckle.methods.backbones import build_backbone
from knuckle.methods.base import Decoded, Features, Method, Outputs, Targets
from knuckle.methods.heatmap import (
    check_decoder,
    decode_heatmaps,
    deconvolutions,
    final_convolution,
    flip_heatmaps,
    heatmap_losses,
)
from knuckle.skeleton import NUM_JOINTS

STRIDE: Final = 8
"""Crop pixels a cell of the heatmaps."""

PAPER_LAYERS: Final = "cpm"
"""The `backbone` that means the paper's own layers."""


class CPM(Method):
    """Image features of stride 8, a first stage that sees them alone, and stages that refine.

    Args:
        backbone: "cpm" for the paper's own layers, two towers of three 9 x 9 convolutions, one for the first stage and
            one for the others; or a timm model name: all of that network, brought from its stride to 8 by
            deconvolutions as in the heatmap method and seen by all stages, so that methods can be compared on one
            backbone.
        size: side of the square crop in pixels.
        alignment: where heatmap cells lie in the crop; "center", or "corner" for targets as MMPose has them.
        stages: how many, 2 or more.
        width: channels of the towers or deconvolutions, and of the refining stages.
        feature_width: channels of the image features that a stage sees.
        first_width: channels of the first stage's 9 x 9 convolution.
        sigma: standard deviation of the target Gaussians in cells.
        decoder: "quarter" or "dark", as in the heatmap method.
        weights: of a timm backbone; see `build_backbone`.
        num_joints: K.

    Raises:
        ValueError: an unknown or impossible option, or a backbone that cannot be had or brought to a stride of 8.
    """

    name: ClassVar[str] = "cpm"

    def __init__(
        self,
        backbone: str = "resnet50",
        size: int = 256,
        *,
        alignment: Alignment = "center",
        stages: int = 6,
        width: int = 128,
        feature_width: int = 32,
        first_width: int = 512,
        sigma: float = 2.0,
        decoder: Literal["quarter", "dark"] = "quarter",
        weights: str | None = None,
        num_joints: int = NUM_JOINTS,
    ) -> None:
        super().__init__(size, alignment)
        check_decoder(decoder)
        if stages < 2:
            raise ValueError(f"stages must be 2 or more, got {stages}.")
        widths = {"width": width, "feature_width": feature_width, "first_width": first_width}
        for option, value in {**widths, "sigma": sigma}.items():
            if not value > 0:
                raise ValueError(f"{option} must be positive, got {value}.")
        self.sigma = sigma
        self.decoder = decoder
        if backbone == PAPER_LAYERS:
            _check_paper_layers(size, weights)
            self.features: Towers | SharedFeatures = Towers(width)
        else:
            self.features = SharedFeatures(backbone, weights, size, width)
        self.first = nn.Sequential(
            _convolution(self.features.channels, feature_width, 5),
            _convolution(feature_width, first_width, 9),
            _convolution(first_width, first_width, 1),
            final_convolution(first_width, num_joints),
        )
        self.image = _convolution(self.features.channels, feature_width, 5)
        self.refine = nn.ModuleList(
            _refining_stage(feature_width + num_joints, width, num_joints) for _ in range(stages - 1)
        )

    def features_of(self, images: Tensor) -> Features:
        """The feature map of crops (B, 3, S, S); of the paper's own layers both maps, one behind the other."""
        return (self.features(self.normalize(images)),)

    def outputs_of(self, features: Features) -> Outputs:
        """The "heatmaps" (B, n, K, S / 8, S / 8).

        Of all stages in training mode, of the last alone in evaluation mode.
        """
        has_two = isinstance(self.features, Towers)
        first_sees, others_see = features[-1].chunk(2, dim=1) if has_two else (features[-1], features[-1])
        maps = [self.first(first_sees)]
        image = self.image(others_see)
        for stage in self.refine:
            maps.append(stage(torch.cat([image, maps[-1]], dim=1)))
        return {"heatmaps": torch.stack(maps if self.training else maps[-1:], dim=1)}

    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """The sum over the stages that `outputs` holds, and each under "stage_1", "stage_2", ...

        A stage's loss, and what becomes of keypoints outside the crop, is that of the heatmap method.
        """
        losses = heatmap_losses(outputs["heatmaps"], targets, STRIDE, self.alignment, self.sigma)
        first = len(self.refine) + 2 - len(losses)
        return {"loss": losses.sum()} | {f"stage_{number}": part for number, part in enumerate(losses, first)}

    def decode(self, outputs: Outputs) -> Decoded:
        """The last stage's keypoints and covariances, as in the heatmap method."""
        return decode_heatmaps(outputs["heatmaps"][:, -1], STRIDE, self.alignment, self.sigma, self.decoder)

    def unmirror(self, outputs: Outputs) -> Outputs:
        """The maps flipped left to right; exact in center alignment, with MMPose's shift of one cell in corner."""
        return {"heatmaps": flip_heatmaps(outputs["heatmaps"], self.alignment)}


class Towers(nn.Module):
    """The paper's image features: for the first stage and for the others three convolutions, pooled after each.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels = width
        self.for_first, self.for_others = _tower(width), _tower(width)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 2*width h w"]:
        """What the first stage sees, and behind it what the others see."""
        return torch.cat([self.for_first(images), self.for_others(images)], dim=1)


class SharedFeatures(nn.Module):
    """A timm network and deconvolutions to stride 8, the same for every stage.

    Args:
        name: of the network.
        weights: its weights; see `build_backbone`.
        size: side of the square crop in pixels.
        width: channels of the deconvolutions.

    Raises:
        ValueError: the network cannot be had, or its stride is not 8, 16, 32...
    """

    def __init__(self, name: str, weights: str | None, size: int, width: int) -> None:
        super().__init__()
        self.backbone = build_backbone(name, weights, size)
        layers = (self.backbone.stride // STRIDE).bit_length() - 1
        if self.backbone.stride != STRIDE * 2**layers:
            raise ValueError(
                f"timm's {name} has a stride of {self.backbone.stride} px, which cannot be halved to {STRIDE}; "
                f"choose another backbone for the method cpm, such as resnet50."
            )
        self.deconvolutions = deconvolutions(self.backbone.channels, width, layers)
        self.channels = width if layers else self.backbone.channels

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B width h w"]:
        """What every stage sees."""
        features: Tensor = self.deconvolutions(self.backbone(images))
        return features


def _check_paper_layers(size: int, weights: str | None) -> None:
    if weights is not None:
        raise ValueError("the paper's own layers have no weights to start from; set weights to null for backbone cpm.")
    if size % STRIDE:
        raise ValueError(f"the method cpm needs a crop that {STRIDE} divides, got {size} px.")


def _tower(width: int) -> nn.Sequential:
    modules: list[nn.Module] = []
    for channels in (3, width, width):
        modules += [_convolution(channels, width, 9), nn.MaxPool2d(2)]
    return nn.Sequential(*modules)


def _refining_stage(channels: int, width: int, num_joints: int) -> nn.Sequential:
    return nn.Sequential(
        _convolution(channels, width, 11),
        _convolution(width, width, 11),
        _convolution(width, width, 11),
        _convolution(width, width, 1),
        final_convolution(width, num_joints),
    )


def _convolution(channels: int, width: int, kernel: int) -> nn.Sequential:
    """A convolution that keeps rows and columns, with batch norm and ReLU."""
    convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
