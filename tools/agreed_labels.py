"""Labels real hands, whose boxes are known, wherever a model agrees with itself: pseudo-labels to train on.

    python -m tools.agreed_labels runs/light_knuckles ../shared/data/boxes_ccby runs/agreed/boxes_ccby/annotations.json

Each hand is looked at several times, turned, mirrored, nearer and farther. A joint's label is the median of what
the looks say; how far they lie from it on average, in longer sides of the box, is the joint's disagreement. Hands
whose joints disagree by more than `MOST_OF_HAND` on average are left out, and those whose keypoints do not fill their
box, which people drew tight; of the others, joints that disagree by more than `MOST_OF_JOINT` are unlabelled. A
network that learns from turned and covered crops of these photos must find there what it found in the plain ones
(self-training with a noisy student: Xie and others, CVPR 2020).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64

from knuckle.data.images import read_image
from knuckle.formats import read
from knuckle.formats.coco import write_coco
from knuckle.geometry import Crop
from knuckle.hands import UNLABELED, VISIBLE, Hands
from knuckle.predict.load import load
from knuckle.predict.predictor import Predictor

LOOKS: Final = (
    {"rotation": 0.0, "mirror": False, "scale": 1.0},
    {"rotation": 0.0, "mirror": True, "scale": 1.0},
    {"rotation": 25.0, "mirror": False, "scale": 1.1},
    {"rotation": -25.0, "mirror": True, "scale": 1.1},
    {"rotation": 50.0, "mirror": True, "scale": 0.95},
    {"rotation": -50.0, "mirror": False, "scale": 0.95},
    {"rotation": 0.0, "mirror": False, "scale": 1.2},
    {"rotation": 0.0, "mirror": True, "scale": 0.9},
)
"""Keyword arguments of `Crop.around`, one look each."""
MOST_OF_HAND: Final = 0.06
MOST_OF_JOINT: Final = 0.08
MOST_BESIDE: Final = 0.15
"""How far each side of the keypoints' extent may lie from that of the box, in longer sides of the box."""


class Agreement(NamedTuple):
    """What the looks at each of n hands say.

    Attributes:
        xy: (n, 21, 2) image pixels, the median over the looks.
        disagreement: (n, 21) mean distance of the looks from it, in longer sides of the hand's box.
    """

    xy: Float64[np.ndarray, "n 21 2"]
    disagreement: Float64[np.ndarray, "n 21"]


def main() -> None:
    """Write the labels that hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="run folder or file of the model that looks")
    parser.add_argument("data", type=Path, help="photos with boxes that knuckle reads; keypoints are not used")
    parser.add_argument("out", type=Path, help="the COCO .json file to write; images stay where they are")
    options = parser.parse_args()
    photos = read(options.data)
    seen = look(load(options.model), photos)
    hands = labelled(photos, seen)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_coco(hands, options.out)
    share = float((hands.visibility > UNLABELED).mean()) if len(hands) else 0.0
    print(f"{len(hands)} of {len(photos)} hands, {100 * share:.0f} % of their joints, in {options.out}")


def look(predictor: Predictor, hands: Hands) -> Agreement:
    """All looks at each hand's box."""
    rule = predictor.rule
    xy = np.empty((len(hands), len(LOOKS), 21, 2))
    for row, path in enumerate(hands.paths()):
        image = read_image(path)
        crops = [rule.around_box(hands.box[row], **kind) for kind in LOOKS]
        points = predictor.engine.find(np.stack([rule.cut(image, crop) for crop in crops]), flip_test=False)
        xy[row] = _to_image(crops, points.xy_crop)
    middle = np.median(xy, axis=1)
    side = (hands.box[:, 2:] - hands.box[:, :2]).max(axis=1)
    distance = np.linalg.norm(xy - middle[:, None], axis=-1).mean(axis=1)
    return Agreement(middle, distance / side[:, None])


def _to_image(crops: list[Crop], xy_crop: Float32[np.ndarray, "looks 21 2"]) -> Float64[np.ndarray, "looks 21 2"]:
    return np.stack([crop.to_image(points) for crop, points in zip(crops, xy_crop, strict=True)])


def labelled(hands: Hands, seen: Agreement) -> Hands:
    """The hands on which the looks agree, with the joints on which they do."""
    kept = (seen.disagreement.mean(axis=1) <= MOST_OF_HAND) & _fills(seen.xy, hands.box)
    agreed = seen.disagreement <= MOST_OF_JOINT
    labels = hands.replace(
        xy=np.where(agreed[..., None], seen.xy, np.nan).astype(np.float32),
        visibility=np.where(agreed, VISIBLE, UNLABELED).astype(np.uint8),
    )
    return labels[kept]


def _fills(xy: Float64[np.ndarray, "n 21 2"], box: Float64[np.ndarray, "n 4"]) -> Bool[np.ndarray, " n"]:
    extent = np.concatenate([xy.min(axis=1), xy.max(axis=1)], axis=1)
    side = (box[:, 2:] - box[:, :2]).max(axis=1)
    filled: Bool[np.ndarray, " n"] = (np.abs(extent - box) <= MOST_BESIDE * side[:, None]).all(axis=1)
    return filled


if __name__ == "__main__":
    main()
