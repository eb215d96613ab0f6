"""Which photos to label next: the least certain ones, spread over gestures and over scenes.

A greedy choice. Photos are taken in the order of their uncertainty, but from each scene one, and from each gesture
no more than an even share, until no photo is left that may be taken; then both limits grow by as much again. Scenes
in which a person has checked a photo come after those where nobody has. Near copies of one frame therefore
do not fill the list, nor does the one gesture that a model finds hardest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float64, Int64

from knuckle.hands import UNKNOWN, Hands
from knuckle.label.sheets import Sheet
from knuckle.predict.proposals import Measure
from knuckle.skeleton import GESTURES
from knuckle.study.classify import propose

UNSURE: Final = "unsure"

_MEANING: Final[dict[Measure, str]] = {
    "confidence": "{:.0%} of the points of a hand are expected to be off by more than 5 % of its box",
    "covariance": "a point's stated deviation is {:.1%} of the hand's size",
    "mirror": "photo and mirror image give points that are {:.1%} of the hand's size apart",
}


@dataclass(frozen=True)
class Suggestion:
    """A photo to label.

    Attributes:
        rank: from 1.
        image: its path from the folder of photos.
        uncertainty: of its least certain hand, by `measure`.
        measure: see `knuckle.label.uncertainty`.
        gesture: what that hand seems to show, or "unsure".
        gesture_confidence: of the likeliest gesture.
        scene: number of its scene.
        scene_photos: how many photos look like it, itself included.
        reason: why it was chosen here, in a sentence.
    """

    rank: int
    image: str
    uncertainty: float
    measure: Measure
    gesture: str
    gesture_confidence: float
    scene: int
    scene_photos: int
    reason: str

    def row(self) -> dict[str, Any]:
        """As a line of a table."""
        return asdict(self) | {
            "uncertainty": round(self.uncertainty, 4),
            "gesture_confidence": round(self.gesture_confidence, 3),
        }


def suggest(sheets: Sequence[Sheet], scenes: Int64[np.ndarray, " n"], count: int) -> list[Suggestion]:
    """The photos to label next, the most useful first; only proposals that nobody has touched are candidates.

    Args:
        sheets: of all photos.
        scenes: the scene of each, as `knuckle.data.scenes` numbers them.
        count: how many to choose at most.

    Raises:
        ValueError: there is no proposal, or proposals were made by different models.
    """
    rows = [row for row, sheet in enumerate(sheets) if sheet.proposal is not None]
    proposals = [proposal for sheet in sheets if (proposal := sheet.proposal) is not None]
    if not rows:
        raise ValueError("no photo has a proposal that waits for a person, so there is nothing to suggest.")
    sources = sorted({f"{proposal.model} ({proposal.measure})" for proposal in proposals})
    if len(sources) > 1:
        raise ValueError(
            f"the proposals come from {' and '.join(sources)}, whose uncertainties cannot be compared; "
            "add --renew to predict all that nobody has touched again with one model."
        )
    gestures = propose(Hands.concat([sheets[row].hands[at.hand] for row, at in zip(rows, proposals, strict=True)]))
    known = Counter(scenes[row] for row, sheet in enumerate(sheets) if sheet.state == "checked")
    uncertainty = np.array([proposal.uncertainty for proposal in proposals])
    chosen = spread_choice(uncertainty, gestures.gesture.astype(np.int64), scenes[rows], known, count)
    sizes = Counter(scenes.tolist())
    suggestions = []
    for rank, place in enumerate(chosen, start=1):
        sheet, proposal, scene = sheets[rows[place]], proposals[place], int(scenes[rows[place]])
        gesture = int(gestures.gesture[place])
        suggestions.append(
            Suggestion(
                rank,
                sheet.name,
                proposal.uncertainty,
                proposal.measure,
                UNSURE if gesture == UNKNOWN else GESTURES[gesture],
                float(gestures.confidence[place]),
                scene,
                sizes[scene],
                _reason(proposal.measure, proposal.uncertainty, sizes[scene], known[scene]),
            )
        )
    return suggestions


def spread_choice(
    uncertainty: Float64[np.ndarray, " n"],
    gesture: Int64[np.ndarray, " n"],
    scene: Int64[np.ndarray, " n"],
    known: Counter[int],
    count: int,
) -> list[int]:
    """The rows to choose, in order.

    Args:
        uncertainty: larger comes first; equal ones as they stand.
        gesture: class of each row, -1 being a class as well.
        scene: scene of each row.
        known: how many photos of each scene are labelled already.
        count: how many to choose at most.
    """
    order = np.argsort(-uncertainty, kind="stable").tolist()
    share = -(-min(count, len(order)) // max(len(np.unique(gesture)), 1))
    scenes, gestures = Counter(known), Counter[int]()
    chosen: list[int] = []
    limit = 1
    while order and len(chosen) < count:
        left = []
        for row in order:
            fits = scenes[int(scene[row])] < limit and gestures[int(gesture[row])] < limit * share
            if fits and len(chosen) < count:
                chosen.append(row)
                scenes[int(scene[row])] += 1
                gestures[int(gesture[row])] += 1
            else:
                left.append(row)
        order, limit = left, limit + 1
    return chosen


def _reason(measure: Measure, uncertainty: float, photos: int, known: int) -> str:
    if photos == 1:
        place = "no other photo looks like it"
    else:
        labeled = f"{known} of them checked" if known else "none of them checked"
        place = f"{photos} photos look like it, {labeled}"
    return f"{_MEANING[measure].format(uncertainty)}; {place}."
