"""Rendered hands: an endless, exactly labelled dataset made by code.

`render` makes pictures of one hand each with their labels, `render_scenes` whole scenes; a `SceneConfig` says
what varies. Needs PyTorch:
`pip install 'knuckle[train]'`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knuckle.render.config import SceneConfig
    from knuckle.render.dataset import render, render_scenes

_HOMES = {
    "SceneConfig": "knuckle.render.config",
    "render": "knuckle.render.dataset",
    "render_scenes": "knuckle.render.dataset",
}

__all__ = ["SceneConfig", "render", "render_scenes"]


def __getattr__(name: str) -> object:
    """Fetches a public name when it is first used, so that the mesh alone can be had without the rest."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'knuckle.render' has no attribute {name!r}")
