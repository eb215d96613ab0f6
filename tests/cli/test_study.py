"""`knuckle study` from files to a folder, with a network that has learnt nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from knuckle.cli import main
from knuckle.formats import read, write
from tests.study.worlds import write_untrained_model, write_world


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A study of two classes on 20 base hands and 10 own photos."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    model = write_untrained_model(folder / "tiny.safetensors")
    return [
        *("study", "--base", str(folder / "FreiHAND"), "--base-gestures", str(folder / "lists")),
        *("--own", str(folder / "photos"), "--own-gestures", "folder", "--model", str(model)),
        *("--classes", "0,6", "--per-class", "3", "--h2-per-class", "2", "--device", "cpu"),
    ]


def test_a_study_end_to_end(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    for part in ("Balance of what was read", "Hypothesis 1", "base + own", "difference", "Hypothesis 2", " 6 fist"):
        assert part in out
    assert "The paper gives no number that decides" in out
    assert "By the paper's rule" in out
    assert "A photo of 244 px is cropped as if it had 224" in out
    assert "Only class 6, the fist, is known to match the paper's numbering" in out
    assert "1.089 times as many pixels on 244 px as on 224" in out
    assert "images that are not 224 x 224 px" in err
    summary = json.loads((tmp_path / "out" / "study.json").read_text())
    assert [row["hands"] for row in summary["h1"]["frame"]] == [6, 10, 4]
    assert set(summary["own_crops"]["scores"]) == {"right", "as MMPose crops"}
    assert summary["plan"]["resize"] == 244
    assert (tmp_path / "out" / "figure_10.png").is_file()
    # The same lists give the same numbers; a folder that is taken is refused before anything runs.
    lists = tmp_path / "out" / "lists"
    replayed = [*arguments, "--base-lists", str(lists), "--own-lists", str(lists / "own"), "--seed", "9"]
    assert main([*replayed, "--out", str(tmp_path / "again")]) == 0
    again = json.loads((tmp_path / "again" / "study.json").read_text())
    assert again["h1"] == summary["h1"]
    assert again["h2"] == summary["h2"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "is not an empty folder" in capsys.readouterr().err


def test_harder_pictures_and_the_training_set(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = arguments[arguments.index("--own") + 1]
    found = [*arguments, "--robustness", "--training", photos, "--per-class", "1", "--h2-per-class", "1"]
    assert main([*found, "--own-per-class", "1", "--out", str(tmp_path / "out")]) == 2
    assert "no hand of the training set has a gesture" in capsys.readouterr().err
    rendered = tmp_path / "labels.csv"
    hands = read(photos)
    write(hands.replace(gesture=np.arange(len(hands)) % 5), rendered, "table")
    found[found.index("--training") + 1] = str(rendered)
    assert main([*found, "--own-per-class", "1", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "Own hands: the factors that raise the error most" in out
    assert "compared over 4 gestures or more; there are fewer" in out
    with (tmp_path / "out" / "robustness_gesture_curves.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 2 * 10 * 5  # sets, gestures, factors, severities
    assert {row["set"] for row in rows} == {"base hands", "own hands"}
    assert "Harder pictures" in (tmp_path / "out" / "report.html").read_text()


def test_two_models_are_compared(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, photos = (arguments[arguments.index(name) + 1] for name in ("--model", "--own"))
    call = ["study", "--compare", model, model, "--data", photos, "--base-gestures", "folder", "--device", "cpu"]
    assert main([*call, "--out", str(tmp_path / "out")]) == 0
    assert "By NME, A less B is +0.0000 of the box's side" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.html").is_file()
    assert main([*call, "--base", photos, "--out", str(tmp_path / "other")]) == 2
    assert "--compare takes two models and --data" in capsys.readouterr().err
    ignored = ["--per-class", "3", "--classes", "0,6", "--own-gestures", "folder", "--resize", "none"]
    assert main([*call, *ignored, "--out", str(tmp_path / "other")]) == 2
    message = capsys.readouterr().err
    assert "belongs to the study of one model: --own-gestures, --per-class, --classes, --resize." in message
    assert main([*call[:4], "--out", str(tmp_path / "other")]) == 2
    assert "name these with --data" in capsys.readouterr().err
    assert main(["study", "--base", photos, "--out", str(tmp_path / "other")]) == 2
    assert "a study takes --base, --own and --model, or else --compare" in capsys.readouterr().err


def test_what_cannot_be_studied_is_one_sentence(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--per-class", "50", "--out", str(tmp_path / "out")]) == 2
    assert "50 hands of each class were asked for, but these have fewer: 0 open_palm" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
