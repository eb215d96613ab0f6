"""The named ranges of what varies from picture to picture: wrong ones are refused where they are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Range = tuple[float, float]
"""The least and the greatest value; the same twice for no variation."""


def check_ranges(
    config: object, *names: str, least: float = -math.inf, above: float = -math.inf, most: float = math.inf
) -> None:
    """See that fields are ranges: two finite numbers that ascend, within bounds.

    Args:
        config: whose fields these are.
        names: of the fields.
        least: what the lower end must reach.
        above: what the lower end must be greater than.
        most: what the upper end must not pass.

    Raises:
        ValueError: says which field, what it is and what is expected.
    """
    for name in names:
        value: Any = getattr(config, name)
        numbers = len(value) == 2 and all(math.isfinite(end) for end in value)
        if not (numbers and value[0] <= value[1] and value[0] >= least and value[0] > above and value[1] <= most):
            bounds = [
                f"from {least:g}" if least > -math.inf else "",
                f"from above {above:g}" if above > -math.inf else "",
                f"to {most:g}" if most < math.inf else "",
            ]
            _refuse(config, name, " ".join(["two numbers that ascend", *filter(None, bounds)]))


def check_numbers(config: object, *names: str, least: float = 0.0, most: float = math.inf) -> None:
    """See that fields are finite numbers within bounds; the usual ones are those of widths and strengths.

    Raises:
        ValueError: says which field, what it is and what is expected.
    """
    for name in names:
        value: Any = getattr(config, name)
        if not (math.isfinite(value) and least <= value <= most):
            _refuse(config, name, f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}")


def check_weights(config: object, *names: str) -> None:
    """See that fields, taken together or each a tuple of its own, are weights: none below 0, and not all 0.

    Raises:
        ValueError: says which fields, what they are and what is expected.
    """
    values: Sequence[Any] = [getattr(config, name) for name in names]
    flat = [weight for value in values for weight in (value if isinstance(value, tuple) else (value,))]
    if not all(math.isfinite(weight) and weight >= 0 for weight in flat) or sum(flat) <= 0:
        _refuse(config, ", ".join(names), "at least 0 each and not all 0", values[0] if len(values) == 1 else flat)


def log_uniform(bounds: Range, rng: np.random.Generator) -> float:
    """A number between two ends above 0, drawn evenly over its logarithm."""
    low, high = bounds
    return float(low * (high / low) ** rng.random())


def _refuse(config: object, name: str, expected: str, value: object = None) -> None:
    value = getattr(config, name) if value is None else value
    raise ValueError(f"{name} of {type(config).__name__} must be {expected}, but is {value}.")
