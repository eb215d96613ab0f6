"""Unpickling that can yield plain containers and numeric numpy arrays, and can do nothing else.

A pickle is a program: it names functions and calls them. Here no name in the file reaches the
function it means. The few that numpy writes for arrays are answered with the stand-ins below,
which check their arguments; every other name is refused before anything is called. Not even
`numpy.ndarray` is handed out: called by a hostile file, it makes Python objects out of raw bytes.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray


def read_pickle(path: Path) -> Any:
    """The content of a pickle of plain containers, numbers, text and numeric numpy arrays.

    Written by any protocol, Python 2 included, and by numpy before and after it renamed
    `numpy.core` to `numpy._core`. Arrays come as (a subclass of) `numpy.ndarray`.

    Raises:
        ValueError: the file is missing, truncated, no pickle, or asks for anything else; nothing
            in it has been executed.
    """
    try:
        with path.open("rb") as file:
            return _Unpickler(file, encoding="latin1").load()  # Python 2 wrote array bytes as text
    except _RefusedError as error:
        raise ValueError(
            f"{path} is refused: it asks for {error}, but annotations hold numbers, text and numeric numpy arrays only."
        ) from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error
    # Garbage can trip the unpickler and numpy in any way; each one means the same to the reader.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path} is truncated or not a pickle ({type(error).__name__}: {reason}); copy or download it again."
        ) from error


class _RefusedError(pickle.UnpicklingError):
    pass


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        stand_in = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if stand_in is None:
            raise _RefusedError(f"{module}.{name}")
        return stand_in


class _DType:
    """A numeric dtype under construction: made from its code, then told its byte order."""

    def __init__(self, code: str) -> None:
        if not re.fullmatch(r"[<>|=]?([biuf])\d{1,2}", code):
            raise _RefusedError(f"an array of dtype {code!r}")
        self.dtype: np.dtype[Any] = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, byte_order, subarray, names, fields, *_ = state
        if (subarray, names, fields) != (None, None, None):
            raise _RefusedError("an array of a compound dtype")
        self.dtype = self.dtype.newbyteorder(byte_order)


class _Array(np.ndarray[Any, Any]):
    """An array that a pickle fills through a checked state."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_, shape, dtype, is_fortran, data = state
        raw = data.encode("latin1") if isinstance(data, str) else data
        _check_bytes(raw, dtype, shape)
        super().__setstate__((1, shape, dtype.dtype, bool(is_fortran), raw))  # type: ignore[arg-type]  # plain bool


def _check_bytes(raw: object, dtype: object, shape: object) -> None:
    if not isinstance(dtype, _DType):
        raise _RefusedError("an array whose dtype is no dtype")
    if not isinstance(raw, bytes | bytearray):
        raise _RefusedError("an array of Python objects")
    if not isinstance(shape, tuple) or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise _RefusedError(f"an array of shape {shape}")
    if len(raw) != math.prod(shape) * dtype.dtype.itemsize:
        raise _RefusedError(f"an array of shape {shape} in {len(raw)} bytes")


def _dtype(code: str, *_: object) -> _DType:
    return _DType(code)


def _reconstruct(*_: object) -> _Array:
    return _Array((0,), dtype=np.uint8)


def _frombuffer(buffer: bytes | bytearray, dtype: _DType, shape: tuple[int, ...], order: str) -> NDArray[Any]:
    _check_bytes(buffer, dtype, shape)
    return np.frombuffer(buffer, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: _DType, data: bytes | str) -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else data
    _check_bytes(raw, dtype, ())
    return np.frombuffer(raw, dtype.dtype)[0]


def _encode(text: str, encoding: str) -> bytes:
    """Protocol 2 writes bytes as text to be encoded; any other codec would be a door to other modules."""
    if encoding != "latin1":
        raise _RefusedError(f"the codec {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How protocol 2 writes the content of an empty array."""
    return b""


# What numpy writes for an array. No stand-in is a class, so none can be instantiated by the file.
_STAND_INS: Final[dict[tuple[str, str], Callable[..., object] | str]] = {
    ("numpy", "ndarray"): "numpy.ndarray",  # only ever an argument of _reconstruct
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
}
