"""Choosing among found boxes, frames and their pictures, and what users' own detectors may give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from knuckle.predict.detector import Detections, Detector, choose, detect_in, fitted, suppress, to_frame
from knuckle.predict.judgement import HEAD_ALONE, Judgement

IMAGE = np.zeros((60, 80, 3), np.uint8)


@settings(deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 30)] * 2), min_size=1, max_size=20),
    st.floats(0.05, 0.95),
)
def test_suppression_is_torchvisions(rows: list[tuple[int, ...]], most: float) -> None:
    boxes = np.array(rows, dtype=np.float32)
    boxes[:, 2:] += boxes[:, :2]
    scores = torch.arange(len(boxes), 0, -1, dtype=torch.float64)
    expected = torchvision.ops.nms(torch.from_numpy(boxes).double(), scores, most)
    assert suppress(boxes, most).tolist() == expected.tolist()


def test_the_surest_boxes_are_chosen() -> None:
    boxes = np.array([(0, 0, 10, 10), (1, 0, 11, 10), (50, 50, 60, 60), (80, 0, 90, 9)], dtype=np.float32)
    scores = np.array([0.6, 0.9, 0.3, 0.8], dtype=np.float32)
    found = choose(scores, boxes, 0.5, 20)
    np.testing.assert_allclose(found.score, [0.9, 0.8])
    assert found.box.tolist() == [boxes[1].tolist(), boxes[3].tolist()]
    assert len(choose(scores, boxes, 0.5, 1).box) == 1
    assert choose(scores, boxes, 0.95, 20).box.shape == (0, 4)


@pytest.mark.parametrize(
    ("frame_wh", "size_wh"),
    [
        ((640, 480), (256, 192)),
        ((480, 640), (192, 256)),
        ((1920, 1080), (256, 160)),
        ((5000, 3), (256, 32)),
        ((9, 9), (256, 256)),
    ],
)
def test_a_frame_fits_its_picture_and_comes_back(frame_wh: tuple[int, int], size_wh: tuple[int, int]) -> None:
    crop = fitted(frame_wh, 256)
    assert crop.size_wh == size_wh
    corners = crop.to_crop(np.array([(-0.5, -0.5), (frame_wh[0] - 0.5, frame_wh[1] - 0.5)]))
    np.testing.assert_allclose(corners[0], -0.5)
    assert (corners[1] <= np.array(size_wh) - 0.5 + 1e-6).all()
    assert corners[1].max() == pytest.approx(max(size_wh) - 0.5)
    whole = Detections(np.array([(-20, -20, 400, 400), (-30, 3, -20, 9)], np.float32), np.ones(2, np.float32))
    back = to_frame(whole, crop, frame_wh)
    np.testing.assert_allclose(back.box, [(-0.5, -0.5, frame_wh[0] - 0.5, frame_wh[1] - 0.5)], atol=1e-3)


class Says:
    def __init__(self, *answer: Any) -> None:
        self.answer = answer

    def detect(self, images: Any) -> Any:
        return list(self.answer)


def test_users_detectors_may_give_lists() -> None:
    detector = Says(([[1, 2, 30, 40]], [0.5]))
    assert isinstance(detector, Detector)
    found = detect_in(IMAGE, detector, "a.png")
    assert found.box.dtype == found.score.dtype == np.float32
    assert found.box.tolist() == [[1, 2, 30, 40]]
    assert detect_in(IMAGE, Says(([], [])), "a.png").box.shape == (0, 4)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ([], "one pair of boxes and scores"),
        ([([[1, 2, 30, 40]], [0.5])] * 2, "one pair of boxes and scores"),
        ([None], "one pair of boxes and scores"),
        ([([[1, 2, 30, 40]], None)], "each of its 1 boxes a score"),
        ([([[1, 2, 30, 40]], "sure")], "one pair of boxes and scores"),
        ([([[1, 2, 30, 40]], [])], "each of its 1 boxes a score"),
        ([([[1, 2, 30, 40]], [1.5])], "each of its 1 boxes a score from 0 to 1"),
        ([([[1, 2, 30, 40]], [np.nan])], "each of its 1 boxes a score from 0 to 1"),
        ([([[30, 2, 1, 40]], [0.5])], "a.png, detector, box 0 .* no area"),
        ([([[100, 2, 110, 40]], [0.5])], "outside"),
        ([([1, 2, 30, 40], [0.5])], "must have shape"),
        ([([[1, 2, 1e30, 40]], [0.5])], "a.png, detector, box 0 .* far larger than its image"),
    ],
)
def test_what_a_detector_must_not_give_is_told(answer: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        detect_in(IMAGE, Says(*answer), "a.png")


def test_a_detector_that_gives_nothing_at_all_is_told() -> None:
    class Silent:
        def detect(self, images: Any) -> Any:
            return None

    with pytest.raises(ValueError, match=r"a\.png: a detector must give one pair .* got None"):
        detect_in(IMAGE, Silent(), "a.png")


def test_three_of_something_are_no_pair() -> None:
    class Classed:
        def detect(self, images: Any) -> Any:
            return [([[1, 2, 30, 40]], [0.5], ["hand"])]

    with pytest.raises(ValueError, match=r"a\.png: a detector must give one pair .*'hand'"):
        detect_in(IMAGE, Classed(), "a.png")


def test_the_weight_of_a_detectors_word_comes_with_it_and_strangers_have_none() -> None:
    boxes, scores = np.array([[1, 2, 30, 40]], np.float32), np.array([0.5], np.float32)
    own = Judgement(2, 1, 0)
    for answer, judgement in ((Detections(boxes, scores, own), own), ((boxes, scores), HEAD_ALONE)):
        assert detect_in(IMAGE, Says(answer), "a.png").judgement == judgement
