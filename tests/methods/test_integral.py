"""The integral method: reading maps, masking, mirroring, learning, shapes."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from knuckle.geometry import Alignment, CropRule
from knuckle.methods import METHODS, Integral, Targets, merge
from knuckle.methods.base import Outputs
from knuckle.methods.codec import crop_to_heatmap
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

CELLS = SIZE // 4


@functools.cache
def built(alignment: Alignment = "center") -> Integral:
    torch.manual_seed(0)
    return Integral(TINY, SIZE, alignment=alignment, width=16)


def tiny() -> Integral:
    """A small model in training mode; a copy, as building one takes longer."""
    return copy.deepcopy(built())


def delta(column: int, row: int) -> Tensor:
    """The logits of a map whose probability lies in one cell."""
    maps = torch.zeros(1, 1, CELLS, CELLS)
    maps[0, 0, row, column] = 200.0
    return maps


def gaussian_logits(xy_crop: Tensor, alignment: Alignment, sigma: float) -> Tensor:
    """Logits of Gaussians of `sigma` cells around points (B, K, 2) of the crop."""
    x, y = crop_to_heatmap(xy_crop, 4, alignment).unsqueeze(-1).unbind(-2)
    cells = torch.arange(CELLS)
    squared = (cells - x).square().unsqueeze(-2) + (cells - y).square().unsqueeze(-1)
    return squared / (-2 * sigma**2)


def some_outputs(count: int = 3) -> Outputs:
    return {
        "xy_crop": (torch.rand(count, 21, 2) * SIZE).requires_grad_(),
        "sigma_crop": torch.rand(count, 21, 2).requires_grad_(),
    }


def some_targets(count: int = 3) -> Targets:
    return Targets(torch.rand(count, 21, 2) * (SIZE - 1), torch.ones(count, 21, dtype=torch.bool))


# Reading maps


@pytest.mark.parametrize(("alignment", "expected"), [("center", (5 * 4 + 1.5, 9 * 4 + 1.5)), ("corner", (20.0, 36.0))])
def test_a_delta_is_read_at_its_cell(alignment: Alignment, expected: tuple[float, float]) -> None:
    model = built(alignment)
    decoded = model.decode(model.read(delta(5, 9)))
    assert decoded.xy_crop[0, 0].tolist() == list(expected)
    assert decoded.covariance_crop is not None
    assert decoded.covariance_crop.abs().max() < 1e-8


def test_two_equal_peaks_are_read_in_between_with_their_spread() -> None:
    decoded = built().decode(built().read(delta(4, 6) + delta(8, 6)))
    torch.testing.assert_close(decoded.xy_crop[0, 0], torch.tensor([6 * 4 + 1.5, 6 * 4 + 1.5]))
    assert decoded.covariance_crop is not None
    torch.testing.assert_close(
        decoded.covariance_crop[0, 0], torch.tensor([[64.0, 0.0], [0.0, 0.0]]), atol=1e-4, rtol=0
    )


@given(x=st.floats(16, SIZE - 17), y=st.floats(16, SIZE - 17), alignment=st.sampled_from(["center", "corner"]))
def test_points_survive_maps_and_back(x: float, y: float, alignment: Alignment) -> None:
    xy_crop = torch.tensor([[[x, y]]])
    outputs = built(alignment).read(gaussian_logits(xy_crop, alignment, sigma=0.75))
    torch.testing.assert_close(outputs["xy_crop"], xy_crop, atol=1e-2, rtol=0)
    torch.testing.assert_close(outputs["sigma_crop"], torch.full((1, 1, 2), 3.0), atol=1e-2, rtol=0)


def test_an_untrained_network_says_the_middle_of_the_crop() -> None:
    """Its maps are nearly flat, and a flat map has its mean where neither side is favoured."""
    with torch.no_grad():
        outputs = tiny()(drawn_crops(2, 21)[0])
    torch.testing.assert_close(outputs["xy_crop"], torch.full((2, 21, 2), (SIZE - 1) / 2), atol=0.5, rtol=0)


# The loss


def test_the_loss_is_the_l1_distance_in_crop_sides() -> None:
    outputs, targets = some_outputs(), some_targets()
    targets.labeled[0, 3:] = False
    distance = (outputs["xy_crop"] - targets.xy_crop).abs().sum(dim=-1) / SIZE
    by_hand = distance[targets.labeled].sum() / (3 * 21)
    torch.testing.assert_close(built().loss(outputs, targets)["loss"], by_hand)
    exact = {"xy_crop": targets.xy_crop, "sigma_crop": outputs["sigma_crop"]}
    assert built().loss(exact, targets)["loss"] == 0


@pytest.mark.parametrize("alignment", ["center", "corner"])
def test_gradients_of_the_loss_through_the_maps(alignment: Alignment) -> None:
    model = built(alignment)
    maps = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    targets = Targets(torch.rand(1, 2, 2, dtype=torch.float64) * 60, torch.tensor([[True, True]]))
    assert torch.autograd.gradcheck(lambda logits: model.loss(model.read(logits), targets)["loss"], maps)


def test_unlabeled_and_outside_joints_change_nothing() -> None:
    outputs, targets = some_outputs(), some_targets()
    targets.labeled[0, 3] = False
    targets.xy_crop[1, 5] = torch.tensor([-0.6, 10.0])  # labelled, outside the crop

    def losses(xy: Tensor) -> tuple[float, Tensor]:
        loss = built().loss(outputs, Targets(xy, targets.labeled))["loss"]
        (gradient,) = torch.autograd.grad(loss, outputs["xy_crop"])
        return loss.item(), gradient

    loss, gradient = losses(targets.xy_crop)
    moved = targets.xy_crop.clone()
    moved[0, 3] = torch.tensor([3e38, -3e38])
    moved[1, 5] = torch.tensor([10.0, 1e30])
    again, gradient_again = losses(moved)
    assert again == loss
    assert torch.equal(gradient, gradient_again)
    assert not gradient[0, 3].any()
    assert not gradient[1, 5].any()
    assert gradient[0, 4].all()
    moved[0, 4] = 31 - moved[0, 4] / 4
    assert losses(moved)[0] != loss


def test_the_crops_edges_are_inside() -> None:
    outputs = {"xy_crop": torch.zeros(1, 4, 2), "sigma_crop": torch.ones(1, 4, 2)}
    edges = torch.tensor([[[-0.5, 0.0], [-0.51, 0.0], [0.0, SIZE - 0.5], [0.0, SIZE - 0.49]]])
    targets = Targets(edges, torch.ones(1, 4, dtype=torch.bool))
    assert targets.placeable(SIZE).tolist() == [[True, False, True, False]]
    assert built().loss(outputs, targets)["loss"].item() == pytest.approx((0.5 + SIZE - 0.5) / SIZE / 4)


def test_a_batch_without_labels_has_loss_zero_and_zero_gradients() -> None:
    check_that_nothing_is_learnt_without_labels(tiny())


# The network


def test_gradients_reach_every_parameter() -> None:
    check_that_gradients_reach_every_parameter(tiny(), but=("final.bias",))  # a softmax does not see a constant


def test_it_is_the_heatmap_methods_network() -> None:
    """So a trained heatmap model's weights fit it."""
    ours = {name: value.shape for name, value in built().state_dict().items()}
    theirs = METHODS["heatmap"](TINY, SIZE, width=16).state_dict()
    assert ours == {name: value.shape for name, value in theirs.items()}


