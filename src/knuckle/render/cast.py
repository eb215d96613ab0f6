"""Shadows on a hand from other things: from objects, and from other hands.

A hand's own shadow comes from the main lamp's view of it (`light.shadow_map`). Everything else is a caster
that stands some way off: its outline is seen along the light, and a vertex loses as much of the lamp as the
outline covers. All in camera space, mm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Float64
from numpy.typing import NDArray

from knuckle.render.occluders import Occluder

Floats = NDArray[np.float32]

LAMP_RADIUS: Final = (0.02, 0.14)
"""The lamp's apparent radius, as the tangent of an angle, at softness 0 and 1: a bulb, a window."""
_SHARPEST: Final = 0.5
"""mm; half the width of an edge that falls right behind its caster."""
_TOUCHING: Final = 0.1
"""mm; what is no nearer to the lamp than this touches a vertex and casts no shadow on it."""
_TURNS: Final = np.arange(12) * (math.pi / 12)


def lamp_share(
    vertices: Float32[np.ndarray, "V 3"],
    to_lamp: Float[np.ndarray, " 3"],
    softness: float,
    starts: Float[np.ndarray, "N 3"],
    ends: Float[np.ndarray, "N 3"],
    radii: Float[np.ndarray, " N"],
    objects: Sequence[tuple[Occluder, Float64[np.ndarray, " 3"], Float64[np.ndarray, "3 3"]]],
) -> Float32[np.ndarray, " V"]:
    """The part of the main lamp that reaches each vertex of a hand past everything that is not that hand.

    A lamp of apparent radius a, seen from a vertex past an edge at distance t, spans t tan(a) to either side of
    the edge: the shadow's edge is as wide. Of several casters the one that covers most counts.

    Args:
        vertices: mm.
        to_lamp: unit vector.
        softness: of the edge, 0 to 1 (`light.Lighting`).
        starts: where the axes of other hands' capsules begin.
        ends: where they end.
        radii: of these capsules.
        objects: each with its centre and its axes as rows.

    Returns:
        1 in the light, 0 in the shadow.
    """
    frame = _along_light(to_lamp)
    spread = LAMP_RADIUS[0] + (LAMP_RADIUS[1] - LAMP_RADIUS[0]) * softness
    seen = np.ascontiguousarray((vertices.astype(np.float32) @ frame.T).T)
    covered = np.zeros(len(vertices), dtype=np.float32)
    if len(radii):
        np.maximum(covered, _behind_capsules(seen, starts @ frame.T, ends @ frame.T, radii, spread), out=covered)
    for thing, center, axes in objects:
        generators = thing.half_axes[:, None] * (axes @ frame.T)
        np.maximum(covered, _behind_object(seen, thing, frame @ center, generators, spread), out=covered)
    return 1 - covered


def _along_light(to_lamp: NDArray[np.floating]) -> Floats:
    """Two axes across the light and the one towards the lamp, as rows."""
    third = np.asarray(to_lamp, dtype=np.float64)
    first = np.cross(third, np.eye(3)[np.abs(third).argmin()])
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(third, first), third]).astype(np.float32)


def _covered(edge: Floats, width: float | Floats, distance: Floats, spread: float) -> Floats:
    """The part of the lamp's disc behind a strip whose near edge passes a vertex `edge` mm off, at a distance from it.

    What lies on the far side of the vertex covers nothing.
    """
    size = 0.5 / np.maximum(distance * np.float32(spread), np.float32(_SHARPEST))
    part = _beside((edge + width) * size) - _beside(edge * size)
    part *= distance > 0
    return part


