"""Gauss' quadrature over the residual distributions of RLE, which shares nothing with how the method integrates."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def residual_quadrature(residual: str) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
    """Points and weights for integrals of functions times Q, where Q is exp(-|x| - |y|) or exp(-(x^2 + y^2) / 2).

    Gauss' rules of Laguerre, on each half of an axis, and of Hermite; they are exact for polynomials of degree 63
    on each half, and 127. A flow that narrows to less than their gaps slips through.
    """
    if residual == "laplace":
        half, weight = np.polynomial.laguerre.laggauss(32)
        axis, weight = np.concatenate([-half[::-1], half]), np.concatenate([weight[::-1], weight])
    else:
        axis, weight = np.polynomial.hermite_e.hermegauss(64)
    nodes = torch.cartesian_prod(*[torch.from_numpy(axis)] * 2)
    return nodes, torch.cartesian_prod(*[torch.from_numpy(weight)] * 2).prod(dim=-1)
