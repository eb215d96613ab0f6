"""The CPM method: its stages, the paper's layers, masking, decoding, mirroring, learning."""

from __future__ import annotations

import copy
import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from knuckle.geometry import Alignment, CropRule
from knuckle.methods import CPM, METHODS, Targets, merge
from knuckle.methods.codec import crop_to_heatmap, gaussian_heatmaps
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

CELLS = SIZE // 8
SMALL: dict[str, int] = {"stages": 3, "width": 8, "feature_width": 8, "first_width": 16}


@functools.cache
def built(backbone: str = TINY, **options: Any) -> CPM:
    torch.manual_seed(0)
    return CPM(backbone, SIZE, **{**SMALL, **options})


def tiny(backbone: str = TINY, **options: Any) -> CPM:
    """A small model in training mode; a copy, as building one takes longer."""
    return copy.deepcopy(built(backbone, **options))


def some_targets(count: int = 2) -> Targets:
    return Targets(torch.rand(count, 21, 2) * (SIZE - 1), torch.ones(count, 21, dtype=torch.bool))


# The network


def channels(modules: nn.Module) -> list[tuple[int, int, int]]:
    """Input channels, output channels and kernel side of every convolution, in order."""
    return [
        (layer.in_channels, layer.out_channels, layer.kernel_size[0])
        for layer in modules.modules()
        if isinstance(layer, nn.Conv2d)
    ]


def test_the_papers_layers() -> None:
    """Figure 2 of the paper, with 21 maps: kernels and channels of every convolution."""
    model = CPM("cpm", 64)
    tower = [(3, 128, 9), (128, 128, 9), (128, 128, 9)]
    assert channels(model.features) == tower * 2
    assert channels(model.first) == [(128, 32, 5), (32, 512, 9), (512, 512, 1), (512, 21, 1)]
    assert channels(model.image) == [(128, 32, 5)]
    assert len(model.refine) == 5
    for stage in model.refine:
        assert channels(stage) == [(53, 128, 11), (128, 128, 11), (128, 128, 11), (128, 128, 1), (128, 21, 1)]


