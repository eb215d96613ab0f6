"""Two models on the same hands, paired: over all hands, per gesture and per joint, with chance taken into account.

Differences are those of A less B, hand by hand, so what makes a hand hard for both cancels. Keypoints that either model
did not find are in no number but the counts of missing ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float64

from knuckle.hands import Hands
from knuckle.metrics import (
    Interval,
    error_sums,
    holm,
    paired_difference,
    paired_equivalence,
    paired_permutation_test,
    reachable,
)
from knuckle.metrics.errors import distances, relative_distances
from knuckle.skeleton import GESTURES, JOINT_NAMES, NUM_JOINTS
from knuckle.study.contrasts import ALPHA, Metric
from knuckle.study.evidence import MARGIN_SHARE, check_margin
from knuckle.study.evidence_words import CLUSTER_NOTE, NAMES, chance_words, with_interval
from knuckle.study.failures import Failures, failures

MODEL_A: Final = "model A"
MODEL_B: Final = "model B"

Finding = Literal["A better", "B better", "no difference beyond the margin", "not shown", "cannot show"]


@dataclass(frozen=True)
class Pair:
    """A less B in one metric on some of the hands or joints.

    Attributes:
        a: mean error of A.
        b: of B, on the same keypoints.
        difference: A less B; bounds are NaN with fewer than 20 groups.
        p: of the permutation test that turns the signs of the groups' differences.
        p_holm: corrected over the table that the pair stands in.
        p_equivalence: of the equivalence test, corrected likewise.
        finding: the verdict.
    """

    a: float
    b: float
    difference: Interval
    p: float
    p_holm: float
    p_equivalence: float
    finding: Finding


@dataclass(frozen=True)
class Part:
    """Some of the hands or joints in both metrics."""

    name: str
    hands: int
    groups: int
    pairs: Mapping[Metric, Pair]

    def record(self) -> dict[str, Any]:
        """The part as one record."""
        found: dict[str, Any] = {"name": self.name, "hands": self.hands, "groups": self.groups}
        for metric, pair in self.pairs.items():
            found |= {
                f"{metric}_a": pair.a,
                f"{metric}_b": pair.b,
                f"{metric}_difference": pair.difference.estimate,
                f"{metric}_difference_low": pair.difference.low,
                f"{metric}_difference_high": pair.difference.high,
                f"{metric}_p": pair.p,
                f"{metric}_p_holm": pair.p_holm,
                f"{metric}_p_equivalence": pair.p_equivalence,
                f"{metric}_finding": pair.finding,
            }
        return found


@dataclass(frozen=True)
class Comparison:
    """Two models on the same hands.

    Attributes:
        overall: all hands.
        gestures: one a gesture that occurs; Holm over them.
        joints: one a joint; Holm over them.
        margin_share: the margin of equivalence in parts of B's mean error.
        margins: the same in each metric's unit.
        missing: labelled keypoints that A and B did not find.
        failures: what each model fails on by itself.
    """

    overall: Part
    gestures: tuple[Part, ...]
    joints: tuple[Part, ...]
    margin_share: float
    margins: Mapping[Metric, float]
    missing: tuple[int, int]
    failures: Failures

    def sentences(self) -> list[str]:
        """What may be said, and what may not."""
        told = [_overall_sentence(metric, pair, self.overall.groups) for metric, pair in self.overall.pairs.items()]
        told.append(
            f'"No difference" means within {self.margins["epe"]:.2f} px of EPE, '
            f"{100 * self.margin_share:.0f} % of that of B."
        )
        told += [
            _parts_sentence(kind, parts)
            for kind, parts in (("gestures", self.gestures), ("joints", self.joints))
            if parts
        ]
        if any(self.missing):
            told.append(
                f"Labelled keypoints that were not found: {self.missing[0]:,} by A, {self.missing[1]:,} by B; what "
                "either did not find is in none of these numbers."
            )
        return [*told, CLUSTER_NOTE]


def comparison(a: Hands, b: Hands, true: Hands, *, margin_px: float | None = None, seed: int = 0) -> Comparison:
    """Compare predictions of two models on the same hands, row by row.

    Args:
        a: predictions of one model.
        b: of the other.
        true: the truth; its gestures and groups count.
        margin_px: difference of EPE that counts as none; None: 5 % of B's EPE. For NME the same part.
        seed: of resampling.

    Raises:
        ValueError: predictions and truth do not describe the same hands, no keypoint was found by both, or the margin
            is not positive.
    """
    check_margin(margin_px)
    px = distances(a, true), distances(b, true)
    side = relative_distances(a, true, "box"), relative_distances(b, true, "box")
    missing = (int(np.isinf(px[0]).sum()), int(np.isinf(px[1]).sum()))
    errors: dict[Metric, tuple[Float64[np.ndarray, "n 21"], Float64[np.ndarray, "n 21"]]] = {
        "epe": both_found(*px),
        "nme": both_found(*side),
    }
    mean_b = {metric: _mean(pair[1]) for metric, pair in errors.items()}
    if not all(map(math.isfinite, mean_b.values())):
        raise ValueError("there is no labelled keypoint that both models found, so they cannot be compared.")
    share = MARGIN_SHARE if margin_px is None or not mean_b["epe"] > 0 else margin_px / mean_b["epe"]
    margins: dict[Metric, float] = {metric: share * mean for metric, mean in mean_b.items()}
    everything = np.ones(true.visibility.shape, dtype=bool)
    by_gesture = {name: everything & (true.gesture == row)[:, None] for row, name in enumerate(GESTURES)}
    by_joint = {name: everything & (np.arange(NUM_JOINTS) == joint) for joint, name in enumerate(JOINT_NAMES)}

    def parts(masks: Mapping[str, np.ndarray]) -> tuple[Part, ...]:
        return _parts(errors, masks, true, margins, seed)

    (overall,) = parts({"all hands": everything})
    classes = np.unique(true.gesture[true.gesture >= 0]).tolist()
    sets = {MODEL_A: (a, true), MODEL_B: (b, true)}
    return Comparison(
        overall, parts(by_gesture), parts(by_joint), share, margins, missing, failures(sets, classes, seed)
    )


def _mean(errors: Float64[np.ndarray, "n 21"]) -> float:
    known = errors[~np.isnan(errors)]
    return float(known.mean()) if known.size else math.nan


def both_found(
    a: Float64[np.ndarray, "n 21"], b: Float64[np.ndarray, "n 21"]
) -> tuple[Float64[np.ndarray, "n 21"], Float64[np.ndarray, "n 21"]]:
    """Errors where both are finite, else NaN."""
    both = np.isfinite(a) & np.isfinite(b)
    return np.where(both, a, np.nan), np.where(both, b, np.nan)


def _parts(
    errors: Mapping[Metric, tuple[Float64[np.ndarray, "n 21"], Float64[np.ndarray, "n 21"]]],
    masks: Mapping[str, np.ndarray],
    true: Hands,
    margins: Mapping[Metric, float],
    seed: int,
) -> tuple[Part, ...]:
    """One part a mask that holds a known error."""
    known = ~np.isnan(errors["nme"][0])
    kept = {name: mask & known for name, mask in masks.items() if (mask & known).any()}
    pairs: dict[Metric, list[Pair]] = {
        metric: _pairs(*errors[metric], list(kept.values()), true, margins[metric], seed) for metric in errors
    }
    sizes = [mask.any(axis=1) for mask in kept.values()]
    return tuple(
        Part(
            name,
            int(rows.sum()),
            len(np.unique(true.group[rows])),
            {metric: found[number] for metric, found in pairs.items()},
        )
        for number, (name, rows) in enumerate(zip(kept, sizes, strict=True))
    )


def _pairs(
    a: Float64[np.ndarray, "n 21"],
    b: Float64[np.ndarray, "n 21"],
    masks: Sequence[np.ndarray],
    true: Hands,
    margin: float,
    seed: int,
) -> list[Pair]:
    tested, alike, least, found = [], [], [], []
    for mask in masks:
        one, other = (np.where(mask, errors, np.nan) for errors in (a, b))
        means = error_sums(one - other, true.group).means
        tested.append(paired_permutation_test(means, seed=seed).p)
        alike.append(paired_equivalence(means, margin).p if margin > 0 else math.nan)
        least.append(min(1.0, 2.0 ** (1 - len(means))))
        found.append((_mean(one), _mean(other), paired_difference(one, other, true.group, seed=seed)))
    return [
        Pair(*numbers, p, p_holm, p_alike, _finding(numbers[2].estimate, p_holm, p_alike, within))
        for numbers, p, p_holm, p_alike, within in zip(
            found, tested, holm(tested).tolist(), holm(alike).tolist(), reachable(least, ALPHA).tolist(), strict=True
        )
    ]


def _finding(difference: float, p_holm: float, p_alike: float, reachable: bool) -> Finding:
    if p_holm <= ALPHA:
        return "B better" if difference > 0 else "A better"
    if p_alike <= ALPHA:
        return "no difference beyond the margin"
    return "not shown" if reachable else "cannot show"


def _overall_sentence(metric: Metric, pair: Pair, groups: int) -> str:
    verdicts = {
        "A better": "A is better than chance alone explains",
        "B better": "B is better than chance alone explains",
        "no difference beyond the margin": "the two may be called alike within the margin",
        "not shown": "chance alone may explain that, and they may not be called alike either",
        "cannot show": "so few groups cannot show a difference, however large it is",
    }
    p = pair.p_equivalence if pair.finding == "no difference beyond the margin" else pair.p
    return (
        f"By {NAMES[metric]}, A less B is {with_interval(pair.difference, metric, groups)}, {pair.a:.4g} against "
        f"{pair.b:.4g}; {verdicts[pair.finding]} ({chance_words(p)})."
    )


def _parts_sentence(kind: str, parts: Sequence[Part]) -> str:
    by = {
        finding: [part.name for part in parts if part.pairs["nme"].finding == finding]
        for finding in ("A better", "B better", "no difference beyond the margin")
    }
    told = "; ".join(f"{finding}: {', '.join(names)}" for finding, names in by.items() if names)
    stuck = sum(part.pairs["nme"].finding == "cannot show" for part in parts)
    short = f" {stuck} of them have too few groups to show anything after Holm's correction." if stuck else ""
    return f"By NME, at 5 % over {len(parts)} {kind} (Holm): {told or 'no difference is shown'}.{short}"
