"""Where objects lie: in the grip, where fingers may close before them, or between hand and camera.

A held object touches the hand and does not run through it; a passing one stays clear of it; none hides too much.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64

from knuckle.render.convex import segment_distance, signed_distance
from knuckle.render.object_view import hidden
from knuckle.render.occluders import Occluder

Vector = Float64[np.ndarray, " 3"]

MOST_HIDDEN: Final = 14
"""Keypoints of 21 that an object may hide."""
MOST_OVERLAP: Final = 2.0
"""mm that an object may press into the hand's capsules: flesh yields."""
_OVERLAP: Final = 1.0
"""mm that a held object does press into them."""
_TOUCHING: Final = 0.2
"""mm from that where it stops."""
_ADVANCES: Final = 40
"""Steps at most on the way there."""
_REACH: Final = 40.0
"""mm that a held object may move to fit the grip."""
_INWARDS: Final = 12.0
"""mm that it may move towards the back of the hand."""
_SHRINK: Final = 0.85
"""A step of becoming smaller, for what hides too much."""
_NEARER: Final = 0.94
"""A step towards the camera, for what passes through the hand."""
_ROUNDS: Final = 40
"""Steps at most."""
_THINNER: Final = (1.0, 0.8, 0.64, 0.5, 0.4, 0.3, 0.2)
_THINNEST: Final = 1.5
"""mm; half the thickness of the thinnest object that something thicker may become."""
_VOLUME_PRICE: Final = 15.0
_SUPPORT_PRICE: Final = 10.0
"""mm of moving that e times the volume is worth, or one more part of the hand that touches with its inner side."""
_NEAR: Final = 4.0
"""mm between a part of the hand and an object that it is said to touch while places are compared."""
_SQUARELY: Final = 0.4
"""Cosine between the way to the object and a part's inner or outer side, from where that side touches it."""
_ENOUGH: Final = 5
"""Parts of the hand beyond which touching more is no better; those whose outer side touches count against it."""
_KNOTS: Final = np.linspace(0, 1, 3)
"""Points of each capsule's axis by which places are compared."""
_FAR: Final = 400.0


def place(
    occluder: Occluder,
    keypoints_camera: Float64[np.ndarray, "21 3"],
    hand_to_camera: Float64[np.ndarray, "3 3"],
    palmar: Vector,
) -> tuple[Vector, Float64[np.ndarray, "3 3"]]:
    """An object's centre (mm) and axes (rows) in camera space.

    A held object starts amid the joints of the middle and ring finger, which lie around it where the hand is
    closed, along the line of the knuckles; where the fingers are straight, on the palm's side of their bases, as it
    likes. `settle` makes it fit.

    Args:
        occluder: the object.
        keypoints_camera: mm.
        hand_to_camera: the rotation, with the mirroring of a left hand.
        palmar: the direction, in hand space, that the palm faces.
    """
    if not occluder.held:
        center = keypoints_camera[occluder.keypoint] * (1 - occluder.approach) + occluder.shift
        return center, occluder.axes
    fingers = keypoints_camera[5:].reshape(4, 4, 3)
    amid = fingers[1:3]
    chain = np.linalg.norm(np.diff(amid, axis=1), axis=2).sum()
    straight = float(np.linalg.norm(amid[:, 3] - amid[:, 0], axis=1).sum() / max(chain, 1e-9))
    bases = amid[:, :2].mean((0, 1))
    reach = (occluder.half_axes[0] + 8.0) * straight  # half a finger's thickness
    center = amid.mean((0, 1)) * (1 - straight) + bases * straight + hand_to_camera @ (palmar * reach + occluder.shift)
    axes = occluder.axes @ hand_to_camera.T
    return center, _turned(axes, (fingers[0] - fingers[3])[:2].mean(0), 1 - straight)


