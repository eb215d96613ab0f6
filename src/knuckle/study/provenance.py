"""What a run depended on beside its data: how models were run, on which versions, and which files they were."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import knuckle
from knuckle.predict.load import engine_of, weights_file
from knuckle.predict.shipped import ONNX, is_shipped, shipped_file

if TYPE_CHECKING:
    from knuckle.predict import Predictor

PACKAGES: Final = ("numpy", "cv2", "torch", "onnxruntime", "openvino")
"""What numbers may depend on; those that a run loaded are recorded."""


def provenance(options: Mapping[str, Any], models: Mapping[str, Predictor | None]) -> dict[str, Any]:
    """Plain values for JSON.

    Args:
        options: how models were run, as asked for.
        models: by what the user called them; None stands for a file of predictions.
    """
    return {
        "options": dict(options),
        "versions": {"knuckle": knuckle.__version__, "python": platform.python_version()} | _loaded_versions(),
        "models": {name: {"device": _device(predictor), "sha256": digests(name)} for name, predictor in models.items()},
    }


def digests(name: str) -> dict[str, str]:
    """The SHA-256 of each file that a model's name means; none where it means no file, or a folder of predictions."""
    return {path.name: _sha256(path) for path in _files(name) if path.is_file()}


def _files(name: str) -> list[Path]:
    if is_shipped(name):
        return [shipped_file(name, ONNX)]
    path = Path(name)
    if engine_of(path) == "openvino":
        return [path, path.with_suffix(".bin")]
    if path.is_file():
        return [path]
    try:
        return [weights_file(name)]
    except ValueError:
        return []


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _device(predictor: Predictor | None) -> str | None:
    """Where PyTorch ran the model; other engines do not say."""
    device = getattr(predictor.engine, "device", None) if predictor is not None else None
    return None if device is None else str(device)


def _loaded_versions() -> dict[str, str]:
    return {name: str(sys.modules[name].__version__) for name in PACKAGES if name in sys.modules}
