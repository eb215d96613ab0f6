"""Drawing: colours land where the joints are, nothing far away crashes, sheets are laid out as promised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from knuckle.draw import PAPER, contact_sheet, draw_hands, hand_tile, write_image
from knuckle.hands import Hands
from knuckle.skeleton import BONES, JOINT_COLORS

GREY = 127
# Five spread fingers of four joints each, far enough apart that no joint hides another.
SPREAD = np.array([(100, 180)] + [(20 + 40 * f, 130 - 30 * j) for f in range(5) for j in range(4)], dtype=np.float32)


def grey(size: int = 200) -> NDArray[np.uint8]:
    return np.full((size, size, 3), GREY, dtype=np.uint8)


def hand(xy: Any = SPREAD, visibility: Any = 2, **columns: Any) -> Hands:
    return Hands(image=["a"], xy=np.asarray(xy)[None], visibility=np.broadcast_to(visibility, (1, 21)), **columns)


def test_every_joint_has_the_colour_of_its_finger_and_the_image_stays() -> None:
    image = grey()
    drawn = draw_hands(image, hand())
    for (x, y), color in zip(SPREAD.astype(int), JOINT_COLORS, strict=True):
        assert tuple(drawn[y, x].tolist()) == color
    assert (image == GREY).all()


def test_every_bone_is_drawn_in_the_colour_of_its_finger() -> None:
    drawn = draw_hands(grey(), hand(), line_width=3)
    for parent, joint in BONES[1:4]:  # two joints of the thumb, then the palm bone of the index finger
        x, y = (SPREAD[parent] * 0.4 + SPREAD[joint] * 0.6).astype(int)
        assert tuple(drawn[y, x].tolist()) == JOINT_COLORS[joint]


def test_positions_are_exact_to_a_fraction_of_a_pixel() -> None:
    at = np.array([31.25, 28.5])
    drawn = draw_hands(grey(64), hand(np.full((21, 2), at), line_width_mask()), line_width=6).astype(float)
    weight = np.abs(drawn - GREY).sum(axis=2)
    rows, columns = np.mgrid[:64, :64]
    centroid = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    assert np.abs(centroid - at).max() < 0.06


def line_width_mask() -> NDArray[np.uint8]:
    """Only the thumb's tip is labelled: one disc and no bone."""
    return np.where(np.arange(21) == 4, 2, 0).astype(np.uint8)


def test_unlabelled_joints_and_their_bones_are_absent() -> None:
    assert (draw_hands(grey(), hand(visibility=0)) == GREY).all()
    no_thumb = np.where(np.isin(np.arange(21), (1, 2, 3, 4)), 0, 2)
    drawn = draw_hands(grey(), hand(visibility=no_thumb))
    assert not (drawn == JOINT_COLORS[4]).all(axis=2).any()
    assert (drawn == JOINT_COLORS[20]).all(axis=2).any()


def test_a_bone_leads_past_an_unlabelled_joint() -> None:
    visibility = np.where(np.isin(np.arange(21), [5, 6, 8]), 2, 0)
    visibility[17] = 2  # the little finger's base has no labelled joint to lead to: the wrist is missing
    drawn = draw_hands(grey(), hand(visibility=visibility), line_width=3)
    x, y = (SPREAD[6] * 0.4 + SPREAD[8] * 0.6).astype(int)
    assert tuple(drawn[y, x].tolist()) == JOINT_COLORS[8]
    x, y = ((SPREAD[0] + SPREAD[17]) / 2).astype(int)
    assert tuple(drawn[y, x].tolist()) == (GREY,) * 3


def test_occluded_joints_are_hollow_and_their_bones_thinner() -> None:
    seen, occluded = draw_hands(grey(), hand(), line_width=6), draw_hands(grey(), hand(visibility=1), line_width=6)
    x, y = SPREAD[20].astype(int)
    assert tuple(occluded[y, x].tolist()) != JOINT_COLORS[20]
    color = np.array(JOINT_COLORS[20])
    assert 0 < (occluded == color).all(axis=2).sum() < 0.8 * (seen == color).all(axis=2).sum()


def test_lines_grow_with_the_hand() -> None:
    def coloured(scale: int) -> float:
        drawn = draw_hands(grey(200 * scale), hand(SPREAD * scale))
        return float((drawn != GREY).any(axis=2).mean())

    assert coloured(4) == pytest.approx(coloured(2), rel=0.35)


def test_covariance_shows_as_a_faint_ellipse_of_one_sigma() -> None:
    covariance = np.tile(np.diag([20.0**2, 5.0**2]), (1, 21, 1, 1))
    only_tip = line_width_mask()
    drawn = draw_hands(grey(), hand(visibility=only_tip, covariance=covariance), line_width=1)
    x, y = SPREAD[4].astype(int)
    changed = (drawn != GREY).any(axis=2)
    assert changed[y, x + 18]
    assert not changed[y, x + 23]
    assert not changed[y + 8, x]
    faint = np.abs(drawn[y, x + 15].astype(int) - GREY)
    assert 0 < faint.max() < np.abs(np.array(JOINT_COLORS[4]) - GREY).max()


