"""The engine for OpenVINO files that `knuckle export` wrote: a graph (.xml) and its weights (.bin beside it).

The graph is the one of `knuckle.export.graph`, but that every input must be given. Its "precision" in the metadata says
how it is computed: bf16 where the file was made for it, else float32, also where weights are stored as float16 or int8;
left to itself, OpenVINO would compute in bf16 on processors that can.

Letters in shapes: B hands in a batch, S the side of the crop in pixels.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from knuckle.geometry import CropRule
from knuckle.predict.graph_engine import (
    METADATA_KEY,
    GraphEngine,
    GraphModel,
    NotRunnableError,
    check_size,
    graph_model,
    read_metadata,
)

HINTS = {"fp32": "f32", "fp16": "f32", "int8": "f32", "bf16": "bf16"}
"""What a file is computed in by its precision; int8 layers bring their own type."""


class OpenVinoEngine(GraphEngine):
    """Runs the graph of an OpenVINO file.

    Args:
        path: the .xml file.
        device: "cpu", "gpu" or "gpu:1", OpenVINO's GPUs being Intel's; None takes the CPU.
        threads: that share one forward pass on the CPU; None leaves it to OpenVINO.

    Raises:
        ValueError: the file is no readable OpenVINO file of knuckle, or OpenVINO has no such device.
        ImportError: openvino is not installed.
    """

    def __init__(self, path: Path, device: str | None = None, threads: int | None = None) -> None:
        try:
            import openvino
        except ModuleNotFoundError as error:
            raise ImportError(f"running {path} needs openvino: pip install 'knuckle[openvino]'.") from error
        for file in (path, path.with_suffix(".bin")):
            check_size(file)
        core = openvino.Core()
        place = _device(device, core.available_devices)
        try:
            # Not mapped into memory: a file that changes while it is used would end the process.
            graph = core.read_model(path, config={"ENABLE_MMAP": False})
            said = graph.get_rt_info([METADATA_KEY]).astype(str) if graph.has_rt_info([METADATA_KEY]) else None
        except Exception as error:  # OpenVINO's own types share no base but this
            raise NotRunnableError(path, "OpenVINO", error) from error
        self.metadata = read_metadata(path, said)
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": HINTS.get(str(self.metadata.get("precision")), "f32"),
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._model = core.compile_model(graph, place, settings)
        except Exception as error:
            raise NotRunnableError(path, "OpenVINO", error) from error
        self._defaults = {
            name: np.array(value, dtype=np.float32)
            for name, value in (("box_side", _box_side(self.metadata)),)
            if value is not None and name in self._shapes()
        }
        self._own = threading.local()

    def outputs(self, crops: UInt8[np.ndarray, "B S S 3"], flip_test: bool) -> dict[str, NDArray[np.float32]]:
        """As every graph; each thread has a request of its own, which holds buffers and no results."""
        if not hasattr(self._own, "request"):
            self._own.request = self._model.create_infer_request()
        given = {"crops": crops, "flip_test": np.array(flip_test), **self._defaults}
        found = self._own.request.infer(given)
        return {output.get_any_name(): value.copy() for output, value in found.items()}

    @property
    def output_names(self) -> list[str]:
        """As every graph."""
        return [output.get_any_name() for output in self._model.outputs]

    @property
    def crops_shape(self) -> tuple[int | None, ...]:
        """As every graph."""
        return self._shapes().get("crops", ())

    def _shapes(self) -> dict[str, tuple[int | None, ...]]:
        return {
            given.get_any_name(): tuple(side.get_length() if side.is_static else None for side in given.partial_shape)
            for given in self._model.inputs
        }


def load_openvino(path: Path, device: str | None = None, threads: int | None = None) -> GraphModel:
    """A file that `knuckle export` wrote.

    Raises:
        ValueError: as `OpenVinoEngine`, or what the file says of itself is damaged.
        ImportError: openvino is not installed.
    """
    return graph_model(path, OpenVinoEngine(path, device, threads))


def _box_side(metadata: dict[str, Any]) -> float | None:
    """The graph's default for the box side, which an OpenVINO input cannot carry."""
    try:
        return CropRule.from_dict(metadata["rule"]).box_side
    except (KeyError, ValueError):
        return None  # graph_model says what is wrong


def _device(device: str | None, available: list[str]) -> str:
    kind, _, number = (device or "cpu").partition(":")
    place = f"{kind.upper()}.{number}" if number else kind.upper()
    if kind not in ("cpu", "gpu") or not any(name == place or name.startswith(f"{place}.") for name in available):
        raise ValueError(f"OpenVINO has no device {device!r} here, it has {', '.join(available).lower()}.")
    return place
