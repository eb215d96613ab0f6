"""The real photos that shipped models are measured on, none of which they have seen."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from knuckle.formats import read
from knuckle.hands import Hands

PINCHES: Final = Path(__file__).parents[1] / "labels" / "pinch_mit_held_out.json"
"""The three places of `pinch_mit` that nothing is trained on."""


def real_hands(data: Path) -> dict[str, Hands]:
    """`pinch_mit` as far as it is held out (3 places, 13 keypoints each) and `photos` (6 videos, 16 each).

    Args:
        data: folder with the folders `pinch_mit` and `photos`.

    Raises:
        ValueError: the photos' labels cannot be read.
    """
    return {
        "pinch_mit": read(PINCHES).replace(root=data / "pinch_mit" / "images"),
        "photos": read(data / "photos" / "annotations.json"),
    }
