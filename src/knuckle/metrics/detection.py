"""How well hands are found: average precision, recall, and what is found where nothing is.

A found box is right where it overlaps a hand that no surer box of the picture has taken, by at least `least_iou`
(intersection over union); the hand it overlaps most, as in PASCAL VOC and COCO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from knuckle.metrics.matching import box_iou

LEAST_IOU: Final = 0.5

Found = tuple[Float32[np.ndarray, "m 4"], Float32[np.ndarray, " m"]]
"""The boxes found on a picture, x1, y1, x2, y2 in pixels, and their scores."""


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall over all pictures at every score.

    Attributes:
        score: (n,) of the found boxes, falling.
        precision: (n,) right boxes over boxes of that score or a higher one.
        recall: (n,) hands that these find, over all hands.
        hands: all hands.
        pictures: all pictures.
    """

    score: Float64[np.ndarray, " n"]
    precision: Float64[np.ndarray, " n"]
    recall: Float64[np.ndarray, " n"]
    hands: int
    pictures: int

    @property
    def average_precision(self) -> float:
        """The area under the curve of the best precision at a recall or a higher one (PASCAL VOC from 2010 on, exact).

        NaN where there are no hands.
        """
        if self.hands == 0:
            return float("nan")
        best = np.maximum.accumulate(self.precision[::-1])[::-1]
        return float(np.sum(best * np.diff(self.recall, prepend=0.0)))

    def at(self, score: float) -> tuple[float, float, float]:
        """Precision, recall and false boxes a picture of the boxes with at least that score.

        Precision is NaN without boxes, recall without hands.
        """
        count = int((self.score >= score).sum())
        if count == 0:
            return float("nan"), 0.0 if self.hands else float("nan"), 0.0
        wrong = count * (1 - self.precision[count - 1])
        recall = float(self.recall[count - 1]) if self.hands else float("nan")
        return float(self.precision[count - 1]), recall, float(wrong / self.pictures)


def precision_recall(
    found: Sequence[Found], truth: Sequence[Float32[np.ndarray, "k 4"]], least_iou: float = LEAST_IOU
) -> PrecisionRecall:
    """Compare what was found on each picture with its hands.

    Boxes of equal score count in the order of the pictures, then of their rows.

    Args:
        found: of each picture.
        truth: of each picture the boxes of all its hands.
        least_iou: overlap from which a box is right.

    Raises:
        ValueError: the two have different numbers of pictures, or there is none.
    """
    if len(found) != len(truth) or not truth:
        raise ValueError(f"found boxes of {len(found)} pictures cannot be compared with the hands of {len(truth)}.")
    scores = np.concatenate([np.asarray(own, dtype=np.float64) for _, own in found])
    right = np.concatenate(
        [_right(boxes, own, hands, least_iou) for (boxes, own), hands in zip(found, truth, strict=True)]
    )
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    hands = sum(len(own) for own in truth)
    return PrecisionRecall(
        score=scores[order],
        precision=hits / np.arange(1, len(hits) + 1),
        recall=hits / hands if hands else np.zeros(len(hits)),
        hands=hands,
        pictures=len(truth),
    )


def _right(
    boxes: Float[np.ndarray, "m 4"], scores: Float[np.ndarray, " m"], hands: Float[np.ndarray, "k 4"], least_iou: float
) -> Bool[np.ndarray, " m"]:
    """Which boxes of one picture find a hand."""
    overlap = box_iou(boxes, hands)
    right, taken = np.zeros(len(boxes), dtype=bool), np.zeros(len(hands), dtype=bool)
    for row in np.argsort(-np.asarray(scores), kind="stable"):
        free = np.where(taken, -1.0, overlap[row])
        if len(free) and free.max() >= least_iou:
            right[row] = taken[free.argmax()] = True
    return right
