"""What an object shows, pixel by pixel, and which points it hides.

Every pixel's own ray meets it (`convex.enter`), so what lies behind it is hidden exactly, and the labels know.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, Float64
from numpy.typing import NDArray

from knuckle.render.convex import enter
from knuckle.render.occluders import Occluder

Vector = Float64[np.ndarray, " 3"]

_NEAREST: Final = 30.0
"""mm before the camera; nothing nearer is shown."""

_SHARPNESS: Final = 40
"""Exponent of a highlight."""

_ROOM: Final = 3
"""Pixels around an object's outline that its window holds: its edge is soft, and slopes need neighbours."""

_SIGNS: Final = np.array([(x, y, z) for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


class Layer(NamedTuple):
    """What an object shows, in the part of the picture where it may: a window of h rows and w columns.

    Attributes:
        alpha: covered part of each pixel.
        depth: along the optical axis, mm.
        light: linear RGB; 0 where alpha is.
        corner: row and column of the window's first pixel.
    """

    alpha: Float32[np.ndarray, "h w"]
    depth: Float32[np.ndarray, "h w"]
    light: Float32[np.ndarray, "h w 3"]
    corner: tuple[int, int]


def hidden(
    occluder: Occluder, center: Vector, axes: Float64[np.ndarray, "3 3"], points: Float64[np.ndarray, "n 3"]
) -> NDArray[np.bool_]:
    """Which points in camera space lie behind an object, whatever the picture shows of it."""
    depth, margin, _ = _meet(occluder, center, axes, (points / points[:, 2:]).astype(np.float32))
    return np.asarray((margin > 0) & (depth > _NEAREST) & (depth < points[:, 2]))


def show(
    occluder: Occluder,
    center: Float64[np.ndarray, " 3"],
    axes: Float64[np.ndarray, "3 3"],
    rays: Float32[np.ndarray, "h w 3"],
    to_light: Float64[np.ndarray, " 3"],
    light: Float64[np.ndarray, " 3"],
    ambient: Float64[np.ndarray, " 3"],
) -> Layer:
    """What an object shows of itself in a picture, with soft edges; matt, with a highlight where it has gloss.

    Blinn's highlight ("Models of light reflection for computer synthesized pictures", SIGGRAPH 1977).

    Args:
        occluder: the object.
        center: mm, camera space.
        axes: rows, camera space.
        rays: through every pixel of the picture, (x, y, 1).
        to_light: unit vector, camera space.
        light: linear RGB of the light there.
        ambient: linear RGB of the light from all around.
    """
    rows, columns = _window(occluder, center, axes, rays)
    rays = rays[rows, columns]
    depth, margin, normal = _meet(occluder, center, axes, rays)
    alpha = _coverage(depth, margin)
    seen = np.nonzero(alpha)
    rays, outward = rays[seen], (normal[seen] / occluder.half_axes.astype(np.float32)) @ axes.astype(np.float32)
    outward /= np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-9)
    lit = np.clip(outward @ to_light.astype(np.float32), 0, None)[..., None] * light.astype(np.float32)
    half_way = to_light.astype(np.float32) - rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    half_way /= np.maximum(np.linalg.norm(half_way, axis=-1, keepdims=True), 1e-9)
    shine = np.clip((outward * half_way).sum(-1), 0, None)[..., None] ** _SHARPNESS * light.astype(np.float32)
    color = occluder.colors[0].astype(np.float32)
    if occluder.stripes:
        along = ((rays @ axes[2].astype(np.float32)) * depth[seen] - center @ axes[2]) / occluder.half_axes[2]
        color = np.where(np.sin(along * np.float32(occluder.stripes))[..., None] > 0, occluder.colors[1], color)
    shown = np.zeros((*alpha.shape, 3), dtype=np.float32)
    shown[seen] = color * (lit + ambient) + occluder.gloss * shine
    return Layer(alpha, depth, shown, (rows.start, columns.start))


def _window(
    occluder: Occluder, center: Vector, axes: Float64[np.ndarray, "3 3"], rays: Float32[np.ndarray, "h w 3"]
) -> tuple[slice, slice]:
    """Rows and columns of the picture outside which no ray meets the object, with room for its soft edge.

    The object lies between the corners of its box, and what lies between points before the camera is seen
    between them; where a corner is not before the camera, it may be seen anywhere.
    """
    height, width = rays.shape[:2]
    corners = center + (_SIGNS * occluder.half_axes) @ axes
    if corners[:, 2].min() < 1:
        return slice(0, height), slice(0, width)
    seen = corners[:, :2] / corners[:, 2:]
    within = np.ones((height, width), dtype=bool)
    for axis, (low, high) in enumerate(zip(seen.min(0), seen.max(0), strict=True)):
        within &= (rays[..., axis] >= low) & (rays[..., axis] <= high)
    return _reach(np.asarray(within.any(axis=1))), _reach(np.asarray(within.any(axis=0)))


def _reach(within: NDArray[np.bool_]) -> slice:
    """From the first to the last entry that is True, and some around them; nothing where none is."""
    at = np.flatnonzero(within)
    return slice(max(0, at[0] - _ROOM), at[-1] + 1 + _ROOM) if len(at) else slice(0, 0)


def _coverage(depth: Float32[np.ndarray, "h w"], margin: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """The covered part of each pixel: the margin over how fast it grows from pixel to pixel."""
    if margin.size == 0:
        return np.zeros(margin.shape, dtype=np.float32)
    down, across = np.gradient(margin)
    alpha = np.clip(margin / (np.hypot(down, across) + 1e-9) + 0.5, 0, 1)
    # Far outside, where a ray runs along a face, the margin jumps, and its slope says nothing of the distance.
    beside = cv2.dilate(np.asarray(margin > 0, dtype=np.uint8), np.ones((3, 3), dtype=np.uint8))
    alpha[(depth < _NEAREST) | (beside == 0)] = 0
    return np.asarray(alpha, dtype=np.float32)


def depth_at(layer: Layer, xy: Float[np.ndarray, "k 2"]) -> Float32[np.ndarray, " k"]:
    """The depth of an object at the pixels that points of the picture fall on, mm.

    Infinite where it covers no more than half of the pixel, and for points outside its window.
    """
    height, width = layer.alpha.shape
    column, row = np.round(xy).astype(int).T - np.array(layer.corner[::-1])[:, None]
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    row, column = row[inside], column[inside]
    depth = np.full(len(xy), np.inf, dtype=np.float32)
    depth[inside] = np.where(layer.alpha[row, column] > 0.5, layer.depth[row, column], np.inf)
    return depth


def occludes(layer: Layer, xy: Float[np.ndarray, "k 2"], hand_depth: Float[np.ndarray, " k"]) -> NDArray[np.bool_]:
    """Which points of the hand an object hides: it is more than half there, and nearer than the hand's surface.

    Args:
        layer: what the object shows.
        xy: pixels; points outside the picture are not hidden.
        hand_depth: mm.
    """
    return np.asarray(depth_at(layer, xy) < hand_depth)


def _meet(
    occluder: Occluder, center: Vector, axes: Float64[np.ndarray, "3 3"], rays: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """`convex.enter` for rays (x, y, 1) from the camera: depth in mm, margin, and the normal of the unit shape."""
    to_unit = axes / occluder.half_axes[:, None]
    return enter(occluder.shape, -(to_unit @ center).astype(np.float32), rays @ to_unit.T.astype(np.float32))