@pytest.mark.parametrize(
    ("backbone", "size", "layers"),
    [("cpm", 64, 0), ("cpm", 72, 0), (TINY, 64, 2), ("resnet10t", 96, 2), ("vit_tiny_patch16_224", 64, 1)],
)
def test_maps_have_an_eighth_of_the_crops_side(backbone: str, size: int, layers: int) -> None:
    model = CPM(backbone, size, **SMALL)  # type: ignore[arg-type]
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        assert model(images)["heatmaps"].shape == (2, 3, 21, size // 8, size // 8)
        outputs = model.eval()(images)
        torch.testing.assert_close(model(images.float()), outputs)
    assert outputs["heatmaps"].shape == (2, 1, 21, size // 8, size // 8)
    assert model.decode(outputs).xy_crop.shape == (2, 21, 2)
    assert sum(isinstance(layer, nn.ConvTranspose2d) for layer in model.modules()) == layers


def test_evaluation_gives_the_last_stage() -> None:
    model = tiny().eval()
    images = drawn_crops(2, 21)[0]
    with torch.no_grad():
        last = model(images)["heatmaps"]
        model.training = True  # of the method alone, so that batch normalisation stays as it is
        every = model(images)["heatmaps"]
    assert torch.equal(last[:, 0], every[:, 2])
    assert not torch.equal(every[:, 1], every[:, 2])
    assert torch.equal(model.decode({"heatmaps": every}).xy_crop, model.decode({"heatmaps": last}).xy_crop)


@pytest.mark.parametrize("backbone", ["cpm", TINY])
def test_every_stage_sees_the_picture_and_the_maps_before_it(backbone: str) -> None:
    model = tiny(backbone).eval()
    inputs: list[Tensor] = []
    for stage in model.refine:
        stage.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    model.training = True
    with torch.no_grad():
        maps = model(drawn_crops(2, 21)[0])["heatmaps"]
    for number, seen in enumerate(inputs):
        assert torch.equal(seen[:, 8:], maps[:, number])
        assert torch.equal(seen[:, :8], inputs[0][:, :8])
        assert seen[:, :8].any()


@pytest.mark.parametrize("backbone", ["cpm", TINY])
def test_gradients_reach_every_parameter(backbone: str) -> None:
    check_that_gradients_reach_every_parameter(tiny(backbone))


def test_under_autocast_loss_and_decoding_are_float32_and_finite() -> None:
    outputs, _, _ = under_autocast(tiny())
    assert outputs["heatmaps"].dtype == torch.bfloat16


# The loss


@pytest.mark.parametrize("alignment", ["center", "corner"])
def test_the_loss_is_the_heatmap_methods_summed_over_stages(alignment: Alignment) -> None:
    model, maps, targets = tiny(alignment=alignment, sigma=1.5), torch.rand(2, 3, 21, CELLS, CELLS), some_targets()
    targets.labeled[1, :7] = False
    other = METHODS["heatmap"](TINY, SIZE, width=8, alignment=alignment, sigma=1.5)
    other.stride = 8  # type: ignore[assignment]
    losses = model.loss({"heatmaps": maps}, targets)
    assert set(losses) == {"loss", "stage_1", "stage_2", "stage_3"}
    for number in range(3):
        expected = other.loss({"heatmaps": maps[:, number]}, targets)["loss"]
        torch.testing.assert_close(losses[f"stage_{number + 1}"], expected)
    assert losses["loss"].item() == pytest.approx(sum(losses[f"stage_{n}"].item() for n in (1, 2, 3)), rel=1e-5)
    last = model.loss({"heatmaps": maps[:, 2:]}, targets)
    assert set(last) == {"loss", "stage_3"}
    assert torch.equal(last["stage_3"], losses["stage_3"])


@pytest.mark.parametrize("alignment", ["center", "corner"])
def test_unlabeled_and_outside_joints_change_nothing(alignment: Alignment) -> None:
    maps, targets = torch.rand(2, 3, 21, CELLS, CELLS, requires_grad=True), some_targets()
    targets.labeled[0, 3] = False
    targets.xy_crop[1, 5] = torch.tensor([-80.0, 10.0])  # labelled, outside the crop by more than 3 sigma

    def losses(xy: Tensor) -> tuple[float, Tensor]:
        loss = built(alignment=alignment).loss({"heatmaps": maps}, Targets(xy, targets.labeled))["loss"]
        return loss.item(), torch.autograd.grad(loss, maps)[0]

    loss, gradient = losses(targets.xy_crop)
    moved = targets.xy_crop.clone()
    moved[0, 3] = torch.tensor([3e38, -3e38])
    moved[1, 5] = torch.tensor([10.0, 1e30])
    again, gradient_again = losses(moved)
    assert again == loss
    assert math.isfinite(loss)
    assert torch.equal(gradient, gradient_again)
    assert not gradient[0, :, 3].any()
    assert not gradient[1, :, 5].any()
    assert gradient[0, :, 4].any()
    moved[0, 4] = 31 - moved[0, 4] / 4
    assert losses(moved)[0] != loss


def test_a_batch_without_labels_has_loss_zero_and_zero_gradients() -> None:
    check_that_nothing_is_learnt_without_labels(tiny())


# Decoding and mirroring


@pytest.mark.parametrize(("alignment", "expected"), [("center", (3 * 8 + 3.5, 5 * 8 + 3.5)), ("corner", (24.0, 40.0))])
def test_a_delta_in_the_last_stage_is_read_at_its_cell(alignment: Alignment, expected: tuple[float, float]) -> None:
    maps = torch.zeros(1, 2, 1, CELLS, CELLS)
    maps[0, 1, 0, 5, 3] = 1.0
    maps[0, 0, 0, 2, 2] = 9.0
    maps[0, 1, 0, 5, 3] = 0.5
    decoded = built(alignment=alignment, sigma=1.25).decode({"heatmaps": maps})
    assert decoded.xy_crop[0, 0].tolist() == list(expected)
    assert decoded.covariance_crop is not None
    torch.testing.assert_close(decoded.covariance_crop[0, 0], (1.25 * 8) ** 2 * torch.eye(2))


INSIDE = st.floats(16, SIZE - 17, width=32)


@given(
    x=INSIDE, y=INSIDE, alignment=st.sampled_from(["center", "corner"]), decoder=st.sampled_from(["quarter", "dark"])
)
def test_points_survive_maps_and_back(x: float, y: float, alignment: Alignment, decoder: str) -> None:
    xy_crop = torch.tensor([[[x, y]]])
    cells = crop_to_heatmap(xy_crop, 8, alignment)
    maps, _ = gaussian_heatmaps(cells, torch.ones(1, 1, dtype=torch.bool), (CELLS, CELLS), 2.0)
    decoded = built(alignment=alignment, decoder=decoder).decode({"heatmaps": maps.unsqueeze(1)})
    assert (decoded.xy_crop - xy_crop).abs().max() < (2.01 if decoder == "quarter" else 0.1)


def test_mirrored_maps_come_back_exactly_in_center_alignment() -> None:
    xy, labeled = some_targets()
    mirrored = torch.stack([SIZE - 1 - xy[..., 0], xy[..., 1]], dim=-1)
    maps, others = (
        gaussian_heatmaps(crop_to_heatmap(points, 8, "center"), labeled, (CELLS, CELLS), 2.0)[0].unsqueeze(1)
        for points in (xy, mirrored)
    )
    back = built().unmirror({"heatmaps": others})
    torch.testing.assert_close(back["heatmaps"], maps)
    merged = built().decode(merge({"heatmaps": maps}, back)).xy_crop
    torch.testing.assert_close(merged, built().decode({"heatmaps": maps}).xy_crop)


def test_corner_alignment_shifts_the_flipped_maps_by_one_cell() -> None:
    maps = torch.arange(5.0).expand(1, 1, 1, 2, 5)
    expected = torch.tensor([4.0, 4.0, 3.0, 2.0, 1.0]).expand(1, 1, 1, 2, 5)
    assert torch.equal(built(alignment="corner").unmirror({"heatmaps": maps})["heatmaps"], expected)


# Saving, learning, refusing


@pytest.mark.parametrize("backbone", ["cpm", TINY])
def test_a_saved_model_predicts_the_same(backbone: str, tmp_path: Path) -> None:
    spec = ModelSpec("cpm", backbone, CropRule(size=SIZE), {**SMALL, "decoder": "dark"})
    model = build(spec)
    assert isinstance(model, CPM)
    nn.init.normal_(model.refine[-1][-1].weight, std=0.5)  # type: ignore[index]
    ours, theirs = before_and_after_saving(model, spec, tmp_path)
    assert torch.equal(ours.xy_crop, theirs.xy_crop)
    assert ours.xy_crop.std() > 1


@pytest.mark.parametrize("backbone", ["cpm", TINY])
def test_it_overfits_eight_crops(backbone: str) -> None:
    model = tiny(backbone, num_joints=3, sigma=1.0, decoder="dark", width=16)
    learnt = learn(model, *drawn_crops(8, 3), steps=60, rate=1e-2)
    assert learnt.last < learnt.first / 5
    assert learnt.error.mean() < 3


@pytest.mark.parametrize(
    ("backbone", "options", "sentence"),
    [
        (TINY, {"stages": 1}, "stages must be 2 or more"),
        (TINY, {"width": 0}, "width must be positive"),
        (TINY, {"feature_width": -1}, "feature_width must be positive"),
        (TINY, {"first_width": 0}, "first_width must be positive"),
        (TINY, {"sigma": 0.0}, "sigma must be positive"),
        (TINY, {"decoder": "argmax"}, "decoder must be one of quarter, dark"),
        ("cpm", {"weights": "imagenet"}, "no weights to start from; set weights to null"),
        ("cpm", {"size": 60}, "8 divides, got 60 px"),
        ("vit_small_patch14_dinov2", {"size": 70}, "stride of 14 px, which cannot be halved to 8"),
    ],
)
def test_wrong_options(backbone: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        METHODS["cpm"](backbone, **{"size": SIZE, **options})
