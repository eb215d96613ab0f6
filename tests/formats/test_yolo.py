"""YOLO-pose: layouts, the half pixel, standing alone, what is cut off, and bad lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from knuckle.formats import read, read_checked, splits, write
from knuckle.hands import Hands
from tests.formats.fakes import assert_refused, example_hands, write_fake_images

POINTS = " 0.25 0.5 2" * 21
LINE = f"0 0.5 0.5 1 1{POINTS}"


def _sample(folder: Path, name: str, text: str = LINE, images: str = "images", labels: str = "labels") -> None:
    """A 2 x 4 image and its label file."""
    hands = Hands(
        image=[f"{images}/{name}.jpg"],
        xy=np.zeros((1, 21, 2)),
        visibility=np.zeros((1, 21)),
        size=[(2, 4)],
        root=folder,
    )
    write_fake_images(hands)
    (folder / labels).mkdir(parents=True, exist_ok=True)
    (folder / labels / f"{name}.txt").write_text(text)


def test_fractions_count_from_edge_to_edge(tmp_path: Path) -> None:
    _sample(tmp_path, "a")
    hands = read(tmp_path)
    assert hands.xy[0, 0].tolist() == [0, 1.5]
    assert hands.box.tolist() == [[-0.5, -0.5, 1.5, 3.5]]
    assert hands.size.tolist() == [[2, 4]]
    assert hands.image.tolist() == ["a.jpg"]
    assert hands.paths()[0].is_file()


def test_two_numbers_a_keypoint_have_no_visibility_and_zero_means_missing(tmp_path: Path) -> None:
    _sample(tmp_path, "a", "0 0.5 0.5 1 1" + " 0 0 -1 -1" + " 0.25 0.5" * 19)
    (tmp_path / "data.yaml").write_text("kpt_shape: [21, 2]")
    assert read(tmp_path).visibility[0].tolist() == [0, 0] + [2] * 19


def test_a_line_with_a_box_alone_is_a_hand_without_keypoints(tmp_path: Path) -> None:
    _sample(tmp_path, "a", "0 0.5 0.5 1 1\n\n")
    hands = read(tmp_path)
    assert hands.box.tolist() == [[-0.5, -0.5, 1.5, 3.5]]
    assert not hands.labeled.any()


def test_class_names_give_side_and_gesture(tmp_path: Path) -> None:
    lines = "\n".join(f"{number}{LINE[1:]}" for number in range(4))
    _sample(tmp_path, "a", lines)
    (tmp_path / "data.yaml").write_text("names: [hand, Left_hand, right, fist]")
    hands = read(tmp_path)
    assert hands.side.tolist() == [-1, 0, 1, -1]
    assert hands.gesture.tolist() == [-1, -1, -1, 6]


def test_images_without_a_label_or_with_an_empty_one_give_no_row(tmp_path: Path) -> None:
    _sample(tmp_path, "a")
    _sample(tmp_path, "b", "\n")
    _sample(tmp_path, "c")
    (tmp_path / "labels" / "c.txt").unlink()
    assert read(tmp_path).image.tolist() == ["a.jpg"]


def test_splits_from_folders_inside_of_images(tmp_path: Path) -> None:
    _sample(tmp_path, "a", images="images/train", labels="labels/train")
    _sample(tmp_path, "b", images="images/val", labels="labels/val")
    assert splits(tmp_path) == ("train", "val")
    assert read(tmp_path, split="val").image.tolist() == ["val/b.jpg"]
    assert read(tmp_path).image.tolist() == ["train/a.jpg", "val/b.jpg"]
    with pytest.raises(ValueError, match=r"has no split 'test'; its splits are: train, val\."):
        read(tmp_path, split="test")


def test_splits_from_folders_with_images_and_from_data_yaml(tmp_path: Path) -> None:
    _sample(tmp_path, "a", images="train/images", labels="train/labels")
    _sample(tmp_path, "b", images="valid/images", labels="valid/labels")
    assert splits(tmp_path) == ("train", "valid")
    (tmp_path / "data.yaml").write_text("train: ../train/images\nval: [../valid/images]\n")
    assert splits(tmp_path) == ("train", "val")
    hands = read(tmp_path / "data.yaml", split="val")
    assert hands.image.tolist() == ["valid/images/b.jpg"]
    assert hands.paths()[0].is_file()


def test_data_yaml_may_name_the_folders_above_and_a_test_split_that_is_not_there(tmp_path: Path) -> None:
    _sample(tmp_path, "a", images="train/images", labels="train/labels")
    _sample(tmp_path, "b", images="valid/images", labels="valid/labels")
    (tmp_path / "data.yaml").write_text("train: train\nval: ../valid/images\ntest: ../test/images\n")
    assert splits(tmp_path) == ("train", "val")
    assert read(tmp_path).image.tolist() == ["train/images/a.jpg", "valid/images/b.jpg"]
    with pytest.raises(ValueError, match="has no split 'test'"):
        read(tmp_path, split="test")


def test_images_beside_labels_of_another_format_are_not_taken_for_yolo(tmp_path: Path) -> None:
    write_fake_images(example_hands(tmp_path / "images"))
    write(example_hands(tmp_path / "images"), tmp_path / "labels", "labelme")
    assert len(read(tmp_path)) == 3


def test_a_written_folder_stands_alone(tmp_path: Path) -> None:
    hands = example_hands(root=tmp_path / "photos")
    write_fake_images(hands)
    write(hands, tmp_path / "yolo", "yolo")
    for image in set(hands.paths()):
        image.unlink()
    (tmp_path / "yolo").rename(tmp_path / "moved")
    back = read(tmp_path / "moved")
    assert np.array_equal(back.xy, hands.xy, equal_nan=True)
    assert np.array_equal(back.visibility, hands.visibility)
    assert all(path.is_file() for path in back.paths())
    config = yaml.safe_load((tmp_path / "moved" / "data.yaml").read_text())
    assert config["kpt_shape"] == [21, 3]
    assert config["flip_idx"] == list(range(21))
    assert config["names"] == {0: "hand"}
    values = (tmp_path / "moved" / "labels" / "a.txt").read_text().split()
    assert len(values) == 2 * (5 + 63)
    assert all(0 <= float(value) <= 2 for value in values)


def test_images_elsewhere_keep_their_folders_and_get_names_of_their_own(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("one/images/x.png", "two/images/x.png", "two/images/x.jpg")]
    hands = example_hands().replace(image=names)
    write_fake_images(hands)
    lost = write(hands, tmp_path / "yolo", "yolo")
    assert sorted(read(tmp_path / "yolo").image) == ["one/x.png", "two/x.png", "two/x_2.jpg"]
    assert any(sentence.startswith("image: 3 images renamed below images/") for sentence in lost)
    assert all((tmp_path / "yolo" / "labels" / name).is_file() for name in ("one/x.txt", "two/x.txt", "two/x_2.txt"))


def test_what_lies_out_of_the_frame_is_cut_off_and_said(tmp_path: Path) -> None:
    hands = example_hands(root=tmp_path)
    xy = hands.xy.copy()
    xy[0, 2] = (-7, 5)
    xy[2] += 1000
    hands = hands.replace(xy=xy, box=[[-10, 10, 50, 60], [10, 10, 50, 60], [900, 900, 950, 950]])
    write_fake_images(hands)
    lost = write(hands, tmp_path / "yolo", "yolo")
    assert lost[:3] == [
        "xy: 22 keypoints outside of the frame left out.",
        "box: 1 hand with the box cut off at the frame.",
        "hands: 1 hand with neither keypoints nor a box in the frame left out.",
    ]
    back = read(tmp_path / "yolo")
    assert len(back) == 2
    assert back.visibility[0, 2] == 0
    assert back.box[0].tolist() == [-0.5, 10, 50, 60]


def test_writing_refuses_what_would_not_come_back(tmp_path: Path) -> None:
    hands = example_hands(root=tmp_path)
    with pytest.raises(ValueError, match=r"a\.png cannot be read \(No such file"):
        write(hands, tmp_path / "yolo", "yolo")
    write_fake_images(hands)
    with pytest.raises(ValueError, match=r"a\.png is 320 x 240 pixels, but its hands say 100 x 100"):
        write(hands.replace(size=[[100, 100]] * 3), tmp_path / "yolo2", "yolo")
    with pytest.raises(ValueError, match=r"a\.tif must be one of \.jpg"):
        write(hands.replace(image=["a.tif"] * 3), tmp_path / "yolo3", "yolo")
    with pytest.raises(ValueError, match="is a file, but YOLO-pose is written into a folder"):
        write(hands, tmp_path / "a.png", "yolo")
    write(hands, tmp_path / "yolo4", "yolo")
    write(hands, tmp_path / "yolo4", "yolo")
    with pytest.raises(ValueError, match=r"b\.txt labels another image; write to an empty folder"):
        write(hands[:2], tmp_path / "yolo4", "yolo")


def test_pictures_of_others_are_not_overwritten(tmp_path: Path) -> None:
    first = example_hands(tmp_path / "first")
    second = example_hands(tmp_path / "second").replace(size=[(320, 240), (320, 240), (224, 300)])
    write_fake_images(first)
    write_fake_images(second)
    write(first, tmp_path / "yolo", "yolo")
    before = (tmp_path / "yolo" / "images" / "b.png").read_bytes()
    label = tmp_path / "yolo" / "labels" / "a.txt"
    label.write_text("kept")
    with pytest.raises(ValueError, match=r"b\.png is there already and is another picture than .*second.b\.png"):
        write(second, tmp_path / "yolo", "yolo")
    assert (tmp_path / "yolo" / "images" / "b.png").read_bytes() == before
    assert label.read_text() == "kept"


BAD_LINES = [
    ("20 points", LINE[: -len(" 0.25 0.5 2")], ":2 has 65 numbers, expected 5 or 68 or 47"),
    ("22 points", LINE + " 0.25 0.5 2", ":2 has 71 numbers"),
    ("text", LINE.replace("0.25", "left", 1), ":2 has 'left' where a number belongs"),
    ("pixels", LINE.replace("0.25", "112", 1), ":2 has 112 where a fraction of the image, 0 to 1, belongs"),
    ("far below zero", LINE.replace("0.5 0.5 1 1", "-3 0.5 1 1"), ":2 has -3 where a fraction"),
    ("NaN", LINE.replace("0.25", "nan", 1), ":2 has nan where a fraction"),
    ("visibility 3", LINE[:-1] + "3", ":2 has visibility 3 at keypoint 20 (little_tip)"),
    ("flat box", LINE.replace("0.5 0.5 1 1", "0.5 0.5 0 1"), ":2 has a box without area (0 x 4 pixels)"),
    ("negative box", LINE.replace("0.5 0.5 1 1", "0.5 0.5 -0.5 1"), ":2 has a box of negative size"),
    ("class", "0.5" + LINE[1:], ":2 has the class '0.5', expected a whole number"),
]


@pytest.mark.parametrize(("line", "expected"), [c[1:] for c in BAD_LINES], ids=[c[0] for c in BAD_LINES])
def test_a_bad_line_is_one_sentence_and_the_others_remain(tmp_path: Path, line: str, expected: str) -> None:
    _sample(tmp_path, "a", f"{LINE}\n{line}\n{LINE}\n")
    assert_refused(tmp_path, f"a.txt{expected}", good=2)


def test_bad_files_are_one_sentence_and_the_others_remain(tmp_path: Path) -> None:
    _sample(tmp_path, "a")
    _sample(tmp_path, "b")
    (tmp_path / "images" / "a.jpg").unlink()
    assert_refused(tmp_path, "a.txt has no image", good=1)
    (tmp_path / "images" / "a.jpg").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert_refused(tmp_path, "a.jpg is cut off before its image size", good=1)
    (tmp_path / "labels" / "a.txt").write_bytes(b"\xff\xfe0")
    assert_refused(tmp_path, "a.txt is not a text file in UTF-8", good=1)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("kpt_shape: [17, 3]", "has kpt_shape [17, 3], but a hand has [21, 3] or [21, 2]"),
        ("train: nowhere", "nowhere as train, which is no folder of images"),
        ("train: images/list.txt", "list.txt as train, which is a list; name the folder of the images instead"),
        ("[1, 2]", "must hold keys such as train, val, kpt_shape and names"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_a_bad_data_yaml_is_one_sentence(tmp_path: Path, config: str, expected: str) -> None:
    _sample(tmp_path, "a")
    (tmp_path / "images" / "list.txt").write_text("images/a.jpg")
    (tmp_path / "data.yaml").write_text(config)
    assert_refused(tmp_path, expected)


def test_a_folder_without_images_and_labels_is_one_sentence(tmp_path: Path) -> None:
    assert_refused(tmp_path, "is no YOLO folder: it has no images/ and labels/", format="yolo")


def test_kpt_shape_asks_for_keypoints_in_every_line(tmp_path: Path) -> None:
    _sample(tmp_path, "a", f"{LINE}\n0 0.5 0.5 1 1\n")
    (tmp_path / "data.yaml").write_text("kpt_shape: [21, 3]")
    hands, messages = read_checked(tmp_path)
    assert len(hands) == 1
    assert "a.txt:2 has 5 numbers, expected 68" in messages[0]
