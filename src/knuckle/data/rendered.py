"""Rendered hands as training data: a table whose pictures are made when they are asked for, anew in each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from jaxtyping import UInt8

from knuckle.hands import Hands
from knuckle.render.config import SceneConfig
from knuckle.render.dataset import render_batches
from knuckle.render.labels import Labels

TOGETHER: Final = 64
"""Hands rendered at a time at most, which bounds the memory: 0.5 GiB for pictures of 256 x 256 pixels."""


@dataclass(frozen=True)
class RenderedHands:
    """`count` hands an epoch. Row r of epoch e is hand e * count + r of one sequence, so none comes twice.

    Attributes:
        count: hands of an epoch.
        seed: of the sequence.
        size: side of the pictures, pixels.
        config: what varies from hand to hand.
        device: where they are rendered, as PyTorch names it. On the CPU a hand is the same, to the last bit, in
            any batch and any process.
    """

    count: int
    seed: int = 0
    size: int = 256
    config: SceneConfig = field(default_factory=SceneConfig)
    device: str = "cpu"

    def __len__(self) -> int:
        return self.count

    def render(self, rows: Sequence[int], epoch: int = 0) -> tuple[UInt8[np.ndarray, "n size size 3"], Hands]:
        """Pictures of some rows of an epoch, at least one, and a table of their labels in the same order.

        Raises:
            ValueError: a number is out of range, or a background photo cannot be used.
        """
        numbers = self._numbers(rows, epoch)
        made = render_batches(numbers, self.seed, self.size, config=self.config, device=self.device, batch=TOGETHER)
        images, labels = zip(*made, strict=True)
        return np.concatenate(images), Labels.concat(labels).hands(self.names(rows, epoch))

    def names(self, rows: Sequence[int], epoch: int = 0) -> list[str]:
        """What to call the pictures of some rows in a message: they have no file."""
        return [f"hand {number} of rendered sequence {self.seed}" for number in self._numbers(rows, epoch)]

    def _numbers(self, rows: Sequence[int], epoch: int) -> list[int]:
        return [epoch * self.count + row for row in rows]
