"""Do gestures that are rare in the training set have larger errors? Over gestures, where the training set is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Int64

from knuckle.hands import Hands
from knuckle.metrics import Interval, RankCorrelation, error_sums, rank_correlation
from knuckle.metrics.errors import relative_distances
from knuckle.skeleton import GESTURES
from knuckle.study.design import class_counts

FEWEST: Final = 4
"""Gestures below which a line has no spread to speak of."""
CAUSE_NOTE: Final = (
    "That is an association over gestures, and no cause: gestures that are rare may also be hard. The cause is tested "
    "by training with a gesture removed."
)


@dataclass(frozen=True)
class ShareRow:
    """One gesture: its part of the training set, and its NME by set of compared hands (NaN without hands)."""

    gesture: int
    training: int
    share: float
    nme: Mapping[str, float]

    def record(self) -> dict[str, Any]:
        """The row as one record."""
        return {
            "class": self.gesture,
            "name": GESTURES[self.gesture],
            "training_hands": self.training,
            "training_share": self.share,
            **{f"nme_{name.replace(' ', '_')}": value for name, value in self.nme.items()},
        }


@dataclass(frozen=True)
class Relation:
    """NME against share over the gestures of one set of hands.

    Attributes:
        gestures: how many have hands in the set.
        rank: Spearman's rho with its permutation p.
        slope: of the least-squares line, NME for each percent point of share, with Student's 95 % interval; NaN
            where all shares are equal.
    """

    gestures: int
    rank: RankCorrelation
    slope: Interval


@dataclass(frozen=True)
class TrainingShare:
    """Error against training share: rows a gesture, and the relation in each set that has gestures enough."""

    rows: tuple[ShareRow, ...]
    relations: Mapping[str, Relation]

    def records(self) -> list[dict[str, Any]]:
        """One record a set."""
        return [
            {
                "set": name,
                "gestures": found.gestures,
                "rho": found.rank.rho,
                "p": found.rank.p,
                "slope": found.slope.estimate,
                "slope_low": found.slope.low,
                "slope_high": found.slope.high,
            }
            for name, found in self.relations.items()
        ]

    def sentences(self) -> list[str]:
        """The relation in words."""
        told = [_sentence(name, found) for name, found in self.relations.items()]
        if not told:
            return [f"Error and training share are compared over {FEWEST} gestures or more; there are fewer."]
        return [*told, CAUSE_NOTE]


def training_share(
    counts: Int64[np.ndarray, " 25"], sets: Mapping[str, tuple[Hands, Hands]], classes: Sequence[int], seed: int = 0
) -> TrainingShare:
    """Relate each gesture's NME to its part of the training set.

    Args:
        counts: hands of each gesture in the training set.
        sets: predictions and truth by name.
        classes: the gestures that are compared.
        seed: of the permutation test.

    Raises:
        ValueError: the training set shows no gesture, or predictions and truth do not fit.
    """
    total = _total(counts)
    nme = {name: _nme_of_classes(pred, true, classes) for name, (pred, true) in sets.items()}
    rows = tuple(
        ShareRow(gesture, int(counts[gesture]), counts[gesture] / total, {name: of[row] for name, of in nme.items()})
        for row, gesture in enumerate(classes)
    )
    relations = {}
    for name, values in nme.items():
        known = [row for row, value in enumerate(values) if not math.isnan(value)]
        if len(known) >= FEWEST:
            relations[name] = _relate([rows[row].share for row in known], [values[row] for row in known], seed)
    return TrainingShare(rows, relations)


def training_counts(hands: Hands) -> Int64[np.ndarray, " 25"]:
    """Hands of each gesture in a training set.

    Raises:
        ValueError: it shows no gesture.
    """
    counts = class_counts(hands)
    _total(counts)
    return counts


def _total(counts: Int64[np.ndarray, " 25"]) -> int:
    if not counts.any():
        raise ValueError("no hand of the training set has a gesture, so shares are not known; label some.")
    return int(counts.sum())


def _nme_of_classes(pred: Hands, true: Hands, classes: Sequence[int]) -> list[float]:
    errors = relative_distances(pred, true, "box")
    errors[np.isinf(errors)] = np.nan
    return [
        error_sums(errors[true.gesture == gesture], true.group[true.gesture == gesture]).mean for gesture in classes
    ]


def _relate(shares: Sequence[float], errors: Sequence[float], seed: int) -> Relation:
    from scipy import stats

    rank = rank_correlation(shares, errors, seed=seed)
    percent = 100 * np.asarray(shares)
    if np.ptp(percent) == 0:
        return Relation(len(shares), rank, Interval(math.nan, math.nan, math.nan))
    line = stats.linregress(percent, errors)
    slope, error = float(line.slope), float(line.stderr)
    reach = float(stats.t.ppf(0.975, len(shares) - 2)) * error
    return Relation(len(shares), rank, Interval(slope, slope - reach, slope + reach))


def _sentence(name: str, found: Relation) -> str:
    if math.isnan(found.rank.rho):
        return f"On {name} nothing is said: all gestures have the same share or the same error."
    says = "larger errors go with smaller shares" if found.rank.rho < 0 else "larger errors go with larger shares"
    weight = "more than chance explains" if found.rank.p <= 0.05 else "but chance may explain it"
    return (
        f"On {name}, over {found.gestures} gestures, {says}: Spearman's rho {found.rank.rho:+.2f}, p = "
        f"{found.rank.p:.3f}, {weight}; a percent point of share goes with {found.slope.estimate:+.5f} of NME "
        f"(95 % interval {found.slope.low:+.5f} to {found.slope.high:+.5f})."
    )
