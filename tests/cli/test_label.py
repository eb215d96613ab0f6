"""`knuckle label`: proposals, suggestions and checked labels on the command line; what does not fit together."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import knuckle
from knuckle.cli import main
from tests.label.worlds import glow, move_a_point, photo_folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    photo_folder(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("knuckle.predict.load", lambda name, **_: glow())
    return tmp_path


def label(*arguments: str, code: int = 0) -> None:
    assert main(["label", *arguments]) == code


def test_from_photos_to_checked_labels(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label("photos", "--model", "m", "--boxes", "full", "--suggest", "2", "--list", "next.csv")
    shown = capsys.readouterr().out.splitlines()
    assert shown[2].split() == ["6", "6", "6", "0", "0", "0", "0"]
    with (place / "next.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert len({row["scene"] for row in rows}) == 2
    assert rows[0]["image"] in shown[6]
    move_a_point(place / "photos" / rows[0]["image"].replace(".png", ".json"))
    label("photos", "--model", "m")
    assert capsys.readouterr().out.splitlines()[2].split() == ["6", "0", "0", "5", "1", "0", "0"]
    label("photos", "--checked", "labels.json")
    captured = capsys.readouterr()
    assert captured.out.splitlines()[2].split() == ["6", "1", "1", "1"]
    assert "--set data.path=labels.json" in captured.err
    hands = knuckle.read("labels.json")
    assert [path.resolve() for path in hands.paths()] == [(place / "photos" / rows[0]["image"]).resolve()]


def test_corrections_are_lost_only_where_asked_for(place: Path) -> None:
    label("photos", "--boxes", "full")
    file = place / "photos" / "v0" / "0.json"
    proposed = json.loads(file.read_text())["shapes"]
    move_a_point(file)
    corrected = file.read_bytes()
    label("photos", "--boxes", "full")
    label("photos", "--boxes", "full", "--renew")
    assert file.read_bytes() == corrected
    label("photos", "--boxes", "full", "--overwrite")
    assert json.loads(file.read_text())["shapes"] == proposed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["photos", "--list", "x.csv"], "say how many with --suggest N"),
        (["photos", "--suggest", "1", "--list", "x.txt"], "must end in .csv"),
        (["photos", "--checked", "x.json", "--renew"], "leave out --suggest, --renew and --overwrite"),
        (["photos", "--checked", "x.json"], "no file with a hand was checked yet"),
        (["photos", "--checked", "x.xml"], "must end in .json or .csv"),
        (["photos", "--boxes", "none.csv"], "none.csv"),
    ],
)
def test_what_does_not_fit_is_told(
    place: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    label(*arguments, code=2)
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
    assert not list((place / "photos").rglob("*.json"))


def test_broken_files_in_the_way_are_named_and_left_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = place / "photos" / "v0" / "0.json"
    broken.write_text('{"shapes": [')
    label("photos", "--boxes", "full")
    captured = capsys.readouterr()
    assert captured.out.splitlines()[2].split()[:3] == ["5", "5", "5"]
    assert "photos left out: 1" in captured.err
    assert "v0/0" in captured.err
    assert broken.read_text() == '{"shapes": ['


def test_a_models_labels_without_a_mark_are_told_and_left_out(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label("photos", "--boxes", "full")
    for file in (place / "photos").rglob("*.json"):
        content = json.loads(file.read_text())
        del content["knuckle"], content["flags"]
        file.write_text(json.dumps(content))
    label("photos", "--checked", "labels.json", code=2)
    error = capsys.readouterr().err
    assert "6 photos have a model's labels without a mark, left out: tick 'checked'" in error
    assert "no file with a hand was checked yet" in error
