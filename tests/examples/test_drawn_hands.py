"""Drawn hands: exact labels, the same pictures for the same seed, and a data set that reads back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import knuckle
from examples.drawn_hands import EXTENDED, IMAGES_PER_PERSON, Person, _Capsule, _draw_capsule, draw_dataset, drawn_hand
from knuckle.hands import LEFT, RIGHT, VISIBLE
from knuckle.skeleton import FINGERS, FINGERTIPS


def test_the_same_seed_draws_the_same_hand() -> None:
    first, again, other = (drawn_hand(np.random.default_rng(seed), 96) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("gesture", EXTENDED)
@pytest.mark.parametrize("side", [LEFT, RIGHT])
def test_keypoints_lie_inside_the_frame_and_on_the_hand(gesture: str, side: int) -> None:
    person = Person.random(np.random.default_rng(0))

    def picture(grey: float) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
        painted = replace(person, skin=np.full(3, grey))
        return drawn_hand(np.random.default_rng(5), 160, gesture=gesture, side=side, person=painted)

    (dark, xy, visibility), (light, _, _) = picture(20), picture(230)
    hand = np.abs(dark.astype(int) - light).max(axis=2) > 50  # what changes with the skin is the hand
    assert ((xy >= 0) & (xy <= 159)).all()
    assert (visibility[list(FINGERTIPS)] == VISIBLE).sum() >= 3
    columns, rows = np.rint(xy).astype(int).T
    assert hand[rows, columns].all()
    assert 0.02 < hand.mean() < 0.5


def test_a_tip_is_the_centre_of_the_drawn_end_of_its_finger() -> None:
    """The end of a finger is half a disc about the tip: the skin ends one radius beyond it, in pixels."""
    canvas = np.zeros((64, 64, 3), dtype=np.float32)
    capsule = _Capsule(np.array([(32.25, 50.0), (32.25, 20.5)]), (6.0, 6.0), ())
    _draw_capsule(canvas, capsule, np.full(3, 100.0), np.zeros(2))
    columns = np.arange(64)
    weight = (canvas[:, :, 0] > 0) * 1.0
    assert (weight * columns).sum() / weight.sum() == pytest.approx(32.25, abs=0.3)
    column = canvas[:, 32, 0]
    end = np.interp(30.0, column[10:20], np.arange(10, 20))
    assert end == pytest.approx(20.5 - 6.0, abs=0.35)


def test_left_hands_are_mirrored_right_hands() -> None:
    def turn(side: int) -> float:
        """Positive where the fingers follow each other clockwise around the wrist."""
        _, xy, _ = drawn_hand(np.random.default_rng(1), 96, gesture="open_palm", side=side)
        (x1, y1), (x2, y2) = (xy[FINGERS[name][0]] - xy[0] for name in ("index", "little"))
        return float(x1 * y2 - x2 * y1)

    assert turn(LEFT) > 0 > turn(RIGHT)


def test_gestures_differ_in_which_fingers_are_long() -> None:
    for gesture, extended in EXTENDED.items():
        _, xy, _ = drawn_hand(np.random.default_rng(2), 224, gesture=gesture)
        reach = [np.linalg.norm(xy[joints[-1]] - xy[joints[0]]) for joints in list(FINGERS.values())[1:]]
        straight = [r for r, is_long in zip(reach, extended[1:], strict=True) if is_long]
        bent = [r for r, is_long in zip(reach, extended[1:], strict=True) if not is_long]
        assert not straight or not bent or min(straight) > max(bent)


def test_a_written_data_set_reads_back_equal(tmp_path: Path) -> None:
    hands = draw_dataset(tmp_path, 10, seed=7, size=64)
    assert len(hands) == 10
    assert hands.group.tolist() == [0] * IMAGES_PER_PERSON + [1] * 2
    assert all(path.is_file() for path in hands.paths())
    again = knuckle.read(tmp_path / "annotations.json")
    assert np.abs(again.xy - hands.xy).max() < 1e-3
    for column in ("visibility", "side", "gesture", "group", "size"):
        assert np.array_equal(getattr(again, column), getattr(hands, column)), column
