"""The models that come with knuckle: their names and their files.

Each is there twice, with the same weights: as an ONNX file, which the base install runs, and as a safetensors file for
PyTorch, to go on training with. `tools/ship.py` makes both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

SHIPPED: Final = ("light", "light_rendered", "accurate")
"""The names, the quickest first; `light_rendered` learnt from no photo, whatever `light` learns from."""

ONNX: Final = ".onnx"
SAFETENSORS: Final = ".safetensors"

ASSETS: Final = Path(__file__).parent / "assets"

MOST_BYTES: Final[Mapping[str, int]] = MappingProxyType(
    {"light": 10_000_000, "light_rendered": 10_000_000, "accurate": 16_000_000}
)
"""How large a file of each may be."""


def is_shipped(name: str | os.PathLike[str]) -> bool:
    """Whether a name means a model that comes with knuckle.

    The bare text "light" does, whatever lies in the working directory; a path of your own is told from it by its
    separator or suffix, "./light", or by being a `pathlib.Path`.
    """
    return isinstance(name, str) and name in SHIPPED


def shipped_file(name: str, suffix: str) -> Path:
    """The file of a model that comes with knuckle.

    Args:
        name: one of `SHIPPED`.
        suffix: `ONNX` or `SAFETENSORS`.

    Raises:
        ValueError: this version comes without it; says which it has.
    """
    path = ASSETS / f"{name}{suffix}"
    if not path.is_file():
        others = " and ".join(other for other in SHIPPED if (ASSETS / f"{other}{suffix}").is_file())
        raise ValueError(
            f"this version of knuckle comes without the model {name!r}"
            f"{f' (it has {others})' if others else ''}; for a file or folder of that name give ./{name}."
        )
    return path
