"""Training on several processes, as torchrun starts them, and on one, through the same few functions.

torchrun gives every process the environment variables RANK, WORLD_SIZE and LOCAL_RANK. Without
them the run is a team of one, and every function here does nothing but return its argument.

A batch of the recipe is the batch of all processes together: each takes its stripe of it. The loss
of a stripe counts by the number of its hands, so N processes compute the gradient that one would
compute from the whole batch. Batch normalisation is the exception: on CUDA its statistics
are shared (SyncBatchNorm), on the CPU each process normalises by its own stripe.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn

from knuckle.hands import Hands


@dataclass(frozen=True)
class Team:
    """This process among those of the run.

    Attributes:
        rank: its number, from 0; number 0 writes all files.
        size: how many there are.
        device: where this process computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """True for the one process that writes files and talks."""
        return self.rank == 0


@contextmanager
def join_team(device: str) -> Iterator[Team]:
    """This process's team for the duration of the block, from the environment that torchrun sets.

    Args:
        device: "auto" takes CUDA or MPS where there is one, and one GPU a process in a team.

    Raises:
        ValueError: the device does not exist here.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = pick_device(device, int(os.environ.get("LOCAL_RANK", "0")), alone=size == 1)
    if size == 1:
        yield Team(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size(), chosen)
    finally:
        distributed.destroy_process_group()


def pick_device(device: str, local_rank: int = 0, *, alone: bool = True) -> torch.device:
    """The device that a recipe's `device` means on this machine.

    Raises:
        ValueError: it does not exist here.
    """
    if device == "auto":
        if torch.cuda.is_available():
            device = "cuda"
        else:
            device = "mps" if alone and torch.backends.mps.is_available() else "cpu"
    if device.startswith("cuda"):
        index = local_rank if device == "cuda" else int(device.removeprefix("cuda:"))
        if index >= torch.cuda.device_count():
            raise ValueError(
                f"device {device} (number {index}) was asked for, but this machine has {torch.cuda.device_count()} "
                "CUDA devices; use --device cpu or fewer processes."
            )
        return torch.device("cuda", index)
    if device == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device mps was asked for, but this machine has none; use --device cpu.")
    return torch.device(device)


def wrap(module: nn.Module, team: Team) -> nn.Module:
    """The module with gradients averaged over the team; its forward must compute the loss."""
    if team.size == 1:
        return module
    if team.device.type == "cuda":
        module = synchronised(module)
        return nn.parallel.DistributedDataParallel(module, device_ids=[team.device.index])
    return nn.parallel.DistributedDataParallel(module)


def synchronised(module: nn.Module) -> nn.Module:
    """The module with batch statistics over the team. timm knows its batch norms that end in an activation, which
    PyTorch's own conversion would leave out.
    """
    from timm.layers.norm_act import convert_sync_batchnorm

    converted: nn.Module = convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return converted


def sum_over_team(values: list[float], team: Team) -> list[float]:
    """Each number summed over all processes, exact in float64."""
    if team.size == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device=team.device)
    distributed.all_reduce(tensor)
    total: list[float] = tensor.tolist()
    return total


def share_state(module: nn.Module, team: Team) -> None:
    """Give every process the first one's weights and buffers."""
    if team.size > 1:
        for value in module.state_dict().values():
            distributed.broadcast(value, src=0)


def gather_objects(value: Any, team: Team) -> list[Any]:
    """The values of all processes in the order of their ranks, on every process."""
    if team.size == 1:
        return [value]
    gathered: list[Any] = [None] * team.size
    distributed.all_gather_object(gathered, value)
    return gathered


def interleave(stripes: list[Hands]) -> Hands:
    """The table whose rows rank, rank + size, rank + 2 size ... are the stripe of that rank."""
    total, size = sum(len(stripe) for stripe in stripes), len(stripes)
    starts = [0, *(int(end) for end in torch.tensor([len(stripe) for stripe in stripes]).cumsum(0))]
    return Hands.concat(stripes)[[starts[row % size] + row // size for row in range(total)]]


def wait_for_team(team: Team) -> None:
    """Return when every process has come here."""
    if team.size > 1:
        distributed.barrier()
