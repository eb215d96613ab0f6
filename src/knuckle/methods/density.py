"""Methods whose density of errors is a flow's: the flow is measured before it is used, and its regions are known.

Letters in shapes: n points, t levels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import torch
from jaxtyping import Float
from torch import Tensor

from knuckle.methods.base import Method

DRAWS: Final = 50_000
"""Points drawn from a density to find its regions: their shares then err by 0.0014 (one standard error, at 0.9)."""


class Density(NamedTuple):
    """The density of eps = (x - mu) / (S sigma) that a method predicts of the truth x.

    Attributes:
        log_prob: its logarithm at (n, 2), up to a constant.
        eps: (n, 2) float64, points drawn from it, or from another density whose quotient `weight` is.
        weight: (n,), of sum 1.
        point: (2,), which eps the decoded keypoint is: 0 where it is mu.
        mean: (2,), of eps.
        covariance: (2, 2), of eps; the decoded covariance is diag(S sigma) times it times diag(S sigma).
    """

    log_prob: Callable[[Tensor], Tensor]
    eps: Float[Tensor, "n 2"]
    weight: Float[Tensor, " n"]
    point: Float[Tensor, " 2"]
    mean: Float[Tensor, " 2"]
    covariance: Float[Tensor, "2 2"]


class FlowMethod(Method):
    """A method that decodes with the moments of its flows.

    The moments follow from the weights and are not saved with them; they are brought up to date when the method is
    put into evaluation mode and when weights are loaded.
    """

    @abstractmethod
    def measure_flow(self) -> None:
        """Bring the buffers that hold the flows' moments up to date.

        They are computed in float64 on the CPU, so that equal weights give equal numbers on every device.
        """

    @abstractmethod
    def density(self) -> Density | None:
        """The density behind the decoded keypoints, on the CPU; None where this model's loss has none."""

    def train(self, mode: bool = True) -> Self:
        """Into training mode, or into evaluation mode with the flows measured."""
        super().train(mode)
        if not mode:
            self.measure_flow()
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As any module's; the flows are measured afterwards."""
        keys = super().load_state_dict(state_dict, strict, assign)
        self.measure_flow()
        return keys


def scaled_covariance(sigma: Float[Tensor, "*n 2"], covariance: Float[Tensor, "*n 2 2"]) -> Float[Tensor, "*n 2 2"]:
    """The covariance of sigma eps from that of eps: diag(sigma) Cov(eps) diag(sigma)."""
    return covariance * (sigma.unsqueeze(-1) * sigma.unsqueeze(-2))


@torch.no_grad()
def highest_density_limits(density: Density, levels: Sequence[float]) -> Float[Tensor, " t"]:
    """For each level the log density above which that share of the probability lies.

    {eps: log_prob(eps) >= limit} is the smallest region of that probability (Hyndman, The American Statistician 1996).
    """
    log_prob, order = density.log_prob(density.eps).sort(descending=True)
    mass = density.weight[order].cumsum(0)
    # The sum of all weights may end a rounding error below 1.
    place = torch.searchsorted(mass, torch.tensor(levels, dtype=mass.dtype)).clamp(max=len(mass) - 1)
    return log_prob[place]
