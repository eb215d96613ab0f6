"""knuckle export: a file, a table of differences, and sentences for what cannot be exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import knuckle
from knuckle.cli import main
from knuckle.hands import Hands
from knuckle.methods.weights import save_model
from tests.export.models import stored
from tests.predict.centroid import light_at, save_rgb


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model and two labelled photos."""
    monkeypatch.chdir(tmp_path)
    model = stored("rle")
    save_model(tmp_path / "m.safetensors", model.method, model.spec, {})
    at = np.random.default_rng(0).uniform(30, 80, (2, 21, 2)).astype(np.float32)
    for number in range(2):
        save_rgb(str(tmp_path / f"{number}.png"), light_at((at[number, 0, 0], at[number, 0, 1])))
    hands = Hands(image=["0.png", "1.png"], xy=at, visibility=np.full((2, 21), 2), root=tmp_path)
    knuckle.write(hands, tmp_path / "truth.json", format="coco")
    return tmp_path


def test_a_model_becomes_a_file_that_predicts_and_is_measured(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "m.safetensors", "--out", "deep/m.onnx", "--data", "truth.json"]) == 0
    shown = capsys.readouterr()
    title, header, _, without, with_it = shown.out.splitlines()
    assert title == "deep/m.onnx against PyTorch on hands of truth.json"
    assert "largest difference [crop px]" in header
    assert without.split()[:4] == ["without", "flip", "test", "2"]
    assert float(without.split()[4]) < 0.01
    assert with_it.split()[:4] == ["with", "flip", "test", "2"]
    assert "Wrote deep/m.onnx" in shown.err
    assert main(["evaluate", "deep/m.onnx", "truth.json", "--out", "onnx"]) == 0
    assert main(["evaluate", "m.safetensors", "truth.json", "--out", "torch", "--device", "cpu"]) == 0
    ours, theirs = (knuckle.read(place / name / "predictions.json") for name in ("torch", "onnx"))
    np.testing.assert_allclose(theirs.xy, ours.xy, atol=0.01)


def test_rendered_hands_serve_where_there_are_no_labels(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "m.safetensors", "--out", "m.onnx", "--crops", "2"]) == 0
    assert "on rendered hands" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["m.safetensors", "--out", "m.bin"], 2, "ends in .onnx"),
        (
            ["nowhere", "--out", "m.onnx"],
            2,
            "no model nowhere; give 'light' or 'light_rendered', a run folder",
        ),
        (["x.onnx", "--out", "m.onnx"], 2, "holds no weights to go on with"),
    ],
)
def test_what_cannot_be_exported_gets_one_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    (place / "x.onnx").touch()
    assert main(["export", *arguments]) == code
    assert sentence in capsys.readouterr().err
    assert not (place / "m.onnx").exists()
