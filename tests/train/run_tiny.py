"""Training runs for tests in processes of their own, with a fault at one step."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from knuckle.methods.base import Outputs, Targets
from knuckle.train.recipe import Recipe
from tests.train.tiny import Tiny, fit_tiny

Fault = Literal["none", "kill", "nan"]


class Faulty(Tiny):
    """Tiny, whose loss kills the process (SIGKILL) or is not a number in call number `call`."""

    def __init__(self, fault: Fault, call: int, dropout: float = 0.0) -> None:
        super().__init__(dropout)
        self.fault = fault
        self.call = call

    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        losses = super().loss(outputs, targets)
        if self.calls != self.call or self.fault == "none":
            return losses
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return {"loss": losses["loss"] * torch.nan}


def run_apart(recipe: Recipe, folder: Path, methods: list[Tiny]) -> list[int | None]:
    """Train one network a process, as a team where there are several; gives the exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # a fork has torch imported already
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    processes = [
        context.Process(target=_run, args=(recipe, folder, method, rank, len(methods), port))
        for rank, method in enumerate(methods)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=100)
        process.kill()
    return [process.exitcode for process in processes]


def _run(recipe: Recipe, folder: Path, method: Tiny, rank: int, size: int, port: int) -> None:
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()}, MASTER_ADDR="127.0.0.1")
    fit_tiny(recipe, folder, method)
