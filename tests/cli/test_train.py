"""`knuckle train`: sentences for wrong calls, the dry run, a short run, and the exit code of an interruption."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import knuckle.train
from examples.drawn_hands import draw_dataset
from knuckle.cli import main
from knuckle.methods.weights import save_model
from knuckle.train.recipe import load_recipe
from knuckle.train.run_folder import open_run
from knuckle.train.start import settle
from tests.export.models import calibration, stored


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    draw_dataset(folder / "drawn", 24, seed=1, size=48)
    content = {
        "data": {"path": str(folder / "drawn" / "annotations.json"), "validation": "1/3"},
        "model": {"backbone": "test_byobnet", "size": 32},
        "train": {"epochs": 1, "batch": 8},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_faults_of_a_recipe_are_read_on_the_terminal(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(recipe), "--set", "train.epoch=3", "--set", "model.size=big", "--out", "x"]) == 2
    said = capsys.readouterr().err
    assert "train.epoch is not a field of a recipe; did you mean train.epochs?" in said
    assert "model.size should be a valid integer" in said


def test_a_run_needs_a_folder(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(recipe)]) == 2
    assert "--out runs/NAME" in capsys.readouterr().err


def test_a_dry_run_prints_a_table(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(recipe), "--dry-run", "--device", "cpu", "--set", "train.batch=4"]) == 0
    shown = capsys.readouterr().out
    assert "4 x 3 x 32 x 32" in shown
    assert "peak memory" in shown


def test_a_dry_run_refuses_the_folder_that_the_run_would(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checked = load_recipe(recipe, ["device=cpu"])
    open_run(tmp_path / "run", settle(checked))
    command = ["train", str(recipe), "--dry-run", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(command) == 2
    assert "already holds a run; add --resume" in capsys.readouterr().err
    assert main([*command, "--resume", "--set", "train.batch=4"]) == 2
    assert "in train.batch, so the run cannot be resumed" in capsys.readouterr().err
    before = (tmp_path / "run" / "recipe.yaml").read_bytes()
    assert main([*command, "--resume"]) == 0
    assert "first loss" in capsys.readouterr().out
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["recipe.yaml"]
    assert (tmp_path / "run" / "recipe.yaml").read_bytes() == before


def test_one_process_of_several_prints_the_table(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("knuckle.train.dry_run.dry_run", lambda *_, **__: [("crops", "4 x 3")])
    for rank, told in (("1", False), ("0", True)):
        monkeypatch.setenv("RANK", rank)
        assert main(["train", str(recipe), "--dry-run"]) == 0
        assert ("4 x 3" in capsys.readouterr().out) is told


def test_wrong_options_are_read_on_the_terminal(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(recipe), "--dry-run", "--device", "cpu", "--set", "model.method=sequential"]
    assert main([*command, "--set", "model.options.stage=5"]) == 2
    assert capsys.readouterr().err == "Error: the method 'sequential' has no option 'stage'; did you mean stages?\n"


def test_a_recipe_of_the_detector_names_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "detector.yaml"
    assert main(["train", str(recipe), "--out", "x"]) == 2
    said = capsys.readouterr().err
    assert f"python -m knuckle.train.detector {recipe} --out FOLDER" in said
    assert said.count("\n") == 1


def test_a_run_is_made_once(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(recipe), "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "epoch 1 of 1: EPE" in said
    assert f"Wrote {tmp_path / 'run'}." in said
    assert main(command) == 2
    assert "--resume" in capsys.readouterr().err


def test_from_a_model_without_a_section_model(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "it's: first", tmp_path / "second"
    assert main(["train", str(recipe), "--device", "cpu", "--out", str(first)]) == 0
    content = yaml.safe_load(recipe.read_text())
    del content["model"]
    shorter = tmp_path / "shorter.yaml"
    shorter.write_text(yaml.safe_dump(content))
    command = ["train", str(shorter), "--from", str(first), "--device", "cpu"]
    assert main([*command, "--out", str(second)]) == 0
    assert yaml.safe_load((second / "recipe.yaml").read_text())["model"]["backbone"] == "test_byobnet"
    assert main([*command, "--set", "model.size=64", "--out", str(tmp_path / "third")]) == 2
    assert "model.size is 64 in the recipe and 32 in the model" in capsys.readouterr().err


@pytest.mark.parametrize("calibrated", [False, True])
def test_what_a_model_to_go_on_from_had_and_the_new_one_lacks_is_said(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, calibrated: bool
) -> None:
    first = stored("rle", calibration("covariance") if calibrated else None)
    save_model(tmp_path / "first.safetensors", first.method, first.spec, {}, first.calibration)
    monkeypatch.setattr(knuckle.train, "train", lambda *_, **__: tmp_path / "run")
    assert (
        main(["train", str(recipe), "--from", str(tmp_path / "first.safetensors"), "--out", str(tmp_path / "run")]) == 0
    )
    assert (f"knuckle calibrate {tmp_path / 'run'} LABELS" in capsys.readouterr().err) is calibrated


def test_an_interrupted_run_exits_with_130(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*_: object, **__: object) -> Path:
        raise knuckle.train.Interrupted("Stopped after step 3; --resume continues.")

    monkeypatch.setattr(knuckle.train, "train", stops)
    assert main(["train", str(recipe), "--out", str(tmp_path / "run")]) == 130
    assert "--resume continues" in capsys.readouterr().err
