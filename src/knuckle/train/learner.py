"""What a run changes as it goes: network, average, optimizer and position; one step of it, saved and restored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from knuckle.data.loader import Batch
from knuckle.methods.base import Method
from knuckle.methods.hand_head import SideLesson
from knuckle.predict.torch_engine import evaluating
from knuckle.train.checkpoint import Position, load_checkpoint, read_position, save_checkpoint
from knuckle.train.distributed import Team, wrap
from knuckle.train.ema import MovingAverage
from knuckle.train.interrupt import StopRequest
from knuckle.train.journal import Journal
from knuckle.train.optim import learning_rate, make_optimizer, scale_gradients, set_learning_rate
from knuckle.train.recipe import Training
from knuckle.train.steps import Buffers, Gradient, LossOf, compute_gradient, seed_step, usable_precision


@dataclass
class Learner:
    """The parts of a run that change together.

    Attributes:
        method: the network.
        module: the network with its loss, wrapped for the team.
        average: of the network's weights, where the recipe asks for one.
        optimizer: over the network's weights.
        buffers: what the network's buffers were before the step in progress.
        position: where the run stands.
    """

    method: Method
    module: nn.Module
    average: MovingAverage[Method] | None
    optimizer: torch.optim.Optimizer
    buffers: Buffers
    position: Position

    @property
    def result(self) -> Method:
        """The network to measure and to keep: the moving average where there is one."""
        return self.method if self.average is None else self.average.network


def start(method: Method, training: Training, team: Team, checkpoint: Path | None = None) -> Learner:
    """The network on its device with optimizer and average, as the checkpoint (if there is one) left them.

    Raises:
        ValueError: the checkpoint is damaged or belongs to another network.
    """
    method.to(team.device).to(memory_format=_layout(training))
    if training.side_weight:
        method.side_lesson = _side_lesson(method, training).to(team.device)
    average = None if training.ema_decay is None else MovingAverage(method, training.ema_decay)
    optimizer = make_optimizer(method, training)
    position = None if checkpoint is None else read_position(checkpoint)
    if checkpoint is not None and position is not None:
        load_checkpoint(checkpoint, method, None if average is None else average.network, optimizer)
    module = wrap(LossOf(method, usable_precision(training.precision, team.device)), team)
    if training.compile:
        module.compile()
    return Learner(method, module, average, optimizer, Buffers(method), position or Position())


def save(learner: Learner, folder: Path, journal: Journal) -> None:
    """Write the run's checkpoint."""
    position = replace(learner.position, journal_bytes=journal.bytes_written())
    average = None if learner.average is None else learner.average.network
    save_checkpoint(folder, position, learner.method, average, learner.optimizer)


def take_step(
    learner: Learner,
    pieces: Sequence[Batch | None],
    training: Training,
    steps_per_epoch: int,
    team: Team,
    request: StopRequest | None = None,
) -> Gradient:
    """One step: gradient, guard, clipping, update, average. A gradient that is not finite changes nothing.

    Args:
        learner: what the step changes, its position included.
        pieces: this process's share of the batch.
        training: the recipe's section.
        steps_per_epoch: for the schedule.
        team: the processes that share the batch.
        request: asks this process to stop; see `Gradient.stop`.
    """
    position = learner.position
    set_learning_rate(learner.optimizer, learning_rate(training, position.step, steps_per_epoch))
    seed_step(training.seed, position.step, team.rank)
    learner.buffers.keep()
    gradient = compute_gradient(learner.module, learner.method, pieces, team, layout=_layout(training), request=request)
    if gradient.finite and gradient.hands:
        if training.clip_norm is not None and gradient.norm > training.clip_norm:
            scale_gradients(learner.method, training.clip_norm / gradient.norm)
        learner.optimizer.step()
        position = replace(position, updates=position.updates + 1)
        if learner.average is not None:
            learner.average.update(learner.method, position.updates)
    else:
        learner.buffers.restore()
    learner.optimizer.zero_grad(set_to_none=True)
    learner.position = replace(
        position,
        step=position.step + 1,
        step_in_epoch=position.step_in_epoch + 1,
        bad_steps=position.bad_steps + (not gradient.finite),
    )
    return gradient


def _side_lesson(method: Method, training: Training) -> SideLesson:
    with evaluating(method), torch.inference_mode():
        crop = torch.zeros((1, 3, method.size, method.size), device=method.get_buffer("pixel_mean").device)
        deepest = method.features_of(crop)[-1]
    torch.manual_seed(training.seed)
    return SideLesson(deepest.shape[1], training.side_weight)


def _layout(training: Training) -> torch.memory_format:
    return torch.channels_last if training.channels_last else torch.contiguous_format
