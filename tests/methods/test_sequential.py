"""The sequential method: its likelihood, masking, stages, decoding and learning."""

from __future__ import annotations

import copy
import functools
import math
import multiprocessing
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knuckle.geometry import Alignment, CropRule
from knuckle.methods import METHODS, SequentialStages, Targets, merge
from knuckle.methods.base import Outputs
from knuckle.methods.codec import crop_to_heatmap, gaussian_heatmaps
from knuckle.methods.flow import RealNVP
from knuckle.methods.sequential import BatchNormOrOne, negative_log_likelihood
from knuckle.methods.weights import ModelSpec, build, load_model, save_model
from knuckle.train.distributed import join_team, wrap
from knuckle.train.steps import LossOf
from tests.methods.lessons import (
    check_that_gradients_reach_every_parameter,
    check_that_nothing_is_learnt_without_labels,
    drawn_crops,
    under_autocast,
)

TINY = "mobilenetv3_small_050"
SIZE = 64
KINDS: list[dict[str, Any]] = [{"loss": "mle"}, {"loss": "integral"}, {"loss": "heatmap"}]


@functools.cache
def built(**options: Any) -> SequentialStages:
    torch.manual_seed(0)
    return SequentialStages(TINY, SIZE, **{"stages": 2, "width": 8, **options})


def tiny(**options: Any) -> SequentialStages:
    """A small model in training mode; a copy, as building one takes longer."""
    return copy.deepcopy(built(**options))


def bend(method: SequentialStages, spread: float = 0.3) -> None:
    """Flows far from the identity, and maps far from flat."""
    torch.manual_seed(1)
    for parameter in method.flows.parameters():
        nn.init.normal_(parameter, std=spread)
    for stage in method.stages:
        nn.init.normal_(stage.heatmap_head[-1].weight, std=0.5)  # type: ignore[union-attr, index]
    method.train(method.training)


@pytest.fixture(scope="module")
def method() -> SequentialStages:
    model = tiny()
    bend(model)
    return model


def some_outputs(count: int = 3, stages: int = 2, joints: int = 21) -> Outputs:
    xy_crop = torch.rand(count, stages, joints, 2) * SIZE
    return {"xy_crop": xy_crop.requires_grad_(), "sigma": (torch.rand_like(xy_crop) * 0.3 + 0.01).requires_grad_()}


def some_targets(count: int = 3, joints: int = 21) -> Targets:
    return Targets(torch.rand(count, joints, 2) * (SIZE - 1), torch.ones(count, joints, dtype=torch.bool))


def standard_flow() -> RealNVP:
    """A flow whose density is N(0, I)."""
    flow = RealNVP()
    for parameter in flow.parameters():
        nn.init.zeros_(parameter)
    return flow


# The likelihood


def test_with_a_standard_flow_the_loss_is_the_normal_likelihood() -> None:
    error, sigma = torch.randn(4, 5, 2), torch.rand(4, 5, 2) + 0.1
    normal = torch.distributions.Normal(torch.zeros(()), sigma)
    expected = -normal.log_prob(error).sum(dim=-1)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(negative_log_likelihood(error, sigma, standard_flow()), expected)


