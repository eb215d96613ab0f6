"""Counts add up, selections select, sheets survive missing files, and notes name what is wrong with a set."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.drawn_hands import draw_dataset
from knuckle.data.inspect import count, draw_sheet, inspect_data, inspect_hands, select, write_inspection
from knuckle.data.suspicions import Suspicion
from knuckle.formats import write
from knuckle.hands import LEFT, Hands
from knuckle.skeleton import FROM_RHD


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawn")
    draw_dataset(path, 24, seed=1, size=96)
    return path


@pytest.fixture(scope="module")
def hands(folder: Path) -> Hands:
    return inspect_data(folder / "annotations.json").hands


def test_a_clean_set_is_read_whole_and_without_a_note(folder: Path) -> None:
    found = inspect_data(folder / "annotations.json")
    assert len(found.hands) == 24
    assert found.notes == []
    assert found.skipped == []
    assert not found.order.wrong
    assert [suspicion for suspicion in found.suspicions if suspicion.score > 1.5] == []


def test_counts_add_up(hands: Hands) -> None:
    visibility = hands.visibility.copy()
    visibility[0, 3], visibility[1, 3] = 0, 1
    counts = count(hands.replace(visibility=visibility))
    assert (counts["hands"], counts["images"]) == (24, 24)
    for table in ("side", "gesture", "image size", "labeled joints"):
        assert sum(counts[table].values()) == 24
    assert counts["image size"] == {"96 x 96": 24}
    assert counts["labeled joints"] == {"21": 23, "20": 1}
    assert counts["groups"] == {"number": 3, "smallest": 8, "median": 8.0, "largest": 8}
    assert counts["visibility"]["thumb_ip"]["unlabeled"] == 1
    assert sum(counts["visibility"]["thumb_ip"].values()) == 24
    assert counts["side"]["left"] == (hands.side == LEFT).sum()


def test_a_set_in_rhds_order_is_called_out(hands: Hands) -> None:
    wrong = hands.replace(xy=hands.xy[:, FROM_RHD], visibility=hands.visibility[:, FROM_RHD])
    found = inspect_hands(wrong, images=0)
    assert "RHD order (each finger from tip to base)" in found.notes[0]
    assert not any(suspicion.kind == "joint order" for suspicion in found.suspicions)


def test_fractions_of_the_image_are_called_out(hands: Hands) -> None:
    found = inspect_hands(hands.replace(xy=hands.xy / 96), images=0)
    assert any("fractions" in note for note in found.notes)


def test_swapped_axes_are_called_out(hands: Hands) -> None:
    wide = hands.replace(xy=hands.xy * (4, 1), size=np.tile((384, 96), (24, 1)))
    assert not any("swapped" in note for note in inspect_hands(wide, images=0).notes)
    found = inspect_hands(wide.replace(xy=wide.xy[..., ::-1]), images=0)
    assert any("x and y look swapped" in note for note in found.notes)


def test_unreadable_and_unopened_images_are_told(hands: Hands, tmp_path: Path) -> None:
    notes = inspect_hands(hands.replace(root=tmp_path), images=10).notes
    assert "cannot be used; the first" in notes[0]
    assert "of 24 images were opened" in notes[1]


def test_an_empty_table_is_inspected() -> None:
    found = inspect_hands(Hands.empty())
    assert (found.counts["hands"], found.notes, found.suspicions) == (0, [], [])


def suspicious(*rows: int) -> list[Suspicion]:
    return [Suspicion(row, "same place", 2.0, f"reason {row}") for row in rows]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("all", [0, 1, 2]),
        ("rows=9,2", [9, 2]),
        ("rows=1,2,3,4", [1, 2, 3, 4]),
        ("worst", [7, 5]),
        ("group=2", [16, 17, 18]),
    ],
)
def test_selections_give_rows(hands: Hands, selection: str, expected: list[int]) -> None:
    assert select(selection, hands, suspicious(7, 5, 7), most=3).tolist() == expected


def test_sides_and_gestures_are_selected_by_name_and_number(hands: Hands) -> None:
    def rows(selection: str) -> Any:
        return select(selection, hands, [], most=100)

    assert (hands.side[rows("side=left")] == LEFT).all()
    assert len(rows("side=left")) + len(rows("side=right")) == 24
    assert rows("gesture=fist").tolist() == rows("gesture=6").tolist()
    assert (hands.gesture[rows("gesture=6")] == 6).all()


def test_random_rows_are_the_same_each_time_and_never_double(hands: Hands) -> None:
    rows = select("random", hands, [], most=10).tolist()
    assert rows == select("random", hands, [], most=10).tolist()
    assert len(set(rows)) == 10


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("best", "there is no selection 'best'"),
        ("rows=1,99", "there is no row 99 in 24 hands"),
        ("rows=one", "'one' in the selection 'rows=one' is no number"),
        ("gesture=wave", "'wave' in the selection"),
        ("side=up", "there is no selection 'side=up'"),
        ("worst", "holds no hand"),
        ("group=77", "holds no hand"),
    ],
)
def test_wrong_selections_get_a_sentence(hands: Hands, selection: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select(selection, hands, [], most=3)


def test_a_sheet_shows_a_missing_image_as_grey_and_goes_on(hands: Hands, tmp_path: Path) -> None:
    rows = np.array([0, 5])
    sheet = draw_sheet(hands, rows, suspicious(5), "title")
    lost = draw_sheet(hands.replace(root=tmp_path), rows, suspicious(5), "title")
    grey = (lost == 96).all(axis=2)
    assert grey.sum() > 0.3 * 2 * 224**2
    assert (sheet == 96).all(axis=2).sum() < 0.01 * sheet.size
    unknown = hands.replace(root=tmp_path, size=np.zeros((24, 2)), box=np.full((24, 4), np.nan))
    assert draw_sheet(unknown, rows, [], "").shape[1] == lost.shape[1]


def test_written_files_hold_what_was_found(hands: Hands, tmp_path: Path) -> None:
    xy = hands.xy.copy()
    xy[4, 8] = (300, 20)
    found = inspect_hands(hands.replace(xy=xy), {"training": 24}, ["record 7 is broken."])
    write_inspection(found, tmp_path / "new")
    summary = json.loads((tmp_path / "new" / "inspect.json").read_text())
    assert summary["splits"] == {"training": 24}
    assert summary["skipped"] == ["record 7 is broken."]
    assert summary["suspicions"]["outside image"] == 1
    with (tmp_path / "new" / "suspicions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.suspicions)
    assert (rows[0]["row"], rows[0]["image"]) == ("4", hands.image[4])
    with pytest.raises(ValueError, match="cannot be written"):
        write_inspection(found, tmp_path / "new" / "inspect.json")


def test_nothing_to_judge_is_still_valid_json(tmp_path: Path) -> None:
    write_inspection(inspect_hands(Hands.empty()), tmp_path)
    text = (tmp_path / "inspect.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["joint order"]["judged"] == 0


def test_broken_records_are_skipped_and_listed(folder: Path, hands: Hands, tmp_path: Path) -> None:
    write(hands.replace(root=folder), tmp_path / "a.json")
    document = json.loads((tmp_path / "a.json").read_text())
    document["annotations"][3]["keypoints"] = [1, 2, 3]
    (tmp_path / "a.json").write_text(json.dumps(document))
    found = inspect_data(tmp_path / "a.json", images=0)
    assert (len(found.hands), len(found.skipped)) == (23, 1)
    with pytest.raises(ValueError, match="keypoints"):
        inspect_data(tmp_path / "a.json", on_bad="stop", images=0)
