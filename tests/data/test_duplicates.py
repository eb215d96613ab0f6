"""Copies of labels and pictures are found across groups and within an image, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from knuckle.data.duplicates import COPY_PX, check_images, copied_labels
from knuckle.draw import write_image
from knuckle.hands import Hands


def table(n: int, **columns: object) -> Hands:
    rng = np.random.default_rng(0)
    default = {"image": [f"{row}.png" for row in range(n)], "xy": rng.uniform(0, 200, (n, 21, 2))}
    return Hands(**{**default, "visibility": np.full((n, 21), 2), **columns})  # type: ignore[arg-type]


def noise(seed: int, size: int = 64) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((size // 8, size // 8, 1), dtype=np.uint8))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 29), st.integers(0, 29))
def test_a_copy_within_a_pixel_is_always_found(seed: int, one: int, two: int) -> None:
    if one == two:
        return
    first, later = min(one, two), max(one, two)
    xy = table(30).xy.copy()
    xy[later] = xy[first] + 0.999 * np.random.default_rng(seed).uniform(-COPY_PX, COPY_PX, (21, 2))
    (found,) = copied_labels(table(30, xy=xy))
    assert found.row == later
    assert f"row {first} in another group" in found.sentence


def test_labels_that_differ_more_or_in_what_is_labelled_are_no_copies() -> None:
    xy = table(4).xy.copy()
    xy[1], xy[3] = xy[0], xy[2]
    xy[1, 7, 0] += 2 * COPY_PX
    visibility = np.full((4, 21), 2)
    visibility[3, 5] = 0
    assert copied_labels(table(4, xy=xy, visibility=visibility)) == []


def test_copies_in_one_group_are_as_intended_but_not_on_one_image() -> None:
    xy = np.tile(table(1).xy, (4, 1, 1))
    assert copied_labels(table(4, xy=xy, group=[1, 1, 1, 1])) == []
    found = copied_labels(table(4, xy=xy, group=[1, 1, 1, 1], image=["a", "b", "a", "c"]))
    assert [(suspicion.row, "the same image" in suspicion.sentence) for suspicion in found] == [(2, True)]
    across = copied_labels(table(4, xy=xy, group=[1, 1, 1, 2]))
    assert [suspicion.row for suspicion in across] == [3]


def test_hands_without_labels_are_not_copies_of_each_other() -> None:
    assert copied_labels(table(3, visibility=np.zeros((3, 21)))) == []
    assert copied_labels(Hands.empty()) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four different pictures."""
    for number in range(4):
        write_image(tmp_path / f"{number}.png", noise(number))
    return tmp_path


def test_different_images_are_no_copies(folder: Path) -> None:
    check = check_images(table(4, root=folder), limit=100)
    assert check.suspicions == []
    assert (check.images, check.checked, check.unreadable) == (4, 4, [])


def test_a_copied_file_is_found_in_every_group(folder: Path) -> None:
    (folder / "3.png").write_bytes((folder / "1.png").read_bytes())
    for group, score in (([0, 1, 2, 3], 3.0), ([0, 1, 1, 1], 1.0)):
        (found,) = check_images(table(4, root=folder, group=group), limit=100).suspicions
        assert (found.row, found.score) == (3, score)
        assert "byte for byte that of row 1 (1.png)" in found.sentence


def test_a_picture_saved_again_is_found_in_another_group_only(folder: Path) -> None:
    again = np.clip(noise(1).astype(int) * 9 // 10 + 9, 0, 255).astype(np.uint8)
    write_image(folder / "3.png", again)
    (found,) = check_images(table(4, root=folder), limit=100).suspicions
    assert found.row == 3
    assert "looks like that of row 1" in found.sentence
    assert check_images(table(4, root=folder, group=[0, 1, 1, 1]), limit=100).suspicions == []


def test_flat_pictures_are_not_alike(tmp_path: Path) -> None:
    for number, level in enumerate((0, 90, 255)):
        write_image(tmp_path / f"{number}.png", np.full((32, 32, 3), level, dtype=np.uint8))
    assert check_images(table(3, root=tmp_path), limit=100).suspicions == []


def test_a_wrong_image_size_is_told(folder: Path) -> None:
    (found,) = check_images(table(4, root=folder, size=[(64, 64), (64, 48), (0, 0), (64, 64)]), limit=100).suspicions
    assert (found.row, found.kind) == (1, "image size")
    assert "64 x 64 pixels, the labels say 64 x 48" in found.sentence


def test_missing_and_broken_images_are_listed(folder: Path) -> None:
    (folder / "0.png").unlink()
    (folder / "2.png").write_bytes(b"no picture")
    check = check_images(table(4, root=folder), limit=100)
    assert len(check.unreadable) == 2
    assert "0.png" in check.unreadable[0]


def test_no_more_images_are_opened_than_asked_for(folder: Path) -> None:
    check = check_images(table(4, root=folder), limit=2)
    assert (check.checked, check.images) == (2, 4)
    assert check_images(table(4, root=folder), limit=0).checked == 0
    assert check_images(Hands.empty(), limit=10).images == 0
