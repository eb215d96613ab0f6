"""Keypoint networks. Each method is one file: its network, its loss and its decoding.

Needs PyTorch: `pip install 'knuckle[train]'`.
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("keypoint networks need PyTorch: pip install 'knuckle[train]'.") from error

from collections.abc import Callable
from typing import Final

from knuckle.methods.base import Decoded, Method, Outputs, Targets, merge
from knuckle.methods.cpm import CPM
from knuckle.methods.heatmap import Heatmap
from knuckle.methods.integral import Integral
from knuckle.methods.pyramid import Pyramid
from knuckle.methods.rle import RLE
from knuckle.methods.sequential import SequentialStages
from knuckle.methods.simcc import SimCC

METHODS: Final[dict[str, Callable[..., Method]]] = {
    Heatmap.name: Heatmap,
    Integral.name: Integral,
    RLE.name: RLE,
    CPM.name: CPM,
    SimCC.name: SimCC,
    SequentialStages.name: SequentialStages,
    Pyramid.name: Pyramid,
}
"""How to build a method by its name: METHODS["heatmap"](backbone="resnet50", size=256, ...)."""

__all__ = [
    "CPM",
    "METHODS",
    "RLE",
    "Decoded",
    "Heatmap",
    "Integral",
    "Method",
    "Outputs",
    "Pyramid",
    "SequentialStages",
    "SimCC",
    "Targets",
    "merge",
]
