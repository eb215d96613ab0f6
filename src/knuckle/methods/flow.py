"""A normalising flow on the plane: the density of a keypoint's error in units of its sigma.

RealNVP (Dinh et al., ICLR 2017) in the size of "Human Pose Regression with Residual Log-Likelihood
Estimation" (RLE; Li et al., ICCV 2021): 6 affine couplings on R^2, each with two networks of
2 - 64 - 64 - 2 units, 53,784 parameters in all.

Letters in shapes: n points.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

REACH: Final = 6.0
"""The quadrature covers the prior to this many standard deviations; 4e-9 of its mass lies beyond."""

STEP: Final = 0.25
"""Distance of the quadrature's nodes in standard deviations of the prior."""


class RealNVP(nn.Module):
    """An invertible map from N(0, I) on R^2 to a learned density.

    A coupling keeps one coordinate and moves the other by a factor and a shift that are functions of the
    kept one; the couplings take turns. A tanh bounds the logarithm of each factor to -1..1. At first the
    map is nearly the identity. As published, each network has an input and an output for either coordinate,
    one of which is masked. Everything computes in the dtype of the parameters, under autocast too.

    Args:
        couplings: how many; in `forward` the first moves x, the second y, and so on.
        width: units of the hidden layers.
    """

    def __init__(self, couplings: int = 6, width: int = 64) -> None:
        super().__init__()
        self.log_scales = nn.ModuleList(nn.Sequential(*_layers(width), nn.Tanh()) for _ in range(couplings))
        self.shifts = nn.ModuleList(nn.Sequential(*_layers(width)) for _ in range(couplings))
        moved = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(couplings, 1)[:couplings]
        self.register_buffer("moved", moved, persistent=False)

    def forward(self, z: Float[Tensor, "*n 2"]) -> tuple[Float[Tensor, "*n 2"], Float[Tensor, "*n"]]:
        """The points x of prior points z, and log |det dx/dz|."""
        with torch.autocast(z.device.type, enabled=False):
            x, log_determinant = self._start(z)
            for number in range(len(self.shifts)):
                log_scale, shift = self._coupling(number, x)
                x = x * log_scale.exp() + shift
                log_determinant = log_determinant + log_scale.sum(dim=-1)
        return x, log_determinant

    def inverse(self, x: Float[Tensor, "*n 2"]) -> tuple[Float[Tensor, "*n 2"], Float[Tensor, "*n"]]:
        """The prior points z of points x, and log |det dz/dx|."""
        with torch.autocast(x.device.type, enabled=False):
            z, log_determinant = self._start(x)
            for number in reversed(range(len(self.shifts))):
                log_scale, shift = self._coupling(number, z)
                z = (z - shift) * (-log_scale).exp()
                log_determinant = log_determinant - log_scale.sum(dim=-1)
        return z, log_determinant

    def log_prob(self, x: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n"]:
        """The logarithm of the density at x."""
        z, log_determinant = self.inverse(x)
        return log_determinant - 0.5 * z.square().sum(dim=-1) - math.log(2 * math.pi)

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator | None = None) -> Float[Tensor, "count 2"]:
        """Points drawn from the density; `generator` must live on the flow's device."""
        like = self.get_buffer("moved")
        x: Tensor = self(torch.randn(count, 2, generator=generator, device=like.device, dtype=like.dtype))[0]
        return x

    @torch.no_grad()
    def quadrature(self) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
        """Points and weights, of sum 1, whose weighted sums are expectations under the density.

        The points are the images of a regular grid in the prior's space, the weights the prior's density there.
        """
        like = self.get_buffer("moved")
        axis = torch.arange(-REACH, REACH + STEP / 2, STEP, device=like.device, dtype=like.dtype)
        z = torch.cartesian_prod(axis, axis)
        x: Tensor = self(z)[0]
        return x, (-0.5 * z.square().sum(dim=-1)).softmax(dim=0)

    def _start(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The points in the flow's dtype, and a logarithmic determinant of 0 for each."""
        points = points.to(self.get_buffer("moved").dtype)
        return points, torch.zeros_like(points[..., 0])

    def _coupling(self, number: int, points: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithmic scale and shift (..., 2) of a coupling, both 0 for the coordinate that it keeps.

        They depend on the kept coordinate alone, so they are the same before and after the coupling.
        """
        moved = self.get_buffer("moved")[number]
        kept = points * (1 - moved)
        return self.log_scales[number](kept) * moved, self.shifts[number](kept) * moved


def moments(
    points: Float[Tensor, "n 2"], weight: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " 2"], Float[Tensor, "2 2"]]:
    """Mean and covariance of weighted points; the weights sum to 1."""
    mean = weight @ points
    centered = points - mean
    return mean, (centered * weight.unsqueeze(-1)).T @ centered


def _layers(width: int) -> list[nn.Module]:
    """2 - width - width - 2 units with leaky ReLU, initialised to give nearly 0."""
    linear = [nn.Linear(2, width), nn.Linear(width, width), nn.Linear(width, 2)]
    for layer in linear:
        nn.init.xavier_uniform_(layer.weight, gain=0.01)
        nn.init.zeros_(layer.bias)
    return [linear[0], nn.LeakyReLU(), linear[1], nn.LeakyReLU(), linear[2]]
