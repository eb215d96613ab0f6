"""The weights of detector and hand head are those that made the data, and they reach the detector's file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from knuckle.export.detector import export_detector
from knuckle.methods.detector import DetectorSpec, HandDetector
from knuckle.predict.detector import OnnxDetector
from knuckle.predict.judgement import HEAD_ALONE, Judgement
from tools.fit_judgement import LOST, Boxes, fit, least_proposal, write

TRUTH = Judgement(2.5, 1.2, -0.5)


def _boxes(count: int) -> Boxes:
    rng = np.random.default_rng(0)
    scores = rng.normal((-1, 0), (1.0, 2.0), (count, 2))
    odds = scores @ np.array([TRUTH.detector, TRUTH.head]) + TRUTH.offset
    return Boxes(scores, rng.random(count) < 1 / (1 + np.exp(-odds)), np.full(count, 0.01))


def test_the_fit_finds_the_weights_that_made_the_data() -> None:
    np.testing.assert_allclose(fit(_boxes(40_000)), TRUTH, atol=0.1)


def test_weights_of_folders_count() -> None:
    found = _boxes(4000)
    twice = Boxes(*(np.concatenate([column, column[:2000]]) for column in found))
    weight = np.concatenate([found.weight[:2000] / 2, found.weight[2000:], found.weight[:2000] / 2])
    np.testing.assert_allclose(fit(twice._replace(weight=weight)), fit(found), atol=1e-3)


def test_proposals_start_where_next_to_no_hand_is_lost() -> None:
    found = _boxes(40_000)
    least = least_proposal(found, TRUTH)
    odds = found.scores @ np.array([TRUTH.detector, TRUTH.head]) + TRUTH.offset
    own = 1 / (1 + np.exp(-found.scores[found.is_hand & (odds >= 0), 0]))
    assert np.isclose((own < least).mean(), LOST, atol=2e-3)


def test_the_file_carries_the_numbers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "detector.onnx"
    network = HandDetector(DetectorSpec(widths=(8, 8, 16, 16, 32), blocks=(0, 1, 0, 0, 1), neck=16)).eval()
    export_detector(network, path, side=96, least_score=0.4, notes={"trained": "never"})
    before = OnnxDetector(path, proposing=True)
    assert (before.judgement, before.least_score) == (HEAD_ALONE, 0.4)
    write(path, TRUTH._asdict() | {"least_score": 0.1})
    after = OnnxDetector(path, proposing=True)
    assert (after.judgement, after.least_score) == (TRUTH, 0.1)
    assert OnnxDetector(path).least_score == 0.4
    assert after.metadata["notes"] == {"trained": "never"}
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    [[one], [other]] = before.detect([image]), OnnxDetector(path, least_score=0.4).detect([image])
    np.testing.assert_array_equal(one.score, other.score)
    assert other.judgement == TRUTH