def test_the_likelihood_is_a_density_of_the_error() -> None:
    """It integrates to 1 over the error for any sigma, so log sigma has the right sign and factor."""
    torch.manual_seed(0)
    flow = RealNVP(width=8)
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=0.25)
    axis = torch.linspace(-4, 4, 400)
    grid = torch.cartesian_prod(axis, axis)[None]
    sigma = torch.tensor([0.15, 0.3]).expand_as(grid)
    with torch.no_grad():
        mass = (-negative_log_likelihood(grid, sigma, flow)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("residual", ["laplace", "gaussian"])
def test_residuals_are_rles(residual: str) -> None:
    """Li et al.'s loss as their public implementations compute it, axis by axis."""
    flow = RealNVP()
    error, sigma = torch.randn(2, 3, 2), torch.rand(2, 3, 2) + 0.1
    eps = error / sigma
    log_density: Tensor = flow.log_prob(eps)
    flow_term = sigma.log() - log_density.unsqueeze(-1)
    if residual == "laplace":
        residual_term = (2 * sigma).log() + eps.abs()
    else:
        residual_term = (sigma * math.sqrt(2 * math.pi)).log() + 0.5 * eps**2
    expected = (flow_term + residual_term).sum(dim=-1)
    torch.testing.assert_close(negative_log_likelihood(error, sigma, flow, residual), expected)


@pytest.mark.parametrize("residual", ["none", "laplace", "gaussian"])
def test_gradients_of_the_likelihood(residual: str) -> None:
    model = tiny(num_joints=2, residual=residual).double()
    bend(model)
    outputs = {name: value.detach().double() for name, value in some_outputs(2, joints=2).items()}
    targets = Targets(torch.rand(2, 2, 2, dtype=torch.float64) * 60, torch.tensor([[True, True], [False, True]]))
    biases = [bias for name, bias in model.flows[1].named_parameters() if name.endswith("4.bias")]
    inputs = (outputs["xy_crop"].requires_grad_(), outputs["sigma"].requires_grad_(), *biases)

    def loss(xy_crop: Tensor, sigma: Tensor, *_: Tensor) -> Tensor:
        return model.loss({"xy_crop": xy_crop, "sigma": sigma}, targets)["loss"]

    assert len(biases) == 12
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_sum_of_its_stages(kind: dict[str, Any]) -> None:
    model = tiny(stages=3, **kind)
    images, targets = drawn_crops(2, 21)
    losses = model.loss(model(images), targets)
    assert set(losses) == {"loss", "stage_1", "stage_2", "stage_3"}
    assert losses["loss"].item() == pytest.approx(sum(losses[f"stage_{n}"].item() for n in (1, 2, 3)), rel=1e-5)
    model.eval()
    assert set(model.loss(model(images), targets)) == {"loss", "stage_3"}


def test_the_integral_loss_is_l1_in_crop_sides() -> None:
    outputs, targets = some_outputs(), some_targets()
    targets.labeled[0, 3:] = False
    distance = (outputs["xy_crop"][:, 1] - targets.xy_crop).abs().sum(dim=-1) / SIZE
    by_hand = distance[targets.labeled].sum() / (3 * 21)
    torch.testing.assert_close(tiny(loss="integral").loss(outputs, targets)["stage_2"], by_hand)


def test_the_heatmap_loss_is_that_of_the_heatmap_method() -> None:
    maps, targets = torch.rand(3, 2, 21, 16, 16), some_targets()
    targets.labeled[1, :7] = False
    other = METHODS["heatmap"](TINY, SIZE, sigma=1.5)
    losses = tiny(loss="heatmap", target_sigma=1.5).loss({"heatmaps": maps}, targets)
    for number in (0, 1):
        expected = other.loss({"heatmaps": maps[:, number]}, targets)["loss"]
        torch.testing.assert_close(losses[f"stage_{number + 1}"], expected)


# Masking


@pytest.mark.parametrize("kind", [*KINDS, {"residual": "laplace"}])
def test_unlabeled_and_outside_joints_change_nothing(kind: dict[str, Any]) -> None:
    model = tiny(**kind)
    bend(model)
    targets = some_targets()
    targets.labeled[0, 3] = False
    targets.xy_crop[1, 5] = torch.tensor([-0.6, 10.0])  # labelled, outside the crop
    maps = torch.rand(3, 2, 21, 16, 16, requires_grad=True)
    outputs = {"heatmaps": maps} if kind.get("loss") == "heatmap" else some_outputs()
    used = [value for name, value in outputs.items() if not (name == "sigma" and kind.get("loss") == "integral")]
    flows = list(model.flows.parameters())

    def run(xy: Tensor) -> tuple[float, list[Tensor]]:
        loss = model.loss(outputs, Targets(xy, targets.labeled))["loss"]
        return loss.item(), list(torch.autograd.grad(loss, [*used, *flows]))

    loss, gradients = run(targets.xy_crop)
    moved = targets.xy_crop.clone()
    moved[0, 3] = torch.tensor([3e38, -1e30])
    moved[1, 5] = torch.tensor([10.0, 1e20])
    again, gradients_again = run(moved)
    assert again == loss
    assert math.isfinite(loss)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(gradients, gradients_again, strict=True))
    for gradient in gradients[: len(used)]:
        assert not gradient[0, :, 3].any()
        assert not gradient[1, :, 5].any()
        assert gradient[0, :, 4].any()
    moved[0, 4] = 31 - moved[0, 4] / 4
    assert run(moved)[0] != loss


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_without_labels_has_loss_zero_and_zero_gradients(kind: dict[str, Any]) -> None:
    check_that_nothing_is_learnt_without_labels(tiny(**kind), far=1e9)


