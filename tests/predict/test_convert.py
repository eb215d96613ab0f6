"""Converters: what other libraries get is what the hands say, checked with those libraries where they are installed."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from knuckle.hands import LEFT, RIGHT, UNKNOWN, Hands
from knuckle.predict import to_mediapipe, to_supervision
from knuckle.predict.convert import Category, HandLandmarks, NormalizedLandmark

SIZE_WH = (200, 100)


def three_hands(**columns: Any) -> Hands:
    xy = np.random.default_rng(0).uniform(5, 95, (3, 21, 2)).astype(np.float32)
    visibility = np.full((3, 21), 2)
    visibility[1, 4], visibility[2, 7] = 0, 1
    return Hands(
        image=["a.jpg"] * 3,
        xy=xy,
        visibility=visibility,
        side=[LEFT, RIGHT, UNKNOWN],
        size=np.tile(SIZE_WH, (3, 1)),
        **columns,
    )


@dataclass
class KeyPoints:
    """The fields of supervision's class, for machines that do not have it."""

    xy: Any
    class_id: Any = None
    keypoint_confidence: Any = None
    detection_confidence: Any = None
    visible: Any = None
    data: Any = None


@pytest.fixture(params=["real", "fake"])
def supervision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The library where it is installed, and a module with such a class in any case."""
    if request.param == "real":
        module: ModuleType = pytest.importorskip("supervision", minversion="0.29")
        return module
    fake = ModuleType("supervision")
    fake.KeyPoints = KeyPoints  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", fake)
    return fake


def test_supervision_gets_points_visibility_and_covariances(supervision: ModuleType) -> None:
    covariance = np.tile(np.diag([4.0, 9.0]), (3, 21, 1, 1)).astype(np.float32)
    confidence = np.random.default_rng(1).uniform(0, 1, (3, 21)).astype(np.float32)
    sure = np.array([0.75, 1, np.nan], np.float32)
    hands = three_hands(covariance=covariance, confidence=confidence, score=[0.5, 0.25, 1], side_probability=sure)
    points = to_supervision(hands)
    assert isinstance(points, supervision.KeyPoints)
    assert points.visible is not None
    assert (~points.visible).sum() == 1
    assert not points.visible[1, 4]
    np.testing.assert_array_equal(points.xy[points.visible], hands.xy[hands.labeled])
    np.testing.assert_array_equal(points.xy[1, 4], 0)
    assert points.keypoint_confidence is not None
    np.testing.assert_array_equal(points.keypoint_confidence, confidence)
    assert points.detection_confidence is not None
    np.testing.assert_array_equal(points.detection_confidence, [0.5, 0.25, 1])
    np.testing.assert_array_equal(np.asarray(points.data["covariance"]), covariance)
    np.testing.assert_array_equal(np.asarray(points.data["side"]), [LEFT, RIGHT, UNKNOWN])
    np.testing.assert_array_equal(np.asarray(points.data["side_probability"]), sure)


def test_supervision_gets_none_where_nothing_was_computed(supervision: ModuleType) -> None:
    points = to_supervision(three_hands())
    assert points.keypoint_confidence is None
    assert points.detection_confidence is None
    assert "covariance" not in points.data
    assert len(to_supervision(Hands.empty()).xy) == 0


def test_without_supervision_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match=r"pip install 'supervision>=0\.29'"):
        to_supervision(three_hands())

    @dataclass
    class Old:
        xy: Any
        confidence: Any

    old = ModuleType("supervision")
    old.KeyPoints = Old  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", old)
    with pytest.raises(ImportError, match=r"supervision 0\.29 or later"):
        to_supervision(three_hands())


def test_mediapipe_measures_from_the_edges() -> None:
    corners = np.zeros((1, 21, 2), np.float32)
    corners[0, 0] = (-0.5, -0.5)
    corners[0, 8] = (199.5, 99.5)
    corners[0, 20] = (99.5, 24.5)
    hands = Hands(image=["a"], xy=corners, visibility=np.full((1, 21), 2))
    (landmarks,) = to_mediapipe(hands, SIZE_WH).hand_landmarks
    assert [(landmarks[i].x, landmarks[i].y) for i in (0, 8, 20)] == [(0, 0), (1, 1), (0.5, 0.25)]
    assert landmarks[8].name == "index_tip"
    with pytest.raises(ValueError, match=r"image_size=\(width, height\)"):
        to_mediapipe(hands)


def test_mediapipe_gets_sides_and_visibility() -> None:
    result = to_mediapipe(three_hands())
    assert [[category.category_name for category in own] for own in result.handedness] == [["Left"], ["Right"], []]
    assert [len(own) for own in result.hand_landmarks] == [21] * 3
    assert result.hand_landmarks[0][4].visibility == 1
    assert result.hand_landmarks[2][7].visibility == 0
    assert result.handedness[0][0].score is None
    sure = to_mediapipe(three_hands(side_probability=[0.75, 1, np.nan]))
    assert [[category.score for category in own] for own in sure.handedness] == [[0.75], [1], []]
    unlabeled = result.hand_landmarks[1][4]
    assert (unlabeled.x, unlabeled.y, unlabeled.visibility) == (None, None, None)


def test_supervision_reads_the_landmarks_as_mediapipes() -> None:
    library: Any = pytest.importorskip("supervision", minversion="0.29")
    hands = three_hands()[[0, 2]]
    read = library.KeyPoints.from_mediapipe(to_mediapipe(hands), SIZE_WH)
    np.testing.assert_allclose(read.xy - 0.5, hands.xy, atol=1e-4)


def test_the_attributes_are_mediapipes() -> None:
    containers: Any = pytest.importorskip("mediapipe.tasks.python.components.containers")
    vision: Any = pytest.importorskip("mediapipe.tasks.python.vision")
    for ours, theirs in (
        (NormalizedLandmark, containers.NormalizedLandmark),
        (Category, containers.Category),
        (HandLandmarks, vision.HandLandmarkerResult),
    ):
        assert {field.name for field in fields(ours)} == {field.name for field in fields(theirs)}
