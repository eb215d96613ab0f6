"""Width and height of an image file from its first bytes, without decoding it.

PNG (IHDR chunk), JPEG (SOFn segment; EXIF orientation), BMP (information header) and WebP (VP8,
VP8L, VP8X chunks). A JPEG whose EXIF orientation turns it by a quarter has its sides swapped, as
every reader of pixels in knuckle turns it too.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

_NO_FRAME_SIZE: Final = (0xC4, 0xC8, 0xCC)
"""JPEG markers in the range of SOFn that are none: Huffman tables, reserved, arithmetic coding."""
_MARKER: Final = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")
"""A JPEG marker that means anything to libjpeg: not the number of a restart, and no 0xFF that a 0 calls compressed."""
_END_OF_IMAGE: Final = 0xD9
MAX_SEGMENTS: Final = 20_000
"""A JPEG that is a hundred megabytes of full segments has 1,600; empty ones would keep a reader busy for nothing."""
_PIECE: Final = 4096
"""Bytes that are searched for a marker together."""
_ORIENTATION_TAG: Final = 0x0112
_QUARTER_TURNS: Final = (5, 6, 7, 8)


def header_size_wh(path: Path) -> tuple[int, int]:
    """The (width, height) in pixels that the decoded and upright image will have.

    Raises:
        ValueError: the file cannot be read, is no PNG, JPEG, BMP or WebP, or is cut off.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # to open a pipe waits for somebody who writes
            raise ValueError(f"{path} is a pipe or a device and no file; save the image to a file first.")
        with path.open("rb") as stream:
            return size_in(stream, str(path))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error


def size_in(stream: BinaryIO, name: str) -> tuple[int, int]:
    """As `header_size_wh`, of a file that is open already and called `name` in messages."""
    try:
        size_wh = _size(stream)
    except (struct.error, IndexError) as error:
        raise ValueError(f"{name} is cut off before its image size.") from error
    if size_wh is None:
        raise ValueError(f"{name} is not a PNG, JPEG, BMP or WebP image; save it as one of these.")
    if min(size_wh) < 1:
        raise ValueError(f"{name} says that it is {size_wh[0]} x {size_wh[1]} pixels large, so it holds no image.")
    return size_wh


def _size(stream: BinaryIO) -> tuple[int, int] | None:
    head = stream.read(30)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    if head.startswith(b"BM"):
        return _bmp_size(head)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp_size(head)
    if head.startswith(b"\xff\xd8"):
        stream.seek(2)
        return _jpeg_size(stream)
    return None


def _bmp_size(head: bytes) -> tuple[int, int]:
    (header_bytes,) = struct.unpack("<I", head[14:18])
    if header_bytes == 12:  # the OS/2 header counts in 16 bits
        width, height = struct.unpack("<HH", head[18:22])
    else:
        width, height = struct.unpack("<ii", head[18:26])
    return abs(width), abs(height)  # a negative height marks rows from top to bottom


def _webp_size(head: bytes) -> tuple[int, int] | None:
    chunk = head[12:16]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if chunk == b"VP8L":
        (bits,) = struct.unpack("<I", head[21:25])
        return 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_size(stream: BinaryIO) -> tuple[int, int]:
    """Walk the segments up to the frame header; the EXIF segment, if any, comes before it."""
    orientation = 1
    for marker, content in islice(jpeg_segments(stream), MAX_SEGMENTS):
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_SIZE:
            height, width = struct.unpack(">xHH", content[:5])
            return (height, width) if orientation in _QUARTER_TURNS else (width, height)
        if marker == 0xE1 and content.startswith(b"Exif\0\0"):
            orientation = orientation_of(content[6:])
    raise IndexError("no frame header")


def jpeg_segments(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment up to the end of the image; the stream stands behind the latest.

    They are found as libjpeg finds them, which passes over bytes that belong to none: a walker that took these for
    segments could be led past the frame header that is decoded.
    """
    while (marker := _next_marker(stream)) != _END_OF_IMAGE:
        length = int.from_bytes(stream.read(2))
        yield marker, stream.read(max(length - 2, 0))


def _next_marker(stream: BinaryIO) -> int:
    """As in libjpeg, data that break off have their end there."""
    size = 2  # as a rule a segment follows the one before at once
    while len(piece := stream.read(size)) > 1:
        if found := _MARKER.search(piece):
            stream.seek(found.end() - len(piece), os.SEEK_CUR)
            return piece[found.end() - 1]
        if piece.endswith(b"\xff"):
            stream.seek(-1, os.SEEK_CUR)  # a marker may be cut in two
        size = _PIECE
    return _END_OF_IMAGE


def orientation_of(tiff: bytes) -> int:
    """The orientation in an EXIF block, 1 (upright) where it names none or is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(count):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return int(value)
    except struct.error:
        return 1
    return 1
