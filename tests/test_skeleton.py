"""The joint table: names, bones, and other datasets' orders."""

from __future__ import annotations

import numpy as np
import pytest

from knuckle import skeleton

MANO_NAMES = (
    "wrist",
    *(f"{finger}_{joint}" for finger in ("index", "middle", "little", "ring") for joint in ("mcp", "pip", "dip")),
    *("thumb_cmc", "thumb_mcp", "thumb_ip"),
    *(f"{finger}_tip" for finger in ("thumb", "index", "middle", "ring", "little")),
)
RHD_NAMES = (
    "wrist",
    *("thumb_tip", "thumb_ip", "thumb_mcp", "thumb_cmc"),
    *(f"{finger}_{j}" for finger in ("index", "middle", "ring", "little") for j in ("tip", "dip", "pip", "mcp")),
)
WEBXR_NAMES = (
    "wrist",
    *("thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip"),
    *(
        f"{finger}_{joint}"
        for finger in ("index", "middle", "ring", "little")
        for joint in ("metacarpal", "mcp", "pip", "dip", "tip")
    ),
)


def test_every_joint_has_one_name_and_one_path_to_the_wrist() -> None:
    assert len(set(skeleton.JOINT_NAMES)) == skeleton.NUM_JOINTS == 21
    assert len(skeleton.BONES) == 20
    for joint in range(1, 21):
        steps = 0
        while joint:
            joint, steps = skeleton.PARENTS[joint], steps + 1
        assert 1 <= steps <= 4


def test_fingers_cover_all_joints_but_the_wrist_once() -> None:
    assert sorted(joint for joints in skeleton.FINGERS.values() for joint in joints) == list(range(1, 21))
    for finger, joints in skeleton.FINGERS.items():
        assert all(skeleton.JOINT_NAMES[joint].startswith(finger) for joint in joints)
    assert [skeleton.JOINT_NAMES[tip][-3:] for tip in skeleton.FINGERTIPS] == ["tip"] * 5


@pytest.mark.parametrize(
    ("permutation", "names"),
    [
        (skeleton.FROM_RHD, RHD_NAMES),
        (skeleton.FROM_MANO, MANO_NAMES),
        (skeleton.FROM_WEBXR, WEBXR_NAMES),
        (skeleton.FROM_MEDIAPIPE, skeleton.JOINT_NAMES),
        (skeleton.FROM_OPENPOSE, skeleton.JOINT_NAMES),
    ],
)
def test_permutations_put_the_named_joints_in_order(permutation: tuple[int, ...], names: tuple[str, ...]) -> None:
    assert tuple(np.array(names)[list(permutation)]) == skeleton.JOINT_NAMES


def test_rhd_permutation_is_its_own_inverse() -> None:
    order = np.array(skeleton.FROM_RHD)
    np.testing.assert_array_equal(order[order], np.arange(21))


def test_gestures() -> None:
    assert len(set(skeleton.GESTURES)) == 25
    assert skeleton.GESTURES[6] == "fist"
    assert skeleton.GESTURES[17] == "ring_pinch"
    assert len(skeleton.JOINT_COLORS) == 21
