"""Objects: which there are, and how often."""

from __future__ import annotations

import numpy as np
import pytest

from knuckle.render.occluders import KINDS, OccluderRanges, draw_occluder


def test_objects_are_as_frequent_as_asked() -> None:
    ranges = OccluderRanges(held=0.2, passing=0.3)
    rng = np.random.Generator(np.random.SFC64(1))
    drawn = [draw_occluder(ranges, rng) for _ in range(600)]
    assert sum(thing is not None and thing.held for thing in drawn) / 600 == pytest.approx(0.2, abs=0.05)
    assert sum(thing is None for thing in drawn) / 600 == pytest.approx(0.5, abs=0.06)
    for thing in drawn:
        if thing is not None:
            np.testing.assert_allclose(thing.axes @ thing.axes.T, np.eye(3), atol=1e-9)
            kinds = [kind for kind in KINDS if kind.shape == thing.shape]
            assert any(kind.thickness[0] <= thing.half_axes[0] <= kind.thickness[1] for kind in kinds)
