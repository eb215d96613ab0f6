"""Gestures by folder, list and table: every row gets what was said of it, and contradictions name both places."""

from __future__ import annotations

from pathlib import Path

import pytest

from knuckle.study.gestures import by_folder, by_lists, by_table, is_table
from tests.study.labels import labeled_hands


def test_the_nearest_folder_that_names_a_class_counts() -> None:
    hands = labeled_hands(
        ["set/c6/1.jpg", "c3/fist/deep/2.jpg", "c3\\other\\3.jpg", "c3.jpg", "photos/4.jpg"], gestures=[1, 1, 1, 1, -1]
    )
    assert by_folder(hands).gesture.tolist() == [6, 6, 3, 1, -1]


def test_a_folder_beyond_the_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the folder of c25/1\.jpg names the class c25, but classes are c0 to c24"):
        by_folder(labeled_hands(["c25/1.jpg"]))


def test_lists_label_what_they_name(tmp_path: Path) -> None:
    hands = labeled_hands(["a.jpg", "b.jpg", "b.jpg", "c.jpg"], gestures=[-1, -1, 4, 5])
    (tmp_path / "c0.txt").write_text("a.jpg\nb.jpg\t0\na.jpg\n")
    (tmp_path / "c24.txt").write_text("b.jpg\t1\n")
    assert by_lists(hands, tmp_path).gesture.tolist() == [0, 0, 24, 5]
    (tmp_path / "c7.txt").write_text("c.jpg\na\n")
    expected = r"c7\.txt:2 gives a the class 7 \(thumb_up\), but .*c0\.txt:1 gave it 0 \(open_palm\); keep one"
    with pytest.raises(ValueError, match=expected):
        by_lists(hands, tmp_path)


def test_a_table_labels_what_it_names(tmp_path: Path) -> None:
    hands = labeled_hands(["a.jpg", "b.jpg", "b.jpg", "c.jpg", "d.jpg"], gestures=[-1, -1, -1, 5, -1])
    table = tmp_path / "t.csv"
    table.write_text("image,gesture,hand\na.jpg,c3,\nb.jpg,fist,1\nb.jpg,7,0\nd,24,\n")
    assert is_table(table)
    assert by_table(hands, table).gesture.tolist() == [3, 7, 6, 5, 24]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image,class\na.jpg,3\n", "has no column 'gesture'"),
        ("image,gesture\na.jpg,25\n", ":2 names the class 25, but classes are c0 to c24."),
        ("image,gesture\na.jpg,wave\n", ":2 has the gesture 'wave'"),
        ("image,gesture\na.jpg,\n", ":2 has no gesture"),
        ("image,gesture\na.jpg,1\n,2\n", ":3 has no image."),
        ("image,gesture\nz.jpg,1\n", ":2 names z.jpg, which is none of the 1 images."),
        ("image,gesture,hand\na.jpg,1,left\n", ":2 has the hand 'left'"),
        ("image,gesture\na.jpg,1,1\n", ":2 has 3 cells, expected 2."),
        ("image,gesture\na.jpg,1\na.jpg,2\n", ":3 gives a.jpg the class 2 (two_victory), but"),
    ],
)
def test_what_a_table_cannot_say_names_the_line(tmp_path: Path, text: str, sentence: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text(text)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # compared in full
        by_table(labeled_hands(["a.jpg"]), table)
    assert sentence in str(caught.value)
    assert str(table) in str(caught.value)


def test_json_numbers_are_gestures_too(tmp_path: Path) -> None:
    table = tmp_path / "t.json"
    table.write_text('[{"image": "a.jpg", "gesture": 9}]')
    assert by_table(labeled_hands(["a.jpg"]), table).gesture.tolist() == [9]
