"""Models for programs without PyTorch: ONNX files, verified against the network that they were made of."""

from __future__ import annotations

from knuckle.export.onnx import check_name, export_onnx
from knuckle.export.verify import (
    LIMIT,
    Crops,
    Verification,
    export_verified,
    labelled_crops,
    rendered_crops,
    verify,
)

__all__ = [
    "LIMIT",
    "Crops",
    "Verification",
    "check_name",
    "export_onnx",
    "export_verified",
    "labelled_crops",
    "rendered_crops",
    "verify",
]
