"""Checkpoints: exact round trips, and a crash at any moment leaves a usable one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from knuckle.train import checkpoint
from knuckle.train.checkpoint import Position, load_checkpoint, read_position, save_checkpoint
from knuckle.train.optim import make_optimizer
from knuckle.train.recipe import Training


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)


def stepped(net: nn.Module) -> torch.optim.Optimizer:
    """An optimizer with state, after one step."""
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    net(torch.randn(2, 3, 8, 8)).square().mean().backward()
    optimizer.step()
    return optimizer


def test_network_average_and_optimizer_come_back_exactly(tmp_path: Path) -> None:
    net, average = network(0), network(1)
    optimizer = stepped(net)
    position = Position(epoch=3, step_in_epoch=2, step=17, updates=16, bad_steps=1, best=0.5, best_epoch=2)
    save_checkpoint(tmp_path / "c", position, net, average, optimizer)
    other, other_average = network(2), network(3)
    other_optimizer = torch.optim.Adam(other.parameters(), lr=0.1)
    load_checkpoint(tmp_path / "c", other, other_average, other_optimizer)
    assert read_position(tmp_path / "c") == position
    for before, after in ((net, other), (average, other_average)):
        for name, value in before.state_dict().items():
            assert torch.equal(value, after.state_dict()[name]), name
    for index, entry in optimizer.state_dict()["state"].items():
        for name, value in entry.items():
            assert torch.equal(value, other_optimizer.state_dict()["state"][index][name])


def test_muon_goes_on_from_a_checkpoint_as_if_nothing_had_happened(tmp_path: Path) -> None:
    training = Training.model_validate({"optimizer": "muon", "learning_rate": 0.05, "weight_decay": 0.1})
    net, other = network(0), network(1)
    optimizer, other_optimizer = make_optimizer(net, training), make_optimizer(other, training)
    images = torch.randn(2, 3, 8, 8)
    _step(net, optimizer, images)
    save_checkpoint(tmp_path / "c", Position(step=1), net, None, optimizer)
    load_checkpoint(tmp_path / "c", other, None, other_optimizer)
    for one, its in ((net, optimizer), (other, other_optimizer)):
        _step(one, its, images)
    for before, after in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(before, after)


def _step(net: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(net(images).square().mean())
    optimizer.step()


def test_a_checkpoint_before_the_first_update_has_no_optimizer_state(tmp_path: Path) -> None:
    net = network(0)
    optimizer = torch.optim.Adam(net.parameters())
    save_checkpoint(tmp_path / "c", Position(), net, None, optimizer)
    load_checkpoint(tmp_path / "c", net, None, optimizer)
    assert optimizer.state_dict()["state"] == {}


def test_a_second_checkpoint_replaces_the_first(tmp_path: Path) -> None:
    net = network(0)
    optimizer = stepped(net)
    for step in (1, 2):
        save_checkpoint(tmp_path, Position(step=step), net, None, optimizer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["position.json", "state-000000002.safetensors"]


@pytest.mark.parametrize("crash_at", range(5))
def test_a_crash_while_saving_leaves_a_complete_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    """Saving flushes twice, renames twice and deletes once; dying in any of them loses at most the new one."""
    net = network(0)
    optimizer = stepped(net)
    save_checkpoint(tmp_path, Position(step=1), net, None, optimizer)
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        net[0].weight.add_(1)  # type: ignore[index]
    calls = 0

    def dies(original: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls > crash_at:
                raise KeyboardInterrupt
            return original(*arguments)

        return wrapper

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_flush", dies(checkpoint._flush))
        patch.setattr(Path, "replace", dies(Path.replace))
        patch.setattr(Path, "unlink", dies(Path.unlink))
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, Position(step=2), net, None, optimizer)
    position = read_position(tmp_path)
    assert position is not None
    other = network(5)
    load_checkpoint(tmp_path, other, None, torch.optim.Adam(other.parameters()))
    expected = kept if position.step == 1 else net.state_dict()
    assert position.step == (1 if crash_at < 4 else 2)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in expected.items())


def test_no_checkpoint_is_no_position(tmp_path: Path) -> None:
    assert read_position(tmp_path / "none") is None
    with pytest.raises(ValueError, match="holds no checkpoint"):
        load_checkpoint(tmp_path, network(0), None, torch.optim.Adam(network(0).parameters()))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 99}', '{"format": 1}'])
def test_a_foreign_position_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "position.json").write_text(text)
    with pytest.raises(ValueError, match="not a checkpoint of this version"):
        read_position(tmp_path)


def test_a_damaged_or_foreign_state_is_refused(tmp_path: Path) -> None:
    net = network(0)
    save_checkpoint(tmp_path, Position(step=1), net, None, stepped(net))
    other = nn.Linear(3, 3)
    with pytest.raises(ValueError, match="belongs to another network"):
        load_checkpoint(tmp_path, other, None, torch.optim.Adam(other.parameters()))
    with pytest.raises(ValueError, match="belongs to another network"):
        load_checkpoint(tmp_path, net, network(1), torch.optim.Adam(net.parameters()))
    state = tmp_path / json.loads((tmp_path / "position.json").read_text())["state"]
    state.write_bytes(state.read_bytes()[:50])
    with pytest.raises(ValueError, match="cannot be read"):
        load_checkpoint(tmp_path, net, None, torch.optim.Adam(net.parameters()))
