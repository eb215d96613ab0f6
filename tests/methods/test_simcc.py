"""The SimCC method: labels, bins, masking, mirroring, learning, shapes."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from knuckle.geometry import Alignment, CropRule
from knuckle.methods import METHODS, SimCC, Targets, merge
from knuckle.methods.base import Outputs
from knuckle.methods.codec import crop_to_heatmap
from knuckle.methods.simcc import smooth_labels
from knuckle.methods.weights import ModelSpec, build
from tests.methods.lessons import (
    SIZE,
    TINY,
    before_and_after_saving,
    check_that_gradients_reach_every_parameter,
    check_that_nothing_is_learnt_without_labels,
    drawn_crops,
    learn,
    under_autocast,
)

BINS = 2 * SIZE


@functools.cache
def built(alignment: Alignment = "center", joints: int = 21, split_ratio: int = 2) -> SimCC:
    torch.manual_seed(0)
    return SimCC(TINY, SIZE, alignment=alignment, num_joints=joints, split_ratio=split_ratio)


def tiny(joints: int = 21) -> SimCC:
    """A small model in training mode; a copy, as building one takes longer."""
    return copy.deepcopy(built(joints=joints))


def encoded(xy_crop: Tensor, model: SimCC) -> Outputs:
    """The logits of a network that says exactly the labels."""
    x, y = crop_to_heatmap(xy_crop, 1 / model.split_ratio, model.alignment).unbind(-1)
    return {"x": smooth_labels(x, model.bins).log(), "y": smooth_labels(y, model.bins).log()}


def some_outputs(count: int = 3) -> Outputs:
    return {axis: torch.randn(count, 21, BINS, requires_grad=True) for axis in "xy"}


def some_targets(count: int = 3) -> Targets:
    return Targets(torch.rand(count, 21, 2) * (SIZE - 1), torch.ones(count, 21, dtype=torch.bool))


# Labels and bins


@pytest.mark.parametrize("bins", [128, 512])
def test_labels_are_rtmposes(bins: int) -> None:
    """In float64, written from the formula; 256 px at split ratio 2 has RTMPose's s of 5.66 bins."""
    position = 37.25
    s = {128: np.sqrt(8.0), 512: 5.656854}[bins]
    phi = np.exp(-((np.arange(bins) - position) ** 2) / (2 * s**2))
    expected = np.exp(phi / 0.1) / np.exp(phi / 0.1).sum()
    label = smooth_labels(torch.tensor([[position]]), bins)[0, 0].double().numpy()
    np.testing.assert_allclose(label, expected, rtol=1e-4)
    assert label.sum() == pytest.approx(1, abs=1e-5)


def test_why_there_is_no_sigma() -> None:
    """The numbers in the docstring of `decode`: the smoothing's small mass outweighs the peak's variance."""
    label = smooth_labels(torch.tensor([[255.5]]), 512)[0, 0].double()
    squared = (torch.arange(512) - 255.5).square()
    floor = label.min()
    assert (floor * 512).item() == pytest.approx(0.005, abs=2e-4)
    peak = ((label - floor) * squared).sum() / (label - floor).sum()
    assert ((floor * squared).sum() / peak).item() == pytest.approx(28, abs=0.7)


@pytest.mark.parametrize(
    ("alignment", "split_ratio", "expected"),
    [
        ("center", 2, (10 / 2 - 0.25, 99 / 2 - 0.25)),
        ("corner", 2, (5.0, 49.5)),
        ("center", 1, (10.0, 99.0)),
        ("corner", 1, (10.0, 99.0)),
        ("center", 3, (10 / 3 - 1 / 3, 99 / 3 - 1 / 3)),
    ],
)
def test_a_delta_is_read_at_its_bin(alignment: Alignment, split_ratio: int, expected: tuple[float, float]) -> None:
    model = built(alignment, split_ratio=split_ratio)
    bins = max(model.bins, 100)
    outputs = {"x": torch.zeros(1, 1, bins), "y": torch.zeros(1, 1, bins)}
    outputs["x"][..., 10] = outputs["y"][..., 99] = 5.0
    decoded = model.decode(outputs)
    assert decoded.xy_crop[0, 0].tolist() == pytest.approx(expected, abs=1e-5)
    assert decoded.covariance_crop is None


