"""Validation: the metrics of a network, with unreadable images left out, and which epoch is best."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.metrics import auc, epe
from knuckle.predict.inference import predict_hands
from knuckle.train.distributed import Team
from knuckle.train.parts import read_parts
from knuckle.train.recipe import BestMetric
from knuckle.train.validation import is_better, validate
from tests.train.tiny import SIZE, Tiny, drawn_hands, tiny_recipe

ALONE = Team(0, 1, torch.device("cpu"))


def test_validation_is_prediction_and_metrics_without_unread_images(tmp_path: Path) -> None:
    recipe = tiny_recipe(drawn_hands(tmp_path, 24))
    hands = read_parts(recipe, torch.device("cpu")).train
    assert isinstance(hands, Hands)
    rule, method = CropRule(size=SIZE), Tiny()
    whole, _ = predict_hands(method, rule, hands)
    metrics, unread = validate(method, rule, recipe, hands, ALONE)
    assert unread == []
    assert metrics["epe"] == pytest.approx(epe(whole, hands), rel=1e-6)
    assert metrics["auc"] == pytest.approx(auc(whole, hands), abs=1e-6)
    hands.paths()[1].write_bytes(b"not an image")
    metrics, unread = validate(method, rule, recipe, hands, ALONE)
    kept = hands.image != hands.image[1]
    assert len(unread) == 1
    assert hands.image[1] in unread[0]
    assert metrics["hands"] == kept.sum() == len(hands) - 1
    assert metrics["epe"] == pytest.approx(epe(whole[kept], hands[kept]), rel=1e-6)


@pytest.mark.parametrize(
    ("metric", "value", "best", "expected"),
    [
        ("auc", 0.5, 0.4, True),
        ("auc", 0.4, 0.5, False),
        ("epe", 3.0, 4.0, True),
        ("epe", 5.0, 4.0, False),
        ("nme", 0.1, 0.1, False),
        ("pck", 0.1, None, True),
        ("auc", math.nan, None, True),
        ("auc", math.nan, 0.1, False),
        ("epe", 3.0, math.nan, True),
        ("epe", math.inf, 3.0, False),
    ],
)
def test_which_value_is_better(metric: BestMetric, value: float, best: float | None, expected: bool) -> None:
    assert is_better(metric, value, best) is expected