def settle(
    occluder: Occluder,
    center: Vector,
    axes: Float64[np.ndarray, "3 3"],
    keypoints_camera: Float64[np.ndarray, "21 3"],
    starts: Float64[np.ndarray, "N 3"],
    ends: Float64[np.ndarray, "N 3"],
    radii: Float64[np.ndarray, " N"],
) -> tuple[Occluder, Vector]:
    """The object as it fits the hand, and its centre.

    A held object touches the hand and presses at most MOST_OVERLAP into it. It moves across its length, by up to
    40 mm, to where it is free; a near place is better, and one where many parts of the hand touch it with their
    inner sides, and it may become thinner (what is not a cylinder: smaller) to find one. Where no size fits, the
    smallest touches the hand from outside, before the palm. A passing object that meets the hand comes nearer to
    the camera, and smaller in proportion, so that it looks the same. Either becomes smaller until it hides at
    most MOST_HIDDEN keypoints.

    Args:
        occluder: the object.
        center: mm, camera space, as are the next arguments.
        axes: rows.
        keypoints_camera: of the hand.
        starts: where the axes of the hand's capsules begin; other hands near it may follow.
        ends: where they end.
        radii: of the capsules.
    """
    hand = _Hand(starts, ends, radii, _inner_sides(starts, ends, keypoints_camera, axes[0]))
    for _ in range(_ROUNDS):
        fitted, at = occluder, center
        if occluder.held:
            fitted, at = _fit(occluder, center, axes, hand)
        elif _gaps(occluder, center, axes, hand).min() < -MOST_OVERLAP:
            occluder, center = replace(occluder, half_axes=occluder.half_axes * _NEARER), center * _NEARER
            continue
        if hidden(fitted, at, axes, keypoints_camera).sum() <= MOST_HIDDEN:
            break
        occluder = replace(occluder, half_axes=occluder.half_axes * _SHRINK)
    return fitted, at


class _Hand(NamedTuple):
    """A hand's capsules, and the unit direction out of each to where the fingers close."""

    starts: Float64[np.ndarray, "N 3"]
    ends: Float64[np.ndarray, "N 3"]
    radii: Float64[np.ndarray, " N"]
    inner: Float64[np.ndarray, "N 3"]


def _inner_sides(
    starts: Float64[np.ndarray, "N 3"],
    ends: Float64[np.ndarray, "N 3"],
    keypoints_camera: Float64[np.ndarray, "21 3"],
    palmar: Vector,
) -> Float64[np.ndarray, "N 3"]:
    """Fingers bend about the line of the knuckles, so each piece turns its inner side as it turns its length."""
    wrist, index, middle, little = keypoints_camera[[0, 5, 9, 17]]
    knuckles = (little - index) / max(float(np.linalg.norm(little - index)), 1e-9)
    if np.cross(knuckles, middle - wrist) @ palmar < 0:
        knuckles = -knuckles
    along = ends - starts
    return np.cross(knuckles, along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9))


def _fit(
    occluder: Occluder,
    center: Vector,
    axes: Float64[np.ndarray, "3 3"],
    hand: _Hand,
) -> tuple[Occluder, Vector]:
    """A held object where it touches the hand."""
    points = hand.starts[:, None] + _KNOTS[:, None] * (hand.ends - hand.starts)[:, None]
    local = (points - center) @ axes.T - _STEPS[:, None, None]
    places = center + _STEPS @ axes
    inner = hand.inner @ axes.T
    prices: list[Float64[np.ndarray, " n"]] = []
    sizes = _thinner(occluder)
    for size in sizes:
        lost = _VOLUME_PRICE * float(np.log(occluder.half_axes / size.half_axes).sum())
        if lost - _SUPPORT_PRICE * _ENOUGH > min((price.min() for price in prices), default=math.inf):
            break
        distances = signed_distance(size.shape, size.half_axes, local)
        gaps = distances.min(-1) - hand.radii
        nearest = np.take_along_axis(local, distances.argmin(-1)[..., None, None], 2)[..., 0, :]
        rise = signed_distance(size.shape, size.half_axes, nearest + inner) - distances.min(-1)
        # A step out of a finger's inner side leads nearer to what it holds.
        support = ((gaps < _NEAR) * ((rise < -_SQUARELY) * 1 - (rise > _SQUARELY))).sum(1)
        support = np.minimum(support, _ENOUGH)
        price = lost + np.linalg.norm(_STEPS, axis=1) - _SUPPORT_PRICE * support
        prices.append(np.where(gaps.min(1) > -_OVERLAP, price, math.inf))
    order = np.argsort(prices, axis=None, kind="stable")
    for choice in order[: np.isfinite(prices).sum()]:
        step, way = divmod(int(choice), len(_STEPS))
        if _gaps(sizes[step], places[way], axes, hand).min() > -_OVERLAP:
            return sizes[step], _touch(sizes[step], places[way], center, axes, hand)
    return sizes[-1], _touch(sizes[-1], center + axes[0] * _FAR, center, axes, hand)


