"""Sheets over each other: the nearest on top, soft edges, in whatever order they come."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from knuckle.render import object_view
from knuckle.render.composite import Sheet, lay_over, sheet_of

GROUND = np.full((3, 4, 3), 0.5, dtype=np.float32)


def _sheet(color: float, alpha: float, depth: float, columns: slice) -> Sheet:
    """One colour in some columns of the picture."""
    there = np.zeros((3, 4), dtype=np.float32)
    there[:, columns] = 1
    return Sheet(
        np.repeat((there * color * alpha)[..., None], 3, axis=2).astype(np.float32),
        there * np.float32(alpha),
        (there / depth).astype(np.float32),
    )


def test_the_nearest_covers_the_others() -> None:
    near, far = _sheet(1.0, 1.0, 300, slice(1, 3)), _sheet(0.1, 1.0, 400, slice(2, 4))
    light = lay_over([near, far], GROUND)
    np.testing.assert_allclose(light[0, :, 0], [0.5, 1.0, 1.0, 0.1])


def test_soft_edges_let_the_next_one_show_through() -> None:
    near, far = _sheet(1.0, 0.25, 300, slice(0, 2)), _sheet(0.0, 0.5, 400, slice(1, 4))
    light = lay_over([far, near], GROUND)
    np.testing.assert_allclose(light[1, :, 1], [0.25 + 0.75 * 0.5, 0.25 + 0.75 * 0.25, 0.25, 0.25])


def test_the_order_of_the_sheets_does_not_count() -> None:
    rng = np.random.default_rng(0)
    sheets = []
    for _ in range(4):
        alpha = (rng.random((3, 4)) * (rng.random((3, 4)) < 0.7)).astype(np.float32)
        nearness = np.where(alpha > 0, rng.uniform(0.001, 0.01, (3, 4)), 0).astype(np.float32)
        sheets.append(Sheet((rng.random((3, 4, 3)) * alpha[..., None]).astype(np.float32), alpha, nearness))
    first = lay_over(sheets, GROUND)
    for order in permutations(sheets):
        np.testing.assert_allclose(lay_over(order, GROUND), first, atol=1e-6)
    assert (GROUND == 0.5).all()


def test_a_window_shows_what_a_sheet_of_the_whole_picture_would() -> None:
    rng = np.random.default_rng(1)
    whole, windows = [], []
    for corner, shape_hw in (((0, 0), (3, 4)), ((1, 2), (2, 2)), ((0, 1), (2, 3)), ((2, 3), (0, 0))):
        alpha = rng.random(shape_hw).astype(np.float32)
        nearness = rng.uniform(0.001, 0.01, shape_hw).astype(np.float32)
        window = Sheet(rng.random((*shape_hw, 3)).astype(np.float32), alpha, nearness, corner)
        everywhere = Sheet(np.zeros_like(GROUND), np.zeros((3, 4), np.float32), np.zeros((3, 4), np.float32))
        for place, part in zip(everywhere[:3], window[:3], strict=True):
            place[window.window] = part
        windows.append(window)
        whole.append(everywhere)
    np.testing.assert_array_equal(lay_over(windows, GROUND), lay_over(whole, GROUND))


def test_nothing_leaves_the_background() -> None:
    np.testing.assert_array_equal(lay_over([], GROUND), GROUND)


def test_an_object_is_a_sheet_of_its_colour() -> None:
    alpha = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    layer = object_view.Layer(
        alpha, np.array([[0.0, 200.0, 250.0]], np.float32), np.full((1, 3, 3), 0.8, np.float32), (4, 2)
    )
    sheet = sheet_of(layer)
    assert sheet.window == (slice(4, 5), slice(2, 5))
    np.testing.assert_allclose(sheet.color[0, :, 0], [0, 0.4, 0.8])
    np.testing.assert_allclose(sheet.nearness[0], [0, 1 / 200, 1 / 250])
