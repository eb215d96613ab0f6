"""How far stated sides and scores can be believed: whether a hand is taken for one, and for the right side.

`score` is the probability that there is a hand, `side_probability` that the predicted side is the hand's own. Labelled
hands measure the sides and how many hands are overlooked; crops that show no hand are needed for the rest.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from knuckle.hands import UNKNOWN, Hands
from knuckle.metrics.confidence import expected_calibration_error, reliability
from knuckle.metrics.errors import check_same_hands
from knuckle.metrics.statistics import Interval, cluster_bootstrap

RESAMPLES: Final = 1000


class Recognition(NamedTuple):
    """What was said of labelled hands as a whole.

    Attributes:
        hands: hands with a score.
        found: share of them with a score of at least 0.5; None where there is no score.
        sided: hands with a labelled side whose side was predicted.
        right: share of them whose predicted side is the labelled one; None where there are none.
        side_calibration_error: mean difference between `side_probability` and the share of right sides in ten bins.
    """

    hands: int
    found: Interval | None
    sided: int
    right: Interval | None
    side_calibration_error: float | None


class Refusal(NamedTuple):
    """What was said of crops without a hand, beside crops of hands.

    Attributes:
        crops: crops without a hand.
        pictures: different groups among them.
        refused: share of them with a score below 0.5.
        ranked: probability that a hand has the higher score of a hand and a crop without one, ties counted half: the
            area under the ROC curve.
        calibration_error: mean difference between the score and the share of hands in ten bins, where hands and
            crops without one weigh the same.
    """

    crops: int
    pictures: int
    refused: Interval
    ranked: float
    calibration_error: float


def recognition(pred: Hands, true: Hands, *, resamples: int = RESAMPLES, seed: int = 0) -> Recognition | None:
    """How well hands were recognised; None where the predictions hold neither scores nor probabilities of sides.

    A side without a probability is not counted: it may come from the labels.

    Raises:
        ValueError: the two do not describe the same hands.
    """
    check_same_hands(pred, true)
    if pred.score is None and pred.side_probability is None:
        return None

    def share(hits: Bool[np.ndarray, " n"], counted: Bool[np.ndarray, " n"]) -> Interval | None:
        if not counted.any():
            return None
        return cluster_bootstrap(hits & counted, counted, true.group, resamples=resamples, seed=seed, within=(0.0, 1.0))

    score = np.full(len(true), np.nan) if pred.score is None else pred.score.astype(np.float64)
    stated = np.full(len(true), np.nan) if pred.side_probability is None else pred.side_probability.astype(np.float64)
    sided = np.isfinite(stated) & (true.side != UNKNOWN) & (pred.side != UNKNOWN)
    right = pred.side == true.side
    error = expected_calibration_error(reliability(stated[sided], right[sided])) if sided.any() else None
    return Recognition(
        hands=int(np.isfinite(score).sum()),
        found=share(score >= 0.5, np.isfinite(score)),
        sided=int(sided.sum()),
        right=share(right, sided),
        side_calibration_error=error,
    )


def refusal(
    score: Float[np.ndarray, " n"],
    of_hands: Float[np.ndarray, " k"],
    group: Int64[np.ndarray, " n"],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Refusal:
    """How well crops without a hand are told from hands.

    Args:
        score: of n crops without a hand.
        of_hands: scores of k hands.
        group: which crops are resampled together, those of one picture for instance.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    none, hands = np.asarray(score, np.float64), np.asarray(of_hands, np.float64)
    refused = cluster_bootstrap(
        none < 0.5, np.ones(len(none)), group, resamples=resamples, seed=seed, within=(0.0, 1.0)
    )
    return Refusal(
        crops=len(none),
        pictures=len(np.unique(group)),
        refused=refused,
        ranked=area_under_roc(hands, none),
        calibration_error=_balanced_calibration_error(hands, none),
    )


def area_under_roc(positive: Float64[np.ndarray, " k"], negative: Float64[np.ndarray, " n"]) -> float:
    """The Mann-Whitney statistic over k n: the share of pairs in which the positive is larger, ties counted half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left") + np.searchsorted(ordered, positive, side="right")
    return float(below.sum() / (2 * len(positive) * len(negative)))


def _balanced_calibration_error(hands: Float64[np.ndarray, " k"], none: Float64[np.ndarray, " n"]) -> float:
    """As `expected_calibration_error`, with the k hands together as heavy as the n others."""
    probability = np.concatenate([hands, none])
    is_hand = np.arange(len(probability)) < len(hands)
    weight = np.where(is_hand, 0.5 / len(hands), 0.5 / len(none))
    number = np.clip(np.ceil(probability * 10).astype(int) - 1, 0, 9)
    stated, true = (np.bincount(number, weight * column, minlength=10) for column in (probability, is_hand))
    return float(np.abs(stated - true).sum())
