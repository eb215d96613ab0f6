"""OpenVINO files give what PyTorch gives, to rounding in float32; in lower precision what is lost is told."""

from __future__ import annotations

import importlib
import itertools
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import knuckle
from knuckle.cli import main
from knuckle.export import Crops, export_openvino, export_verified, in_two, verify
from knuckle.hands import Hands
from knuckle.methods.weights import save_model
from knuckle.predict.graph_engine import NotRunnableError
from knuckle.predict.openvino_engine import load_openvino
from knuckle.predict.torch_engine import TorchEngine
from tests.export.models import SIZE, UNTAUGHT, calibration, noise_crops, stored, with_hand_head
from tests.predict.centroid import light_at, save_rgb

pytest.importorskip("openvino")


def test_float32_gives_what_pytorch_gives(tmp_path: Path) -> None:
    model, crops = stored("rle", calibration("covariance")), noise_crops()
    found = export_verified(model, tmp_path / "m.xml", crops)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin", "m.xml"]
    for part in found:
        assert part.largest < 0.005
        assert part.covariance is not None
        assert part.covariance < 1e-3
        assert part.confidence is not None
        assert part.confidence < 2e-3
        assert [ours == theirs for ours, theirs in part.pck.values()] == [True, True]
    again = load_openvino(tmp_path / "m.xml")
    assert again.rule == model.spec.rule
    assert again.calibration == model.calibration
    assert np.isnan(again.engine.find(crops.pixels, True).xy_crop[:, UNTAUGHT]).all()


@pytest.mark.parametrize("method", ["heatmap", "integral", "simcc"])
def test_other_methods(tmp_path: Path, method: str) -> None:
    options: dict[str, Any] = {} if method == "simcc" else {"width": 8}
    model = stored(method, **options)
    export_openvino(model, tmp_path / "m.xml")
    for part in verify(TorchEngine(model.method), load_openvino(tmp_path / "m.xml"), noise_crops()):
        assert part.median < 1e-3
        assert part.largest < 0.05, "of an untrained network, whose maps are flat"


def test_lower_precision_differs_and_takes_less_room(tmp_path: Path) -> None:
    model, crops = stored("rle", calibration("covariance")), noise_crops()
    export_openvino(model, tmp_path / "fp32.xml")
    full = (tmp_path / "fp32.bin").stat().st_size
    fp16 = export_verified(model, tmp_path / "fp16.xml", crops, None, precision="fp16")
    assert (tmp_path / "fp16.bin").stat().st_size < 0.6 * full
    assert all(1e-4 < part.largest < 1 for part in fp16), "rounded to 11 bits"
    with pytest.raises(RuntimeError, match=r"more than the limit of 1e-05; nothing was written"):
        export_verified(model, tmp_path / "none.xml", crops, 1e-5, precision="fp16")
    assert not (tmp_path / "none.bin").exists()
    # bf16 is a wish: processors without it compute in float32.
    bf16 = export_verified(model, tmp_path / "bf16.xml", crops, None, precision="bf16")
    assert all(part.largest < 10 for part in bf16)


