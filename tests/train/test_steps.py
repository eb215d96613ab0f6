"""Steps: how a batch is cut, and that the cut does not change the gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from knuckle.data.loader import Batch
from knuckle.methods.base import Features, Outputs, Targets
from knuckle.methods.hand_head import SideLesson
from knuckle.train.distributed import Team
from knuckle.train.steps import (
    Buffers,
    LossOf,
    batches_of_epoch,
    compute_gradient,
    in_order,
    seed_step,
    stripe,
    usable_precision,
)
from tests.train.tiny import SIZE, Tiny

ALONE = Team(0, 1, torch.device("cpu"))


def batch_of(rows: list[int]) -> Batch:
    """Crops and points that depend on their rows alone."""
    images = torch.stack(
        [torch.randint(0, 255, (3, SIZE, SIZE), generator=torch.Generator().manual_seed(row)) for row in rows]
    )
    points = torch.stack([torch.rand(21, 2, generator=torch.Generator().manual_seed(row)) * SIZE for row in rows])
    labeled = torch.stack([torch.arange(21) % 4 != row % 4 for row in rows])
    matrices = torch.eye(3, dtype=torch.float64).expand(len(rows), 3, 3)
    left = torch.tensor(rows) % 2.0
    return Batch(images.to(torch.uint8), Targets(points, labeled), left, matrices, torch.tensor(rows))


@given(rows=st.integers(1, 50), batch=st.integers(1, 20), epoch=st.integers(0, 5))
def test_an_epoch_is_a_shuffle_in_whole_batches(rows: int, batch: int, epoch: int) -> None:
    steps = batches_of_epoch(rows, batch, seed=3, epoch=epoch)
    used = np.concatenate(steps)
    assert {len(step) for step in steps} == {min(batch, rows)}
    assert len(np.unique(used)) == len(used)
    assert rows - len(used) < batch
    again = batches_of_epoch(rows, batch, seed=3, epoch=epoch)
    assert all(np.array_equal(one, other) for one, other in zip(steps, again, strict=True))


def test_epochs_and_seeds_shuffle_differently() -> None:
    orders = {tuple(batches_of_epoch(30, 30, seed, epoch)[0]) for seed in range(2) for epoch in range(3)}
    assert len(orders) == 6


@given(rows=st.integers(1, 40), team=st.integers(1, 5), accumulate=st.integers(1, 4))
def test_stripes_share_a_batch_out_completely(rows: int, team: int, accumulate: int) -> None:
    pieces = [piece for rank in range(team) for piece in stripe(np.arange(rows), rank, team, accumulate)]
    assert len(pieces) == team * accumulate
    assert sorted(np.concatenate(pieces)) == list(range(rows))


def test_pieces_that_the_loader_lost_leave_a_gap() -> None:
    pieces = [np.array([4, 1]), np.array([0, 3]), np.array([2]), np.array([], dtype=np.int64), np.array([5])]
    loaded = iter([(batch_of([3]), ["row 0"]), (batch_of([2]), [])])
    found = [(None if batch is None else batch.rows.tolist(), said) for batch, said in in_order(loaded, pieces)]
    assert found == [(None, []), ([3], ["row 0"]), ([2], []), (None, []), (None, [])]


@pytest.mark.parametrize("lesson", [False, True])
@pytest.mark.parametrize(
    "cut", [[[0, 1, 2, 3, 4, 5]], [[0, 1, 2], [3, 4, 5]], [[0], [1, 2, 3, 4], [5]], [[0, 1, 2, 3, 4, 5], []]]
)
def test_however_a_batch_is_cut_the_gradient_is_that_of_its_mean_loss(cut: list[list[int]], lesson: bool) -> None:
    torch.manual_seed(0)
    method = Tiny()
    whole = batch_of([0, 1, 2, 3, 4, 5])
    loss = method.loss(method(whole.images), whole.targets)["loss"]
    if lesson:
        method.side_lesson = SideLesson(3, 0.7)
        loss = loss + method.side_lesson(method.features_of(whole.images)[-1], whole.left)
    expected = torch.autograd.grad(loss, list(method.parameters()))
    pieces = [batch_of(rows) if rows else None for rows in cut]
    gradient = compute_gradient(LossOf(method), method, pieces, ALONE)
    assert gradient.loss == pytest.approx(loss.item(), rel=1e-6)
    assert gradient.norm == pytest.approx(torch.cat([g.flatten() for g in expected]).norm().item(), rel=1e-5)
    assert gradient.hands == 6
    for parameter, value in zip(method.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, value, rtol=1e-5, atol=1e-7)


def test_a_piece_without_hands_leaves_no_trace_in_batch_normalisation() -> None:
    torch.manual_seed(0)
    first, second = Tiny(normalized=True), Tiny(normalized=True)
    second.load_state_dict(first.state_dict())
    batch = batch_of([0, 1, 2])
    for method, pieces in ((first, [batch]), (second, [None, batch, None])):
        compute_gradient(LossOf(method), method, pieces, ALONE)
    for (name, value), other in zip(first.named_buffers(), second.buffers(), strict=True):
        assert torch.equal(value, other), name


def test_unlabelled_joints_do_not_move_the_gradient() -> None:
    torch.manual_seed(0)
    method = Tiny()
    batch = batch_of([0, 1, 2])
    moved = torch.where(batch.targets.labeled[..., None], batch.targets.xy_crop, 1e6)
    norms = []
    for targets in (batch.targets, batch.targets._replace(xy_crop=moved)):
        method.zero_grad()
        norms.append(compute_gradient(LossOf(method), method, [batch._replace(targets=targets)], ALONE).norm)
    assert norms[0] == norms[1] > 0


def test_bf16_runs_the_network_in_bf16_and_the_loss_in_float32() -> None:
    seen: list[torch.dtype] = []

    class Watched(Tiny):
        def outputs_of(self, features: Features) -> Outputs:
            hidden = self.layers[2](self.layers[1](self.layers[0](features[-1])))
            seen.append(hidden.dtype)
            return super().outputs_of(features)

        def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
            seen.append(outputs["xy"].dtype)
            return super().loss(outputs, targets)

    method = Watched()
    gradient = compute_gradient(LossOf(method, "bf16"), method, [batch_of([0, 1])], ALONE)
    assert seen == [torch.bfloat16, torch.float32]
    assert gradient.finite


@pytest.mark.parametrize(("has_it", "expected"), [(True, "bf16"), (False, "float32")])
def test_cpus_without_bfloat16_run_in_float32(has_it: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has_it)
    assert usable_precision("bf16", torch.device("cpu")) == expected
    assert usable_precision("float32", torch.device("cpu")) == "float32"
    assert usable_precision("bf16", torch.device("cuda")) == "bf16"


def test_buffers_are_restored() -> None:
    method = Tiny(normalized=True)
    buffers = Buffers(method)
    method(batch_of([0, 1, 2]).images)
    buffers.keep()
    before = {name: value.clone() for name, value in method.named_buffers()}
    method(batch_of([3, 4, 5]).images)
    assert not all(torch.equal(value, before[name]) for name, value in method.named_buffers())
    buffers.restore()
    assert all(torch.equal(value, before[name]) for name, value in method.named_buffers())


def test_dropout_depends_on_seed_step_and_rank() -> None:
    draws = []
    for seed, step, rank in ((0, 1, 0), (0, 1, 0), (0, 2, 0), (0, 1, 1), (1, 1, 0)):
        seed_step(seed, step, rank)
        draws.append(torch.rand(3).tolist())
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) == 4
