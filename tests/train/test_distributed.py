"""Teams: what one process does alone, and two processes against one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from knuckle.hands import Hands
from knuckle.train.checkpoint import read_position
from knuckle.train.distributed import interleave, join_team, pick_device, synchronised
from knuckle.train.journal import read_journal
from tests.train.run_tiny import Faulty, run_apart
from tests.train.tiny import Tiny, drawn_hands, fit_tiny, rendered_recipe, tiny_recipe


@given(rows=st.integers(0, 20), size=st.integers(1, 5))
def test_interleaving_undoes_striping(rows: int, size: int) -> None:
    xy = np.arange(rows * 42, dtype=np.float32).reshape(rows, 21, 2)
    hands = Hands(image=[f"{row}.jpg" for row in range(rows)], xy=xy, visibility=np.full((rows, 21), 2))
    assert interleave([hands[rank::size] for rank in range(size)]) == hands


def test_without_torchrun_the_team_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with join_team("cpu") as team:
        assert (team.rank, team.size, team.leads, team.device.type) == (0, 1, True, "cpu")


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto", 1) == torch.device("cuda", 1)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="2 CUDA devices"):
        pick_device("cuda", 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match="has none"):
        pick_device("mps")


def test_synchronised_batch_norms_keep_their_activations() -> None:
    """Timm's batch norms of most backbones end in one, and nothing else tells that it is gone."""
    network = timm.create_model("test_byobnet", features_only=True).eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = network(images)
        converted = synchronised(network)
        after = converted(images)
    assert any(isinstance(module, nn.SyncBatchNorm) for module in converted.modules())
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other)


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    """Same weights and validation numbers, with an unreadable image, an odd count, and a step that is not finite.

    The network has no batch normalisation: on the CPU each process would normalise by its own stripe.
    """
    annotations = drawn_hands(tmp_path / "drawn")
    sorted((tmp_path / "drawn" / "images").iterdir())[3].write_bytes(b"broken")
    recipe = tiny_recipe(annotations, accumulate=2)
    one, two = tmp_path / "one", tmp_path / "two"
    fit_tiny(recipe, one, Faulty("nan", 5))
    # only the second process meets the fault; both must leave the step out
    assert run_apart(recipe, two, [Faulty("none", 5), Faulty("nan", 5)]) == [0, 0]

    for name in ("best.safetensors", "last.safetensors"):
        ours, theirs = load_file(one / name), load_file(two / name)
        for key, value in ours.items():
            torch.testing.assert_close(theirs[key], value, rtol=0, atol=1e-5)
    for event, fields in (("step", ("loss", "hands")), ("validation", ("epe", "nme", "pck", "auc", "hands"))):
        ours_events, theirs_events = (read_journal(run / "metrics.jsonl", event) for run in (one, two))
        assert len(ours_events) == len(theirs_events) > 0
        for mine, their in zip(ours_events, theirs_events, strict=True):
            assert [their[name] for name in fields] == pytest.approx([mine[name] for name in fields], abs=1e-5)
    bad = [read_journal(run / "metrics.jsonl", "bad_step") for run in (one, two)]
    assert [len(events) for events in bad] == [1, 1]
    assert bad[0][0]["images"] == bad[1][0]["images"]
    positions = [read_position(run / "checkpoint") for run in (one, two)]
    assert [position and (position.step, position.updates, position.bad_steps) for position in positions] == [
        (8, 7, 1),
        (8, 7, 1),
    ]


def test_two_processes_render_what_one_renders(tmp_path: Path) -> None:
    recipe = rendered_recipe(epochs=1)
    fit_tiny(recipe, tmp_path / "one", Tiny())
    assert run_apart(recipe, tmp_path / "two", [Tiny(), Tiny()]) == [0, 0]
    ours, theirs = (load_file(tmp_path / run / "last.safetensors") for run in ("one", "two"))
    for key, value in ours.items():
        torch.testing.assert_close(theirs[key], value, rtol=0, atol=1e-5)
    (one,), (two,) = (read_journal(tmp_path / run / "metrics.jsonl", "validation") for run in ("one", "two"))
    assert one["epe"] == pytest.approx(two["epe"], abs=1e-4)
