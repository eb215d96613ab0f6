"""The optimizer, its learning rate as a function of the step, and what is done to gradients before it.

The learning rate depends on the step's number alone, so that a resumed run needs no scheduler state.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from knuckle.train.muon import Muon
from knuckle.train.recipe import Cosine, Training


def make_optimizer(module: nn.Module, training: Training) -> torch.optim.Optimizer:
    """Adam, AdamW or Muon over all parameters; weight decay spares biases and normalisation."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = {"params": [p for p in parameters if p.ndim > 1], "weight_decay": training.weight_decay}
    vectors = {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}
    kinds: dict[str, Callable[..., torch.optim.Optimizer]]
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "muon": Muon}
    groups = [group for group in (matrices, vectors) if group["params"]]
    return kinds[training.optimizer](groups, lr=training.learning_rate)


def learning_rate(training: Training, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from 0 over the whole run.

    During the first `warmup_iterations` steps the scheduled rate is multiplied by a factor that
    rises linearly from `warmup_factor` to 1.
    """
    schedule = training.schedule
    if isinstance(schedule, Cosine):
        progress = step / max(1, training.epochs * steps_per_epoch - 1)
        factor = schedule.final_factor + (1 - schedule.final_factor) * (1 + math.cos(math.pi * progress)) / 2
    else:
        epoch = step // steps_per_epoch
        factor = schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    if step < training.warmup_iterations:
        share = step / training.warmup_iterations
        factor *= training.warmup_factor + (1 - training.warmup_factor) * share
    return training.learning_rate * factor


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = value


def gradient_norm(module: nn.Module) -> Float[Tensor, ""]:
    """The Euclidean norm of all gradients together; not finite when any of them is not."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients, error_if_nonfinite=False)


def scale_gradients(module: nn.Module, factor: float) -> None:
    """Multiply every gradient in place."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    torch._foreach_mul_(gradients, factor)
