"""Damaged files of every kind that is read: whatever the damage, hands or one sentence, and nothing else.

A sound file of each format is cut, overwritten, lengthened, or a value of its JSON is replaced by another one. Reading
it may succeed; if not, the error is a ValueError of one line that names the file's folder or something in it.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knuckle.formats import read, read_checked, write
from knuckle.hands import Hands
from knuckle.predict.boxes import read_boxes
from knuckle.predict.load import load
from knuckle.study.lists import read_lists
from tests.formats.datasets import (
    mmpose_rhd,
    rhd_record,
    write_freihand,
    write_images,
    write_json,
    write_mmpose_freihand,
    write_rhd,
)

few = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def some_hands(root: Path, count: int = 3) -> Hands:
    names = [f"{row}.jpg" for row in range(count)]
    write_images(root, names, (64, 64))
    xy = np.random.default_rng(0).uniform(5, 60, (count, 21, 2))
    return Hands(
        image=names,
        xy=xy,
        visibility=np.full((count, 21), 2),
        side=np.arange(count) % 2,
        group=np.arange(count),
        size=np.full((count, 2), 64),
        root=root,
    )


def coco(root: Path) -> tuple[Path, Path]:
    write(some_hands(root), root / "hands.json", "coco")
    return root / "hands.json", root / "hands.json"


def labelme(root: Path) -> tuple[Path, Path]:
    write(some_hands(root), root, "labelme")
    return root / "1.json", root


def yolo(root: Path) -> tuple[Path, Path]:
    write(some_hands(root / "photos"), root / "yolo", "yolo")
    (labels,) = (root / "yolo").rglob("1.txt")
    return labels, root / "yolo"


def yolo_yaml(root: Path) -> tuple[Path, Path]:
    _, folder = yolo(root)
    return folder / "data.yaml", folder


def table(root: Path) -> tuple[Path, Path]:
    write(some_hands(root), root / "hands.csv", "table")
    return root / "hands.csv", root / "hands.csv"


def table_json(root: Path) -> tuple[Path, Path]:
    write(some_hands(root, 1), root / "hands.json", "table")
    return root / "hands.json", root / "hands.json"


def parquet(root: Path) -> tuple[Path, Path]:
    write(some_hands(root), root / "hands.parquet", "table")
    return root / "hands.parquet", root / "hands.parquet"


def freihand_points(root: Path) -> tuple[Path, Path]:
    write_freihand(root)
    return root / "training_xyz.json", root


def freihand_cameras(root: Path) -> tuple[Path, Path]:
    write_freihand(root)
    return root / "training_K.json", root


def freihand_json(root: Path) -> tuple[Path, Path]:
    write_mmpose_freihand(root, {"test": [1, 2]})
    return root / "annotations" / "freihand_test.json", root / "annotations" / "freihand_test.json"


def rhd_json(root: Path) -> tuple[Path, Path]:
    write_images(root, ["00000.png", "00001.png"], (320, 320))
    return write_json(root / "rhd_train.json", mmpose_rhd([0, 1])), root / "rhd_train.json"


def rhd(root: Path) -> tuple[Path, Path]:
    return write_rhd(root, "training", {0: rhd_record(), 1: rhd_record(1)}), root


def a_photo(root: Path) -> tuple[Path, Path]:
    """The release's sizes are read from the headers of its pictures."""
    write_freihand(root)
    return root / "training" / "rgb" / "00000001.jpg", root


