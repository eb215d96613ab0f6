"""One optimizer step: the hands of a batch, the gradient of their mean loss, and the guard before the update.

A batch is cut into one stripe a process and, where the recipe says so, each stripe into pieces that
are run one after the other. However it is cut, the gradient is that of the mean loss over all hands of
the batch: a piece's loss, a mean over its hands, counts by their number.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64, UInt8
from torch import Tensor, nn

from knuckle.data.loader import Batch
from knuckle.devices import has_bfloat16
from knuckle.methods.base import Method, Targets
from knuckle.skeleton import NUM_JOINTS
from knuckle.train.distributed import Team, sum_over_team
from knuckle.train.interrupt import StopRequest
from knuckle.train.optim import gradient_norm, scale_gradients

Precision = Literal["float32", "bf16"]


def usable_precision(wanted: Precision, device: torch.device) -> Precision:
    """What the network runs in where a recipe wants that: bf16 saves time, except on CPUs that only imitate it."""
    return wanted if has_bfloat16(device) else "float32"


class LossOf(nn.Module):
    """A method with its losses as one module, so that DistributedDataParallel and torch.compile see all of it.

    Args:
        method: the network.
        precision: "bf16" runs the network under autocast; the loss is always computed in float32.
    """

    def __init__(self, method: Method, precision: Precision = "float32") -> None:
        super().__init__()
        self.method = method
        self.bf16 = precision == "bf16"

    def forward(
        self,
        images: UInt8[Tensor, "B 3 S S"],
        xy_crop: Float[Tensor, "B K 2"],
        labeled: Bool[Tensor, "B K"],
        left: Float[Tensor, " B"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss to minimise, a mean over the batch: of the keypoints, and of sides where they are taught."""
        lesson = self.method.side_lesson
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            features = self.method.features_of(images)
            outputs = self.method.outputs_of(features)
        outputs = {name: value.float() for name, value in outputs.items()}
        loss = self.method.loss(outputs, Targets(xy_crop, labeled))["loss"]
        return loss if lesson is None or left is None else loss + lesson(features[-1], left)


@dataclass(frozen=True)
class Gradient:
    """What a backward pass gave, the same on every process of the team.

    Attributes:
        loss: the mean over all hands of the batch.
        norm: of all gradients together.
        hands: how many hands it is made of.
        stop: some process of the team was asked to stop.
    """

    loss: float
    norm: float
    hands: int
    stop: bool

    @property
    def finite(self) -> bool:
        """False where an update would ruin the weights."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


def batches_of_epoch(rows: int, batch: int, seed: int, epoch: int) -> list[Int64[np.ndarray, " batch"]]:
    """The rows of each step: a shuffle that depends on seed and epoch alone, cut into whole batches.

    The rows that do not fill a last batch wait for another epoch's shuffle; a table smaller than a
    batch makes one step of all its rows.
    """
    order = np.random.default_rng((seed, epoch)).permutation(rows)
    batch = min(batch, rows)
    return list(order[: rows // batch * batch].reshape(-1, batch))


def stripe(
    rows: Int64[np.ndarray, " batch"], rank: int, team_size: int, accumulate: int
) -> list[Int64[np.ndarray, " n"]]:
    """This process's share of a batch, in `accumulate` pieces."""
    return np.array_split(rows[rank::team_size], accumulate)


def in_order(
    loaded: Iterator[tuple[Batch, list[str]]], pieces: Sequence[Int[np.ndarray, " n"]]
) -> Iterator[tuple[Batch | None, list[str]]]:
    """One item for every piece asked for: None where the loader could read no hand of it."""
    piece_of = {int(row): number for number, rows in enumerate(pieces) for row in rows}
    expected = 0
    for batch, messages in loaded:
        number = piece_of[int(batch.rows[0])]
        for _ in range(expected, number):
            yield None, []
        yield batch, messages
        expected = number + 1
    for _ in range(expected, len(pieces)):
        yield None, []


def compute_gradient(
    module: nn.Module,
    method: Method,
    pieces: Sequence[Batch | None],
    team: Team,
    *,
    layout: torch.memory_format = torch.contiguous_format,
    request: StopRequest | None = None,
) -> Gradient:
    """Leave in `method` the gradient of the mean loss over all hands of all pieces of all processes.

    Args:
        module: `LossOf(method)`, wrapped for the team.
        method: the network inside it.
        pieces: this process's share of the batch; None for a piece without a hand.
        team: the processes that share the batch.
        layout: memory format of the images.
        request: asks this process to stop; the answer tells every process.
    """
    summed, hands = 0.0, 0
    # Every process takes part in every exchange, so a missing piece is one of the others once more, without weight.
    stand_in = next((piece for piece in pieces if piece is not None), None)
    for number, piece in enumerate(pieces):
        if piece is None and stand_in is not None and team.size == 1:
            continue
        images, targets, left = _on_device(stand_in if piece is None else piece, method.size, team.device, layout)
        count = 0 if piece is None else len(piece.images)
        with _gradients_stay_here(module) if number + 1 < len(pieces) else contextlib.nullcontext():
            loss = module(images, targets.xy_crop, targets.labeled, left)
            (loss * count).backward()
        summed += loss.item() * count
        hands += count
    stop = request is not None and request.received
    total, team_hands, stops = sum_over_team([summed, float(hands), float(stop)], team)
    # DistributedDataParallel averages over processes: times their number is the sum
    scale_gradients(method, team.size / max(1.0, team_hands))
    loss_of_batch = total / team_hands if team_hands else 0.0
    return Gradient(loss_of_batch, gradient_norm(method).item(), int(team_hands), stops > 0)


class Buffers:
    """A copy of a network's buffers, to undo what a left-out step did to batch normalisation's statistics."""

    def __init__(self, network: nn.Module) -> None:
        self._live = list(network.buffers())
        self._kept = [buffer.clone() for buffer in self._live]

    @torch.no_grad()
    def keep(self) -> None:
        """Remember the buffers as they are."""
        for kept, live in zip(self._kept, self._live, strict=True):
            kept.copy_(live)

    @torch.no_grad()
    def restore(self) -> None:
        """Bring back what was remembered."""
        for kept, live in zip(self._kept, self._live, strict=True):
            live.copy_(kept)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's generators for one step, so that dropout depends on seed, step and process alone."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0]))


def _on_device(
    piece: Batch | None, size: int, device: torch.device, layout: torch.memory_format
) -> tuple[Tensor, Targets, Tensor]:
    """A piece's tensors; two empty crops without labels for a missing one, as every process must take part."""
    if piece is None:
        images = torch.zeros((2, 3, size, size), dtype=torch.uint8)
        targets = Targets(torch.zeros(2, NUM_JOINTS, 2), torch.zeros(2, NUM_JOINTS, dtype=torch.bool))
        left = torch.full((2,), math.nan)
    else:
        images, targets, left = piece.images, piece.targets, piece.left
    on_device = Targets(targets.xy_crop.to(device, non_blocking=True), targets.labeled.to(device, non_blocking=True))
    images = images.to(device, memory_format=layout, non_blocking=True)
    return images, on_device, left.to(device, non_blocking=True)


def _gradients_stay_here(module: nn.Module) -> contextlib.AbstractContextManager[None]:
    """No exchange of gradients for a piece that others follow."""
    if isinstance(module, nn.parallel.DistributedDataParallel):
        return module.no_sync()
    return contextlib.nullcontext()
