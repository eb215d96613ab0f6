"""Objects: where rays meet them, where they are placed, and what they hide."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import Float32

from knuckle.render.occluders import Layer, Occluder, OccluderRanges, Shape, draw_occluder, occludes, place, show

SIDE = 81
FOCAL = 100.0


def _rays() -> Float32[np.ndarray, "h w 3"]:
    """A pinhole that looks straight ahead through the middle pixel."""
    line = (np.arange(SIDE, dtype=np.float32) - SIDE // 2) / FOCAL
    x, y = np.meshgrid(line, line)
    return np.stack([x, y, np.ones_like(x)], axis=2)


def _object(shape: Shape, half_axes: tuple[float, float, float] = (30.0, 30.0, 30.0)) -> Occluder:
    return Occluder(
        shape=shape,
        half_axes=np.array(half_axes),
        axes=np.eye(3),
        held=False,
        keypoint=0,
        approach=0.25,
        shift=np.zeros(3),
        colors=np.array([[0.5, 0.2, 0.1], [0.0, 0.0, 1.0]]),
        stripes=0.0,
    )


def _shown(thing: Occluder, center: tuple[float, float, float] = (0.0, 0.0, 200.0)) -> Layer:
    return show(
        thing,
        np.array(center),
        thing.axes,
        _rays(),
        to_light=np.array([0.0, 0.0, -1.0]),
        light=np.ones(3),
        ambient=np.full(3, 0.1),
    )


@pytest.mark.parametrize(
    ("shape", "depth"),
    # from the front: the sphere's pole, the box's face, the lid of the cylinder, whose axis runs in depth
    [("ellipsoid", 170.0), ("box", 170.0), ("cylinder", 170.0)],
)
def test_the_front_is_where_geometry_says(shape: Shape, depth: float) -> None:
    layer = _shown(_object(shape))
    assert layer.depth[SIDE // 2, SIDE // 2] == pytest.approx(depth, abs=1e-3)
    assert layer.alpha[SIDE // 2, SIDE // 2] == 1
    assert layer.alpha[0, 0] == 0
    # Faces the lamp squarely: albedo times lamp plus ambient.
    np.testing.assert_allclose(layer.light[SIDE // 2, SIDE // 2], np.array([0.5, 0.2, 0.1]) * 1.1, rtol=1e-4)


def test_a_sphere_covers_the_disc_it_should() -> None:
    layer = _shown(_object("ellipsoid"))
    angular_radius = math.asin(30 / 200)
    expected = math.pi * (FOCAL * math.tan(angular_radius)) ** 2
    assert float(layer.alpha.sum()) == pytest.approx(expected, rel=0.03)


def test_a_box_covers_its_front_face() -> None:
    layer = _shown(_object("box", (20.0, 10.0, 30.0)))
    expected = (2 * 20 * FOCAL / 170) * (2 * 10 * FOCAL / 170)
    assert float(layer.alpha.sum()) == pytest.approx(expected, rel=0.06)


def test_a_lying_cylinder_has_no_traces_beyond_its_lids() -> None:
    lying = replace(_object("cylinder", (8.0, 8.0, 40.0)), axes=np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]))
    layer = _shown(lying)
    covered = np.argwhere(layer.alpha > 0.3)
    reach = np.abs(covered - SIDE // 2).max(axis=0)
    assert reach[0] == pytest.approx(FOCAL * 8 / 192, abs=1.6)
    assert reach[1] == pytest.approx(FOCAL * 40 / 192, abs=1.6)


@pytest.mark.parametrize("shape", ["ellipsoid", "cylinder", "box"])
def test_points_met_lie_on_the_surface(shape: Shape) -> None:
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    thing = replace(_object(shape, (10.0, 20.0, 35.0)), axes=axes)
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
    assert _shown(_object("ellipsoid"), (0.0, 0.0, 40.0)).alpha.max() == 0


def test_stripes_show_both_colors() -> None:
    striped = replace(
        _object("box", (30.0, 30.0, 30.0)), stripes=9.0, axes=np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    )
    light = _shown(striped).light[_shown(striped).alpha == 1]
    assert (light[:, 2] > light[:, 0]).any()
    assert (light[:, 2] < light[:, 0]).any()


def test_points_are_hidden_by_what_is_before_them_and_only_there() -> None:
    layer = _shown(_object("ellipsoid"))
    xy = np.array([[40.0, 40.0], [40.0, 40.0], [5.0, 5.0], [-30.0, 40.0]])
    assert occludes(layer, xy, np.array([250.0, 150.0, 250.0, 250.0])).tolist() == [True, False, False, False]


def _keypoints() -> Float32[np.ndarray, "21 3"]:
    points = np.zeros((21, 3))
    points[:, 2] = 400.0
    points[9], points[12] = (0.0, -80.0, 400.0), (0.0, -160.0, 400.0)
    return points


def test_a_passing_object_stands_between_its_keypoint_and_the_camera() -> None:
    center, _ = place(replace(_object("box"), keypoint=9), _keypoints(), np.eye(3), np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(center, np.array([0.0, -80.0, 400.0]) * 0.75)


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_a_held_object_lies_before_the_palm_of_either_hand(mirror: float) -> None:
    hand_to_camera = np.diag([mirror, -1.0, -1.0])  # the palm faces the camera
    held = replace(
        _object("cylinder", (10.0, 10.0, 60.0)), held=True, axes=np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    )
    center, axes = place(held, _keypoints(), hand_to_camera, np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(center, [0, -120, 400 - 18])
    np.testing.assert_allclose(np.abs(axes[2]), [1, 0, 0])


def test_objects_are_as_frequent_as_asked() -> None:
    ranges = OccluderRanges(held=0.2, passing=0.3)
    rng = np.random.Generator(np.random.SFC64(1))
    drawn = [draw_occluder(ranges, rng) for _ in range(600)]
    assert sum(thing is not None and thing.held for thing in drawn) / 600 == pytest.approx(0.2, abs=0.05)
    assert sum(thing is None for thing in drawn) / 600 == pytest.approx(0.5, abs=0.06)
    for thing in drawn:
        if thing is not None:
            np.testing.assert_allclose(thing.axes @ thing.axes.T, np.eye(3), atol=1e-9)
            assert ranges.thickness[0] <= thing.half_axes[0] <= ranges.thickness[1]
            assert thing.half_axes[2] >= thing.half_axes[0]
