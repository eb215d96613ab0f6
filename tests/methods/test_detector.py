"""The detector: cells and pixels, targets that decode to their boxes, the loss, learning, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from knuckle.methods.detector import (
    STRIDE,
    DetectorSpec,
    HandDetector,
    boxes_of,
    cell_middles,
    load_detector,
    save_detector,
)
from knuckle.methods.detector_loss import DetectorTargets, detector_loss, encode, giou
from knuckle.predict.detector import choose

TINY = DetectorSpec(widths=(8, 8, 16, 16, 16), blocks=(0, 0, 1, 0, 0), neck=16)
SIDE = 128
CELLS = SIDE // STRIDE


def raw(score: Tensor, box: Tensor) -> Tensor:
    """What the network would say to give these scores and boxes."""
    middle = cell_middles(*score.shape[1:])
    reach = torch.cat([middle - box[..., :2], box[..., 2:] - middle], dim=-1).clamp(min=1e-3)
    return torch.cat([torch.logit(score, 1e-6)[:, None], (reach / STRIDE).log().permute(0, 3, 1, 2)], dim=1)


def batch(*pictures: list[list[float]]) -> Tensor:
    most = max(map(len, pictures))
    boxes = torch.full((len(pictures), most, 4), torch.nan)
    for row, own in enumerate(pictures):
        boxes[row, : len(own)] = torch.tensor(own).reshape(-1, 4)
    return boxes


@st.composite
def hands_of_a_picture(draw: st.DrawFn) -> list[list[float]]:
    """Boxes of any size, one in each chosen quarter of the picture."""
    boxes = []
    for left, top in draw(st.sets(st.sampled_from([(0, 0), (64, 0), (0, 64), (64, 64)]))):
        x1, y1 = (draw(st.floats(corner - 0.5, corner + 30)) for corner in (left, top))
        width, height = draw(st.floats(12, 33)), draw(st.floats(12, 33))
        boxes.append([x1, y1, x1 + width, y1 + height])
    return boxes


@settings(deadline=None)
@given(hands_of_a_picture())
def test_targets_decode_to_their_boxes(hands: list[list[float]]) -> None:
    targets = encode(batch(hands), CELLS, CELLS)
    found = raw(targets.score, targets.box)
    scores, boxes = torch.sigmoid(found[0, 0]).flatten(), boxes_of(found)[0].flatten(0, 1)
    chosen = choose(scores.numpy(), boxes.numpy(), 0.99, 20)
    assert len(chosen.box) == len(hands)
    order = np.lexsort(chosen.box.T)
    expected = np.array(hands, dtype=np.float32).reshape(-1, 4)
    np.testing.assert_allclose(chosen.box[order], expected[np.lexsort(expected.T)], atol=0.05)


def test_a_hand_teaches_the_cells_around_its_middle_and_a_smaller_one_before_a_larger() -> None:
    large, small = [3.5, 3.5, 123.5, 123.5], [55.5, 55.5, 71.5, 71.5]
    targets = encode(batch([large, small]), CELLS, CELLS)
    middle = CELLS // 2
    assert targets.score[0, middle, middle] == 1
    assert targets.box[0, middle, middle].tolist() == small
    assert targets.box[0, middle - 2, middle].tolist() == large
    assert targets.weight[0, 0, 0] == 0
    assert targets.weight.sum() == pytest.approx(2, abs=1e-5)


def test_pictures_without_hands_have_nothing_to_find() -> None:
    targets = encode(batch([], [[0.0, 0.0, 20.0, 20.0]]), CELLS, CELLS)
    assert targets.score[0].max() == targets.weight[0].max() == 0
    assert targets.score[1].max() == 1
    nothing = encode(batch([]), CELLS, CELLS)
    assert nothing.score.shape == (1, CELLS, CELLS)
    loss = detector_loss(torch.zeros(1, 5, CELLS, CELLS, requires_grad=True), nothing)
    assert loss["box"] == 0
    assert loss["score"] > 0


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.floats(-50, 50)] * 2, *[st.floats(1, 60)] * 2), min_size=2, max_size=6))
def test_the_overlap_is_torchvisions(rows: list[tuple[float, ...]]) -> None:
    boxes = torch.tensor(rows)
    boxes[:, 2:] += boxes[:, :2]
    expected = torchvision.ops.generalized_box_iou(boxes, boxes.flip(0)).diagonal()
    torch.testing.assert_close(giou(boxes, boxes.flip(0)), expected, atol=1e-4, rtol=0)


def test_the_loss_is_least_for_the_truth() -> None:
    targets = encode(batch([[10.0, 20.0, 60.0, 80.0]]), CELLS, CELLS)
    best = detector_loss(raw(targets.score, targets.box), targets)
    assert best["box"] < 0.01
    moved = targets._replace(box=targets.box + torch.tensor([4.0, 0, 4.0, 0]))
    assert detector_loss(raw(moved.score, moved.box), targets)["box"] > best["box"] + 0.05
    unsure = DetectorTargets((targets.score == 1) * 0.5, targets.box, targets.weight)
    assert detector_loss(raw(unsure.score, unsure.box), targets)["score"] > best["score"]
    blind = targets._replace(score=torch.zeros_like(targets.score))
    assert detector_loss(raw(blind.score, blind.box), targets)["score"] > best["score"] + 1


def test_it_learns_where_bright_squares_lie() -> None:
    torch.manual_seed(0)
    network = HandDetector(TINY)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    boxes = batch([[8.0, 8.0, 40.0, 40.0]], [[60.0, 70.0, 100.0, 90.0], [10.0, 80.0, 30.0, 110.0]], [])
    images = torch.full((3, 3, SIDE, SIDE), 30, dtype=torch.uint8)
    for image, own in zip(images, boxes, strict=True):
        for x1, y1, x2, y2 in own[own.isfinite().all(1)].int().tolist():
            image[:, y1:y2, x1:x2] = 220
    targets = encode(boxes, CELLS, CELLS)
    losses = []
    for _ in range(60):
        loss = detector_loss(network(images), targets)["loss"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 3
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


def test_an_untrained_network_sees_no_hand_and_takes_any_multiple_of_32() -> None:
    torch.manual_seed(0)
    found = HandDetector(TINY).eval()(torch.randint(0, 256, (2, 3, 96, 64), dtype=torch.uint8))
    assert found.shape == (2, 5, 12, 8)
    assert torch.sigmoid(found[:, 0]).max() < 0.1


def test_a_cell_lies_in_the_middle_of_its_pixels() -> None:
    assert cell_middles(2, 3)[1, 2].tolist() == [19.5, 11.5]


def test_files_keep_the_network_and_its_notes(tmp_path: Path) -> None:
    network = HandDetector(TINY).eval()
    save_detector(tmp_path / "a.safetensors", network, {"step": 3})
    loaded, notes = load_detector(tmp_path / "a.safetensors")
    picture = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(network(picture), loaded(picture))
    assert (loaded.spec, notes) == (TINY, {"step": 3})
    (tmp_path / "b.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"b.safetensors is no hand detector"):
        load_detector(tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=r"no hand detector"):
        load_detector(tmp_path / "missing.safetensors")
    with pytest.raises(ValueError, match="five positive widths"):
        DetectorSpec(widths=(8, 8))
