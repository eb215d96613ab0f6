"""OpenVINO files that are damaged, foreign or incomplete get one sentence; threads share an engine."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import knuckle
from knuckle.export import export_openvino
from knuckle.predict.openvino_engine import OpenVinoEngine
from tests.export.models import noise, stored

openvino = pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model's file."""
    path = tmp_path_factory.mktemp("openvino") / "m.xml"
    export_openvino(stored("rle"), path)
    return path


def test_threads_share_an_engine_and_one_each_is_enough(model: Path) -> None:
    engine = OpenVinoEngine(model, threads=1)
    assert engine._model.get_property("INFERENCE_NUM_THREADS") == 1
    batches = [noise(8)[row : row + 2] for row in range(6)]
    alone = [engine.find(batch, False).xy_crop for batch in batches]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda batch: engine.find(batch, False).xy_crop, batches))
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert np.nanmax(np.abs(alone[0] - alone[1])) > 0.1, "the network must tell the crops apart"


def test_what_is_no_file_of_ours_gets_one_sentence(tmp_path: Path, model: Path) -> None:
    text, weights = model.read_text(), model.with_suffix(".bin").read_bytes()

    def damaged(name: str, content: str | None, binary: bytes | None) -> Path:
        path = tmp_path / f"{name}.xml"
        if content is not None:
            path.write_text(content)
        if binary is not None:
            path.with_suffix(".bin").write_bytes(binary)
        return path

    rule = json.dumps({"size": 64})[1:-1].replace('"', "&quot;")
    assert rule in text, "the case below must change something"
    for path, sentence in (
        (damaged("alone", text, None), r"alone\.bin is no file"),
        (damaged("cut", text[:5000], weights), "cannot be run by OpenVINO"),
        (damaged("short", text, weights[:1000]), "cannot be run by OpenVINO"),
        (damaged("empty", "", weights), "has 0 bytes"),
        (damaged("words", "hello", weights), "cannot be run by OpenVINO"),
        (
            damaged("other", text.replace(rule, "&quot;size&quot;: 32"), weights),
            r"takes crops of shape .* cuts 32 pixels",
        ),
        (damaged("huge", text.replace(rule, "&quot;size&quot;: 1e999"), weights), "describes no model"),
    ):
        with pytest.raises(ValueError, match=sentence) as refusal:
            knuckle.load(path)
        assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match="has no device 'abacus' here, it has cpu"):
        knuckle.load(model, device="abacus")
    with pytest.raises(ValueError, match=r"run by openvino, not by onnxruntime"):
        knuckle.load(model, engine="onnxruntime")


def test_a_model_of_another_program(tmp_path: Path) -> None:
    x = openvino.opset8.parameter([1, 3], np.float32, name="x")
    openvino.save_model(openvino.Model([openvino.opset8.relu(x)], [x], "other"), tmp_path / "other.xml")
    if not (tmp_path / "other.bin").exists() or not (tmp_path / "other.bin").stat().st_size:
        (tmp_path / "other.bin").write_bytes(b"0")  # a graph without weights leaves none
    with pytest.raises(ValueError, match="a model of another program"):
        knuckle.load(tmp_path / "other.xml")