# The network


def test_the_papers_model() -> None:
    """Shapes as section III gives them: 2048 x 8 x 8 features, 512 channels joined, 64 x 64 maps, 42 raw sigmas."""
    model = SequentialStages("resnet50", 256).to("meta")
    features, handed = torch.zeros(2, 2048, 8, 8, device="meta"), torch.zeros(2, 21, 8, 8, device="meta")
    assert len(model.stages) == len(model.flows) == 5
    for number, stage in enumerate(model.stages):
        joined = stage.join(features, handed)  # type: ignore[operator]
        assert joined.shape == (2, 256 if number == 0 else 512, 8, 8)
        assert stage.heatmap_head(joined).shape == (2, 21, 64, 64)  # type: ignore[operator]
        assert stage.variance_head(joined).shape == (2, 42)  # type: ignore[operator]
    assert sum(parameter.numel() for parameter in model.flows.parameters()) == 5 * 53_784
    assert sum(parameter.numel() for parameter in model.parameters()) == 42_186_227


@pytest.mark.parametrize("kind", [*KINDS, {"handover": "likelihood", "residual": "gaussian"}])
def test_gradients_reach_every_parameter(kind: dict[str, Any]) -> None:
    model = tiny(**kind)
    bend(model)
    check_that_gradients_reach_every_parameter(model)


def count_calls(model: SequentialStages, images: Tensor) -> dict[str, int]:
    calls: dict[str, int] = {}
    handles = []
    for name, module in model.named_modules():
        if not list(module.children()):

            def count(*_: object, name: str = name) -> None:
                calls[name] = calls.get(name, 0) + 1

            handles.append(module.register_forward_hook(count))
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return calls


def test_evaluation_runs_the_backbone_once_and_one_variance_head() -> None:
    model = tiny(stages=3)
    images = drawn_crops(2, 21)[0]
    training = count_calls(model, images)
    evaluation = count_calls(model.eval(), images)
    assert {name for name in training if "variance_head" in name} > {n for n in evaluation if "variance_head" in n}
    assert {name.split(".")[1] for name in evaluation if "variance_head" in name} == {"2"}
    assert not [name for name in evaluation if name.startswith("flows")]
    assert all(count == 1 for name, count in evaluation.items() if name.startswith("backbone") and "act" not in name)
    assert {name.split(".")[1] for name in evaluation if "heatmap_head" in name} == {"0", "1", "2"}


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_gives_the_last_stage(kind: dict[str, Any]) -> None:
    model = tiny(stages=3, **kind)
    bend(model)
    model.eval()
    images = drawn_crops(2, 21)[0]
    with torch.no_grad():
        outputs, every = model(images), model.forward_stages(images)
    for name, value in outputs.items():
        assert value.shape[1] == 1
        assert torch.equal(value[:, 0], every[name][:, 2])
    stages = model.decode_stages(every)
    assert len(stages) == 3
    assert torch.equal(stages[2].xy_crop, model.decode(outputs).xy_crop)
    assert torch.equal(stages[2].xy_crop, model.decode(every).xy_crop)
    assert not torch.equal(stages[0].xy_crop, stages[1].xy_crop)
    assert torch.equal(stages[2].covariance_crop, model.decode(outputs).covariance_crop)  # type: ignore[arg-type]


@pytest.mark.parametrize(("backbone", "size", "cells"), [("resnet10t", 96, 24), ("vit_tiny_patch16_224", 64, 32)])
def test_other_backbones_and_sizes(backbone: str, size: int, cells: int) -> None:
    shape = {"stages": 2, "width": 8}
    model = METHODS["sequential"](backbone=backbone, size=size, **shape, loss="heatmap").eval()
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        assert model(images)["heatmaps"].shape == (2, 1, 21, cells, cells)


@pytest.mark.parametrize("handover", ["logits", "likelihood"])
def test_a_stage_sees_the_maps_before_it(handover: str) -> None:
    model = tiny(handover=handover)
    maps = torch.randn(2, 21, 16, 16) * 3
    handed = model._hand_over(maps)
    shown = maps if handover == "logits" else maps.flatten(-2).softmax(-1).view_as(maps) * 256
    torch.testing.assert_close(handed, shown.unflatten(-2, (2, 8)).unflatten(-1, (2, 8)).mean(dim=(-3, -1)))  # type: ignore[no-untyped-call]
    flat = model._hand_over(torch.zeros(1, 21, 16, 16))
    assert torch.equal(flat, torch.full_like(flat, 0.0 if handover == "logits" else 1.0))


