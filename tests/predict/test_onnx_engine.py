"""ONNX files predict without PyTorch, from several threads, and foreign files get a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import knuckle
from knuckle.export import export_onnx
from tests.export.models import calibration, stored
from tests.predict.centroid import light_at, save_rgb


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated model's file."""
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    export_onnx(stored("rle", calibration("covariance")), path)
    return path


WITHOUT_TORCH = """
import sys
for name in ("torch", "timm", "torchvision", "safetensors", "scipy", "matplotlib", "jinja2", "pandas", "onnx"):
    sys.modules[name] = None
from knuckle.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


def test_predicting_with_a_file_needs_only_the_base_install(tmp_path: Path, model: Path) -> None:
    save_rgb(str(tmp_path / "one.png"), light_at((40, 30), (80, 60)))
    arguments = ["predict", "one.png", "--model", str(model), "--boxes", "full", "--out", "x.json", "--flip-test"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = knuckle.read(tmp_path / "x.json")
    expected = knuckle.load(model, flip_test=True, device="cpu").predict(tmp_path / "one.png", "full")
    np.testing.assert_allclose(found.xy, expected.xy, atol=1e-3)
    assert found.confidence is not None
    assert found.covariance is not None


def test_threads_may_share_one_engine(model: Path) -> None:
    predictor = knuckle.load(model, device="cpu")
    photos = [light_at((20 + 5 * number, 30), (80, 60)) for number in range(8)]
    alone = [predictor.predict(photo, "full").xy for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda photo: predictor.predict(photo, "full").xy, photos))
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert len(np.unique(np.nan_to_num(alone).reshape(8, -1), axis=0)) == 8, "the network must tell the photos apart"


def test_what_is_no_file_of_ours_gets_one_sentence(tmp_path: Path, model: Path) -> None:
    content = onnx.load(str(model))
    said = json.loads(content.metadata_props[0].value)

    def changed(name: str, **fields: object) -> Path:
        helper.set_model_props(content, {"knuckle": json.dumps(said | fields)})
        onnx.save(content, str(tmp_path / name))
        return tmp_path / name

    foreign = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])],
            "foreign",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.save(foreign, str(tmp_path / "foreign.onnx"))
    (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:1000])
    (tmp_path / "empty.onnx").touch()
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(3 << 30)  # a hole: takes no room on the disk
    for path, sentence in (
        (tmp_path / "foreign.onnx", "another program"),
        (tmp_path / "cut.onnx", "cannot be run by onnxruntime"),
        (tmp_path / "empty.onnx", "has 0 bytes"),
        (tmp_path / "huge.onnx", "has 3,221,225,472 bytes"),
        (changed("new.onnx", version=99), "has layout 99.*update knuckle"),
        (changed("odd.onnx", rule={"sides": 3}), "describes no model"),
        (changed("vast.onnx", rule={"size": 10**9}), "describes no model"),
        (changed("other.onnx", rule={"size": 32}), "takes crops of shape .* cuts 32 pixels"),
        (changed("endless.onnx", version=1e999), "describes no model"),
        (changed("bad.onnx", calibration={"scale": 1}), "describes no model"),
    ):
        with pytest.raises(ValueError, match=sentence) as refusal:
            knuckle.load(path)
        assert "\n" not in str(refusal.value)
    for device in ("abacus", "cuda:x"):
        with pytest.raises(ValueError, match="has no device"):
            knuckle.load(model, device=device)
