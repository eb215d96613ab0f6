"""The stages of prediction, timed one by one on single frames, as a camera brings them.

| stage | from | to |
|---|---|---|
| decode | a JPEG's path | RGB pixels |
| detect | pixels | boxes; only where a detector looks for them |
| crop | pixels and boxes | the network's input |
| network | crops | keypoints in crop pixels, normalisation and decoding included |
| draw | pixels and hands | a picture with the hands on it |
| whole | a path | hands and their picture, through `Predictor`, timed by itself and not as a sum |
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8

from knuckle.data.images import read_image
from knuckle.draw import draw_hands
from knuckle.hands import Hands
from knuckle.predict.detector import Detections, Detector, detect_in
from knuckle.predict.photos import FULL, NAMELESS, Photo
from knuckle.predict.predictor import Predictor

STAGES: Final = ("decode", "detect", "crop", "network", "draw", "whole")

Boxes = Float32[np.ndarray, "m 4"] | None
"""The hands of a frame; None takes the whole frame as one."""


@dataclass(frozen=True)
class Timing:
    """How long a stage took.

    Attributes:
        p50: median, milliseconds.
        p95: 95th percentile, milliseconds.
        repeats: how often it was timed.
    """

    p50: float
    p95: float
    repeats: int


def time_stages(
    predictor: Predictor,
    frames: Sequence[tuple[Path, Boxes]],
    *,
    repeats: int,
    warm_up: int,
    detector: Detector | None = None,
) -> dict[str, Timing]:
    """Every stage of `STAGES` that takes place, timed on one frame after the other, round and round.

    Args:
        predictor: the model.
        frames: photos and their boxes.
        repeats: frames that are timed.
        warm_up: frames before them, which are not: first calls choose kernels and fill caches.
        detector: what looks for boxes; those that it finds count where none are given.

    Raises:
        ValueError: a photo cannot be read.
    """
    seconds: dict[str, list[float]] = {name: [] for name in STAGES}
    for turn in range(warm_up + repeats):
        if turn == warm_up:
            seconds = {name: [] for name in STAGES}
        path, boxes = frames[turn % len(frames)]
        _one_by_one(predictor, path, boxes, detector, seconds)
        with _timed(seconds["whole"]):
            image = read_image(path)
            found = _predict(predictor, image, _places(image, boxes, detector))
            draw_hands(image, found)
    return {name: _timing(own) for name, own in seconds.items() if own}


def _timing(seconds: list[float]) -> Timing:
    p50, p95 = (1000 * np.percentile(seconds, (50, 95))).tolist()
    return Timing(p50, p95, len(seconds))


def _one_by_one(
    predictor: Predictor, path: Path, boxes: Boxes, detector: Detector | None, seconds: dict[str, list[float]]
) -> None:
    with _timed(seconds["decode"]):
        image = read_image(path)
    if detector is not None:
        with _timed(seconds["detect"]):
            places = _places(image, boxes, detector)
        boxes = places.box if isinstance(places, Detections) else places
    rule = predictor.rule
    with _timed(seconds["crop"]):
        size_wh = (image.shape[1], image.shape[0])
        crops = [rule.around_frame(size_wh)] if boxes is None else [rule.around_box(box) for box in boxes]
        pixels = np.stack([rule.cut(image, crop) for crop in crops])
    with _timed(seconds["network"]):
        predictor.engine.find(pixels, predictor.flip_test)
    found = _predict(predictor, image, boxes)
    with _timed(seconds["draw"]):
        draw_hands(image, found)


def _places(image: UInt8[np.ndarray, "h w 3"], boxes: Boxes, detector: Detector | None) -> Boxes | Detections:
    """Where hands are looked for: in the boxes given, else where the detector finds some, else in the whole frame."""
    if detector is None:
        return boxes
    found = detect_in(image, detector, "the frame")
    return boxes if boxes is not None or not len(found.box) else found


def _predict(predictor: Predictor, image: UInt8[np.ndarray, "h w 3"], boxes: Boxes | Detections) -> Hands:
    return next(predictor.stream([Photo(NAMELESS, image, FULL if boxes is None else boxes)])).hands


@contextmanager
def _timed(into: list[float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    into.append(time.perf_counter() - start)
