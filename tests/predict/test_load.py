"""load: run folders, weight files and MMPose checkpoints become predictors, everything else a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import knuckle
from knuckle.geometry import CropRule
from knuckle.methods.base import Method
from knuckle.methods.weights import ModelSpec, build, save_model
from knuckle.predict import Predictor
from knuckle.predict.detector import OnnxDetector, shipped_detector
from knuckle.predict.load import weights_file
from knuckle.predict.shipped import ONNX, shipped_file
from tests.predict.centroid import light_at

SPEC = ModelSpec("heatmap", "test_resnet", CropRule(size=32, padding=1.3))


def saved(path: Path, seed: int) -> Method:
    torch.manual_seed(seed)
    method = build(SPEC).eval()
    save_model(path, method, SPEC, {})
    return method


def answer(model: Predictor) -> Any:
    return model.predict(light_at((20, 20), (64, 64)), "full").xy


def test_a_run_folder_gives_its_best_weights_else_its_last(tmp_path: Path) -> None:
    last = saved(tmp_path / "last.safetensors", 0)
    model = knuckle.load(tmp_path, device="cpu", flip_test=True, batch_size=3)
    assert model.rule == SPEC.rule
    assert (model.flip_test, model.batch_size) == (True, 3)
    np.testing.assert_array_equal(answer(model), answer(Predictor(last, SPEC.rule, flip_test=True)))
    best = saved(tmp_path / "best.safetensors", 1)
    np.testing.assert_array_equal(answer(knuckle.load(str(tmp_path), device="cpu")), answer(Predictor(best, SPEC.rule)))
    by_file = knuckle.load(tmp_path / "last.safetensors", device="cpu")
    np.testing.assert_array_equal(answer(by_file), answer(Predictor(last, SPEC.rule)))


def test_doubtful_boxes_are_proposed_to_networks_that_can_judge_them(tmp_path: Path) -> None:
    saved(tmp_path / "last.safetensors", 0)
    alone, judged = (knuckle.load(name, device="cpu").detector for name in (tmp_path, "light"))
    assert isinstance(alone, OnnxDetector)
    assert isinstance(judged, OnnxDetector)
    assert judged.least_score < alone.least_score == shipped_detector().least_score
    assert judged.judgement.detector > 0
    assert judged.judgement.head > 0


def test_a_model_has_a_detector(tmp_path: Path) -> None:
    saved(tmp_path / "last.safetensors", 0)
    shipped = knuckle.load(tmp_path, device="cpu").detector
    assert isinstance(shipped, OnnxDetector)
    assert knuckle.load(tmp_path, device="cpu", detector=shipped).detector is shipped
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"no.onnx cannot be run by onnxruntime \(.*\); export it again\.$"):
        knuckle.load(tmp_path, device="cpu", detector=tmp_path / "no.onnx")
    with pytest.raises(ValueError, match=r"nope\.onnx is no file; check the path"):
        knuckle.load(tmp_path, device="cpu", detector=tmp_path / "nope.onnx")
    with pytest.raises(ValueError, match=r"an \.onnx file or an object with a method detect, got 5\."):
        knuckle.load(tmp_path, device="cpu", detector=5)  # type: ignore[arg-type]
    [dark] = shipped.detect([np.zeros((48, 64, 3), np.uint8)])
    assert dark.box.shape == (0, 4), "nothing is seen in the dark"


def test_an_mmpose_checkpoint_gets_the_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What such a file holds is tested beside its reader; here only that it is asked."""
    asked: list[tuple[Path, str | None]] = []

    def load_mmpose(path: Path, preset: str | None) -> tuple[Method, ModelSpec]:
        asked.append((path, preset))
        return build(SPEC), SPEC

    monkeypatch.setattr("knuckle.methods.mmpose.load_mmpose", load_mmpose)
    path = tmp_path / "res50.pth"
    path.touch()
    assert knuckle.load(path, preset="freihand", device="cpu").rule == SPEC.rule
    knuckle.load(path, device="cpu")
    assert asked == [(path, "freihand"), (path, None)]


def test_suffixes_may_be_in_capitals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported, weights, checkpoint = (tmp_path / name for name in ("HAND.ONNX", "HAND.SAFETENSORS", "HAND.PTH"))
    exported.write_bytes(shipped_file("light", ONNX).read_bytes())
    np.testing.assert_array_equal(answer(knuckle.load(exported)), answer(knuckle.load("light")))
    with pytest.raises(ValueError, match=r"HAND\.ONNX is an exported file, which holds no weights"):
        weights_file(exported)
    method = saved(tmp_path / "hand.safetensors", 0)
    (tmp_path / "hand.safetensors").rename(weights)
    np.testing.assert_array_equal(answer(knuckle.load(weights, device="cpu")), answer(Predictor(method, SPEC.rule)))
    monkeypatch.setattr("knuckle.methods.mmpose.load_mmpose", lambda path, preset: (method, SPEC))
    checkpoint.touch()
    assert knuckle.load(checkpoint, preset="rhd", device="cpu").rule == SPEC.rule


def make(folder: Path) -> None:
    (folder / "empty").mkdir()
    for name in ("model.onnx", "notes.txt", "broken.safetensors", "broken_freihand.pth"):
        (folder / name).write_bytes(b"nothing")


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("nowhere", {}, "there is no model .*nowhere; give 'light' or 'light_rendered', a run folder"),
    ("empty", {}, r"without best\.safetensors or last\.safetensors"),
    ("model.onnx", {}, "cannot be run by onnxruntime"),
    ("notes.txt", {}, "not a model that can be loaded"),
    ("broken.safetensors", {}, r"broken\.safetensors"),
    ("broken_freihand.pth", {}, r"broken_freihand\.pth"),
    ("broken.safetensors", {"preset": "rhd"}, "carries its own settings"),
    ("", {}, "the name of the model is empty; give 'light'"),
    ("light", {"engine": "onnx"}, "engine is one of onnxruntime, openvino, torch, got 'onnx'"),
    ("light", {"threads": 0}, "threads must be at least 1, got 0"),
    ("broken.safetensors", {"threads": 2}, "PyTorch runs broken.safetensors; set its own by torch.set_num_threads"),
    ("broken.safetensors", {"device": "abacus"}, "no device 'abacus'"),
    ("broken.safetensors", {"device": "cuda:77"}, "no device 'cuda:77'"),
]


@pytest.mark.parametrize(("name", "options", "sentence"), REFUSALS)
def test_what_cannot_be_loaded_gets_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any], sentence: str
) -> None:
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=sentence) as refusal:
        knuckle.load(name, **options)
    assert "\n" not in str(refusal.value)


def test_without_torch_there_is_a_sentence_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    script = f"""
import sys
sys.modules["torch"] = None
import knuckle
try:
    knuckle.load({str(tmp_path / "model.safetensors")!r})
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "needs torch: pip install 'knuckle[train]'" in done.stdout