def _touch(
    occluder: Occluder,
    origin: Vector,
    goal: Vector,
    axes: Float64[np.ndarray, "3 3"],
    hand: _Hand,
) -> Vector:
    """Move an object from a free place until it touches the hand: towards `goal`, then to the nearest capsule.

    It may always go as far as its distance from the hand without meeting it (conservative advancement; Mirtich,
    "Impulse-based dynamic simulation of rigid body systems", 1996).
    """
    at, gaps = _advance(occluder, origin, goal, axes, hand)
    nearest = int(gaps.argmin())
    return _advance(occluder, at, (hand.starts[nearest] + hand.ends[nearest]) / 2, axes, hand)[0]


def _advance(
    occluder: Occluder,
    at: Vector,
    goal: Vector,
    axes: Float64[np.ndarray, "3 3"],
    hand: _Hand,
) -> tuple[Vector, Float64[np.ndarray, " N"]]:
    """The object's place on the way to `goal` where it touches the hand, or the goal; and its gaps there."""
    for _ in range(_ADVANCES):
        gaps = _gaps(occluder, at, axes, hand) + _OVERLAP
        left = float(np.linalg.norm(goal - at))
        if gaps.min() < _TOUCHING or left < 1e-6:
            break
        at = at + (goal - at) * min(1.0, gaps.min() / left)
    return at, gaps


def _thinner(occluder: Occluder) -> list[Occluder]:
    """An object in ever smaller sizes, but not thinner than a wire; a cylinder keeps its length."""
    factors = [f for f in _THINNER if f == 1 or f * occluder.half_axes[0] > _THINNEST]
    scales = [np.array([f, f, 1.0 if occluder.shape == "cylinder" else f]) for f in factors]
    return [replace(occluder, half_axes=occluder.half_axes * scale) for scale in scales]


def _gaps(
    occluder: Occluder,
    center: Vector,
    axes: Float64[np.ndarray, "3 3"],
    hand: _Hand,
) -> Float64[np.ndarray, " N"]:
    """The gap between each capsule and an object, mm; negative: how deep they overlap."""
    first, last = ((points - center) @ axes.T for points in (hand.starts, hand.ends))
    return np.asarray(segment_distance(occluder.shape, occluder.half_axes, first, last) - hand.radii)


def _steps() -> Float64[np.ndarray, "n 3"]:
    """Places around an object in its own axes, across its length, mm: the nearest first."""
    turns = np.radians([0, 30, -30, 60, -60, 90, -90, 120, -120, 150, -150, 180])
    around = np.stack([np.cos(turns), np.sin(turns), np.zeros(len(turns))], axis=1)
    lengths = _REACH * np.array([0.12, 0.25, 0.4, 0.55, 0.75, 1.0])
    places = np.concatenate([np.zeros((1, 3)), (lengths[:, None, None] * around).reshape(-1, 3)])
    return places[places[:, 0] > -_INWARDS]


_STEPS: Final = _steps()


def _turned(axes: Float64[np.ndarray, "3 3"], line: Vector, share: float) -> Float64[np.ndarray, "3 3"]:
    """Axes whose third comes nearer to a line by a share, while the first stays as it can."""
    length = float(np.linalg.norm(line))
    along = line * np.copysign(1 / length, line @ axes[2]) if length > 0 else axes[2]
    third = axes[2] * (1 - share) + along * share
    third /= np.linalg.norm(third)
    first = axes[0] - (axes[0] @ third) * third
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(third, first) * np.linalg.det(axes), third])
