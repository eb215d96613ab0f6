"""knuckle finds the 21 keypoints of a human hand, says how sure it is of each, and shows where it fails.

Importing the package loads nothing: each public name is fetched when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from knuckle.formats import read, write
    from knuckle.hands import Hands
    from knuckle.predict.load import load
    from knuckle.predict.predictor import Predictor

_HOMES = {
    "Hands": "knuckle.hands",
    "Predictor": "knuckle.predict",
    "load": "knuckle.predict",
    "read": "knuckle.formats",
    "write": "knuckle.formats",
}

__all__ = ["Hands", "Predictor", "__version__", "load", "read", "write"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'knuckle' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
