"""The detector as an ONNX file: the same answers as PyTorch's, from a small file, and refusals of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from knuckle.export.detector import export_detector
from knuckle.methods.detector import DetectorSpec, HandDetector, boxes_of
from knuckle.predict.detector import OnnxDetector, choose, fitted, to_frame

SPEC = DetectorSpec(widths=(8, 8, 16, 16, 32), blocks=(0, 1, 0, 0, 1), neck=16)


@pytest.fixture(scope="module")
def network() -> HandDetector:
    """Random weights that see hands in noise, with moments of its own in each normalisation."""
    torch.manual_seed(0)
    network = HandDetector(SPEC)
    torch.nn.init.normal_(network.output.weight, std=0.2)
    assert network.output.bias is not None
    torch.nn.init.zeros_(network.output.bias)
    for _ in range(3):
        network(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    return network.eval()


@pytest.fixture(scope="module")
def file(network: HandDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "detector.onnx"
    export_detector(network, path, side=96, least_score=0.02, notes={"trained": "never"})
    return path


def test_it_finds_what_pytorch_finds(network: HandDetector, file: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    detector = OnnxDetector(file, threads=1)
    [found, empty] = detector.detect([image, np.zeros_like(image)])
    crop = fitted((90, 70), 96)
    picture = torch.from_numpy(crop.warp(image, 114)).permute(2, 0, 1)[None]
    with torch.no_grad():
        raw = network(picture)
    scores = torch.sigmoid(raw[0, 0])
    padded = torch.nn.functional.pad(scores, (1, 1, 1, 1), value=-1.0)
    around = torch.stack([padded[y : y + scores.shape[0], x : x + scores.shape[1]] for y in range(3) for x in range(3)])
    peaks = torch.where(scores == around.amax(dim=0), scores, 0.0)
    expected = choose(peaks.flatten().numpy(), boxes_of(raw)[0].flatten(0, 1).numpy(), 0.02, 20)
    expected = to_frame(expected, crop, (90, 70))
    assert len(found.box) > 3, "small boxes that hardly overlap"
    np.testing.assert_allclose(found.score, expected.score, atol=2e-3)
    np.testing.assert_allclose(found.box, expected.box, atol=0.3)
    assert len(detector.detect([])) == 0
    assert empty.score.shape == (len(empty.box),)


def test_the_file_says_what_it_is_and_is_small(network: HandDetector, file: Path) -> None:
    detector = OnnxDetector(file)
    assert (detector.side, detector.least_score, detector.metadata["notes"]) == (96, 0.02, {"trained": "never"})
    assert OnnxDetector(file, least_score=0.5).least_score == 0.5
    numbers = sum(parameter.numel() for parameter in network.parameters())
    assert file.stat().st_size < 2 * numbers + 40_000, "two bytes a number, and the graph"


def test_other_files_are_refused(file: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"broken.onnx cannot be run"):
        OnnxDetector(tmp_path / "broken.onnx")
    other = onnx.load(str(file))
    onnx.helper.set_model_props(other, {"knuckle_detector": '{"version": 99, "side": 96, "least_score": 0.5}'})
    onnx.save(other, str(tmp_path / "newer.onnx"))
    with pytest.raises(ValueError, match="layout 99"):
        OnnxDetector(tmp_path / "newer.onnx")
    onnx.helper.set_model_props(other, {"something": "else"})
    onnx.save(other, str(tmp_path / "other.onnx"))
    with pytest.raises(ValueError, match="no hand detector of knuckle"):
        OnnxDetector(tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="score from 0 to 1"):
        OnnxDetector(file, least_score=2)
