"""Ellipsoids, boxes and capped cylinders: where rays enter them, and how far points are from them.

A shape fills the box of its half axes, has its centre at the origin and its axes along the coordinates; a
cylinder's axis is the third. All three are convex, so distance is a convex function along any line.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Final, Literal

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

Shape = Literal["ellipsoid", "box", "cylinder"]
Floats = NDArray[np.float32]

_NEWTON_STEPS: Final = 12
_CLOSE: Final = 1e-6
_ROUNDS: Final = 5
_KNOTS: Final = np.linspace(0, 1, 7)


def enter(
    shape: Shape, origin: Float32[np.ndarray, " 3"], direction: Float32[np.ndarray, "*n 3"]
) -> tuple[Float32[np.ndarray, "*n"], Float32[np.ndarray, "*n"], Float32[np.ndarray, "*n 3"]]:
    """Where rays enter a shape whose half axes are all 1.

    Returns:
        Depth in lengths of the ray's direction; margin, positive where the ray meets the shape and
        proportional to the distance from the edge near it; and the normal. A ray that misses gets the
        depth of its nearest approach.
    """
    return _ENTER[shape](origin, direction)


def signed_distance(
    shape: Shape, half_axes: Float64[np.ndarray, " 3"], points: Float64[np.ndarray, "*n 3"]
) -> Float64[np.ndarray, "*n"]:
    """The distance of points to the surface, negative inside; in the units of the half axes.

    Exact for boxes and for round shapes; where a cross-section is an ellipse, exact but for what Newton's
    method leaves, and then too small outside: nothing is ever nearer than it says.
    """
    # Coordinate by coordinate: NumPy is slow along an axis of three.
    columns = [points[..., axis] for axis in range(3)]
    if shape == "ellipsoid":
        return _to_ellipsoid(half_axes, columns)
    if shape == "box":
        beyond = [np.abs(column) - half for column, half in zip(columns, half_axes, strict=True)]
    else:
        beyond = [_to_ellipsoid(half_axes[:2], columns[:2]), np.abs(columns[2]) - half_axes[2]]
    # Beyond some faces: the way to their edge or corner. Beyond none: the nearest face.
    return np.asarray(_length([np.maximum(way, 0) for way in beyond]) + np.minimum(reduce(np.maximum, beyond), 0))


def segment_distance(
    shape: Shape,
    half_axes: Float64[np.ndarray, " 3"],
    starts: Float64[np.ndarray, "*n 3"],
    ends: Float64[np.ndarray, "*n 3"],
) -> Float64[np.ndarray, "*n"]:
    """The smallest signed distance along segments.

    Seven points are looked at, then seven between the neighbours of the best one, and so on: the distance is
    convex along the segment, so the best point lies there. The last points are 1/486 of the length apart.
    """
    along = ends - starts
    low, width = np.zeros(starts.shape[:-1]), 1.0
    for _ in range(_ROUNDS):
        parts = low[..., None] + _KNOTS * width
        points = starts[..., None, :] + parts[..., None] * along[..., None, :]
        distances = signed_distance(shape, half_axes, points)
        width /= 3
        low = np.clip(np.take_along_axis(parts, distances.argmin(-1)[..., None], -1)[..., 0] - width / 2, 0, 1 - width)
    return np.asarray(distances.min(-1))


def _to_ellipsoid(half_axes: NDArray[np.float64], columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Signed distance to an ellipsoid or, for two half axes, to an ellipse.

    The nearest point x of the surface is h^2 p / (t + h^2) for the largest t with |h p / (t + h^2)| = 1, and
    the distance is |t p / (t + h^2)| (Eberly, "Distance from a point to an ellipse, an ellipsoid, or a
    hyperellipsoid", 2013). The squared length is convex and falls with t there, so Newton's steps from the left
    never pass t.
    """
    if np.ptp(half_axes) == 0:
        return np.asarray(_length(columns) - half_axes[0])
    squares = half_axes**2
    scaled = [np.maximum(np.abs(column), 1e-9) * half for column, half in zip(columns, half_axes, strict=True)]
    parts = list(zip(scaled, squares, strict=True))
    t = reduce(np.maximum, [part - square for part, square in parts])  # the largest alone has length 1: left of it
    for _ in range(_NEWTON_STEPS):
        reach2 = [(part / (t + square)) ** 2 for part, square in parts]
        excess = _total(reach2) - 1
        if np.abs(excess).max(initial=0) < _CLOSE:
            break
        t = t + excess / (2 * _total([part / (t + square) for part, square in zip(reach2, squares, strict=True)]))
    away = [part / half / (t + square) for (part, square), half in zip(parts, half_axes, strict=True)]
    return np.asarray(t * _length(away))


def _length(columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The lengths of vectors, given by coordinate."""
    return np.asarray(np.sqrt(_total([column * column for column in columns])))


def _total(columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return reduce(np.add, columns)


def _enter_ellipsoid(origin: Floats, direction: Floats) -> tuple[Floats, Floats, Floats]:
    return _enter_round(origin, direction, (0, 1, 2))


def _enter_round(origin: Floats, direction: Floats, which: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
    """The unit sphere, or the unit cylinder over two of the axes, without end."""
    o, d = np.zeros_like(origin), np.zeros_like(direction)
    o[list(which)], d[..., list(which)] = origin[list(which)], direction[..., list(which)]
    a = np.maximum((d * d).sum(-1), 1e-12)
    b = d @ o
    margin = b * b - a * (o @ o - 1)
    depth = (-b - np.sqrt(np.maximum(margin, 0))) / a
    return depth, margin, o + depth[..., None] * d


def _enter_box(origin: Floats, direction: Floats) -> tuple[Floats, Floats, Floats]:
    """The slab method (Kay and Kajiya, 1986)."""
    enters, leaves = _slabs(origin, direction)
    depth = enters.max(-1)
    side = np.eye(3, dtype=np.float32)[enters.argmax(-1)]
    return depth, leaves.min(-1) - depth, -side * np.sign(direction)


def _enter_cylinder(origin: Floats, direction: Floats) -> tuple[Floats, Floats, Floats]:
    side_depth, side_margin, side_normal = _enter_round(origin, direction, (0, 1))
    a = np.maximum((direction[..., :2] ** 2).sum(-1), 1e-12)
    side_leave = side_depth + 2 * np.sqrt(np.maximum(side_margin, 0)) / a
    enters, leaves = _slabs(origin[2:], direction[..., 2:])
    cap_depth, cap_leave = enters[..., 0], leaves[..., 0]
    depth = np.maximum(side_depth, cap_depth)
    through = np.minimum(side_leave, cap_leave) - depth
    margin = np.where(side_margin < 0, np.minimum(side_margin / a, through), through)
    cap_normal = np.array([0, 0, -1], dtype=np.float32) * np.sign(direction)
    return depth, margin, np.where((cap_depth > side_depth)[..., None], cap_normal, side_normal)


def _slabs(origin: Floats, direction: Floats) -> tuple[Floats, Floats]:
    """Depths at which rays enter and leave each slab -1..1."""
    safe = np.where(np.abs(direction) < 1e-9, np.float32(1e-9), direction)
    low, high = (-1 - origin) / safe, (1 - origin) / safe
    return np.minimum(low, high), np.maximum(low, high)


_ENTER: Final = {"ellipsoid": _enter_ellipsoid, "box": _enter_box, "cylinder": _enter_cylinder}
