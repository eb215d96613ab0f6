"""MMPose's FreiHAND json: read as MMPose means it, written so that it reads back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from knuckle.formats import freihand, mmpose_json
from knuckle.formats.freihand import read_freihand, splits_freihand, write_freihand
from knuckle.formats.problems import Problems, read_json
from knuckle.hands import RIGHT, VISIBLE, Hands
from tests.formats.datasets import mmpose_freihand, write_images, write_json, write_mmpose_freihand
from tests.formats.datasets import write_freihand as write_release

VERSION = 32560


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.delenv("KNUCKLE_CACHE", raising=False)
    return folder


def read(path: Path, split: str | None = None) -> Hands:
    return read_freihand(path, split, Problems())


def one_file(root: Path, content: Any, name: str = "annotations/freihand_train.json") -> Path:
    """The file and the images that it names."""
    for image in content.get("images", []) if isinstance(content, dict) else []:
        if isinstance(image, dict) and isinstance(image.get("file_name"), str) and image["file_name"]:
            write_images((root / image["file_name"]).parent, [Path(image["file_name"]).name])
    return write_json(root / name, content)


def test_a_file_is_read_as_it_says(tmp_path: Path) -> None:
    numbers = [5, 5 + VERSION, 17, 17 + 3 * VERSION]
    content = mmpose_freihand(numbers)
    content["annotations"][1]["bbox"] = [10.5, 20, 30, 40.25]
    hands = read(one_file(tmp_path, content))
    assert hands.group.tolist() == [5, 5, 17, 17]
    assert hands.root == tmp_path
    assert hands.image[0] == "training/rgb/00000005.jpg"
    keypoints = np.array([record["keypoints"] for record in content["annotations"]]).reshape(4, 21, 3)
    np.testing.assert_array_equal(hands.xy, keypoints[..., :2].astype(np.float32))
    assert (hands.visibility == VISIBLE).all()
    assert (hands.side == RIGHT).all()
    assert hands.box.tolist()[:2] == [[55, 50, 165, 170], [10.5, 20, 40.5, 60.25]]
    assert hands.size.tolist() == [[224, 224]] * 4


def test_a_keypoint_without_label_has_none(tmp_path: Path) -> None:
    content = mmpose_freihand([1])
    content["annotations"][0]["keypoints"][3:6] = [0, 0, 0]
    content["annotations"][0]["keypoints"][8] = 2
    hands = read(one_file(tmp_path, content))
    assert hands.visibility[0].tolist() == [2, 0, *([2] * 19)]


def test_a_folder_has_the_splits_of_its_files(tmp_path: Path) -> None:
    write_mmpose_freihand(tmp_path, {"train": [1, 2, 3], "test": [4]})
    assert splits_freihand(tmp_path) == ("train", "test")
    assert freihand.detect(tmp_path)
    assert read(tmp_path, "test").group.tolist() == [4]
    assert read(tmp_path).group.tolist() == [1, 2, 3, 4]
    assert read(tmp_path / "annotations").group.tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="no split 'val'; it has train, test"):
        read(tmp_path, "val")
    with pytest.raises(ValueError, match="single file, so it has no split 'train'"):
        read(tmp_path / "annotations" / "freihand_train.json", "train")


@pytest.mark.parametrize("folder", [".", "training/rgb", "annotations", "annotations/training/rgb"])
def test_images_are_found_wherever_they_lie(folder: str, tmp_path: Path) -> None:
    content = mmpose_freihand([7])
    content["images"][0]["file_name"] = "00000007.jpg"
    write_images(tmp_path / folder, ["00000007.jpg"])
    (path,) = read(write_json(tmp_path / "annotations" / "x.json", content)).paths()
    assert path.resolve() == (tmp_path / folder / "00000007.jpg").resolve()


def test_detect_tells_the_file_from_plain_coco(tmp_path: Path) -> None:
    content = mmpose_freihand([1])
    assert freihand.detect(write_json(tmp_path / "a" / "mine.json", content))
    assert freihand.detect(tmp_path / "a")  # its only json
    content["info"] = {"description": "My own hands"}
    assert not freihand.detect(write_json(tmp_path / "b" / "mine.json", content))
    assert not freihand.detect(write_json(tmp_path / "b" / "freihand_train.json", content).with_name("mine.json"))
    del content["info"]
    assert not freihand.detect(write_json(tmp_path / "c" / "mine.json", content))
    assert freihand.detect(write_json(tmp_path / "d" / "freihand_val.json", content))
    assert not freihand.detect(write_json(tmp_path / "e" / "freihand_val.json", {"shapes": []}))
    assert not freihand.detect(tmp_path / "none.json")


def test_the_second_reading_comes_from_the_cache(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mmpose_freihand(tmp_path, {"train": list(range(900))})
    first = read(tmp_path)
    assert len(list(own_cache.rglob("*.npz"))) == 1
    monkeypatch.setattr(mmpose_json, "read_json", lambda path: pytest.fail(f"{path} was parsed again"))
    assert read(tmp_path) == first
    (tmp_path / "training" / "rgb" / "00000100.jpg").unlink()
    problems = Problems("skip")
    assert len(read_freihand(tmp_path, None, problems)) == 899
    assert "00000100.jpg is missing" in problems.messages[0]


Break = Callable[[dict[str, Any]], Any]


def image(**changes: Any) -> Break:
    return lambda content: content["images"][1].update(changes)


def hand(**changes: Any) -> Break:
    return lambda content: content["annotations"][1].update(changes)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            hand(keypoints=[1.0] * 60),
            r"annotations\[1\] has keypoints whose array has shape \(60,\) instead of \(63,\)",
        ),
        (
            hand(keypoints=[1.0] * 66),
            r"annotations\[1\] has keypoints whose array has shape \(66,\) instead of \(63,\)",
        ),
        (hand(keypoints=None), r"annotations\[1\] has keypoints whose array is not an array of numbers"),
        (hand(keypoints=["1"] * 63), r"annotations\[1\] has keypoints whose array is not an array of numbers"),
        (hand(keypoints=[5.0, 5.0, 7] * 21), r"annotations\[1\] has a keypoint whose v is not 0, 1 or 2"),
        (hand(keypoints=[float("nan"), 5.0, 1] * 21), r"annotations\[1\] has a labelled keypoint that is not finite"),
        (hand(keypoints=[1e39, 5.0, 1] * 21), r"annotations\[1\] has a labelled keypoint that is not finite"),
        (hand(bbox=[5, 5, 10]), r"annotations\[1\] has a bbox that has shape \(3,\) instead of \(4,\)"),
        (hand(bbox=[5, 5, 0, 10]), r"annotations\[1\] has a bbox without area"),
        (hand(bbox=[5, 5, -3, 10]), r"annotations\[1\] has a bbox without area"),
        (hand(bbox=[float("nan"), 5, 3, 10]), r"annotations\[1\] has a bbox without area, or one that is not finite"),
        (hand(image_id=99), r"annotations\[1\] refers to image 99, which is not among"),
        (hand(image_id="a"), r"annotations\[1\] needs a whole number as id and as image_id"),
        (hand(id=1), r"annotations\[1\] has the id 1, which another annotation has"),
        (hand(id=[1]), r"annotations\[1\] needs a whole number as id and as image_id"),
        (hand(hand_type="both"), r"annotations\[1\] has the hand_type 'both'"),
        (lambda content: content["annotations"].__setitem__(1, 5), r"annotations\[1\] needs a whole number as id"),
        (image(id=1), r"images\[1\] has the id 1, which another image has"),
        (image(id=10**20), r"images\[1\] has the id 1\d{20}, which is too large"),
        (image(width=0), r"images\[1\] says that it is 0 x 224 pixels large"),
        (image(width=None), r"images\[1\] needs id, file_name, width and height"),
        (image(file_name=5), r"images\[1\] has 5 as file_name"),
        (image(file_name=""), r"images\[1\] has '' as file_name"),
    ],
)
def test_a_bad_annotation_stops_the_reading_or_is_left_out(break_it: Break, message: str, tmp_path: Path) -> None:
    whole = read(one_file(tmp_path, mmpose_freihand([1, 2, 3])))
    content = mmpose_freihand([1, 2, 3])
    break_it(content)
    file = one_file(tmp_path, content)
    with pytest.raises(ValueError, match=rf"freihand_train\.json, {message}"):
        read(file)
    problems = Problems("skip")
    assert read_freihand(file, None, problems) == whole[[0, 2]]


def test_a_missing_image_stops_the_reading_or_is_left_out(tmp_path: Path) -> None:
    file = one_file(tmp_path, mmpose_freihand([1, 2, 3]))
    whole = read(file)
    (tmp_path / "training" / "rgb" / "00000001.jpg").unlink()
    with pytest.raises(ValueError, match=r"training/rgb/00000001\.jpg is missing"):
        read(file)
    assert read_freihand(file, None, Problems("skip")) == whole[1:]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [\n{"id": }]}', r"x\.json:2:8 is not valid JSON"),
        ("[]", r"x\.json is not an annotation file: it needs the lists"),
        ('{"images": [], "annotations": {}}', r"x\.json is not an annotation file: it needs the lists"),
    ],
)
def test_a_broken_file_gets_a_sentence(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "x.json")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.json does not exist"):
        read(tmp_path / "none.json")
    with pytest.raises(
        ValueError, match=r"holds none of freihand_train\.json, freihand_val\.json, freihand_test\.json"
    ):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"its images \(the first is training/rgb/00000001\.jpg\) lie neither"):
        read(write_json(tmp_path / "x.json", mmpose_freihand([1])))


def test_a_file_without_annotations_is_empty(tmp_path: Path) -> None:
    assert len(read(write_json(tmp_path / "x.json", mmpose_freihand([])))) == 0


def test_the_release_survives_being_written_for_mmpose(tmp_path: Path) -> None:
    write_release(tmp_path, records=3, versions=4)
    hands = read(tmp_path, "training")
    assert write_freihand(hands, tmp_path / "annotations" / "freihand_train.json") == [
        "9 hands in another group, which this layout takes from the image's number % 32560."  # 3 records, not 32560
    ]
    content = read_json(tmp_path / "annotations" / "freihand_train.json")
    assert content["images"][4] == {"file_name": "training/rgb/00000004.jpg", "height": 224, "width": 224, "id": 4}
    first = content["annotations"][0]
    assert (first["id"], first["image_id"], first["category_id"], len(first["keypoints"])) == (0, 0, 1, 63)
    assert set(first["keypoints"][2::3]) == {1}
    back = read(tmp_path, "train")
    assert back.replace(group=hands.group) == hands
    assert back.group.tolist() == list(range(12))


def test_what_the_layout_cannot_hold_is_listed(tmp_path: Path) -> None:
    xy = np.full((4, 21, 2), 5.0)
    xy[:, 0] = 9.0
    visibility = np.full((4, 21), 2)
    visibility[0, :3], visibility[3] = 1, 0
    hands = Hands(
        image=["00000001.jpg", "00000002.jpg", "00000003.jpg", "00000004.jpg"],
        xy=xy,
        visibility=visibility,
        side=[1, 0, -1, 1],
        gesture=[3, -1, -1, -1],
        group=[1, 2, 7, 4],
        size=np.full((4, 2), 224),
        score=np.ones(4),
    )
    assert write_freihand(hands, tmp_path / "x.json") == [
        "1 hand without a box, or with one without area, left out.",
        "2 hands not known to be a right one, read back as right: this layout has no side.",
        "1 gesture dropped.",
        "3 occluded keypoints read back as visible: this layout has one kind of label.",
        "1 hand in another group, which this layout takes from the image's number % 32560.",
        "score: dropped, as this layout has no predictions.",
    ]


def test_hands_that_share_an_image_keep_their_own_ids(tmp_path: Path) -> None:
    hands = Hands(
        image=["a.jpg", "a.jpg", "b.jpg"],
        xy=np.random.default_rng(0).uniform(0, 200, (3, 21, 2)),
        visibility=np.full((3, 21), 2),
        side=[1, 1, 1],
        group=[0, 0, 1],
        size=[(224, 200), (224, 200), (300, 224)],
        root=tmp_path,
    )
    write_images(tmp_path, ["a.jpg", "b.jpg"])
    assert write_freihand(hands, tmp_path / "x.json") == []
    assert read(tmp_path / "x.json") == hands


@settings(max_examples=50, deadline=None)
@given(
    xy=arrays(np.float32, (2, 21, 2), elements=st.floats(-50, 5000, width=32)),
    corner=arrays(np.float32, (2, 2), elements=st.floats(-50, 500, width=32)),
    extent=arrays(np.float32, (2, 2), elements=st.floats(1, 500, width=32)),
    labeled=arrays(np.bool_, (2, 21)),
)
def test_what_is_written_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, xy: Any, corner: Any, extent: Any, labeled: Any
) -> None:
    root = tmp_path_factory.mktemp("round")
    write_images(root, ["00000008.jpg", "00000009.jpg"])
    hands = Hands(
        image=["00000008.jpg", "00000009.jpg"],
        xy=xy,
        visibility=np.where(labeled, 2, 0),
        box=np.concatenate([corner, corner + extent], axis=1),
        side=[1, 1],
        group=[8, 9],
        size=[(224, 224)] * 2,
        root=root,
    )
    assert write_freihand(hands, root / "x.json") == []
    assert read(root / "x.json") == hands


def test_what_cannot_be_written_gets_a_sentence(tmp_path: Path) -> None:
    hands = Hands(image=["a.jpg"], xy=np.zeros((1, 21, 2)), visibility=np.ones((1, 21)))
    with pytest.raises(ValueError, match=r"the size of image a\.jpg is unknown"):
        write_freihand(hands, tmp_path / "x.json")
    with pytest.raises(ValueError, match=r"x\.txt must end in \.json"):
        write_freihand(hands, tmp_path / "x.txt")


def test_the_real_file(shared_data: Path) -> None:
    hands = read(shared_data / "formats" / "mmpose_freihand" / "test_freihand.json")
    assert hands.group.tolist() == [17620] * 4 + [355] * 4  # two poses, four backgrounds each
    for version in (1, 2, 3, 5, 6, 7):
        np.testing.assert_array_equal(hands.xy[version], hands.xy[4 * (version // 4)])
    assert ((hands.xy > 0) & (hands.xy < 223)).all()
    low, high = hands.xy.min(axis=1), hands.xy.max(axis=1)
    assert (hands.box[:, :2] <= low).all()
    assert (hands.box[:, 2:] >= high).all()
