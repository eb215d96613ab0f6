"""A second hand near the first: beside it, before it, behind it, or touching it, never running through it.

Both hands are capsules (`solids`). A turn of the second against the first and a direction are drawn; then it
comes along that direction, from far away, until no more than a drawn gap is left between the two (sphere
tracing: a step as long as the distance cannot reach the other). A place is taken if the first hand stays visible
in part, the second is in the picture, and neither comes too near to the camera; else the next one is tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from knuckle.render.camera import NEAREST_DEPTH, Placement, View
from knuckle.render.ranges import Range, check_numbers, check_ranges, check_weights
from knuckle.render.solids import Solid, distance, hides

Vector = Float64[np.ndarray, " 3"]
Matrix = Float64[np.ndarray, "3 3"]

TOGETHER: Final = 2
"""Places that are tried at once."""
ROUNDS: Final = 12
"""Rounds of tries, then the hand stays alone."""
FAR: Final = 900.0
"""mm from which the second hand comes: further than both hands with their forearms reach."""
STEPS: Final = 40
CLOSE_ENOUGH: Final = 0.2
"""mm at which it stops."""
LEFT_VISIBLE: Final = 9
"""Keypoints of the first hand, of 21, that the second one's capsules must not hide; skin may hide a few more."""
IN_THE_PICTURE: Final = 6
"""Keypoints of the second hand, of 21, that must lie in the picture."""

_BESIDE, _BEFORE, _BEHIND, _CLASPED = range(4)
_PALM: Final = (0, 5, 17)


@dataclass(frozen=True)
class Companions:
    """A second hand near the one that has the labels.

    Attributes:
        probability: of a second hand.
        other_person: part of them that belong to somebody else; the others are the same person's other hand.
        beside: share of hands to the side, as seen by the camera.
        before: share between the first hand and the camera.
        behind: share beyond the first hand.
        clasped: share laid against the palm or the back of the first hand.
        touching: part of the first three kinds that touch; clasped hands always do.
        gap: mm left between hands that do not touch.
        pressed: mm by which flesh gives way where hands touch.
        turn: degrees by which the fingers' directions differ, as a standard deviation.
        tilt: likewise, around any axis.

    Raises:
        ValueError: a range, share or probability cannot be one; names the field.
    """

    probability: float = 0.2
    other_person: float = 0.25
    beside: float = 0.35
    before: float = 0.25
    behind: float = 0.15
    clasped: float = 0.25
    touching: float = 0.3
    gap: Range = (0.0, 70.0)
    pressed: Range = (0.0, 3.0)
    turn: float = 45.0
    tilt: float = 25.0

    def __post_init__(self) -> None:
        check_numbers(self, "probability", "other_person", "touching", most=1.0)
        check_weights(self, "beside", "before", "behind", "clasped")
        check_ranges(self, "gap", "pressed", least=0.0)
        check_numbers(self, "turn", "tilt")


class Frame(NamedTuple):
    """What the camera of a `View` sees, before the picture's size is known.

    Attributes:
        hand_to_camera: (3, 3) of the first hand.
        wrist: (3,) mm, where it stands.
        low: (2,) tangents of the upper left corner.
        high: (2,) and of the lower right one.
    """

    hand_to_camera: Matrix
    wrist: Vector
    low: Float64[np.ndarray, " 2"]
    high: Float64[np.ndarray, " 2"]


class _Way(NamedTuple):
    """One way for a second hand to come, along the camera's axes.

    Attributes:
        hand_to_camera: (3, 3).
        start: (3,) mm, where its wrist begins, from the first hand's wrist.
        direction: (3,) unit vector towards where it comes from.
        gap: mm at which it stops; negative: flesh gives way.
    """

    hand_to_camera: Matrix
    start: Vector
    direction: Vector
    gap: float


