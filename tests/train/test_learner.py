"""A compiled network takes the step that it takes without."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from knuckle.geometry import CropRule
from knuckle.methods.base import Targets
from knuckle.methods.weights import ModelSpec, build
from knuckle.train.distributed import Team
from knuckle.train.learner import start, take_step
from knuckle.train.recipe import Training
from tests.train.test_steps import batch_of

ALONE = Team(0, 1, torch.device("cpu"))
SIDE = 32


def test_a_compiled_network_takes_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyTorch's compiler traces it; the code that it would write for a device is left to PyTorch's own tests."""
    traced = partial(nn.Module.compile, backend="eager", fullgraph=True)
    monkeypatch.setattr(nn.Module, "compile", lambda module: traced(module))
    plain, compiled = (weights_after_a_step(is_compiled) for is_compiled in (False, True))
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, msg=name)


def weights_after_a_step(is_compiled: bool) -> dict[str, Tensor]:
    torch.manual_seed(0)
    network = build(ModelSpec("sequential", "test_resnet", CropRule(size=SIDE), {"stages": 2, "width": 8}))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    batch = batch_of([0, 1, 2])
    images = batch.images.repeat_interleave(SIDE // 16, dim=-1).repeat_interleave(SIDE // 16, dim=-2)
    batch = batch._replace(images=images, targets=Targets(batch.targets.xy_crop * 2, batch.targets.labeled))
    training = Training(compile=is_compiled, learning_rate=1e-2)
    learner = start(network, training, ALONE)
    assert take_step(learner, [batch], training, 10, ALONE).finite
    after = {name: value.clone() for name, value in learner.method.state_dict().items()}
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
    return after
