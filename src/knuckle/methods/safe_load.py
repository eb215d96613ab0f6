"""Weights from files that others wrote, without running anything they contain.

A torch checkpoint is a pickle, and a pickle can call any function. These readers go through torch's
restricted unpickler, which knows tensors and plain containers, and let it step over one thing more:
the numpy arrays that MMPose 1.x keeps in its metadata.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

WRAPPERS: Final = ("state_dict", "model")
"""Keys under which training programs keep the state dict beside other things."""


class _Ignored:
    """What a numpy array, dtype or number in a checkpoint becomes: nothing of it is read."""

    def __setstate__(self, state: object) -> None:
        pass


def _ignore(*_: object) -> _Ignored:
    return _Ignored()


# Not numpy's own: called by a hostile file, `numpy.ndarray` makes Python objects out of raw bytes. numpy renamed
# its core between 1.26 and 2.0, and files of both ages are about; an empty array's buffer is the call bytes().
_STAND_INS: Final[list[Callable[..., Any] | tuple[Callable[..., Any], str]]] = [
    _Ignored,
    *(
        (_ignore, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
    (_ignore, "numpy.ndarray"),
    (_ignore, "numpy.dtype"),
    (_ignore, "builtins.bytes"),
]


def load_checkpoint(path: Path) -> Any:
    """What a torch file (.pth, .pt; zip or older layout) holds: tensors, numbers, text, containers.

    Raises:
        ValueError: no such file, it is truncated or no torch file, or it wants to call a function.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file; check the path of the weights.")
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The two ways in which torch words a refusal; anything else is a pickle it cannot read.
        wanted = re.search(r"GLOBAL (\S+)|but got <class '(\S+)'>", str(error))
        if wanted:
            raise ValueError(
                f"{path} was not loaded, because it asks for {wanted[1] or wanted[2]}, which could run code; "
                f"where you trust it, save its state_dict alone with torch.save."
            ) from error
        raise _broken(path) from error
    except Exception as error:  # a damaged file can raise nearly anything
        raise _broken(path) from error


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """The named tensors of a .safetensors or torch file, taken out of a checkpoint's `state_dict` where there is one.

    Raises:
        ValueError: as `load_checkpoint`, or the file holds no named tensors.
    """
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    return named_tensors(path, load_checkpoint(path))


def named_tensors(path: Path, checkpoint: Any) -> dict[str, Tensor]:
    """The state dict of a loaded checkpoint, or of a bare one.

    Raises:
        ValueError: there is none.
    """
    state = checkpoint
    for wrapper in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
            break
    tensors = (
        {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
        if isinstance(state, Mapping)
        else {}
    )
    if not tensors:
        raise ValueError(f"{path} holds no state_dict; give a file of named tensors.")
    return tensors


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ValueError(f"{path} is no file; check the path of the weights.")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no safetensors file; fetch or write it again.") from error
    return tensors


def _broken(path: Path) -> ValueError:
    return ValueError(f"{path} is truncated or no torch checkpoint; fetch or write it again.")
