"""Pseudo-labels: looks at a hand are brought back into the image, and only what they agree on is a label."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from knuckle.geometry import CropRule
from knuckle.hands import UNLABELED, VISIBLE, Hands
from knuckle.predict.engine import Engine
from knuckle.predict.points import CropPoints
from knuckle.predict.predictor import Predictor
from tools.agreed_labels import LOOKS, MOST_BESIDE, MOST_OF_HAND, MOST_OF_JOINT, Agreement, labelled, look

SPOT = (61.0, 40.0)
BOX = (40.0, 20.0, 90.0, 70.0)


class Spotter(Engine):
    """Says of every joint that it is at the spot of red in the crop."""

    def find(self, crops: UInt8[np.ndarray, "B S S 3"], flip_test: bool) -> CropPoints:
        assert not flip_test
        red = np.clip(crops[..., 0].astype(np.float64) - crops[..., 1], 0, None)
        y, x = np.mgrid[: crops.shape[1], : crops.shape[2]]
        spots = [(np.average(x, weights=own), np.average(y, weights=own)) for own in red]
        return CropPoints(np.repeat(np.array(spots, np.float32)[:, None], 21, axis=1), None)


def _photo(folder: Path) -> Hands:
    image = np.full((100, 120, 3), 90, np.uint8)
    cv2.circle(image, (int(SPOT[0]), int(SPOT[1])), 3, (90, 90, 255), -1)
    cv2.imwrite(str(folder / "photo.png"), image)
    nothing = np.full((1, 21, 2), np.nan, np.float32)
    return Hands(
        image=["photo.png"],
        xy=nothing,
        visibility=np.zeros((1, 21), np.uint8),
        box=np.array([BOX], np.float32),
        size=np.array([(120, 100)]),
        root=folder,
    )


def test_every_look_comes_back_to_the_same_place(tmp_path: Path) -> None:
    assert any(kind["mirror"] for kind in LOOKS)
    assert any(kind["rotation"] for kind in LOOKS)
    hands = _photo(tmp_path)
    seen = look(Predictor(Spotter(), CropRule(size=96)), hands)
    np.testing.assert_allclose(seen.xy, np.broadcast_to(SPOT, (1, 21, 2)), atol=0.2)
    assert seen.disagreement.max() < 0.01


def test_what_the_looks_disagree_on_or_leaves_the_box_empty_is_no_label(tmp_path: Path) -> None:
    hands = _photo(tmp_path)
    hands = Hands.concat([hands, hands, hands])
    disagreement = np.full((3, 21), 0.01)
    disagreement[0, 5] = MOST_OF_JOINT + 0.01
    disagreement[1] = MOST_OF_HAND + 0.01
    inset = np.array([0.9 * MOST_BESIDE * 50, 0])  # the box's longer side is 50
    filling = np.linspace(BOX[:2] + inset, BOX[2:] - inset, 21)
    small = np.linspace(BOX[:2] + 1.3 * inset, BOX[2:], 21)
    labels = labelled(hands, Agreement(np.stack([filling, filling, small]), disagreement))
    np.testing.assert_allclose(labels.xy[0, 6:], filling[6:], atol=1e-3)
    assert len(labels) == 1
    assert labels.visibility[0, 5] == UNLABELED
    assert np.isnan(labels.xy[0, 5]).all()
    assert (np.delete(labels.visibility[0], 5) == VISIBLE).all()
