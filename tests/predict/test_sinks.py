"""Outputs: a streamed file equals the one that the format's own writer makes of all hands at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import knuckle
from knuckle.hands import Hands
from knuckle.predict import sinks
from knuckle.predict.journal import Entry, Journal, read_journal
from knuckle.predict.sinks import Kind, Output


def journal_of(output: Output, *, predicted: bool = True) -> Hands:
    """Writes a journal of 11 photos, some without hands, one skipped; returns its hands."""
    rng = np.random.default_rng(0)
    parts = []
    with Journal(output.journal, {}) as journal:
        for number in range(11):
            name, count = f"in/{number:02d}.jpg", number % 3
            if number == 5:
                journal.add(Entry(name, (0, 0), Hands.empty(), "05.jpg is cut off."))
                continue
            hands = Hands(
                image=[name] * count,
                xy=rng.uniform(0, 90, (count, 21, 2)),
                visibility=np.full((count, 21), 2),
                box=np.tile((1.5, 2, 80, 90.25), (count, 1)),
                size=np.tile((100, 120), (count, 1)),
                covariance=np.tile(np.diag((2.0, 3.0)), (count, 21, 1, 1)) if predicted else None,
            )
            journal.add(Entry(name, (100, 120), hands))
            parts.append(hands)
    return Hands.concat(parts).replace(root=output.root)


KINDS: list[tuple[Kind, str]] = [
    ("csv", "x.csv"),
    ("json", "x.json"),
    ("parquet", "x.parquet"),
    ("coco", "x.json"),
    ("labelme", "x"),
]


@pytest.mark.parametrize(("kind", "name"), KINDS)
@pytest.mark.parametrize("predicted", [True, False])
def test_pieces_make_the_same_file_as_one_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, name: str, predicted: bool
) -> None:
    monkeypatch.setattr(sinks, "PIECE", 4)
    output = Output(tmp_path / "streamed" / name, kind)
    hands = journal_of(output, predicted=predicted)
    assert output.finish() == []
    at_once = tmp_path / "written" / name
    knuckle.write(hands.replace(root=at_once.parent if kind != "labelme" else at_once), at_once, format_of(kind))
    assert knuckle.read(output.path) == knuckle.read(at_once) == hands
    if kind in ("csv", "json"):
        assert output.path.read_bytes() == at_once.read_bytes()
    assert sorted(path.name for path in output.path.parent.iterdir()) == [name], "nothing temporary may stay"


def format_of(kind: Kind) -> Literal["coco", "labelme", "table"]:
    return "coco" if kind == "coco" else "labelme" if kind == "labelme" else "table"


def test_coco_lists_the_photos_without_a_hand(tmp_path: Path) -> None:
    output = Output(tmp_path / "x.json", "coco")
    journal_of(output)
    output.finish()
    images = json.loads(output.path.read_text())["images"]
    assert [image["file_name"] for image in images] == [f"in/{number:02d}.jpg" for number in range(11) if number != 5]
    assert {(image["width"], image["height"]) for image in images} == {(100, 120)}
    assert [image["id"] for image in images] == list(range(1, 11))


def test_jsonl_has_the_rows_of_the_table(tmp_path: Path) -> None:
    lines, table = Output(tmp_path / "x.jsonl", "jsonl"), Output(tmp_path / "x.json", "json")
    for output in (lines, table):
        journal_of(output)
        output.finish()
    assert [json.loads(line) for line in lines.path.read_text().splitlines()] == json.loads(table.path.read_text())


def test_a_file_that_cannot_be_written_keeps_its_journal(tmp_path: Path) -> None:
    output = Output(tmp_path / "x.csv", "csv")
    journal_of(output)
    output.path.mkdir()
    with pytest.raises(ValueError, match=r"x\.csv cannot be written"):
        output.finish()
    assert len(list(read_journal(output.journal))) == 11


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("x.csv", None, "csv"),
        ("x.PARQUET", None, "parquet"),
        ("x.json", None, "json"),
        ("x.jsonl", None, "jsonl"),
        ("x.json", "coco", "coco"),
        ("folder", "labelme", "labelme"),
    ],
)
def test_the_suffix_says_the_kind(tmp_path: Path, name: str, kind: Kind | None, expected: Kind) -> None:
    assert Output.of(tmp_path / name, kind).kind == expected


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("x", None, "does not say how to write it; give --format csv|"),
        ("x.xml", None, "does not say"),
        ("x.csv", "coco", r"must end in \.json"),
        ("is_folder.csv", "csv", "is a folder"),
        ("is_file", "labelme", "is a file"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(tmp_path: Path, name: str, kind: Kind | None, sentence: str) -> None:
    (tmp_path / "is_folder.csv").mkdir()
    (tmp_path / "is_file").touch()
    with pytest.raises(ValueError, match=sentence):
        Output.of(tmp_path / name, kind)
