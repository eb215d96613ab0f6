"""Broken input through the front door: each case gets one sentence and an exit code, none a traceback.

Every case damages one thing in a sound data set of the real layout and runs the command that a user
would. The readers' own tests have many more; this table holds the promise as users meet it.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from knuckle.cli import main
from tests.formats.datasets import mmpose_freihand, rhd_record, write_freihand, write_json, write_rhd

Damage = Callable[[Path], Path]


def photo(path: Path, side: int = 64) -> Path:
    """A grey photo with some texture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def coco(root: Path, **changes: Any) -> Path:
    """A COCO file of two sound hands; keyword arguments replace fields of its first annotation."""
    names = ("a.jpg", "b.jpg")
    images = [
        {"id": n, "file_name": photo(root / name).name, "width": 64, "height": 64} for n, name in enumerate(names)
    ]
    points = [value for joint in range(21) for value in (10 + joint, 12 + joint, 2)]
    annotations: list[dict[str, Any]] = [
        {"id": n, "image_id": n, "category_id": 1, "keypoints": points, "bbox": [10, 12, 20, 20]} for n in range(2)
    ]
    annotations[0].update(changes)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "hand"}]}
    return write_json(root / "hands.json", content)


def edited(path: Path, edit: Callable[[Any], object]) -> Path:
    """A JSON file after a change of its content."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return path


def text(path: Path, content: str | bytes) -> Path:
    """A file with that content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def labelme(root: Path, edit: Callable[[Any], object]) -> Path:
    """A Labelme file of one hand, after a change."""
    photo(root / "a.jpg")
    shapes = [
        {"label": str(joint), "points": [[10 + joint, 20.0]], "shape_type": "point", "group_id": 0, "flags": {}}
        for joint in range(21)
    ]
    content: dict[str, Any] = {
        "version": "5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": "a.jpg",
        "imageData": None,
        "imageHeight": 64,
        "imageWidth": 64,
    }
    edit(content)
    return write_json(root / "a.json", content)


def yolo(root: Path, line: str) -> Path:
    """A YOLO-pose folder of one photo and one line of labels."""
    photo(root / "images" / "a.jpg")
    text(root / "data.yaml", "kpt_shape: [21, 3]\nnames: {0: hand}\n")
    text(root / "labels" / "a.txt", line)
    return root


def csv_table(root: Path, edit: Callable[[list[str]], object]) -> Path:
    """A long table written by knuckle, after a change of its lines."""
    assert main(["convert", str(coco(root)), str(root / "hands.csv")]) == 0
    lines = (root / "hands.csv").read_text().splitlines()
    edit(lines)
    return text(root / "hands.csv", "\n".join(lines) + "\n")


def freihand(root: Path, file: str, edit: Callable[[Any], object]) -> Path:
    """A FreiHAND release after a change of one of its files."""
    write_freihand(root)
    edited(root / file, edit)
    return root


def rhd(root: Path, content: Any) -> Path:
    """An RHD release whose pickle holds this."""
    write_rhd(root, "training", content)
    return root


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


