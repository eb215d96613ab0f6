"""What a video adds to a hand in a file: the frame, its time, the hand's track, and the smoothed keypoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float32

from knuckle.formats.files import numbers_or_null
from knuckle.skeleton import NUM_JOINTS

if TYPE_CHECKING:
    from knuckle.predict.follow import Seen

PLACE: Final = ("frame", "time", "track")
"""Columns of a table, and keys of a COCO file: frame counted from 0, seconds since the start, track counted from 1."""
SMOOTH: Final = ("x_smooth", "y_smooth")
"""Columns of the filter's keypoints, in image pixels. x and y stay the model's own."""


class Moment(NamedTuple):
    """When a frame's m hands were seen, and which they are.

    Attributes:
        video: its name.
        frame: the frame's number, counted from 0.
        time: seconds since the video's start.
        track: the m hands' tracks.
        xy_smooth: (m, 21, 2) float32 the filter's keypoints in image pixels, NaN for unlabelled joints; None
            without a filter.
    """

    video: str
    frame: int
    time: float
    track: tuple[int, ...]
    xy_smooth: Float32[np.ndarray, "m 21 2"] | None


def moment_of(seen: Seen, video: str) -> Moment:
    """What is written down of a frame, beside its hands."""
    xy_smooth = None if seen.smooth is None else seen.smooth.xy
    return Moment(video, seen.frame.number, round(seen.frame.time, 6), tuple(seen.track.tolist()), xy_smooth)


def to_json(moment: Moment) -> dict[str, Any]:
    """A moment as JSON can hold it."""
    smoothed = None if moment.xy_smooth is None else numbers_or_null(moment.xy_smooth)
    return moment._replace(xy_smooth=None)._asdict() | {"track": list(moment.track), "xy_smooth": smoothed}


def from_json(content: Mapping[str, Any]) -> Moment:
    """The moment that `to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    smoothed = content["xy_smooth"]
    xy = None if smoothed is None else np.array(smoothed, dtype=np.float32).reshape(-1, NUM_JOINTS, 2)
    return Moment(content["video"], content["frame"], content["time"], tuple(content["track"]), xy)


def columns_of(moment: Moment | None) -> tuple[str, ...]:
    """The columns that a table has beside those of every table; none for photos."""
    if moment is None:
        return ()
    return PLACE if moment.xy_smooth is None else PLACE + SMOOTH


def cells_of(moment: Moment | None, hands: int) -> Iterator[list[Any]]:
    """The cells of those columns in the rows of a frame's hands, 21 rows a hand, None for empty ones."""
    if moment is None:
        yield from ([] for _ in range(hands * NUM_JOINTS))
        return
    smoothed = None if moment.xy_smooth is None else numbers_or_null(moment.xy_smooth)
    for row, track in enumerate(moment.track):
        for joint in range(NUM_JOINTS):
            yield [moment.frame, moment.time, track, *([] if smoothed is None else smoothed[row][joint])]


def image_keys(moment: Moment | None) -> dict[str, Any]:
    """What a COCO file says of a frame beside its name and size; the keys are TAO's."""
    return {} if moment is None else {"video": moment.video, "frame_index": moment.frame, "time": moment.time}


def annotation_keys(moment: Moment | None, row: int, visibility: list[int]) -> dict[str, Any]:
    """What a COCO file says of one hand of a frame: `track_id` as in TAO, and `keypoints_smooth` like `keypoints`."""
    if moment is None:
        return {}
    keys: dict[str, Any] = {"track_id": moment.track[row]}
    if moment.xy_smooth is not None:
        points = numbers_or_null(np.nan_to_num(moment.xy_smooth[row]))
        keys["keypoints_smooth"] = [
            number for point, seen in zip(points, visibility, strict=True) for number in (*point, seen)
        ]
    return keys
