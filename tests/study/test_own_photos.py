"""Own photos: what is missing or odd is listed, resizing moves pixels and points alike, EXIF turns are met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from knuckle.data.images import read_image
from knuckle.formats import read, write
from knuckle.hands import Hands
from knuckle.skeleton import JOINT_NAMES
from knuckle.study.own_photos import read_own_photos, resize_own_photos


def photo(path: Path, size_wh: tuple[int, int], orientation: int = 1) -> None:
    """A dark photo with a white spot of 9 x 9 pixels around (40, 30) as it is stored."""
    pixels = np.full((size_wh[1], size_wh[0], 3), 20, dtype=np.uint8)
    pixels[26:35, 36:45] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


def labelme(path: Path, image: str, size_wh: tuple[int, int], hands: dict[int, list[int]]) -> None:
    """A Labelme file: joints of each group_id, all at (40, 30) but for a step to the right of each."""
    shapes: list[dict[str, Any]] = [
        {
            "label": JOINT_NAMES[joint],
            "points": [[40.0 + joint, 30.0]],
            "group_id": group,
            "shape_type": "point",
            "flags": {},
        }
        for group, joints in hands.items()
        for joint in joints
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"version": "5", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None}
    path.write_text(json.dumps(content | {"imageWidth": size_wh[0], "imageHeight": size_wh[1]}))


ALL = list(range(21))


def test_what_is_missing_or_odd_is_listed_and_the_rest_is_read(tmp_path: Path) -> None:
    for name in ("c6/full.jpg", "partial.jpg", "two.jpg", "bare.png", "resized.jpg"):
        photo(tmp_path / name, (120, 80))
    labelme(tmp_path / "c6" / "full.json", "full.jpg", (120, 80), {1: ALL})
    labelme(tmp_path / "partial.json", "partial.jpg", (0, 0), {1: [0, 5, 8, 9]})
    labelme(tmp_path / "two.json", "two.jpg", (120, 80), {1: ALL, 2: ALL[:20]})
    labelme(tmp_path / "gone.json", "gone.jpg", (120, 80), {1: ALL})
    labelme(tmp_path / "resized.json", "resized.jpg", (60, 40), {1: ALL})
    (tmp_path / "broken.json").write_text('{"shapes": [')
    found = read_own_photos(tmp_path)
    assert found.hands.image.tolist() == ["c6/full.jpg", "partial.jpg", "two.jpg", "two.jpg"]
    assert found.hands.labeled.sum(axis=1).tolist() == [21, 4, 21, 20]
    assert found.hands.size.tolist() == [[120, 80]] * 4
    told = "\n".join(found.findings)
    assert "partial.jpg: a hand has 4 of 21 joints, without thumb_cmc, thumb_mcp, thumb_ip, ...; add them" in told
    assert "two.jpg: a hand has 20 of 21 joints, without little_tip; add" in told
    assert "bare.png has no labelled hand" in told
    assert "full.jpg" not in told
    skipped = "\n".join(found.skipped)
    assert "broken.json" in skipped
    assert "gone.jpg" in skipped
    assert "resized.jpg is 120 x 80, but was labelled as 60 x 40" in skipped
    assert len(found.skipped) == 3
    with pytest.raises(ValueError, match=r"broken\.json"):
        read_own_photos(tmp_path, on_bad="stop")


def test_a_suspicious_label_is_a_finding(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", (120, 80))
    labelme(tmp_path / "a.json", "a.png", (120, 80), {1: ALL})
    content = json.loads((tmp_path / "a.json").read_text())
    content["shapes"][3]["points"] = [[400.0, 30.0]]
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert any(
        "a.png: " in finding and "look at it in Labelme" in finding for finding in read_own_photos(tmp_path).findings
    )


def test_labels_of_a_turned_phone_photo_count_in_the_upright_picture(tmp_path: Path) -> None:
    photo(tmp_path / "turned.jpg", (120, 80), orientation=6)
    photo(tmp_path / "sideways.jpg", (120, 80), orientation=6)
    labelme(tmp_path / "turned.json", "turned.jpg", (80, 120), {1: ALL})
    labelme(tmp_path / "sideways.json", "sideways.jpg", (120, 80), {1: ALL})
    found = read_own_photos(tmp_path)
    assert found.hands.image.tolist() == ["turned.jpg"]
    assert found.hands.size.tolist() == [[80, 120]]
    (sentence,) = found.skipped
    assert "sideways.jpg is 80 x 120 upright, but was labelled as 120 x 80" in sentence
    assert "EXIF" in sentence
    resized = resize_own_photos(found.hands, 60, tmp_path / "out")
    # Orientation 6 turns the stored picture clockwise: the spot at (40, 30) comes to (80 - 1 - 30, 40).
    assert_spot_at(resized.paths()[0], ((49 + 0.5) * 60 / 80 - 0.5, (40 + 0.5) * 60 / 120 - 0.5))
    assert b"Exif" not in resized.paths()[0].read_bytes()


def assert_spot_at(path: Path, xy: tuple[float, float]) -> None:
    """The white spot's centre of mass."""
    light = read_image(path)[..., 0].astype(np.float64)
    light[light < 60] = 0
    light -= np.minimum(light, 20)
    y, x = np.mgrid[: light.shape[0], : light.shape[1]]
    assert ((light * x).sum() / light.sum(), (light * y).sum() / light.sum()) == pytest.approx(xy, abs=0.15)