class Bomb:
    """A pickle of it would call os.system."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch bomb-went-off",)


def yolo_without_photo(root: Path) -> Path:
    (yolo(root, WHOLE) / "images" / "a.jpg").unlink()
    return root


def freihand_without_photo(root: Path) -> Path:
    write_freihand(root)
    (root / "training" / "rgb" / "00000004.jpg").unlink()
    return root


def rhd_cut_off(root: Path) -> Path:
    cut(write_rhd(root, "training", {0: rhd_record()}))
    return root


def broken_rhd_points() -> dict[int, Any]:
    record = rhd_record()
    record["uv_vis"] = record["uv_vis"][:40]
    return {0: record}


POINTS = [value for joint in range(21) for value in (10 + joint, 12 + joint, 2)]
WHOLE = "0 0.5 0.5 0.4 0.4 " + " ".join(["0.5 0.5 2"] * 21)

READING: dict[str, tuple[Damage, str]] = {
    "nothing there": (lambda root: root / "nowhere.json", "nowhere.json"),
    "empty folder": (made, "no annotations"),
    "folder of bare photos": (lambda root: photo(root / "a.jpg").parent, "annotation"),
    "empty file": (lambda root: text(root / "hands.json", ""), "JSON"),
    "broken JSON": (lambda root: text(root / "hands.json", '{"images": [\n{"id": 1,]}'), "hands.json:2:"),
    "not UTF-8": (lambda root: text(root / "hands.json", b'{"images": "\xff\xfe"}'), "UTF-8"),
    "JSON of something else": (lambda root: text(root / "hands.json", "[1, 2]"), "hands.json"),
    "unknown suffix": (lambda root: text(root / "hands.xyz", "1"), "hands.xyz"),
    "20 keypoints": (lambda root: coco(root, keypoints=POINTS[:60]), "21"),
    "22 keypoints": (lambda root: coco(root, keypoints=[*POINTS, 1, 1, 2]), "21"),
    "visibility 3": (lambda root: coco(root, keypoints=[1, 1, 3, *POINTS[3:]]), "visibility"),
    "NaN keypoint": (lambda root: coco(root, keypoints=[float("nan"), 1, 2, *POINTS[3:]]), "annotations[0]"),
    "infinite keypoint": (lambda root: coco(root, keypoints=[float("inf"), 1, 2, *POINTS[3:]]), "annotations[0]"),
    "word for a number": (lambda root: coco(root, keypoints=["left", 1, 2, *POINTS[3:]]), "annotations[0]"),
    "box without area": (lambda root: coco(root, bbox=[5, 5, 0, 0]), "without area"),
    "box of three numbers": (lambda root: coco(root, bbox=[5, 5, 1]), "bbox"),
    "unknown side": (lambda root: coco(root, side="upper"), "side"),
    "unknown gesture": (lambda root: coco(root, gesture=77), "gesture"),
    "dangling image id": (lambda root: coco(root, image_id=99), "99"),
    "duplicate annotation id": (lambda root: coco(root, id=1), "annotations[1]"),
    "duplicate image id": (
        lambda root: edited(coco(root), lambda content: content["images"][0].update(id=1)),
        "images[1]",
    ),
    "image without a name": (
        lambda root: edited(coco(root), lambda content: content["images"][0].pop("file_name")),
        "file name",
    ),
    "Labelme: joint twice": (
        lambda root: labelme(root, lambda content: content["shapes"][3].update(label="4")),
        "a.json",
    ),
    "Labelme: unknown joint": (
        lambda root: labelme(root, lambda content: content["shapes"][3].update(label="elbow")),
        "elbow",
    ),
    "Labelme: a point of three numbers": (
        lambda root: labelme(root, lambda content: content["shapes"][3].update(points=[[1, 2, 3]])),
        "a.json",
    ),
    "Labelme: no shapes key": (lambda root: labelme(root, lambda content: content.pop("shapes")), "shapes"),
    "YOLO: short line": (lambda root: yolo(root, "0 0.5 0.5 0.4 0.4 0.1\n"), "a.txt:1"),
    "YOLO: word": (lambda root: yolo(root, WHOLE.replace("0.4", "wide", 1)), "a.txt:1"),
    "YOLO: NaN": (lambda root: yolo(root, WHOLE.replace("0.5 0.5 2", "nan 0.5 2", 1)), "a.txt:1"),
    "YOLO: photo missing": (yolo_without_photo, "a.txt"),
    "table: no x column": (lambda root: csv_table(root, lambda lines: replace_in(lines, 0, ",x,", ",ex,")), "x"),
    "table: word for a number": (
        lambda root: csv_table(root, lambda lines: replace_in(lines, 3, ",12.0,", ",low,")),
        ":",
    ),
    "table: half a hand": (lambda root: csv_table(root, lambda lines: lines.pop()), "hands.csv"),
    "FreiHAND: a camera too many": (
        lambda root: freihand(root, "training_K.json", lambda content: content.append(content[0])),
        "training_K.json",
    ),
    "FreiHAND: 20 points": (
        lambda root: freihand(root, "training_xyz.json", lambda content: content[1].pop()),
        "training_xyz.json",
    ),
    "FreiHAND: point in the camera": (
        lambda root: freihand(root, "training_xyz.json", lambda content: content[1][0].__setitem__(2, 0.0)),
        "training_xyz.json",
    ),
    "FreiHAND: camera of 2 rows": (
        lambda root: freihand(root, "training_K.json", lambda content: content[2].pop()),
        "training_K.json",
    ),
    "FreiHAND: image missing": (freihand_without_photo, "00000004.jpg"),
    "MMPose json: 20 points": (
        lambda root: write_json(root / "freihand_train.json", short_annotation()),
        "freihand_train.json",
    ),
    "RHD: pickle cut off": (rhd_cut_off, "anno_training.pickle"),
    "RHD: pickle that calls": (lambda root: rhd(root, {0: Bomb()}), "system"),
    "RHD: pickle of a list": (lambda root: rhd(root, [1, 2]), "anno_training.pickle"),
    "RHD: no points": (lambda root: rhd(root, {0: {"K": np.eye(3)}}), "uv_vis"),
    "RHD: 40 points": (lambda root: rhd(root, broken_rhd_points()), "anno_training.pickle"),
}


def replace_in(lines: list[str], number: int, old: str, new: str) -> None:
    assert old in lines[number], lines[number]
    lines[number] = lines[number].replace(old, new, 1)


def short_annotation() -> dict[str, Any]:
    content = mmpose_freihand([0, 1])
    content["annotations"][0]["keypoints"] = content["annotations"][0]["keypoints"][:60]
    return content


def cut(path: Path) -> Path:
    return text(path, path.read_bytes()[:-40])


def huge_png(path: Path) -> Path:
    """A PNG of a few bytes that claims 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return text(path, b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)))


