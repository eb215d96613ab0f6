"""Crops without a hand: none overlaps a labelled one much, all kinds are there, pictures are groups."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from examples.drawn_hands import draw_dataset
from knuckle.evaluate.no_hands import MOST_OVERLAP, empty_places, missed
from knuckle.hands import Hands
from knuckle.predict.track import overlap


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory) -> Hands:
    return draw_dataset(tmp_path_factory.mktemp("drawn"), 40, seed=2, size=64)


def test_boxes_that_miss_their_hand(hands: Hands) -> None:
    found = missed(hands)
    assert found == missed(hands)
    assert found != missed(hands, seed=1)
    assert len(found) > 35
    assert not found.labeled.any()
    at = [hands.paths().index(Path(name)) for name in found.image]
    own = hands.box[at]
    np.testing.assert_array_equal(found.group, hands.group[at])
    assert (np.diag(overlap(found.box, own)) < MOST_OVERLAP).all()
    center = (found.box[:, :2] + found.box[:, 2:]) / 2
    assert ((center > 0) & (center < 64)).all()
    side, other = ((box[:, 2:] - box[:, :2]).max(axis=1) for box in (found.box, own))
    ratio = side / other
    assert [(ratio < 0.5).sum() > 5, (ratio > 2).sum() > 5, ((ratio > 0.6) & (ratio < 1.5)).sum() > 3] == [True] * 3


def test_places_of_pictures_without_hands(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((60, 90, 3), np.uint8))
    (tmp_path / "d.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"d\.png"):
        empty_places(tmp_path, 40)
    found, skipped = empty_places(tmp_path, 40, on_bad="skip")
    assert len(skipped) == 1
    assert set(found.group.tolist()) == {int(group) for group in np.unique(found.group)}
    assert (len(found), len(np.unique(found.group)), len(np.unique(found.image))) == (30, 3, 3)
    np.testing.assert_array_equal(found.size, np.tile([90, 60], (30, 1)))
    assert found == empty_places(tmp_path, 40, on_bad="skip")[0]


def test_labelled_hands_are_kept_away_from(hands: Hands) -> None:
    root = hands.root
    assert root is not None
    cv2.imwrite(str(root / "images" / "empty.png"), np.zeros((64, 64, 3), np.uint8))
    found, _ = empty_places(root / "annotations.json", 400)
    assert len(found) > 250
    by_path = {str(path): box for path, box in zip(hands.paths(), hands.box, strict=True)}
    boxes = np.array([by_path.get(name, (-9, -9, -8, -8)) for name in found.image.tolist()])
    assert (np.diag(overlap(found.box, boxes)) < MOST_OVERLAP).all()
    assert str(root / "images" / "empty.png") in found.image
    assert not any("annotations" in name for name in found.image.tolist())
