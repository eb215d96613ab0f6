"""Fits how much the detector's score and the hand head's count together, and writes that into the detector's file.

    python -m tools.fit_judgement --data ../shared/data

A logistic regression on boxes of photos that the detector was not trained on: the groups of `pinch_mit` and
`boxes_ccby` that recipes/detector.yaml holds out. A box shows a hand where it overlaps a labelled one by `SAME_HAND`.
Every folder counts the same. The least score of a proposal is the one that all but `LOST` of the hands that both
together find reach.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import onnx
from jaxtyping import Bool, Float64
from scipy.optimize import minimize

from benchmarks.detector import held_out
from knuckle.data.images import read_image
from knuckle.data.pictures import Pictures
from knuckle.formats.files import replacing
from knuckle.metrics.matching import box_iou
from knuckle.predict.detector import METADATA_KEY, SAME_HAND, OnnxDetector
from knuckle.predict.judgement import Judgement, logit
from knuckle.predict.load import load
from knuckle.predict.predictor import FIRST_LOOK, Predictor

SHIPPED: Final = Path(__file__).parents[1] / "src/knuckle/predict/assets/detector.onnx"
ALL_SCORES: Final = 0.05
LOST: Final = 0.01
"""Part of the hands found that proposals with too small a score may cost."""


class Boxes(NamedTuple):
    """n boxes that a detector found.

    Attributes:
        scores: (n, 2) log-odds by the detector and by the hand head.
        is_hand: whether a labelled hand is there.
        weight: of each, so that every folder counts the same.
    """

    scores: Float64[np.ndarray, "n 2"]
    is_hand: Bool[np.ndarray, " n"]
    weight: Float64[np.ndarray, " n"]


def main() -> None:
    """Fit, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with pinch_mit and boxes_ccby")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/detector.yaml"), help="which groups are held out")
    parser.add_argument("--model", default="light", help="the network whose hand head judges")
    parser.add_argument("--detector", type=Path, default=SHIPPED, help="the .onnx file, which is written anew")
    options = parser.parse_args()
    model = load(options.model)
    detector = OnnxDetector(options.detector, least_score=ALL_SCORES, threads=1)
    found = _joined([look(model, detector, pictures) for pictures in held_out(options.data, options.recipe).values()])
    judgement = fit(found)
    least = least_proposal(found, judgement)
    content = {name: round(value, 3) for name, value in judgement._asdict().items()} | {"least_score": round(least, 3)}
    write(options.detector, content)
    print(f"{len(found.is_hand)} boxes, {found.is_hand.sum()} hands: {json.dumps(content)}, in {options.detector}")


def look(model: Predictor, detector: OnnxDetector, pictures: Pictures) -> Boxes:
    """What both say of every box that the detector finds on these pictures."""
    scores, is_hand = [], []
    for path, labelled in zip(pictures.paths, pictures.boxes, strict=True):
        image = read_image(path)
        found = detector.detect([image])[0]
        if not len(found.box):
            continue
        crops = np.stack([model.rule.cut(image, model.rule.around_box(box, scale=FIRST_LOOK)) for box in found.box])
        head = model.engine.find(crops, flip_test=False).score
        if head is None:
            raise ValueError("this model has no hand head; run knuckle calibrate with --no-hands first.")
        scores.append(np.stack([logit(found.score), logit(head)], axis=1))
        is_hand.append(box_iou(found.box, labelled).max(axis=1, initial=0) >= SAME_HAND)
    count = sum(len(own) for own in is_hand)
    return Boxes(np.concatenate(scores), np.concatenate(is_hand), np.full(count, 1 / len(pictures)))


def _joined(parts: list[Boxes]) -> Boxes:
    return Boxes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def fit(found: Boxes) -> Judgement:
    """The weights of the most likely logistic regression."""
    design = np.column_stack([found.scores, np.ones(len(found.is_hand))])
    sign = np.where(found.is_hand, 1.0, -1.0)

    def loss(weights: Float64[np.ndarray, " 3"]) -> float:
        return float((found.weight * np.logaddexp(0, -sign * (design @ weights))).sum())

    detector, head, offset = minimize(loss, np.array([1.0, 1.0, 0.0]), method="BFGS").x.tolist()
    return Judgement(detector, head, offset)


def least_proposal(found: Boxes, judgement: Judgement) -> float:
    """The detector's score that all but `LOST` of the boxes that both take for hands, rightly, have."""
    odds = found.scores @ np.array([judgement.detector, judgement.head]) + judgement.offset
    own = found.scores[found.is_hand & (odds >= 0), 0]
    return float(1 / (1 + np.exp(-np.quantile(own, LOST))))


def write(path: Path, judgement: dict[str, float]) -> None:
    """The detector's file with these numbers in its metadata."""
    model = onnx.load(str(path))
    entries = {entry.key: entry.value for entry in model.metadata_props}
    content = json.loads(entries[METADATA_KEY]) | {"judgement": judgement}
    onnx.helper.set_model_props(model, entries | {METADATA_KEY: json.dumps(content)})
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))


if __name__ == "__main__":
    main()
