"""Learning-rate schedules against their formulas, and weight decay where it belongs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from knuckle.train.optim import gradient_norm, learning_rate, make_optimizer, scale_gradients
from knuckle.train.recipe import Cosine, Step, Training


def test_step_schedule_with_warm_up_against_torch() -> None:
    """The product of torch's LinearLR by iteration and MultiStepLR by epoch, as MMPose runs them."""
    training = Training(
        epochs=6, learning_rate=5e-4, schedule=Step(milestones=(3, 5)), warmup_iterations=7, warmup_factor=0.001
    )
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=5e-4)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.001, 1.0, total_iters=7)
    steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5], 0.1)
    for step in range(24):
        assert learning_rate(training, step, steps_per_epoch=4) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        warm_up.step()
        if step % 4 == 3:
            steps.step()


def test_cosine_schedule_ends_at_the_final_factor() -> None:
    training = Training(epochs=5, learning_rate=2.0, schedule=Cosine(kind="cosine", final_factor=0.1))
    rates = [learning_rate(training, step, steps_per_epoch=2) for step in range(10)]
    assert rates[0] == 2.0
    assert rates[-1] == pytest.approx(0.2)
    assert rates[3] == pytest.approx(2 * (0.1 + 0.9 * (1 + math.cos(math.pi / 3)) / 2))
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_weight_decay_spares_biases_and_normalisation(name: str, kind: type[torch.optim.Optimizer]) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    net[0].weight.requires_grad_(True)
    optimizer = make_optimizer(net, Training.model_validate({"optimizer": name, "weight_decay": 0.1}))
    assert type(optimizer) is kind
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {key: decays[id(value)] for key, value in net.named_parameters()} == {
        "0.weight": 0.1,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
    }


def test_muon_makes_updates_of_kernels_orthogonal_and_adamw_moves_the_rest() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    training = Training.model_validate({"optimizer": "muon", "learning_rate": 0.01, "weight_decay": 0.0})
    optimizer = make_optimizer(net, training)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    torch.autograd.backward(net(torch.randn(4, 3, 8, 8)).pow(3).sum())
    optimizer.step()
    moved = {name: parameter.detach() - before[name] for name, parameter in net.named_parameters()}
    sizes = torch.linalg.svdvals(moved["0.weight"].flatten(1))
    assert sizes.max() < 1.6 * sizes.min(), "all directions move alike"
    assert sizes.mean() == pytest.approx(0.2 * math.sqrt(27) * 0.01, rel=0.3)  # that of AdamW's, Liu et al., 2025
    assert moved["1.weight"].abs().std() < 1e-6, "Adam's first steps are alike, whatever the gradient"
    assert 0 < moved["1.weight"].abs().mean() < 0.02


def test_frozen_parameters_are_not_optimised() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].requires_grad_(False)
    optimizer = make_optimizer(net, Training())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


def test_gradient_norm_and_scaling() -> None:
    net = nn.Linear(2, 1)
    net.weight.grad, net.bias.grad = torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])
    assert gradient_norm(net).item() == pytest.approx(5.0)
    scale_gradients(net, 0.5)
    assert gradient_norm(net).item() == pytest.approx(2.5)
    net.bias.grad[0] = torch.inf
    assert not math.isfinite(gradient_norm(net).item())
