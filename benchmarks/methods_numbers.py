"""From the errors of `benchmarks.methods` to its numbers: means, intervals, paired tests and verdicts.

Errors are distances over the longer side of the hand's box, (seeds, stages, n, 21), NaN where a joint is not
labelled. Two kinds of chance are kept apart, as neither contains the other: which hands were measured (cluster
bootstrap over the scenes, the seeds averaged first) and how a training happened to end (t intervals over seeds). All
intervals are 95 %.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from scipy import stats

from knuckle.metrics import holm
from knuckle.metrics.errors import count_correct, macro_average
from knuckle.metrics.statistics import Interval, cluster_bootstrap

FIG5_JOINTS: Final = (0, 1, 5, 9, 13, 17, 4, 8, 12, 16, 20)
"""The wrist, and the base and tip of each finger: our reading of the paper's Fig. 5; see docs/papers.md."""

THRESHOLDS: Final = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
CURVE: Final = np.linspace(0, 0.3, 121)

RESULT_SHARE: Final = 0.5
"""A network with more than this share of the mean pose's NME has learnt too little to be compared."""

MARGIN: Final = 0.02
"""A smaller advantage in NME, as a share of the rival's, counts as none."""

SUBSTANTIAL: Final = 0.005
"""The gain in PCK@0.2 from which another stage would be worth a word."""

SIGNIFICANT: Final = 0.05

HOLDS: Final = "holds here"
FAILS: Final = "does not hold here"
OPEN: Final = "inconclusive"


class Difference(NamedTuple):
    """A difference of means with both of its intervals, and the larger of the two p-values."""

    hands: Interval
    seeds: Interval
    p: float


def hand_means(
    errors: Float64[np.ndarray, "*s n 21"], joints: Sequence[int] | None = None
) -> Float64[np.ndarray, "*s n"]:
    """The mean error of each hand over its labelled joints, as in the paper's Eq. 9."""
    chosen = errors if joints is None else errors[..., list(joints)]
    return np.asarray(np.nanmean(chosen, axis=-1))


def hand_pck(errors: Float64[np.ndarray, "*s n 21"], threshold: float = 0.2) -> Float64[np.ndarray, "*s n"]:
    """The share of each hand's labelled joints that are correct."""
    correct = np.where(np.isnan(errors), np.nan, errors <= threshold)
    return np.asarray(np.nanmean(correct, axis=-1))


def pck(errors: Float64[np.ndarray, "n 21"], thresholds: Sequence[float]) -> Float64[np.ndarray, " t"]:
    """The paper's PCK: inclusive, the mean over joints of the share of hands."""
    return macro_average(*count_correct(errors, thresholds, inclusive=True))


def over_seeds(values: Float64[np.ndarray, " seeds"]) -> dict[str, Any]:
    """Mean and t interval over the seeds, and the value of each."""
    interval, _ = _t(float(values.mean()), _standard_error(values), len(values) - 1)
    return {**interval._asdict(), "of_seeds": values.tolist()}


def without_nan(result: dict[str, Any]) -> Any:
    """The same with null for numbers that JSON has no words for: too few hands, a training that diverged."""
    return json.loads(json.dumps(result), parse_constant=lambda _: None)


def has_learnt(errors: Float64[np.ndarray, "seeds n"], mean_pose: float) -> bool:
    """Whether every network of a kind is one that may be compared."""
    return bool((errors.mean(axis=1) <= RESULT_SHARE * mean_pose).all())


def unpaired(
    ours: Float64[np.ndarray, "seeds n"], theirs: Float64[np.ndarray, "seeds n"], groups: Int64[np.ndarray, " n"]
) -> Difference:
    """Two kinds of networks on the same hands: paired by hand, and Welch's t over their seeds."""
    own, other = ours.mean(axis=1), theirs.mean(axis=1)
    parts = [_standard_error(values) ** 2 for values in (own, other)]
    spread = sum(part**2 / (len(own) - 1) for part in parts)
    freedom = sum(parts) ** 2 / spread if spread > 0 else 1.0
    seeds = _t(float(own.mean() - other.mean()), math.sqrt(sum(parts)), freedom)
    return _with_hands(ours.mean(axis=0) - theirs.mean(axis=0), groups, *seeds)


def paired(gain: Float64[np.ndarray, "seeds n"], groups: Int64[np.ndarray, " n"]) -> Difference:
    """Two outputs of the same networks on the same hands, given as their difference."""
    of_seeds = gain.mean(axis=1)
    seeds = _t(float(of_seeds.mean()), _standard_error(of_seeds), len(of_seeds) - 1)
    return _with_hands(gain.mean(axis=0), groups, *seeds)


def better_verdict(difference: Difference, p_holm: float, rival_nme: float) -> str:
    """Whether an NME is lower than a rival's; the rule stands in the report."""
    both = (difference.hands, difference.seeds)
    if all(interval.high < 0 for interval in both) and p_holm < SIGNIFICANT:
        return HOLDS
    if all(interval.low > -MARGIN * rival_nme for interval in both):
        return FAILS
    return OPEN


def no_gain_verdict(gains: Sequence[Difference]) -> str:
    """Whether no later stage gains substantially on the fifth; the rule stands in the report."""
    both = [(gain.hands, gain.seeds) for gain in gains]
    if all(interval.high < SUBSTANTIAL for pair in both for interval in pair):
        return HOLDS
    if any(all(interval.low > SUBSTANTIAL for interval in pair) for pair in both):
        return FAILS
    return OPEN