def place_beside(
    first: Solid,
    second: Solid,
    sides: Sequence[tuple[bool, bool]],
    views: Sequence[View],
    companions: Companions,
    draws: Sequence[np.random.Generator],
) -> list[Placement | None]:
    """Where second hands stand, in pictures of a first hand.

    Args:
        first: the hands that the cameras look at, hand space.
        second: the others, hand space.
        sides: whether the first and the second are left hands.
        views: the cameras.
        companions: what may be.
        draws: a generator for each picture.

    Returns:
        One placement a picture, from the first hand's wrist; None where no place was found.
    """
    frames = [frame_of(view, sides[row][0], first.rows([row])) for row, view in enumerate(views)]
    placed: list[Placement | None] = [None] * len(frames)
    waiting = list(range(len(frames)))
    for _ in range(ROUNDS):
        if not waiting:
            break
        rows = [row for row in waiting for _ in range(TOGETHER)]
        ways = [
            draw_way(companions, frames[row].hand_to_camera, sides[row], _points(first, row), _points(second, row), rng)
            for row in waiting
            for rng in [draws[row]] * TOGETHER
        ]
        accepted, shift = _try(first.rows(rows), second.rows(rows), [frames[row] for row in rows], ways)
        for at, row in enumerate(rows):
            if accepted[at] and placed[row] is None:
                placed[row] = Placement(ways[at].hand_to_camera, shift[at])
        waiting = [row for row in waiting if placed[row] is None]
    return placed


def frame_of(view: View, is_left: bool, hand: Solid) -> Frame:
    """The camera that `camera.place_cameras` will set up for a hand, but for the lens's distortion."""
    hand_to_camera = view.axes * np.array([-1.0 if is_left else 1.0, 1.0, 1.0])
    turned = hand.moved(torch.from_numpy(hand_to_camera)[None], torch.zeros(1, 3, dtype=torch.float64))
    points = turned.points[:, 0].T.numpy()
    middle = (points.min(0) + points.max(0)) / 2
    reach = torch.minimum(turned.start[2, 0], turned.end[2, 0]) - turned.radius
    closest = (NEAREST_DEPTH * (points[0, 2] - middle[2]) - (float(reach.min()) - middle[2])) / (1 - NEAREST_DEPTH)
    far = max(view.distance, closest)
    wrist = np.array([view.off_axis[0] * far, view.off_axis[1] * far, far]) - middle
    seen = (points + wrist)[:, :2] / (points + wrist)[:, 2:]
    low, high = seen.min(0), seen.max(0)
    side = float((high - low).max()) / view.fill
    corner = (low + high) / 2 - np.array(view.center) * side
    return Frame(hand_to_camera, wrist, corner, corner + side)


def draw_way(
    companions: Companions,
    first_to_camera: Matrix,
    sides: tuple[bool, bool],
    first: Float64[np.ndarray, "21 3"],
    second: Float64[np.ndarray, "21 3"],
    rng: np.random.Generator,
) -> _Way:
    """One way for a second hand to come.

    Args:
        companions: what may be.
        first_to_camera: (3, 3) of the first hand.
        sides: whether the first and the second are left hands.
        first: keypoints, hand space.
        second: likewise.
        rng: where the numbers come from.
    """
    weights = np.array([companions.beside, companions.before, companions.behind, companions.clasped])
    kind = int(rng.choice(4, p=weights / weights.sum()))
    faces, from_palm = rng.random() < 0.5, rng.random() < 0.5
    if kind == _CLASPED:
        faces = from_palm  # palm to palm, or palm on the back of the hand
    turned = first_to_camera @ _relative(sides, faces, companions, rng)
    palm = first_to_camera[:, 2]
    towards = {
        _BESIDE: _in_the_picture(rng),
        _BEFORE: np.array([0.0, 0.0, -1.0]),
        _BEHIND: np.array([0.0, 0.0, 1.0]),
        _CLASPED: palm if from_palm else -palm,
    }[kind]
    direction = towards + rng.normal(0, 0.3, 3)
    direction /= np.linalg.norm(direction)
    touches = kind == _CLASPED or rng.random() < companions.touching
    gap, pressed = rng.uniform(*companions.gap), rng.uniform(*companions.pressed)
    aside = rng.normal(0, 12.0 if kind == _CLASPED else 35.0, 3)
    meeting = first_to_camera @ first[list(_PALM)].mean(0) - turned @ second[list(_PALM)].mean(0)
    return _Way(turned, meeting + aside + FAR * direction, direction, -pressed if touches else gap)


