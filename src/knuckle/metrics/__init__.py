"""Metrics on two `Hands`, predictions and truth, and the uncertainty of those metrics. NumPy is all it needs."""

from knuckle.metrics.breakdown import Breakdown, Row, breakdown
from knuckle.metrics.errors import auc, epe, errors, nme, pck, pck_curve
from knuckle.metrics.statistics import Interval, cluster_bootstrap

__all__ = [
    "Breakdown",
    "Interval",
    "Row",
    "auc",
    "breakdown",
    "cluster_bootstrap",
    "epe",
    "errors",
    "nme",
    "pck",
    "pck_curve",
]
