"""The regions of a flow's own density: how many true keypoints they hold before any calibration.

A flow method predicts the density of mu + S sigma eps, which need not be normal. Its region of level q is the smallest
one of that probability: where the density is highest. Scaling eps by sigma multiplies the density by a constant, so one
limit of the density of eps serves all keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from knuckle.hands import Hands
from knuckle.methods.density import Density, FlowMethod, highest_density_limits
from knuckle.metrics.calibration import LEVELS, RESAMPLES, Coverage, coverage
from knuckle.metrics.errors import check_same_hands
from knuckle.predict.engine import Engine
from knuckle.predict.torch_engine import TorchEngine
from knuckle.skeleton import NUM_JOINTS


def density_of(engine: Engine) -> Density | None:
    """The density that an engine's method predicts with; None where it predicts none, or is not at hand as in ONNX."""
    method = engine.method if isinstance(engine, TorchEngine) else None
    return method.density() if isinstance(method, FlowMethod) else None


def mean_shift(density: Density) -> tuple[float, float]:
    """How far the density's mean lies from the decoded keypoint, in its standard deviations along x and y.

    Regions around the keypoint are off-centre by so much; 0 with the decoder "mean".
    """
    x, y = ((density.mean - density.point) / density.covariance.diagonal().sqrt()).tolist()
    return x, y


def density_coverage(
    density: Density,
    pred: Hands,
    true: Hands,
    levels: Sequence[float] = LEVELS,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Coverage, ...]:
    """The share of true keypoints in the highest-density regions of a flow method's predictions.

    eps follows from the predicted positions and variances, as crops are cut along the image's axes.

    Args:
        density: of the network that predicted.
        pred: its predictions without calibration and without the flip test, which averages two densities.
        true: the truth, row by row the same hands.
        levels: of the regions.
        resamples: of the bootstrap behind the intervals.
        seed: of the bootstrap.

    Returns:
        As `metrics.calibration.coverage`.

    Raises:
        ValueError: the two do not describe the same hands.
    """
    check_same_hands(pred, true)
    assert pred.covariance is not None, "a method with a density gives covariances"
    variance = np.diagonal(pred.covariance.astype(np.float64), axis1=-2, axis2=-1)
    sigma = np.sqrt(variance / density.covariance.diagonal().numpy())
    eps = (true.xy.astype(np.float64) - pred.xy) / sigma + density.point.numpy()
    known = np.isfinite(eps).all(axis=-1)
    score = np.full(known.shape, np.nan)
    with torch.no_grad():
        score[known] = -density.log_prob(torch.from_numpy(eps[known])).numpy()
        limits = -highest_density_limits(density, levels).numpy()
    tiled = np.tile(limits[:, None], (1, NUM_JOINTS))
    return coverage(score, tiled, levels, true.group, resamples=resamples, seed=seed)