def _relative(sides: tuple[bool, bool], faces: bool, companions: Companions, rng: np.random.Generator) -> Matrix:
    """How the second hand is turned against the first: from its hand space to the first one's.

    Args:
        sides: whether the first and the second are left hands; two different ones mirror each other.
        faces: the palms look at each other, not the same way.
        companions: for how much turns differ.
        rng: where the numbers come from.
    """
    mirrored, opposite = sides[0] != sides[1], False
    if mirrored:  # one person's hands, the fingers of both pointing the same way
        base = np.diag([1.0, 1.0, -1.0]) if faces else np.diag([-1.0, 1.0, 1.0])
    else:  # two persons' hands, from two sides as in a handshake, or from one side
        opposite = faces
        base = np.diag([1.0, -1.0, -1.0]) if opposite else np.eye(3)
    turn = rotation(np.array([0.0, 0.0, 1.0]), math.radians(rng.normal(0, companions.turn)))
    axis = rng.standard_normal(3)
    tilt = rotation(axis / np.linalg.norm(axis), math.radians(rng.normal(0, companions.tilt)))
    return np.asarray(tilt @ turn @ base)


def _in_the_picture(rng: np.random.Generator) -> Vector:
    angle = rng.uniform(-math.pi, math.pi)
    return np.array([math.cos(angle), math.sin(angle), 0.0])


def rotation(axis: Vector, angle: float) -> Matrix:
    """The rotation by an angle in radians about a unit vector (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross))


def _points(solid: Solid, row: int) -> Float64[np.ndarray, "21 3"]:
    points: Float64[np.ndarray, "21 3"] = solid.points[:, row].T.numpy()
    return points


def _try(
    first: Solid, second: Solid, frames: Sequence[Frame], ways: Sequence[_Way]
) -> tuple[list[bool], Float64[np.ndarray, "n 3"]]:
    """Let second hands come; whether each place will do, and where the wrist is, from the first hand's wrist."""

    def column(rows: Sequence[object]) -> Tensor:
        return torch.from_numpy(np.asarray(rows, dtype=np.float64))

    wrist = column([frame.wrist for frame in frames])
    here = first.moved(column([frame.hand_to_camera for frame in frames]), wrist)
    there = second.moved(column([way.hand_to_camera for way in ways]), wrist)
    shift, arrived = approach(
        here,
        there,
        column([way.start for way in ways]),
        column([way.direction for way in ways]),
        column([way.gap for way in ways]),
    )
    came = there.shifted(shift)
    low, high = (column(rows) for rows in ([frame.low for frame in frames], [frame.high for frame in frames]))
    seen = came.points[:2] / came.points[2]
    inside = ((seen > low.T[..., None]) & (seen < high.T[..., None])).all(0).sum(1) >= IN_THE_PICTURE
    visible = (~hides(came, here.points)).sum(1) >= LEFT_VISIBLE
    accepted = arrived & inside & visible & far_enough(came, here.points[2, :, 0])
    return accepted.tolist(), shift.numpy()


def approach(
    first: Solid,
    second: Solid,
    start: Float64[Tensor, "b 3"],
    direction: Float64[Tensor, "b 3"],
    gap: Float64[Tensor, " b"],
) -> tuple[Float64[Tensor, "b 3"], Bool[Tensor, " b"]]:
    """Move second hands against their direction until a gap is left.

    Args:
        first: where the first hands stand.
        second: the second ones, turned, their wrists in the places that the result starts from.
        start: mm, added to the second hands.
        direction: unit vectors back to where they come from.
        gap: mm between the surfaces at which they stop.

    Returns:
        What is to be added to the second hands, and whether they arrived; those that pass by do not.
    """
    way = torch.zeros_like(gap)
    for _ in range(STEPS):
        left = distance(first, second.shifted(start - direction * way[:, None])) - gap
        # Who has arrived stays, whatever the others do; who has passed by goes no further.
        way = torch.where((left > CLOSE_ENOUGH) & (way < 1.5 * FAR), way + left, way)
        if not ((left > CLOSE_ENOUGH) & (way < 1.5 * FAR)).any():
            break
    shift = start - direction * way[:, None]
    left = distance(first, second.shifted(shift)) - gap
    return shift, (left <= CLOSE_ENOUGH) & (left >= -CLOSE_ENOUGH)


def far_enough(solid: Solid, wrist_depth: Float64[Tensor, " b"]) -> Bool[Tensor, " b"]:
    """Whether hands keep a quarter of a wrist's depth from the camera, forearm and all."""
    nearest = torch.minimum(solid.start[2], solid.end[2]) - solid.radius
    return nearest.amin(1) > NEAREST_DEPTH * wrist_depth
