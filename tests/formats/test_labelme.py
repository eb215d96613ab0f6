"""Labelme: dialects of labels, what rides on the rectangle, rewriting without losing a thing, bad files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knuckle.formats import read, read_checked, write
from knuckle.hands import Hands
from knuckle.skeleton import JOINT_NAMES
from tests.formats.fakes import assert_refused, example_hands, write_json

Content = dict[str, Any]

MEDIAPIPE = [
    "WRIST",
    *(f"THUMB_{part}" for part in ("CMC", "MCP", "IP", "TIP")),
    *(f"{f}_FINGER_{part}" for f in ("INDEX", "MIDDLE", "RING") for part in ("MCP", "PIP", "DIP", "TIP")),
    *(f"PINKY_{part}" for part in ("MCP", "PIP", "DIP", "TIP")),
]
FREIHAND = [
    "wrist",
    *(f"{f}{k}" for f in ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger") for k in (1, 2, 3, 4)),
]


def _point(label: str, joint: int, group_id: int | None = None, **keys: Any) -> Content:
    shape = {"label": label, "points": [[10.0 + joint, 20.0 + 2 * joint]], "group_id": group_id}
    return shape | {"shape_type": "point", "flags": {}} | keys


def _file(shapes: list[Content], **keys: Any) -> Content:
    content: Content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": "a.jpg", "imageData": None}
    return content | {"imageHeight": 48, "imageWidth": 64} | keys


def _hand(labels: list[str], group_id: int | None = None) -> list[Content]:
    return [_point(label, joint, group_id) for joint, label in enumerate(labels)]


@pytest.mark.parametrize(
    "labels",
    [
        list(JOINT_NAMES),
        MEDIAPIPE,
        FREIHAND,
        [name.replace("_", "-").upper() for name in JOINT_NAMES],
        [name.replace("little", "pinky").replace("_", " ").title() for name in JOINT_NAMES],
        [str(joint) for joint in range(21)],
        [str(joint + 1) for joint in range(21)],
    ],
    ids=["knuckle", "mediapipe", "freihand", "dashes", "pinky", "numbers", "numbers from one"],
)
def test_dialects_of_labels(tmp_path: Path, labels: list[str]) -> None:
    hands = read(write_json(tmp_path / "a.json", _file(_hand(labels))))
    assert hands.xy[0, :, 0].tolist() == [10.0 + joint for joint in range(21)]
    assert hands.image.tolist() == ["a.jpg"]
    assert hands.size.tolist() == [[64, 48]]


def test_numbers_count_from_where_the_whole_folder_says(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", _file(_hand([str(joint + 1) for joint in range(21)])))
    write_json(tmp_path / "b.json", _file([_point("1", 0)], imagePath="b.jpg"))
    assert read(tmp_path).visibility[1].tolist() == [2] + [0] * 20


def test_missing_joints_are_missing_shapes_and_a_flag_says_occluded(tmp_path: Path) -> None:
    shapes = [_point("wrist", 0), _point("index_tip", 8, flags={"occluded": True, "blurred": True})]
    hands = read(write_json(tmp_path / "a.json", _file(shapes)))
    assert hands.visibility[0].tolist() == [2] + [0] * 7 + [1] + [0] * 12


def test_hands_are_told_apart_by_group_id(tmp_path: Path) -> None:
    shapes = _hand(list(JOINT_NAMES), 3) + _hand(FREIHAND, 1)
    hands = read(write_json(tmp_path / "a.json", _file(shapes)))
    assert len(hands) == 2
    assert np.array_equal(hands.xy[0], hands.xy[1])


def test_a_rectangle_holds_the_box_side_and_gesture_whichever_way_it_was_drawn(tmp_path: Path) -> None:
    box = _point("Hand", 0) | {"shape_type": "rectangle", "points": [[60, 40], [5, 7]]}
    box["flags"] = {"left": True, "right": False, "fist": True}
    for shapes in ([box, *_hand(FREIHAND)], [*_hand(FREIHAND, 4), box], [box]):
        hands = read(write_json(tmp_path / "a.json", _file(shapes)))
        assert hands.box.tolist() == [[5, 7, 60, 40]]
        assert (hands.side.tolist(), hands.gesture.tolist()) == ([0], [6])


def test_boxes_alone_are_hands_without_keypoints(tmp_path: Path) -> None:
    box = _point("hand", 0) | {"shape_type": "rectangle", "points": [[5, 7], [60, 40]]}
    assert len(read(write_json(tmp_path / "a.json", _file([box, box])))) == 2


def test_a_box_beside_hands_that_have_their_own_is_a_hand(tmp_path: Path) -> None:
    lone = _box(group_id=None, points=[[1, 1], [9, 9]])
    hands = read(write_json(tmp_path / "a.json", _file([*_hand(FREIHAND, 0), _box(), lone])))
    assert hands.box.tolist() == [[0, 0, 60, 70], [1, 1, 9, 9]]
    assert hands.labeled.sum(axis=1).tolist() == [21, 0]
    loose = write_json(tmp_path / "b.json", _file([*_hand(FREIHAND, 0), _box(), *_hand(FREIHAND), lone]))
    assert_refused(loose, "no group_id", 1)


def test_hands_of_boxes_without_group_id_are_told_apart_when_they_get_points(tmp_path: Path) -> None:
    hands = example_hands(tmp_path)[:2].replace(image=["a.jpg", "a.jpg"])
    boxes = [_box(group_id=None, points=[[k, 7], [60, 40]], note=k) for k in (5, 6)]
    write_json(tmp_path / "a.json", _file([*boxes, _point("cup", 0, 0) | {"shape_type": "polygon"}]))
    write(hands, tmp_path, "labelme")
    np.testing.assert_array_equal(read(tmp_path).xy, hands.xy)
    shapes = json.loads((tmp_path / "a.json").read_text())["shapes"]
    assert [shape["group_id"] for shape in shapes if "note" in shape] == [1, 2]
    assert {shape["group_id"] for shape in shapes if shape["label"] == "wrist"} == {1, 2}


def test_an_image_without_hands_and_foreign_shapes_give_no_row(tmp_path: Path) -> None:
    polygon = _point("cat", 0) | {"shape_type": "polygon", "points": [[0, 0], [1, 1], [2, 0]]}
    write_json(tmp_path / "a.json", _file([polygon]))
    write_json(tmp_path / "b.json", _file([]))
    assert len(read(tmp_path)) == 0


def test_image_paths_may_hold_backslashes_and_lead_from_the_file(tmp_path: Path) -> None:
    write_json(tmp_path / "sub" / "a.json", _file(_hand(FREIHAND), imagePath="..\\photos\\a.jpg"))
    hands = read(tmp_path)
    assert hands.image.tolist() == ["photos/a.jpg"]
    assert hands.paths() == [tmp_path / "photos" / "a.jpg"]


def test_written_files_are_labelme_files(tmp_path: Path) -> None:
    assert write(example_hands(), tmp_path, "labelme") == []
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["imagePath"] == "a.png"
    assert content["imageData"] is None
    assert (content["imageWidth"], content["imageHeight"]) == (320, 240)
    points = [shape for shape in content["shapes"] if shape["shape_type"] == "point"]
    assert len(points) == 20 + 21
    assert {shape["group_id"] for shape in points} == {0, 1}
    assert [shape["label"] for shape in points if shape["flags"].get("occluded")] == ["index_dip"]
    for shape in content["shapes"]:
        assert set(shape) >= {"label", "points", "group_id", "shape_type", "flags", "description", "mask"}


def test_images_with_one_stem_get_files_of_their_own(tmp_path: Path) -> None:
    hands = example_hands().replace(image=["x.png", "x.jpg", "sub/x.png"], size=None)
    write(hands, tmp_path, "labelme")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json")) == [
        "sub/x.json",
        "x.jpg.json",
        "x.json",
    ]
    assert sorted(read(tmp_path).image) == sorted(hands.image)


def test_rewriting_keeps_foreign_shapes_flags_keys_and_labels(tmp_path: Path) -> None:
    polygon = _point("cat", 0) | {"shape_type": "polygon", "points": [[0, 0], [1, 1], [2, 0]], "mine": [1]}
    shapes = [*_hand(FREIHAND, 5), polygon]
    shapes[3] |= {"description": "unsure", "flags": {"occluded": True, "blurred": True}, "by": "Ann"}
    content = _file(shapes, flags={"checked": True}, imageData="AAAA", reviewer={"name": "Bo"})
    file = write_json(tmp_path / "other name.json", content)
    hands = read(tmp_path)
    moved = hands.replace(xy=hands.xy + 1, visibility=np.full((1, 21), 2), side=[1])
    assert write(moved, tmp_path, "labelme") == []
    assert [path.name for path in tmp_path.iterdir()] == ["other name.json"]
    after = json.loads(file.read_text())
    for key in ("version", "flags", "imagePath", "imageData", "reviewer", "imageHeight"):
        assert after[key] == content[key]
    assert after["shapes"][0] == polygon
    thumb = next(shape for shape in after["shapes"] if shape["label"] == "thumb3")
    assert thumb == shapes[3] | {"points": [[14, 27]], "flags": {"blurred": True}}
    assert {shape["group_id"] for shape in after["shapes"][1:]} == {5}
    assert read(tmp_path) == moved


def test_rewriting_does_not_give_one_hands_keys_to_another(tmp_path: Path) -> None:
    shapes = [*_hand(FREIHAND, 0), *_hand(FREIHAND, 1)]
    shapes[0]["by"] = "Ann"
    write_json(tmp_path / "a.json", _file(shapes))
    write(read(tmp_path)[1], tmp_path, "labelme")
    assert "Ann" not in (tmp_path / "a.json").read_text()
    assert len(read(tmp_path)) == 1


def test_rewriting_keeps_hands_that_could_not_be_read(tmp_path: Path) -> None:
    shapes = [*_hand(FREIHAND, 0), _point("elbow", 3, 1), _point("wrist", 0, 1)]
    write_json(tmp_path / "a.json", _file(shapes))
    hands, messages = read_checked(tmp_path)
    assert len(messages) == 1
    write(Hands.concat([hands, hands]), tmp_path, "labelme")
    after = json.loads((tmp_path / "a.json").read_text())["shapes"]
    assert after[:2] == shapes[-2:]
    assert {shape["group_id"] for shape in after} == {0, 1, 2}


def test_other_files_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match=r"a\.json is there already and is not the Labelme file of a\.png"):
        write(example_hands(), tmp_path, "labelme")
    assert (tmp_path / "a.json").read_text() == '{"images": []}'
    with pytest.raises(ValueError, match=r"a\.json is a file, but Labelme files are written into a folder"):
        write(example_hands(), tmp_path / "a.json", "labelme")


def test_what_labelme_cannot_hold_is_said(tmp_path: Path) -> None:
    hands = example_hands()
    nothing = hands.replace(visibility=np.zeros((3, 21)), box=np.full((3, 4), np.nan))
    sure = hands[[2, 0]].replace(confidence=np.full((2, 21), 0.5))
    assert write(nothing, tmp_path / "a", "labelme") == ["hands: 3 hands with neither keypoints nor a box left out."]
    assert write(sure, tmp_path / "b", "labelme") == [
        "confidence: that of 1 unlabelled keypoint left out.",
        "order: the hands will come back in the order of the file names.",
    ]


Change = Callable[[list[Content]], object]

BAD_SHAPES: list[tuple[str, Change, str]] = [
    ("unknown label", lambda s: s[2].update(label="elbow"), "shapes[2] (label 'elbow', group_id 0) is none of the 21"),
    ("22 points", lambda s: s.append(_point("22", 0, 0)), "shapes[42] (label '22', group_id 0) is none of the 21"),
    ("a joint twice", lambda s: s[2].update(label="wrist"), "(label 'wrist', group_id 0) is the hand's second"),
    ("no point", lambda s: s[2].update(shape_type="circle"), "is a circle, but a joint must be a point"),
    ("two positions", lambda s: s[2].update(points=[[1, 2], [3, 4]]), "with points of shape (2, 2), expected (1, 2)"),
    ("three numbers", lambda s: s[2].update(points=[[1, 2, 3]]), "with points of shape (1, 3)"),
    ("no points", lambda s: s[2].pop("points"), "with points of shape ()"),
    ("text", lambda s: s[2].update(points=[["1", 2]]), "has points that are not all numbers, such as '1'"),
    ("NaN", lambda s: s[2].update(points=[[float("nan"), 2]]), "the hand with group_id 0 has the position (nan, 2)"),
    ("no group_id", lambda s: s[2].update(group_id=None), "some of their shapes have no group_id"),
    ("two boxes", lambda s: s.extend([_box(), _box()]), "shapes[43] (label 'hand', group_id 0) is a second box"),
    ("flat box", lambda s: s.append(_box(points=[[1, 2], [1, 5]])), "has a box without area (0 x 3 pixels)"),
    ("two sides", lambda s: s.append(_box(flags={"left": True, "right": True})), "has the flags left, right at once"),
    ("group", lambda s: s.append(_box(group=[1])), "has the group [1]"),
    ("confidence", lambda s: s[2].update(confidence=2), "has a confidence outside of 0..1"),
    ("covariance", lambda s: s[2].update(covariance=[1, 2]), "has 2 numbers as covariance of 'thumb_mcp'"),
]  # fmt: skip


def _box(**keys: Any) -> Content:
    return _point("hand", 0, 0) | {"shape_type": "rectangle", "points": [[0, 0], [60, 70]]} | keys


@pytest.mark.parametrize(("change", "expected"), [c[1:] for c in BAD_SHAPES], ids=[c[0] for c in BAD_SHAPES])
def test_a_bad_hand_is_one_sentence_and_the_others_remain(tmp_path: Path, change: Change, expected: str) -> None:
    shapes = _hand(list(JOINT_NAMES), 0) + _hand(list(JOINT_NAMES), 1)
    change(shapes)
    good = 2 if "no group_id" in expected else 1  # only the stray point is left out
    assert_refused(write_json(tmp_path / "a.json", _file(shapes)), expected, good)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ":1:1 is not valid JSON"),
        (b'{"shapes": [\n{"label": }', ":2:11 is not valid JSON"),
        (b'{"shapes": "none"}', "is no Labelme file: it must be a JSON object with a list"),
        (b'{"imagePath": "a.jpg"}', "is no Labelme file"),
        (b'["shapes"]', "is no Labelme file"),
        (b'{"shapes": [3], "imagePath": "a.jpg"}', "shapes[0] is no object with a label"),
        (b'{"shapes": [{"label": "wrist", "group_id": []}]}', "shapes[0] has the group_id []"),
        (b'{"shapes": []}', "has the image path None"),
        (b'{"shapes": [], "imagePath": "a.jpg", "imageWidth": "wide"}', "has the image width 'wide'"),
        ('{"shapes": [], "imagePath": "é.jpg"}'.encode("latin-1"), "is not a text file in UTF-8"),
    ],
)
def test_a_bad_file_is_one_sentence_and_the_others_remain(tmp_path: Path, content: bytes, expected: str) -> None:
    write_json(tmp_path / "a.json", _file(_hand(FREIHAND)))
    (tmp_path / "b.json").write_bytes(content)
    assert_refused(tmp_path, expected, good=1)


def test_a_folder_without_json_is_one_sentence(tmp_path: Path) -> None:
    assert_refused(tmp_path, "holds no .json file", format="labelme")
