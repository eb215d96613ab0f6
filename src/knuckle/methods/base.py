"""What a method is: a network with its loss and its decoding, all in crop pixels.

Letters in shapes: B hands in a batch, K = 21 keypoints, H W rows and columns of the crop,
h w rows and columns of the heatmaps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Final, NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from knuckle.geometry import Alignment
from knuckle.methods.hand_head import HandHead, SideLesson
from knuckle.skeleton import NUM_JOINTS

Features = tuple[Tensor, ...]
"""The feature maps (B, channels, rows, columns) that outputs are computed from. The last is the deepest, which the hand
head reads; a method that needs no other gives it alone."""

Outputs = dict[str, Tensor]
"""What a network returns: named tensors whose first dimension is the batch."""

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


class Targets(NamedTuple):
    """The truth for a batch of crops.

    Attributes:
        xy_crop: (B, K, 2) float32, crop pixels. Any finite number where not labelled, never NaN.
        labeled: (B, K) bool, True where the keypoint takes part in the loss.
    """

    xy_crop: Float[Tensor, "B K 2"]
    labeled: Bool[Tensor, "B K"]

    def placeable(self, size: int) -> Bool[Tensor, "B K"]:
        """True for labelled keypoints in the crop, edges included: those that a distribution over it can name."""
        inside = (self.xy_crop >= -0.5) & (self.xy_crop <= size - 0.5)
        return self.labeled & inside.all(dim=-1)


class Decoded(NamedTuple):
    """Keypoints read from a network's outputs.

    Attributes:
        xy_crop: (B, K, 2) float32, crop pixels.
        covariance_crop: (B, K, 2, 2) float32, crop pixels squared, or None where the method has none. What it is
            the covariance of, each method's `decode` says; only flow methods are trained to make it the error's.
    """

    xy_crop: Float[Tensor, "B K 2"]
    covariance_crop: Float[Tensor, "B K 2 2"] | None


class Method(nn.Module, ABC):
    """A keypoint network with its own loss and decoding.

    `forward` takes RGB crops as (B, 3, H, W), uint8 or float in 0..255, and normalises them itself,
    so that weights and preprocessing cannot part.

    Attributes:
        size: side of the square crop in pixels.
        alignment: which pixel of the crop the box's centre falls on; see `knuckle.geometry`.
        taught: (21,) bool buffer, False for joints that no label of the training data showed; what the
            network says of them means nothing. It is saved with the weights.
        hand_head: says from the feature map whether it shows a hand and which one; None for a network that has not
            got one. Training the network further makes it worthless: fit it again.
        side_lesson: what a network in training learns left from right by; it is not part of the stored model.
    """

    name: ClassVar[str]

    def __init__(self, size: int, alignment: Alignment = "center") -> None:
        super().__init__()
        self.size = size
        self.alignment: Alignment = alignment
        self.hand_head: HandHead | None = None
        self.side_lesson: SideLesson | None = None
        self.register_buffer("taught", torch.ones(NUM_JOINTS, dtype=torch.bool))
        self.register_buffer("pixel_mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("pixel_std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) * 255, persistent=False)

    def normalize(self, images: UInt8[Tensor, "B 3 H W"] | Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """The pixels as ImageNet backbones expect them: mean 0, standard deviation 1."""
        mean, std = self.get_buffer("pixel_mean"), self.get_buffer("pixel_std")
        return (images.to(mean.dtype) - mean) / std

    def forward(self, images: Tensor) -> Outputs:
        """The network's outputs for a batch of crops."""
        return self.outputs_of(self.features_of(images))

    @abstractmethod
    def features_of(self, images: Tensor) -> Features:
        """The feature maps of a batch of crops, which all else is computed from."""

    @abstractmethod
    def outputs_of(self, features: Features) -> Outputs:
        """The network's outputs from the feature maps."""

    @abstractmethod
    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """Scalars by name, the one to minimise under "loss"; unlabelled keypoints contribute nothing."""

    @abstractmethod
    def decode(self, outputs: Outputs) -> Decoded:
        """The keypoints in crop pixels."""

    @abstractmethod
    def unmirror(self, outputs: Outputs) -> Outputs:
        """Outputs of left-right mirrored crops, turned into what the unmirrored crops would give."""


def merge(outputs: Outputs, others: Outputs) -> Outputs:
    """The mean of two outputs, as the flip test takes it."""
    return {name: (value + others[name]) / 2 for name, value in outputs.items()}