@pytest.mark.parametrize("size", [244, 48])
def test_pixels_and_points_move_together(tmp_path: Path, size: int) -> None:
    photo(tmp_path / "deep" / "a.bmp", (120, 80))
    labelme(tmp_path / "deep" / "a.json", "a.bmp", (120, 80), {1: ALL})
    found = read_own_photos(tmp_path)
    hands = found.hands.replace(gesture=[6], side=[1])
    out = tmp_path / "out"
    resized = resize_own_photos(hands, size, out)
    assert resized.image.tolist() == ["deep/a.png"]
    assert resized.size.tolist() == [[size, size]]
    place = (40.5 * size / 120 - 0.5, 30.5 * size / 80 - 0.5)
    assert resized.xy[0, 0].tolist() == pytest.approx(place, abs=1e-4)
    assert resized.xy[0, 20, 0] == pytest.approx(60.5 * size / 120 - 0.5, abs=1e-4)
    assert resized.box[0].tolist() == pytest.approx([*place, 60.5 * size / 120 - 0.5, place[1]], abs=1e-4)
    assert_spot_at(out / "deep" / "a.png", place)
    back = read(out, "labelme")
    np.testing.assert_allclose(back.xy, resized.xy, atol=1e-4)
    assert back.gesture.tolist() == [6]
    assert back.group.tolist() == hands.group.tolist()
    assert read_own_photos(out).skipped == ()


def test_photos_that_would_take_one_name_or_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png"):
        photo(tmp_path / "in" / name, (50, 50))
    xy = np.full((2, 21, 2), 9.0)
    both = Hands(
        image=["a.jpg", "a.png"], xy=xy, visibility=np.full((2, 21), 2), size=[(50, 50)] * 2, root=tmp_path / "in"
    )
    with pytest.raises(ValueError, match=r"a\.png and a\.jpg would both become a\.png"):
        resize_own_photos(both, 30, tmp_path / "out")
    with pytest.raises(ValueError, match="lies outside of the folder"):
        resize_own_photos(both[:1].replace(image=["../in/a.jpg"]), 30, tmp_path / "out")


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((9, 9, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"no \.json file"):
        read_own_photos(tmp_path)


def test_written_labels_are_read_again(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", (120, 80))
    xy = np.random.default_rng(0).uniform(10, 70, (1, 21, 2))
    hands = Hands(image=["a.png"], xy=xy, visibility=np.full((1, 21), 2), size=[(120, 80)], gesture=[3], root=tmp_path)
    write(hands, tmp_path, "labelme")
    assert read_own_photos(tmp_path).hands == hands


def edit(file: Path, **rectangle: Any) -> None:
    """Adds a hand's rectangle to a Labelme file."""
    content = json.loads(file.read_text())
    shape = {"label": "hand", "shape_type": "rectangle", "group_id": 1, "points": [[30, 20], [70, 40]], "flags": {}}
    content["shapes"].append(shape | rectangle)
    file.write_text(json.dumps(content))


def test_a_box_that_does_not_hold_its_points_is_odd(tmp_path: Path) -> None:
    for name, corners in (("fits", [[38, 30], [60, 33]]), ("away", [[5, 5], [40, 40]])):
        photo(tmp_path / f"{name}.png", (120, 80))
        labelme(tmp_path / f"{name}.json", f"{name}.png", (120, 80), {1: ALL})
        edit(tmp_path / f"{name}.json", points=corners)
    found = [line for line in read_own_photos(tmp_path).findings if "box" in line]
    assert len(found) == 1
    # Points lie at x = 40 to 60; a tenth of the side of 35 is 3.5, so those from 44 on are outside.
    assert "away.png: the box does not hold its points, 17 of which lie outside; draw" in found[0]


def test_a_flag_that_names_no_gesture_is_a_finding(tmp_path: Path) -> None:
    for name, flags in (
        ("wrong", {"left": True, "fistt": True}),
        ("other", {"qqq": True}),
        ("right", {"right": True, "fist": True, "blurred": True}),
        ("off", {"fistt": False}),
    ):
        photo(tmp_path / f"{name}.png", (120, 80))
        labelme(tmp_path / f"{name}.json", f"{name}.png", (120, 80), {1: ALL})
        edit(tmp_path / f"{name}.json", flags=flags)
    found = [line for line in read_own_photos(tmp_path).findings if "flag" in line]
    assert len(found) == 2
    told = "\n".join(found)
    assert "wrong.json: no gesture is called 'fistt', so that flag of a hand says nothing; fist may be meant" in told
    assert "other.json: no gesture is called 'qqq'" in told


def test_a_photo_whose_labels_were_skipped_is_not_called_unlabelled(tmp_path: Path) -> None:
    for name in ("misnamed", "broken", "empty"):
        photo(tmp_path / f"{name}.png", (120, 80))
        labelme(tmp_path / f"{name}.json", f"{name}.png", (120, 80), {1: ALL} if name == "misnamed" else {})
    content = json.loads((tmp_path / "misnamed.json").read_text())
    content["shapes"][0]["label"] = "wirst"
    (tmp_path / "misnamed.json").write_text(json.dumps(content))
    (tmp_path / "broken.json").write_text('{"shapes": [')
    photo(tmp_path / "full.png", (120, 80))
    labelme(tmp_path / "full.json", "full.png", (120, 80), {1: ALL})
    found = read_own_photos(tmp_path)
    assert len(found.skipped) == 2
    assert [Path(line.split(" has no labelled hand")[0]).name for line in found.findings if "no labelled" in line] == [
        "empty.png"
    ]


def test_coco_annotations_are_to_be_converted(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", (120, 80))
    hands = Hands(image=["a.png"], xy=np.full((1, 21, 2), 9.0), visibility=np.full((1, 21), 2), root=tmp_path)
    write(hands, tmp_path / "labels.json", "coco")
    for given in (tmp_path, tmp_path / "labels.json"):
        with pytest.raises(ValueError, match=r"knuckle convert .*labels\.json IMAGES --to labelme"):
            read_own_photos(given)
