"""Whether a box shows a hand: what the detector and the network's hand head say of it, as one probability.

They see different things, the detector the whole frame and the head a crop at its full size, so they err on different
boxes, and together they find more hands at fewer false ones than either alone (docs/models/detector.md has numbers).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Float32

LEAST_SCORE: Final = 0.5
"""Below this probability a box shows no hand."""
_CERTAIN: Final = 1e-6
"""Probabilities nearer to 0 or 1 are taken for this one, whose log-odds are finite."""


class Judgement(NamedTuple):
    """How two scores become one: log-odds = detector * logit(detector's score) + head * logit(head's) + offset.

    The defaults leave the decision to the head, for detectors whose scores mean nobody knows what.

    Attributes:
        detector: weight of the detector's score.
        head: weight of the hand head's.
        offset: added to both.
    """

    detector: float = 0.0
    head: float = 1.0
    offset: float = 0.0

    def probability(
        self, detector_score: Float[np.ndarray, " m"], head_score: Float[np.ndarray, " m"]
    ) -> Float32[np.ndarray, " m"]:
        """The probability that each of m boxes shows a hand; the head's as it is where the detector has no say."""
        if self == HEAD_ALONE:
            return np.asarray(head_score, dtype=np.float32)
        odds = self.detector * logit(detector_score) + self.head * logit(head_score) + self.offset
        return np.asarray(1 / (1 + np.exp(-odds)), dtype=np.float32)


HEAD_ALONE: Final = Judgement()


def logit(probability: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """The logarithm of p / (1 - p), finite for 0 and 1 as well."""
    inside = np.clip(np.asarray(probability, dtype=np.float64), _CERTAIN, 1 - _CERTAIN)
    return np.asarray(np.log(inside / (1 - inside)))
