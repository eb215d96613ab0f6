"""The hand head: from a network's feature map, whether it shows a hand, and which one.

Two logistic regressions on a pooled feature map. They are fitted after the network, which does not change, so any
trained network can have them and no keypoint moves; `knuckle.evaluate.hand_head` does that. The fit is convex: one
minimum, the same from any start.

A picture and its mirror image answer the first question alike and the second one with opposite signs. Both are in the
fit; averaged over both, as in the flip test, the answer is exactly so.

A network that learns from mirrored crops need not tell sides apart, and its features hardly do. `SideLesson` teaches it
to while it is trained; the head is fitted afterwards all the same.

Letters in shapes: B crops, C channels, D pooled features.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor, nn

GRID: Final = 2
"""Cells along each axis of a feature map over which a head averages."""

HAND: Final = 0
LEFT: Final = 1
"""The columns of the logits."""


class HandHead(nn.Module):
    """Says of feature maps how probably they show a hand, and how probably a left one if it is one.

    Its weights are buffers: training the network leaves them alone.

    Args:
        channels: C of the feature map.
        grid: cells along each axis over which channels are averaged; the largest value of each channel is added.

    Attributes:
        weight: (2, D) float32 of `pool`'s features; a row a question.
        bias: (2,) float32.
    """

    def __init__(self, channels: int, grid: int) -> None:
        super().__init__()
        self.channels = channels
        self.grid = grid
        self.register_buffer("weight", torch.zeros(2, channels * (grid**2 + 1)))
        self.register_buffer("bias", torch.zeros(2))

    def forward(self, features: Float[Tensor, "B C rows columns"]) -> Float[Tensor, "B 2"]:
        """The logits of "a hand" and, given one, of "a left one"; in float32 under autocast, too."""
        with torch.autocast(features.device.type, enabled=False):
            pooled = pool(features.float(), self.grid)
            return pooled @ self.get_buffer("weight").T + self.get_buffer("bias")

    def to_dict(self) -> dict[str, int]:
        """How to build it, in types that JSON has."""
        return {"channels": self.channels, "grid": self.grid}


class SideLesson(nn.Module):
    """Teaches a network left from right beside its keypoints: a linear layer on the pooled feature map, for training.

    Args:
        channels: C of the feature map.
        weight: how much its loss counts beside that of the keypoints.
    """

    def __init__(self, channels: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.layer = nn.Linear(channels * (GRID**2 + 1), 1)

    def forward(self, features: Float[Tensor, "B C rows columns"], left: Float[Tensor, " B"]) -> Float[Tensor, ""]:
        """The weighted mean over crops of the cross-entropy of the side, in float32; 0 for a hand of unknown side.

        Args:
            features: of crops.
            left: 1 a left hand, 0 a right one, NaN unknown.
        """
        with torch.autocast(features.device.type, enabled=False):
            logits = self.layer(pool(features.float(), GRID)).squeeze(1)
            known = ~left.isnan()
            answer = torch.where(known, left, 0.5)
            each = nn.functional.binary_cross_entropy_with_logits(logits, answer, reduction="none")
            return self.weight * torch.where(known, each, 0.0).mean()


def pool(features: Float[Tensor, "B C rows columns"], grid: int) -> Float[Tensor, "B D"]:
    """The mean of every channel in each of grid x grid cells, row by row, then its largest value.

    Cells are equal parts of the map; a feature that two cells share counts in both by its part.
    """
    rows, columns = (_parts(int(count), grid).to(features) for count in features.shape[-2:])
    means = rows @ features @ columns.T
    return torch.cat([means.flatten(1), features.flatten(2).amax(dim=-1)], dim=1)


def unmirror_logits(logits: Float[Tensor, "B 2"]) -> Float[Tensor, "B 2"]:
    """The logits of mirrored crops, turned into what the unmirrored crops would give."""
    return logits * logits.new_tensor([1.0, -1.0])


def _parts(count: int, grid: int) -> Float[Tensor, "grid count"]:
    """What part of each of `count` features lies in each of `grid` cells, over the cell's size."""
    edges = torch.arange(grid + 1) * (count / grid)
    left = torch.arange(count).float()
    shared = torch.minimum(edges[1:, None], left + 1) - torch.maximum(edges[:-1, None], left)
    return shared.clamp(min=0) * (grid / count)


def fit_logistic(
    features: Float64[np.ndarray, "n D"],
    answer: Float64[np.ndarray, " n"],
    weight: Float64[np.ndarray, " n"],
    penalty: float,
) -> tuple[NDArray[np.float64], float]:
    """The ridge-penalised logistic regression of standardised features, as factors of the features as they are.

    Minimises sum_i w_i log(1 + exp(-s_i z_i)) / sum_i w_i + penalty / 2 |beta|^2 with z = a + x beta, where x are the
    features less their mean over their standard deviation, and s is 1 for "yes" and -1 for "no".

    Args:
        features: one row a crop.
        answer: 1 "yes", 0 "no".
        weight: how much each row counts.
        penalty: on the squared factors; above 0 there is one minimum.

    Returns:
        Factors (D,) and constant: the logit is constant + features @ factors.
    """
    from scipy.optimize import minimize

    share = weight / weight.sum()
    mean = share @ features
    spread = np.sqrt(share @ (features - mean) ** 2)
    # A feature that never changes says nothing, and its factor stays 0.
    scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 1e-9 * (1 + np.abs(mean)))
    standard = (features - mean) * scale
    sign = 2 * answer - 1

    def loss(factors: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        beta, constant = factors[:-1], factors[-1]
        margin = sign * (standard @ beta + constant)
        slope = -share * sign * np.exp(-np.logaddexp(0, margin))
        value = share @ np.logaddexp(0, -margin) + penalty / 2 * beta @ beta
        return float(value), np.append(standard.T @ slope + penalty * beta, slope.sum())

    start = np.zeros(standard.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000, "ftol": 1e-10})
    factors = found.x[:-1] * scale
    return factors, float(found.x[-1] - mean @ factors)
