"""An exponential moving average of a network's weights: steadier than the last step's."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class MovingAverage(Generic[Network]):
    """A second network whose weights and buffers follow the first one's.

    After step t (from 1) the average moves by 1 - min(decay, (1 + t) / (10 + t)) towards the
    network: the rising decay lets early, random weights be forgotten quickly. Integer buffers are
    copied.

    Attributes:
        network: the averaged network, without gradients and in evaluation mode.
        decay: the share of the average that a step keeps.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network: Network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: Network, step: int) -> None:
        """Move towards `network` after its step number `step`, counted from 1."""
        towards = 1 - min(self.decay, (1 + step) / (10 + step))
        current = network.state_dict()
        for name, average in self.network.state_dict().items():
            if average.is_floating_point():
                average.lerp_(current[name], towards)
            else:
                average.copy_(current[name])
