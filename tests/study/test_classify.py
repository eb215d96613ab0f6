"""Proposed gestures: blind to side, place, size and turn; right on rendered hands; unsure where it should be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knuckle.geometry import mirror_points
from knuckle.hands import Hands
from knuckle.render.dataset import label_batches
from knuckle.render.labels import Labels
from knuckle.study.classify import NUM_FEATURES, confusion, describe, probabilities, propose


@pytest.fixture(scope="module")
def rendered() -> Labels:
    """Hands of a seed that the classifier was not trained on, in the renderer's own mixture of poses."""
    return Labels.concat(list(label_batches(range(300), 99, 16, device="cpu", batch=100)))


def hands_of(xy: np.ndarray, labeled: np.ndarray | None = None) -> Hands:
    n = len(xy)
    visibility = np.full((n, 21), 2) if labeled is None else np.where(labeled, 2, 0)
    return Hands(image=[""] * n, xy=xy, visibility=visibility)


def test_rendered_gestures_are_named_and_other_poses_mostly_not(rendered: Labels) -> None:
    found = propose(hands_of(rendered.xy))
    shown = rendered.gesture >= 0
    assert (found.likeliest[shown] == rendered.gesture[shown]).mean() > 0.97
    assert (found.gesture[shown] >= 0).mean() > 0.85
    proposed = shown & (found.gesture >= 0)
    assert (found.gesture[proposed] == rendered.gesture[proposed]).mean() > 0.99
    assert (found.gesture[~shown] >= 0).mean() < 0.2


@given(
    degrees=st.floats(0, 360),
    scale=st.floats(0.01, 100),
    shift=st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)),
    mirrored=st.booleans(),
)
def test_side_place_size_and_turn_change_nothing(
    degrees: float, scale: float, shift: tuple[float, float], mirrored: bool
) -> None:
    xy = np.random.default_rng(0).uniform(0, 100, (4, 21, 2))
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    moved = scale * xy @ np.array([[cosine, sine], [-sine, cosine]]) + shift
    if mirrored:
        moved = mirror_points(moved, 100)
    np.testing.assert_allclose(describe(moved), describe(xy), atol=1e-6)
    np.testing.assert_allclose(probabilities(moved), probabilities(xy), atol=1e-4)


def test_the_description_by_hand() -> None:
    xy = np.zeros((1, 21, 2))
    xy[0, :, 0] = np.arange(21)  # a straight line with joints one apart
    features = describe(xy)[0]
    assert features.shape == (NUM_FEATURES,)
    spread = np.sqrt(((np.arange(21) - 10.0) ** 2).mean())
    assert features[0] == pytest.approx(1 / spread)  # joints 0 and 1
    assert features[19] == pytest.approx(20 / spread)  # joints 0 and 20
    assert features[210:] == pytest.approx(np.ones(NUM_FEATURES - 210))  # all bones point the same way
    xy[0, 4] = (3, -1)  # the last phalanx of the thumb turns by a right angle
    cosines = describe(xy)[0, 210:]
    assert cosines[:3] == pytest.approx((1, 1, 0))


def test_missing_joints_leave_the_answer_mostly_alone_and_too_few_make_it_unsure(rendered: Labels) -> None:
    shown = rendered.gesture >= 0
    xy, gesture = rendered.xy[shown], rendered.gesture[shown]
    labeled = np.ones(xy.shape[:2], dtype=bool)
    labeled[:, [2, 7]] = False
    assert np.isnan(describe(xy, labeled)).any(axis=1).all()
    assert (propose(hands_of(xy, labeled)).likeliest == gesture).mean() > 0.9
    labeled[:, 12:17] = False
    few = propose(hands_of(xy, labeled))
    assert (few.gesture == -1).all()
    assert (few.confidence == 0).all()


def test_the_threshold_decides_what_is_unsure(rendered: Labels) -> None:
    every = propose(hands_of(rendered.xy), threshold=0.0)
    assert np.array_equal(every.gesture, every.likeliest)
    some = propose(hands_of(rendered.xy), threshold=0.9)
    assert np.array_equal(some.gesture >= 0, every.confidence >= 0.9)
    assert (propose(hands_of(np.full((1, 21, 2), 7.0))).confidence < 1).all()  # all points in one place


def test_probabilities_sum_to_one_in_any_number_of_hands_and_nothing_gives_nothing() -> None:
    xy = np.random.default_rng(1).uniform(0, 100, (5000, 21, 2))
    found = probabilities(xy)
    assert found.shape == (5000, 26)
    assert found.sum(axis=1) == pytest.approx(np.ones(5000))
    np.testing.assert_allclose(found[-2:], probabilities(xy[-2:]), atol=1e-9)
    assert len(propose(Hands.empty()).gesture) == 0


def test_confusion_counts_by_hand() -> None:
    table = confusion(np.array([6, 6, 0, -1], dtype=np.int8), np.array([6, -1, 6, 3], dtype=np.int8))
    assert table.sum() == 4
    assert (table[6, 6], table[6, 25], table[0, 6], table[25, 3]) == (1, 1, 1, 1)
