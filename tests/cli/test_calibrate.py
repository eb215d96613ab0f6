"""`knuckle calibrate` fits, prints, writes model and numbers; --check measures alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from examples.drawn_hands import draw_dataset
from knuckle.cli.calibrate import calibrate
from knuckle.cli.evaluate import evaluate
from knuckle.draw import write_image
from knuckle.geometry import CropRule
from knuckle.methods.weights import ModelSpec, build, load_calibration, save_model
from knuckle.metrics import Calibration

app = typer.Typer()
app.command()(calibrate)
app.command()(evaluate)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 drawn hands of six persons, and a small network with a flow."""
    folder = tmp_path_factory.mktemp("calibrate")
    draw_dataset(folder / "hands", 48, seed=1, size=64)
    torch.manual_seed(0)
    spec = ModelSpec("rle", "test_resnet", CropRule(size=64))
    save_model(folder / "model.safetensors", build(spec), spec, {})
    return folder


def run(*arguments: object) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def test_calibrate_then_check_then_evaluate(folder: Path, tmp_path: Path) -> None:
    model, labels, out = (
        folder / "model.safetensors",
        folder / "hands" / "annotations.json",
        tmp_path / "sure.safetensors",
    )
    stdout, stderr = run("calibrate", model, labels, "--out", out, "--at-least", 20, "--device", "cpu")
    assert stdout.startswith("Fitted on 24 hands in 3 groups, fewer than the 2,000 that make it reliable.\n")
    assert "On the other half: 24 hands in 3 groups" in stdout
    header = next(line for line in stdout.splitlines() if line.startswith("part"))
    assert header.split()[:8] == ["part", "stated", "keypoints", "own", "density", "before", "scaled", "after"]
    for part in ("all joints", "wrist", "thumb", "index", "middle", "ring", "little"):
        assert sum(line.startswith(f"{part} ") for line in stdout.splitlines()) == 4
    assert f"Wrote {out}." in stderr
    numbers = json.loads(out.with_suffix(".json").read_text())
    calibration = Calibration.from_dict(numbers["calibration"])
    assert load_calibration(out) == calibration
    rows = numbers["other half"]["after"]["conformal"]
    (nine,) = (row for row in rows if (row["kind"], row["level"]) == ("all", 0.9))
    (line,) = (line for line in stdout.splitlines() if line.startswith("all joints  90%"))
    assert f"{100 * nine['share']['estimate']:.1f} %" in line
    assert {row["kind"] for row in numbers["other half"]["density"]} == {"all", "finger", "joint"}

    before = out.read_bytes()
    record = tmp_path / "check.json"
    stdout, _ = run("calibrate", out, "--check", labels, "--json", record, "--device", "cpu")
    assert "Fitted" not in stdout
    assert f"On {labels}, where nothing guarantees it: 48 hands in 6 groups" in stdout
    assert json.loads(record.read_text())["check"]["hands"] == 48
    assert out.read_bytes() == before

    stdout, _ = run("evaluate", out, labels, "--out", tmp_path / "report", "--device", "cpu")
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    measured = metrics["uncertainty"]
    assert metrics["recognition"] is None
    assert f"{measured['expected_calibration_error']:.4f}" in stdout
    assert "conformal" in stdout
    assert (tmp_path / "report" / "uncertainty.png").stat().st_size > 10_000
    _, stderr = run("evaluate", out, labels, "--flip-test", "--device", "cpu")
    assert "calibrated without the flip test and is measured with it" in stderr


def test_pictures_without_hands_give_a_hand_head(folder: Path, tmp_path: Path) -> None:
    for row in range(8):
        write_image(tmp_path / "none" / f"{row}.png", np.full((60, 80, 3), 30 * row, np.uint8))
    model, labels = folder / "model.safetensors", folder / "hands" / "annotations.json"
    out = tmp_path / "head.safetensors"
    options = ("--no-hands", tmp_path / "none", "--out", out, "--at-least", 20, "--device", "cpu")
    stdout, _ = run("calibrate", model, labels, *options)
    numbers = json.loads(out.with_suffix(".json").read_text())["other half"]
    assert numbers["recognition"]["sided"] == numbers["hands"] == 24
    assert f"{100 * numbers['recognition']['right']['estimate']:.1f} %" in stdout
    assert numbers["refusal"]["crops"] > 24
    assert f"{numbers['refusal']['calibration_error']:.4f}" in stdout

    stdout, _ = run("evaluate", out, labels, "--out", tmp_path / "report", "--device", "cpu")
    recognition = json.loads((tmp_path / "report" / "metrics.json").read_text())["recognition"]
    assert recognition["sided"] == recognition["hands"] == 48
    assert "side is right" in stdout
    with pytest.raises(ValueError, match="give DATA, or leave out --no-hands"):
        run("calibrate", out, "--check", labels, "--no-hands", tmp_path / "none")


def test_the_calibrated_model_lies_beside_the_model_by_default(folder: Path) -> None:
    _, stderr = run("calibrate", folder / "model.safetensors", folder / "hands" / "annotations.json", "--at-least", 1)
    assert load_calibration(folder / "model.calibrated.safetensors") is not None
    assert (folder / "model.calibrated.json").is_file()
    assert str(folder / "model.calibrated.json") in stderr


def test_wrong_requests(folder: Path) -> None:
    model, labels = folder / "model.safetensors", folder / "hands" / "annotations.json"
    with pytest.raises(ValueError, match="nothing to do"):
        run("calibrate", model)
    with pytest.raises(ValueError, match="give DATA"):
        run("calibrate", model, "--check", labels, "--out", folder / "x.safetensors")
    with pytest.raises(ValueError, match="name it so"):
        run("calibrate", model, labels, "--out", folder / "x.json")
    with pytest.raises(ValueError, match="needs 2,000 labelled hands"):
        run("calibrate", model, labels)
    with pytest.raises(ValueError, match="has no calibration"):
        run("calibrate", model, "--check", labels)
