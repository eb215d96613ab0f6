"""Predictions whose errors are drawn from known distributions, so that every number about them is known."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float64

from knuckle.hands import Hands

SIDE = 100.0
"""Longer side of every box, in pixels."""


def random_covariances(rng: np.random.Generator, n: int, size: float = 3.0) -> Float64[np.ndarray, "n 21 2 2"]:
    """Correlated, of many sizes and shapes, about `size` pixels across."""
    root = rng.normal(size=(n, 21, 2, 2)) * size * rng.lognormal(0, 0.5, (n, 21, 1, 1))
    return root @ np.swapaxes(root, -1, -2) + 0.3 * size**2 * np.eye(2)


def noise(
    rng: np.random.Generator, n: int, kind: Literal["gaussian", "laplace"] = "gaussian"
) -> Float64[np.ndarray, "n 21 2"]:
    """Of covariance 1. Laplace is the two-dimensional one: a normal vector times an exponential variance."""
    normal = rng.normal(size=(n, 21, 2))
    return normal if kind == "gaussian" else normal * np.sqrt(rng.exponential(1.0, (n, 21, 1)))


def stated(
    n: int,
    *,
    seed: int = 0,
    kind: Literal["gaussian", "laplace"] = "gaussian",
    too_small: Float64[np.ndarray, " 21"] | float = 1.0,
    size: float = 3.0,
) -> tuple[Hands, Hands]:
    """Predictions of n hands and their truth; errors have `too_small` times the covariance that is stated."""
    rng = np.random.default_rng(seed)
    covariance = random_covariances(rng, n, size)
    factor = np.broadcast_to(np.asarray(too_small, dtype=float), 21)
    error = (np.linalg.cholesky(covariance) @ noise(rng, n, kind)[..., None])[..., 0] * np.sqrt(factor)[:, None]
    true = Hands(
        image=[f"{row}.jpg" for row in range(n)],
        xy=rng.uniform(50, 150, (n, 21, 2)),
        visibility=np.full((n, 21), 2),
        box=np.tile([50.0, 60.0, 50 + SIDE, 140.0], (n, 1)),
        group=np.arange(n),
    )
    return true.replace(xy=true.xy - error, covariance=covariance), true
