"""Videos and cameras as frames: upright RGB pixels, each with its number and its time in seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from knuckle.data.images import refuse_large

VIDEO_SUFFIXES: Final = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".ogv", ".mts", ".m2ts")
)
"""What counts as a video among the sources of a prediction."""

USUAL_RATE: Final = 30.0
"""Frames a second where the file or the camera does not say, or says something that no camera does."""
_PLAUSIBLE_RATES: Final = (1.0, 240.0)

MISSING_SHARE: Final = 0.02
MISSING_SECONDS: Final = 0.5
"""A file that ends by more than both before its announced end, in frames and in time, is cut off: containers round,
and their sound may be a little longer."""


def is_video(source: str) -> bool:
    """Whether a source of a prediction is a video, by its suffix."""
    return Path(source).suffix.lower() in VIDEO_SUFFIXES


class Frame(NamedTuple):
    """One picture of a video.

    Attributes:
        number: counted from 0.
        time: seconds since the video's start, as the container says; of a camera, since its first
            frame. Rises from frame to frame.
        image: (h, w, 3) uint8 RGB.
    """

    number: int
    time: float
    image: UInt8[np.ndarray, "h w 3"]


class Video:
    """An open video file or camera: iterate over its frames, once. One frame is held at a time.

    Attributes:
        name: the file's path, or "camera N".
        is_live: whether it is a camera.
        size_wh: width and height of the upright frames in pixels.
        rate: nominal frames a second; the frames' own times say when each was taken.
        announced: how many frames the file says it has, or None where it does not say.
        frames_read: how many were read so far.
        end: time in seconds at which the latest of them ends.

    Raises:
        ValueError: its frames have more than `knuckle.data.images.MAX_PIXELS`, as a photo may not have either.
    """

    def __init__(self, name: str, capture: cv2.VideoCapture, *, live: bool) -> None:
        self.name = name
        self.is_live = live
        self.size_wh = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        refuse_large(f"a frame of {name}", self.size_wh)
        rate = capture.get(cv2.CAP_PROP_FPS)
        says_rate = _PLAUSIBLE_RATES[0] <= rate <= _PLAUSIBLE_RATES[1]
        self.rate = rate if says_rate else USUAL_RATE
        announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.announced = announced if announced > 0 and says_rate and not live else None
        self.frames_read = 0
        self.end = 0.0
        self._capture = capture

    def __iter__(self) -> Iterator[Frame]:
        """The frames in order.

        Raises:
            ValueError: not one frame can be read, or one has more than `MAX_PIXELS`.
        """
        clock = _clock_of_camera() if self.is_live else self._time_in_container
        before = -np.inf
        for number in count():
            is_read, bgr = self._capture.read()
            if not is_read:
                break
            # OpenCV 5 scales frames of another size to that of the first; 4 gives them as they are.
            refuse_large(f"a frame of {self.name}", (bgr.shape[1], bgr.shape[0]))
            self.frames_read += 1
            now = clock()
            if now <= before:  # streams without timestamps say 0 every time
                now = before + 1 / self.rate
            before = now
            self.end = now + 1 / self.rate
            yield Frame(number, now, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8))
        if self.frames_read == 0:
            raise ValueError(f"not one frame of {self.name} can be read; it is damaged, or in use elsewhere.")

    def shortfall(self) -> str:
        """After the last frame: one sentence where the file ended early, else nothing."""
        if self.announced is None:
            return ""
        missing = self.announced - self.frames_read
        missing_seconds = self.announced / self.rate - self.end
        if missing <= MISSING_SHARE * self.announced or missing_seconds <= MISSING_SECONDS:
            return ""
        return (
            f"{self.name} is cut off or damaged: it announces {self.announced:,} frames, and only the first "
            f"{self.frames_read:,} can be read."
        )

    def _time_in_container(self) -> float:
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000


@contextmanager
def open_video(path: Path) -> Iterator[Video]:
    """A video file, closed at the end of the block. Rotation that its container asks for is applied.

    Raises:
        ValueError: there is no such file, it is no video that can be decoded, or its frames are larger than photos
            may be; that is told before any is decoded.
    """
    if not path.is_file():
        raise ValueError(f"there is no video {path}.")
    # FFmpeg's own lines on stderr would stand beside the one sentence that a user needs.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    with _opened(lambda: cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)) as capture:
        if not capture.isOpened():
            raise ValueError(f"{path} cannot be read as a video: it is no video, cut off, or in an unknown coding.")
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        yield Video(str(path), capture, live=False)


@contextmanager
def open_camera(number: int) -> Iterator[Video]:
    """A camera by its number on this machine, released at the end of the block.

    Raises:
        ValueError: there is no such camera, or another program holds it.
    """
    with _opened(lambda: cv2.VideoCapture(number)) as capture:
        if not capture.isOpened():
            raise ValueError(f"there is no camera {number}, or another program is using it.")
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture rather than those that waited
        yield Video(f"camera {number}", capture, live=True)


@contextmanager
def _opened(open_it: Callable[[], cv2.VideoCapture]) -> Iterator[cv2.VideoCapture]:
    """The capture, released at the end; OpenCV logs nothing while it tries."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = open_it()
    finally:
        cv2.utils.logging.setLogLevel(level)
    try:
        yield capture
    finally:
        capture.release()


def _clock_of_camera() -> Callable[[], float]:
    """Seconds since its first call."""
    start: list[float] = []

    def now() -> float:
        start.append(time.monotonic()) if not start else None
        return time.monotonic() - start[0]

    return now