def test_int8(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    model, crops = stored("rle"), noise_crops(12)
    found = export_verified(model, tmp_path / "m.xml", crops, None, precision="int8", calibration=crops)
    assert all(1e-3 < part.median < 0.1 * SIZE for part in found)
    quantised = re.findall(r'name="([^"]+)/fq_', (tmp_path / "m.xml").read_text())
    assert any("backbone" in name for name in quantised)
    assert not [name for name in quantised if "/final/" in name]
    assert len({name for name in quantised if name.startswith("/") and name.count("/") < 2}) <= 1, "the pixels alone"
    with pytest.raises(ValueError, match="ranges from crops of hands"):
        export_openvino(model, tmp_path / "n.xml", "int8")


def test_int8_of_a_calibrated_model_with_a_hand_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `light` is: everything that a graph can compute comes after the quantised layers, for any batch."""
    pytest.importorskip("nncf")
    model, crops = with_hand_head(stored("pyramid", calibration("covariance"), width=8)), noise_crops(6)
    level = logging.getLogger("nncf").level
    found = export_verified(model, tmp_path / "m.xml", crops, None, precision="int8", calibration=crops)
    stated = np.array([(part.confidence, part.probability, part.covariance) for part in found], dtype=np.float64)
    assert np.isfinite(stated).all()
    assert all(part.median < 0.1 * SIZE for part in found)
    engine = load_openvino(tmp_path / "m.xml").engine
    shapes = {"calibrated_covariance_crop": (21, 2, 2), "confidence": (21,), "score": (), "left": ()}
    for batch, flip_test in itertools.product((1, 2, 5), (False, True)):
        outputs = engine.outputs(crops.pixels[:batch], flip_test)
        assert {name: outputs[name].shape for name in shapes} == {name: (batch, *own) for name, own in shapes.items()}
        assert np.isnan(outputs["confidence"][:, [UNTAUGHT, 11]]).all(), "never taught, never calibrated"
        assert (np.isnan(outputs["confidence"]).sum(axis=1) == 2).all()
    assert capsys.readouterr().out == "", "what NNCF does is no result"
    assert logging.getLogger("nncf").level == level


def test_a_file_that_openvino_refuses_is_told_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Exception from a.cpp:1:\nException from b.cpp:2:\nCheck 'c' failed at d.hpp:3:\nShapes differ.\n\n"

    def refuse(candidate: Path) -> None:
        raise NotRunnableError(candidate, "OpenVINO", RuntimeError(said))

    monkeypatch.setattr(importlib.import_module("knuckle.export.verify"), "load_openvino", refuse)
    with pytest.raises(RuntimeError) as refusal:
        export_verified(stored("rle"), tmp_path / "mine.xml", noise_crops(2))
    reason = "Check 'c' failed at d.hpp:3: Shapes differ"
    assert str(refusal.value) == f"{tmp_path / 'mine.xml'} cannot be run by OpenVINO ({reason}); nothing was written."
    assert not list(tmp_path.iterdir())


def test_crops_to_calibrate_with_share_no_group_with_those_to_verify_on() -> None:
    crops = noise_crops(6)
    grouped = Crops(crops.pixels, crops.image_to_crop, crops.hands.replace(group=[7, 7, 9, 9, 11, 11]))
    first, second = in_two(grouped)
    assert first.hands.group.tolist() == [7, 7, 11, 11]
    assert second.hands.group.tolist() == [9, 9]
    np.testing.assert_array_equal(second.pixels, crops.pixels[2:4])
    one = Crops(crops.pixels, crops.image_to_crop, crops.hands.replace(group=[7] * 6))
    assert [len(part.pixels) for part in in_two(one)] == [3, 3]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    model = stored("rle")
    save_model(tmp_path / "m.safetensors", model.method, model.spec, {})
    at = np.random.default_rng(0).uniform(30, 80, (4, 21, 2)).astype(np.float32)
    for number in range(4):
        save_rgb(f"{number}.png", light_at((at[number, 0, 0], at[number, 0, 1])))
    hands = Hands(image=[f"{row}.png" for row in range(4)], xy=at, visibility=np.full((4, 21), 2), root=tmp_path)
    knuckle.write(hands, tmp_path / "truth.json", format="coco")
    assert main(["export", "m.safetensors", "--out", "m.xml", "--data", "truth.json"]) == 0
    shown = capsys.readouterr()
    assert "PCK@0.1, PyTorch > file" in shown.out
    assert "Wrote m.xml" in shown.err
    ours, theirs = (knuckle.load(name, device="cpu").predict("0.png", "full") for name in ("m.safetensors", "m.xml"))
    np.testing.assert_allclose(theirs.xy, ours.xy, atol=0.01)
    assert main(["export", "m.safetensors", "--out", "m.onnx", "--precision", "int8"]) == 2
    assert "int8 is for OpenVINO" in capsys.readouterr().err
