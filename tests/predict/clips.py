"""Videos for tests, written by OpenCV; MP4 boxes patched where OpenCV cannot write what a phone does."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

CODES = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "FFV1"}
"""FFV1 is without loss, so that pixels can be compared."""

QUARTER_TURN = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
"""The track matrix of a phone held upright: show the frames turned by 90 degrees clockwise (ISO 14496-12, 8.3.2)."""


def write_clip(path: Path, images: Iterable[UInt8[np.ndarray, "h w 3"]], rate: float = 25.0) -> Path:
    """RGB pictures of one size as a video."""
    writer = None
    for image in images:
        if writer is None:
            height, width = image.shape[:2]
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODES[path.suffix]), rate, (width, height))
            assert writer.isOpened()
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    assert writer is not None
    writer.release()
    return path


def rotate(path: Path, matrix: Sequence[int] = QUARTER_TURN) -> None:
    """Gives an MP4's track another matrix."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    content[start : start + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(content)


def set_durations(path: Path, durations: Sequence[int]) -> None:
    """Gives each frame of an MP4, whose `moov` comes last, its own duration in units of its own time scale."""
    content = bytearray(path.read_bytes())
    start = content.index(b"stts") - 4
    (old,) = struct.unpack_from(">I", content, start)
    entries = b"".join(struct.pack(">II", 1, duration) for duration in durations)
    table = struct.pack(">I4sII", 16 + len(entries), b"stts", 0, len(durations)) + entries
    content[start : start + old] = table
    at = content.index(b"edts")
    content[at : at + 4] = b"free"  # the edit list would cut the clip to its old length
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        at = content.index(name) - 4
        (size,) = struct.unpack_from(">I", content, at)
        struct.pack_into(">I", content, at, size + len(table) - old)
    path.write_bytes(content)


def time_scale(path: Path) -> int:
    """Units a second in an MP4's `mdhd`."""
    content = path.read_bytes()
    return int(struct.unpack_from(">I", content, content.index(b"mdhd") + 4 + 12)[0])
