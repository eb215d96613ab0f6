"""The 25 gestures: contacts and penetration recomputed, and their recovery from keypoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from knuckle.render.anatomy import ANGLES, clamp_to_limits, pose_keypoints
from knuckle.render.bones import bend, mean_hand
from knuckle.render.collision import penetration
from knuckle.render.contacts import gap
from knuckle.render.gestures import (
    SYNERGIES,
    TABLE,
    TEMPLATES,
    Gesture,
    nearest_gesture,
    template_distances,
    template_keypoints,
)
from knuckle.skeleton import GESTURES


@pytest.mark.parametrize("gesture", TABLE, ids=lambda gesture: gesture.name)
def test_contacts_touch_and_nothing_penetrates(gesture: Gesture) -> None:
    bones = bend(torch.from_numpy(gesture.angles[None]))
    for contact, stored in zip(gesture.contacts, gesture.gaps, strict=True):
        own = float(gap(contact, bones))
        assert abs(own) < 2.0, contact
        assert own == pytest.approx(stored, abs=0.02), "run tools/fit_gestures.py again"
    deepest = float(penetration(bones))
    assert deepest < 2.0
    assert deepest == pytest.approx(gesture.penetration, abs=0.02), "run tools/fit_gestures.py again"


def test_the_gestures_obey_the_limits_of_the_joints() -> None:
    angles = torch.from_numpy(TEMPLATES.copy())
    torch.testing.assert_close(clamp_to_limits(angles), angles, rtol=0, atol=0.05)  # stored to hundredths
    assert not TEMPLATES[:, 21:].any(), "the wrist is straight"


def test_gestures_are_those_of_the_skeleton() -> None:
    assert tuple(gesture.name for gesture in TABLE) == GESTURES
    assert len({gesture.meaning for gesture in TABLE}) == 25
    assert SYNERGIES.shape == (7, 21)


def test_each_gesture_is_nearest_to_itself_and_well_apart_from_the_others() -> None:
    distances = template_distances(template_keypoints())
    np.testing.assert_array_equal(distances.argmin(1), np.arange(25))
    np.testing.assert_allclose(distances.diagonal(), 0, atol=1e-9)
    others = distances[~np.eye(25, dtype=bool)]
    assert others.min() > 4.0  # relaxed and sphere_grasp, 5.0 mm


def test_a_fist_has_its_fingertips_in_the_palm_and_the_thumb_outside() -> None:
    keypoints = template_keypoints()[GESTURES.index("fist")]
    tips, knuckles = keypoints[[8, 12, 16, 20]], keypoints[[5, 9, 13, 17]]
    assert (tips[:, 1] < knuckles[:, 1] - 10).all()  # nearer to the wrist
    assert (tips[:, 2] < 35).all()  # close to the palm
    assert keypoints[4, 2] > tips[:2, 2].max()  # the thumb lies over index and middle finger


def test_ring_pinch_and_eight_gun_are_far_apart() -> None:
    distances = template_distances(template_keypoints())
    assert distances[GESTURES.index("eight_gun"), GESTURES.index("ring_pinch")] > 10


def test_the_nearest_gesture_knows_neither_side_nor_direction_nor_place_nor_size() -> None:
    random = np.random.default_rng(0)
    turns = Rotation.random(25, rng=random).as_matrix()
    mirror = np.where(random.random(25) < 0.5, -1.0, 1.0)
    points = template_keypoints() * np.stack([mirror, np.ones(25), np.ones(25)], 1)[:, None]
    moved = np.einsum("bij,bkj->bki", turns, points) * random.uniform(0.001, 30, (25, 1, 1)) + 7.0
    np.testing.assert_array_equal(nearest_gesture(moved), np.arange(25))


def test_the_nearest_gesture_is_right_for_hands_of_other_shapes() -> None:
    random = torch.Generator().manual_seed(0)
    labels = np.repeat(np.arange(25), 40)
    shape = torch.randn(len(labels), 12, dtype=torch.float64, generator=random)
    noise = torch.randn(len(labels), len(ANGLES), dtype=torch.float64, generator=random) * 5
    angles = clamp_to_limits(torch.from_numpy(TEMPLATES[labels]) + noise)
    keypoints = pose_keypoints(mean_hand(), angles, shape).numpy()
    assert (nearest_gesture(keypoints) == labels).mean() >= 0.99
