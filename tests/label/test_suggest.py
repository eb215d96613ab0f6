"""Suggestions: the least certain first, one a scene, no gesture more than its share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knuckle.label.propose import propose, waiting
from knuckle.label.suggest import spread_choice, suggest
from tests.label.worlds import glow, move_a_point, photo_folder, sheets_of


def choose(uncertainty: list[float], gesture: list[int], scene: list[int], count: int, **known: int) -> list[int]:
    counted = Counter({int(name[1:]): number for name, number in known.items()})
    return spread_choice(np.array(uncertainty), np.array(gesture), np.array(scene), counted, count)


def test_without_gestures_and_scenes_to_tell_apart_the_least_certain_come_first() -> None:
    assert choose([0.1, 0.9, 0.5, 0.9], [0, 0, 0, 0], [0, 1, 2, 3], 3) == [1, 3, 2]


def test_one_photo_a_scene_before_a_second_one() -> None:
    assert choose([0.9, 0.8, 0.7, 0.1], [0, 0, 0, 0], [0, 0, 0, 1], 3) == [0, 3, 1]


def test_no_gesture_takes_more_than_its_share_while_others_are_left() -> None:
    # four of two gestures: two each at first, however uncertain the third fist is
    assert choose([0.9, 0.8, 0.7, 0.2, 0.1], [6, 6, 6, 1, 1], [0, 1, 2, 3, 4], 4) == [0, 1, 3, 4]
    assert choose([0.9, 0.8, 0.7, 0.2], [6, 6, 6, 1], [0, 1, 2, 3], 4) == [0, 1, 3, 2]


def test_a_scene_that_somebody_labelled_waits() -> None:
    assert choose([0.9, 0.1], [0, 0], [0, 1], 2, s0=1) == [1, 0]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(-1, 3), st.integers(0, 4)), max_size=12),
    st.integers(1, 15),
)
def test_as_many_as_asked_for_each_once_and_the_first_is_the_least_certain(
    rows: list[tuple[float, int, int]], count: int
) -> None:
    uncertainty = [row[0] for row in rows]
    chosen = choose(uncertainty, [row[1] for row in rows], [row[2] for row in rows], count)
    assert len(chosen) == len(set(chosen)) == min(count, len(rows))
    if chosen:
        assert uncertainty[chosen[0]] == max(uncertainty)
        scenes = [rows[row][2] for row in chosen]
        gestures = {rows[row][1] for row in range(len(rows))}
        if len(gestures) == 1:  # then only scenes hold a photo back: no second one before each has had its first
            first = len(set(scenes))
            assert len(set(scenes[:first])) == first


def test_suggestions_of_a_folder_say_why(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path)
    propose(waiting(sheets_of(folder)), glow(), "m", "full")
    move_a_point(folder / "v0" / "0.json")
    found = suggest(sheets_of(folder), np.array([0, 0, 1, 1, 2, 2]), 5)
    assert [entry.rank for entry in found] == [1, 2, 3, 4, 5]
    assert {entry.scene for entry in found[:2]} == {1, 2}  # the first scene has a photo that somebody checked
    assert "v0/0.png" not in [entry.image for entry in found]
    last = next(entry for entry in found if entry.image == "v0/1.png")
    assert last.reason.endswith("of the hand's size; 2 photos look like it, 1 of them checked.")


def test_numbers_of_two_models_are_not_compared(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path)
    sheets = sheets_of(folder)
    propose(sheets[:1], glow(), "a", "full")
    propose(sheets[1:], glow(), "b", "full")
    with pytest.raises(ValueError, match=r"come from a \(covariance\) and b \(covariance\).*--renew"):
        suggest(sheets_of(folder), np.arange(6), 2)
