"""From a model of PyTorch to a file for OpenVINO: as float32, with float16 weights, to be run in bfloat16, or in int8.

The ONNX file is converted, so the graph is the same. int8 is post-training quantisation by NNCF (the "Post-training
Quantization" of its documentation): the ranges of all activations are measured on crops of real hands, and backbone and
head run in whole numbers. The last convolution and everything after the network stay in float32, where a step of one
in 256 would be a step of the coordinates.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from jaxtyping import UInt8

from knuckle.export.onnx import export_onnx, metadata_of
from knuckle.formats.files import replacing
from knuckle.predict.graph_engine import METADATA_KEY
from knuckle.predict.load import StoredModel

if TYPE_CHECKING:
    from openvino import Model

Precision = Literal["fp32", "fp16", "bf16", "int8"]

SUFFIX: Final = ".xml"

EXACT: Final = ("/final/", "/hand_head/")
"""Layers of the network that int8 leaves in float32, by a part of their operations' names."""


def export_openvino(
    model: StoredModel,
    path: Path,
    precision: Precision = "fp32",
    calibration: UInt8[np.ndarray, "n S S 3"] | None = None,
) -> None:
    """Write a model as an .xml file with its .bin beside it; `knuckle.load` reads it.

    Args:
        model: what `knuckle.predict.load.read_model` gives.
        path: the file, .xml.
        precision: "fp32"; "fp16" stores weights so and computes in float32; "bf16" also computes in bfloat16, which
            pays on processors that can; "int8" quantises.
        calibration: crops of hands that int8 takes the ranges from; a hundred or more, as they will come.

    Raises:
        ValueError: the name does not end in .xml, the file cannot be written, or int8 has no crops.
        ImportError: openvino, onnx or, for int8, nncf is not installed.
    """
    if path.suffix != SUFFIX:
        raise ValueError(f"{path}: an OpenVINO file ends in {SUFFIX}; name it so.")
    if precision == "int8" and (calibration is None or len(calibration) == 0):
        raise ValueError("int8 takes its ranges from crops of hands: give some.")
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise ImportError("writing OpenVINO files needs openvino: pip install 'knuckle[export,openvino]'.") from error
    with TemporaryDirectory() as name:
        folder = Path(name)
        export_onnx(model, folder / "m.onnx")
        _require_every_input(folder / "m.onnx")
        graph = openvino.convert_model(folder / "m.onnx")
        if precision == "int8":
            assert calibration is not None, "checked above"
            graph = _quantised(graph, calibration, model.spec.rule.box_side)
        graph.set_rt_info(json.dumps({**metadata_of(model), "precision": precision}), [METADATA_KEY])
        openvino.save_model(graph, folder / "m.xml", compress_to_fp16=precision in ("fp16", "bf16"))
        for file, written in ((path.with_suffix(".bin"), "m.bin"), (path, "m.xml")):
            with replacing(file) as temporary:
                temporary.write_bytes((folder / written).read_bytes())


def _require_every_input(path: Path) -> None:
    """Take away the defaults of an ONNX file's inputs, as OpenVINO would make constants of these inputs."""
    import onnx

    written = onnx.load(str(path))
    inputs = {given.name for given in written.graph.input}
    kept = [tensor for tensor in written.graph.initializer if tensor.name not in inputs]
    del written.graph.initializer[:]
    written.graph.initializer.extend(kept)
    onnx.save(written, str(path))


def _quantised(graph: Model, crops: UInt8[np.ndarray, "n S S 3"], box_side: float) -> Model:
    try:
        import nncf
    except ModuleNotFoundError as error:
        raise ImportError("int8 needs nncf: pip install 'knuckle[export,openvino]'.") from error
    names = [operation.get_friendly_name() for operation in graph.get_ops()]
    # Operations of layers are named /layer/operation; those of normalising, decoding and calibrating have one slash.
    exact = [name for name in names if name.count("/") < 2 or any(part in name for part in EXACT)]
    inputs = {given.get_any_name() for given in graph.inputs}

    def feed(row: int) -> dict[str, Any]:
        values = {"crops": crops[row : row + 1], "flip_test": np.array(False), "box_side": np.float32(box_side)}
        return {name: value for name, value in values.items() if name in inputs}

    with _quiet():
        quantised: Model = nncf.quantize(
            graph,
            nncf.Dataset(list(range(len(crops))), feed),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(crops),
            ignored_scope=nncf.IgnoredScope(names=exact, validate=False),
        )
    return quantised


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """NNCF names every operation that it leaves alone, and all that it says goes to stdout: here its progress goes to
    stderr, and of its log warnings alone.
    """
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)
