"""COCO keypoints: what is read from other tools' files, what is written, and how bad records are refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knuckle.formats import read, read_checked, write
from knuckle.formats.coco import write_coco
from knuckle.hands import group_number
from knuckle.skeleton import FROM_RHD, JOINT_NAMES
from tests.formats.fakes import assert_refused, example_hands, write_fake_images, write_json

Content = dict[str, Any]

KEYPOINTS = [number for joint in range(21) for number in (10.0 + joint, 20.0 + 2 * joint, 2)]


def _content() -> Content:
    """Two images with a hand each, as other tools write them."""
    annotation = {"image_id": 1, "category_id": 1, "bbox": [10, 20, 20.5, 40], "keypoints": KEYPOINTS}
    return {
        "images": [
            {"id": 1, "file_name": "a.jpg", "width": 64, "height": 80, "group": "garden"},
            {"id": 2, "file_name": "b.jpg", "width": 64, "height": 80},
        ],
        "annotations": [{"id": 5, **annotation}, {"id": 6, **annotation, "image_id": 2}],
        "categories": [{"id": 1, "name": "hand", "keypoints": list(JOINT_NAMES)}],
    }


def test_boxes_are_not_shifted_and_fields_are_found(tmp_path: Path) -> None:
    content = _content()
    content["annotations"][0] |= {"hand_type": "Left", "gesture": "Fist", "group": 12}
    content["annotations"][1] |= {"handedness": "right", "gesture": 24, "iscrowd": 1}
    hands = read(write_json(tmp_path / "x.json", content))
    assert hands.box.tolist() == [[10, 20, 30.5, 60]] * 2
    assert hands.side.tolist() == [0, 1]
    assert hands.gesture.tolist() == [6, 24]
    assert hands.group[0] == 12
    assert hands.size.tolist() == [[64, 80]] * 2
    assert hands.xy[0, 3].tolist() == [13, 26]


def test_groups_come_from_the_image_and_names_are_hashed(tmp_path: Path) -> None:
    hands = read(write_json(tmp_path / "x.json", _content()))
    assert hands.group.tolist() == [group_number("garden"), group_number("b.jpg")]


def test_a_missing_box_is_the_extent_of_the_labelled_keypoints(tmp_path: Path) -> None:
    content = _content()
    del content["annotations"][0]["bbox"]
    content["annotations"][0]["keypoints"] = [*KEYPOINTS[:60], 999, 999, 0]
    hands = read(write_json(tmp_path / "x.json", content))
    assert hands.box[0].tolist() == [10, 20, 29, 58]
    assert np.isnan(hands.xy[0, 20]).all()


@pytest.mark.parametrize(
    "names",
    [
        ["wrist", *(f"{finger}{k}" for finger in ("thumb", "forefinger") for k in (4, 3, 2, 1))]
        + [f"{finger}{k}" for finger in ("middle_finger", "ring_finger", "pinky_finger") for k in (4, 3, 2, 1)],
        ["WRIST", *(f"THUMB_{part}" for part in ("TIP", "IP", "MCP", "CMC"))]
        + [f"{finger}_{part}" for finger in ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
           for part in ("TIP", "DIP", "PIP", "MCP")],
        [str(joint) for joint in FROM_RHD],
        [str(joint + 1) for joint in FROM_RHD],
        [JOINT_NAMES[joint].replace("_", " ").title() for joint in FROM_RHD],
    ],
    ids=["freihand", "mediapipe", "numbers", "numbers from one", "knuckle"],
)  # fmt: skip
def test_named_keypoints_are_put_in_order(tmp_path: Path, names: list[str]) -> None:
    content = _content()
    content["categories"][0]["keypoints"] = names
    hands = read(write_json(tmp_path / "x.json", content))
    assert (hands.xy[0, :, 0] - 10).tolist() == list(FROM_RHD)


@pytest.mark.parametrize("names", [["nose", *JOINT_NAMES[1:]], ["wrist"] * 21, list(JOINT_NAMES[:20]), 21, [1] * 21])
def test_unclear_names_leave_the_order_as_it_stands(tmp_path: Path, names: object) -> None:
    content = _content()
    content["categories"][0]["keypoints"] = names
    hands = read(write_json(tmp_path / "x.json", content))
    assert (hands.xy[0, :, 0] - 10).tolist() == list(range(21))


def test_nested_keypoints_are_read(tmp_path: Path) -> None:
    content = _content()
    content["annotations"][0]["keypoints"] = np.reshape(KEYPOINTS, (21, 3)).tolist()
    hands = read(write_json(tmp_path / "x.json", content))
    assert np.array_equal(hands.xy[0], hands.xy[1])


def test_boxes_of_other_things_are_passed_over_and_boxes_of_hands_are_hands(tmp_path: Path) -> None:
    content = _content()
    content["categories"].append({"id": 2, "name": "face"})
    content["annotations"].append({"id": 7, "image_id": 1, "category_id": 2, "bbox": [0, 0, 5, 5]})
    content["annotations"].append({"id": 8, "image_id": 1, "category_id": 1, "bbox": [1, 2, 5, 5]})
    hands = read(write_json(tmp_path / "x.json", content))
    assert len(hands) == 3
    assert hands.box[2].tolist() == [1, 2, 6, 7]
    assert not hands.labeled[2].any()


def test_images_are_found_beside_or_in_a_folder_of_images(tmp_path: Path) -> None:
    hands = example_hands(root=tmp_path / "images")
    write_fake_images(hands)
    write(hands, tmp_path / "x.json")
    assert read(tmp_path / "x.json").image.tolist() == ["images/a.png", "images/a.png", "images/b.png"]
    text = (tmp_path / "x.json").read_text().replace("images/", "")
    for name in ("bare.json", "annotations/bare.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        assert all(path.is_file() for path in read(tmp_path / name).paths())


def test_the_file_is_valid_coco(tmp_path: Path) -> None:
    assert write(example_hands(), tmp_path / "x.json") == []
    content = json.loads((tmp_path / "x.json").read_text())
    assert [image["id"] for image in content["images"]] == [1, 2]
    assert [annotation["image_id"] for annotation in content["annotations"]] == [1, 1, 2]
    first = content["annotations"][0]
    assert first["num_keypoints"] == 20
    assert len(first["keypoints"]) == 63
    assert first["keypoints"][12:15] == [0, 0, 0]
    assert first["area"] == pytest.approx(first["bbox"][2] * first["bbox"][3])
    assert (first["side"], first["gesture"], first["group"], first["iscrowd"]) == ("left", "fist", 7, 0)
    assert "side" not in content["annotations"][2]
    assert content["categories"][0]["keypoints"] == list(JOINT_NAMES)
    assert max(max(bone) for bone in content["categories"][0]["skeleton"]) == 21


def test_numbers_are_short_and_exact(tmp_path: Path) -> None:
    hands = example_hands()
    hands = hands.replace(xy=np.round(hands.xy.astype(np.float64), 2), box=None)
    write(hands, tmp_path / "x.json")
    assert read(tmp_path / "x.json") == hands
    text = (tmp_path / "x.json").read_text()
    assert max(len(number) for number in text.replace("[", " ").replace(",", " ").split() if "." in number) <= 9


def test_a_folder_with_one_file_is_read_and_one_with_two_is_refused(tmp_path: Path) -> None:
    write(example_hands(), tmp_path / "one.json")
    assert read(tmp_path) == example_hands()
    write(example_hands(), tmp_path / "two.json")
    with pytest.raises(ValueError, match=r"exactly one COCO file, found one\.json, two\.json"):
        read(tmp_path, "coco")


def test_writing_refuses_what_would_not_come_back(tmp_path: Path) -> None:
    hands = example_hands()
    with pytest.raises(ValueError, match=r"x\.txt must end in \.json"):
        write(hands, tmp_path / "x.txt")
    with pytest.raises(ValueError, match=r"a\.png disagree on its size: \[10, 10\] in row 1"):
        write(hands.replace(size=[(320, 240), (10, 10), (224, 224)]), tmp_path / "x.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        write(hands, tmp_path / "file" / "x.json")


Change = Callable[[Content], object]


def _set(key: str, value: object) -> Change:
    return lambda content: content["annotations"][0].update({key: value})


def _keypoint(index: int, value: object) -> Change:
    return _set("keypoints", [*KEYPOINTS[:index], value, *KEYPOINTS[index + 1 :]])


BAD_RECORDS: list[tuple[str, Change, str]] = [
    ("20 points", _set("keypoints", KEYPOINTS[3:]), "annotations[0] (id 5) has 20 keypoints, expected 21"),
    ("22 points", _set("keypoints", [*KEYPOINTS, 1, 1, 2]), "has 22 keypoints"),
    ("half a point", _set("keypoints", KEYPOINTS[:-1]), "has keypoints of shape (62,)"),
    ("ragged", _set("keypoints", [[1, 2, 2], [1, 2]]), "has keypoints of uneven length"),
    ("visibility 3", _keypoint(2, 3), "has visibility 3 at keypoint 0 (wrist), expected 0, 1 or 2"),
    ("visibility 0.5", _keypoint(2, 0.5), "has visibility 0.5"),
    ("NaN", _keypoint(3, float("nan")), "has the position (nan, 22) at keypoint 1 (thumb_cmc)"),
    ("Infinity", _keypoint(4, float("inf")), "has the position (11, inf)"),
    ("too large", _keypoint(3, 1e300), "has the position (1e+300, 22)"),
    ("huge integer", _keypoint(3, 10**400), "has keypoints too large"),
    ("text", _keypoint(3, "12.5"), "has keypoints that are not all numbers, such as '12.5'"),
    ("null", _keypoint(3, None), "has the position (nan, 22)"),
    ("object", _set("keypoints", {"wrist": 1}), "has keypoints that are not all numbers"),
    ("true", _set("keypoints", [True] * 63), "has keypoints that are not all numbers"),
    ("box of zero area", _set("bbox", [10, 20, 0, 40]), "has a box without area (0 x 40 pixels)"),
    ("box of negative size", _set("bbox", [10, 20, -3, 40]), "has a box of negative size"),
    ("box of 3 numbers", _set("bbox", [10, 20, 30]), "has a bbox of shape (3,)"),
    ("box of NaN", _set("bbox", [float("nan"), 0, 1, 1]), "has the box [nan, 0.0, nan, 1.0]"),
    ("box of text", _set("bbox", "10 20 30 40"), "has bbox that are not all numbers"),
    ("dangling image", _set("image_id", 9), "has the image_id 9, which is not among the usable images"),
    ("no image", lambda c: c["annotations"][0].pop("image_id"), 'has no "image_id"'),
    ("list as image", _set("image_id", [1]), "has the image_id [1]"),
    ("dangling category", _set("category_id", 9), "has the category_id 9, which is not among the categories"),
    ("list as category", _set("category_id", [1]), "has the category_id [1]"),
    ("nothing", lambda c: [c["annotations"][0].pop(key) for key in ("bbox", "keypoints")], "neither keypoints nor"),
    ("side", _set("side", "both"), 'has the side \'both\', expected "left" or "right"'),
    ("gesture", _set("gesture", "wave"), "has the gesture 'wave', expected 0 to 24"),
    ("gesture 25", _set("gesture", 25), "has the gesture 25"),
    ("group", _set("group", 1.5), "has the group 1.5, expected a name or a whole number"),
    ("huge group", _set("group", 2**63), "has the group 9223372036854775808"),
    ("score", _set("score", 1.5), "has a score outside of 0..1"),
    ("confidence", _set("confidence", [0.5] * 20), "has confidence of shape (20,), expected (21,)"),
    ("no object", lambda c: c["annotations"].__setitem__(0, 7), "annotations[0] is 7, expected an object"),
    ("two ids", lambda c: c["annotations"].insert(0, {**c["annotations"][0]}), "(id 5) repeats the id of another"),
]


@pytest.mark.parametrize(("change", "expected"), [case[1:] for case in BAD_RECORDS], ids=[c[0] for c in BAD_RECORDS])
def test_a_bad_annotation_is_one_sentence_and_the_others_remain(tmp_path: Path, change: Change, expected: str) -> None:
    content = copy.deepcopy(_content())
    change(content)
    good = 2 if "repeats" in expected else 1
    assert_refused(write_json(tmp_path / "x.json", content), expected, good)


BAD_IMAGES: list[tuple[str, Change, str]] = [
    ("two ids", lambda c: c["images"].append({"id": 2, "file_name": "c.jpg"}), "images[2] (id 2) repeats the id"),
    ("no name", lambda c: c["images"][0].pop("file_name"), "images[0] (id 1) has the image path None"),
    ("number as name", lambda c: c["images"][0].update(file_name=3), "has the image path 3"),
    ("lone surrogate", lambda c: c["images"][0].update(file_name="\ud800.jpg"), "has the image path"),
    ("width as text", lambda c: c["images"][0].update(width="wide"), "has the image width 'wide'"),
    ("negative height", lambda c: c["images"][0].update(height=-1), "has the image height -1"),
    ("no object", lambda c: c["images"].append(None), "images[2] is None, expected an object"),
]


@pytest.mark.parametrize(("change", "expected"), [case[1:] for case in BAD_IMAGES], ids=[c[0] for c in BAD_IMAGES])
def test_a_bad_image_is_one_sentence_and_its_hands_are_left_out(tmp_path: Path, change: Change, expected: str) -> None:
    content = copy.deepcopy(_content())
    change(content)
    good = 2 if "images[2]" in expected else 1
    path = write_json(tmp_path / "x.json", content)
    assert_refused(path, expected, good)
    _, messages = read_checked(path)
    assert len(messages) == 3 - good


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "x.json:1:1 is not valid JSON"),
        ('{"images": [],\n "annotations": [,]}', "x.json:2:18 is not valid JSON"),
        ("[1, 2]", "holds a JSON list, but a COCO file is an object"),
        ('{"images": []}', 'has no "annotations", expected the list'),
        ('{"images": {}, "annotations": []}', 'has a number as "images"'),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}',
            'none with keypoints and none called "hand"',
        ),
    ],
)
def test_a_file_that_is_no_coco_is_one_sentence(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert_refused(tmp_path / "x.json", expected, format="coco")


def test_images_without_a_hand_are_listed_and_read_over(tmp_path: Path) -> None:
    hands = example_hands()
    write_coco(hands, tmp_path / "x.json", {"empty/1.jpg": (64, 48), "empty/2.jpg": (32, 32)})
    images = json.loads((tmp_path / "x.json").read_text())["images"]
    assert images[-2:] == [
        {"id": len(images) - 1, "file_name": "empty/1.jpg", "width": 64, "height": 48},
        {"id": len(images), "file_name": "empty/2.jpg", "width": 32, "height": 32},
    ]
    assert len({image["id"] for image in images}) == len(images)
    assert read(tmp_path / "x.json") == hands
