"""The camera: projection and its inverse, where hands land in the picture, and arms that come too near."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from knuckle.render.camera import NEAREST_DEPTH, Camera, View, look_at, place_cameras

SIZE = 200


def _camera(distortion: float = -0.3) -> Camera:
    return Camera(
        hand_to_camera=torch.eye(3, dtype=torch.float64)[None],
        translation=torch.tensor([[0.0, 0.0, 400.0]], dtype=torch.float64),
        focal=torch.tensor([500.0], dtype=torch.float64),
        principal=torch.tensor([[90.0, 130.0]], dtype=torch.float64),
        distortion=torch.tensor([distortion], dtype=torch.float64),
    )


def _cloud(seed: int, near: float = 60.0) -> Float[Tensor, "1 40 3"]:
    """Keypoints (the first 21) and vertices of something as large as a hand, its wrist at the origin."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-near, near, (1, 40, 3))
    points[:, 0] = 0
    return torch.from_numpy(points).float()


def _view(direction: tuple[float, float, float] = (0.3, -0.2, 1.0), *, distance: float = 300.0) -> View:
    return View(
        axes=look_at(np.array(direction), 30.0),
        distance=distance,
        off_axis=(0.1, -0.2),
        distortion=-0.2,
        fill=0.6,
        center=(0.4, 0.55),
    )


def _placed(cloud: Tensor, *, distance: float = 300.0, is_left: bool = False) -> Camera:
    return place_cameras([_view(distance=distance)], [is_left], cloud, cloud[:, :21], SIZE)


def test_a_pinhole_projects_as_the_textbook_says() -> None:
    xy = _camera(0.0).project(torch.tensor([[[40.0, -20.0, 400.0]]], dtype=torch.float64))
    torch.testing.assert_close(xy[0, 0], torch.tensor([500 * 0.1 + 90, 500 * -0.05 + 130], dtype=torch.float64))


@given(x=st.floats(-900, 900), y=st.floats(-900, 900), z=st.floats(100, 2000), distortion=st.floats(-0.5, 0))
def test_rays_undo_projection_however_far_out(x: float, y: float, z: float, distortion: float) -> None:
    camera = _camera(distortion)
    point = torch.tensor([[[x, y, z]]], dtype=torch.float64)
    ray = camera.rays(camera.project(point))
    torch.testing.assert_close(ray * z, point, rtol=1e-6, atol=1e-6)


def test_barrel_distortion_pulls_towards_the_principal_point() -> None:
    point = torch.tensor([[[300.0, 200.0, 400.0]]], dtype=torch.float64)
    straight, bent = (_camera(value).project(point) - _camera().principal for value in (0.0, -0.3))
    ratio = bent / straight
    assert 0.5 < float(ratio[..., 0]) < 0.95
    torch.testing.assert_close(ratio[..., 0], ratio[..., 1])


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (0.2, -0.7, -0.5), (0.0, 1.0, 0.0), (0.0, -3.0, 0.0)])
@pytest.mark.parametrize("roll", [0.0, 90.0, -140.0])
def test_look_at_is_a_rotation_that_looks_back_at_the_hand(direction: tuple[float, float, float], roll: float) -> None:
    axes = look_at(np.array(direction), roll)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)
    np.testing.assert_allclose(axes[2], -np.array(direction) / np.linalg.norm(direction), atol=1e-12)


def test_without_roll_fingers_point_up_and_roll_turns_clockwise() -> None:
    middle_finger, thumb_side = np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])
    palm_view = look_at(np.array([0.0, 0.0, 1.0]), 0.0)
    np.testing.assert_allclose(palm_view @ middle_finger, [0, -1, 0], atol=1e-12)  # y is down
    np.testing.assert_allclose(palm_view @ thumb_side, [1, 0, 0], atol=1e-12)
    turned = look_at(np.array([0.0, 0.0, 1.0]), 90.0)
    np.testing.assert_allclose(turned @ middle_finger, [1, 0, 0], atol=1e-12)


@pytest.mark.parametrize("is_left", [False, True])
def test_the_keypoints_fill_the_picture_as_asked(is_left: bool) -> None:
    cloud = _cloud(0)
    camera = _placed(cloud, is_left=is_left)
    xy = camera.project(camera.to_camera(cloud[:, :21]))[0]
    low, high = xy.amin(0), xy.amax(0)
    assert float((high - low).max()) == pytest.approx(0.6 * SIZE, abs=1e-2)
    torch.testing.assert_close((low + high) / 2, torch.tensor([0.4, 0.55]) * SIZE - 0.5, atol=1e-2, rtol=0)
    assert float(torch.linalg.det(camera.hand_to_camera[0])) == pytest.approx(-1 if is_left else 1, abs=1e-5)


def test_the_distance_is_the_one_asked_where_nothing_is_in_the_way() -> None:
    cloud = _cloud(1)
    depth = (c := _placed(cloud, distance=700.0)).to_camera(cloud[:, :21])[0, :, 2]
    assert float((depth.min() + depth.max()) / 2) == pytest.approx(700.0, abs=1e-2)
    assert torch.isfinite(c.focal).all()


def test_a_camera_steps_back_from_an_elbow_that_points_at_it() -> None:
    cloud = _cloud(2)
    cloud[0, -1] = torch.from_numpy(look_at(np.array([0.3, -0.2, 1.0]), 30.0)[2] * -500.0).float()
    camera = _placed(cloud, distance=250.0)
    depth = camera.to_camera(cloud)[0, :, 2]
    assert float(depth.min()) > NEAREST_DEPTH * float(depth[0])
    assert float(depth.min()) < 1.05 * NEAREST_DEPTH * float(depth[0])
    xy = camera.project(camera.to_camera(cloud[:, :21]))[0]
    assert float((xy.amax(0) - xy.amin(0)).max()) == pytest.approx(0.6 * SIZE, abs=1e-2)


def test_a_camera_is_the_same_alone_and_in_a_batch() -> None:
    clouds = torch.cat([_cloud(seed) for seed in range(5)])
    views = [_view((number, 1.0, 0.4)) for number in range(5)]
    sides = [True, False, False, True, False]
    together = place_cameras(views, sides, clouds, clouds[:, :21], SIZE)
    xy = together.project(together.to_camera(clouds))
    for row in range(5):
        own = clouds[row : row + 1]
        alone = place_cameras([views[row]], [sides[row]], own, own[:, :21], SIZE)
        assert torch.equal(alone.project(alone.to_camera(own)), xy[row : row + 1])
