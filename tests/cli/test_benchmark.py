"""knuckle benchmark: a line for each engine and number of threads, as JSON, too, and a sentence for what is missing."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from knuckle.benchmark.run import variants
from knuckle.cli import main
from knuckle.export import export_onnx
from knuckle.methods.weights import save_model
from knuckle.predict import shipped
from knuckle.predict.load import EngineName
from tests.export.models import stored
from tests.predict.centroid import light_at, save_rgb

ARGUMENTS = ["--repeats", "2", "--warm-up", "1", "--threads", "1"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model in two forms."""
    monkeypatch.chdir(tmp_path)
    model = stored("rle")
    save_model(tmp_path / "m.safetensors", model.method, model.spec, {})
    export_onnx(model, tmp_path / "m.onnx")
    return tmp_path


def test_engines_are_measured_apart_and_written_down(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["m.onnx", "m.safetensors", "--engine", "torch", *ARGUMENTS, "--out", "speed/x.json"]
    assert main(["benchmark", *arguments]) == 0
    title, header, _, first, second = capsys.readouterr().out.splitlines()
    assert title.startswith("Milliseconds a frame, median / 95th percentile, on ")
    assert header.split() == ["model", "engine", "threads", "decode", "detect", "crop", "network", "draw", "whole"]
    assert first.split()[:3] == ["m.onnx", "onnxruntime", "1"]
    assert second.split()[:3] == ["m.safetensors", "torch", "1"]
    content = json.loads(Path("speed/x.json").read_text())
    assert content["machine"]["cores"] >= 1
    assert content["frames"] == {"count": 8, "made": True, "hands": [1] * 8}
    assert content["settings"] == {"repeats": 2, "warm_up": 1, "flip_test": False}
    for line in content["milliseconds"]:
        stages = line["stages"]
        assert stages["network"]["repeats"] == 2
        assert 0 < stages["network"]["p50"] <= stages["network"]["p95"]
        assert stages["whole"]["p95"] > stages["decode"]["p50"]


def test_own_photos_with_boxes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        save_rgb(f"{name}.png", light_at((40, 30), (80, 60)))
    (place / "boxes.csv").write_text("image,x1,y1,x2,y2\na.png,20,10,60,50\na.png,10,10,50,50\n")
    arguments = ["m.onnx", *ARGUMENTS, "--photos", "a.png", "--photos", "b.png", "--boxes", "boxes.csv"]
    assert main(["benchmark", *arguments, "--out", "x.json"]) == 0
    content = json.loads(Path("x.json").read_text())
    assert content["frames"] == {"count": 1, "made": False, "hands": [2]}, "b has no boxes"
    assert main(["benchmark", "m.onnx", "--boxes", "boxes.csv"]) == 2
    assert "--boxes is for --photos" in capsys.readouterr().err


def test_each_engine_gets_the_file_that_it_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "ASSETS", place)
    (place / "light.onnx").write_bytes((place / "m.onnx").read_bytes())
    (place / "light.safetensors").write_bytes((place / "m.safetensors").read_bytes())
    running = importlib.import_module("knuckle.benchmark.run")
    exported: list[Any] = []

    def export(*arguments: Any) -> Path:
        exported.append(arguments)
        return place / "made"

    monkeypatch.setattr(running, "_exported", export)
    engines: tuple[EngineName, ...] = ("onnxruntime", "torch", "openvino")
    of_light = {variant.engine: variant for variant in variants("light", engines, place)}
    assert of_light["onnxruntime"].file == place / "light.onnx"
    assert of_light["torch"].file == place / "light.safetensors"
    [only] = variants("m.onnx", engines, place)
    assert (only.engine, only.file) == ("onnxruntime", Path("m.onnx"))
    monkeypatch.setattr(running, "find_spec", lambda name: None if name in ("openvino", "onnx") else name)
    of_run = {variant.engine: variant for variant in variants("m.safetensors", engines, place)}
    assert of_run["torch"].file == Path("m.safetensors")
    assert of_run["onnxruntime"].missing == "m.safetensors with onnxruntime: onnx not installed"
    assert of_run["openvino"].missing == "m.safetensors with openvino: openvino, onnx not installed"


def test_a_failure_says_which(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "cut.onnx").write_bytes((place / "m.onnx").read_bytes()[:1000])
    assert main(["benchmark", "cut.onnx", *ARGUMENTS]) == 1
    assert "onnxruntime with 1 threads could not be measured" in capsys.readouterr().err
    assert main(["benchmark", "nowhere"]) == 2
    assert main(["benchmark", "m.onnx", "--engine", "abacus"]) == 2
    assert "--engine is one of onnxruntime, openvino, torch" in capsys.readouterr().err
