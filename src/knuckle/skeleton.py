"""The hand: its 21 joints, how they connect, other datasets' joint orders, and the 25 gestures.

Joint order everywhere in knuckle is FreiHAND's: the wrist, then thumb, index, middle, ring and
little finger, each from base to tip. One hand has no left-right pairs, so mirroring an image moves
no joint to another row: it flips x and the side, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

JOINT_NAMES: Final[tuple[str, ...]] = (
    "wrist",
    *("thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip"),
    *("index_mcp", "index_pip", "index_dip", "index_tip"),
    *("middle_mcp", "middle_pip", "middle_dip", "middle_tip"),
    *("ring_mcp", "ring_pip", "ring_dip", "ring_tip"),
    *("little_mcp", "little_pip", "little_dip", "little_tip"),
)
NUM_JOINTS: Final = len(JOINT_NAMES)

FINGERS: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        "thumb": (1, 2, 3, 4),
        "index": (5, 6, 7, 8),
        "middle": (9, 10, 11, 12),
        "ring": (13, 14, 15, 16),
        "little": (17, 18, 19, 20),
    }
)
FINGERTIPS: Final[tuple[int, ...]] = tuple(joints[-1] for joints in FINGERS.values())

PARENTS: Final[tuple[int, ...]] = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
BONES: Final[tuple[tuple[int, int], ...]] = tuple(
    (parent, joint) for joint, parent in enumerate(PARENTS) if parent >= 0
)

# sRGB, one hue per finger, told apart by colour-blind readers (Okabe and Ito, 2008).
FINGER_COLORS: Final[Mapping[str, tuple[int, int, int]]] = MappingProxyType(
    {
        "thumb": (213, 94, 0),
        "index": (230, 159, 0),
        "middle": (0, 158, 115),
        "ring": (86, 180, 233),
        "little": (204, 121, 167),
    }
)
WRIST_COLOR: Final[tuple[int, int, int]] = (240, 240, 240)
JOINT_COLORS: Final[tuple[tuple[int, int, int], ...]] = (
    WRIST_COLOR,
    *(FINGER_COLORS[finger] for finger, joints in FINGERS.items() for _ in joints),
)

# Permutations: `xy_freihand = xy_other[PERMUTATION]`, PERMUTATION[i] is the row of joint i there.

FROM_RHD: Final[tuple[int, ...]] = (0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17)
"""RHD runs each finger from tip to base (hand3d, `BinaryDbReader`). Its own inverse."""

FROM_MEDIAPIPE: Final[tuple[int, ...]] = tuple(range(21))
"""MediaPipe Hands counts as FreiHAND does."""

FROM_OPENPOSE: Final[tuple[int, ...]] = tuple(range(21))
"""OpenPose's hand output counts as FreiHAND does."""

FROM_MANO: Final[tuple[int, ...]] = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
"""MANO's 16 joints followed by the five fingertip vertices, thumb to little finger."""

FROM_WEBXR: Final[tuple[int, ...]] = (0, 1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19, 21, 22, 23, 24)
"""WebXR Hand Input lists 25 joints; its four finger metacarpals (5, 10, 15, 20) have no row here."""

GESTURES: Final[tuple[str, ...]] = (
    "open_palm",
    "one_point",
    "two_victory",
    "three",
    "four",
    "five_spread",
    "fist",
    "thumb_up",
    "six_call",
    "seven_pinched",
    "eight_gun",
    "nine_hook",
    "ok",
    "pinch_closed",
    "l_shape",
    "rock_horns",
    "i_love_you",
    "ring_pinch",
    "pinky_up",
    "claw",
    "relaxed",
    "cylinder_grasp",
    "sphere_grasp",
    "flat_bent_duck",
    "fingers_crossed",
)
"""The 25 static classes. Only number 6, the fist, is fixed by the study that knuckle repeats."""
