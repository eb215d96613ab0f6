"""What objects show: where rays meet them, and which points they hide."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import Float32

from knuckle.render.convex import Shape
from knuckle.render.object_view import Layer, hidden, occludes, show
from knuckle.render.occluders import Occluder
from tests.render.objects import an_object

SIDE = 81
FOCAL = 100.0


def _rays() -> Float32[np.ndarray, "h w 3"]:
    """A pinhole that looks straight ahead through the middle pixel."""
    line = (np.arange(SIDE, dtype=np.float32) - SIDE // 2) / FOCAL
    x, y = np.meshgrid(line, line)
    return np.stack([x, y, np.ones_like(x)], axis=2)


def _shown(thing: Occluder, center: tuple[float, float, float] = (0.0, 0.0, 200.0)) -> Layer:
    """In the whole picture, so that its rows and columns are those of `_rays`."""
    layer = show(
        thing,
        np.array(center),
        thing.axes,
        _rays(),
        to_light=np.array([0.0, 0.0, -1.0]),
        light=np.ones(3),
        ambient=np.full(3, 0.1),
    )
    (row, column), (height, width) = layer.corner, layer.alpha.shape
    alpha, depth, light = (np.zeros((SIDE, SIDE, *part.shape[2:]), dtype=np.float32) for part in layer[:3])
    for place, part in zip((alpha, depth, light), layer[:3], strict=True):
        place[row : row + height, column : column + width] = part
    return Layer(alpha, depth, light, (0, 0))


@pytest.mark.parametrize(
    ("shape", "depth"),
    # from the front: the sphere's pole, the box's face, the lid of the cylinder, whose axis runs in depth
    [("ellipsoid", 170.0), ("box", 170.0), ("cylinder", 170.0)],
)
def test_the_front_is_where_geometry_says(shape: Shape, depth: float) -> None:
    layer = _shown(an_object(shape))
    assert layer.depth[SIDE // 2, SIDE // 2] == pytest.approx(depth, abs=1e-3)
    assert layer.alpha[SIDE // 2, SIDE // 2] == 1
    assert layer.alpha[0, 0] == 0
    # Faces the lamp squarely: albedo times lamp plus ambient.
    np.testing.assert_allclose(layer.light[SIDE // 2, SIDE // 2], np.array([0.5, 0.2, 0.1]) * 1.1, rtol=1e-4)


def test_a_sphere_covers_the_disc_it_should() -> None:
    layer = _shown(an_object("ellipsoid"))
    angular_radius = math.asin(30 / 200)
    expected = math.pi * (FOCAL * math.tan(angular_radius)) ** 2
    assert float(layer.alpha.sum()) == pytest.approx(expected, rel=0.03)


def test_a_box_covers_its_front_face() -> None:
    layer = _shown(an_object("box", (20.0, 10.0, 30.0)))
    expected = (2 * 20 * FOCAL / 170) * (2 * 10 * FOCAL / 170)
    assert float(layer.alpha.sum()) == pytest.approx(expected, rel=0.06)


def test_a_lying_cylinder_has_no_traces_beyond_its_lids() -> None:
    lying = replace(an_object("cylinder", (8.0, 8.0, 40.0)), axes=np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]))
    layer = _shown(lying)
    covered = np.argwhere(layer.alpha > 0.3)
    reach = np.abs(covered - SIDE // 2).max(axis=0)
    assert reach[0] == pytest.approx(FOCAL * 8 / 192, abs=1.6)
    assert reach[1] == pytest.approx(FOCAL * 40 / 192, abs=1.6)


@pytest.mark.parametrize("shape", ["box", "cylinder"])
def test_nothing_is_shown_outside_the_corners_of_a_turned_object(shape: Shape) -> None:
    signs = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), axis=-1).reshape(8, 3)
    for turn in np.linalg.qr(np.random.default_rng(0).standard_normal((60, 3, 3)))[0]:
        thing = replace(an_object(shape, (3.0, 12.0, 25.0)), axes=turn)
        corners = np.array([0.0, 0.0, 200.0]) + (signs * thing.half_axes) @ turn
        seen = corners[:, :2] / corners[:, 2:] * FOCAL + SIDE // 2
        there = np.argwhere(_shown(thing).alpha > 0)[:, ::-1]
        assert (there >= seen.min(axis=0) - 1.5).all()
        assert (there <= seen.max(axis=0) + 1.5).all()


@pytest.mark.parametrize("shape", ["ellipsoid", "cylinder", "box"])
def test_points_met_lie_on_the_surface(shape: Shape) -> None:
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    thing = replace(an_object(shape, (10.0, 20.0, 35.0)), axes=axes)
    layer = _shown(thing, (5.0, -4.0, 220.0))
    solid = layer.alpha == 1
    points = (_rays() * layer.depth[..., None])[solid] - np.array([5.0, -4.0, 220.0])
    unit = points @ axes.T / thing.half_axes
    if shape == "ellipsoid":
        distance = np.linalg.norm(unit, axis=1)
    elif shape == "box":
        distance = np.abs(unit).max(axis=1)
    else:
        distance = np.maximum(np.linalg.norm(unit[:, :2], axis=1), np.abs(unit[:, 2]))
    assert solid.sum() > 50
    np.testing.assert_allclose(distance, 1, atol=0.02)


def test_what_reaches_the_camera_is_not_shown() -> None:
    assert _shown(an_object("ellipsoid"), (0.0, 0.0, 40.0)).alpha.max() == 0


def test_stripes_show_both_colors() -> None:
    striped = replace(
        an_object("box", (30.0, 30.0, 30.0)), stripes=9.0, axes=np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    )
    light = _shown(striped).light[_shown(striped).alpha == 1]
    assert (light[:, 2] > light[:, 0]).any()
    assert (light[:, 2] < light[:, 0]).any()


def test_points_are_hidden_by_what_is_before_them_and_only_there() -> None:
    layer = _shown(an_object("ellipsoid"))
    xy = np.array([[40.0, 40.0], [40.0, 40.0], [5.0, 5.0], [-30.0, 40.0]])
    assert occludes(layer, xy, np.array([250.0, 150.0, 250.0, 250.0])).tolist() == [True, False, False, False]


def test_a_gloss_shows_as_a_highlight_where_the_lamp_is_mirrored() -> None:
    matt, glossy = _shown(an_object("ellipsoid")), _shown(replace(an_object("ellipsoid"), gloss=0.5))
    more = (glossy.light - matt.light)[matt.alpha == 1]
    assert more.min() >= 0
    middle = SIDE // 2
    np.testing.assert_allclose(glossy.light[middle, middle] - matt.light[middle, middle], 0.5, rtol=1e-3)
    assert np.median(more) < 0.1


def test_hidden_points_are_those_that_the_picture_hides() -> None:
    thing = an_object("cylinder", (30.0, 20.0, 40.0))
    rng = np.random.default_rng(2)
    points = rng.uniform([-60, -60, 120], [60, 60, 400], (300, 3))
    layer = _shown(thing)
    xy = points[:, :2] / points[:, 2:] * FOCAL + SIDE // 2
    expected = occludes(layer, xy, points[:, 2])
    found = hidden(thing, np.array([0.0, 0.0, 200.0]), thing.axes, points)
    inside = (np.abs(xy - SIDE // 2) < SIDE // 2).all(axis=1)
    assert 30 < expected.sum() < 270
    assert (found != expected)[inside].mean() < 0.04  # a pixel is a little wide
