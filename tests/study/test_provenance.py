"""What a run depended on: files by their digest, versions, options."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import knuckle
from knuckle.predict.shipped import ASSETS
from knuckle.study.provenance import digests, provenance


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_model_s_files_are_told_by_their_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    for name, content in (
        ("run/last.safetensors", b"a"),
        ("run/best.safetensors", b"b"),
        ("m.xml", b"c"),
        ("m.bin", b"d"),
    ):
        (tmp_path / name).write_bytes(content)
    assert digests("light") == {"light.onnx": sha256(ASSETS / "light.onnx")}
    assert digests("run") == {"best.safetensors": hashlib.sha256(b"b").hexdigest()}
    assert digests("run/last.safetensors") == {"last.safetensors": hashlib.sha256(b"a").hexdigest()}
    assert list(digests("m.xml")) == ["m.xml", "m.bin"]
    assert digests("nothere") == {}


def test_options_and_versions_are_plain_values() -> None:
    predictor = knuckle.load("light")
    found = provenance({"flip_test": True}, {"light": predictor, "predictions": None})
    assert found["options"] == {"flip_test": True}
    assert found["versions"]["knuckle"] == knuckle.__version__
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["onnxruntime"] == onnxruntime.__version__
    assert found["models"]["light"]["sha256"]["light.onnx"] == sha256(ASSETS / "light.onnx")
    assert found["models"]["predictions"] == {"device": None, "sha256": {}}
