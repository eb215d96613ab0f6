"""Shadows of other things: against rays to many points of a lamp, and by what everybody knows of shadows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Bool, Float32, Float64
from numpy.typing import NDArray

from knuckle.render.cast import LAMP_RADIUS, lamp_share
from knuckle.render.convex import Shape, signed_distance
from knuckle.render.occluders import Occluder

NOTHING = (np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))
UP = np.array([0.0, 0.0, 1.0])


def thing(shape: Shape, half_axes: tuple[float, float, float]) -> Occluder:
    return Occluder(
        shape=shape,
        half_axes=np.array(half_axes),
        axes=np.eye(3),
        held=False,
        keypoint=0,
        approach=0.3,
        shift=np.zeros(3),
        colors=np.ones((2, 3)),
        stripes=0.0,
    )


def lamp_points(to_lamp: Float64[np.ndarray, " 3"], softness: float) -> Float64[np.ndarray, "n 3"]:
    """Directions to points spread evenly over the lamp's disc (Vogel's spiral)."""
    count = 300
    k = np.arange(count) + 0.5
    radius = (LAMP_RADIUS[0] + (LAMP_RADIUS[1] - LAMP_RADIUS[0]) * softness) * np.sqrt(k / count)
    turn = k * math.pi * (3 - math.sqrt(5))
    across = np.linalg.svd(to_lamp[None])[2][1:]
    return np.asarray(to_lamp + np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1) @ across)


def blocked_by_capsule(
    points: NDArray[np.float64],
    ways: NDArray[np.float64],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    r: float,
) -> Bool[np.ndarray, "V n"]:
    """Whether rays come within r of a segment: a sphere at each of many points of it."""
    blocked = np.zeros((len(points), len(ways)), dtype=bool)
    unit = ways / np.linalg.norm(ways, axis=1, keepdims=True)
    for part in np.linspace(0, 1, 60):
        to_center = start + part * (end - start) - points
        along = to_center @ unit.T
        blocked |= ((to_center**2).sum(1)[:, None] - along**2 < r * r) & (along > 0)
    return blocked


def blocked_by_object(
    points: NDArray[np.float64],
    ways: NDArray[np.float64],
    occluder: Occluder,
    center: NDArray[np.float64],
    axes: NDArray[np.float64],
) -> Bool[np.ndarray, "V n"]:
    """Whether rays meet an object, by steps as long as the distance to it.

    A ray along a face takes many small steps, so each goes on until it has arrived or has passed the object.
    """
    unit = np.broadcast_to(ways / np.linalg.norm(ways, axis=1, keepdims=True), (len(points), *ways.shape))
    at = np.repeat(points[:, None], len(ways), axis=1)
    blocked = np.zeros(at.shape[:2], dtype=bool)
    under_way = ~blocked
    while under_way.any():
        distance = signed_distance(occluder.shape, occluder.half_axes, (at[under_way] - center) @ axes.T)
        at[under_way] += np.maximum(distance, 0.02)[:, None] * unit[under_way]
        blocked[under_way] = distance < 0.05
        gone = ((at - center) * unit).sum(-1)
        under_way &= ~blocked & (gone < np.linalg.norm(occluder.half_axes))
    return blocked


def plane(rng: np.random.Generator, count: int = 60) -> Float32[np.ndarray, "n 3"]:
    return np.concatenate([rng.uniform(-60, 60, (count, 2)), np.zeros((count, 1))], axis=1).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20), softness=st.floats(0, 1), radius=st.floats(5, 12))
def test_a_capsule_blocks_what_rays_to_the_lamp_say(seed: int, softness: float, radius: float) -> None:
    rng = np.random.default_rng(seed)
    to_lamp = rng.standard_normal(3) + 2 * UP
    to_lamp /= np.linalg.norm(to_lamp)
    start = rng.uniform(-30, 30, 3) + to_lamp * 80
    end = start + rng.standard_normal(3) * 20
    points = plane(rng)
    truth = 1 - blocked_by_capsule(points.astype(float), lamp_points(to_lamp, softness), start, end, radius).mean(1)
    share = lamp_share(points, to_lamp, softness, start[None], end[None], np.array([radius]), [])
    assert np.abs(share - truth).max() < 0.5
    assert np.abs(share - truth).mean() < 0.02 + 0.08 * softness


@pytest.mark.parametrize("shape", ["ellipsoid", "box", "cylinder"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**20), softness=st.floats(0, 1))
def test_an_object_blocks_what_rays_to_the_lamp_say(shape: Shape, seed: int, softness: float) -> None:
    rng = np.random.default_rng(seed)
    to_lamp = rng.standard_normal(3) + 2 * UP
    to_lamp /= np.linalg.norm(to_lamp)
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    occluder = thing(shape, tuple(rng.uniform(8, 35, 3)))
    center = rng.uniform(-15, 15, 3) + to_lamp * 160
    points = plane(rng, 40)
    rays = lamp_points(to_lamp, softness)[::4]
    truth = 1 - blocked_by_object(points.astype(float), rays, occluder, center, axes).mean(1)
    share = lamp_share(points, to_lamp, softness, *NOTHING, [(occluder, center, axes)])
    assert np.abs(share - truth).max() < 0.5
    assert np.abs(share - truth).mean() < 0.03 + 0.08 * softness  # a lamp larger than the object is but guessed


def test_nothing_casts_no_shadow() -> None:
    points = plane(np.random.default_rng(0))
    share = lamp_share(points, UP, 0.5, *NOTHING, [])
    assert share.dtype == np.float32
    assert (share == 1).all()


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_only_what_lies_towards_the_lamp_casts_a_shadow(side: float) -> None:
    points = np.zeros((1, 3), dtype=np.float32)
    start, end = np.array([[-20.0, 0, side * 50]]), np.array([[20.0, 0, side * 50]])
    assert lamp_share(points, UP, 0.5, start, end, np.array([12.0]), [])[0] == (0 if side > 0 else 1)
    occluder = thing("box", (20.0, 20.0, 5.0))
    assert lamp_share(points, UP, 0.5, *NOTHING, [(occluder, (start + end)[0] / 2, np.eye(3))])[0] == (
        0 if side > 0 else 1
    )


def test_a_capsule_that_points_at_the_lamp_casts_a_disc() -> None:
    points = np.array([[0.0, 0, 0], [9.0, 0, 0], [11.0, 0, 0]], dtype=np.float32)
    for low, high in ((20.0, 60.0), (60.0, 20.0)):
        share = lamp_share(points, UP, 0.0, np.array([[0.0, 0, low]]), np.array([[0.0, 0, high]]), np.array([10.0]), [])
        assert share[0] == 0
        assert share[1] < 0.5 < share[2]


def _edge_width(softness: float, distance: float) -> float:
    """The millimetres over which the shadow of a wide plate fades."""
    x = np.linspace(-60, 60, 1201)
    points = np.stack([x, np.zeros_like(x), np.zeros_like(x)], axis=1).astype(np.float32)
    plate = thing("box", (500.0, 500.0, 1.0))
    share = lamp_share(points, UP, softness, *NOTHING, [(plate, np.array([500.0, 0, distance]), np.eye(3))])
    assert share[0] == 1
    assert share[-1] == 0
    assert (np.diff(share) <= 0).all()
    return float(((share > 0.001) & (share < 0.999)).sum() * 0.1)


def test_an_edge_is_as_wide_as_the_lamp_is_large_and_the_caster_far() -> None:
    assert _edge_width(1.0, 100.0) == pytest.approx(2 * LAMP_RADIUS[1] * 100, rel=0.1)
    assert _edge_width(1.0, 50.0) == pytest.approx(0.5 * _edge_width(1.0, 100.0), rel=0.1)
    assert _edge_width(0.0, 100.0) < 0.25 * _edge_width(1.0, 100.0)


def test_a_thin_thing_far_away_hides_little_of_a_large_lamp() -> None:
    points = np.zeros((1, 3), dtype=np.float32)
    start, end = np.array([[-200.0, 0, 200.0]]), np.array([[200.0, 0, 200.0]])
    share = lamp_share(points, UP, 1.0, start, end, np.array([2.0]), [])
    assert 0.85 < share[0] < 1
