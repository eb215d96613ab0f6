"""Models for programs without PyTorch: ONNX and OpenVINO files, verified against the network that they were made of."""

from __future__ import annotations

from knuckle.export.onnx import export_onnx
from knuckle.export.openvino import Precision, export_openvino
from knuckle.export.verify import (
    LIMIT,
    Crops,
    Verification,
    check_name,
    export_verified,
    in_two,
    labelled_crops,
    rendered_crops,
    verify,
)

__all__ = [
    "LIMIT",
    "Crops",
    "Precision",
    "Verification",
    "check_name",
    "export_onnx",
    "export_openvino",
    "export_verified",
    "in_two",
    "labelled_crops",
    "rendered_crops",
    "verify",
]
