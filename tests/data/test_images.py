from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from knuckle.data.images import ImageError, decode_image, image_size, read_image

EXIF_ORIENTATION = 0x0112


def picture(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """A smooth RGB picture without any symmetry."""
    noise = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4).astype(np.float64)
    stretched: NDArray[np.float64] = (smooth - smooth.min()) / np.ptp(smooth) * 255
    return stretched.astype(np.uint8)


def encoded(image: Image.Image | NDArray[np.uint8], kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def png16(values: NDArray[np.uint16]) -> bytes:
    return cv2.imencode(".png", values)[1].tobytes()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_claiming(width: int, height: int) -> bytes:
    """A small, well-formed PNG whose header announces these sides."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + png_chunk(b"IEND", b"")


def jpeg_claiming(width: int, height: int) -> bytes:
    jpeg = bytearray(encoded(picture(), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(jpeg)


def bmp_claiming(width: int, height: int) -> bytes:
    bmp = bytearray(encoded(picture(), "BMP"))
    bmp[18:26] = struct.pack("<ii", width, height)
    return bytes(bmp)


def with_thumbnail(jpeg: bytes) -> bytes:
    """The JPEG with a whole small JPEG inside its EXIF segment, as cameras write it."""
    segment = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\0\0\0\0\0" + encoded(picture(12, 16), "JPEG")
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    jpeg = encoded(picture(), "JPEG", progressive=True)
    start = jpeg.rindex(b"\xff\xda")
    return jpeg[:start] + jpeg[start:-2] * count + b"\xff\xd9"


def with_comments(jpeg: bytes) -> bytes:
    """The JPEG with a comment before each scan that holds the mark of an image's end."""
    return jpeg.replace(b"\xff\xda", b"\xff\xfe\x00\x04\xff\xd9\xff\xda")


def with_stray_bytes(jpeg: bytes) -> bytes:
    """The JPEG with bytes that belong to no segment, and look like one that is followed by an image's end."""
    return jpeg[:20] + b"\xff\x00\x04\xda\xff\x00" + jpeg[20:]


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped_in_the_middle(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(255 - byte for byte in data[middle : middle + 8]) + data[middle + 8 :]


READABLE: dict[str, tuple[Callable[[], bytes], float]] = {
    "jpeg": (lambda: encoded(picture(), "JPEG", quality=95), 3),
    "progressive jpeg": (lambda: encoded(picture(), "JPEG", quality=95, progressive=True), 3),
    "cmyk jpeg": (lambda: encoded(Image.fromarray(picture()).convert("CMYK"), "JPEG", quality=95), 3),
    "jpeg followed by other data": (lambda: encoded(picture(), "JPEG", quality=95) + b"\0\xff\xda appended" * 9, 3),
    "jpeg followed by many of the marks of a scan": (lambda: encoded(picture(), "JPEG") + b"\xff\xda" * 999, 5),
    "jpeg with a thumbnail": (lambda: with_thumbnail(encoded(picture(), "JPEG", quality=95)), 3),
    "jpeg with a comment of many marks of a scan": (
        lambda: encoded(picture(), "JPEG", quality=95, comment=b"\xff\xda" * 999),
        3,
    ),
    "jpeg with stray bytes": (lambda: with_stray_bytes(encoded(picture(), "JPEG", quality=95)), 3),
    "png": (lambda: encoded(picture(), "PNG"), 0),
    "transparent png": (lambda: encoded(np.dstack([picture(), picture()[..., 0]]), "PNG"), 0),
    "16-bit png": (lambda: png16(picture()[..., ::-1].astype(np.uint16) * 257), 0),
    "16-bit png between two levels": (lambda: png16(picture()[..., ::-1].astype(np.uint16) * 257 // 258 * 258), 1),
    "bmp": (lambda: encoded(picture(), "BMP"), 0),
    "webp": (lambda: encoded(picture(), "WEBP", lossless=True), 0),
}


@pytest.mark.parametrize("name", READABLE)
def test_every_kind_of_file_becomes_the_same_rgb(name: str, tmp_path: Path) -> None:
    make, tolerance = READABLE[name]
    path = tmp_path / "image"
    path.write_bytes(make())
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - picture()).mean() <= tolerance
    assert image_size(path) == (64, 48)


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "I;16"])
def test_images_without_three_channels_become_rgb_as_pillow_has_it(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    grey = Image.fromarray(picture()).convert("L")
    if mode == "I;16":
        path.write_bytes(png16(np.asarray(grey).astype(np.uint16) * 257))
        expected = grey.convert("RGB")
    else:
        source = Image.fromarray(picture()).quantize(32) if mode == "P" else grey.convert(mode)
        source.save(path)
        expected = source.convert("RGB")
    np.testing.assert_array_equal(read_image(path), np.asarray(expected))


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    path.write_bytes(encoded(np.full((1, 1, 3), (10, 200, 30), dtype=np.uint8), "PNG"))
    np.testing.assert_array_equal(read_image(path), [[[10, 200, 30]]])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_picture_upright(orientation: int, tmp_path: Path) -> None:
    upright = Image.fromarray(picture())
    # What the camera stores, so that the given orientation leads back to the upright picture.
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    path = tmp_path / "photo.jpg"
    (upright if stored is None else upright.transpose(stored)).save(path, quality=95, exif=exif)
    image = read_image(path)
    assert image.shape == (48, 64, 3)
    assert image_size(path) == (64, 48)
    assert np.abs(image.astype(int) - picture()).mean() < 3


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty file": (lambda: b"", "not a PNG, JPEG"),
    "text": (lambda: b"not an image, but a line of text\n" * 10, "not a PNG, JPEG"),
    "zeros": (lambda: bytes(5000), "not a PNG, JPEG"),
    "html of an error page": (lambda: b"<html><body>404</body></html>" * 9, "not a PNG, JPEG"),
    "jpeg, first bytes only": (lambda: encoded(picture(), "JPEG")[:20], "cut off"),
    "jpeg, half": (lambda: half(encoded(picture(), "JPEG")), "cut off"),
    "jpeg without its end marker": (lambda: encoded(picture(), "JPEG")[:-2], "cut off"),
    "progressive jpeg, half": (lambda: half(encoded(picture(), "JPEG", progressive=True)), "cut off"),
    "jpeg with a whole thumbnail, cut": (lambda: with_thumbnail(encoded(picture(), "JPEG"))[:-40], "cut off"),
    "jpeg without pixels": (lambda: encoded(picture(), "JPEG").split(b"\xff\xda")[0] + b"\xff\xd9", "damaged"),
    "jpeg bomb": (lambda: jpeg_claiming(65000, 65000), "65000 x 65000"),
    "jpeg of width 0": (lambda: jpeg_claiming(0, 48), "holds no image"),
    "png, first bytes only": (lambda: encoded(picture(), "PNG")[:12], "cut off"),
    "png, half": (lambda: half(encoded(picture(), "PNG")), "cut off"),
    "png without its end": (lambda: encoded(picture(), "PNG")[:-12], "cut off"),
    "png with damaged pixels": (lambda: flipped_in_the_middle(encoded(picture(), "PNG")), "damaged"),
    "16-bit png, half": (lambda: half(png16(picture().astype(np.uint16))), "cut off"),
    "png bomb": (lambda: png_claiming(40000, 40000), "40000 x 40000"),
    "png of height 0": (lambda: png_claiming(40, 0), "holds no image"),
    "png with too few pixels": (lambda: png_claiming(100, 100), "damaged"),
    "bmp, half": (lambda: half(encoded(picture(), "BMP")), "cut off"),
    "bmp wider than any decoder takes": (lambda: bmp_claiming(2_000_000, 10), "damaged"),
    "webp, half": (lambda: half(encoded(picture(), "WEBP")), "cut off"),
    "webp with damaged pixels": (lambda: encoded(picture(), "WEBP")[:30] + b"\xff" * 2000, "damaged"),
    "gif": (lambda: encoded(picture(), "GIF"), "not a PNG, JPEG, BMP or WebP image; save it as one of these"),
    "tiff": (lambda: encoded(picture(), "TIFF"), "not a PNG, JPEG, BMP or WebP image; save it as one of these"),
    "jpeg of a thousand scans": (lambda: with_scans(1000), "more than 100 scans"),
    "jpeg of endless segments": (
        lambda: (b"\xff\xfe\x00\x02" * 20_001 + b"\xff\xda").join(encoded(picture(), "JPEG").split(b"\xff\xda", 1)),
        "20,000 segments",
    ),
    "jpeg of a thousand scans with comments": (lambda: with_comments(with_scans(1000)), "more than 100 scans"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_gets_one_sentence_that_names_it(name: str, tmp_path: Path) -> None:
    make, reason = BROKEN[name]
    path = tmp_path / "broken image.jpg"
    path.write_bytes(make())
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize("name", [name for name, (_, reason) in BROKEN.items() if reason != "damaged"])
def test_files_refused_by_their_outline_are_never_decoded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "broken"
    path.write_bytes(BROKEN[name][0]())

    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", decode)
    with pytest.raises(ImageError):
        read_image(path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.jpg", tmp_path):
        for read in (read_image, image_size):
            with pytest.raises(ImageError, match=r"cannot be read \(.*\)\.$") as caught:
                read(path)
            assert str(path) in str(caught.value)


def test_the_bomb_is_refused_by_its_header_too(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(40000, 40000))
    with pytest.raises(ImageError, match="more than 100 million"):
        image_size(path)


def test_bytes_in_memory_are_read_as_the_file_would_be(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[EXIF_ORIENTATION] = 6
    data = encoded(Image.fromarray(picture()), "JPEG", exif=turned)
    (tmp_path / "a.jpg").write_bytes(data)
    np.testing.assert_array_equal(decode_image(data, "a.jpg"), read_image(tmp_path / "a.jpg"))
    assert decode_image(data, "a.jpg").shape == (64, 48, 3)
    with pytest.raises(ImageError, match=r"b\.jpg claims 48 x 64 pixels, more than 0 million"):
        decode_image(data, "b.jpg", 48 * 64 - 1)
    with pytest.raises(ImageError, match=r"b\.jpg is cut off"):
        decode_image(data[:-5], "b.jpg")
