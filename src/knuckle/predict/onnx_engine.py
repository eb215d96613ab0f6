"""The engine for ONNX files that `knuckle export` wrote; it needs onnxruntime and no PyTorch.

Letters in shapes: B hands in a batch, S the side of the crop in pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from knuckle.predict.graph_engine import (
    METADATA_KEY,
    GraphEngine,
    GraphModel,
    NotRunnableError,
    check_size,
    graph_model,
    read_metadata,
)
from knuckle.predict.onnx_session import NOTHING, session_options

_PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxEngine(GraphEngine):
    """Runs the graph of an ONNX file.

    Args:
        path: the file.
        device: "cpu", "cuda" or "cuda:1"; None takes the first GPU where this onnxruntime can use one, else the CPU.
        threads: that share one forward pass on the CPU; None takes one a core.

    Raises:
        ValueError: the file is no readable ONNX file of knuckle, or onnxruntime has no such device.
    """

    def __init__(self, path: Path, device: str | None = None, threads: int | None = None) -> None:
        import onnxruntime

        check_size(path)
        options = session_options(threads, NOTHING)
        providers = _providers(device, onnxruntime.get_available_providers())
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime's own types share no base but this
            raise NotRunnableError(path, "onnxruntime", error) from error
        self.metadata = read_metadata(path, self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY))
        self._names = [output.name for output in self._session.get_outputs()]

    def outputs(self, crops: UInt8[np.ndarray, "B S S 3"], flip_test: bool) -> dict[str, NDArray[np.float32]]:
        """As every graph."""
        values = self._session.run(self._names, {"crops": crops, "flip_test": np.array(flip_test)})
        return dict(zip(self._names, values, strict=True))

    @property
    def output_names(self) -> list[str]:
        """As every graph."""
        return self._names

    @property
    def crops_shape(self) -> tuple[int | None, ...]:
        """As every graph."""
        shapes: dict[str, list[Any]] = {given.name: given.shape for given in self._session.get_inputs()}
        return tuple(side if isinstance(side, int) else None for side in shapes.get("crops", ()))


def load_onnx(path: Path, device: str | None = None, threads: int | None = None) -> GraphModel:
    """A file that `knuckle export` wrote.

    Raises:
        ValueError: as `OnnxEngine`, or what the file says of itself is damaged.
    """
    return graph_model(path, OnnxEngine(path, device, threads))


def _providers(device: str | None, available: list[str]) -> list[Any]:
    kind, _, number = (device or "").partition(":")
    if device is None:
        return [name for name in (_PROVIDERS["cuda"], _PROVIDERS["cpu"]) if name in available]
    if kind not in _PROVIDERS or _PROVIDERS[kind] not in available or (number and not number.isdecimal()):
        raise ValueError(f"onnxruntime has no device {device!r} here; knuckle doctor lists what this machine has.")
    return [(_PROVIDERS[kind], {"device_id": int(number)}) if kind == "cuda" and number else _PROVIDERS[kind]]
