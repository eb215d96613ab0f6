"""`knuckle convert`: what it writes, prints, and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from knuckle.cli.convert import convert
from knuckle.formats import read, write
from tests.formats.fakes import example_hands, write_fake_images


def _run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(convert)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _counts(result: Result) -> dict[str, int]:
    """The printed table."""
    rows = (line.rpartition(" ") for line in result.stdout.splitlines())
    return {name.strip(): int(count) for name, _, count in rows if count.isdigit()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A COCO file with three hands, the images beside it."""
    hands = example_hands(root=tmp_path)
    write_fake_images(hands)
    write(hands, tmp_path / "hands.json")
    return tmp_path / "hands.json"


def test_the_suffix_decides_and_counts_are_printed(tmp_path: Path, source: Path) -> None:
    result = _run(source, tmp_path / "hands.csv")
    assert result.exit_code == 0
    assert read(tmp_path / "hands.csv", "table") == example_hands()
    assert _counts(result)["labelled keypoints"] == 62
    assert _counts(result)["of them occluded"] == 1
    assert "Not in the target" not in result.stdout


def test_what_the_target_cannot_hold_is_listed(tmp_path: Path, source: Path) -> None:
    result = _run(source, tmp_path / "yolo", "--to", "yolo")
    assert result.exit_code == 0
    listed = result.stdout.partition("Not in the target:")[2]
    assert [line.strip().partition(":")[0] for line in listed.strip().splitlines()] == ["side", "gesture", "group"]
    result = _run(tmp_path / "yolo", tmp_path / "labels", "--from", "yolo", "--to", "labelme")
    assert result.exit_code == 0
    assert (tmp_path / "labels" / "a.json").is_file()


def test_skipped_records_are_listed_and_counted(tmp_path: Path, source: Path) -> None:
    source.write_text(source.read_text().replace('"image_id": 2', '"image_id": 9'))
    assert isinstance(_run(source, tmp_path / "x.csv").exception, ValueError)
    assert not (tmp_path / "x.csv").exists()
    result = _run(source, tmp_path / "x.csv", "--on-bad", "skip")
    assert result.exit_code == 0
    assert "Skipped: " in result.stderr
    assert "annotations[2] (id 3) has the image_id 9" in result.stderr
    assert _counts(result)["skipped records"] == 1
    assert len(read(tmp_path / "x.csv")) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--to", "voc"], "'voc' cannot be written; choose one of"),
        (["--from", "voc"], "there is no format 'voc'"),
        (["--split", "train"], "which has no splits"),
        ([], "does not say which format to write"),
    ],
)
def test_wrong_options_are_one_sentence(tmp_path: Path, source: Path, arguments: list[str], expected: str) -> None:
    result = _run(source, tmp_path / "target", *arguments)
    assert isinstance(result.exception, ValueError)
    assert expected in str(result.exception)


def test_nothing_is_written_where_no_hand_was_read(tmp_path: Path, source: Path) -> None:
    source.write_text('{"images": [], "annotations": []}')
    result = _run(source, tmp_path / "x.csv")
    assert "holds no usable hand, so nothing was written" in str(result.exception)
    assert not (tmp_path / "x.csv").exists()


def test_images_without_a_hand_are_listed(tmp_path: Path, source: Path) -> None:
    content = json.loads(source.read_text())
    content["images"] += [{"id": 98 + k, "file_name": f"empty{k}.png", "width": 9, "height": 9} for k in range(2)]
    source.write_text(json.dumps(content))
    result = _run(source, tmp_path / "hands.csv")
    assert "2 images without a hand" in result.stdout.partition("Not in the target:")[2]
    assert _counts(result)["skipped records"] == 0
