"""Reading an image file as upright RGB bytes, or refusing it with one sentence.

JPEG, PNG, BMP and WebP. A file that lies about its size, lacks its end, or is no image at all is refused before its
pixels are decoded. What else is wrong with it is noticed as far as its decoder raises it: damaged pixels of a PNG
always, by its checksums, but not those of a JPEG whose end is in its place. libjpeg fills what is missing there with
grey, and only its warning on stderr says so.
"""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import UInt8

from knuckle.formats.image_header import MAX_SEGMENTS, header_size_wh, jpeg_segments, size_in

MAX_PIXELS: Final = 100_000_000
"""Larger images are refused undecoded: a few kilobytes can claim to be gigabytes of pixels."""

MAX_SCANS: Final = 100
"""Every scan of a progressive JPEG goes over all of its pixels; cameras and editors write ten or so."""

_JPEG: Final = b"\xff\xd8"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG_END: Final = b"\xff\xd9"
_PNG_END: Final = b"IEND\xaeB`\x82"
_START_OF_SCAN: Final = 0xDA


class ImageError(ValueError):
    """An image file that cannot be used; one sentence that names it."""


def read_image(path: str | Path) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of an image file, RGB.

    Grey and palette images become RGB, transparency is dropped, 16 bits are divided by 257 and CMYK
    is converted. A JPEG is turned as its EXIF orientation says; other formats are taken as stored.

    Raises:
        ImageError: the file is missing, no JPEG, PNG, BMP or WebP, cut off, damaged, or larger than
            `MAX_PIXELS`.
    """
    path = Path(path)
    _checked_size(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read ({error.strerror or error}).") from error
    return _decode(data, str(path))


def decode_image(data: bytes, name: str, most_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of an image file that is in memory, as `read_image` gives those of one on disk.

    Args:
        data: the file's bytes.
        name: what to call it in a message.
        most_pixels: larger images are refused undecoded.

    Raises:
        ImageError: as `read_image`.
    """
    try:
        size_wh = size_in(io.BytesIO(data), name)
    except ValueError as error:
        raise ImageError(str(error)) from error
    refuse_large(name, size_wh, most_pixels)
    return _decode(data, name)


def _decode(data: bytes, path: str) -> UInt8[np.ndarray, "h w 3"]:
    if not _is_whole(data):
        raise ImageError(f"{path} is cut off: the end of the image is missing; copy it again from its source.")
    if data.startswith(_JPEG) and _has_endless_parts(data):
        raise ImageError(
            f"{path} has more than {MAX_SCANS} scans or {MAX_SEGMENTS:,} segments, as no camera writes; save it anew."
        )
    flags = cv2.IMREAD_COLOR if data.startswith(_JPEG) else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    if data.startswith(_PNG) and data[24] == 16:  # bits a sample, in the header chunk
        flags |= cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error:  # sides beyond OpenCV's own limits
        image = None
    if image is None:
        raise ImageError(f"{path} is damaged: its pixels cannot be decoded; copy it again from its source.")
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=1 / 257)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), dtype=np.uint8)


def image_size(path: str | Path) -> tuple[int, int]:
    """(width, height) of what `read_image` returns, from the file's header alone.

    Raises:
        ImageError: as `read_image`, as far as the header shows it.
    """
    return _checked_size(Path(path))


def _checked_size(path: Path) -> tuple[int, int]:
    try:
        size_wh = header_size_wh(path)
    except ValueError as error:
        raise ImageError(str(error)) from error
    refuse_large(str(path), size_wh)
    return size_wh


def refuse_large(name: str, size_wh: tuple[int, int], most_pixels: int = MAX_PIXELS) -> None:
    """See that an image of that (width, height) may be decoded.

    Raises:
        ImageError: it has more than `most_pixels`.
    """
    width, height = size_wh
    if width * height > most_pixels:
        raise ImageError(
            f"{name} claims {width} x {height} pixels, more than {most_pixels // 10**6} million; save a smaller copy."
        )


def _is_whole(data: bytes) -> bool:
    """Whether the file reaches the end that its format announces; not whether its pixels are intact."""
    if data.startswith(_JPEG):
        # Some cameras append data of their own, and thumbnails before the scan have an end as well.
        return data.endswith(_JPEG_END) or data.find(_JPEG_END, _start_of_scan(data)) >= 0
    if data.startswith(_PNG):
        return _PNG_END in data
    if data.startswith(b"BM"):
        return len(data) >= int.from_bytes(data[2:6], "little")
    return len(data) >= int.from_bytes(data[4:8], "little") + 8  # WebP is a RIFF file


def _start_of_scan(jpeg: bytes) -> int:
    """Where the compressed pixels of a JPEG begin; its length where they never do."""
    stream = io.BytesIO(jpeg)
    found = any(marker == _START_OF_SCAN for marker, _ in islice(jpeg_segments(stream), MAX_SEGMENTS))
    return stream.tell() if found else len(jpeg)


def _has_endless_parts(jpeg: bytes) -> bool:
    """Too many scans or segments; what comments hold and what follows the end does not count."""
    markers = [marker for marker, _ in islice(jpeg_segments(io.BytesIO(jpeg)), MAX_SEGMENTS + 1)]
    return len(markers) > MAX_SEGMENTS or markers.count(_START_OF_SCAN) > MAX_SCANS