def test_sigma_has_a_floor() -> None:
    for activation in ("sigmoid", "softplus", "exp"):
        model = tiny(sigma_activation=activation, sigma_floor=0.01)
        for stage in model.stages:
            stage.variance_head[-1].bias.data.fill_(-200.0)  # type: ignore[union-attr, index]
        sigma = model(drawn_crops(2, 21)[0])["sigma"]
        torch.testing.assert_close(sigma, torch.full_like(sigma, 0.01))
    losses = tiny().loss(
        {"xy_crop": torch.zeros(1, 2, 21, 2), "sigma": torch.full((1, 2, 21, 2), 1e-3)}, some_targets(1)
    )
    assert losses["loss"].isfinite()


def test_a_training_batch_of_one_hand(method: SequentialStages) -> None:
    images, targets = drawn_crops(1, 21)
    assert method.training
    torch.autograd.backward(method.loss(method(images), targets)["loss"])
    method.zero_grad()
    norm = BatchNormOrOne(3)
    torch.testing.assert_close(norm(torch.ones(1, 3)), torch.ones(1, 3) / math.sqrt(1 + norm.eps))
    assert norm.num_batches_tracked == 0
    x = torch.randn(5, 3)
    torch.testing.assert_close(norm(x), nn.BatchNorm1d(3)(x))


def test_under_autocast_coordinates_sigma_and_loss_are_float32(method: SequentialStages) -> None:
    outputs, _, _ = under_autocast(method)
    assert outputs["xy_crop"].dtype == outputs["sigma"].dtype == torch.float32


# Decoding


def peaks(xy_crop: Tensor, alignment: Alignment) -> Tensor:
    """Logits whose softmax is a narrow Gaussian around each point."""
    labeled = torch.ones(xy_crop.shape[:2], dtype=torch.bool)
    maps, _ = gaussian_heatmaps(crop_to_heatmap(xy_crop, 4, alignment), labeled, (16, 16), 1.0)
    return maps.clamp(min=1e-30).log()


@pytest.mark.parametrize("alignment", ["center", "corner"])
@pytest.mark.parametrize("loss", ["mle", "integral", "heatmap"])
def test_perfect_maps_decode_to_the_truth(loss: str, alignment: Alignment) -> None:
    model = tiny(loss=loss, alignment=alignment).eval()
    xy_crop = torch.rand(3, 21, 2) * (SIZE - 32) + 16
    logits = peaks(xy_crop, alignment)
    joined = torch.zeros(3, 16, 2, 2)
    outputs = model._read(model.stages[1], joined, logits.exp() if loss == "heatmap" else logits)  # type: ignore[arg-type]
    decoded = model.decode({name: value.unsqueeze(1) for name, value in outputs.items()})
    assert (decoded.xy_crop - xy_crop).abs().max() < (1.01 if loss == "heatmap" else 0.02)
    if loss == "integral":
        assert decoded.covariance_crop is not None
        assert (decoded.covariance_crop - 16 * torch.eye(2)).abs().max() < 0.4  # one cell squared