def _beside(line: Floats) -> Floats:
    """The part of a disc of diameter 1 on one side of a line, so far from its centre; a cubic, off by 0.04 at most."""
    share = np.clip(line + np.float32(0.5), 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def _behind_capsules(
    seen: Floats, starts: NDArray[np.floating], ends: NDArray[np.floating], radii: NDArray[np.floating], spread: float
) -> Floats:
    """The covered part of the lamp for each vertex; everything with its third coordinate towards the lamp."""
    swap = (ends[:, 2] > starts[:, 2])[
        :, None
    ]  # begin near the lamp: that end counts where the axis is seen as a point
    first, along = np.where(swap, ends, starts), np.where(swap, starts - ends, ends - starts)
    radii = np.asarray(radii)
    low, high = seen.min(1), seen.max(1)
    room = radii + np.maximum(first[:, 2] - low[2], 0) * spread + _SHARPEST
    bottom, top = np.minimum(first, first + along), np.maximum(first, first + along)
    near = (top[:, 2] > low[2]) & ((top + room[:, None] > low) & (bottom - room[:, None] < high))[:, :2].all(1)
    if not near.any():
        return np.zeros(seen.shape[1], dtype=np.float32)
    first, along, radii = (v[near].astype(np.float32)[..., None] for v in (first, along, radii))
    x, y = seen[0] - first[:, 0], seen[1] - first[:, 1]  # (capsules, vertices)
    squared = np.maximum(along[:, 0] ** 2 + along[:, 1] ** 2, np.float32(1e-6))
    part = x * (along[:, 0] / squared)
    part += y * (along[:, 1] / squared)
    # What the axis does behind a vertex hides nothing from it: up to there, then.
    in_front = (first[:, 2] - np.float32(_TOUCHING) - seen[2]) / np.maximum(-along[:, 2], np.float32(1e-6))
    np.clip(part, 0, np.clip(in_front, 0, 1), out=part)
    x -= part * along[:, 0]
    y -= part * along[:, 1]
    x *= x
    y *= y
    x += y
    np.sqrt(x, out=x)
    x -= radii
    part *= along[:, 2]
    part += first[:, 2]
    part -= seen[2]
    return np.asarray(_covered(x, 2 * radii, part, spread).max(0))


def _behind_object(
    seen: Floats, thing: Occluder, center: NDArray[np.floating], generators: NDArray[np.floating], spread: float
) -> Floats:
    """The same for one object, whose half axes along the light's frame are the rows of `generators`.

    Its outline is an intersection of half planes: in the direction n it reaches the support function of the shape,
    as far from the centre as from its mirror image.
    """
    outline, depth = generators[:, :2], generators[:, 2]
    inertia = outline.T @ outline + 1e-6 * np.eye(2)
    # Half planes spread evenly around an ellipsoid's outline, and along the sides of a box or a cylinder.
    around = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1) @ np.linalg.inv(np.linalg.cholesky(inertia))
    sides = outline[:, ::-1] * [1.0, -1.0]
    normals = np.concatenate([around, sides[np.abs(sides).max(1) > 1e-6]])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    reach = _support(thing, normals @ outline.T)
    xy = seen[:2] - center[:2, None].astype(np.float32)
    edge = (np.abs(normals.astype(np.float32) @ xy) - reach.astype(np.float32)[:, None]).max(0)
    # An ellipsoid's chords along the light have their middles on a plane; so, nearly, do those of the others.
    slope = np.linalg.solve(inertia, outline.T @ depth).astype(np.float32)
    distance = center[2] + slope @ xy - seen[2]
    narrow, long = float(reach.min()), float(reach.max())
    # A strip as wide as the outline is narrow, and no longer than it is long.
    part = _covered(edge, 2 * narrow, distance, spread)
    part *= _covered(np.full_like(edge, -long), 2 * long, distance, spread)
    return part


def _support(thing: Occluder, extents: NDArray[np.floating]) -> NDArray[np.floating]:
    """How far a shape reaches in directions along which its half axes extend by (n, 3) mm."""
    if thing.shape == "ellipsoid":
        return np.asarray(np.linalg.norm(extents, axis=1))
    if thing.shape == "box":
        return np.asarray(np.abs(extents).sum(1))
    return np.asarray(np.hypot(extents[:, 0], extents[:, 1]) + np.abs(extents[:, 2]))
