"""Rounding to float16: what it moves, what it leaves alone, and that files hold the rounded network exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from safetensors.torch import load_file

from knuckle.export import export_onnx, verify
from knuckle.methods.half import FEWEST, compact, compact_array, rounded
from knuckle.methods.weights import load_model, save_model
from knuckle.predict.load import StoredModel
from knuckle.predict.onnx_engine import load_onnx
from knuckle.predict.torch_engine import TorchEngine
from tests.export.models import calibration, noise_crops, stored


def test_kernels_are_rounded_to_the_nearest_number_of_float16_and_vectors_stay() -> None:
    before = stored("heatmap", width=32).method
    weights = {name: tensor.clone() for name, tensor in before.state_dict().items()}
    after = rounded(before).state_dict()
    for name, tensor in weights.items():
        assert torch.equal(before.state_dict()[name], tensor), "the network given stays as it is"
        if tensor.dtype == torch.float32 and tensor.ndim >= 2 and tensor.numel() >= FEWEST:
            # NumPy rounds by itself, to nearest even.
            np.testing.assert_array_equal(after[name].numpy(), tensor.numpy().astype(np.float16).astype(np.float32))
            assert not torch.equal(after[name], tensor)
        else:
            assert torch.equal(after[name], tensor)


def test_a_weight_beyond_float16_is_named() -> None:
    model = stored("heatmap", width=32).method
    with torch.no_grad():
        model.get_parameter("deconvolutions.0.weight")[0, 0, 0, 0] = 70_000
    with pytest.raises(ValueError, match=r"deconvolutions\.0\.weight holds 70000, and float16 ends at 65504"):
        rounded(model)


def test_only_what_loses_nothing_is_stored_as_float16() -> None:
    exact = torch.arange(2048.0) / 8
    assert compact(exact).dtype == torch.float16
    assert compact(exact[: FEWEST - 1]).dtype == torch.float32
    for spoilt in (1 / 3, 1e-9, 1e6, torch.nan):
        inexact = exact.clone()
        inexact[7] = spoilt
        assert compact(inexact).dtype == torch.float32
    assert compact(torch.arange(2048)).dtype == torch.int64
    assert compact_array(exact.numpy()).dtype == np.float16
    assert compact_array(np.arange(2048)).dtype == np.int64


def test_both_files_hold_the_rounded_network_exactly(tmp_path: Path) -> None:
    full = stored("rle", calibration("covariance"))
    half = StoredModel(rounded(full.method), *full[1:])
    for name, model in (("full", full), ("half", half)):
        save_model(tmp_path / f"{name}.safetensors", model.method, model.spec, {}, model.calibration)
        export_onnx(model, tmp_path / f"{name}.onnx")
        again, _, _ = load_model(tmp_path / f"{name}.safetensors")
        for key, tensor in model.method.state_dict().items():
            assert torch.equal(again.state_dict()[key], tensor)
        found = verify(TorchEngine(again), load_onnx(tmp_path / f"{name}.onnx", "cpu"), noise_crops())
        assert max(part.largest for part in found) < 0.005
    assert any(tensor.dtype == torch.float16 for tensor in load_file(tmp_path / "half.safetensors").values())
    types = {tensor.data_type for tensor in onnx.load(str(tmp_path / "half.onnx")).graph.initializer}
    assert TensorProto.FLOAT16 in types
    for suffix in (".safetensors", ".onnx"):
        small, large = ((tmp_path / f"{name}{suffix}").stat().st_size for name in ("half", "full"))
        assert small < 0.75 * large
