"""Error against training share, with SciPy and NumPy as oracles."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from knuckle.study.training_share import training_share
from tests.study.test_evidence import hands_with_errors

COUNTS = np.zeros(25, dtype=np.int64)
COUNTS[:6] = (10, 20, 30, 40, 60, 40)
ERRORS = (9.0, 8.5, 6.0, 7.0, 3.0, 5.0)


def test_rho_and_slope_are_those_of_scipy_and_numpy() -> None:
    pair = hands_with_errors({gesture: [error] for gesture, error in enumerate(ERRORS)})
    found = training_share(COUNTS, {"base hands": pair}, range(6))
    shares = COUNTS[:6] / 200
    assert [row.share for row in found.rows] == pytest.approx(shares.tolist())
    relation = found.relations["base hands"]
    assert relation.rank.rho == pytest.approx(stats.spearmanr(shares, ERRORS).statistic)
    slope = np.polyfit(100 * shares, np.array(ERRORS) / 100, 1)[0]
    assert relation.slope.estimate == pytest.approx(slope, rel=1e-3)
    assert relation.slope.low < slope < relation.slope.high < 0
    assert "larger errors go with smaller shares" in found.sentences()[0]
    assert found.rows[0].record()["nme_base_hands"] == pytest.approx(0.09, rel=1e-4)


def test_too_few_gestures_or_none_is_said() -> None:
    pair = hands_with_errors({0: [1.0], 1: [2.0]})
    found = training_share(COUNTS, {"base hands": pair}, (0, 1))
    assert found.relations == {}
    assert "there are fewer" in found.sentences()[0]
    with pytest.raises(ValueError, match="no hand of the training set has a gesture"):
        training_share(np.zeros(25, dtype=np.int64), {"base hands": pair}, (0, 1))
