"""`knuckle render`: what it writes, how it goes on, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from knuckle.cli.render import render
from knuckle.formats import read
from knuckle.skeleton import GESTURES

FIST = GESTURES.index("fist")


def _run(out: Path, *arguments: object) -> Result:
    app = typer.Typer()
    app.command()(render)
    given = ["--out", out, "--size", 32, "--device", "cpu", *arguments]
    return CliRunner().invoke(app, [str(argument) for argument in given])


def test_a_folder_holds_pictures_annotations_and_a_sheet(tmp_path: Path) -> None:
    result = _run(tmp_path / "out", "--count", 5)
    assert result.exit_code == 0, result.exception
    hands = read(tmp_path / "out" / "annotations.json")
    assert len(hands) == 5
    assert read(tmp_path / "out" / "annotations.csv", "table") == hands
    assert all(path.is_file() for path in hands.paths())
    assert (hands.size == 32).all()
    assert (tmp_path / "out" / "contact_sheet.png").is_file()
    with np.load(tmp_path / "out" / "labels.npz") as labels:
        assert labels["xyz"].shape == (5, 21, 3)
    assert result.stdout.splitlines()[-1].split()[:2] == ["5", "5"]


def test_scenes_have_any_number_of_hands(tmp_path: Path) -> None:
    result = _run(tmp_path / "out", "--count", 6, "--scenes")
    assert result.exit_code == 0, result.exception
    hands = read(tmp_path / "out" / "annotations.json")
    counts = [line.rpartition(",")[2] for line in (tmp_path / "out" / "pictures.csv").read_text().split()[1:]]
    assert len(counts) == 6
    assert len(hands) == sum(map(int, counts)) != 6
    assert result.stdout.splitlines()[-1].split()[:2] == [str(len(hands)), "6"]


def test_an_interrupted_folder_is_gone_on_with(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    _run(whole, "--count", 5)
    _run(resumed, "--count", 2)
    kept = resumed / "images" / "00000000.jpg"
    kept_at = kept.stat().st_mtime_ns
    (resumed / "images" / "00000001.jpg").unlink()
    result = _run(resumed, "--count", 5)
    assert result.stdout.splitlines()[-1].split()[:2] == ["5", "4"]
    assert kept.stat().st_mtime_ns == kept_at
    assert read(whole / "annotations.json") == read(resumed / "annotations.json")
    for name in ("00000000.jpg", "00000001.jpg", "00000004.jpg"):
        assert (whole / "images" / name).read_bytes() == (resumed / "images" / name).read_bytes()


def test_other_settings_are_one_sentence(tmp_path: Path) -> None:
    _run(tmp_path, "--count", 1)
    error = _run(tmp_path, "--count", 1, "--seed", 4).exception
    assert isinstance(error, ValueError)
    assert "was rendered with seed 0, not 4" in str(error)
    error = _run(tmp_path, "--count", 1, "--exclude", "6").exception
    assert isinstance(error, ValueError)
    assert "was rendered with config.poses.exclude [], not [6]" in str(error)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    error = _run(tmp_path, "--count", 1).exception
    assert isinstance(error, ValueError)
    assert "holds other files" in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_gestures_can_be_chosen_and_excluded(tmp_path: Path) -> None:
    assert _run(tmp_path / "only", "--count", 8, "--gestures", "fist:1").exit_code == 0
    assert set(read(tmp_path / "only" / "annotations.json").gesture.tolist()) <= {FIST, -1}
    assert _run(tmp_path / "without", "--count", 8, "--gestures", "fist:0.9", "--exclude", "fist").exit_code == 0
    assert FIST not in read(tmp_path / "without" / "annotations.json").gesture


def test_poses_and_viewpoints_can_be_chosen(tmp_path: Path) -> None:
    assert _run(tmp_path, "--count", 12, "--poses", "synergy:1", "--views", "overhead:1").exit_code == 0
    assert set(read(tmp_path / "annotations.json").gesture.tolist()) == {-1}
    settings = json.loads((tmp_path / "settings.json").read_text())["config"]
    assert settings["poses"]["synergy"] == settings["viewpoints"]["overhead"] == 1
    assert settings["viewpoints"]["facing"] == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--poses", "toes:1"], "There is no kind of pose 'toes'"),
        (["--views", "below:1"], "There is no viewpoint 'below'"),
        (["--gestures", "wave:1"], "There is no gesture 'wave'"),
        (["--exclude", "99"], "There is no gesture '99'"),
        (["--backgrounds", "nowhere"], "holds no photo for backgrounds"),
        (["--device", "abacus"], "this machine has no device 'abacus'"),
    ],
)
def test_wrong_options_are_one_sentence_and_leave_no_folder(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    error = _run(tmp_path / "out", "--count", 1, *arguments).exception
    assert isinstance(error, ValueError)
    assert expected in str(error)
    assert not (tmp_path / "out").exists()
