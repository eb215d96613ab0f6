"""Checkpoints: all that a killed run needs to go on as if nothing had happened.

A run folder's `checkpoint/` holds one `state-STEP.safetensors` (network, moving average, optimizer)
and `position.json`, which names it. The tensors are written first, under a name that nothing refers
to yet; then `position.json` is replaced in one rename; then older tensors go. Whenever the process
dies, `position.json` refers to a complete file.

No random state is stored: the order of an epoch, the augmentation of a hand and the dropout of a
step are functions of the seed and of their position in the run.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

POSITION_FILE: Final = "position.json"
FORMAT_VERSION: Final = 1


@dataclass(frozen=True)
class Position:
    """Where a run stands between two steps.

    Attributes:
        epoch: the epoch of the next step, from 0.
        step_in_epoch: steps of that epoch already done or left out.
        step: steps of the whole run already done or left out.
        updates: optimizer steps done; fewer than `step` where steps were left out.
        bad_steps: steps left out because a loss or gradient was not finite.
        best: the best value of the recipe's metric so far, or None before the first validation.
        best_epoch: the epoch that gave it.
        journal_bytes: length of metrics.jsonl at this point; what follows belongs to lost steps.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    updates: int = 0
    bad_steps: int = 0
    best: float | None = None
    best_epoch: int | None = None
    journal_bytes: int = 0


def save_checkpoint(
    folder: Path, position: Position, network: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer
) -> None:
    """Write a checkpoint; the previous one stays valid until this one is complete."""
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    tensors |= _optimizer_tensors(optimizer)
    # safetensors wants every tensor to own contiguous memory
    owned = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    state = folder / f"state-{position.step:09d}.safetensors"
    partial = state.with_suffix(".partial")
    save_file(owned, partial)
    _flush(partial)
    partial.replace(state)
    content = {"format": FORMAT_VERSION, "state": state.name, **asdict(position)}
    write_atomically(folder / POSITION_FILE, json.dumps(content, indent=2) + "\n")
    for old in [*folder.glob("state-*.safetensors"), *folder.glob("*.partial")]:
        if old != state:
            old.unlink()


def read_position(folder: Path) -> Position | None:
    """Where the run's last checkpoint stands, or None where there is no checkpoint yet.

    Raises:
        ValueError: `position.json` is not one that this version writes.
    """
    content = _read_position_file(folder)
    return None if content is None else Position(**{name: content[name] for name in Position.__dataclass_fields__})


def load_checkpoint(
    folder: Path, network: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer
) -> None:
    """Put the tensors of the folder's checkpoint into a network, its average and its optimizer.

    Raises:
        ValueError: there is no checkpoint, it is damaged, or it belongs to another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    content = _read_position_file(folder)
    if content is None:
        raise ValueError(f"{folder} holds no checkpoint.")
    state = folder / content["state"]
    try:
        tensors = load_file(state)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{state} cannot be read ({error}); start the run again in a new folder.") from error
    try:
        network.load_state_dict(_with_prefix(tensors, "network."))
        if average is not None:
            average.load_state_dict(_with_prefix(tensors, "average."))
        _restore_optimizer(optimizer, _with_prefix(tensors, "optimizer."))
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{state} belongs to another network than the recipe's ({error}).") from error


def write_atomically(path: Path, text: str) -> None:
    """Replace a text file in one rename, so that a reader or a crash never sees half of it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    _flush(partial)
    partial.replace(path)


def _read_position_file(folder: Path) -> dict[str, Any] | None:
    path = folder / POSITION_FILE
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = content["format"] == FORMAT_VERSION and {"state", *Position.__dataclass_fields__} <= content.keys()
    except (ValueError, KeyError, TypeError, AttributeError):
        known = False
    if not known:
        raise ValueError(f"{path} is not a checkpoint of this version of knuckle; start the run in a new folder.")
    return content


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as "optimizer.PARAMETER.NAME", parameters numbered as in its groups."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    if state and len(state) != sum(len(group["params"]) for group in groups):
        raise ValueError("the number of parameters differs")
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _flush(path: Path) -> None:
    """Make sure that the file's content is on the disk before anything refers to it."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
