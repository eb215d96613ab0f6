"""Sizes from headers agree with OpenCV's decoder, EXIF orientation included."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from knuckle.formats.image_header import header_size_wh


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
@pytest.mark.parametrize("shape", [(7, 300, 3), (301, 5, 3), (64, 64)])
def test_sizes_are_those_of_the_decoded_image(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    path = tmp_path / f"x{suffix}"
    cv2.imwrite(str(path), np.zeros(shape, dtype=np.uint8))
    assert header_size_wh(path) == (shape[1], shape[0])


@pytest.mark.parametrize("quality", [50, 101])
def test_both_kinds_of_webp(tmp_path: Path, quality: int) -> None:
    cv2.imwrite(str(tmp_path / "x.webp"), np.zeros((31, 17, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, quality])
    assert header_size_wh(tmp_path / "x.webp") == (17, 31)


def test_extended_webp_and_old_bmp(tmp_path: Path) -> None:
    extended = b"RIFF" + bytes(4) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4)
    (tmp_path / "x.webp").write_bytes(extended + (639).to_bytes(3, "little") + (479).to_bytes(3, "little"))
    assert header_size_wh(tmp_path / "x.webp") == (640, 480)
    (tmp_path / "x.bmp").write_bytes(b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 20, 30, 1, 24) + bytes(8))
    assert header_size_wh(tmp_path / "x.bmp") == (20, 30)
    (tmp_path / "y.bmp").write_bytes(b"BM" + bytes(12) + struct.pack("<Iii", 40, 20, -30) + bytes(8))
    assert header_size_wh(tmp_path / "y.bmp") == (20, 30)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_size_as_opencv_does(tmp_path: Path, order: str, orientation: int) -> None:
    path = tmp_path / "x.jpg"
    cv2.imwrite(str(path), np.zeros((20, 50, 3), np.uint8))
    plain = path.read_bytes()
    tiff = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    tiff += struct.pack(f"{order}HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    segment = b"Exif\0\0" + tiff
    path.write_bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:])
    decoded = cv2.imread(str(path))
    assert decoded is not None
    assert header_size_wh(path) == decoded.shape[1::-1]


FRAME = bytes.fromhex("c0000b080010001001011100")
"""A frame header of 16 x 16 pixels, but for the 0xFF before it."""


@pytest.mark.parametrize(
    "stray",
    [
        FRAME,
        b"\xff\x00" + FRAME,
        b"\xff\x00\xff\xff" + b"\x00\xff\x00",
        bytes(4095 - 20) + b"\xff",
        bytes(4096 - 20) + b"\xff\x00",
        b"\xff\xd3\xff\x01",
    ],
)
def test_bytes_that_belong_to_no_segment_are_passed_over_as_the_decoder_does(tmp_path: Path, stray: bytes) -> None:
    path = tmp_path / "x.jpg"
    cv2.imwrite(str(path), np.zeros((200, 300, 3), np.uint8))
    plain = path.read_bytes()
    behind_app0 = 4 + int.from_bytes(plain[4:6])
    path.write_bytes(plain[:behind_app0] + stray + plain[behind_app0:])
    decoded = cv2.imread(str(path))
    assert decoded is not None
    assert header_size_wh(path) == decoded.shape[1::-1] == (300, 200)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
@pytest.mark.timeout(30)
def test_nobody_waits_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    for path in (tmp_path / "x.jpg", Path("/dev/null")):
        with pytest.raises(ValueError, match=rf"{path} is a pipe or a device and no file; save the image to a file"):
            header_size_wh(path)
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        header_size_wh(tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is not a PNG, JPEG, BMP or WebP image"),
        (b"GIF89a" + bytes(30), "is not a PNG, JPEG, BMP or WebP image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(22), "says that it is 0 x 0 pixels large"),
        (b"\x89PNG\r\n\x1a\n" + bytes(9), "is cut off before its image size"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "is cut off before its image size"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\x00", "is cut off before its image size"),
        (b"\xff\xd8\xff\xd9" + FRAME, "is cut off before its image size"),
        (b"RIFF\0\0\0\0WEBPVP8X", "says that it is"),
    ],
)
def test_what_is_no_image_is_one_sentence(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    if expected == "says that it is":  # a cut WebP header reads as 1 x 1: the decoder will refuse it
        assert header_size_wh(tmp_path / "x.jpg") == (1, 1)
        return
    with pytest.raises(ValueError, match=expected):
        header_size_wh(tmp_path / "x.jpg")