INSIDE = st.floats(-0.5, SIZE - 0.5, width=32)


@given(x=INSIDE, y=INSIDE, ratio=st.sampled_from([1, 2, 3]))
def test_points_survive_labels_and_back_within_half_a_bin(x: float, y: float, ratio: int) -> None:
    model = built(split_ratio=ratio)
    xy_crop = torch.tensor([[[x, y]]])
    error = (model.decode(encoded(xy_crop, model)).xy_crop - xy_crop).abs().max()
    assert error <= 0.5 / ratio + 1e-4


CORNER = st.floats(-0.25, SIZE - 0.75, width=32)


@given(x=CORNER, y=CORNER)
def test_points_survive_labels_and_back_in_corner_alignment(x: float, y: float) -> None:
    """Here the bins span -1 / (2 k) to S - 1 / (2 k)."""
    xy_crop = torch.tensor([[[x, y]]])
    error = (built("corner").decode(encoded(xy_crop, built("corner"))).xy_crop - xy_crop).abs().max()
    assert error <= 0.25 + 1e-4


# The loss


@pytest.mark.parametrize("alignment", ["center", "corner"])
def test_the_loss_is_the_divergence_from_the_labels(alignment: Alignment) -> None:
    model, outputs, targets = built(alignment), some_outputs(), some_targets()
    targets.labeled[0, 3:] = False
    by_hand = torch.zeros(())
    for axis, position in zip("xy", crop_to_heatmap(targets.xy_crop, 0.5, alignment).unbind(-1), strict=True):
        label = torch.distributions.Categorical(probs=smooth_labels(position, BINS))
        said = torch.distributions.Categorical(logits=outputs[axis])
        by_hand = by_hand + torch.distributions.kl_divergence(label, said)[targets.labeled].sum() / (3 * 21)
    torch.testing.assert_close(model.loss(outputs, targets)["loss"], by_hand)


def test_the_loss_of_the_labels_themselves_is_zero() -> None:
    targets = some_targets()
    outputs = encoded(targets.xy_crop, built())
    assert built().loss(outputs, targets)["loss"].item() == pytest.approx(0, abs=1e-5)
    moved = Targets(targets.xy_crop.clamp(2) - 1, targets.labeled)
    assert built().loss(outputs, moved)["loss"].item() > 0.1


def test_unlabeled_and_outside_joints_change_nothing() -> None:
    outputs, targets = some_outputs(), some_targets()
    targets.labeled[0, 3] = False
    targets.xy_crop[1, 5] = torch.tensor([-0.6, 10.0])  # labelled, outside the crop

    def losses(xy: Tensor) -> tuple[float, tuple[Tensor, ...]]:
        loss = built().loss(outputs, Targets(xy, targets.labeled))["loss"]
        return loss.item(), torch.autograd.grad(loss, [outputs["x"], outputs["y"]])

    loss, gradients = losses(targets.xy_crop)
    moved = targets.xy_crop.clone()
    moved[0, 3] = torch.tensor([3e38, -3e38])
    moved[1, 5] = torch.tensor([10.0, 1e30])
    again, gradients_again = losses(moved)
    assert again == loss
    for gradient, gradient_again in zip(gradients, gradients_again, strict=True):
        assert torch.equal(gradient, gradient_again)
        assert not gradient[0, 3].any()
        assert not gradient[1, 5].any()
        assert gradient[0, 4].any()
    moved[0, 4] = 31 - moved[0, 4] / 4
    assert losses(moved)[0] != loss


