"""The engine for ONNX files that `knuckle export` wrote; it needs onnxruntime and no PyTorch.

The file's metadata has one JSON text under "knuckle": the version of this layout, the version of knuckle that wrote
it, how the network was built and how it wants its crops, the names of the joints, and the calibration of models that
have one. The graph is described in `knuckle.export.graph`.

Letters in shapes: B hands in a batch, S the side of the crop in pixels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from knuckle.geometry import CropRule
from knuckle.metrics.conformal import Calibration
from knuckle.predict.engine import Engine
from knuckle.predict.points import CropPoints

FILE_VERSION: Final = 1
"""Raised when a file can no longer be read by older versions of knuckle."""

METADATA_KEY: Final = "knuckle"

_PROVIDERS: Final = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxEngine(Engine):
    """Runs the graph of an ONNX file.

    Args:
        path: the file.
        device: "cpu", "cuda" or "cuda:1"; None takes the first GPU where this onnxruntime can use one, else the CPU.

    Attributes:
        metadata: the JSON of the file, see above.

    Raises:
        ValueError: the file is no readable ONNX file of knuckle, or onnxruntime has no such device.
    """

    def __init__(self, path: Path, device: str | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors alone
        providers = _providers(device, onnxruntime.get_available_providers())
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime's own types share no base but this
            raise ValueError(f"{path} cannot be run by onnxruntime ({_first_line(error)}); export it again.") from error
        self.metadata = _metadata(path, self._session.get_modelmeta().custom_metadata_map)
        self._names = [output.name for output in self._session.get_outputs()]

    def find(self, crops: UInt8[np.ndarray, "B S S 3"], flip_test: bool) -> CropPoints:
        """As every engine."""
        found = self.outputs(crops, flip_test)
        return CropPoints(found["xy_crop"], found.get("covariance_crop"), found.get("score"), found.get("left"))

    def outputs(self, crops: UInt8[np.ndarray, "B S S 3"], flip_test: bool) -> dict[str, NDArray[np.float32]]:
        """Everything that the graph computes, by name."""
        values = self._session.run(self._names, {"crops": crops, "flip_test": np.array(flip_test)})
        return dict(zip(self._names, values, strict=True))


class OnnxModel(NamedTuple):
    """All that `load` needs of an ONNX file."""

    engine: OnnxEngine
    rule: CropRule
    calibration: Calibration | None


def load_onnx(path: Path, device: str | None = None) -> OnnxModel:
    """A file that `knuckle export` wrote.

    The graph computes calibrated uncertainty as well, for programs without knuckle; here it is computed by the same
    code as for weights of PyTorch, which knows each hand's own box.

    Raises:
        ValueError: as `OnnxEngine`, or what the file says of itself is damaged.
    """
    engine = OnnxEngine(path, device)
    try:
        rule = CropRule(**engine.metadata["rule"])
        stored = engine.metadata["calibration"]
        calibration = None if stored is None else Calibration.from_dict(stored)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} describes no model that can be run ({error}); export it again.") from error
    return OnnxModel(engine, rule, calibration)


def _metadata(path: Path, entries: dict[str, str]) -> dict[str, Any]:
    if METADATA_KEY not in entries:
        raise ValueError(f"{path} is an ONNX file of another program; give one that knuckle export wrote.")
    try:
        content: dict[str, Any] = json.loads(entries[METADATA_KEY])
        version = int(content["version"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} describes no model that can be run ({error}); export it again.") from error
    if version > FILE_VERSION:
        raise ValueError(f"{path} has layout {version}, this knuckle reads up to {FILE_VERSION}; update knuckle.")
    return content


def _providers(device: str | None, available: list[str]) -> list[Any]:
    kind, _, number = (device or "").partition(":")
    if device is None:
        return [name for name in (_PROVIDERS["cuda"], _PROVIDERS["cpu"]) if name in available]
    if kind not in _PROVIDERS or _PROVIDERS[kind] not in available or (number and not number.isdecimal()):
        raise ValueError(f"onnxruntime has no device {device!r} here; knuckle doctor lists what this machine has.")
    return [(_PROVIDERS[kind], {"device_id": int(number)}) if kind == "cuda" and number else _PROVIDERS[kind]]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
