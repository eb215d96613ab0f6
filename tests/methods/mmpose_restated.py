"""MMPose's top-down hand model and test pipeline, stated again from its documentation for the tests.

Nothing here comes from knuckle or from timm: network, crop, flip test and decoding are spelled out with
plain torch, numpy and loops, so that the import of MMPose's checkpoints is compared with something else.
Variants that are wrong on purpose show that each step matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float64]

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class Residual(nn.Module):
    """A residual block with two 3x3 convolutions, or 1x1, 3x3 (with the stride), 1x1."""

    def __init__(self, inputs: int, width: int, stride: int, deep: bool) -> None:
        super().__init__()
        outputs = width * 4 if deep else width
        shapes = (
            [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
            if deep
            else [(inputs, width, 3, stride), (width, width, 3, 1)]
        )
        self.depth = len(shapes)
        for number, (before, after, kernel, step) in enumerate(shapes, start=1):
            self.add_module(f"conv{number}", nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{number}", nn.BatchNorm2d(after))
        self.downsample: nn.Module | None = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for number in range(1, self.depth + 1):
            y = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(y))
            if number < self.depth:
                y = torch.relu(y)
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """He et al. (2016) with torchvision's parameter names, without the classifier."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        deep = depth >= 50
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for layer, count in enumerate(BLOCKS[depth]):
            width, blocks = 64 * 2**layer, []
            for block in range(count):
                blocks.append(Residual(channels, width, 2 if layer > 0 and block == 0 else 1, deep))
                channels = width * 4 if deep else width
            self.add_module(f"layer{layer + 1}", nn.Sequential(*blocks))
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for layer in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{layer}")(x)
        return x


class Head(nn.Module):
    """Three deconvolutions and a 1x1 convolution, with MMPose's names."""

    def __init__(self, channels: int, joints: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before in (channels, 256, 256):
            layers += [nn.ConvTranspose2d(before, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU()]
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(256, joints, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.final_layer(self.deconv_layers(x))
        return maps


class TopDown(nn.Module):
    """The whole network; its state dict has the names of MMPose 0.x."""

    def __init__(self, depth: int, joints: int = 21) -> None:
        super().__init__()
        self.backbone = ResNet(depth)
        self.keypoint_head = Head(self.backbone.channels, joints)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.keypoint_head(self.backbone(x))
        return maps


def random_network(depth: int, size: int, seed: int = 0) -> TopDown:
    """Random weights whose maps vary over the image, with batch statistics that fit them."""
    torch.manual_seed(seed)
    network = TopDown(depth)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            module.momentum = None  # statistics become the plain mean over the passes below
    nn.init.normal_(network.keypoint_head.final_layer.weight, std=1.0)
    network.train()
    with torch.no_grad():
        for index in range(2):
            network(normalized(np.stack([textured_image(size, seed=100 + 4 * index + i) for i in range(4)])))
    return network.eval()


def checkpoint_0x(network: TopDown) -> dict[str, Any]:
    """A published 0.x file: version and configuration text, no optimiser."""
    meta = {"mmpose_version": "0.8.0", "config": "model = dict(type='TopDown')", "epoch": 100, "iter": 20400}
    return {"meta": meta, "state_dict": network.state_dict()}


def checkpoint_1x(network: TopDown) -> dict[str, Any]:
    """A 1.x file: the head renamed, the normalisation beside it, numpy arrays in the metadata."""
    state = {name.replace("keypoint_head.", "head."): tensor for name, tensor in network.state_dict().items()}
    state["data_preprocessor.mean"] = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    state["data_preprocessor.std"] = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    dataset_meta = {
        "dataset_name": "freihand",
        "joint_weights": np.ones(21, dtype=np.float32),
        "sigmas": np.zeros(0, dtype=np.float64),
        "keypoint_colors": np.full((21, 3), 128, dtype=np.uint8),
        "flip_indices": list(range(21)),
    }
    return {"meta": {"mmengine_version": "0.10.3", "dataset_meta": dataset_meta}, "state_dict": state}


def textured_image(size: int, seed: int) -> NDArray[np.uint8]:
    """A BGR image (size, size, 3) of smooth coloured noise, different in every channel."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(size, size, 3)).astype(np.float32)
    smooth = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (2.0, 6.0, 15.0))
    image: NDArray[np.uint8] = np.clip(128 + 60 * np.asarray(smooth), 0, 255).astype(np.uint8)
    return image


def normalized(images_bgr: NDArray[np.uint8], *, swap: bool = True) -> Tensor:
    """Images (n, h, w, 3) as network input; `swap` turns BGR to RGB."""
    pixels = images_bgr[..., ::-1] if swap else images_bgr
    values = (pixels.astype(np.float32) - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=np.float32))


@dataclass(frozen=True)
class Pipeline:
    """MMPose's test pipeline. The switches make it wrong on purpose."""

    network: TopDown
    size: int
    padding: float
    rgb: bool = True
    flip_shift: bool = True
    quarter: bool = True

    def predict(self, image_bgr: NDArray[np.uint8], bbox: tuple[float, float, float, float]) -> Floats:
        """Keypoints (21, 2) in image pixels of a hand in the box x1, y1, x2, y2."""
        center, scale = center_and_scale(bbox, self.padding)
        crop = cv2.warpAffine(image_bgr, warp_matrix(center, scale, self.size), (self.size, self.size))
        images = normalized(crop[None].astype(np.uint8), swap=self.rgb)
        with torch.no_grad():
            maps = self.network(images).numpy()[0]
            mirrored = self.network(images.flip(3)).numpy()[0, :, :, ::-1].copy()
        if self.flip_shift:
            mirrored[:, :, 1:] = mirrored[:, :, :-1].copy()
        decoded = decode((maps + mirrored) * 0.5, self.quarter)
        result: Floats = decoded * 4 / self.size * scale + center - 0.5 * scale
        return result


def center_and_scale(bbox: tuple[float, float, float, float], padding: float) -> tuple[Floats, Floats]:
    """The middle of the box and its padded sides, made square by the longer one."""
    x1, y1, x2, y2 = bbox
    side = max(x2 - x1, y2 - y1) * padding
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2]), np.array([side, side])


def warp_matrix(center: Floats, scale: Floats, size: int) -> Floats:
    """Three points of the image and of the crop: the centre, the middle of the top edge, and a corner."""
    up = np.array([0.0, -0.5 * scale[0]])
    left = np.array([up[1], up[0]])
    source = np.array([center, center + up, center + up + left], dtype=np.float32)
    half = size * 0.5
    target = np.array([(half, half), (half, 0), (0, 0)], dtype=np.float32)
    return np.asarray(cv2.getAffineTransform(source, target), dtype=np.float64)


def decode(maps: NDArray[np.float32], quarter: bool) -> Floats:
    """The highest cell of each map (k, h, w), moved by a quarter towards the higher neighbour."""
    height, width = maps.shape[1:]
    points = np.zeros((len(maps), 2))
    for joint, values in enumerate(maps):
        y, x = (int(index) for index in np.unravel_index(np.argmax(values), values.shape))
        if values[y, x] <= 0:
            points[joint] = -1
            continue
        points[joint] = x, y
        if quarter and 1 < x < width - 1 and 0 < y < height:
            points[joint, 0] += 0.25 * np.sign(values[y, x + 1] - values[y, x - 1])
        if quarter and 1 < y < height - 1 and 0 < x < width:
            points[joint, 1] += 0.25 * np.sign(values[y + 1, x] - values[y - 1, x])
    return points
