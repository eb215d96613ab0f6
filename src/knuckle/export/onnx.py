"""From a model of PyTorch to one ONNX file with everything in it: pixels in, calibrated keypoints out."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

import knuckle
from knuckle.export.graph import Graph
from knuckle.formats.files import replacing
from knuckle.methods.half import compact_array
from knuckle.predict.graph_engine import FILE_VERSION, METADATA_KEY
from knuckle.predict.load import StoredModel
from knuckle.skeleton import JOINT_NAMES

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET: Final = 18
"""Of the ONNX operators; onnxruntime reads it from 1.14 on."""


def export_onnx(model: StoredModel, path: Path) -> None:
    """Write a model as an ONNX file, whole or not at all; `knuckle.load` reads it.

    PyTorch's older exporter follows the graph. It is quicker by a factor of ten than the newer one, whose results are
    the same, and needs no further package than onnx. Batch norms stay beside the convolutions before them, which
    run-times join when they load the file: so the file holds the model's own weights, and those that float16 holds
    exactly (`knuckle.methods.half.rounded`) take half the room.

    Args:
        model: what `knuckle.predict.load.read_model` gives.
        path: the file, .onnx.

    Raises:
        ValueError: the name does not end in .onnx, or the file cannot be written.
        ImportError: onnx is not installed.
    """
    check_name(path)
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise ImportError("writing ONNX files needs onnx: pip install 'knuckle[export]'.") from error
    graph = Graph(copy.deepcopy(model.method).cpu().eval(), model.calibration).eval()
    size = model.spec.rule.size
    defaults: dict[str, bool | float] = {"flip_test": False}
    if model.calibration is not None:
        defaults["box_side"] = model.spec.rule.box_side
    example = (
        torch.zeros((2, size, size, 3), dtype=torch.uint8),
        *(torch.tensor(value) for value in defaults.values()),
    )
    with torch.no_grad():
        outputs = list(graph.compute(*example))
    with replacing(path) as temporary:
        with warnings.catch_warnings():
            # Of the older exporter's age, and of Python numbers that become constants, as they should.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph,
                example,
                str(temporary),
                input_names=["crops", *defaults],
                output_names=outputs,
                dynamic_axes={name: {0: "batch"} for name in ("crops", *outputs)},
                opset_version=OPSET,
                training=torch.onnx.TrainingMode.PRESERVE,  # of a graph in evaluation mode; EVAL would join batch norms
                dynamo=False,
            )
        written = onnx.load(str(temporary))
        store_halves(written, compact_array)
        _give_defaults(written, defaults)
        onnx.helper.set_model_props(written, {METADATA_KEY: json.dumps(metadata_of(model))})
        onnx.checker.check_model(written)
        onnx.save(written, str(temporary))


def metadata_of(model: StoredModel) -> dict[str, Any]:
    """What the file says of itself, in types that JSON has."""
    return {
        "version": FILE_VERSION,
        "knuckle": knuckle.__version__,
        **asdict(model.spec),
        "joints": list(JOINT_NAMES),
        "notes": model.notes,
        "calibration": None if model.calibration is None else model.calibration.to_dict(),
    }


def check_name(path: Path) -> None:
    """Refuse a file name that no ONNX file has, before anything is computed.

    Raises:
        ValueError: it does not end in .onnx.
    """
    if path.suffix != ".onnx":
        raise ValueError(f"{path}: an ONNX file ends in .onnx; name it so.")


def store_halves(model: ModelProto, halved: Callable[[NDArray[np.generic]], NDArray[np.generic]]) -> None:
    """Store weights as float16 with a cast back to float32, which run-times carry out when they load the file.

    Args:
        model: the graph; it is changed.
        halved: gives a weight as float16 where it is to be stored so, else as it is.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        array = halved(numpy_helper.to_array(tensor))
        if array.dtype == np.float16 and tensor.data_type == TensorProto.FLOAT:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(array, f"{name}.half"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _give_defaults(model: ModelProto, values: dict[str, bool | float]) -> None:
    """An input that is an initializer, too, need not be given (ONNX IR specification, "Graphs")."""
    from onnx import numpy_helper

    for name, value in values.items():
        array: NDArray[np.generic] = np.array(value, dtype=np.bool_ if isinstance(value, bool) else np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