def samples_of(model: SequentialStages, count: int = 40_000) -> Tensor:
    """Errors in sigmas from the last stage's density, which is the flow's with a residual too."""
    flow = model.flows[-1]
    assert isinstance(flow, RealNVP)
    return flow.sample(count, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("residual", ["none", "laplace", "gaussian"])
def test_the_covariance_is_that_of_the_whole_density(residual: str) -> None:
    model = tiny(residual=residual, decoder="mean").eval()
    bend(model, 0.22)
    outputs = {name: value.detach()[:, :1] for name, value in some_outputs().items()}
    drawn = outputs["xy_crop"][:, 0] + samples_of(model)[:, None, None] * outputs["sigma"][:, 0] * SIZE
    decoded = model.decode(outputs)
    assert decoded.covariance_crop is not None
    deviation = decoded.covariance_crop.diagonal(dim1=-2, dim2=-1).sqrt()
    torch.testing.assert_close(deviation, drawn.std(dim=0), rtol=0.05, atol=0)
    correlation = decoded.covariance_crop[..., 0, 1] / deviation.prod(dim=-1)
    assert (correlation - torch.corrcoef(samples_of(model).T)[0, 1]).abs().max() < 0.03
    assert correlation.abs().max() > 0.1, "this flow's axes are not correlated"
    assert torch.equal(decoded.covariance_crop, decoded.covariance_crop.mT)
    assert ((decoded.xy_crop - drawn.mean(dim=0)).abs() / deviation).max() < 0.04
    shift = model.mean_shift(outputs)[:, 0]
    assert (shift.abs() / deviation).max() > 0.1, "this flow is not centred"
    torch.testing.assert_close(decoded.xy_crop - outputs["xy_crop"][:, 0], shift)


@pytest.mark.parametrize("residual", ["none", "laplace", "gaussian"])
def test_the_density_of_a_fitted_flow_has_the_spread_of_the_errors(residual: str) -> None:
    """Sigma and flow fitted to errors of known spread: whatever the residual, the decoded sigma is that spread."""
    torch.manual_seed(0)
    spread = torch.tensor([0.05, 0.025])
    error = torch.randn(2048, 1, 2) * spread
    model = tiny(residual=residual, stages=1)
    raw, flow = torch.full((2,), -3.0, requires_grad=True), model.flows[0]
    assert isinstance(flow, RealNVP)
    optimizer = torch.optim.Adam([raw, *flow.parameters()], lr=1e-2)
    for _ in range(250):
        sigma = raw.sigmoid().expand_as(error)
        loss = negative_log_likelihood(error, sigma, flow, residual).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.eval()
    fitted = raw.detach().sigmoid() * model.get_buffer("flow_covariance")[0].diagonal().sqrt()
    torch.testing.assert_close(fitted, error[:, 0].std(dim=0), rtol=0.1, atol=0)


def test_the_flow_is_measured_in_evaluation_mode_and_after_loading() -> None:
    model, other = tiny(), tiny()
    before = model.flow_covariance.clone()  # type: ignore[operator]
    for parameter in model.flows.parameters():
        nn.init.normal_(parameter, std=0.3)
    assert torch.equal(model.flow_covariance, before)  # type: ignore[arg-type]
    model.eval()
    measured = model.get_buffer("flow_covariance")
    assert not torch.equal(measured, before)
    assert not torch.equal(measured[0], measured[1])
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.get_buffer("flow_covariance"), measured)
    assert torch.equal(other.get_buffer("flow_mean"), model.get_buffer("flow_mean"))


def test_a_loaded_model_decodes_bit_for_bit(tmp_path: Path) -> None:
    options = {"stages": 2, "width": 8, "decoder": "mean", "handover": "likelihood", "sigma_activation": "exp"}
    spec = ModelSpec("sequential", TINY, CropRule(size=SIZE), options)
    model = build(spec)
    assert isinstance(model, SequentialStages)
    bend(model)
    save_model(tmp_path / "model.safetensors", model, spec, {})
    loaded = load_model(tmp_path / "model.safetensors")[0]
    model.eval()
    images = drawn_crops(2, 21)[0]
    with torch.no_grad():
        ours, theirs = model.decode(model(images)), loaded.decode(loaded(images))
    assert torch.equal(ours.xy_crop, theirs.xy_crop)
    assert torch.equal(ours.covariance_crop, theirs.covariance_crop)  # type: ignore[arg-type]


@pytest.mark.parametrize("alignment", ["center", "corner"])
@pytest.mark.parametrize("decoder", ["mu", "mean"])
def test_unmirroring_mirrors_what_is_decoded(decoder: str, alignment: Alignment) -> None:
    model = tiny(decoder=decoder, alignment=alignment)
    bend(model)
    outputs = {name: value.detach() for name, value in some_outputs().items()}
    there = model.unmirror(outputs)
    for decoded, mirrored in zip(model.decode_stages(outputs), model.decode_stages(there), strict=True):
        torch.testing.assert_close(mirrored.xy_crop[..., 0], SIZE - 1 - decoded.xy_crop[..., 0])
        assert torch.equal(mirrored.xy_crop[..., 1], decoded.xy_crop[..., 1])
        assert torch.equal(mirrored.covariance_crop, decoded.covariance_crop)  # type: ignore[arg-type]
    back = model.unmirror(there)
    torch.testing.assert_close(back["sigma"], outputs["sigma"])
    middle = model.decode(merge(outputs, outputs)).xy_crop
    torch.testing.assert_close(middle, model.decode(outputs).xy_crop)


