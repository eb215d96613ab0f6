"""The heatmap method: learning, masking, mirroring, shapes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from knuckle.geometry import Alignment
from knuckle.methods import METHODS, Heatmap, Targets, merge
from knuckle.methods.codec import crop_to_heatmap, gaussian_heatmaps
from tests.methods.lessons import (
    SIZE,
    TINY,
    check_that_gradients_reach_every_parameter,
    drawn_crops,
    learn,
    under_autocast,
)


@pytest.fixture(scope="module")
def method() -> Heatmap:
    torch.manual_seed(0)
    return Heatmap(TINY, SIZE)


def test_it_overfits_eight_crops() -> None:
    torch.manual_seed(0)
    model = Heatmap(TINY, SIZE, num_joints=3, sigma=1.0, decoder="dark")
    learnt = learn(model, *drawn_crops(8, 3), steps=25, rate=3e-3)
    assert learnt.last < learnt.first / 5
    assert learnt.error.max() < 3


def test_gradients_reach_every_parameter(method: Heatmap) -> None:
    check_that_gradients_reach_every_parameter(method)


@pytest.mark.parametrize("alignment", ["center", "corner"])
def test_unlabeled_and_outside_joints_change_nothing(alignment: Alignment) -> None:
    model = Heatmap(TINY, SIZE, alignment=alignment)
    maps = torch.randn(2, 21, 16, 16, requires_grad=True)
    xy = torch.rand(2, 21, 2) * (SIZE - 1)
    labeled = torch.ones(2, 21, dtype=torch.bool)
    labeled[0, 3] = False
    xy[1, 5] = torch.tensor([-40.0, 10.0])

    def run(xy: Tensor) -> tuple[float, Tensor]:
        loss = model.loss({"heatmaps": maps}, Targets(xy, labeled))["loss"]
        (gradient,) = torch.autograd.grad(loss, maps)
        return loss.item(), gradient

    loss, gradient = run(xy)
    moved = xy.clone()
    moved[0, 3] = torch.tensor([1e6, -3.0])
    moved[1, 5] = torch.tensor([10.0, 500.0])
    assert run(moved)[0] == loss
    assert not gradient[0, 3].any()
    assert not gradient[1, 5].any()
    assert gradient[0, 4].any()
    moved[0, 4] += 8
    assert run(moved)[0] != loss


def test_a_joint_just_outside_counts_in_corner_alignment_only() -> None:
    maps = torch.zeros(1, 1, 16, 16)
    outside = Targets(torch.tensor([[[-6.0, 30.0]]]), torch.ones(1, 1, dtype=torch.bool))
    assert Heatmap(TINY, SIZE, num_joints=1).loss({"heatmaps": maps}, outside)["loss"] == 0
    assert Heatmap(TINY, SIZE, num_joints=1, alignment="corner").loss({"heatmaps": maps}, outside)["loss"] > 0


def test_the_loss_is_the_mean_over_every_cell(method: Heatmap) -> None:
    _, targets = drawn_crops(2, 21)
    targets.labeled[0, :10] = False
    maps = torch.rand(2, 21, 16, 16)
    xy_heatmap = crop_to_heatmap(targets.xy_crop, 4, "center")
    expected, weight = gaussian_heatmaps(xy_heatmap, targets.labeled, (16, 16), 2.0)
    by_hand = ((maps - expected) ** 2 * weight[..., None, None]).sum() / (2 * 21 * 16 * 16)
    torch.testing.assert_close(method.loss({"heatmaps": maps}, targets)["loss"], by_hand)
    assert method.loss({"heatmaps": expected}, targets)["loss"] == 0


@pytest.mark.parametrize("decoder", ["quarter", "dark"])
@pytest.mark.parametrize("alignment", ["center", "corner"])
def test_perfect_maps_decode_to_the_truth(alignment: Alignment, decoder: str) -> None:
    model = Heatmap(TINY, SIZE, alignment=alignment, decoder=decoder)  # type: ignore[arg-type]
    xy_crop = torch.rand(3, 21, 2) * (SIZE - 16) + 8
    cells = crop_to_heatmap(xy_crop, 4, alignment)
    maps, _ = gaussian_heatmaps(cells, torch.ones(3, 21, dtype=torch.bool), (16, 16), 2.0)
    decoded = model.decode({"heatmaps": maps})
    assert (decoded.xy_crop - xy_crop).abs().max() < (1.01 if decoder == "quarter" else 0.02)


def test_lower_peaks_are_less_sure() -> None:
    """A peak of half the height says a variance of sigma^2 cells along each axis and none across."""
    model = Heatmap(TINY, SIZE, sigma=1.5)
    maps = torch.zeros(1, 21, 16, 16)
    maps[:, :, 5, 7] = 0.5
    maps[:, 3, 5, 7] = 0.8
    covariance_crop = model.decode({"heatmaps": maps}).covariance_crop
    assert covariance_crop is not None
    torch.testing.assert_close(covariance_crop[0, 0], (1.5 * 4) ** 2 * torch.eye(2))
    torch.testing.assert_close(covariance_crop[0, 3], (1.5 * 4) ** 2 / 4 * torch.eye(2))


def test_mirrored_maps_come_back_exactly_in_center_alignment(method: Heatmap) -> None:
    """A hand at x and its mirror image at S - 1 - x give the same maps after the flip, without a shift."""
    xy = torch.rand(2, 21, 2) * (SIZE - 1)
    mirrored = torch.stack([SIZE - 1 - xy[..., 0], xy[..., 1]], dim=-1)
    labeled = torch.ones(2, 21, dtype=torch.bool)
    maps, others = (
        gaussian_heatmaps(crop_to_heatmap(points, 4, "center"), labeled, (16, 16), 2.0)[0] for points in (xy, mirrored)
    )
    torch.testing.assert_close(method.unmirror({"heatmaps": others})["heatmaps"], maps)


def test_corner_alignment_shifts_the_flipped_map_by_one_cell() -> None:
    model = Heatmap(TINY, SIZE, alignment="corner")
    maps = torch.arange(5.0).expand(1, 1, 2, 5)
    expected = torch.tensor([4.0, 4.0, 3.0, 2.0, 1.0]).expand(1, 1, 2, 5)
    torch.testing.assert_close(model.unmirror({"heatmaps": maps})["heatmaps"], expected)


def test_merging_is_the_mean() -> None:
    merged = merge({"heatmaps": torch.ones(1, 2)}, {"heatmaps": torch.full((1, 2), 3.0)})
    torch.testing.assert_close(merged["heatmaps"], torch.full((1, 2), 2.0))


@pytest.mark.parametrize(("backbone", "cells"), [(TINY, 16), ("vit_tiny_patch16_224", 32)])
def test_maps_have_an_eighth_of_the_backbones_stride(backbone: str, cells: int) -> None:
    model = METHODS["heatmap"](backbone=backbone, size=SIZE).eval()
    images, _ = drawn_crops(2, 21)
    with torch.no_grad():
        outputs = model(images)
        floats = model(images.float())
    assert outputs["heatmaps"].shape == (2, 21, cells, cells)
    torch.testing.assert_close(floats, outputs)
    assert model.decode(outputs).xy_crop.shape == (2, 21, 2)


def test_under_autocast_loss_and_decoding_are_float32(method: Heatmap) -> None:
    outputs, _, _ = under_autocast(method)
    assert outputs["heatmaps"].dtype == torch.bfloat16


def test_mmposes_initial_weights() -> None:
    model = Heatmap(TINY, SIZE)
    for module in (*model.deconvolutions, model.final):
        if isinstance(module, (torch.nn.ConvTranspose2d, torch.nn.Conv2d)):
            assert module.weight.std().item() == pytest.approx(0.001, rel=0.1)
    assert model.final.bias is not None
    assert not model.final.bias.any()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"decoder": "argmax"}, "decoder must be one of quarter, dark"), ({"sigma": 0.0}, "sigma must be positive")],
)
def test_wrong_options(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        METHODS["heatmap"](TINY, SIZE, **options)
