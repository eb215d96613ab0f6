"""The mirror benchmark pairs hands as they lie, and counts those that have no partner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.mirror import found_distances
from knuckle.geometry import CropRule
from knuckle.predict import Predictor
from tests.predict.centroid import TwoTone, light_at


class Brightest:
    """A detector that sees two hands, or the left one alone where the left half is the darker one."""

    def detect(self, images: Sequence[NDArray[np.uint8]], /) -> list[Any]:
        boxes = [(40.0, 100.0, 80.0, 140.0), (143.0, 100.0, 183.0, 140.0)]
        seen = 1 if images[0][:, :112].max() < images[0][:, 112:].max() else 2
        return [(boxes[:seen], [0.9, 0.8][:seen])]


@pytest.mark.parametrize("flip_test", [False, True])
def test_hands_are_paired_as_they_lie(flip_test: bool) -> None:
    image = np.maximum(light_at((60, 120), (224, 224)), light_at((163, 120), (224, 224)) // 2)
    image[:, 4:, 1] = image[:, :-4, 0]
    dark = np.zeros((224, 224, 3), np.uint8)
    model = Predictor(TwoTone(), CropRule(size=64), flip_test=flip_test, detector=Brightest())
    distance, alone = found_distances(model, [image, image])
    assert (len(distance), alone) == ((4, 0) if flip_test else (2, 2))
    assert distance.max() < 0.05, "those that lie at the same place"
    nothing, alone = found_distances(Predictor(TwoTone(), CropRule(size=64), detector=Nobody()), [dark])
    assert (nothing.shape, alone) == ((0, 21), 0)


class Nobody:
    def detect(self, images: Sequence[NDArray[np.uint8]], /) -> list[Any]:
        return [([], [])]
