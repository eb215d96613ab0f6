"""Hands for other libraries: `supervision.KeyPoints`, and landmark lists like those of MediaPipe's hand landmarker."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from knuckle.hands import LEFT, UNKNOWN, UNLABELED, VISIBLE, Hands
from knuckle.skeleton import FROM_MEDIAPIPE, JOINT_NAMES

if TYPE_CHECKING:
    import supervision

_NEEDS_SUPERVISION = "this needs supervision 0.29 or later: pip install 'supervision>=0.29'."


def to_supervision(hands: Hands) -> supervision.KeyPoints:
    """The hands as `supervision.KeyPoints`, in FreiHAND's joint order, which is also that of its `Skeleton.HAND`.

    Args:
        hands: hands of one image, as supervision's annotators draw all of them.

    Returns:
        `xy` in image pixels, (0, 0) where a joint is not labelled; `visible` says where one is, occluded ones
        included; `keypoint_confidence` and `detection_confidence` are `confidence` and `score`, None where the
        hands have none; every hand is of class 0. `data` holds `image`, `box` and `side`, and where the
        hands have them `side_probability` and `covariance`, as its ellipse annotators take it.

    Raises:
        ImportError: supervision is not installed, or is too old.
    """
    try:
        from supervision import KeyPoints
    except ModuleNotFoundError as error:
        raise ImportError(_NEEDS_SUPERVISION) from error
    if "keypoint_confidence" not in {field.name for field in fields(KeyPoints)}:
        raise ImportError(_NEEDS_SUPERVISION)
    data: dict[str, Any] = {"image": hands.image.tolist(), "box": hands.box.copy(), "side": hands.side.copy()}
    if hands.side_probability is not None:
        data["side_probability"] = hands.side_probability.copy()
    if hands.covariance is not None:
        data["covariance"] = hands.covariance.copy()
    return KeyPoints(
        xy=np.where(hands.labeled[..., None], hands.xy, np.float32(0)),
        class_id=np.zeros(len(hands), dtype=np.int64),
        keypoint_confidence=None if hands.confidence is None else hands.confidence.copy(),
        detection_confidence=None if hands.score is None else hands.score.copy(),
        visible=np.array(hands.labeled),
        data=data,
    )


@dataclass(frozen=True)
class NormalizedLandmark:
    """One joint, with the attributes of MediaPipe's class of that name.

    Attributes:
        x: 0 at the image's left edge, 1 at its right edge; None where the joint is not labelled.
        y: likewise from top to bottom.
        z: None; the keypoints are two-dimensional.
        visibility: 1 visible, 0 occluded; None where the joint is not labelled.
        presence: None; nothing here computes it.
        name: of the joint.
    """

    x: float | None
    y: float | None
    z: float | None = None
    visibility: float | None = None
    presence: float | None = None
    name: str | None = None


@dataclass(frozen=True)
class Category:
    """The side of a hand, "Left" or "Right", with the attributes of MediaPipe's class of that name.

    Attributes:
        score: `side_probability`; None where the hands have none.
    """

    category_name: str
    display_name: str
    index: int | None = None
    score: float | None = None


@dataclass(frozen=True)
class HandLandmarks:
    """Hands with the attributes of MediaPipe's `HandLandmarkerResult`.

    Attributes:
        hand_landmarks: for each hand its 21 joints in MediaPipe's order.
        handedness: for each hand one category, the person's own hand; none where the side is unknown.
        hand_world_landmarks: empty; the keypoints are two-dimensional.
    """

    hand_landmarks: list[list[NormalizedLandmark]]
    handedness: list[list[Category]]
    hand_world_landmarks: list[list[Any]] = field(default_factory=list)


def to_mediapipe(hands: Hands, image_size: tuple[int, int] | None = None) -> HandLandmarks:
    """The hands of one image as MediaPipe's hand landmarker would return them, whether it is installed or not.

    Code that reads attributes, such as `supervision.KeyPoints.from_mediapipe`, takes them for MediaPipe's own.
    MediaPipe measures from the image's edges, so the centre of the first pixel lies at 0.5 / width.

    Args:
        hands: hands of one image.
        image_size: its width and height in pixels. Default: what the hands say.

    Raises:
        ValueError: the size is not known.
    """
    size = hands.size if image_size is None else np.tile(np.asarray(image_size), (len(hands), 1))
    if (size <= 0).any():
        raise ValueError("normalized landmarks need the image's size: give image_size=(width, height).")
    normalized = (hands.xy.astype(np.float64) + 0.5) / size[:, None]
    probabilities: list[float | None] = [None] * len(hands)
    if hands.side_probability is not None:
        probabilities = hands.side_probability.tolist()
    return HandLandmarks(
        [_landmarks(xy.tolist(), seen.tolist()) for xy, seen in zip(normalized, hands.visibility, strict=True)],
        [_handedness(side, score) for side, score in zip(hands.side.tolist(), probabilities, strict=True)],
    )


def _landmarks(xy: list[list[float]], visibility: list[int]) -> list[NormalizedLandmark]:
    """The joints of one hand; row FROM_MEDIAPIPE[i] of MediaPipe's list is joint i."""
    joints = [
        NormalizedLandmark(None, None, name=name)
        if seen == UNLABELED
        else NormalizedLandmark(x, y, visibility=float(seen == VISIBLE), name=name)
        for name, (x, y), seen in zip(JOINT_NAMES, xy, visibility, strict=True)
    ]
    return [joints[FROM_MEDIAPIPE.index(row)] for row in range(len(joints))]


def _handedness(side: int, score: float | None) -> list[Category]:
    if side == UNKNOWN:
        return []
    name = "Left" if side == LEFT else "Right"
    return [Category(name, name, score=score)]
