"""Writing a drawn video: OpenCV's writer at a constant rate, every frame shown at its own time."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final, Self

import cv2
import numpy as np
from jaxtyping import UInt8

CODES: Final = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
"""The coding for each suffix, of those that OpenCV's wheels can write everywhere."""

LONGEST_GAP: Final = 10.0
"""Seconds for which one picture is shown at most: two frames whose times are days apart would fill the disk."""


class DrawnVideo:
    """A video file that takes the place of `path` when the block ends well, and vanishes when it does not.

    The file has a constant rate. A picture fills every slot from its own time to that of the next one, so
    sources with a variable rate, and cameras, play at the right speed. Where two pictures share a slot the later one is
    left out. A gap longer than `LONGEST_GAP` is shortened to that, and what follows comes earlier.

    Attributes:
        shortened: how many gaps were.

    Args:
        path: the file; its suffix says the coding.
        rate: frames a second.

    Raises:
        ValueError: the suffix is unknown, or the path is a folder's.
    """

    def __init__(self, path: Path, rate: float) -> None:
        if path.suffix.lower() not in CODES:
            raise ValueError(f"{path} cannot be written: drawn videos end in {', '.join(CODES)}.")
        if path.is_dir():
            raise ValueError(f"{path} is a folder, and a drawn video is a file; give it another name.")
        self._path, self._rate = path, rate
        self._part = path.with_name(f".{path.stem}.part{path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._size_wh = (0, 0)
        self.shortened = 0
        self._start = 0.0
        self._before = 0.0
        self._slots = 0
        self._latest: UInt8[np.ndarray, "h w 3"] | None = None

    def add(self, image: UInt8[np.ndarray, "h w 3"], time: float) -> None:
        """The next picture.

        Args:
            image: RGB, of the same size as all others.
            time: in seconds, rising from picture to picture.

        Raises:
            ValueError: the file cannot be written, or the size changed.
        """
        size_wh = (image.shape[1], image.shape[0])
        if self._writer is None:
            self._writer, self._size_wh, self._start, self._before = self._open(size_wh), size_wh, time, time
        if size_wh != self._size_wh:
            raise ValueError(
                f"{self._path}: a video's frames must have one size, but {self._size_wh} became {size_wh}."
            )
        gap, self._before = time - self._before, time
        if gap > LONGEST_GAP:
            self._start += gap - LONGEST_GAP
            self.shortened += 1
        slot = round((time - self._start) * self._rate)
        bgr = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), dtype=np.uint8)
        if self._latest is not None:
            while self._slots < slot:
                self._write(self._latest)
        self._latest = bgr
        if self._slots == slot:
            self._write(bgr)

    def _write(self, bgr: UInt8[np.ndarray, "h w 3"]) -> None:
        assert self._writer is not None
        self._writer.write(bgr)
        self._slots += 1

    def _open(self, size_wh: tuple[int, int]) -> cv2.VideoWriter:
        code = cv2.VideoWriter.fourcc(*CODES[self._path.suffix.lower()])
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._part.touch()
        except OSError as error:
            raise ValueError(f"{self._path} cannot be written ({error.strerror or error}).") from error
        writer = cv2.VideoWriter(str(self._part), cv2.CAP_FFMPEG, code, self._rate, size_wh)
        if not writer.isOpened():
            raise ValueError(f"{self._path} cannot be written at {size_wh[0]} x {size_wh[1]} pixels by this OpenCV.")
        return writer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        if kind is None and self._writer is not None:
            self._part.replace(self._path)
        elif self._part.exists():
            self._part.unlink()