PHOTOS: dict[str, tuple[Damage, str]] = {
    "missing": (lambda root: root / "gone.jpg", "gone.jpg"),
    "empty": (lambda root: text(root / "a.jpg", b""), "a.jpg"),
    "no image": (lambda root: text(root / "a.jpg", b"GIF89a, or so it says"), "a.jpg"),
    "JPEG cut off": (lambda root: cut(photo(root / "a.jpg")), "cut off"),
    "PNG cut off": (lambda root: cut(photo(root / "a.png")), "cut off"),
    "bomb": (lambda root: huge_png(root / "a.png"), "million"),
    "another size than labelled": (lambda root: photo(root / "a.jpg", side=80), "80 x 80"),
}


def one_sentence(captured: str) -> str:
    """What stderr holds, which must be one sentence without a traceback."""
    assert "Traceback" not in captured
    lines = captured.strip().splitlines()
    assert len(lines) == 1, captured
    assert lines[0].startswith("Error: ")
    assert lines[0].endswith(".")
    return lines[0]


@pytest.mark.parametrize("name", READING)
def test_reading_stops_with_one_sentence(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    damage, expected = READING[name]
    source = damage(tmp_path / "data")
    capfd.readouterr()
    code = main(["convert", str(source), str(tmp_path / "out.json")])
    assert code == 2
    assert expected in one_sentence(capfd.readouterr().err)
    assert not (tmp_path / "out.json").exists()
    assert not Path("bomb-went-off").exists()


@pytest.mark.parametrize("name", ["20 keypoints", "NaN keypoint", "dangling image id", "box without area"])
def test_skipping_keeps_the_rest_and_counts(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = READING[name][0](tmp_path)
    assert main(["convert", str(source), str(tmp_path / "out.json"), "--on-bad", "skip"]) == 0
    captured = capfd.readouterr()
    assert READING[name][1] in captured.err
    assert "Traceback" not in captured.err
    assert len(json.loads((tmp_path / "out.json").read_text())["annotations"]) == 1


@pytest.mark.parametrize("name", PHOTOS)
def test_a_bad_photo_stops_training_with_one_sentence(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    damage, expected = PHOTOS[name]
    labels = coco(tmp_path / "data")
    (tmp_path / "data" / "a.jpg").unlink()
    bad = damage(tmp_path / "data")
    edited(labels, lambda content: content["images"][0].update(file_name=bad.name))
    recipe = text(
        tmp_path / "recipe.yaml",
        f"data: {{path: '{labels}', validation: {{path: '{labels}'}}, on_bad: stop}}\n"
        "model: {backbone: resnet10t, size: 32}\ntrain: {epochs: 1, batch: 2}\ndevice: cpu\n",
    )
    capfd.readouterr()
    assert main(["train", str(recipe), "--out", str(tmp_path / "run"), "--dry-run"]) == 2
    assert expected in one_sentence(capfd.readouterr().err)


def test_a_pickle_bomb_would_go_off_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Bomb()))
    assert (tmp_path / "bomb-went-off").exists(), "or the case above proves nothing"


def test_there_are_enough_cases() -> None:
    assert len(READING) + len(PHOTOS) >= 40
