"""Lists of images by class: what a line may mean, what it may not, and there and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from knuckle.study.lists import gesture_of_name, match_entries, read_lists, write_lists
from tests.study.labels import labeled_hands

IMAGES = ("rgb/00000001.jpg", "rgb/00000002.jpg", "other/00000002.jpg", "two hands.png", "two hands.png", "x/a.b.jpg")


def write(folder: Path, **lists: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def rows_of(folder: Path) -> list[tuple[int, list[int]]]:
    entries = read_lists(folder)
    matched = match_entries(labeled_hands(IMAGES), entries)
    return [(entry.gesture, rows.tolist()) for entry, rows in zip(entries, matched, strict=True)]


def test_a_line_finds_its_image_by_any_end_of_its_path(tmp_path: Path) -> None:
    lists = write(
        tmp_path / "lists",
        c10="\ufeffrgb/00000001.jpg\n",
        c2="# a remark\n\n00000001\r\nrgb\\00000002\n./other/00000002.jpg \na.b\n",
        fist="two hands.png\ntwo hands\t1\n",
    )
    assert rows_of(lists) == [(2, [0]), (2, [1]), (2, [2]), (2, [5]), (6, [3, 4]), (6, [4]), (10, [0])]
    assert rows_of(lists / "fist.txt") == [(6, [3, 4]), (6, [4])]


@pytest.mark.parametrize(
    ("name", "line", "sentence"),
    [
        ("c3", "ok\n", "c3.txt:2 names missing.jpg, which is none of the 5 images."),
        ("c3", "00000002.jpg", "c3.txt:2: 00000002.jpg may mean other/00000002.jpg or rgb/00000002.jpg"),
        ("c3", "two hands.png\t2", "c3.txt:2 asks for hand 2 of two hands.png, which has 2, from 0 on."),
        ("c3", "two hands.png\tleft", "c3.txt:2 has 'left' after the tab"),
        ("c25", "a.b", "c25.txt names the class c25, but classes are c0 to c24."),
        ("photos", "a.b", "photos.txt does not say its class; name it c0.txt to c24.txt."),
    ],
)
def test_what_a_list_cannot_mean_is_one_sentence(tmp_path: Path, name: str, line: str, sentence: str) -> None:
    line = "missing.jpg" if line == "ok\n" else line
    lists = write(tmp_path / "lists", **{name: f"00000001.jpg\n{line}\n"})
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # compared in full
        rows_of(lists)
    assert sentence in str(caught.value)
    assert str(lists) in str(caught.value)


def test_a_folder_without_lists_and_a_file_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no lists"):
        read_lists(tmp_path)
    (tmp_path / "c1.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"c1\.txt is not a text file"):
        read_lists(tmp_path)
    with pytest.raises(ValueError, match=r"there are no lists .*c2\.txt"):
        read_lists(tmp_path / "c2.txt")


def test_written_lists_come_back_in_their_order(tmp_path: Path) -> None:
    hands = labeled_hands(IMAGES, gestures=[6, 0, 6, 0, 6, 24])
    rows = np.array([4, 0, 2, 3, 5])
    write_lists(hands, rows, tmp_path / "deep" / "lists")
    assert (tmp_path / "deep" / "lists" / "c6.txt").read_text() == "two hands.png\t1\n" + "\n".join(
        ["rgb/00000001.jpg", "other/00000002.jpg", ""]
    )
    entries = read_lists(tmp_path / "deep" / "lists")
    back = np.concatenate(match_entries(hands, entries))
    assert back.tolist() == [3, 4, 0, 2, 5]
    assert [entry.gesture for entry in entries] == hands.gesture[back].tolist()


def test_only_hands_with_a_gesture_can_be_listed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"row 1 \(b\) has no gesture"):
        write_lists(labeled_hands(["a", "b"], gestures=[3, -1]), np.array([0, 1]), tmp_path)


@pytest.mark.parametrize(
    ("name", "gesture"),
    [("c6", 6), ("C06", 6), ("6", 6), ("fist", 6), ("Rock Horns", 15), ("photos", None), ("c", None), ("c6b", None)],
)
def test_names_of_classes(name: str, gesture: int | None) -> None:
    assert gesture_of_name(name) == gesture
