"""The moving average of weights against its recursion."""

from __future__ import annotations

import torch
from torch import nn

from knuckle.train.ema import MovingAverage


def test_the_average_follows_the_recursion_with_buffers() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    average = MovingAverage(net, decay=0.5)
    names = ("0.weight", "1.running_mean")
    expected = {name: net.state_dict()[name].double() for name in names}
    for step in range(1, 30):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        net(torch.randn(4, 3) + 2)
        average.update(net, step)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = {name: keep * expected[name] + (1 - keep) * net.state_dict()[name].double() for name in names}
    state = average.network.state_dict()
    for name in names:
        torch.testing.assert_close(state[name].double(), expected[name], rtol=1e-5, atol=1e-6)
    assert state["1.num_batches_tracked"] == net.state_dict()["1.num_batches_tracked"] == 29
    assert not average.network.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
