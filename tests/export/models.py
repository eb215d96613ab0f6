"""Small models to export: untrained networks with a flow that is neither normal nor centred, calibrated or not."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from knuckle.export import Crops
from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.methods.flow import RealNVP
from knuckle.methods.hand_head import HandHead
from knuckle.methods.weights import ModelSpec, build
from knuckle.metrics.conformal import Calibration
from knuckle.predict.load import StoredModel

SIZE: Final = 64
UNTAUGHT: Final = 7


def stored(method: str, calibration: Calibration | None = None, *, size: int = SIZE, **options: Any) -> StoredModel:
    """A model whose weights are drawn so that it tells crops apart, with one joint untaught."""
    rule = CropRule(size=size, padding=1.3)
    spec = ModelSpec(method, "test_resnet", rule, options)
    torch.manual_seed(3)
    network = build(spec)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    for module in network.modules():
        if isinstance(module, RealNVP):
            for parameter in module.parameters():
                nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():  # once in training mode, so that batch norms know what comes and nothing fades on its way
        network.train()(torch.from_numpy(noise(8, size)).permute(0, 3, 1, 2))
    network.get_buffer("taught")[UNTAUGHT] = False
    return StoredModel(network.eval(), spec, {}, calibration)


def with_hand_head(model: StoredModel) -> StoredModel:
    """The model with a hand head whose logits are of the size of 1 on `noise`."""
    crops = torch.from_numpy(noise(8, model.spec.rule.size)).permute(0, 3, 1, 2)
    with torch.no_grad():
        maps = model.method.features_of(crops)[-1]
        head = HandHead(maps.shape[1], 2)
        weight = head.get_buffer("weight").normal_()
        weight /= head(maps).std(dim=0)[:, None]
        head.get_buffer("bias").copy_(-head(maps).mean(dim=0))
    model.method.hand_head = head
    return model


def noise(count: int, size: int = SIZE) -> UInt8[np.ndarray, "n S S 3"]:
    """Pictures of coarse coloured noise."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(size // 8, axis=1).repeat(size // 8, axis=2)


def calibration(source: str) -> Calibration:
    """Made up: a factor a joint, one joint never fitted, and a map to confidence with a few knots."""
    low, high = (1e-4, 0.3) if source == "box" else (0.4, 3.0)
    scale: list[float | None] = np.geomspace(low, high, 21).tolist()
    scale[11] = None
    return Calibration.from_dict(
        {
            "source": source,
            "scale": scale,
            "levels": [0.9],
            "limits": [[4.0] * 21],
            "disc": [0.01, 0.2, 0.21, 0.7],
            "confidence": [0.05, 0.05, 0.5, 0.9],
            "hands": 100,
            "groups": 10,
            "flip_test": False,
        }
    )


def noise_crops(count: int = 6) -> Crops:
    """Crops of coloured noise, each cut at another place and zoom."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 60, (count, 2)).astype(np.float32)
    box = np.concatenate([low, low + rng.uniform(30, 90, (count, 2)).astype(np.float32)], axis=1)
    rule = CropRule(size=SIZE, padding=1.3)
    hands = Hands(
        image=[f"{row}.png" for row in range(count)],
        xy=rng.uniform(0, 100, (count, 21, 2)),
        visibility=np.full((count, 21), 2),
        box=box,
    )
    return Crops(noise(count), np.array([rule.around_box(one).image_to_crop for one in box]), hands)
