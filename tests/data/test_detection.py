"""Pictures and squares: boxes stay on their hands however a picture is moved; what is drawn follows from numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from knuckle.data.detection import FILL, Layout, Mixture, draw_square, stack
from knuckle.data.pictures import Pictures, concat, hand_boxes, read_pictures
from knuckle.hands import Hands

BOX = (20.0, 30.0, 59.0, 49.0)


def marked(folder: Path, name: str = "a.png", size_wh: tuple[int, int] = (100, 80)) -> Path:
    """A dark picture with a bright box on it."""
    image = np.full((size_wh[1], size_wh[0], 3), 20, np.uint8)
    x1, y1, x2, y2 = map(int, BOX)
    image[y1 : y2 + 1, x1 : x2 + 1] = 250
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), image)
    return folder / name


def mixture(*paths: Path, boxes: tuple[tuple[float, ...], ...] = (BOX,)) -> Mixture:
    own = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    return Mixture((Pictures(paths, (own,) * len(paths), np.arange(len(paths))),), (1.0,))


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_boxes_stay_on_their_hands(tmp_path: Path, mosaic: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knuckle.data.detection.apply_pixels", lambda image, *_: image)
    layout = Layout(side=128, mosaic=mosaic, zoom=(0.7, 1.8), turned=0.7)
    pictures, seen = mixture(marked(tmp_path)), 0
    for number in range(40):
        square = draw_square(pictures, layout, 0, 0, number)
        assert square.image.shape == (128, 128, 3)
        assert (square.boxes >= -0.5).all()
        assert (square.boxes <= 127.5).all()
        for x1, y1, x2, y2 in square.boxes.round().astype(int):
            inside = square.image[max(y1, 0) + 2 : y2 - 1, max(x1, 0) + 2 : x2 - 1]
            assert inside.size == 0 or inside.min() > 180
            seen += 1
        bright = (square.image > 200).all(axis=2)
        if mosaic == 0 and not len(square.boxes):
            assert bright.mean() < 0.05, "a hand without a box"
    assert seen > 20


def test_margins_are_grey_and_empty_pictures_have_no_boxes(tmp_path: Path) -> None:
    layout = Layout(side=64, mosaic=0, zoom=(0.5, 0.5))
    square = draw_square(mixture(marked(tmp_path), boxes=()), layout, 0, 0, 0)
    assert square.boxes.shape == (0, 4)
    assert FILL == 114


def test_a_square_follows_from_its_number(tmp_path: Path) -> None:
    pictures, layout = mixture(marked(tmp_path)), Layout(side=64)
    one, again, other = (draw_square(pictures, layout, 1, 2, number) for number in (3, 3, 4))
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.boxes, again.boxes)
    assert not np.array_equal(one.image, other.image)
    images, boxes = stack([one, draw_square(mixture(marked(tmp_path), boxes=()), layout, 1, 2, 3)])
    assert images.shape == (2, 3, 64, 64)
    assert np.isnan(boxes[1]).all()


def test_a_hand_with_keypoints_is_their_extent_and_another_one_its_scaled_box() -> None:
    xy = np.full((2, 21, 2), np.nan, np.float32)
    xy[0] = np.linspace((3, 4), (13, 24), 21)
    visibility = np.where(np.isfinite(xy[..., 0]), 2, 0)
    hands = Hands(image=["a", "b"], xy=xy, visibility=visibility, box=[(0, 0, 100, 100), (10, 10, 30, 50)])
    np.testing.assert_allclose(hand_boxes(hands, 0.5), [(3, 4, 13, 24), (15, 20, 25, 40)])


def test_a_folder_of_scenes_has_its_handless_pictures_and_only_finished_ones(tmp_path: Path) -> None:
    for name in ("0.png", "1.png", "2.png"):
        marked(tmp_path / "images", name)
    category = {"id": 1, "name": "hand"}
    content = {
        "images": [{"id": 1, "file_name": "images/0.png", "width": 100, "height": 80}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 30, 39, 19]}],
        "categories": [category],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert len(read_pictures(tmp_path)) == 1
    assert len(read_pictures(tmp_path, handless=True)) == 3
    with (tmp_path / "pictures.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "hands"), ("images/0.png", 1), ("images/1.png", 0)])
    pictures = read_pictures(tmp_path, handless=True, box_scale=2)
    assert [path.name for path in pictures.paths] == ["0.png", "1.png"]
    np.testing.assert_allclose(pictures.boxes[0], [(0.5, 20.5, 78.5, 58.5)])
    assert pictures.boxes[1].shape == (0, 4)
    assert len(read_pictures(tmp_path / "images", handless=True)) == 3
    assert len(concat([pictures, pictures]).rows([0, 3])) == 2
