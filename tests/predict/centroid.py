"""Networks without weights, whose answer is known: keypoints at the centre of the red light, or around it."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from knuckle.geometry import Alignment
from knuckle.methods.base import Decoded, Features, Method, Outputs, Targets
from knuckle.skeleton import NUM_JOINTS

COVARIANCE_CROP = ((4.0, 1.5), (1.5, 9.0))


class Centroid(Method):
    """Answers with the centroid of the red channel in crop pixels, and a fixed covariance where asked to."""

    name: ClassVar[str] = "centroid"

    def __init__(self, size: int = 64, alignment: Alignment = "center", *, sigma: bool = True) -> None:
        super().__init__(size, alignment)
        self.sigma = sigma
        self.batches: list[int] = []

    def features_of(self, images: Tensor) -> Features:
        self.batches.append(len(images))
        return (images.double(),)

    def outputs_of(self, features: Features) -> Outputs:
        light = features[-1][:, 0]
        steps = torch.arange(self.size, dtype=torch.float64)
        total = light.sum((1, 2))
        x, y = (light.sum(1) * steps).sum(1) / total, (light.sum(2) * steps).sum(1) / total
        return {"xy": torch.stack([x, y], -1)[:, None].expand(-1, NUM_JOINTS, -1)}

    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        raise NotImplementedError

    def decode(self, outputs: Outputs) -> Decoded:
        xy = outputs["xy"].float()
        return Decoded(xy, torch.tensor(COVARIANCE_CROP).expand(*xy.shape, 2) if self.sigma else None)

    def unmirror(self, outputs: Outputs) -> Outputs:
        x, y = outputs["xy"].unbind(-1)
        return {"xy": torch.stack([self.size - 1 - x, y], -1)}


_TURNS = np.linspace(0, 2 * np.pi, NUM_JOINTS - 1, endpoint=False)
_RAYS = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1) * np.tile([[0.8], [1.2], [1.6], [2.0]], (5, 1))
HAND = torch.tensor(np.concatenate([[[0.0, 2.0]], _RAYS])).float()
"""(21, 2) keypoints around the light's centre, in its standard deviations: something of a hand's extent and bones."""


class Glow(Centroid):
    """Answers with `HAND` around the red light, as large as the light is wide."""

    name: ClassVar[str] = "glow"

    def outputs_of(self, features: Features) -> Outputs:
        light = features[-1][:, 0]
        steps = torch.arange(self.size, dtype=torch.float64)
        share_x, share_y = light.sum(1), light.sum(2)
        total = light.sum((1, 2))[:, None]
        x, y = ((share * steps).sum(1, keepdim=True) / total for share in (share_x, share_y))
        spread = ((share_x * (steps - x) ** 2).sum(1, keepdim=True) / total).sqrt()
        return {"xy": torch.cat([x, y], 1)[:, None] + HAND * spread[..., None]}


class TwoTone(Glow):
    """As `Glow`, turned to the side on which a light is greener: a mirrored photo has the mirrored hands."""

    name: ClassVar[str] = "two_tone"

    def outputs_of(self, features: Features) -> Outputs:
        steps = torch.arange(self.size, dtype=torch.float64)
        red, green = (((color := features[-1][:, at].sum(1)) * steps).sum(1) / color.sum(1) for at in (0, 1))
        side = torch.sign((green - red).round(decimals=3))[:, None]
        x, y = super().outputs_of(features)["xy"].unbind(-1)
        return {"xy": torch.stack([red[:, None] + side * (x - red[:, None]), y], -1)}


def light_at(
    xy: tuple[float, float], size_wh: tuple[int, int] = (160, 120), spread: float = 5.0
) -> UInt8[np.ndarray, "h w 3"]:
    """A black photo with one soft red light centred on `xy` in image pixels."""
    y, x = np.mgrid[: size_wh[1], : size_wh[0]]
    glow = 255 * np.exp(-((x - xy[0]) ** 2 + (y - xy[1]) ** 2) / (2 * spread**2))
    return np.stack([glow, np.zeros_like(glow), np.zeros_like(glow)], axis=-1).round().astype(np.uint8)


def save_rgb(path: str, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Writes the pixels as they are, in a format without loss."""
    assert cv2.imwrite(path, np.ascontiguousarray(image[..., ::-1]))
