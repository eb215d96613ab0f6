"""Shadows and occlusion of shapes whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from knuckle.render.anatomy import pose
from knuckle.render.light import (
    OCCLUDERS,
    SHADOW_SIDE,
    Lighting,
    dot,
    fill_light,
    lit,
    openness,
    rim,
    shadow_map,
    shine,
)
from knuckle.render.mesh import load_asset


def lamp(direction: tuple[float, float, float]) -> Lighting:
    towards = torch.tensor([[direction]])
    return Lighting(
        sky=torch.tensor([[0.6, 0.5, 0.4]]),
        ground=torch.tensor([[0.1, 0.2, 0.3]]),
        up=torch.tensor([[0.0, -1.0, 0.0]]),
        directions=towards / towards.norm(),
        colors=torch.ones(1, 1, 3),
        softness=torch.zeros(1),
    )


def square(half: float, z: float) -> Tensor:
    return torch.tensor([[-half, -half, z], [half, -half, z], [half, half, z], [-half, half, z]])


@pytest.mark.parametrize("softness", [0.0, 1.0])
def test_a_square_shades_what_lies_behind_it_and_nothing_else(softness: float) -> None:
    """A square of 20 mm 30 mm before one of 100 mm, lit along (0.6, 0, -0.8): its shadow moves 22.5 mm to the left."""
    ground = square(50.0, 30.0)
    faces = torch.tensor([[0, 2, 1], [0, 3, 2], [4, 6, 5], [4, 7, 6]])
    vertices = torch.cat([ground, square(10.0, 0.0)])[None]
    light = lamp((0.6, 0.0, -0.8))
    shadows = shadow_map(vertices, faces, torch.ones(8, dtype=torch.bool), torch.tensor([False]), light)

    u, v = torch.meshgrid(torch.linspace(-45, 45, 37), torch.linspace(-45, 45, 37), indexing="xy")
    u, v = u.reshape(-1), v.reshape(-1)
    # The map's coordinates are affine on the ground.
    corner, right, down = shadows.vertices[0, 0], shadows.vertices[0, 1], shadows.vertices[0, 3]
    place = corner + (right - corner) * (u[:, None] + 50) / 100 + (down - corner) * (v[:, None] + 50) / 100
    zero = torch.zeros(len(u), dtype=torch.int64)
    column, row, near = place.unbind(1)
    seen = lit(shadows.nearness, zero, column, row, near, torch.full_like(u, softness))

    across, along = (u + 22.5).abs(), v.abs()
    edge = 4.0
    assert (seen[(across < 10 - edge) & (along < 10 - edge)] < 0.05).all()
    assert (seen[(across > 10 + edge) | (along > 10 + edge)] > 0.95).all()


def test_points_beside_the_map_are_lit() -> None:
    zero = torch.zeros(3, dtype=torch.int64)
    everything_dark = torch.full((SHADOW_SIDE * SHADOW_SIDE,), 1e6)
    x, y = torch.tensor([-40.0, 100.0, 300.0]), torch.tensor([100.0, 900.0, -7.0])
    assert (lit(everything_dark, zero, x, y, torch.ones(3), torch.ones(3)) == 1).all()
    assert lit(everything_dark, zero[:1], x[1:2], x[1:2], torch.ones(1), torch.ones(1)) == 0


def test_the_back_of_the_hand_is_open_and_the_inside_of_a_fist_is_not() -> None:
    asset = load_asset()
    angles = torch.zeros(1, 24)
    for finger in range(4):
        angles[0, 4 * finger : 4 * finger + 4] = torch.tensor([80.0, 0.0, 95.0, 60.0])
    fist = pose(asset, angles)
    normals = asset.normals(fist.vertices)
    free = openness(fist.vertices, normals, fist.keypoints)[0]
    x, y, z = asset.vertices.unbind(1)
    on_hand = (y > 30) & (y < 80) & (x.abs() < 25)
    back, palm = free[on_hand & (z < -5)], free[on_hand & (z > 5)]
    assert ((free > 0) & (free <= 1)).all()
    assert float(back.mean()) > 0.85
    assert float(palm.mean()) < 0.65


def test_openness_is_the_form_factor_of_every_sphere_far_from_the_camera_too() -> None:
    """Against the sum over the spheres as it is written, in double precision, 3 m before the camera."""
    posed = pose(load_asset(), torch.full((2, 24), 25.0))
    normals = load_asset().normals(posed.vertices)
    away = torch.tensor([400.0, -300.0, 3000.0])
    total = torch.zeros(posed.vertices.shape[:2], dtype=torch.float64)
    for first, second, part, radius in OCCLUDERS:
        center = posed.keypoints[:, first] * (1 - part) + posed.keypoints[:, second] * part
        way = (center[:, None] - posed.vertices).double()
        facing = (way * normals).sum(-1).clamp_min(0)
        total += facing * radius**2 / way.square().sum(-1).clamp_min(radius**2) ** 1.5
    expected = 1 / (1 + 1.1 * total + 0.5 * total.square())
    found = openness(posed.vertices + away, normals, posed.keypoints + away)
    torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=0)


def test_sky_lights_what_looks_up_and_ground_what_looks_down() -> None:
    light = lamp((0.0, 0.0, -1.0))
    normals = torch.tensor([[[0.0, -1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]])
    found = fill_light(normals, torch.ones(1, 3), light)[0]
    torch.testing.assert_close(found[0], light.sky[0])
    torch.testing.assert_close(found[1], light.ground[0])
    torch.testing.assert_close(found[2], (light.sky[0] + light.ground[0]) / 2)
    assert (fill_light(normals, torch.zeros(1, 3), light) == 0).all()


def test_gloss_is_brightest_where_the_lamp_is_mirrored() -> None:
    """Seen along the axis, with the lamp 40 degrees off it, the mirroring normal lies at 20 degrees."""
    degrees = torch.arange(0, 60.0)
    angle = degrees.deg2rad()
    zero = torch.zeros_like(angle)
    to_lamp = torch.tensor(40.0).deg2rad()
    towards = (to_lamp.sin() + zero, zero, -to_lamp.cos() + zero)
    normal, view = (angle.sin(), zero, -angle.cos()), (zero, zero, zero - 1)
    n_v = dot(normal, view)
    seen = shine(n_v, dot(view, towards), dot(normal, towards), zero + 0.3, zero + 0.028)
    assert abs(float(degrees[seen.argmax()]) - 20) <= 2
    edge = rim(n_v, zero + 0.3, zero + 0.028)
    assert (edge[1:] >= edge[:-1]).all()


def test_shine_is_that_of_the_half_vector() -> None:
    """The cosines that `shine` derives against the vector half way between camera and lamp itself."""
    generator = torch.Generator().manual_seed(0)
    normal, view, towards = (v / v.norm(dim=1, keepdim=True) for v in torch.randn(3, 500, 3, generator=generator))
    n_v, v_l, n_l = (normal * view).sum(1), (view * towards).sum(1), (normal * towards).sum(1)
    there = (n_v > 0.05) & (n_l > 0) & (v_l > -0.9)
    half = view + towards
    half = half / half.norm(dim=1, keepdim=True)
    n_h, v_h = (normal * half).sum(1), (view * half).sum(1)
    a2, k, head_on = 0.4**4, 1.4**2 / 8, 0.028
    ggx = a2 / ((n_h * n_h * (a2 - 1) + 1) ** 2)
    masking = 4 * (n_v * (1 - k) + k) * (n_l * (1 - k) + k)
    expected = ggx / masking * (head_on + (1 - head_on) * (1 - v_h) ** 5) * n_l
    found = shine(n_v, v_l, n_l, torch.tensor([0.4]), torch.tensor([head_on]))
    torch.testing.assert_close(found[there], expected[there], rtol=2e-3, atol=1e-6)