@pytest.mark.parametrize(("backbone", "size"), [("resnet10t", 64), ("resnet10t", 96), ("vit_tiny_patch16_224", 64)])
def test_other_backbones_and_sizes(backbone: str, size: int) -> None:
    model = METHODS["integral"](backbone=backbone, size=size, width=8).eval()
    with torch.no_grad():
        outputs = model(torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8))
    assert outputs["xy_crop"].shape == outputs["sigma_crop"].shape == (2, 21, 2)
    assert (outputs["xy_crop"] > 0).all()
    assert (outputs["xy_crop"] < size - 1).all()


def test_under_autocast_the_outputs_and_the_loss_are_float32_and_finite() -> None:
    outputs, _, _ = under_autocast(tiny())
    assert outputs["xy_crop"].dtype == outputs["sigma_crop"].dtype == torch.float32


# Mirroring, saving, learning


@pytest.mark.parametrize("alignment", ["center", "corner"])
def test_unmirroring_is_exact(alignment: Alignment) -> None:
    """The maps of a hand at x, and of its mirror image at S - 1 - x, are read at the same point."""
    model = built(alignment)
    xy = torch.rand(2, 21, 2) * (SIZE - 33) + 16
    mirrored = torch.stack([SIZE - 1 - xy[..., 0], xy[..., 1]], dim=-1)
    outputs, others = (model.read(gaussian_logits(points, alignment, 0.75)) for points in (xy, mirrored))
    merged = merge(outputs, model.unmirror(others))
    torch.testing.assert_close(model.decode(merged).xy_crop, xy, atol=1e-2, rtol=0)
    again = model.unmirror(model.unmirror(outputs))
    torch.testing.assert_close(again, outputs)
    assert torch.equal(model.unmirror(outputs)["sigma_crop"], outputs["sigma_crop"])


def test_a_saved_model_predicts_the_same(tmp_path: Path) -> None:
    spec = ModelSpec("integral", TINY, CropRule(size=SIZE), {"width": 16})
    model = build(spec)
    for name, weight in model.named_parameters():
        if name.startswith("deconvolutions") or name == "final.weight":
            torch.nn.init.normal_(weight, std=0.5)
    ours, theirs = before_and_after_saving(model, spec, tmp_path)
    assert torch.equal(ours.xy_crop, theirs.xy_crop)
    assert ours.covariance_crop is not None
    assert theirs.covariance_crop is not None
    assert torch.equal(ours.covariance_crop, theirs.covariance_crop)
    assert ours.xy_crop.std() > 0.1


def test_it_overfits_eight_crops() -> None:
    torch.manual_seed(0)
    model = Integral(TINY, SIZE, width=32, num_joints=3)
    learnt = learn(model, *drawn_crops(8, 3), steps=60, rate=1e-2)
    assert learnt.last < 0.1  # at first 0.39
    assert learnt.error.mean() < 2  # at first 20; single points differ with the order in which sums are taken


@pytest.mark.parametrize("options", [{"width": 0}, {"width": -3}])
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="width must be positive"):
        METHODS["integral"](TINY, SIZE, **options)
