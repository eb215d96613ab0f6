"""Long tables: other people's tables, streaming, and how bad cells are refused with their line."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from knuckle.formats import read, table, write
from knuckle.hands import Hands
from tests.formats.fakes import assert_refused, example_hands, write_json

Cells = list[dict[str, Any]]


@pytest.fixture
def cells(tmp_path: Path) -> Cells:
    """The rows of a good csv table, by column name."""
    write(example_hands(), tmp_path / "good.csv", "table")
    with (tmp_path / "good.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def _write(path: Path, rows: Cells) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_table_has_21_rows_a_hand_and_empty_cells_for_unlabelled_joints(cells: Cells) -> None:
    assert len(cells) == 3 * 21
    assert cells[4] | {"x": "", "y": "", "visibility": "0", "joint_name": "thumb_tip"} == cells[4]
    assert cells[21 + 7]["visibility"] == "1"


def test_columns_in_any_order_and_rows_in_any_order_are_read(tmp_path: Path, cells: Cells) -> None:
    shuffled = [dict(reversed(row.items())) for row in cells[:21][::-1] + cells[21:]]
    assert read(_write(tmp_path / "x.csv", shuffled)) == example_hands()


def test_the_smallest_table_is_read(tmp_path: Path, cells: Cells) -> None:
    keys = ("hand", "image", "joint", "x", "y")
    hands = read(_write(tmp_path / "x.csv", [{key: row[key] for key in keys} for row in cells]))
    expected = example_hands()
    plain = Hands(image=expected.image, xy=expected.xy, visibility=np.where(expected.labeled, 2, 0))
    assert hands == plain


def test_sides_and_gestures_may_be_names(tmp_path: Path, cells: Cells) -> None:
    for row in cells:
        row["side"] = {"0": "left", "1": "Right", "-1": ""}[row["side"]]
        row["gesture"] = "fist" if row["gesture"] == "6" else row["gesture"]
    assert read(_write(tmp_path / "x.csv", cells)) == example_hands()


def test_json_by_columns_is_read(tmp_path: Path) -> None:
    write(example_hands(), tmp_path / "rows.json", "table")
    rows = json.loads((tmp_path / "rows.json").read_text())
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    assert read(write_json(tmp_path / "columns.json", columns)) == example_hands()


def test_numbers_of_hands_may_have_become_floats(tmp_path: Path) -> None:
    write(example_hands(), tmp_path / "rows.json", "table")
    rows = [row | {"hand": float(row["hand"])} for row in json.loads((tmp_path / "rows.json").read_text())]
    assert read(write_json(tmp_path / "floats.json", rows)) == example_hands()


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_pandas_reads_what_is_written_and_its_table_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write(example_hands(), path, "table")
    readers: dict[str, Callable[[Path], pandas.DataFrame]] = {
        ".csv": pandas.read_csv,
        ".parquet": pandas.read_parquet,
        ".json": pandas.read_json,
    }
    frame = readers[suffix](path)
    assert list(frame.columns) == table.header([])
    assert frame["x"].isna().sum() == 1
    if suffix == ".parquet":
        frame.to_parquet(path)
        assert read(path) == example_hands()


def test_streamed_batches_make_one_table(tmp_path: Path) -> None:
    hands = example_hands().replace(confidence=np.full((3, 21), 0.5))
    with (tmp_path / "x.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(table.header())
        for first in range(3):
            writer.writerows(table.rows(hands[first], first_hand=first))
    assert read(tmp_path / "x.csv") == hands


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(example_hands(), tmp_path / "x.parquet", "table")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"needs pyarrow: pip install 'knuckle\[train\]'"):
        read(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"needs pyarrow: pip install 'knuckle\[train\]'"):
        write(example_hands(), tmp_path / "y.parquet", "table")


BAD_CELLS = [
    ("text as x", {"x": "abc"}, ":5: x is 'abc', expected a number"),
    ("infinite x", {"x": "inf"}, ":2: hand 0 has the position (inf, "),
    ("empty x", {"x": ""}, "at keypoint 3 (thumb_ip), expected finite numbers"),
    ("visibility", {"visibility": "3"}, "has visibility 3 at keypoint 3"),
    ("joint 21", {"joint": "21"}, "hand 0 has 21 rows with 21 different joints, expected joints 0 to 20"),
    ("joint twice", {"joint": "4"}, "hand 0 has 21 rows with 20 different joints"),
    ("joint as text", {"joint": "tip"}, ":5: joint is 'tip', expected a number"),
    ("other name", {"joint_name": "thumb_tip"}, ":5: joint 3 is called 'thumb_tip', expected thumb_ip"),
    ("two images", {"image": "z.png"}, ":5: image is 'z.png', but 'a.png' in the hand's first row"),
    ("two sides", {"side": "1"}, ":5: side is '1', but '0' in the hand's first row"),
]


@pytest.mark.parametrize(("change", "expected"), [c[1:] for c in BAD_CELLS], ids=[c[0] for c in BAD_CELLS])
def test_a_bad_cell_is_one_sentence_with_its_line(
    tmp_path: Path, cells: Cells, change: dict[str, str], expected: str
) -> None:
    cells[3] |= change
    assert_refused(_write(tmp_path / "x.csv", cells), expected, good=2)


BAD_HANDS = [
    ("side", {"side": "both"}, ":2: side is 'both', expected a proper value"),
    ("gesture", {"gesture": "25"}, ":2: gesture is '25'"),
    ("width", {"width": "-3"}, ":2: width is '-3'"),
    ("box", {"box_x2": "-999"}, "hand 0 has a box of negative size"),
    ("half a box", {"box_x2": ""}, "hand 0 has the box"),
    ("no image", {"image": ""}, ":2: image is None"),
]


@pytest.mark.parametrize(("change", "expected"), [c[1:] for c in BAD_HANDS], ids=[c[0] for c in BAD_HANDS])
def test_a_bad_hand_is_one_sentence(tmp_path: Path, cells: Cells, change: dict[str, str], expected: str) -> None:
    for row in cells[:21]:
        row |= change
    assert_refused(_write(tmp_path / "x.csv", cells), expected, good=2)


def test_half_a_hand_is_one_sentence(tmp_path: Path, cells: Cells) -> None:
    assert_refused(_write(tmp_path / "x.csv", cells[:-10]), ":44: hand 2 has 11 rows", good=2)


def test_a_row_with_too_few_cells_is_one_sentence(tmp_path: Path, cells: Cells) -> None:
    path = _write(tmp_path / "x.csv", cells)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], lines[3].rpartition(",")[0], *lines[4:]]))
    assert_refused(path, "x.csv:4 has 15 cells, expected 16", good=2)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "x.csv is empty, but a table begins with the names of its columns"),
        (b"hand,image,joint,x\n", "x.csv has no column y; a table of hands needs hand, image, joint, x, y"),
        (b"hand,hand\n1,2\n", "x.csv has two columns 'hand'"),
        ("hand,image\n1,é\n".encode("latin-1"), "is not a text file in UTF-8"),
        (b'hand,image\n1,"a\n', "is not valid csv"),
    ],
)
def test_a_file_that_is_no_table_is_one_sentence(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    assert_refused(tmp_path / "x.csv", expected)


def test_other_files_that_are_no_tables_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but not really")
    assert_refused(tmp_path / "x.parquet", "cannot be read as parquet")
    assert_refused(write_json(tmp_path / "a.json", [{"hand": 1, "joint": 1}, 3]), "row 1 is 3, expected an object")
    uneven = {"hand": [1], "joint": [1, 2]}
    assert_refused(write_json(tmp_path / "b.json", uneven), "columns of different lengths (hand 1, joint 2)")
    assert_refused(write_json(tmp_path / "c.json", {"hand": 1, "joint": [1]}), "is no table")
    with pytest.raises(ValueError, match=r"x\.txt must end in \.csv, \.parquet, \.json"):
        write(example_hands(), tmp_path / "x.txt", "table")