def test_boxes_are_drawn_on_request() -> None:
    boxed = hand(visibility=0, box=[[20, 30, 120, 130]])
    drawn = draw_hands(grey(), boxed, line_width=6, boxes=True)
    assert tuple(drawn[30, 70].tolist()) == (255, 255, 255)
    assert (drawn[60:100, 60:100] == GREY).all()


far = st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-500, 500, width=32)


@given(st.lists(st.tuples(far, far), min_size=21, max_size=21), st.sampled_from([1, 2]))
def test_points_anywhere_are_drawn_without_a_crash(points: list[tuple[float, float]], visibility: int) -> None:
    wild = hand(points, visibility, covariance=np.full((1, 21, 2, 2), 1e30) * np.eye(2))
    draw_hands(grey(32), wild, boxes=True)
    hand_tile(grey(32), wild, tile=32, truth=wild)


def test_a_bone_to_a_far_point_keeps_its_direction() -> None:
    xy = SPREAD.copy()
    xy[0], xy[5] = (10, 10), (10 + 3e9, 10 + 3e9)
    only = np.where(np.isin(np.arange(21), (0, 5)), 2, 0)
    drawn = draw_hands(grey(), hand(xy, only), line_width=3)
    assert tuple(drawn[150, 150].tolist()) == JOINT_COLORS[5]


def test_tile_shows_the_box_with_its_padding() -> None:
    image = grey(400)
    image[190:211, 90:111] = (255, 0, 0)
    tile = hand_tile(image, hand(visibility=0, box=[[90, 190, 110, 210]]), tile=100, padding=2.0)
    red = (tile == (255, 0, 0)).all(axis=2)
    assert tile.shape == (100, 100, 3)
    assert red[30:70, 30:70].all()
    assert not red[:, :20].any()


def test_tile_draws_the_truth_in_white_under_the_hand() -> None:
    moved = hand(SPREAD + 12)
    tile = hand_tile(grey(), hand(), truth=moved)
    alone = hand_tile(grey(), hand())
    white = (tile == (255, 255, 255)).all(axis=2)
    assert white.sum() > 100
    assert not (alone == (255, 255, 255)).all(axis=2).any()
    shown = (alone == JOINT_COLORS[8]).all(axis=2)
    assert (tile[shown] == JOINT_COLORS[8]).all()


@pytest.mark.parametrize("box", [None, [[5, 5, 5, 5]], [[np.nan] * 4]])
def test_tile_without_a_usable_box_shows_keypoints_or_frame(box: Any) -> None:
    assert hand_tile(grey(), hand(box=box), tile=64).shape == (64, 64, 3)
    assert hand_tile(grey(), hand(visibility=0, box=box), tile=64).shape == (64, 64, 3)


def test_contact_sheet_holds_every_tile_at_its_place() -> None:
    colors = [(10 * n + 40, 200, 90) for n in range(7)]
    tiles = [np.full((64, 64, 3), color, dtype=np.uint8) for color in colors]
    sheet = contact_sheet(tiles, [f"tile {n}" for n in range(7)], columns=3, tile=64)
    corners = [tuple(np.argwhere((sheet == color).all(axis=2)).min(axis=0)) for color in colors]
    assert [corner[0] for corner in corners[:3]] == [corners[0][0]] * 3
    assert corners[3][0] > corners[0][0] + 64
    assert corners[3][1] == corners[0][1]
    assert all((sheet == color).all(axis=2).sum() == 64 * 64 for color in colors)


def test_contact_sheet_fits_other_shapes_and_wraps_long_captions() -> None:
    wide = np.full((20, 100, 3), 200, dtype=np.uint8)
    short = contact_sheet([wide], ["a"], tile=96)
    long = contact_sheet([wide], ["a very long caption with many words - " * 4 + "und Umlaute äöü"], tile=96, title="t")
    assert long.shape[0] > short.shape[0] + 60
    assert short.shape[1] == long.shape[1]
    assert ((short == 200).all(axis=2)).sum() == 96 * 19
    assert tuple(short[0, 0].tolist()) == PAPER


def test_contact_sheet_of_nothing_is_an_empty_sheet() -> None:
    assert contact_sheet([], [], title="no hands").ndim == 3
    with pytest.raises(ValueError, match="one caption a tile"):
        contact_sheet([], ["a"])


@pytest.mark.parametrize("name", ["a.png", "b.jpg", "ä.JPEG"])
def test_written_pictures_read_back(tmp_path: Path, name: str) -> None:
    image = grey(32)
    image[:16] = (250, 20, 30)
    path = tmp_path / "new folder" / name
    write_image(path, image)
    data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert bgr is not None
    assert np.abs(bgr[:, :, ::-1].astype(int)[[4, 28]] - image[[4, 28]]).max() <= 6


def test_refusals_name_the_file_or_the_shape(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pictures end in"):
        write_image(tmp_path / "a.gif", grey())
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        write_image(tmp_path / "file" / "a.png", grey())
    with pytest.raises(ValueError, match=r"\(h, w, 3\)"):
        draw_hands(np.zeros((4, 4), dtype=np.uint8), hand())
    with pytest.raises(ValueError, match="float"):
        hand_tile(np.zeros((4, 4, 3)), hand())
