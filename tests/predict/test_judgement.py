"""A detector's and a hand head's scores as one probability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knuckle.predict.judgement import HEAD_ALONE, Judgement, logit

PROBABILITY = st.floats(1e-5, 1 - 1e-5)


@given(PROBABILITY)
def test_log_odds_are_those_of_the_logistic_function(probability: float) -> None:
    [odds] = logit(np.array([probability]))
    assert 1 / (1 + np.exp(-odds)) == pytest.approx(probability, rel=1e-9)


def test_certainty_has_finite_log_odds() -> None:
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()


def test_by_default_the_head_alone_decides() -> None:
    head = np.array([0.2, 0.5, 1.0], np.float32)
    np.testing.assert_array_equal(HEAD_ALONE.probability(np.array([1.0, 0.0, 0.5]), head), head)


@given(PROBABILITY, PROBABILITY)
def test_two_independent_witnesses_multiply_their_odds(detector: float, head: float) -> None:
    [both] = Judgement(1, 1, 0).probability(np.array([detector]), np.array([head]))
    hand, none = detector * head, (1 - detector) * (1 - head)
    assert both == pytest.approx(hand / (hand + none), rel=1e-4)


def test_a_certain_head_lifts_what_the_detector_doubts_and_no_other() -> None:
    judgement = Judgement(3, 1, 0)
    low = judgement.probability(np.array([0.2, 0.2, 0.6]), np.array([0.9999, 0.7, 0.4]))
    np.testing.assert_array_equal(low >= 0.5, [True, False, True])
