"""MMPose's RHD json: its nested keypoints, its true joint order, its sides and groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knuckle.formats import freihand, rhd
from knuckle.formats.problems import Problems, read_json
from knuckle.formats.rhd import read_rhd, splits_rhd
from knuckle.formats.rhd_json import FIRST_GROUP
from knuckle.hands import LEFT, RIGHT, Hands
from knuckle.skeleton import FINGERS
from tests.formats.datasets import mmpose_freihand, mmpose_rhd, write_images, write_json


def read(path: Path, split: str | None = None) -> Hands:
    return read_rhd(path, split, Problems())


def dataset(root: Path, split: str, content: dict[str, Any]) -> Path:
    folder = root / {"train": "training", "test": "evaluation"}[split] / "color"
    write_images(folder, [image["file_name"] for image in content["images"]], (320, 320))
    return write_json(root / "annotations" / f"rhd_{split}.json", content)


def test_keypoints_come_in_knuckles_order(tmp_path: Path) -> None:
    content = mmpose_rhd([3, 8], side="left")
    content["annotations"][1]["hand_type"] = "right"
    content["annotations"][0]["keypoints"] = [[100 + row, 50, 1] for row in range(21)]
    hands = read(dataset(tmp_path, "train", content))
    assert hands.xy[0, 0, 0] == 100
    for finger, joints in enumerate(FINGERS.values()):
        assert [hands.xy[0, joint, 0] - 100 for joint in joints] == [4 * finger + k for k in (4, 3, 2, 1)]
    assert hands.side.tolist() == [LEFT, RIGHT]
    assert hands.box[0].tolist() == [50.25, 60.5, 250.375, 251.25]
    assert hands.group.tolist() == [FIRST_GROUP["training"] + 3, FIRST_GROUP["training"] + 8]
    assert hands.size.tolist() == [[320, 320]] * 2
    assert (hands.visibility == 2).all()


def test_a_cleared_flag_is_occluded_inside_the_image_and_unlabelled_outside(tmp_path: Path) -> None:
    content = mmpose_rhd([3])
    content["annotations"][0]["keypoints"][4] = [10.0, 10.0, 0]  # thumb base
    content["annotations"][0]["keypoints"][1] = [330.0, 10.0, 0]  # thumb tip
    content["annotations"][0]["keypoints"][8] = [330.0, 10.0, 1]  # index base: outside, but flagged visible
    hands = read(dataset(tmp_path, "train", content))
    assert hands.visibility[0].tolist() == [2, 1, 2, 2, 0, *([2] * 16)]


def test_the_test_file_belongs_to_the_evaluation_images(tmp_path: Path) -> None:
    dataset(tmp_path, "train", mmpose_rhd([3]))
    dataset(tmp_path, "test", mmpose_rhd([3]))
    assert splits_rhd(tmp_path) == ("train", "test")
    hands = read(tmp_path)
    assert [path.parent.parent.name for path in hands.paths()] == ["training", "evaluation"]
    assert hands.group.tolist() == [FIRST_GROUP["training"] + 3, FIRST_GROUP["evaluation"] + 3]
    with pytest.raises(ValueError, match="no split 'val'; it has train, test"):
        read(tmp_path, "val")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints": [[1, 2, 1]] * 20}, r"has keypoints whose array has shape \(20, 3\) instead of \(21, 3\)"),
        ({"keypoints": [[1, 2, 1]] * 22}, r"has keypoints whose array has shape \(22, 3\) instead of \(21, 3\)"),
        ({"keypoints": [1, 2, 1] * 21}, r"has keypoints whose array has shape \(63,\) instead of \(21, 3\)"),
        ({"hand_type": "unknown"}, r"has the hand_type 'unknown', which is neither left nor right"),
        ({"bbox": [1.0, 2.0, 0.0, 4.0]}, "has a bbox without area"),
    ],
)
def test_a_bad_annotation_stops_the_reading_or_is_left_out(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    whole = read(dataset(tmp_path, "train", mmpose_rhd([1, 2])))
    content = mmpose_rhd([1, 2])
    content["annotations"][1].update(changes)
    file = dataset(tmp_path, "train", content)
    with pytest.raises(ValueError, match=rf"rhd_train\.json, annotations\[1\] {message}"):
        read(file)
    assert read_rhd(file, None, Problems("skip")) == whole[:1]


def test_detect_tells_the_two_files_of_mmpose_apart(tmp_path: Path) -> None:
    hands = write_json(tmp_path / "a.json", mmpose_rhd([1]))
    others = write_json(tmp_path / "b.json", mmpose_freihand([1]))
    assert (rhd.detect(hands), freihand.detect(hands)) == (True, False)
    assert (rhd.detect(others), freihand.detect(others)) == (False, True)


def test_the_real_file(shared_data: Path) -> None:
    file = shared_data / "formats" / "mmpose_rhd" / "test_rhd.json"
    hands = read(file)
    assert hands.side.tolist() == [LEFT, LEFT, RIGHT]
    assert (hands.visibility == 2).all()
    assert ((hands.xy >= 0) & (hands.xy <= 319)).all()
    # Fingers grow away from the wrist: seen in 3D, where nothing is foreshortened, in the first, open hand.
    points = np.array([record["joint_cam"] for record in read_json(file)["annotations"]])
    in_rhd_order = np.array([record["keypoints"] for record in read_json(file)["annotations"]])[..., :2]
    rows = [int(np.abs(in_rhd_order[0] - joint).sum(axis=1).argmin()) for joint in hands.xy[0]]
    from_wrist = np.linalg.norm(points[0] - points[0, 0], axis=1)[rows]
    for joints in FINGERS.values():
        assert (np.diff(from_wrist[list(joints)]) > 0).all()
