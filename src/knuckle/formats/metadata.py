"""Image files without what they say beside their pixels: when, where and by whom a photo was taken.

JPEG, PNG and WebP are cut into their segments or chunks, and only those are kept that pixels and colours need: the
compressed pixels are the same bytes. So goes what follows an image's end, such as the film of a moving photo. Of EXIF
the orientation of a JPEG stays, which readers turn it by; that of other kinds nobody applies here
(`knuckle.data.images`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

from knuckle.formats.image_header import orientation_of

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"

_PNG_KEPT: Final = (
    *(b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT", b"bKGD", b"hIST"),
    *(b"pHYs", b"acTL", b"fcTL", b"fdAT"),
)
"""Beside the critical chunks, whose names begin with a capital."""
_WEBP_KEPT: Final = frozenset((b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_WEBP_EXIF_AND_XMP: Final = 0b1100
"""Flags in the VP8X chunk."""

_END_OF_IMAGE: Final = 0xD9
_START_OF_SCAN: Final = 0xDA
_RESTARTS: Final = range(0xD0, 0xD9)
"""Numbers of restarts, and the start of an image: two bytes without a length."""
_COMMENT: Final = 0xFE
_APPLICATION: Final = range(0xE0, 0xF0)
_JPEG_KEPT: Final = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
"""Of the application's segments those with density, colour profile and colour transform, by how they begin."""
_EXIF: Final = b"Exif\0\0"
_MARKER_IN_SCAN: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""The first marker after compressed pixels, in which 0xFF is followed by 0 or by the number of a restart."""


def without_metadata(data: bytes) -> bytes:
    """An image file with the same pixels, colours and orientation, and nothing else.

    What was cut off comes back as cut off; files of another kind, such as BMP, which holds no more, as they are.
    """
    if data.startswith(_JPEG):
        return b"".join(_jpeg_parts(data))
    if data.startswith(_PNG):
        return b"".join(_png_parts(data))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return data


def _jpeg_parts(data: bytes) -> Iterator[bytes]:
    """From one marker to the next; bytes between two segments, which nothing needs, are left out."""
    yield _JPEG
    position = 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        marker = data[position + 1]
        if marker == _END_OF_IMAGE:
            break
        if marker == 0xFF:  # one of any number of bytes that fill up
            position += 1
            continue
        if marker < 0xC0 or marker in _RESTARTS:  # libjpeg passes over these, too
            position += 2
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if marker == _START_OF_SCAN:
            after = _MARKER_IN_SCAN.search(data, end)
            end = after.start() if after else len(data)
            yield data[position:end]
        else:
            yield _jpeg_segment(marker, data[position:end])
        position = end
    if position >= 0:
        yield data[position : position + 2]


def _jpeg_segment(marker: int, segment: bytes) -> bytes:
    """What is left of one that stands between scans."""
    content = segment[4:]
    if marker == 0xE1 and content.startswith(_EXIF):
        orientation = orientation_of(content[len(_EXIF) :])
        return b"" if orientation == 1 else _orientation_segment(orientation)
    if marker == _COMMENT or marker in _APPLICATION:
        return segment if marker in _JPEG_KEPT and content.startswith(_JPEG_KEPT[marker]) else b""
    return segment


def _orientation_segment(orientation: int) -> bytes:
    """An EXIF segment with one entry: tag, type (a short), how many, value."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation & 0xFFFF, 0)
    content = _EXIF + b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    return b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content


def _png_parts(data: bytes) -> Iterator[bytes]:
    yield _PNG
    position, name = len(_PNG), b""
    while position < len(data) and name != b"IEND":
        name = data[position + 4 : position + 8]
        end = position + 12 + int.from_bytes(data[position : position + 4])
        if name[:1].isupper() or name in _PNG_KEPT:
            yield data[position:end]
        position = end


def _webp(data: bytes) -> bytes:
    """A RIFF file, whose size is said at its beginning."""
    end = 8 + int.from_bytes(data[4:8], "little")
    kept, left_out, position = [], 0, 12
    while position < min(end, len(data)):
        name, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        chunk = data[position : position + 8 + length + length % 2]
        if name == b"VP8X" and len(chunk) > 8:
            chunk = chunk[:8] + bytes([chunk[8] & ~_WEBP_EXIF_AND_XMP]) + chunk[9:]
        if name in _WEBP_KEPT:
            kept.append(chunk)
        else:
            left_out += len(chunk)
        position += 8 + length + length % 2
    return b"RIFF" + (end - 8 - left_out).to_bytes(4, "little") + b"WEBP" + b"".join(kept)
