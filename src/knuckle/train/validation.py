"""Measuring a network during training: predictions for every validation hand, then the field's metrics."""

from __future__ import annotations

import math
from typing import Final

from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.methods.base import Method
from knuckle.metrics import auc, epe, nme, pck
from knuckle.predict.inference import predict_hands
from knuckle.train.distributed import Team, gather_objects, interleave
from knuckle.train.recipe import BestMetric, Recipe

LOWER_IS_BETTER: Final = ("epe", "nme")


def validate(
    method: Method, rule: CropRule, recipe: Recipe, hands: Hands, team: Team
) -> tuple[dict[str, float], list[str]]:
    """The metrics of a network on labelled hands, the same on every process.

    Each process predicts every team.size-th hand; the predictions are put back in order, so no hand
    counts twice and none is left out, whatever the number of processes.

    Returns:
        Metrics by name: "epe" in image pixels; "nme", "pck" (0.2 of the box) and "auc" (MMPose's
        protocol) as fractions; "hands", how many were measured. Then one sentence a hand whose image
        could not be read; these are not measured.
    """
    predicted, unread = predict_hands(
        method,
        rule,
        hands[team.rank :: team.size],
        batch_size=max(1, recipe.train.batch // recipe.train.accumulate // team.size),
        workers=recipe.train.workers,
        device=team.device,
        on_bad=recipe.data.on_bad,
    )
    stripes = gather_objects((predicted, unread), team)
    found = interleave([stripe for stripe, _ in stripes])
    messages = [message for _, sentences in stripes for message in sentences]
    if messages:
        read = found.labeled.any(axis=1)
        found, hands = found[read], hands[read]
    metrics = {"epe": epe(found, hands), "nme": nme(found, hands), "pck": pck(found, hands), "auc": auc(found, hands)}
    return {**metrics, "hands": len(hands)}, messages


def is_better(metric: BestMetric, value: float, best: float | None) -> bool:
    """Whether a value of that metric beats the best one so far; NaN beats nothing but the lack of any."""
    if best is None or math.isnan(value):
        return best is None
    if math.isnan(best):
        return True
    return value < best if metric in LOWER_IS_BETTER else value > best
