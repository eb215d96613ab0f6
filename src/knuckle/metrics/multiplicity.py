"""Corrections for asking many questions at once: 25 gestures are 25 chances of a false alarm."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike


def holm(p: ArrayLike) -> Float64[np.ndarray, " n"]:
    """Adjusted p-values by Holm (1979), "A simple sequentially rejective multiple test procedure".

    With p sorted upwards, adjusted_i = max over j <= i of min(1, (m - j + 1) p_j). Rejecting where the adjusted value
    is at most 0.05 keeps the chance of even one false alarm among the m tests at 5 %, however they depend on one
    another.

    Args:
        p: (n,) p-values; NaN for a test that could not be made, which stays NaN and does not count in m.

    Raises:
        ValueError: not one-dimensional, or a value outside 0..1.
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or ((values < 0) | (values > 1)).any():
        raise ValueError(f"Holm's correction needs p-values (n,) within 0..1, got {values}.")
    made = np.flatnonzero(~np.isnan(values))
    order = made[np.argsort(values[made], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(values.shape, np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return adjusted


def reachable(smallest: ArrayLike, alpha: float = 0.05) -> Bool[np.ndarray, " n"]:
    """Which tests Holm's correction could call out at all: those that it does where every p is as small as it can be.

    An adjusted value falls if any p falls, so this is the best case of each test. A test whose smallest p exceeds
    alpha / n may still be reached, once others are rejected before it: it then meets a later step of the procedure.

    Args:
        smallest: (n,) the smallest p-value that each test can give, such as `smallest_p`; NaN for a test that cannot
            be made, which is out of reach and does not count in n.
        alpha: error rate of the whole family.

    Raises:
        ValueError: see `holm`.
    """
    best = holm(smallest)
    return np.asarray(best <= alpha)  # False for NaN
