"""Stages are timed one by one: each takes part where it should, with the frames and boxes that were given."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import UInt8

from knuckle.benchmark.pictures import SIZE_WH, boxes_of, make_pictures
from knuckle.benchmark.stages import STAGES, time_stages
from knuckle.data.images import read_image
from knuckle.geometry import CropRule
from knuckle.predict import Predictor
from knuckle.predict.detector import Detections
from knuckle.predict.engine import Engine
from knuckle.predict.points import CropPoints


class Slow(Engine):
    """Finds nothing, in a known time, and writes down how many crops it was given."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[int] = []

    def find(self, crops: UInt8[np.ndarray, "B S S 3"], flip_test: bool) -> CropPoints:
        self.batches.append(len(crops))
        time.sleep(self.seconds)
        return CropPoints(np.full((len(crops), 21, 2), 20.0), None)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """One made picture."""
    return make_pictures(tmp_path, 1)[0]


def test_the_time_goes_to_the_stage_that_took_it(photo: Path) -> None:
    found = time_stages(Predictor(Slow(0.03), CropRule(size=32)), [(photo, boxes_of(1))], repeats=3, warm_up=1)
    assert list(found) == [stage for stage in STAGES if stage != "detect"]
    assert found["network"].p50 >= 30
    assert found["whole"].p50 >= 30
    assert found["network"].p50 <= found["network"].p95
    assert all(timing.repeats == 3 for timing in found.values())
    assert min(found[stage].p50 for stage in ("decode", "crop", "draw")) > 0


def test_warm_up_frames_are_run_and_not_counted(photo: Path) -> None:
    engine = Slow()
    found = time_stages(Predictor(engine, CropRule(size=32)), [(photo, boxes_of(2))], repeats=2, warm_up=3)
    assert found["network"].repeats == 2
    assert set(engine.batches) == {2}
    few = Slow()
    time_stages(Predictor(few, CropRule(size=32)), [(photo, None)], repeats=2, warm_up=0)
    assert set(few.batches) == {1}, "the whole frame is one hand"
    assert len(engine.batches) / len(few.batches) == 5 / 2


def test_a_detector_is_timed_and_asked_where_to_look(photo: Path) -> None:
    seen: list[tuple[int, ...]] = []

    class Three:
        """Finds three hands."""

        def detect(self, images: Sequence[UInt8[np.ndarray, "h w 3"]], /) -> list[Detections]:
            seen.extend(image.shape for image in images)
            time.sleep(0.02)
            return [Detections(boxes_of(3), np.ones(3, dtype=np.float32)) for _ in images]

    engine = Slow()
    found = time_stages(Predictor(engine, CropRule(size=32)), [(photo, None)], repeats=2, warm_up=0, detector=Three())
    assert found["detect"].p50 >= 20
    assert found["whole"].p50 >= 20
    assert set(engine.batches) == {3}
    assert set(seen) == {(480, 640, 3)}


@pytest.mark.parametrize("hands", [1, 2, 4])
def test_made_pictures_are_the_same_every_time_and_hold_their_boxes(tmp_path: Path, hands: int) -> None:
    (tmp_path / "again").mkdir()
    first, again = make_pictures(tmp_path, 2), make_pictures(tmp_path / "again", 2)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert first[0].read_bytes() != first[1].read_bytes()
    assert 50_000 < first[0].stat().st_size < 300_000, "something to decode, as in a photo"
    image = read_image(first[0])
    assert (image.shape[1], image.shape[0]) == SIZE_WH
    boxes = boxes_of(hands)
    assert boxes.shape == (hands, 4)
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert ((boxes[:, :2] + boxes[:, 2:]) / 2 < SIZE_WH).all()
