"""Normal distributions in the plane: Mahalanobis distances, regions, and the probability of a disc.

Letters in shapes: n is any number of dimensions, also none.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from jaxtyping import Float, Float64

ANGLES: Final = 32
"""Nodes over a quarter turn in `probability_within`; the rest of the circle follows by symmetry."""


def squared_mahalanobis(
    offset: Float[np.ndarray, "*n 2"], covariance: Float[np.ndarray, "*n 2 2"]
) -> Float64[np.ndarray, "*n"]:
    """d^T C^-1 d, in float64. NaN where either has a NaN; without a positive determinant 0 for d = 0, else infinite."""
    x, y = np.moveaxis(np.asarray(offset, dtype=np.float64), -1, 0)
    xx, xy, yy = _entries(covariance)
    determinant = xx * yy - xy * xy
    top = yy * x * x - 2 * xy * x * y + xx * y * y
    regular = determinant > 0
    quotient = np.divide(top, determinant, out=np.full(top.shape, np.inf), where=regular)
    quotient = np.where(~regular & (x == 0) & (y == 0), 0.0, quotient)
    return np.asarray(np.where(np.isnan(determinant + x + y), np.nan, quotient))


def gaussian_limit(level: float) -> float:
    """The squared Mahalanobis distance below which that share of a normal distribution lies.

    The quantile of the chi-square distribution with two degrees of freedom, -2 log(1 - level).
    """
    return -2 * math.log1p(-level)


def region_area(covariance: Float[np.ndarray, "*n 2 2"], limit: Float[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    """The area of the ellipse where the squared Mahalanobis distance is at most `limit`: pi limit sqrt(det C)."""
    xx, xy, yy = _entries(covariance)
    return np.asarray(np.pi * np.asarray(limit, dtype=np.float64) * np.sqrt(np.maximum(xx * yy - xy * xy, 0)))


def probability_within(
    covariance: Float[np.ndarray, "*n 2 2"], radius: Float[np.ndarray, "*n"]
) -> Float64[np.ndarray, "*n"]:
    """The probability that a normal vector of mean 0 lies within `radius` of the origin.

    With the standard deviations a and b along the principal axes, the mean over all directions phi of
    1 - exp(-r^2 / (2 (a^2 cos^2 phi + b^2 sin^2 phi))). The midpoint rule over a period converges geometrically: the
    error is below 1e-6 for a <= 10 b. NaN where covariance or radius are NaN.
    """
    xx, xy, yy = _entries(covariance)
    middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    # cos^2 and sin^2 summed: a^2 cos^2 + b^2 sin^2 = middle + spread cos(2 phi).
    turn = np.cos((np.arange(ANGLES) + 0.5) * (np.pi / ANGLES))
    variance = np.maximum(middle[..., None] + spread[..., None] * turn, np.finfo(np.float64).tiny)
    with np.errstate(over="ignore"):
        inside = -np.expm1(-np.square(np.asarray(radius, dtype=np.float64))[..., None] / (2 * variance))
    return np.asarray(inside.mean(axis=-1))


def _entries(
    covariance: Float[np.ndarray, "*n 2 2"],
) -> tuple[Float64[np.ndarray, "*n"], Float64[np.ndarray, "*n"], Float64[np.ndarray, "*n"]]:
    """C_xx, C_xy and C_yy in float64."""
    matrix = np.asarray(covariance, dtype=np.float64)
    return matrix[..., 0, 0], (matrix[..., 0, 1] + matrix[..., 1, 0]) / 2, matrix[..., 1, 1]
