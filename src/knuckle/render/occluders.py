"""Objects before or inside the hand: ellipsoids, boxes and cylinders, met exactly by every pixel's ray.

An object is held, lying in the grip where fingers may close before it, or passes between hand and
camera. It hides whatever lies behind it, pixel by pixel, and the labels know.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

Shape = Literal["ellipsoid", "box", "cylinder"]
Range = tuple[float, float]
Floats = NDArray[np.float32]

_SHAPES: Final[tuple[Shape, ...]] = ("ellipsoid", "box", "cylinder")
_GRIP: Final = (9, 12)
"""A held object lies between the knuckle and the tip of the middle finger."""
_NEAREST: Final = 30.0
"""mm before the camera; nothing nearer is shown."""


@dataclass(frozen=True)
class OccluderRanges:
    """Which objects there may be; lengths in mm.

    Attributes:
        held: probability of an object in the grip.
        passing: probability of an object between hand and camera.
        thickness: half the thickness of a thin object; log-uniform.
        length: half the length of a long object; log-uniform.
        approach: how far a passing object has come from the hand to the camera.
    """

    held: float = 0.15
    passing: float = 0.15
    thickness: Range = (3.0, 22.0)
    length: Range = (20.0, 130.0)
    approach: Range = (0.12, 0.45)


@dataclass(frozen=True)
class Occluder:
    """One object.

    Attributes:
        shape: what it is; a cylinder's axis is its third.
        half_axes: (3,) mm.
        axes: (3, 3) its axes as rows, in hand space where held, else in camera space.
        held: whether it lies in the grip.
        keypoint: which one a passing object comes before.
        approach: how far a passing object has come from there to the camera, 0 to 1.
        shift: (3,) mm in the space of `axes`.
        colors: (2, 3) linear RGB of the stripes across its third axis.
        stripes: radians over half its length; 0 for one colour.
    """

    shape: Shape
    half_axes: Float64[np.ndarray, " 3"]
    axes: Float64[np.ndarray, "3 3"]
    held: bool
    keypoint: int
    approach: float
    shift: Float64[np.ndarray, " 3"]
    colors: Float64[np.ndarray, "2 3"]
    stripes: float


class Layer(NamedTuple):
    """What an object shows at each pixel; `alpha` is 0 where it is not, `depth` is along the optical axis, mm."""

    alpha: Float32[np.ndarray, "h w"]
    depth: Float32[np.ndarray, "h w"]
    light: Float32[np.ndarray, "h w 3"]


def draw_occluder(ranges: OccluderRanges, rng: np.random.Generator) -> Occluder | None:
    """One object, or none."""
    chance, held_or_not = rng.random(), ranges.held + ranges.passing
    held = chance < ranges.held
    shape = _SHAPES[int(rng.integers(len(_SHAPES)))]
    thickness, length = _log_uniform(ranges.thickness, rng), _log_uniform(ranges.length, rng)
    half_axes = np.array([thickness, thickness * math.exp(rng.uniform(-0.5, 0.9)), max(length, thickness)])
    occluder = Occluder(
        shape=shape,
        half_axes=half_axes,
        axes=_across_the_palm(rng) if held else _any_rotation(rng),
        held=held,
        keypoint=int(rng.integers(21)),
        approach=rng.uniform(*ranges.approach),
        shift=rng.normal(0, 4.0 if held else 15.0, 3),
        colors=np.clip(rng.random((2, 3)) ** 2 * rng.uniform(0.2, 1.1, (2, 1)), 0.005, 1.0),
        stripes=float(rng.uniform(0, 12)) if rng.random() < 0.4 else 0.0,
    )
    return occluder if chance < held_or_not else None


def place(
    occluder: Occluder,
    keypoints_camera: Float64[np.ndarray, "21 3"],
    hand_to_camera: Float64[np.ndarray, "3 3"],
    palmar: Float64[np.ndarray, " 3"],
) -> tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, "3 3"]]:
    """An object's centre (mm) and axes (rows) in camera space.

    Args:
        occluder: the object.
        keypoints_camera: mm.
        hand_to_camera: the rotation, with the mirroring of a left hand.
        palmar: the direction, in hand space, that the palm faces.
    """
    if not occluder.held:
        center = keypoints_camera[occluder.keypoint] * (1 - occluder.approach) + occluder.shift
        return center, occluder.axes
    knuckle, tip = keypoints_camera[list(_GRIP)]
    reach = occluder.half_axes[0] + 8.0  # half a finger's thickness: on the palm's side of the fingers
    return (knuckle + tip) / 2 + hand_to_camera @ (palmar * reach + occluder.shift), occluder.axes @ hand_to_camera.T


def show(
    occluder: Occluder,
    center: Float64[np.ndarray, " 3"],
    axes: Float64[np.ndarray, "3 3"],
    rays: Float32[np.ndarray, "h w 3"],
    to_light: Float64[np.ndarray, " 3"],
    light: Float64[np.ndarray, " 3"],
    ambient: Float64[np.ndarray, " 3"],
) -> Layer:
    """What an object shows, with soft edges and matt shading.

    Args:
        occluder: the object.
        center: mm, camera space.
        axes: rows, camera space.
        rays: through every pixel, (x, y, 1).
        to_light: unit vector, camera space.
        light: linear RGB of the light there.
        ambient: linear RGB of the light from all around.
    """
    half = occluder.half_axes
    origin = (-(axes @ center) / half).astype(np.float32)
    direction = rays @ (axes / half[:, None]).T.astype(np.float32)
    depth, margin, normal = _MEET[occluder.shape](origin, direction)
    outward = (normal / half.astype(np.float32)) @ axes.astype(np.float32)
    outward /= np.maximum(np.linalg.norm(outward, axis=-1, keepdims=True), 1e-9)
    lit = np.clip(outward @ to_light.astype(np.float32), 0, None)[..., None] * light.astype(np.float32)
    color = occluder.colors[0].astype(np.float32)
    if occluder.stripes:
        along = origin[2] + depth * direction[..., 2]
        color = np.where(np.sin(along * np.float32(occluder.stripes))[..., None] > 0, occluder.colors[1], color)
    down, across = np.gradient(margin)
    alpha = np.clip(margin / (np.hypot(down, across) + 1e-9) + 0.5, 0, 1)
    alpha[depth < _NEAREST] = 0
    return Layer(alpha.astype(np.float32), depth, (color * (lit + ambient)).astype(np.float32))


def occludes(layer: Layer, xy: Float64[np.ndarray, "k 2"], hand_depth: Float64[np.ndarray, " k"]) -> NDArray[np.bool_]:
    """Which points of the hand an object hides: it is more than half there, and nearer than the hand's surface.

    Args:
        layer: what the object shows.
        xy: pixels; points outside the picture are not hidden.
        hand_depth: mm.
    """
    height, width = layer.alpha.shape
    column, row = np.round(xy).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    row, column = np.where(inside, row, 0), np.where(inside, column, 0)
    return np.asarray(inside & (layer.alpha[row, column] > 0.5) & (layer.depth[row, column] < hand_depth))


def _meet_ellipsoid(origin: Floats, direction: Floats) -> tuple[Floats, Floats, Floats]:
    return _meet_round(origin, direction, (0, 1, 2))


def _meet_round(origin: Floats, direction: Floats, which: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
    """Where rays enter the unit sphere, or the unit cylinder over two of the axes.

    Returns:
        Depth, margin (positive where the ray meets it, proportional to the distance from the edge near
        it), and the normal, all per ray. A ray that misses gets the depth of its nearest approach.
    """
    o, d = np.zeros_like(origin), np.zeros_like(direction)
    o[list(which)], d[..., list(which)] = origin[list(which)], direction[..., list(which)]
    a = np.maximum((d * d).sum(-1), 1e-12)
    b = d @ o
    margin = b * b - a * (o @ o - 1)
    depth = (-b - np.sqrt(np.maximum(margin, 0))) / a
    return depth, margin, o + depth[..., None] * d


def _meet_box(origin: Floats, direction: Floats) -> tuple[Floats, Floats, Floats]:
    """Where rays enter the unit cube: the slab method (Kay and Kajiya, 1986)."""
    enter, leave = _slabs(origin, direction)
    depth = enter.max(-1)
    side = np.eye(3, dtype=np.float32)[enter.argmax(-1)]
    return depth, leave.min(-1) - depth, -side * np.sign(direction)


def _meet_cylinder(origin: Floats, direction: Floats) -> tuple[Floats, Floats, Floats]:
    """Where rays enter the unit cylinder along the third axis, capped."""
    side_depth, side_margin, side_normal = _meet_round(origin, direction, (0, 1))
    a = np.maximum((direction[..., :2] ** 2).sum(-1), 1e-12)
    side_leave = side_depth + 2 * np.sqrt(np.maximum(side_margin, 0)) / a
    enter, leave = _slabs(origin[2:], direction[..., 2:])
    cap_depth, cap_leave = enter[..., 0], leave[..., 0]
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


_MEET: Final = {"ellipsoid": _meet_ellipsoid, "box": _meet_box, "cylinder": _meet_cylinder}


def _across_the_palm(rng: np.random.Generator) -> Float64[np.ndarray, "3 3"]:
    """Axes whose third runs from the little finger to the index, give or take 20 degrees."""
    third = np.array([1.0, 0.0, 0.0]) + rng.normal(0, 0.35, 3)
    third /= np.linalg.norm(third)
    second = np.cross(third, [0.0, 0.0, 1.0])
    second /= np.linalg.norm(second)
    return np.stack([np.cross(second, third), second, third])


def _any_rotation(rng: np.random.Generator) -> Float64[np.ndarray, "3 3"]:
    """Uniform over all rotations: the QR decomposition of a normal matrix."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q *= np.sign(np.diag(r))
    return np.asarray(q * np.sign(np.linalg.det(q)))


def _log_uniform(bounds: Range, rng: np.random.Generator) -> float:
    low, high = bounds
    return float(low * (high / low) ** rng.random())
