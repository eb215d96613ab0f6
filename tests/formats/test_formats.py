"""The formats together: what is written comes back, what cannot be held is said, and "auto" finds the format."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knuckle.formats import Format, read, read_checked, splits, write
from knuckle.formats.files import flat_boxes
from knuckle.hands import Hands, group_number
from tests.formats.fakes import (
    assert_refused,
    box_as_held,
    example_hands,
    random_hands,
    without_empty_columns,
    write_fake_images,
    write_json,
)

TARGETS: dict[str, Format] = {
    "hands.json": "coco",
    "labelme": "labelme",
    "hands.csv": "table",
    "hands.parquet": "table",
    "table.json": "table",
}


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@given(hands=random_hands())
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("name", ["hands.csv", "hands.json", "hands.parquet"])
def test_tables_bring_every_column_back(name: str, hands: Hands) -> None:
    with _folder() as folder:
        lost = write(hands, folder / name, "table")
        back = read(folder / name)
        flat = flat_boxes(hands)[:, None]
        assert back == hands.replace(box=np.where(flat, np.float32(np.nan), hands.box))
        assert bool(lost) == flat.any()
        assert back.root == folder


@given(hands=random_hands())
@settings(max_examples=40, deadline=None)
def test_coco_brings_every_column_back_and_says_which_boxes_it_changes(hands: Hands) -> None:
    with _folder() as folder:
        lost = write(hands, folder / "hands.json")
        back, messages = read_checked(folder / "hands.json", "coco")
        assert messages == []
        assert back == box_as_held(hands)
        assert bool(lost) == (back != hands)
        assert all(sentence.startswith("box: ") for sentence in lost)


@given(hands=random_hands())
@settings(max_examples=40, deadline=None)
def test_labelme_brings_back_all_but_what_it_says(hands: Hands) -> None:
    with _folder() as folder:
        lost = write(hands, folder / "labels", "labelme")
        expected = _as_labelme_holds(hands)
        if len(hands):
            back, messages = read_checked(folder / "labels", "labelme")
            assert messages == []
            assert back == expected
        assert bool(lost) == (expected != without_empty_columns(hands))


def _stem(hands: Hands, row: int) -> str:
    return str(hands.image[row]).rpartition(".")[0]


def _as_labelme_holds(hands: Hands) -> Hands:
    """Sorted by file, without empty hands, and without predictions where there is no point."""
    order = sorted(range(len(hands)), key=lambda row: _stem(hands, row) + ".json")
    hands = box_as_held(hands[order])
    hands = hands[~np.isnan(hands.box).any(axis=1)]
    hidden = ~hands.labeled
    if hands.covariance is not None and hands.confidence is not None:
        covariance = np.where(hidden[..., None, None], np.float32(np.nan), hands.covariance)
        hands = hands.replace(covariance=covariance, confidence=np.where(hidden, np.float32(np.nan), hands.confidence))
    return without_empty_columns(hands)


@given(hands=random_hands(in_frame=True))
@settings(max_examples=40, deadline=None)
def test_yolo_brings_keypoints_boxes_visibility_and_size_back_exactly(hands: Hands) -> None:
    with _folder() as folder:
        hands = hands.replace(root=folder / "photos")
        write_fake_images(hands)
        lost = write(hands, folder / "yolo", "yolo")
        order = sorted(range(len(hands)), key=lambda row: _stem(hands, row) + ".txt")
        held = box_as_held(hands[order])
        held = held[~np.isnan(held.box).any(axis=1)]
        expected = Hands(image=held.image, xy=held.xy, visibility=held.visibility, box=held.box, size=held.size)
        if not len(hands):
            return
        back, messages = read_checked(folder / "yolo")
        assert messages == []
        assert back == expected
        assert bool(lost) == (expected != hands)
        lost_columns = {sentence.partition(":")[0] for sentence in lost}
        assert ("side" in lost_columns) == bool((hands.side >= 0).any())
        assert ("gesture" in lost_columns) == bool((hands.gesture >= 0).any())
        assert ("confidence" in lost_columns) == (hands.confidence is not None)


@given(hands=random_hands(in_frame=True, predicted=False))
@settings(max_examples=15, deadline=None)
def test_labelme_to_coco_to_yolo_to_labelme_keeps_positions(hands: Hands) -> None:
    if not len(hands):
        return
    with _folder() as folder:
        hands = hands.replace(root=folder)
        write_fake_images(hands)
        write(hands, folder / "labels", "labelme")
        first, _ = read_checked(folder / "labels", "labelme")
        if not len(first):
            return
        write(first, folder / "coco.json", "coco")
        write(read(folder / "coco.json"), folder / "yolo", "yolo")
        write(read(folder / "yolo"), folder / "again", "labelme")
        last = read(folder / "again")
        assert _by_position(last) == _by_position(first)


def _by_position(hands: Hands) -> list[tuple[bytes, ...]]:
    columns = (hands.xy, hands.visibility, hands.size, hands.box)
    return sorted(tuple(column[row].tobytes() for column in columns) for row in range(len(hands)))


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(TARGETS, 2)))
def test_every_pair_of_lossless_formats_converts_without_loss(tmp_path: Path, first: str, second: str) -> None:
    hands = example_hands()
    assert write(hands, tmp_path / first, TARGETS[first]) == []
    assert write(read(tmp_path / first), tmp_path / second, TARGETS[second]) == []
    assert read(tmp_path / second) == hands.replace(image=read(tmp_path / second).image)


@pytest.mark.parametrize("name", TARGETS)
def test_auto_finds_the_format_and_paths_lead_to_the_images(tmp_path: Path, name: str) -> None:
    hands = example_hands(root=tmp_path / "photos")
    write_fake_images(hands)
    target = tmp_path / "out" / name
    write(hands, target, TARGETS[name])
    assert [path.resolve() for path in read(target).paths()] == hands.paths()
    assert read(target) == read(target, TARGETS[name])


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ValueError, match=r"cannot be written \(No space left on device\)"):
        write(example_hands(), tmp_path / name, TARGETS[name])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_groups_by_name_are_those_of_hands(tmp_path: Path) -> None:
    hands = example_hands()
    write(hands, tmp_path / "hands.csv", "table")
    text = (tmp_path / "hands.csv").read_text().replace(",7,320", ",garden,320").replace(",8,224", ",,224")
    (tmp_path / "hands.csv").write_text(text)
    assert read(tmp_path / "hands.csv").group.tolist() == [group_number("garden")] * 2 + [group_number("b.png")]


def test_a_missing_path_is_one_sentence(tmp_path: Path) -> None:
    for call in (read, splits):
        with pytest.raises(ValueError, match=r"nowhere does not exist\.$"):
            call(tmp_path / "nowhere")


def test_a_split_is_refused_where_there_are_none(tmp_path: Path) -> None:
    write(example_hands(), tmp_path / "hands.json")
    assert splits(tmp_path / "hands.json") == ()
    with pytest.raises(ValueError, match="read as coco, which has no splits"):
        read(tmp_path / "hands.json", split="train")


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no format 'voc'; choose one of auto, freihand"):
        read(tmp_path, "voc")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'rhd' cannot be written; choose one of freihand, yolo"):
        write(example_hands(), tmp_path / "x.json", "rhd")
    with pytest.raises(ValueError, match="on_bad must be one of stop, skip"):
        read_checked(tmp_path, on_bad="ignore")  # type: ignore[arg-type]


def test_auto_writes_by_suffix(tmp_path: Path) -> None:
    for name, expected in (("x.csv", "table"), ("x.parquet", "table"), ("x.json", "coco")):
        write(example_hands(), tmp_path / name, "auto")
        assert read(tmp_path / name, expected) == example_hands()  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="does not say which format to write"):
        write(example_hands(), tmp_path / "folder", "auto")


def test_what_fits_no_format_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_refused(tmp_path / "empty", "holds no annotations: it was searched for Labelme")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    assert_refused(tmp_path / "photos", "holds images but no annotations")
    (tmp_path / "notes.txt").write_text("hello")
    assert_refused(tmp_path / "notes.txt", "is of no known format")
    assert_refused(write_json(tmp_path / "x.json", {"hello": 1}), "JSON of no known format")
    assert_refused(write_json(tmp_path / "list.json", [1, 2]), "JSON of no known format")
    (tmp_path / "nothing.json").write_text("")
    assert_refused(tmp_path / "nothing.json", ":1:1 is not valid JSON")
    (tmp_path / "broken.json").write_text('{"hello":\n 1,\n')
    assert_refused(tmp_path / "broken.json", "broken.json:3:1 is not valid JSON")
    (tmp_path / "latin.json").write_bytes('{"x": "é"}'.encode("latin-1"))
    assert_refused(tmp_path / "latin.json", "is not a text file in UTF-8")


JUNK: list[Any] = [
    None,
    True,
    -1,
    1.5,
    10**400,
    float("nan"),
    "",
    "wrist",
    "\ud800",
    [],
    [[]],
    {},
    {"id": 1},
    [None] * 63,
]


@given(data=st.data())
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("name", ["hands.json", "table.json", "labelme/a.json"])
def test_junk_anywhere_in_a_file_is_nothing_but_a_value_error(name: str, data: st.DataObject) -> None:
    format = TARGETS[name.partition("/")[0]]
    with _folder() as folder:
        content = copy.deepcopy(_good_content(format))
        node, key = content, data.draw(st.sampled_from(_keys(content)))
        while isinstance(node[key], (list, dict)) and node[key] and data.draw(st.booleans()):
            node = node[key]
            key = data.draw(st.sampled_from(_keys(node)))
        node[key] = data.draw(st.sampled_from(JUNK))
        path = write_json(folder / name, content)
        readings: list[Format] = [format, "auto"]
        for reading in readings:
            with contextlib.suppress(ValueError):
                hands, _ = read_checked(path, reading)
                write(hands, folder / "again.json", "coco")


@functools.cache
def _good_content(format: Format) -> Any:
    with _folder() as folder:
        target = folder / ("labels" if format == "labelme" else "x.json")
        write(example_hands(), target, format)
        return json.loads((target / "a.json" if format == "labelme" else target).read_text())


def _keys(node: Any) -> list[Any]:
    return list(node) if isinstance(node, dict) else list(range(len(node)))


def test_real_samples_are_read_as_described(shared_data: Path) -> None:
    photos = read(shared_data / "photos" / "annotations.json")
    assert len(photos) == 240
    assert (photos.labeled.sum(axis=1) == 16).all()
    assert len(np.unique(photos.group)) == 6
    assert np.bincount(photos.side).tolist() == [120, 120]
    assert all(path.is_file() for path in photos.paths())
    pinch = read(shared_data / "pinch_mit")
    assert len(pinch) == 250
    assert np.flatnonzero(pinch.labeled.any(axis=0)).tolist() == [4, 8]
    boxes = read(shared_data / "boxes_ccby" / "annotations.json")
    assert len(boxes) == 778
    assert not boxes.labeled.any()
    assert not np.isnan(boxes.box).any()
