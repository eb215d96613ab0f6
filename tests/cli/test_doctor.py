"""knuckle doctor: says what is there, and never fails over what is not."""

from __future__ import annotations

import importlib
import platform
import sys
from importlib import metadata
from pathlib import Path

import pytest

import knuckle
from knuckle.cli import main
from knuckle.predict import shipped


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The first word of each line and what follows it."""
    assert main(["doctor"]) == 0
    lines = (line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    return {line[0]: line[1] for line in lines if len(line) == 2}


def test_versions_and_devices_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(capsys)
    assert found["knuckle"] == knuckle.__version__
    assert platform.python_version() in found["Python"]
    assert found["numpy"] == metadata.version("numpy")
    assert "CPUExecutionProvider" in found["onnxruntime"]
    assert "threads" in found["torch"]
    assert found["train"] == "complete"


def test_shipped_models_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor = importlib.import_module("knuckle.cli.doctor")
    assert doctor.ASSETS == shipped.ASSETS
    assert doctor.MODELS.keys() == {*shipped.SHIPPED, "detector"}
    assert doctor.MODELS["light"] == (shipped.ONNX, shipped.SAFETENSORS)
    (tmp_path / "light.onnx").write_bytes(b"0" * 1_234_567)
    monkeypatch.setattr(doctor, "ASSETS", tmp_path)
    found = report(capsys)
    assert found["light"] == "light.onnx 1.2 MB"
    assert found["accurate"] == "not in this version"


def test_what_is_absent_or_broken_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> str:
        raise RuntimeError("operator torchvision::nms\ndoes not exist")

    version = metadata.version
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(importlib.import_module("knuckle.cli.doctor"), "_timm", broken)
    monkeypatch.setattr(
        metadata, "version", lambda name: version("no-such-package") if name in ("torch", "scipy") else version(name)
    )
    found = report(capsys)
    assert found["torch"] == "not installed"
    assert found["timm"] == "broken: RuntimeError: operator torchvision::nms does not exist"
    assert found["train"] == "missing scipy, torch: pip install 'knuckle[train]'"