def joint_verdict(parts: Sequence[str]) -> str:
    """Of a claim with several parts: it holds where all do, and does not where one does not."""
    if all(part == HOLDS for part in parts):
        return HOLDS
    return FAILS if FAILS in parts else OPEN


def row(errors: Float64[np.ndarray, "seeds n 21"], mean_pose_nme: float) -> dict[str, Any]:
    """The numbers of one kind of network on the held-out hands."""
    nme = hand_means(errors).mean(axis=1)
    of_thresholds = np.stack([pck(one, THRESHOLDS) for one in errors])
    return {
        "result": bool((nme <= RESULT_SHARE * mean_pose_nme).all()),
        "nme": over_seeds(nme),
        "nme_fig5": over_seeds(hand_means(errors, FIG5_JOINTS).mean(axis=1)),
        "nme_of_fig5_joints": {str(joint): over_seeds(np.nanmean(errors[..., joint], axis=1)) for joint in FIG5_JOINTS},
        "pck": {
            f"{threshold:.2f}": over_seeds(values)
            for threshold, values in zip(THRESHOLDS, of_thresholds.T, strict=True)
        },
        "pck_curve": np.mean([pck(one, CURVE.tolist()) for one in errors], axis=0).tolist(),
    }


def comparisons(
    errors: Mapping[str, Float64[np.ndarray, "seeds n 21"]],
    rows: Mapping[str, Mapping[str, Any]],
    groups: Int64[np.ndarray, " n"],
    ours: str,
    rivals: Mapping[str, Sequence[int] | None],
) -> dict[str, dict[str, Any]]:
    """The paper's model against each rival: NME over the joints named with it (None: all), and PCK@0.2.

    Only results are compared; what involves a network that is none is left out, and Holm's count with it.
    """
    compared = {name: joints for name, joints in rivals.items() if rows[ours]["result"] and rows[name]["result"]}
    differences = {
        name: unpaired(hand_means(errors[ours], joints), hand_means(errors[name], joints), groups)
        for name, joints in compared.items()
    }
    adjusted = holm([difference.p for difference in differences.values()]).tolist()
    return {
        name: {
            "joints": "all" if joints is None else list(joints),
            "nme_difference": _plain(differences[name]),
            "p_holm": p_holm,
            "pck_20_difference": _plain(unpaired(hand_pck(errors[ours]), hand_pck(errors[name]), groups)),
            "verdict": better_verdict(differences[name], p_holm, float(hand_means(errors[name], joints).mean())),
        }
        for (name, joints), p_holm in zip(compared.items(), adjusted, strict=True)
    }


def stage_numbers(
    errors: Mapping[int, Float64[np.ndarray, "seeds n 21"]],
    groups: Int64[np.ndarray, " n"],
    last: int,
    same_network: bool,
) -> dict[str, Any]:
    """PCK and NME by number of stages, what later ones gain on stage `last`, and the verdict.

    Args:
        errors: by number of stages.
        groups: of the hands.
        last: the stage after which there is said to be no gain.
        same_network: the stages are outputs of the same networks, not networks of their own.
    """

    def gain(later: int, earlier: int) -> Difference:
        after, before = hand_pck(errors[later]), hand_pck(errors[earlier])
        return paired(after - before, groups) if same_network else unpaired(after, before, groups)

    later = {number: gain(number, last) for number in errors if number > last}
    rise = gain(last, min(errors))
    return {
        "stages": {
            str(number): {
                "pck_20": over_seeds(np.array([pck(one, [0.2])[0] for one in of_stage])),
                "pck_05": over_seeds(np.array([pck(one, [0.05])[0] for one in of_stage])),
                "nme": over_seeds(hand_means(of_stage).mean(axis=1)),
            }
            for number, of_stage in errors.items()
        },
        "gains_after": {str(number): _plain(difference) for number, difference in later.items()},
        "gain_before": _plain(rise),
        "gained_before": all(interval.low > SUBSTANTIAL for interval in (rise.hands, rise.seeds)),
        "verdict": no_gain_verdict(list(later.values())),
    }


def _with_hands(
    difference: Float64[np.ndarray, " n"], groups: Int64[np.ndarray, " n"], seeds: Interval, p_seeds: float
) -> Difference:
    hands = cluster_bootstrap(difference, np.ones(len(difference)), groups)
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], difference)  # a scene of several hands is one draw
    _, p_hands = _t(float(sums.mean()), _standard_error(sums), len(sums) - 1)
    return Difference(hands, seeds, max(p_hands, p_seeds))


def _standard_error(values: Float64[np.ndarray, " m"]) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _t(estimate: float, error: float, freedom: float) -> tuple[Interval, float]:
    """The interval of a mean by Student's t, and the p-value of its being 0."""
    if not error > 0:  # equal values, or not all of them finite
        return Interval(estimate, estimate, estimate), 0.0 if 0 < abs(estimate) < math.inf else 1.0
    reach = float(stats.t.ppf(0.975, freedom)) * error
    return Interval(estimate, estimate - reach, estimate + reach), float(2 * stats.t.sf(abs(estimate) / error, freedom))


def _plain(difference: Difference) -> dict[str, Any]:
    return {"hands": difference.hands._asdict(), "seeds": difference.seeds._asdict(), "p": difference.p}
