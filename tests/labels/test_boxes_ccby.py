"""The keypoints of labels/boxes_ccby.json are whole, lie on their pictures and make hands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from knuckle.data.images import read_image
from knuckle.formats import read
from knuckle.hands import LEFT, RIGHT, UNKNOWN
from knuckle.skeleton import BONES

LABELS = Path(__file__).parents[2] / "labels" / "boxes_ccby.json"
PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "boxes_ccby" / "images"
HANDS = read(LABELS)


def test_every_hand_is_there_once_and_lies_in_its_picture_and_box() -> None:
    assert len(HANDS) == len(set(HANDS.image.tolist())) == 706
    assert (HANDS.labeled.sum(axis=1) >= 8).all()
    points = HANDS.xy[HANDS.labeled]
    assert ((points > -0.02 * 224) & (points < 1.02 * 224)).all()
    side = (HANDS.box[:, 2:] - HANDS.box[:, :2]).max(axis=1)
    beside = np.maximum(HANDS.box[:, None, :2] - HANDS.xy, HANDS.xy - HANDS.box[:, None, 2:]).max(axis=-1)
    far = (beside / side[:, None] > 0.15) & HANDS.labeled
    assert far.mean() < 0.01


def test_bones_are_as_long_as_bones_can_be() -> None:
    parents, joints = np.array(BONES).T
    side = (HANDS.box[:, 2:] - HANDS.box[:, :2]).max(axis=1)
    length = np.linalg.norm(HANDS.xy[:, joints] - HANDS.xy[:, parents], axis=-1) / side[:, None]
    is_palm = parents == 0
    assert np.nanmax(length[:, ~is_palm]) < 0.55
    assert np.nanmax(length[:, is_palm]) < 0.9


def test_sides_are_known_of_most_hands() -> None:
    counts = {side: int((HANDS.side == side).sum()) for side in (LEFT, RIGHT, UNKNOWN)}
    assert counts[UNKNOWN] < 0.1 * len(HANDS)
    assert min(counts[LEFT], counts[RIGHT]) > 0.3 * len(HANDS)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the photos are not here")
def test_the_photos_are_those_that_were_labelled() -> None:
    for name, size in zip(HANDS.image.tolist(), HANDS.size.tolist(), strict=True):
        assert (PHOTOS / name).is_file()
        assert size == [224, 224]
    assert read_image(PHOTOS / HANDS.image[0]).shape == (224, 224, 3)
