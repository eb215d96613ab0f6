"""The keypoints in labels/ are whole, lie on their pictures and make hands; what is held out stays held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from knuckle.data.images import read_image
from knuckle.data.splits import split_groups
from knuckle.formats import read
from knuckle.hands import LEFT, RIGHT, UNKNOWN, Hands
from knuckle.skeleton import BONES
from knuckle.train.detector import SPLIT_SEED

ROOT = Path(__file__).parents[2]
BOXES, PINCHES, HELD_OUT = "boxes_ccby", "pinch_mit_training", "pinch_mit_held_out"
HANDS = {name: read(ROOT / "labels" / f"{name}.json") for name in (BOXES, PINCHES, HELD_OUT)}
COUNTS = {BOXES: 706, PINCHES: 167, HELD_OUT: 83}
LONGEST = {BOXES: 0.55, PINCHES: 0.8, HELD_OUT: 0.65}
"""Of any phalanx, in box sides: boxes around pinches hold only labelled points, sometimes without the wrist."""
PHOTOS = {
    name: ROOT.parent / "shared" / "data" / folder / "images"
    for name, folder in ((BOXES, "boxes_ccby"), (PINCHES, "pinch_mit"), (HELD_OUT, "pinch_mit"))
}

each = pytest.mark.parametrize("name", list(HANDS))


@each
def test_every_hand_is_there_once_and_lies_in_its_picture_and_box(name: str) -> None:
    hands = HANDS[name]
    assert len(hands) == len(set(hands.image.tolist())) == COUNTS[name]
    assert (hands.labeled.sum(axis=1) >= 8).all()
    beyond = np.maximum(-hands.xy, hands.xy - hands.size[:, None]).max(axis=-1)
    assert np.nanmax(beyond / hands.size.max(axis=1)[:, None]) < 0.02
    beside = np.maximum(hands.box[:, None, :2] - hands.xy, hands.xy - hands.box[:, None, 2:]).max(axis=-1)
    far = (beside / sides_of(hands)[:, None] > 0.15) & hands.labeled
    assert far.mean() < 0.01


@each
def test_bones_are_as_long_as_bones_can_be(name: str) -> None:
    hands = HANDS[name]
    parents, joints = np.array(BONES).T
    length = np.linalg.norm(hands.xy[:, joints] - hands.xy[:, parents], axis=-1) / sides_of(hands)[:, None]
    is_palm = parents == 0
    assert np.nanmax(length[:, ~is_palm]) < LONGEST[name]
    assert np.nanmax(length[:, is_palm]) < 0.9


def test_sides_are_known_of_most_hands_that_show_them() -> None:
    side = HANDS[BOXES].side
    counts = {one: int((side == one).sum()) for one in (LEFT, RIGHT, UNKNOWN)}
    assert counts[UNKNOWN] < 0.1 * len(side)
    assert min(counts[LEFT], counts[RIGHT]) > 0.3 * len(side)


def test_places_are_held_out_whole_and_are_those_that_the_detector_has_not_seen() -> None:
    learnt, held_out = HANDS[PINCHES].group, HANDS[HELD_OUT].group
    assert (len(set(learnt.tolist())), len(set(held_out.tolist()))) == (4, 3)
    group = np.concatenate([learnt, held_out])
    rows = split_groups(group, {"training": 0.7, "held out": 0.3}, SPLIT_SEED)
    assert set(group[rows["training"]].tolist()) == set(learnt.tolist())


@each
def test_the_photos_are_those_that_were_labelled(name: str) -> None:
    hands, photos = HANDS[name], PHOTOS[name]
    if not photos.is_dir():
        pytest.skip("the photos are not here")
    for image in hands.image.tolist():
        assert (photos / image).is_file()
    width, height = hands.size[0]
    assert read_image(photos / hands.image[0]).shape == (height, width, 3)


@pytest.mark.skipif(not PHOTOS[HELD_OUT].is_dir(), reason="the photos are not here")
@pytest.mark.parametrize("name", [PINCHES, HELD_OUT])
def test_tips_lie_where_the_source_has_them_or_a_little_farther_out(name: str) -> None:
    source = read(PHOTOS[name].parent)
    row_of = {image: row for row, image in enumerate(source.image.tolist())}
    hands, there = HANDS[name], source[[row_of[image] for image in HANDS[name].image.tolist()]]
    apart = np.linalg.norm(hands.xy[:, [4, 8]] - there.xy[:, [4, 8]], axis=-1) / sides_of(hands)[:, None]
    assert np.nanmax(apart) < 0.2
    assert np.nanmedian(apart) < 0.06


def sides_of(hands: Hands) -> np.ndarray:
    """The longer side of each box."""
    return np.asarray((hands.box[:, 2:] - hands.box[:, :2]).max(axis=1))
