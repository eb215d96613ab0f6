"""Files without metadata: the same pixels to the bit, the same orientation, and not a word of the place."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from knuckle.data.images import ImageError, decode_image
from knuckle.formats.image_header import size_in
from knuckle.formats.metadata import without_metadata

SECRET = b"SECRET-PLACE"


def picture() -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return Image.fromarray(np.asarray(cv2.GaussianBlur(noise, (0, 0), 3)))


def saved(kind: str, *, orientation: int = 1, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = SECRET.decode(), orientation
    exif.get_ifd(0x8825)[29] = SECRET.decode()
    stream = io.BytesIO()
    image = options.pop("image", picture())
    image.save(stream, kind, exif=exif, **options)
    return stream.getvalue()


def png() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", SECRET.decode())
    text.add_itxt("XML:com.adobe.xmp", SECRET.decode())
    text.add_text("Place", SECRET.decode(), zip=True)
    text.add(b"prVt", SECRET)
    return saved("PNG", pnginfo=text)


def palette_png() -> bytes:
    return saved("PNG", image=picture().quantize(16), transparency=3)


def late_comment() -> bytes:
    """A progressive JPEG with segments of its own between two scans."""
    jpeg = saved("JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + b"\xff\xfe\0\x0e" + SECRET + b"\xff\xeb\0\x0e" + SECRET + jpeg[last:]


FILES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved("JPEG", comment=SECRET, xmp=SECRET),
    "progressive jpeg": late_comment,
    "jpeg with restarts": lambda: saved("JPEG", restart_marker_blocks=2),
    "cmyk jpeg": lambda: saved("JPEG", image=picture().convert("CMYK")),
    "jpeg followed by a film": lambda: saved("JPEG") + SECRET,
    "jpeg with bytes that fill": lambda: saved("JPEG").replace(b"\xff\xda", b"\xff\xff\xff\xda", 1),
    "jpeg with a zero between segments": lambda: saved("JPEG").replace(b"\xff\xdb", b"\xff\x00\x00\x08\xff\xdb", 1),
    "png": png,
    "png with a palette": palette_png,
    "png followed by more": lambda: saved("PNG") + SECRET,
    "webp": lambda: saved("WEBP", xmp=SECRET, icc_profile=b"profile"),
    "webp without loss": lambda: saved("WEBP", lossless=True),
    "webp followed by more": lambda: saved("WEBP") + SECRET,
}


@pytest.mark.parametrize("name", FILES)
def test_pixels_stay_and_the_place_goes(name: str) -> None:
    data = FILES[name]()
    assert SECRET in data
    bare = without_metadata(data)
    assert SECRET not in bare
    np.testing.assert_array_equal(decode_image(bare, name), decode_image(data, name))
    with Image.open(io.BytesIO(bare)) as image:
        image.load()
        assert not {key for key in image.info if str(key).lower() in ("exif", "xmp", "comment", "place")}
        assert not image.getexif()
    assert without_metadata(bare) == bare


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_as_before(orientation: int) -> None:
    data = saved("JPEG", orientation=orientation)
    bare = without_metadata(data)
    assert SECRET not in bare
    np.testing.assert_array_equal(decode_image(bare, "a.jpg"), decode_image(data, "a.jpg"))
    assert size_in(io.BytesIO(bare), "a.jpg") == size_in(io.BytesIO(data), "a.jpg")
    with Image.open(io.BytesIO(bare)) as image:
        assert dict(image.getexif()) == ({} if orientation == 1 else {0x0112: orientation})


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_colour_profiles_stay(kind: str) -> None:
    with Image.open(io.BytesIO(without_metadata(saved(kind, icc_profile=b"profile")))) as image:
        assert image.info["icc_profile"] == b"profile"


def test_other_kinds_come_back() -> None:
    stream = io.BytesIO()
    picture().save(stream, "BMP")
    assert without_metadata(stream.getvalue()) == stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_was_cut_off_stays_so(kind: str) -> None:
    data = saved(kind)
    for length in range(2, len(data) // 2, 7):
        bare = without_metadata(data[:length])
        assert SECRET not in bare
        with pytest.raises(ImageError):
            decode_image(bare, "cut")
    assert without_metadata(without_metadata(data)) == without_metadata(data)
