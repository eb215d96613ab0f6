"""Metrics on two `Hands`, predictions and truth, and the uncertainty of those metrics.

NumPy is all that metrics and intervals need. Equivalence, power and the chi-square test look distributions up in SciPy.
"""

from knuckle.metrics.breakdown import Breakdown, Row, breakdown
from knuckle.metrics.conformal import Calibration
from knuckle.metrics.differences import (
    Dilution,
    dilution,
    mean_difference,
    paired_difference,
    stratified_difference,
)
from knuckle.metrics.equivalence import Equivalence, equivalence, paired_equivalence
from knuckle.metrics.errors import auc, epe, errors, nme, pck, pck_curve
from knuckle.metrics.imbalance import Balance, RankCorrelation, balance, rank_correlation
from knuckle.metrics.multiplicity import holm, reachable
from knuckle.metrics.permutation import (
    Permutation,
    paired_permutation_test,
    permutation_test,
    smallest_p,
    stratified_permutation_test,
)
from knuckle.metrics.power import Photos, detectable_shift, photos_needed, power, simulated_power
from knuckle.metrics.shrinkage import Pooled, Shrunk, between_variance, pooled_differences, shrink
from knuckle.metrics.statistics import MIN_GROUPS, GroupSums, Interval, cluster_bootstrap, error_sums, sum_by_group

__all__ = [
    "MIN_GROUPS",
    "Balance",
    "Breakdown",
    "Calibration",
    "Dilution",
    "Equivalence",
    "GroupSums",
    "Interval",
    "Permutation",
    "Photos",
    "Pooled",
    "RankCorrelation",
    "Row",
    "Shrunk",
    "auc",
    "balance",
    "between_variance",
    "breakdown",
    "cluster_bootstrap",
    "detectable_shift",
    "dilution",
    "epe",
    "equivalence",
    "error_sums",
    "errors",
    "holm",
    "mean_difference",
    "nme",
    "paired_difference",
    "paired_equivalence",
    "paired_permutation_test",
    "pck",
    "pck_curve",
    "permutation_test",
    "photos_needed",
    "pooled_differences",
    "power",
    "rank_correlation",
    "reachable",
    "shrink",
    "simulated_power",
    "smallest_p",
    "stratified_difference",
    "stratified_permutation_test",
    "sum_by_group",
]
