"""The hands that a person has checked, ready for training: without a model's numbers, grouped by scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from knuckle.data.scenes import joined
from knuckle.hands import OPTIONAL_COLUMNS, Hands, keypoint_extent
from knuckle.label.sheets import Sheet


def checked_hands(sheets: Sequence[Sheet], scenes: Int64[np.ndarray, " n"]) -> Hands:
    """The hands of all checked files.

    A hand with all of its points gets the box around them, as people move points and not boxes. Photos of one scene,
    or of one group in their files, become one group, so that no split of the hands divides them.

    Args:
        sheets: of all photos.
        scenes: the scene of each.

    Raises:
        ValueError: no file was checked, or none of them has a hand.
    """
    rows = [row for row, sheet in enumerate(sheets) if sheet.state == "checked" and len(sheet.hands)]
    if not rows:
        raise ValueError(
            "no file with a hand was checked yet: in Labelme, correct the points or tick the flag 'checked', and save."
        )
    hands = Hands.concat([sheets[row].hands for row in rows])
    scene = np.repeat(scenes[rows], [len(sheets[row].hands) for row in rows])
    whole = np.asarray(hands.labeled.all(axis=1))
    links = [np.flatnonzero(column == value) for column in (scene, hands.group) for value in np.unique(column)]
    return hands.replace(
        box=np.where(whole[:, None], keypoint_extent(hands.xy), hands.box),
        group=joined(len(hands), links),
        **dict.fromkeys(OPTIONAL_COLUMNS),
    )
