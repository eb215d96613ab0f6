"""The pose sampler: the same hand in any batch, exact shares, no collisions, no excluded gesture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from knuckle.render import poses
from knuckle.render.anatomy import LIMITS, clamp_to_limits
from knuckle.render.bones import bend
from knuckle.render.collision import penetration
from knuckle.render.gestures import TEMPLATES, nearest_gesture
from knuckle.render.mesh import NUM_SHAPES
from knuckle.render.poses import MAX_PENETRATION_MM, PoseMix, parse_gestures, parse_kinds, sample_poses
from knuckle.skeleton import GESTURES

FIST = GESTURES.index("fist")
ONLY_GESTURES = PoseMix(gesture=1, interpolation=0, synergy=0)


def recovered(angles: np.ndarray) -> np.ndarray:
    return nearest_gesture(bend(torch.from_numpy(angles)).keypoints.numpy())


def test_a_hand_is_the_same_in_any_batch_and_order() -> None:
    together, labels = sample_poses(3, range(64))
    for index in range(64):
        alone, label = sample_poses(3, [index])
        np.testing.assert_array_equal(alone[0], together[index])
        assert label[0] == labels[index]
    order = np.random.default_rng(0).permutation(64)
    shuffled, shuffled_labels = sample_poses(3, order)
    np.testing.assert_array_equal(shuffled, together[order])
    np.testing.assert_array_equal(shuffled_labels, labels[order])


def test_how_many_are_tried_at_a_time_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, labels = sample_poses(0, range(20))
    monkeypatch.setattr(poses, "CHUNK", 7)
    monkeypatch.setattr(poses, "TOGETHER", 1)
    chunked, chunked_labels = sample_poses(0, range(20))
    np.testing.assert_array_equal(whole, chunked)
    np.testing.assert_array_equal(labels, chunked_labels)


def test_seeds_and_indices_give_different_hands() -> None:
    first, second = sample_poses(0, range(30))[0], sample_poses(1, range(30))[0]
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 60


def test_poses_keep_the_limits_and_do_not_run_through_themselves() -> None:
    angles, labels = sample_poses(0, range(600))
    tensor = torch.from_numpy(angles)
    torch.testing.assert_close(clamp_to_limits(tensor), tensor, rtol=0, atol=1e-9)
    assert float(penetration(bend(tensor)).max()) <= MAX_PENETRATION_MM
    labelled = labels >= 0
    assert labelled.mean() == pytest.approx(0.6, abs=0.06)
    np.testing.assert_array_equal(recovered(angles)[labelled], labels[labelled])


def test_draws_around_a_gesture_resemble_it_before_any_is_rejected() -> None:
    gesture = np.tile(np.arange(25), 80)
    random = np.random.default_rng(0)
    shape = np.zeros((len(gesture), NUM_SHAPES))
    plan = poses._Plan(
        kind=np.zeros_like(gesture),
        gesture=gesture,
        other=gesture,
        finger=np.zeros((len(gesture), 5), np.int64),
        reach=np.zeros((len(gesture), 5)),
        wrist=np.zeros((len(gesture), 3)),
        shape=shape,
    )
    normals = random.standard_normal((len(gesture), poses._NUM_NORMALS))
    angles = poses._propose(plan, random.random((len(gesture), 2)), normals, noise=1.0)
    assert (recovered(angles) == gesture).mean() >= 0.99
    assert np.abs(angles - TEMPLATES[gesture])[:, :16].mean() > 2  # and are not all alike


def test_the_wrist_moves_both_ways_within_its_range() -> None:
    wrist = sample_poses(0, range(300))[0][:, 21:]
    limits = LIMITS[21:].double().numpy()
    assert (wrist >= limits[:, 0]).all()
    assert (wrist <= limits[:, 1]).all()
    assert (wrist.min(0) < 0.5 * limits[:, 0]).all()
    assert (wrist.max(0) > 0.5 * limits[:, 1]).all()


def test_shares_hold_after_rejection() -> None:
    mix = PoseMix(gesture=1, interpolation=0, synergy=0, weights=parse_gestures("fist:0.5"))
    labels = sample_poses(0, range(800), mix)[1]
    assert (labels == FIST).mean() == pytest.approx(0.5, abs=0.05)  # fists are rejected most often
    assert len(np.unique(labels)) == 25


def test_an_excluded_gesture_never_occurs_labelled_or_not() -> None:
    hands = range(400)
    angles, labels = sample_poses(0, hands)
    assert (recovered(angles)[labels < 0] == FIST).any()
    angles, labels = sample_poses(0, hands, PoseMix(exclude=frozenset({FIST})))
    assert FIST not in labels
    assert FIST not in recovered(angles)


def test_excluding_all_but_one_still_gives_hands() -> None:
    mix = PoseMix(exclude=frozenset(range(25)) - {FIST})
    angles, labels = sample_poses(0, range(12), mix)
    assert set(recovered(angles)) == {FIST}
    assert set(labels) <= {-1, FIST}


def test_a_hand_that_is_never_accepted_becomes_the_plain_gesture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poses, "MAX_TRIES", 0)
    angles, labels = sample_poses(0, range(50))
    np.testing.assert_array_equal(angles[:, :21], TEMPLATES[labels, :21])


def test_no_noise_gives_the_gestures_themselves() -> None:
    angles, labels = sample_poses(0, range(30), PoseMix(gesture=1, interpolation=0, synergy=0, noise=0.0))
    np.testing.assert_allclose(angles[:, :21], TEMPLATES[labels, :21], atol=0.05)


def test_fingers_that_differ_do_so_one_by_one() -> None:
    """From a bare open palm each finger leaves with its probability, whatever the others do, and some bend fully."""
    mix = PoseMix(gesture=0, interpolation=0, synergy=0, fingers=1, weights=parse_gestures("open_palm:1"), noise=0.0)
    angles, labels = sample_poses(0, range(600), mix)
    assert (labels == -1).all()
    moved = np.abs(angles[:, :21] - TEMPLATES[GESTURES.index("open_palm"), :21]) > 1.0
    differs = np.stack([part.any(1) for part in np.split(moved, [4, 8, 12, 16], axis=1)], axis=1)
    assert differs.mean(0) == pytest.approx([poses.FINGER_DIFFERS] * 5, abs=0.12)
    assert set(differs.sum(1)) == {0, 1, 2, 3, 4, 5}
    assert (angles[:, [0, 4, 8, 12]].max(0) > 60).all()


def test_hands_of_other_kinds_are_the_same_where_fingers_may_differ() -> None:
    usual, some = sample_poses(0, range(200))[0], sample_poses(0, range(200), PoseMix(fingers=0.25))[0]
    same = (usual == some).all(1)
    gestures_of_both = 0.6 / 1.25
    assert gestures_of_both - 0.1 < same.mean() < 0.9


def test_fingers_never_make_an_excluded_gesture() -> None:
    mix = PoseMix(gesture=0, interpolation=0, synergy=0, fingers=1, exclude=frozenset({FIST, 0}))
    assert not {FIST, 0} & set(recovered(sample_poses(0, range(300), mix)[0]))


def test_kinds_of_poses_as_text() -> None:
    assert tuple(parse_kinds("").values()) == PoseMix().shares
    assert parse_kinds("fingers:0.5") == pytest.approx(
        {"gesture": 0.3, "interpolation": 0.125, "synergy": 0.075, "fingers": 0.5}
    )
    with pytest.raises(ValueError, match="no kind of pose 'toes': choose from gesture, interpolation"):
        parse_kinds("toes:1")


def test_no_hands() -> None:
    angles, labels = sample_poses(0, [])
    assert angles.shape == (0, 24)
    assert labels.shape == (0,)


@given(st.dictionaries(st.integers(0, 24), st.floats(0, 1), max_size=24))
@settings(max_examples=50, deadline=None)
def test_what_named_gestures_leave_is_spread_evenly(given_weights: dict[int, float]) -> None:
    total = max(sum(given_weights.values()), 1.0)
    named = {gesture: weight / total / 1.001 for gesture, weight in given_weights.items()}
    weights = parse_gestures(",".join(f"{gesture}:{weight!r}" for gesture, weight in named.items()))
    assert sum(weights) == pytest.approx(1)
    assert {weights[gesture] for gesture in named} == set(named.values())
    assert len({round(weights[other], 12) for other in range(25) if other not in named}) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("6", "'6' is not a gesture and its share"),
        ("6:x", "'6:x' is not a gesture and its share"),
        ("6:1.5", "from 0 to 1"),
        ("6:nan", "from 0 to 1"),
        ("25:0.5", "no gesture '25'"),
        ("fits:0.5", "no gesture 'fits'"),
        ("6:0.1,fist:0.1", "fist.* is given twice"),
        ("6:0.7,7:0.7", "sum to 1.4"),
    ],
)
def test_wrong_gesture_lists_are_explained(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_gestures(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gesture": -1.0}, "at least 0"),
        ({"gesture": 0.0, "interpolation": 0.0, "synergy": 0.0}, "not all 0"),
        ({"weights": (1.0, 2.0)}, "each of 25 gestures"),
        ({"exclude": frozenset({25})}, "from 0 to 24"),
        ({"exclude": frozenset(range(25))}, "exclude fewer"),
        ({"weights": parse_gestures("6:1"), "exclude": frozenset({6})}, "exclude fewer"),
        ({"noise": -0.1}, "noise"),
    ],
)
def test_an_impossible_mix_is_explained(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PoseMix(**fields)
