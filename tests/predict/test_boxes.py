"""Boxes from files: what is read, and which image they are matched to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import knuckle
from knuckle.hands import Hands
from knuckle.predict.boxes import BoxFile, match_boxes, read_boxes


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_of_boxes_may_have_other_columns_in_any_order(tmp_path: Path) -> None:
    text = "\ufeffscore,image,y1,x1,x2,y2\n0.9,a.jpg,2,1,3,4\n0.8,v\\b.jpg,1,1,2,2\n\n0.7,a.jpg,20,10,30,40.5\n"
    file = read_boxes(write_csv(tmp_path / "boxes.csv", text))
    assert file.root == tmp_path
    assert list(file.boxes) == ["a.jpg", "v/b.jpg"]
    np.testing.assert_array_equal(file.boxes["a.jpg"], np.array([[1, 2, 3, 4], [10, 20, 30, 40.5]], np.float32))


@pytest.mark.parametrize("name", ["hands.json", "hands.csv"])
def test_boxes_come_from_any_annotation_file(tmp_path: Path, name: str) -> None:
    xy = np.random.default_rng(0).uniform(10, 50, (2, 21, 2)).astype(np.float32)
    box = [[5, 6, 70, 80], [1, 2, 60, 61]]
    hands = Hands(image=["a.jpg", "b.jpg"], xy=xy, visibility=np.full((2, 21), 2), box=box, root=tmp_path)
    knuckle.write(hands, tmp_path / name, format="auto")
    matched = match_boxes([tmp_path / "b.jpg", tmp_path / "c.jpg"], read_boxes(tmp_path / name))
    np.testing.assert_array_equal(matched[tmp_path / "b.jpg"], [box[1]])
    assert matched[tmp_path / "c.jpg"].shape == (0, 4)


def file_of(root: Path, *names: str) -> BoxFile:
    """A box file whose n-th name has the box (n, n, n + 9, n + 9)."""
    return BoxFile(
        "boxes.csv", root, {name: np.array([[n, n, n + 9, n + 9]], np.float32) for n, name in enumerate(names)}
    )


def matches(images: list[Path], file: BoxFile) -> list[int | None]:
    """Which name of the file each image got."""
    return [int(box[0, 0]) if len(box) else None for box in match_boxes(images, file).values()]


def test_the_path_counts_first_then_the_longest_end_then_the_file_name(tmp_path: Path) -> None:
    images = [tmp_path / "v1" / "1.jpg", tmp_path / "v2" / "1.jpg", tmp_path / "v2" / "2.jpg"]
    assert matches(images, file_of(tmp_path, "v2/1.jpg", "v1/1.jpg", "v2/2.jpg")) == [1, 0, 2]
    elsewhere = tmp_path / "elsewhere"
    assert matches(images, file_of(elsewhere, "v2/1.jpg", "2.jpg", "v1/1.jpg")) == [2, 0, 1]
    assert matches(images, file_of(elsewhere, "old/v2/2.jpg")) == [None, None, 0]
    assert matches(images, file_of(elsewhere, str(images[1]))) == [None, 0, None]


def test_a_name_that_fits_two_images_is_refused(tmp_path: Path) -> None:
    images = [tmp_path / "v1" / "1.jpg", tmp_path / "v2" / "1.jpg"]
    with pytest.raises(ValueError, match=r"1\.jpg may mean .*v1.* or .*v2"):
        match_boxes(images, file_of(tmp_path / "elsewhere", "1.jpg"))


def test_an_image_of_that_path_is_meant_before_a_namesake(tmp_path: Path) -> None:
    images = [tmp_path / "v1" / "1.jpg", tmp_path / "1.jpg"]
    assert matches(images, file_of(tmp_path, "1.jpg")) == [None, 0]


def test_a_file_name_that_stands_for_two_entries_is_not_guessed(tmp_path: Path) -> None:
    images = [tmp_path / "1.jpg", tmp_path / "2.jpg"]
    assert matches(images, file_of(tmp_path, "a/1.jpg", "b/1.jpg", "2.jpg")) == [None, 2]


def test_a_file_for_other_images_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"names none of the 1 images: it has boxes for x\.jpg"):
        match_boxes([tmp_path / "1.jpg"], file_of(tmp_path, "x.jpg"))
    with pytest.raises(ValueError, match="it has no boxes"):
        match_boxes([tmp_path / "1.jpg"], file_of(tmp_path))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image,x1,y1,x2,y2\na.jpg,1,2,3,4\na.jpg,1,2,3,many\n", r"boxes\.csv:3 must hold an image and four numbers"),
        ("image,x1,y1,x2,y2\na.jpg,1,2,3\n", r"boxes\.csv:2 must hold"),
        ("picture,x1,y1,x2,y2\na.jpg,1,2,3,4\n", r"boxes\.csv"),
        ("", r"boxes\.csv"),
    ],
)
def test_a_broken_csv_names_file_and_line(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_boxes(write_csv(tmp_path / "boxes.csv", text))


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.csv"):
        read_boxes(tmp_path / "gone.csv")