def test_a_batch_without_labels_has_loss_zero_and_zero_gradients() -> None:
    check_that_nothing_is_learnt_without_labels(tiny())


# The network


def test_gradients_reach_every_parameter() -> None:
    check_that_gradients_reach_every_parameter(tiny())


@pytest.mark.parametrize(("backbone", "size"), [("resnet10t", 64), ("resnet10t", 96), ("vit_tiny_patch16_224", 64)])
def test_other_backbones_and_sizes(backbone: str, size: int) -> None:
    model = METHODS["simcc"](backbone=backbone, size=size).eval()
    with torch.no_grad():
        outputs = model(torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8))
    assert outputs["x"].shape == outputs["y"].shape == (2, 21, 2 * size)
    assert model.decode(outputs).xy_crop.shape == (2, 21, 2)


def test_under_autocast_outputs_loss_and_decoding_are_float32_and_finite() -> None:
    outputs, _, _ = under_autocast(tiny())
    assert outputs["x"].dtype == outputs["y"].dtype == torch.float32


# Mirroring, saving, learning


@pytest.mark.parametrize("split_ratio", [1, 2, 3])
@pytest.mark.parametrize("alignment", ["center", "corner"])
def test_unmirroring_is_exact(alignment: Alignment, split_ratio: int) -> None:
    """The logits of a hand at x, and of its mirror image at S - 1 - x, agree bin by bin."""
    model = built(alignment, split_ratio=split_ratio)
    xy = torch.rand(2, 21, 2) * (SIZE - 1)
    mirrored = torch.stack([SIZE - 1 - xy[..., 0], xy[..., 1]], dim=-1)
    outputs, others = encoded(xy, model), encoded(mirrored, model)
    back = model.unmirror(others)
    counterpart = slice(None, model.bins - (split_ratio - 1 if alignment == "corner" else 0))
    shift = back["x"][..., counterpart] - outputs["x"][..., counterpart]  # of normalisation alone, a constant
    torch.testing.assert_close(shift, shift[..., :1].expand_as(shift), atol=2e-4, rtol=0)
    assert torch.equal(back["y"], outputs["y"])
    error = model.decode(merge(outputs, back)).xy_crop - model.decode(outputs).xy_crop
    assert error.abs().max() < 1e-4


def test_the_bin_that_has_no_mirror_image_in_corner_alignment() -> None:
    """Of 128 bins of half a pixel from 0, the last lies at 63.5, whose mirror image -0.5 is no bin."""
    x = torch.arange(128.0).expand(1, 1, 128)
    unmirrored = built("corner").unmirror({"x": x, "y": x})["x"][0, 0]
    assert unmirrored[:4].tolist() == [126, 125, 124, 123]
    assert unmirrored[-3:].tolist() == [1, 0, 0]


def test_a_saved_model_predicts_the_same(tmp_path: Path) -> None:
    spec = ModelSpec("simcc", TINY, CropRule(size=SIZE), {"split_ratio": 3})
    model = build(spec)
    torch.nn.init.normal_(model.final.weight, std=0.5)  # type: ignore[arg-type, union-attr]
    ours, theirs = before_and_after_saving(model, spec, tmp_path)
    assert torch.equal(ours.xy_crop, theirs.xy_crop)
    assert ours.covariance_crop is theirs.covariance_crop is None
    assert ours.xy_crop.std() > 0.1


def test_it_overfits_eight_crops() -> None:
    model = tiny(joints=3)
    learnt = learn(model, *drawn_crops(8, 3), steps=60, rate=1e-2)
    assert learnt.last < 1  # at first 6.9
    assert learnt.error.mean() < 3


@pytest.mark.parametrize("ratio", [0, -1, 1.5])
def test_wrong_options(ratio: Any) -> None:
    with pytest.raises(ValueError, match="split_ratio must be a positive whole number"):
        METHODS["simcc"](TINY, SIZE, split_ratio=ratio)