KINDS: list[Callable[[Path], tuple[Path, Path]]] = [
    *(coco, labelme, yolo, yolo_yaml, table, table_json, parquet),
    *(freihand_points, freihand_cameras, freihand_json, rhd_json, rhd, a_photo),
]
IN_JSON = [coco, labelme, table_json, freihand_points, freihand_cameras, freihand_json, rhd_json]

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.sampled_from([0, -1, 2**31, 2**63, 1e308, -1e308, 1e-320, float("nan"), float("inf"), 10**400]),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["", "a\x00b", "../../x", "/", "é\u202e", "\ud800", "1", "nan"]),
    st.recursive(st.none(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)),
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The same file, cut off, overwritten or lengthened in one place."""
    start = draw(st.integers(0, max(len(content) - 1, 0)))
    length = draw(st.integers(0, 40) | st.integers(0, len(content)))
    new = draw(st.binary(max_size=12) | st.sampled_from([b"\x00" * 50, b"\xff" * 50, b"9" * 400, b"[" * 100_000]))
    return content[:start] + new + content[start + length :]


@st.composite
def edited(draw: st.DrawFn, content: Any) -> Any:
    """The same JSON with another value in one place, or a key less."""
    content = json.loads(json.dumps(content))
    place: Any = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return content
        key = draw(st.sampled_from(keys))
        inner = place[key]
        if not (isinstance(inner, dict | list) and inner) or draw(st.integers(0, 3)) == 0:
            break
        place = inner
    if draw(st.integers(0, 4)) == 0:
        del place[key]
    else:
        place[key] = draw(VALUES)
    return content


def check(reading: Callable[[], object], path: Path) -> None:
    """It succeeds, or tells in one line what is wrong."""
    try:
        reading()
    except ValueError as error:
        said = str(error)
    else:
        return
    assert said.strip()
    assert "\n" not in said.strip()
    assert str(path.parent) in said or path.name in said


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bytes]:
    """A sound file, what is read, and the file's bytes."""
    file, path = request.param(tmp_path_factory.mktemp(request.param.__name__))
    assert len(read(path))
    return file, path, file.read_bytes()


@few
@given(data=st.data())
def test_damaged_bytes_give_hands_or_a_sentence(target: tuple[Path, Path, bytes], data: st.DataObject) -> None:
    file, path, sound = target
    file.write_bytes(data.draw(damaged(sound)))
    check(lambda: read(path), path)
    check(lambda: read_checked(path), path)


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        (yolo_yaml, b"val: images", b"val: " + b"9" * 400),
        (yolo_yaml, b"names", b"[" * 100_000),
        (table, b"0.jpg", b"9" * 400),
        (freihand_json, b"training/rgb/00000001.jpg", b"9" * 400),
        (rhd, b"\x80\x02", b"P\x80\x02"),
        (parquet, b"wrist", b"\x80rist"),
    ],
)
def test_what_fuzzing_found(kind: Callable[[Path], tuple[Path, Path]], old: bytes, new: bytes, tmp_path: Path) -> None:
    file, path = kind(tmp_path)
    assert old in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(old, new))
    check(lambda: read(path), path)
    check(lambda: read_checked(path), path)


@pytest.fixture(scope="module", params=IN_JSON, ids=lambda kind: kind.__name__)
def in_json(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """A sound JSON file, what is read, and its content."""
    file, path = request.param(tmp_path_factory.mktemp(request.param.__name__))
    return file, path, json.loads(file.read_text())


@few
@given(data=st.data())
def test_other_values_in_json_give_hands_or_a_sentence(in_json: tuple[Path, Path, Any], data: st.DataObject) -> None:
    file, path, sound = in_json
    file.write_text(json.dumps(data.draw(edited(sound))))
    check(lambda: read(path), path)
    check(lambda: read_checked(path), path)


@few
@given(data=st.data())
def test_other_values_in_rhds_pickle_give_hands_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("rhd")
    file = write_rhd(root, "training", {0: rhd_record(), 1: rhd_record(1)})
    record: dict[str, Any] = rhd_record()
    record[data.draw(st.sampled_from(sorted(record)))] = data.draw(
        VALUES | st.sampled_from([np.zeros(0), np.ones((42, 3), complex), np.full((42, 3), np.nan), np.array("x")])
    )
    file.write_bytes(pickle.dumps({0: record}))
    check(lambda: read(root), root)


@few
@given(content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_lists_of_boxes_and_of_gestures(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("lists") / "c6.txt"
    file.write_bytes(content)
    check(lambda: read_lists(file), file)
    boxes = file.with_suffix(".csv")
    boxes.write_bytes(b"image,x1,y1,x2,y2\n" + content)
    check(lambda: read_boxes(boxes), boxes)


@settings(few, max_examples=20)
@given(data=st.data())
@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_damaged_models(suffix: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    from knuckle.predict.shipped import shipped_file

    sound = shipped_file("light", suffix).read_bytes()
    file = tmp_path_factory.mktemp("models") / f"m{suffix}"
    start = data.draw(st.integers(0, 5000) | st.integers(0, len(sound) - 1))
    new = data.draw(st.binary(min_size=1, max_size=30))
    cut = data.draw(st.booleans())
    file.write_bytes(sound[:start] + new + (b"" if cut else sound[start + len(new) :]))
    check(lambda: load(file, threads=None), file)
