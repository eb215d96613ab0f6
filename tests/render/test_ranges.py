"""What varies is refused where it is written, in one sentence that names the field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from knuckle.render import SceneConfig
from knuckle.render.backgrounds import Photos, Procedural
from knuckle.render.companions import Companions
from knuckle.render.config import Framing, Lens, Lights, Skin, Sleeves, Viewpoints, WholeScenes
from knuckle.render.jewelry import Jewelry
from knuckle.render.occluders import OccluderRanges
from knuckle.render.ranges import log_uniform
from knuckle.render.sensor import SensorRanges

NAN = float("nan")


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (
            lambda: Viewpoints(0, 0, 0, 0),
            "egocentric, facing, overhead, oblique of Viewpoints must be at least 0 each and",
        ),
        (lambda: Viewpoints(facing=-0.1), "of Viewpoints must be at least 0 each and not all 0"),
        (lambda: Viewpoints(forearm=180), "forearm of Viewpoints must be from 0 to 150, but is 180"),
        (lambda: Viewpoints(spread=NAN), "spread of Viewpoints must be at least 0, but is nan"),
        (
            lambda: Lens(distance=(0, 0)),
            r"distance of Lens must be two numbers that ascend from above 0, but is \(0, 0\)",
        ),
        (lambda: Lens(distortion=(0.1, -0.1)), "distortion of Lens must be two numbers that ascend, but is"),
        (lambda: Framing(fill=(0.9, 0.5)), "fill of Framing must be two numbers that ascend from above 0 to 1"),
        (lambda: Framing(fill=(1.2, 1.5)), "fill of Framing"),
        (lambda: Framing(truncated=2), "truncated of Framing must be from 0 to 1"),
        (lambda: Skin(veins=(0, 2)), "veins of Skin must be two numbers that ascend from 0 to 1"),
        (lambda: Sleeves(probability=-1), "probability of Sleeves"),
        (lambda: Lights(lamp=(-1, 1)), "lamp of Lights must be two numbers that ascend from 0, but"),
        (lambda: WholeScenes(hands=()), r"hands of WholeScenes must be at least 0 each and not all 0, but is \(\)"),
        (lambda: WholeScenes(angle=(30, 180)), "angle of WholeScenes"),
        (lambda: WholeScenes(distractors=(3, 1)), "distractors of WholeScenes"),
        (lambda: SceneConfig(left_hands=1.5), "left_hands of SceneConfig must be from 0 to 1"),
        (lambda: SceneConfig(shape=-1), "shape of SceneConfig must be at least 0"),
        (lambda: Companions(beside=0, before=0, behind=0, clasped=0), "clasped of Companions must be at least 0 each"),
        (lambda: Companions(gap=(5, 1)), "gap of Companions"),
        (lambda: Jewelry(fingers=(0, 0, 0, 0, 0)), "fingers of Jewelry"),
        (lambda: Jewelry(case=(0, 3)), "case of Jewelry must be two numbers that ascend from above 0"),
        (lambda: OccluderRanges(held=2), "held of OccluderRanges must be from 0 to 1"),
        (lambda: OccluderRanges(approach=(0.1, 1.5)), "approach of OccluderRanges"),
        (lambda: Procedural(shapes=(5, 2)), "shapes of Procedural"),
        (lambda: Photos(Path(), zoom=(0.0, 1.0)), "zoom of Photos"),
        (lambda: SensorRanges(exposure=(1, -1)), "exposure of SensorRanges"),
        (lambda: SensorRanges(jpeg=(0.5, (90, 30))), "jpeg of SensorRanges must be a probability and two numbers"),
        (lambda: SensorRanges(motion=(1.5, (3, 4))), "motion of SensorRanges"),
        (lambda: SensorRanges(noise=(0, 1)), "must begin above 0"),
    ],
)
def test_what_cannot_be_is_refused(made: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        made()
    assert "\n" not in str(caught.value)


def test_ends_count_and_may_be_the_same() -> None:
    Viewpoints(1, 0, 0, 0, spread=0, roll=0, forearm=0)
    Lens(distance=(600, 600), off_axis=0, distortion=(0, 0))
    Framing(fill=(1, 1), truncated=0, beyond=0)
    SensorRanges(noise=(0, 0), defocus=(0, (0, 0)), grey=1)
    WholeScenes(hands=(0, 1))


def test_log_uniform_numbers_are_even_over_their_logarithm() -> None:
    rng = np.random.default_rng(0)
    drawn = np.log10([log_uniform((1.0, 100.0), rng) for _ in range(2000)])
    assert 0 <= drawn.min() < 0.02 < 1.98 < drawn.max() <= 2
    assert drawn.mean() == pytest.approx(1, abs=0.05)
