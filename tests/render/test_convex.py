"""Distances from convex shapes: from points laid out along normals, and from segments sampled densely."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float64

from knuckle.render.convex import Shape, segment_distance, signed_distance

SHAPES = get_args(Shape)
lengths = st.floats(2.0, 60.0)
seeds = st.integers(0, 2**20)


def surface(
    shape: Shape, half: Float64[np.ndarray, " 3"], rng: np.random.Generator
) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"]]:
    """Points of the surface with their outward normals."""
    if shape == "box":
        points = rng.uniform(-1, 1, (200, 3)) * half
        axis, side = rng.integers(3, size=200), rng.choice([-1.0, 1.0], 200)
        points[np.arange(200), axis] = side * half[axis]
        return points, np.eye(3)[axis] * side[:, None]
    unit = rng.standard_normal((200, 3))
    if shape == "cylinder":
        unit[:, 2] = 0
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    points, normals = unit * half, unit / half
    if shape == "cylinder":
        points[:, 2] = rng.uniform(-1, 1, 200) * half[2]
        lid = rng.random(200) < 0.5
        points[lid, :2] *= np.sqrt(rng.random((lid.sum(), 1)))
        points[lid, 2] = np.copysign(half[2], points[lid, 2])
        normals[lid] = np.sign(points[lid]) * [0, 0, 1]
    return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=25, deadline=None)
@given(half=st.tuples(lengths, lengths, lengths), out=st.floats(0.0, 80.0), seed=seeds)
def test_out_along_a_normal_the_surface_is_as_far_as_one_went(
    shape: Shape, half: tuple[float, float, float], out: float, seed: int
) -> None:
    points, normals = surface(shape, np.array(half), np.random.default_rng(seed))
    np.testing.assert_allclose(signed_distance(shape, np.array(half), points + out * normals), out, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=25, deadline=None)
@given(half=st.tuples(lengths, lengths, lengths), part=st.floats(0.0, 0.99), seed=seeds)
def test_inside_the_nearest_point_of_the_surface_counts(
    shape: Shape, half: tuple[float, float, float], part: float, seed: int
) -> None:
    sizes = np.array(half)
    points, normals = surface(shape, sizes, np.random.default_rng(seed))
    curved = {"ellipsoid": sizes, "cylinder": sizes[:2], "box": sizes.min(keepdims=True)}[shape]
    # No further in than the strongest curvature allows.
    depth = part * min(float(curved.min() ** 2 / curved.max()), half[2])
    inner = points - depth * normals
    to_sides = sizes - np.abs(inner)
    if shape == "ellipsoid":
        to_sides[:] = depth
    if shape == "cylinder":
        ring = np.linspace(0, 2 * math.pi, 4000)
        circle = np.stack([np.cos(ring), np.sin(ring)], axis=1) * sizes[:2]
        to_sides[:, :2] = np.linalg.norm(inner[:, None, :2] - circle, axis=2).min(1)[:, None]
    np.testing.assert_allclose(signed_distance(shape, sizes, inner), -to_sides.min(1), atol=0.06)


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=25, deadline=None)
@given(half=st.tuples(lengths, lengths, lengths), seed=seeds)
def test_the_nearest_point_of_a_segment_is_found(shape: Shape, half: tuple[float, float, float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    starts, ends = rng.uniform(-70, 70, (2, 20, 3))
    parts = np.linspace(0, 1, 2001)[:, None]
    points = starts[:, None] + parts * (ends - starts)[:, None]
    dense = signed_distance(shape, np.array(half), points).min(1)
    found = segment_distance(shape, np.array(half), starts, ends)
    between = np.linalg.norm(ends - starts, axis=1) / 486
    assert (found <= dense + 0.5 * between + 1e-6).all()
    assert (found >= dense - 0.1).all()
