"""The paper's two hypotheses as its data frames: base against base + own, over all hands and per gesture.

"Base" are hands of FreiHAND, as many of each gesture; "own" are the authors' photos of the same gestures.
Every number is MMPose's: AUC over 0 to 28.5 px, EPE, and PCK at 0.2 of the 224 px that its FreiHAND loader
takes for every image's box (44.8 px; the paper calls it 0.2 of the torso's diameter, which a hand has not).
Differences are base + own less base, so that a loss of accuracy is a negative AUC and PCK and a positive EPE.

The rules are the paper's: none for the first hypothesis, 0.05 of AUC for the second. As base is part of
base + own, these differences are diluted, and five hands against seven show next to nothing for certain:
what the evidence carries is a question for intervals and tests, not for these frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from knuckle.hands import Hands
from knuckle.metrics import auc, epe, pck
from knuckle.skeleton import GESTURES

PCK_PX: Final = 0.2 * 224
AUC_RULE: Final = 0.05
"""A class whose AUC moves by more than this counts as affected in the second hypothesis."""
_TIE: Final = 1e-9
"""AUCs are sums of fractions: a difference of 0.05 must not count as more for rounding."""

Finding = Literal["lower", "higher", "within", "no own hand", "no base hand"]

H1_WORDS: Final = (
    "Hypothesis 1 asks whether what a model scores on gesture-balanced hands stays the same when own photos join them. "
    "The paper gives no number that decides; the differences stand here, and reading them is left to the reader."
)
H2_WORDS: Final = (
    "Hypothesis 2 asks whether some gestures fare worse on own photos, as they would where the training set is short "
    f"of them. The paper's rule: a class is affected where its AUC moves by more than {AUC_RULE}."
)


@dataclass(frozen=True)
class Scores:
    """The paper's three numbers over a set of hands; NaN where nothing is labelled.

    Attributes:
        hands: how many.
        auc: `metrics.auc` with protocol "mmpose"; at most 0.95.
        epe: mean error, image pixels.
        pck: share of keypoints within 44.8 px, macro over joints.
    """

    hands: int
    auc: float
    epe: float
    pck: float

    def less(self, other: Scores) -> dict[str, float]:
        """The differences self - other of the three numbers."""
        return {name: getattr(self, name) - getattr(other, name) for name in ("auc", "epe", "pck")}


@dataclass(frozen=True)
class H1:
    """The first hypothesis: the frame of two rows and their difference."""

    base: Scores
    both: Scores

    @property
    def difference(self) -> dict[str, float]:
        """Base + own less base."""
        return self.both.less(self.base)

    def rows(self) -> list[dict[str, Any]]:
        """The frame as records: base, base + own, difference."""
        return [
            {"set": "base", **asdict(self.base)},
            {"set": "base + own", **asdict(self.both)},
            {"set": "difference", "hands": self.both.hands - self.base.hands, **self.difference},
        ]


@dataclass(frozen=True)
class ClassRow:
    """One gesture of the second hypothesis.

    Attributes:
        gesture: index into `skeleton.GESTURES`.
        base: its base hands.
        both: its base and own hands.
        finding: by the paper's rule: whether the AUC is lower or higher by more than 0.05, or within.
    """

    gesture: int
    base: Scores
    both: Scores
    finding: Finding

    @property
    def name(self) -> str:
        """Number and name."""
        return f"{self.gesture} {GESTURES[self.gesture]}"

    @property
    def difference(self) -> dict[str, float]:
        """Base + own less base; NaN where one side has no hand."""
        if self.finding in ("no own hand", "no base hand"):
            return dict.fromkeys(("auc", "epe", "pck"), math.nan)
        return self.both.less(self.base)

    def record(self) -> dict[str, Any]:
        """The row as one record."""
        return {
            "class": self.gesture,
            "name": GESTURES[self.gesture],
            "base_hands": self.base.hands,
            "own_hands": self.both.hands - self.base.hands,
            **{
                key: value
                for metric in ("auc", "epe")
                for key, value in (
                    (f"{metric}_base", getattr(self.base, metric)),
                    (f"{metric}_base_own", getattr(self.both, metric)),
                    (f"{metric}_difference", self.difference[metric]),
                )
            },
            "finding": self.finding,
        }


@dataclass(frozen=True)
class H2:
    """The second hypothesis: one row a class."""

    rows: tuple[ClassRow, ...]

    def affected(self, finding: Finding) -> list[ClassRow]:
        """The classes with that finding."""
        return [row for row in self.rows if row.finding == finding]

    def verdict(self) -> str:
        """What the paper's rule says, in a sentence."""
        compared = [row for row in self.rows if row.finding in ("lower", "higher", "within")]
        lower, higher = (self.affected(finding) for finding in ("lower", "higher"))
        if not compared:
            return "No class has both base and own hands, so the rule says nothing."
        parts = [
            f"{len(rows)} {direction}" + (f" ({', '.join(row.name for row in rows)})" if rows else "")
            for direction, rows in (("lower", lower), ("higher", higher))
        ]
        says = "supports" if lower or higher else "does not support"
        return (
            f"By the paper's rule {len(lower) + len(higher)} of {len(compared)} classes are affected: "
            f"{', '.join(parts)}. That {says} the hypothesis by this rule, which does not ask about chance."
        )


def scores(pred: Hands, true: Hands) -> Scores:
    """The paper's three numbers; NaN for no hands.

    Raises:
        ValueError: the two do not describe the same hands.
    """
    return Scores(len(true), auc(pred, true), epe(pred, true), pck(pred, true, PCK_PX, "px"))


def h1_frame(base_pred: Hands, base_true: Hands, own_pred: Hands, own_true: Hands) -> H1:
    """The first hypothesis: AUC, EPE and PCK of base and of base + own.

    Raises:
        ValueError: predictions and truth do not describe the same hands, or one side has no hand.
    """
    for name, true in (("base", base_true), ("own", own_true)):
        if len(true) == 0:
            raise ValueError(f"there is no {name} hand, so base and base + own cannot be compared.")
    return H1(scores(base_pred, base_true), _both(base_pred, base_true, own_pred, own_true))


def h2_frame(
    base_pred: Hands, base_true: Hands, own_pred: Hands, own_true: Hands, classes: Sequence[int] = range(len(GESTURES))
) -> H2:
    """The second hypothesis: AUC and EPE of base and of base + own for each class.

    Classes are the truth's gestures. A class without a hand on one side is in the frame with that as its finding.

    Raises:
        ValueError: predictions and truth do not describe the same hands.
    """
    rows = []
    for gesture in classes:
        base, own = base_true.gesture == gesture, own_true.gesture == gesture
        before = scores(base_pred[base], base_true[base])
        after = _both(base_pred[base], base_true[base], own_pred[own], own_true[own])
        rows.append(ClassRow(gesture, before, after, _finding(before, after)))
    return H2(tuple(rows))


def _both(base_pred: Hands, base_true: Hands, own_pred: Hands, own_true: Hands) -> Scores:
    return scores(Hands.concat([base_pred, own_pred]), Hands.concat([base_true, own_true]))


def _finding(base: Scores, both: Scores) -> Finding:
    if math.isnan(base.auc):
        return "no base hand"
    if both.hands == base.hands:
        return "no own hand"
    change = both.auc - base.auc
    if abs(change) <= AUC_RULE + _TIE:
        return "within"
    return "lower" if change < 0 else "higher"
