"""Where objects lie: in the grip without running through the hand, or before it without hiding too much."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float32, Float64

from knuckle.render.anatomy import ANGLES
from knuckle.render.convex import Shape, segment_distance
from knuckle.render.gestures import TEMPLATES
from knuckle.render.grip import MOST_HIDDEN, MOST_OVERLAP, place, settle
from knuckle.render.object_view import hidden
from knuckle.render.occluders import Occluder, OccluderRanges, draw_occluder
from knuckle.render.solids import solids
from tests.render.objects import an_object

FINGERS = ("index", "middle", "ring", "little")


def _keypoints() -> Float32[np.ndarray, "21 3"]:
    points = np.zeros((21, 3))
    points[:, 2] = 400.0
    points[9], points[12] = (0.0, -80.0, 400.0), (0.0, -160.0, 400.0)
    return points


def test_a_passing_object_stands_between_its_keypoint_and_the_camera() -> None:
    center, _ = place(replace(an_object("box"), keypoint=9), _keypoints(), np.eye(3), np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(center, np.array([0.0, -80.0, 400.0]) * 0.75)


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_a_held_object_lies_before_the_palm_of_either_straight_hand(mirror: float) -> None:
    hand_to_camera = np.diag([mirror, -1.0, -1.0])  # the palm faces the camera
    points = np.zeros((21, 3))
    points[5:] = [(20.0 * k - 30, -80.0 - 25 * j, 400.0) for k in range(4) for j in range(4)]
    held = _lying("cylinder", (10.0, 10.0, 60.0))
    center, axes = place(held, points, hand_to_camera, np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(center, [0, -92.5, 400 - 18])
    np.testing.assert_allclose(axes[0], [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(np.abs(axes[2]), [1, 0, 0])


class _Posed:
    """A hand before the camera, with its capsules."""

    def __init__(self, angles: Float64[np.ndarray, " 24"], turn: Float64[np.ndarray, "3 3"]) -> None:
        hand = solids(torch.from_numpy(angles)[None], torch.zeros(1, 12, dtype=torch.float64))
        hand = hand.moved(torch.from_numpy(turn)[None], torch.tensor([[0.0, 0.0, 500.0]], dtype=torch.float64))
        self.turn, self.radii = turn, hand.radius.numpy()
        self.starts, self.ends, self.keypoints = (c[:, 0].T.numpy() for c in (hand.start, hand.end, hand.points))

    def settled(self, occluder: Occluder) -> tuple[Occluder, Float64[np.ndarray, " 3"], Float64[np.ndarray, "3 3"]]:
        center, axes = place(occluder, self.keypoints, self.turn, np.array([0.0, 0.0, 1.0]))
        fitted, center = settle(occluder, center, axes, self.keypoints, self.starts, self.ends, self.radii)
        return fitted, center, axes

    def gaps(
        self, occluder: Occluder, center: Float64[np.ndarray, " 3"], axes: Float64[np.ndarray, "3 3"]
    ) -> Float64[np.ndarray, " capsules"]:
        first, last = ((p - center) @ axes.T for p in (self.starts, self.ends))
        return np.asarray(segment_distance(occluder.shape, occluder.half_axes, first, last) - self.radii)


def _lying(shape: Shape, half_axes: tuple[float, float, float]) -> Occluder:
    """A held object whose length lies straight across the palm."""
    return replace(an_object(shape, half_axes), held=True, axes=np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]))


def _hands(count: int) -> list[tuple[_Posed, Occluder, Occluder]]:
    """Gestures in any view, each with an object to hold and one that passes."""
    rng = np.random.Generator(np.random.SFC64(5))
    result = []
    for k in range(count):
        turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))  # left hands too
        held, passing = (draw_occluder(OccluderRanges(held=h, passing=1 - h), rng) for h in (1.0, 0.0))
        assert held is not None
        assert passing is not None
        result.append((_Posed(TEMPLATES[k % len(TEMPLATES)].astype(np.float64), turn), held, passing))
    return result


def test_held_objects_touch_the_hand_and_do_not_run_through_it() -> None:
    for hand, held, _ in _hands(30):
        fitted, center, axes = hand.settled(held)
        assert -MOST_OVERLAP <= hand.gaps(fitted, center, axes).min() <= 0.5
        assert (fitted.half_axes <= held.half_axes).all()


def test_passing_objects_leave_the_hand_alone() -> None:
    moved = 0
    for hand, _, passing in _hands(30):
        near = replace(passing, approach=0.05)
        fitted, center, axes = hand.settled(near)
        assert hand.gaps(fitted, center, axes).min() >= -MOST_OVERLAP
        # It looks the same: nearer to the camera, and smaller in proportion, or smaller where it hid too much.
        start, _ = place(near, hand.keypoints, hand.turn, np.array([0.0, 0.0, 1.0]))
        np.testing.assert_allclose(np.cross(center, start), 0, atol=1e-6)
        moved += int(center[2] < start[2])
    assert moved > 3


def test_a_passing_object_that_is_in_nobodys_way_stays_as_it_is() -> None:
    hand, _, passing = _hands(1)[0]
    small = replace(passing, half_axes=np.full(3, 5.0), approach=0.4, shift=np.zeros(3))
    fitted, center, _ = hand.settled(small)
    assert fitted is small
    np.testing.assert_array_equal(center, hand.keypoints[small.keypoint] * 0.6)


def test_no_object_hides_more_than_it_may() -> None:
    for hand, held, passing in _hands(20):
        huge = replace(passing, shape="box", half_axes=np.full(3, 150.0), approach=0.45, shift=np.zeros(3))
        sheet = replace(held, shape="box", half_axes=np.array([1.0, 120.0, 120.0]))
        for occluder in (held, passing, huge, sheet):
            fitted, center, axes = hand.settled(occluder)
            assert hidden(fitted, center, axes, hand.keypoints).sum() <= MOST_HIDDEN


def test_settling_knows_no_left_and_right() -> None:
    for hand, held, _ in _hands(6):
        one, center, _ = hand.settled(held)
        mirror = np.diag([-1.0, 1.0, 1.0])
        other = copy.copy(hand)
        other.turn = mirror @ hand.turn
        other.starts, other.ends, other.keypoints = (p @ mirror for p in (hand.starts, hand.ends, hand.keypoints))
        two, mirrored, _ = other.settled(held)
        np.testing.assert_allclose(two.half_axes, one.half_axes)
        np.testing.assert_allclose(mirrored, center @ mirror, atol=1e-6)


def test_a_pencil_lies_within_a_closed_fist() -> None:
    fist = np.array([62.0 if "flexion" in a and a.split("_")[0] in FINGERS else 0.0 for a in ANGLES])
    hand = _Posed(fist, np.diag([1.0, -1.0, -1.0]))
    fitted, center, axes = hand.settled(_lying("cylinder", (4.0, 4.0, 80.0)))
    assert fitted.half_axes[0] > 2.5
    assert center[2] > hand.keypoints[[6, 10, 14, 18], 2].max()  # the fingers close before it
    assert (hand.gaps(fitted, center, axes) < 4).sum() >= 3


def test_a_ball_lies_on_an_open_palm() -> None:
    hand = _Posed(np.zeros(len(ANGLES)), np.diag([1.0, -1.0, -1.0]))
    ball = _lying("ellipsoid", (20.0, 20.0, 20.0))
    fitted, center, axes = hand.settled(ball)
    np.testing.assert_array_equal(fitted.half_axes, ball.half_axes)
    assert center[2] < hand.keypoints[5:, 2].min() - 20  # the palm faces the camera
    assert (hand.gaps(fitted, center, axes) < 4).sum() >= 2
