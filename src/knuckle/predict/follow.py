"""Following hands through a video: the network looks where the last frame says, the detector only when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import ArrayLike

from knuckle.hands import Hands, group_number
from knuckle.predict.detector import Detections, Detector, detect_in
from knuckle.predict.photos import FULL, Photo, check_boxes
from knuckle.predict.smooth import SmoothRule, State, smooth
from knuckle.predict.track import TrackRule, Tracks, advance, needs_detector

if TYPE_CHECKING:
    from knuckle.predict.predictor import Found
    from knuckle.predict.video import Frame

NO_DETECTOR = (
    "without a detector a video needs to be told where its hands are: boxes of the first frame, "
    "or 'full' where the frame shows one hand."
)


Boxes = Float32[np.ndarray, "m 4"] | Detections | Literal["full"]
Search = Callable[["Frame"], Boxes]


class Finder(Protocol):
    """What `follow` needs of a `Predictor`."""

    def stream(self, incoming: Iterable[Photo], /) -> Iterator[Found]:
        """The hands of photos whose boxes are known, or were found by a detector."""
        ...


class Seen(NamedTuple):
    """What was found in one frame.

    Attributes:
        frame: the frame.
        hands: its m hands as the model found them; `box` is where each was searched, `image` the video's
            name, # and the frame's number, and the whole video is one `group`.
        track: (m,) the number of each hand's track, counted from 1, the same from frame to frame.
        smooth: the same hands after the filter, or None without one.
        used_detector: whether the detector, or the whole frame in its place, was looked at.
    """

    frame: Frame
    hands: Hands
    track: Int64[np.ndarray, " m"]
    smooth: Hands | None
    used_detector: bool


def follow(
    finder: Finder,
    frames: Iterable[Frame],
    *,
    boxes: ArrayLike | Literal["full"] | None = None,
    detector: Detector | None = None,
    rule: TrackRule | None = None,
    smoothing: SmoothRule | None = None,
    name: str = "",
) -> Iterator[Seen]:
    """The hands of every frame, one frame at a time, in constant memory.

    A frame's hands are searched in the boxes around the keypoints of the frame before. The detector is asked at
    the first frame, when a hand is missing, and now and then while there is room for more hands. Where the frame before
    is longer ago than the rule's patience the detector is asked first, and hands keep their numbers where they overlap
    those boxes.

    Args:
        finder: a `Predictor`.
        frames: a `Video`, or any frames in the order of their times.
        boxes: (m, 4) x1, y1, x2, y2 in pixels of the first frame, tight around the keypoints of its hands; or
            "full" for one hand, which is looked for in the whole frame at first and whenever it is lost.
        detector: finds hands at the first frame, unless boxes are given, and lost hands again. Without one
            a hand that is lost for longer than the rule's patience stays lost.
        rule: how hands are followed; as many as there are boxes even where it says fewer.
        smoothing: filter the keypoints, too.
        name: the video's, for the column `image`.

    Raises:
        ValueError: there are neither boxes nor a detector, or boxes that do not lie on the first frame.
    """
    if boxes is None and detector is None:
        raise ValueError(NO_DETECTOR)
    is_full = isinstance(boxes, str) and boxes == FULL
    rule = replace(rule or TrackRule(), most_hands=1) if is_full else rule or TrackRule()
    first = None if boxes is None or is_full else np.asarray(boxes, dtype=np.float32)
    if first is not None:
        rule = replace(rule, most_hands=max(rule.most_hands, len(first)))
    search: Search | None = None
    if is_full:
        search = _whole_frame
    elif detector is not None:
        search = _boxes_by(detector)
    return _seen(finder, frames, first, search, rule, smoothing, name)


def _seen(
    finder: Finder,
    frames: Iterable[Frame],
    first: Float32[np.ndarray, "m 4"] | None,
    search: Search | None,
    rule: TrackRule,
    smoothing: SmoothRule | None,
    name: str,
) -> Iterator[Seen]:
    tracks, states, last_look = Tracks.none(), dict[int, State](), -np.inf
    began: float | None = None
    for frame in frames:
        began = frame.time if began is None else began
        earliest = frame.time - rule.patience
        tracks = tracks.since(earliest)
        candidates: Boxes | None = None
        if first is not None and frame.time - began <= rule.patience:
            candidates = first  # until a hand is seen there: the first frame may be blurred
        elif search is not None and needs_detector(tracks, frame.time, last_look, rule):
            candidates, last_look = search(frame), frame.time
        # After a long gap the detector knows better where hands are; the boxes only say which is which.
        searched = candidates is None or bool((tracks.seen >= earliest).all())
        hands = _look(finder, frame, tracks.box if searched else tracks.box[:0], candidates, name)
        tracks, rows, numbers = advance(tracks, hands, frame.time, rule, searched=searched)
        hands, smoothed = hands[rows], None
        first = None if len(hands) else first
        if smoothing is not None:
            states = {number: state for number, state in states.items() if number in tracks.number}
            states, smoothed = smooth(states, hands, numbers, frame.time, smoothing)
        yield Seen(frame, hands, numbers, smoothed, last_look == frame.time)


def _look(
    finder: Finder,
    frame: Frame,
    boxes: Float32[np.ndarray, "t 4"],
    candidates: Boxes | None,
    name: str,
) -> Hands:
    """The keypoints in the boxes of the tracks, then in those of the candidates."""
    image = frame_name(name, frame.number)
    photos: list[Photo] = []
    if len(boxes):
        photos.append(Photo(image, frame.image, boxes))
    if isinstance(candidates, str):
        photos.append(Photo(image, frame.image, FULL))
    elif isinstance(candidates, Detections):
        photos.append(Photo(image, frame.image, candidates))
    elif candidates is not None and len(candidates):
        size_wh = (frame.image.shape[1], frame.image.shape[0])
        photos.append(Photo(image, frame.image, check_boxes(candidates, size_wh, image)))
    hands = Hands.concat([found.hands for found in finder.stream(photos)])
    return hands.replace(group=np.full(len(hands), group_number(name)))


def frame_name(video: str, number: int) -> str:
    """How a frame of a video is called among images: clip.mp4#000012."""
    return f"{video}#{number:06d}"


def _whole_frame(_: Frame) -> Literal["full"]:
    return FULL


def _boxes_by(detector: Detector) -> Search:
    """What the detector finds; the finder puts the surest first."""

    def search(frame: Frame) -> Detections:
        return detect_in(frame.image, detector, f"frame {frame.number}")

    return search