@pytest.mark.parametrize("alignment", ["center", "corner"])
def test_unmirrored_maps_are_those_of_the_heatmap_method(alignment: Alignment) -> None:
    maps = torch.rand(2, 2, 21, 16, 16)
    flipped = tiny(loss="heatmap", alignment=alignment).unmirror({"heatmaps": maps})["heatmaps"]
    other = METHODS["heatmap"](TINY, SIZE, alignment=alignment)
    for number in (0, 1):
        assert torch.equal(flipped[:, number], other.unmirror({"heatmaps": maps[:, number]})["heatmaps"])


# Training


@pytest.mark.parametrize(
    ("loss", "rate", "level"),  # the level is that of the last step; at first the losses are 1.3, 0.78 and 0.025
    [("mle", 5e-3, -8), ("integral", 1e-2, 0.25), ("heatmap", 5e-3, 0.001)],
)
def test_it_overfits_eight_crops(loss: str, rate: float, level: float) -> None:
    own: dict[str, dict[str, Any]] = {"mle": {"decoder": "mean"}, "heatmap": {"target_sigma": 1.0}}
    options = own.get(loss, {})
    model = tiny(loss=loss, num_joints=3, width=16, **options)
    images, targets = drawn_crops(8, 3)
    steps = 120
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    errors = []
    for step in range(steps):
        outputs = model(images)
        if step in (0, steps - 1):
            model.measure_flow()
            errors.append((model.decode(outputs).xy_crop - targets.xy_crop).norm(dim=-1).mean().item())
        optimizer.zero_grad()
        reached = model.loss(outputs, targets)["loss"]
        torch.autograd.backward(reached)
        optimizer.step()
        schedule.step()
    assert reached < level
    assert errors[-1] < errors[0] / 4
    assert errors[-1] < 5


def _train_in_team(folder: Path, rank: int, port: int) -> None:
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.items():
            patch.setenv(name, str(value))
        with join_team("cpu") as team:
            torch.manual_seed(rank)
            model = SequentialStages(TINY, SIZE, stages=2, width=8)
            module = wrap(LossOf(model), team)
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            images, targets = drawn_crops(2, 21, seed=rank)
            before = {name: value.clone() for name, value in model.flows.state_dict().items()}
            torch.autograd.backward(module(images, targets.xy_crop, targets.labeled))
            optimizer.step()
            torch.save({"before": before, "after": model.flows.state_dict()}, folder / f"{rank}.pt")


def test_flows_stay_equal_on_two_processes(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    processes = [context.Process(target=_train_in_team, args=(tmp_path, rank, port)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]
    ours, theirs = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name, value in ours["after"].items():
        assert torch.equal(value, theirs["after"][name]), name
        assert name.endswith("weight") or not torch.equal(value, ours["before"][name]), name


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"loss": "l2"}, "loss must be one of mle, heatmap, integral"),
        ({"handover": "maps"}, "handover must be one of logits, likelihood"),
        ({"sigma_activation": "relu"}, "sigma_activation must be one of"),
        ({"residual": "cauchy"}, "residual must be one of"),
        ({"decoder": "mode"}, "decoder must be one of mu, mean"),
        ({"stages": 0}, "stages must be positive"),
        ({"sigma_floor": 0.0}, "sigma_floor must be positive"),
        ({"variance_width": -1}, "variance_width must be positive"),
        ({"loss": "integral", "residual": "laplace"}, "belongs to loss 'mle' alone; leave it out"),
        ({"loss": "heatmap", "decoder": "mean"}, "belongs to loss 'mle' alone; leave it out"),
        ({"loss": "heatmap", "sigma_activation": "exp", "sigma_floor": 0.5}, "sigma_activation and sigma_floor belong"),
        ({"loss": "integral", "variance_width": 3}, "variance_width belongs to loss 'mle' alone"),
        ({"loss": "integral", "target_sigma": 7.0}, "target_sigma belongs to loss 'heatmap' alone"),
        ({"target_sigma": 3.0}, "target_sigma belongs to loss 'heatmap' alone; leave it out with loss 'mle'"),
        ({"loss": "heatmap", "handover": "likelihood"}, "no log-probabilities"),
    ],
)
def test_wrong_options(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        METHODS["sequential"](TINY, SIZE, **options)
