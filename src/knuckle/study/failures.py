"""Where a model fails: gestures whose error lies above that of the others, joints above the rest of their hand.

All errors are over the longer side of the hand's box. Tests exchange whole groups, and Holm corrects them over all
gestures or joints of a set. Keypoints that were not found are left out, and counted elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from knuckle.hands import Hands
from knuckle.metrics import error_sums, holm, paired_permutation_test, permutation_test
from knuckle.metrics.errors import relative_distances
from knuckle.skeleton import GESTURES, JOINT_NAMES, NUM_JOINTS

ALPHA: Final = 0.05
NAMED: Final = 5
"""Gestures or joints that a sentence names."""

Kind = Literal["gesture", "joint"]


@dataclass(frozen=True)
class FailureRow:
    """One gesture against all others of its set, or one joint against the other joints of the same hands.

    Attributes:
        of: the set of hands.
        name: the gesture or joint.
        groups: groups that show it.
        nme: its mean error.
        others: that of the other gestures, or of the other joints of the same hands.
        p: of the permutation test; NaN where there is nothing to compare with.
        p_holm: corrected over the set.
    """

    of: str
    name: str
    groups: int
    nme: float
    others: float
    p: float
    p_holm: float

    @property
    def fails(self) -> bool:
        """Whether the error is shown to be above the others."""
        return self.nme > self.others and self.p_holm <= ALPHA

    def record(self, kind: Kind) -> dict[str, Any]:
        """The row as one record."""
        return {
            "set": self.of,
            kind: self.name,
            "groups": self.groups,
            "nme": self.nme,
            "nme_of_others": self.others,
            "ratio": self.nme / self.others if self.others > 0 else math.nan,
            "p": self.p,
            "p_holm": self.p_holm,
            "fails": self.fails,
        }


@dataclass(frozen=True)
class Failures:
    """Rows by set, the largest error first."""

    gestures: tuple[FailureRow, ...]
    joints: tuple[FailureRow, ...]

    def sentences(self) -> list[str]:
        """What the model fails on, set by set; and what is worst where nothing is shown."""
        sets = dict.fromkeys(row.of for row in (*self.gestures, *self.joints))
        return [
            sentence
            for name in sets
            for kind, rows in (("gesture", self.gestures), ("joint", self.joints))
            if (sentence := _sentence(name, kind, [row for row in rows if row.of == name]))
        ]


def failures(sets: Mapping[str, tuple[Hands, Hands]], classes: Sequence[int], seed: int = 0) -> Failures:
    """Test every gesture and every joint of every set.

    Args:
        sets: predictions and truth by name.
        classes: the gestures that count.
        seed: of the permutation tests.

    Raises:
        ValueError: predictions and truth do not describe the same hands.
    """
    gestures: list[FailureRow] = []
    joints: list[FailureRow] = []
    for name, (pred, true) in sets.items():
        errors = relative_distances(pred, true, "box")
        errors = np.where(np.isinf(errors), np.nan, errors)
        gestures += _of_gestures(name, errors, true, classes, seed)
        joints += _of_joints(name, errors, true, seed)
    return Failures(tuple(gestures), tuple(joints))


def _of_gestures(
    name: str, errors: Float64[np.ndarray, "n 21"], true: Hands, classes: Sequence[int], seed: int
) -> list[FailureRow]:
    kept = np.isin(true.gesture, classes)
    rows = []
    for gesture in classes:
        inside = true.gesture == gesture
        mine = error_sums(errors[inside], true.group[inside])
        rest = error_sums(errors[kept & ~inside], true.group[kept & ~inside])
        if len(mine.top):
            p = permutation_test(mine.means, rest.means, seed=seed).p if len(rest.top) else math.nan
            rows.append((GESTURES[gesture], len(mine.top), mine.mean, rest.mean, p))
    return _corrected(name, rows)


def _of_joints(name: str, errors: Float64[np.ndarray, "n 21"], true: Hands, seed: int) -> list[FailureRow]:
    rows = []
    for joint in range(NUM_JOINTS):
        mine, rest = errors[:, joint], _row_means(np.delete(errors, joint, axis=1))
        both = ~np.isnan(mine) & ~np.isnan(rest)
        if not both.any():
            continue
        paired = error_sums((mine - rest)[both], true.group[both])
        p = paired_permutation_test(paired.means, seed=seed).p
        rows.append((JOINT_NAMES[joint], len(paired.top), float(mine[both].mean()), float(rest[both].mean()), p))
    return _corrected(name, rows)


def _row_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each row's known values; NaN where none is."""
    count = (~np.isnan(values)).sum(axis=1)
    means = np.full(len(values), np.nan)
    np.divide(np.nansum(values, axis=1), count, out=means, where=count > 0)
    return means


def _corrected(name: str, rows: Sequence[tuple[str, int, float, float, float]]) -> list[FailureRow]:
    adjusted = holm([row[-1] for row in rows]).tolist() if rows else []
    found = [FailureRow(name, *row, p_holm=p_holm) for row, p_holm in zip(rows, adjusted, strict=True)]
    return sorted(found, key=lambda row: -row.nme)


def _sentence(name: str, kind: str, rows: Sequence[FailureRow]) -> str:
    if not rows:
        return ""
    failing = [row for row in rows if row.fails]
    others = "the other gestures" if kind == "gesture" else "the rest of the hand"
    worst = rows[0]
    if math.isnan(worst.others):
        return (
            f"{name[:1].upper()}{name[1:]}: {worst.name} is the only {kind}, so there is no other to compare it with; "
            f"its NME is {worst.nme:.3f}."
        )
    if not failing:
        return (
            f"{name[:1].upper()}{name[1:]}: no {kind} is shown to be worse than {others} at 5 % over all of them; the "
            f"largest error is that of {worst.name}, NME {worst.nme:.3f} against {worst.others:.3f}."
        )
    shown = ", ".join(f"{row.name} (NME {row.nme:.3f} against {row.others:.3f})" for row in failing[:NAMED])
    more = f" and {len(failing) - NAMED} more" if len(failing) > NAMED else ""
    return f"{name[:1].upper()}{name[1:]}: shown to be worse than {others}: {shown}{more}."
