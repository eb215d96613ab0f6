"""The mean pose is the mean in box units, and fits the hands that it was taken from where they are all alike."""

from __future__ import annotations

import numpy as np

from knuckle.evaluate.mean_pose import in_boxes, mean_pose
from knuckle.hands import Hands


def _hands() -> Hands:
    """One pose at two places and sizes, one of them with a joint that nobody labelled."""
    pose = np.random.default_rng(0).uniform(0, 1, (21, 2))
    pose[0], pose[1] = (0, 0), (1, 1)
    xy = np.stack([pose * 100 + (20, 30), pose * 40 + (300, 200)]).astype(np.float32)
    visibility = np.full((2, 21), 2)
    visibility[1, 7] = 0
    return Hands(image=["a.png", "b.png"], xy=xy, visibility=visibility, box=[[20, 30, 120, 130], [300, 200, 340, 240]])


def test_hands_that_are_alike_are_their_mean() -> None:
    hands = _hands()
    pose = mean_pose(hands)
    np.testing.assert_allclose(pose[:2], [(-0.5, -0.5), (0.5, 0.5)], atol=1e-6)
    found = in_boxes(pose, hands)
    assert found.labeled.all()
    np.testing.assert_allclose(found.xy[hands.labeled], hands.xy[hands.labeled], atol=1e-4)


def test_the_mean_lies_between_two_poses() -> None:
    hands = _hands()
    moved = hands.xy.copy()
    moved[0, 5] += (10, -20)  # 0.1 and -0.2 sides in one of two hands
    difference = mean_pose(hands.replace(xy=moved)) - mean_pose(hands)
    np.testing.assert_allclose(difference[5], (0.05, -0.1), atol=1e-6)
    np.testing.assert_allclose(np.delete(difference, 5, axis=0), 0, atol=1e-7)
