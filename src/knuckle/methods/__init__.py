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
from knuckle.methods.heatmap import Heatmap

METHODS: Final[dict[str, Callable[..., Method]]] = {Heatmap.name: Heatmap}
"""How to build a method by its name: METHODS["heatmap"](backbone="resnet50", size=256, ...)."""

__all__ = ["METHODS", "Decoded", "Heatmap", "Method", "Outputs", "Targets", "merge"]
