"""The hand detector as an ONNX file: pictures in, a score and a box for every cell out.

Weights are stored in 16 bits and computed with in 32, which halves the file. The file needs onnxruntime alone.
"""

from __future__ import annotations

import copy
import json
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import knuckle
from knuckle.export.onnx import OPSET, check_name, store_halves
from knuckle.formats.files import replacing
from knuckle.methods.detector import HandDetector, boxes_of
from knuckle.predict.detector import FILE_VERSION, METADATA_KEY

_FEW = 64
"""Tensors of so few numbers are left in 32 bits."""


class DetectorGraph(nn.Module):
    """A detector with everything that can be done in the graph.

    Args:
        network: the detector.
    """

    def __init__(self, network: HandDetector) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: UInt8[Tensor, "B H W 3"]) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B n 4"]]:
        """Scores of all cells, 0 where one of the eight neighbours is surer, and their boxes."""
        found = self.network(pictures.permute(0, 3, 1, 2))
        scores = torch.sigmoid(found[:, :1])
        peaks = scores * (F.max_pool2d(scores, 3, stride=1, padding=1) == scores)
        return peaks.flatten(1), boxes_of(found).flatten(1, 2)


def export_detector(network: HandDetector, path: Path, *, side: int, least_score: float, notes: dict[str, Any]) -> None:
    """Write a detector as an ONNX file, whole or not at all; `knuckle.predict.detector.OnnxDetector` reads it.

    Args:
        network: the detector.
        path: the file, .onnx.
        side: longer side in pixels of the pictures that it is to see, a multiple of 32.
        least_score: below which its boxes are no hands, unless the user says otherwise.
        notes: what is worth knowing of it, as JSON can hold it.

    Raises:
        ValueError: the name does not end in .onnx, or the file cannot be written.
        ImportError: onnx is not installed.
    """
    check_name(path)
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise ImportError("writing ONNX files needs onnx: pip install 'knuckle[export]'.") from error
    graph = DetectorGraph(_folded(network)).eval()
    example = torch.zeros((1, side, side, 3), dtype=torch.uint8)
    content = {
        "version": FILE_VERSION,
        "knuckle": knuckle.__version__,
        "side": side,
        "least_score": least_score,
        "notes": notes,
    }
    with replacing(path) as temporary:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the older exporter's age, see `export_onnx`
            torch.onnx.export(
                graph,
                (example,),
                str(temporary),
                input_names=["pictures"],
                output_names=["scores", "boxes"],
                dynamic_axes={
                    "pictures": {0: "batch", 1: "height", 2: "width"},
                    "scores": {0: "batch", 1: "cells"},
                    "boxes": {0: "batch", 1: "cells"},
                },
                opset_version=OPSET,
                dynamo=False,
            )
        written = onnx.load(str(temporary))
        store_halves(written, _halved)
        onnx.helper.set_model_props(written, {METADATA_KEY: json.dumps(content)})
        onnx.checker.check_model(written)
        onnx.save(written, str(temporary))


def _folded(network: HandDetector) -> HandDetector:
    """A copy with every batch normalisation made part of the convolution before it."""
    twin = copy.deepcopy(network).cpu().eval()
    for module in list(twin.modules()):
        names = list(module._modules)
        for before, name in pairwise(names):
            convolution, norm = module._modules[before], module._modules[name]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module._modules[before] = torch.nn.utils.fuse_conv_bn_eval(convolution, norm)
                module._modules[name] = nn.Identity()
    return twin


def _halved(weight: NDArray[np.generic]) -> NDArray[np.generic]:
    """Rounded to float16, but for small tensors: the network was not rounded before, so this is where it is."""
    return weight.astype(np.float16) if weight.dtype == np.float32 and weight.size >= _FEW else weight
