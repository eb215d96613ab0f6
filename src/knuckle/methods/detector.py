"""The hand detector: one small one-stage network without anchors, from whole pictures to boxes with scores.

A plain residual network of 3x3 convolutions goes down to a stride of 32 pixels; a top-down path brings its features
back to a stride of 8, where every cell says how likely it is the middle of a hand and how far the hand's box reaches to
each side (as FCOS, Tian et al. 2019). Plain convolutions, because a processor with matrix units runs them several
times faster for their arithmetic than depthwise ones.

Letters in shapes: B pictures, H W their sides in pixels, rows columns those of the cells, H / 8 and W / 8.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from knuckle.formats.files import replacing

STRIDE: Final = 8
"""Pixels a cell."""
DEEPEST: Final = 32
"""Stride of the deepest features: sides of pictures are multiples of it."""
FILE_VERSION: Final = 1
"""Raised when a file can no longer be read by older versions of knuckle."""

_KEY: Final = "knuckle_detector"
_MEAN: Final = (123.7, 116.3, 103.5)
_DEVIATION: Final = (58.4, 57.1, 57.4)
_FIRST_REACH: Final = 40.0
"""Pixels from the middle to each side of a box that an untrained network says."""
_LARGEST_LOG: Final = 5.0
"""Keeps the exponential finite under float16: 8 exp(5) = 1187 pixels."""
_RARE: Final = 0.01
"""Score of every cell in an untrained network (RetinaNet, Lin et al. 2017, section 3.3)."""


@dataclass(frozen=True)
class DetectorSpec:
    """How the network is built.

    Attributes:
        widths: channels at the strides 2, 4, 8, 16 and 32.
        blocks: residual blocks at each of them.
        neck: channels of the top-down path and the head.

    Raises:
        ValueError: not five strides, or a number is not positive (blocks: negative).
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 192)
    blocks: tuple[int, ...] = (0, 1, 1, 1, 1)
    neck: int = 64

    def __post_init__(self) -> None:
        if len(self.widths) != 5 or len(self.blocks) != 5 or min(*self.widths, self.neck) < 1 or min(self.blocks) < 0:
            raise ValueError(f"a detector needs five positive widths and five numbers of blocks, got {self}.")


class HandDetector(nn.Module):
    """The network.

    Args:
        spec: how it is built.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, spec: DetectorSpec | None = None) -> None:
        super().__init__()
        self.spec = spec or DetectorSpec()
        widths, neck = self.spec.widths, self.spec.neck
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1), persistent=False)
        self.stages = nn.ModuleList(
            nn.Sequential(_convolution(before, width, stride=2), *(_Residual(width) for _ in range(blocks)))
            for before, width, blocks in zip((3, *widths), widths, self.spec.blocks, strict=False)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, neck, 1) for width in widths[2:])
        self.mix = nn.ModuleList(_convolution(neck, neck) for _ in widths[3:])
        self.head = _convolution(neck, neck)
        self.output = nn.Conv2d(neck, 5, 1)
        nn.init.normal_(self.output.weight, std=0.01)
        with torch.no_grad():
            reach = math.log(_FIRST_REACH / STRIDE)
            assert self.output.bias is not None
            self.output.bias.copy_(torch.tensor([-math.log(1 / _RARE - 1), *[reach] * 4]))

    def forward(self, pictures: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 5 rows columns"]:
        """For each cell the logit of its score, and what `reach_of` turns into the distances to the box's sides."""
        x = (pictures.float() - self.mean) / self.deviation
        levels: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        top = self.lateral[-1](levels[-1])
        for level, lateral, mix in zip(levels[-2:1:-1], list(self.lateral)[-2::-1], self.mix, strict=True):
            top = mix(lateral(level) + F.interpolate(top, scale_factor=2.0, mode="nearest"))
        found: Tensor = self.output(self.head(top))
        return found


def boxes_of(found: Float[Tensor, "B 5 rows columns"]) -> Float[Tensor, "B rows columns 4"]:
    """The box of every cell, x1, y1, x2, y2 in pixels of the picture."""
    reach = STRIDE * torch.exp(found[:, 1:].float().clamp(max=_LARGEST_LOG)).permute(0, 2, 3, 1)
    middle = cell_middles(found.shape[2], found.shape[3], found.device)
    return torch.cat([middle - reach[..., :2], middle + reach[..., 2:]], dim=-1)


def cell_middles(rows: int, columns: int, device: torch.device | None = None) -> Float[Tensor, "rows columns 2"]:
    """Where the middle of every cell lies, x and y in pixels of the picture: (h + 0.5) 8 - 0.5."""
    x, y = ((torch.arange(count, device=device, dtype=torch.float32) + 0.5) * STRIDE - 0.5 for count in (columns, rows))
    return torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)], dim=-1)


def save_detector(path: Path, network: HandDetector, notes: dict[str, Any]) -> None:
    """Write a detector as one safetensors file, whole or not at all.

    Args:
        path: the file.
        network: the detector.
        notes: whatever is worth knowing of it, as JSON can hold it.

    Raises:
        ValueError: the file cannot be written.
    """
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    header = {"version": FILE_VERSION, **asdict(network.spec), "notes": notes}
    with replacing(path) as temporary:
        save_file(tensors, temporary, {_KEY: json.dumps(header)})


def load_detector(path: Path) -> tuple[HandDetector, dict[str, Any]]:
    """A detector that `save_detector` wrote, in evaluation mode on the CPU, and its notes.

    Raises:
        ValueError: there is no such file, or it holds no detector that this version knows.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        spec = DetectorSpec(tuple(header["widths"]), tuple(header["blocks"]), int(header["neck"]))
        network = HandDetector(spec)
        network.load_state_dict(tensors)
        known, notes = int(header["version"]) <= FILE_VERSION, dict(header["notes"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is no hand detector that knuckle saved ({error}).") from error
    if not known:
        raise ValueError(f"{path} was written by a newer knuckle; update knuckle.")
    return network.eval(), notes


def _convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    """Two 3x3 convolutions and a way around them (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Float[Tensor, "B width h w"]) -> Float[Tensor, "B width h w"]:
        return F.relu(x + self.second(self.first(x)))
