"""Joint names as other tools spell them: which of the 21 joints a label means.

Known spellings, all without regard to case and separators: knuckle's own (`index_mcp`), FreiHAND's
and MMPose's (`forefinger1`, `pinky_finger4`), MediaPipe's (`INDEX_FINGER_MCP`), and plain numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from knuckle.skeleton import FINGERS, NUM_JOINTS

_SPELLINGS: Final = {
    "thumb": ("thumb",),
    "index": ("index", "indexfinger", "forefinger"),
    "middle": ("middle", "middlefinger"),
    "ring": ("ring", "ringfinger"),
    "little": ("little", "littlefinger", "pinky", "pinkyfinger"),
}
_THUMB_PARTS: Final = ("cmc", "mcp", "ip", "tip")
_FINGER_PARTS: Final = ("mcp", "pip", "dip", "tip")
_SEPARATORS: Final = re.compile(r"[\s_.\-/:]+")


def _names() -> dict[str, int]:
    names = {"wrist": 0}
    for finger, joints in FINGERS.items():
        parts = _THUMB_PARTS if finger == "thumb" else _FINGER_PARTS
        for spelling in _SPELLINGS[finger]:
            for number, (joint, part) in enumerate(zip(joints, parts, strict=True), start=1):
                names[f"{spelling}{part}"] = names[f"{spelling}{number}"] = joint
    return names


_JOINT_OF_NAME: Final = _names()


def joint_of_name(label: str) -> int | None:
    """The joint that a name means, or None where it is no known name. Numbers are no names."""
    return _JOINT_OF_NAME.get(_SEPARATORS.sub("", label).casefold())


def number_of_label(label: str) -> int | None:
    """The number that a label consists of, or None."""
    text = label.strip()
    return int(text) if re.fullmatch(r"[0-9]{1,4}", text) else None


def first_number(numbers: Iterable[int]) -> int:
    """Whether numbered joints count from 0 or from 1: from 1 where 21 occurs and 0 does not."""
    seen = set(numbers)
    return 1 if NUM_JOINTS in seen and 0 not in seen else 0


def joint_order(names: Sequence[str]) -> tuple[int, ...] | None:
    """The permutation that named keypoints need: `xy_freihand = xy_other[permutation]`.

    None where the names do not say it: not 21 of them, an unknown one, or one twice.
    """
    numbers = [number_of_label(name) for name in names]
    start = first_number(number for number in numbers if number is not None)
    joints = [
        joint_of_name(name) if number is None else number - start for name, number in zip(names, numbers, strict=True)
    ]
    if sorted(joint for joint in joints if joint is not None) != list(range(NUM_JOINTS)) or None in joints:
        return None
    return tuple(joints.index(joint) for joint in range(NUM_JOINTS))
