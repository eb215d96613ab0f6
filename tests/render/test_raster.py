"""The rasteriser against a point-in-triangle test of every pixel, in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from knuckle.render.raster import barycentric, fragments_of, interpolate, keep_largest, nearest_of_quarters, rasterize

HEIGHT, WIDTH = 9, 11

# Eighths: crossings with pixel centres and ties happen often.
eighths = st.integers(-24, 8 * 14).map(lambda n: n / 8)
depths = st.integers(1, 64).map(lambda n: n / 64)
corner = st.tuples(eighths, eighths, depths)
meshes = st.lists(st.tuples(corner, corner, corner), min_size=1, max_size=4)


def tensors(triangles: list[tuple[tuple[float, float, float], ...]]) -> tuple[Tensor, Tensor, Tensor]:
    """A batch of one mesh of separate triangles: xy, nearness, faces."""
    points = torch.tensor(triangles, dtype=torch.float32).reshape(1, -1, 3)
    return points[..., :2], points[..., 2], torch.arange(points.shape[1]).reshape(-1, 3)


def exact_nearness(triangle: tuple[tuple[float, float, float], ...], x: int, y: int) -> Fraction | None:
    """Nearness of a triangle at a pixel centre it covers (top <= y < bottom, left <= x < right), else None."""
    crossings = []
    for k in range(3):
        (xa, ya, wa), (xb, yb, wb) = sorted(
            (tuple(map(Fraction, triangle[k])), tuple(map(Fraction, triangle[(k + 1) % 3]))), key=lambda p: p[1]
        )
        if ya <= y < yb:
            part = (y - ya) / (yb - ya)
            crossings.append((xa + part * (xb - xa), wa + part * (wb - wa)))
    if len(crossings) != 2:
        assert not crossings
        return None
    (left, w_left), (right, w_right) = sorted(crossings)
    if not left <= x < right:
        return None
    return w_left + (x - left) / (right - left) * (w_right - w_left)


def crosses_near_a_centre(triangle: tuple[tuple[float, float, float], ...]) -> bool:
    """Whether a row crosses a side nearer to a pixel centre than float32 can tell, without meeting it."""
    for k in range(3):
        (xa, ya, _), (xb, yb, _) = (tuple(map(Fraction, triangle[i])) for i in (k, (k + 1) % 3))
        for y in range(HEIGHT):
            if min(ya, yb) <= y < max(ya, yb):
                x = xa + (y - ya) / (yb - ya) * (xb - xa)
                if x.denominator not in (1, 2, 4, 8) and abs(x - round(x)) < Fraction(1, 10000):
                    return True
                if x == round(x) and xa != x != xb and xa != xb:  # met inside the side: rounding decides
                    return True
    return False


@settings(max_examples=150)
@given(meshes)
def test_every_pixel_shows_the_nearest_triangle_that_covers_it(
    triangles: list[tuple[tuple[float, float, float], ...]],
) -> None:
    triangles = [t for t in triangles if not crosses_near_a_centre(t)]
    if not triangles:
        return
    seen = rasterize(*tensors(triangles), (HEIGHT, WIDTH))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            covering = [(w, k) for k, t in enumerate(triangles) if (w := exact_nearness(t, x, y)) is not None]
            shown = int(seen.triangle[0, y, x])
            if not covering:
                assert shown == -1
                assert seen.nearness[0, y, x] == 0
                continue
            nearest = max(w for w, _ in covering)
            assert shown in [k for w, k in covering if nearest - w < 1e-5]
            assert float(seen.nearness[0, y, x]) == pytest.approx(float(nearest), abs=1e-5)


@settings(max_examples=100)
@given(st.integers(0, 2**31), st.integers(1, 40))
def test_a_fan_covers_its_polygon_without_holes_or_overlap(seed: int, sides: int) -> None:
    """Triangles around a point in general position tile the picture: each pixel belongs to exactly one."""
    generator = torch.Generator().manual_seed(seed)
    count = sides + 3
    angle = (torch.arange(count) + torch.rand(count, generator=generator) * 0.8) / count * 6.2831853
    rim = torch.stack([angle.cos(), angle.sin()], 1) * 60 + 5
    center = torch.rand(1, 2, generator=generator) * 8 + 1
    xy = torch.cat([rim, center])[None]
    around = torch.arange(count)
    faces = torch.stack([around, (around + 1) % count, torch.full_like(around, count)], 1)
    flat = torch.ones(1, count + 1)
    assert (rasterize(xy, flat, faces, (HEIGHT, WIDTH)).triangle >= 0).all()
    alone = [rasterize(xy, flat, face[None], (HEIGHT, WIDTH)).triangle[0] >= 0 for face in faces]
    assert torch.stack(alone).sum(0).eq(1).all()


def test_a_known_triangle_covers_the_centres_inside_and_those_on_its_left_and_top_sides() -> None:
    seen = rasterize(
        torch.tensor([[[1.0, 1.0], [5.0, 1.0], [1.0, 5.0]]]), torch.ones(1, 3), torch.tensor([[0, 1, 2]]), (7, 7)
    )
    expected = torch.zeros(7, 7, dtype=torch.bool)
    for y, end in ((1, 5), (2, 4), (3, 3), (4, 2)):
        expected[y, 1:end] = True
    assert torch.equal(seen.triangle[0] >= 0, expected)


def test_facing_and_the_plane_of_the_camera() -> None:
    xy = torch.tensor([[[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]]]).expand(2, -1, -1)
    faces = torch.tensor([[0, 1, 2]])
    one = torch.ones(2, 3)
    seen = rasterize(xy, one, faces, (8, 8), front=torch.tensor([1.0, -1.0])).triangle
    assert (seen[0] >= 0).any()
    assert (seen[1] < 0).all()
    for bad in (0.0, -0.1, torch.inf, torch.nan):
        behind = one.clone()
        behind[0, 1] = bad
        seen = rasterize(xy, behind, faces, (8, 8)).triangle
        assert (seen[0] < 0).all(), bad
        assert (seen[1] >= 0).any()


def test_equal_nearness_shows_the_lower_index() -> None:
    triangle = ((0.0, 0.0, 0.5), (9.0, 0.0, 0.5), (0.0, 9.0, 0.5))
    seen = rasterize(*tensors([triangle, triangle]), (HEIGHT, WIDTH)).triangle
    assert set(seen.flatten().tolist()) == {-1, 0}


def random_meshes(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    xy = torch.rand(batch, 40, 2, generator=generator) * 50 - 9
    return xy, torch.rand(batch, 40, generator=generator) + 0.1, torch.randint(0, 40, (70, 3), generator=generator)


def test_maxima_by_sorting_are_those_by_scattering() -> None:
    generator = torch.Generator().manual_seed(3)
    pixel = torch.randint(0, 50, (400,), generator=generator)
    value = torch.randint(1, 90, (400,), generator=generator)
    before = torch.randint(0, 60, (64,), generator=generator)
    by_scattering, by_sorting = before.clone(), before.clone()
    keep_largest(by_scattering, pixel, value, by_sorting=False)
    keep_largest(by_sorting, pixel, value, by_sorting=True)
    assert torch.equal(by_scattering, by_sorting)
    assert int(by_sorting[7]) == max(int(value[pixel == 7].max()), int(before[7]))
    keep_largest(by_sorting, pixel[:0], value[:0], by_sorting=True)
    assert torch.equal(by_scattering, by_sorting)


def test_a_mesh_gives_the_same_bits_alone_and_in_any_batch() -> None:
    xy, nearness, faces = random_meshes(7)
    together = rasterize(xy, nearness, faces, (33, 31)).key
    alone = torch.cat([rasterize(xy[k : k + 1], nearness[k : k + 1], faces, (33, 31)).key for k in range(7)])
    assert torch.equal(together, alone)
    assert torch.equal(together.flip(0), rasterize(xy.flip(0), nearness.flip(0), faces, (33, 31)).key)


def test_weights_are_perspective_correct() -> None:
    """A point between three corners in space projects to where the weights say, through a real perspective."""
    generator = torch.Generator().manual_seed(2)
    points = torch.rand(1, 3, 3, generator=generator) * 2 + torch.tensor([-1.0, -1.0, 2.0])
    weights = torch.rand(200, 3, generator=generator)
    weights = weights / weights.sum(1, keepdim=True)
    inside = weights @ points[0]
    xy = points[..., :2] / points[..., 2:] * 100
    x, y = (inside[:, :2] / inside[:, 2:] * 100).unbind(1)
    corners = torch.tensor([[0, 1, 2]]).expand(200, -1)
    found = barycentric(xy, 1 / points[..., 2], corners, x, y)
    torch.testing.assert_close(found, weights, atol=2e-4, rtol=0)
    torch.testing.assert_close(interpolate(points[0], corners, found), inside, atol=1e-3, rtol=0)


def test_a_point_off_a_sliver_gets_weights_between_its_corners() -> None:
    xy = torch.tensor([[[0.0, 0.0], [4.0, 1e-6], [8.0, 0.0]]])
    weights = barycentric(xy, torch.ones(1, 3), torch.tensor([[0, 1, 2]]), torch.tensor([3.0]), torch.tensor([0.25]))
    assert weights.isfinite().all()
    assert (weights >= 0).all()
    assert float(weights.sum()) == pytest.approx(1, abs=1e-6)


def test_a_pixel_that_shows_two_surfaces_gets_both_with_their_parts() -> None:
    """A near square covers the left half of the fifth column of pixels, before a far one that covers the picture."""
    near = [[-3.0, -3.0], [4.0, -3.0], [4.0, 20.0], [-3.0, 20.0]]
    far = [[-3.0, -3.0], [20.0, -3.0], [20.0, 20.0], [-3.0, 20.0]]
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    nearness = torch.tensor([[0.5] * 4 + [0.1] * 4])
    fine = rasterize(torch.tensor([near + far]) * 2 + 0.5, nearness, faces, (2 * 6, 2 * 8))
    found, front = fragments_of(fine, nearest_of_quarters(fine), 0.99)
    assert front == 6 * 8
    assert len(found.pixel) == front + 6
    assert torch.equal(found.pixel[:front], torch.arange(front))
    assert torch.equal(found.pixel[front:], torch.arange(6) * 8 + 4)
    total = torch.zeros(48).index_add_(0, found.pixel, found.weight)
    assert (total == 1).all()
    assert (found.weight[front:] == 0.5).all()
    assert (found.triangle[front:] >= 2).all()
    assert (found.x[front:] == 4.25).all()
    assert ((found.triangle[:front] < 2) == (torch.arange(front) % 8 <= 4)).all()
    assert [len(block.pixel) for block in found.blocks(20)] == [20, 20, 14]


def test_samples_of_one_surface_are_shaded_once() -> None:
    xy = torch.tensor([[[0.0, 0.0], [7.0, 0.0], [7.0, 5.0], [0.0, 5.0]]])
    nearness = torch.tensor([[0.0100, 0.0102, 0.0102, 0.0100]])
    fine = rasterize(xy * 2 + 0.5, nearness, torch.tensor([[0, 1, 2], [0, 2, 3]]), (12, 16))
    found, front = fragments_of(fine, nearest_of_quarters(fine), 0.99)
    assert len(found.pixel) == front
    assert set(found.weight.tolist()) == {0.25, 0.5, 1.0}
    # Shaded where its own sample lies.
    fraction = torch.stack([found.x, found.y]) - torch.stack([found.x, found.y]).round()
    assert set(fraction.abs().flatten().tolist()) == {0.25}
