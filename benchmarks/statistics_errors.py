"""Errors as a model makes them, skewed and clustered, with a known mean: what benchmarks/statistics.py simulates.

A cluster (a pose, a video) has one to four hands; its level is log-normal, so is that of its hands around it, and the
21 keypoints of a hand scatter around the hand's level by a gamma distribution.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from jaxtyping import Float64, Int64

from knuckle.metrics import GroupSums, error_sums

MEAN: Final = 7.0
"""Mean error, px."""
MODERATE: Final = 0.5
"""Standard deviation of the logarithm of the error between clusters."""
HEAVY: Final = 0.7
"""The same for errors with a long tail: one cluster in twenty is more than three times as bad as the median."""
WITHIN: Final = 0.3
"""The same between the hands of a cluster."""


def hands_of(
    rng: np.random.Generator,
    clusters: int,
    sd: float = MODERATE,
    *,
    factor: float = 1.0,
    most: int = 4,
    failing: float = 0.0,
) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Mean errors over the keypoints of hands, px, and the cluster of each; one to `most` hands a cluster.

    A cluster fails with the probability `failing`; its errors are then four times as large.
    """
    cluster = np.repeat(np.arange(clusters), rng.integers(1, most + 1, clusters))
    level = np.exp(sd * rng.normal(size=clusters))[cluster] * np.exp(WITHIN * rng.normal(size=len(cluster)))
    if failing:
        level = level * np.where(rng.random(clusters) < failing, 4.0, 1.0)[cluster]
    scale = factor * MEAN * math.exp(-(sd**2 + WITHIN**2) / 2) / (1 + 3 * failing)
    return scale * level * rng.gamma(2.0, 0.5, (len(cluster), 21)).mean(axis=1), cluster


def cluster_sums(rng: np.random.Generator, clusters: int, sd: float = MODERATE, *, factor: float = 1.0) -> GroupSums:
    """The same, summed over clusters."""
    errors, cluster = hands_of(rng, clusters, sd, factor=factor)
    return error_sums(errors, cluster)
