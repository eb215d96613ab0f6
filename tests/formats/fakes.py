"""Hands, images and checks that the tests of all formats share; everything is made by code."""

from __future__ import annotations

import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from knuckle.formats import Format, read, read_checked
from knuckle.hands import OPTIONAL_COLUMNS, Hands, keypoint_extent

SIZES = {"a.jpg": (640, 480), "sub/b.png": (224, 224), "sub/a.jpg": (1001, 333), "c d.png": (37, 53)}
"""Image names and their width and height: subfolders, equal stems, a space."""


def example_hands(root: Path | None = None) -> Hands:
    """Three hands on two images, with every column but the predicted ones, one joint missing and one occluded."""
    xy = np.linspace(3, 200, 3 * 21 * 2).reshape(3, 21, 2).astype(np.float32)
    visibility = np.full((3, 21), 2)
    visibility[0, 4], visibility[1, 7] = 0, 1
    return Hands(
        image=["a.png", "a.png", "b.png"],
        xy=xy,
        visibility=visibility,
        side=[0, 1, -1],
        gesture=[6, -1, 24],
        group=[7, 7, 8],
        size=[(320, 240), (320, 240), (224, 224)],
        root=root,
    )


def write_fake_images(hands: Hands) -> None:
    """A file for each image: a PNG header with the right size, whatever the suffix. No pixels."""
    for path, (width, height) in zip(hands.paths(), hands.size.tolist(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)))


def _pixels(low: float, high: float) -> st.SearchStrategy[float]:
    """Float32 pixels; nothing between 0 and a thousandth, where float64 fractions need not bring float32 back."""
    numbers = st.floats(low, high, width=32, allow_subnormal=False)
    return numbers.map(lambda number: number if abs(number) > 1e-3 else 0.0)


@st.composite
def random_hands(draw: st.DrawFn, *, in_frame: bool = False, predicted: bool = True) -> Hands:
    """Hands of every kind: any visibility, boxes given, missing or degenerate, with and without predictions.

    Args:
        draw: hypothesis's.
        in_frame: keypoints and boxes lie in the frame.
        predicted: whether predicted columns may be there.
    """
    names = draw(st.lists(st.sampled_from(sorted(SIZES)), max_size=4))
    n = len(names)
    size = np.array([SIZES[name] for name in names], dtype=np.int32).reshape(n, 2)
    unit = draw(arrays(np.float64, (n, 25, 2), elements=_pixels(0, 1)))
    points = (unit * size[:, None] - 0.5 if in_frame else (unit * 4 - 2) * size[:, None]).astype(np.float32)
    points = np.where(np.abs(points) < 1e-3, np.float32(0), points)
    visibility = draw(arrays(np.uint8, (n, 21), elements=st.integers(0, 2)))
    labeled = np.where(visibility[..., None] > 0, points[:, :21], np.float32(np.nan))
    given_box = np.concatenate([points[:, 21:23].min(axis=1), points[:, 21:23].max(axis=1)], axis=1)
    kind = draw(arrays(np.uint8, (n, 1), elements=st.integers(0, 2)))
    box = np.where(kind == 0, keypoint_extent(labeled), np.where(kind == 1, given_box, np.float32(np.nan)))
    hands = Hands(
        image=names,
        xy=points[:, :21],
        visibility=visibility,
        box=box,
        side=draw(arrays(np.int8, n, elements=st.integers(-1, 1))),
        gesture=draw(arrays(np.int8, n, elements=st.integers(-1, 24))),
        group=draw(arrays(np.int64, n)),
        size=size if in_frame or draw(st.booleans()) else np.zeros_like(size),
    )
    return hands.replace(**_predictions(draw, n)) if predicted and n and draw(st.booleans()) else hands


def _predictions(draw: st.DrawFn, n: int) -> dict[str, NDArray[np.float32]]:
    """Predicted columns with at least one number each."""
    probability = st.floats(0, 1, width=32) | st.just(float("nan"))
    confidence = draw(arrays(np.float32, (n, 21), elements=probability))
    score = draw(arrays(np.float32, n, elements=probability))
    side = draw(arrays(np.float32, n, elements=probability))
    terms = draw(arrays(np.float32, (n, 21, 3), elements=st.floats(0, 1e4, width=32)))
    confidence[0, 0], score[0], side[0] = 0.25, 0.5, 0.75
    covariance = terms[..., [0, 1, 1, 2]].reshape(n, 21, 2, 2)
    return {"confidence": confidence, "score": score, "side_probability": side, "covariance": covariance}


def box_as_held(hands: Hands) -> Hands:
    """What comes back of boxes that are missing or have no area: the extent of the keypoints."""
    box = hands.box.copy()
    flat = ~((box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1]))
    box[flat] = keypoint_extent(hands.xy)[flat]
    return hands.replace(box=box)


def without_empty_columns(hands: Hands) -> Hands:
    """Predicted columns without a number count as missing."""
    columns = {name: getattr(hands, name) for name in OPTIONAL_COLUMNS}
    return hands.replace(**{n: None if c is None or np.isnan(c).all() else c for n, c in columns.items()})


def assert_refused(path: Path, expected: str, good: int | None = None, format: Format = "auto") -> None:
    """Reading stops with one sentence that says `expected` and names the file; skipping keeps the good hands.

    Args:
        path: what to read.
        expected: a part of the sentence.
        good: hands that remain when bad records are skipped; None where nothing can be read at all.
        format: as `read` takes it.
    """
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        read(path, format)
    assert type(caught.value) is ValueError
    _assert_one_sentence(str(caught.value), expected, path)
    if good is None:
        with pytest.raises(ValueError, match=re.escape(expected)):
            read_checked(path, format)
        return
    hands, messages = read_checked(path, format)
    assert len(hands) == good
    assert messages
    _assert_one_sentence(messages[0], expected, path)


def _assert_one_sentence(sentence: str, expected: str, path: Path) -> None:
    assert expected in sentence
    assert str(path) in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def write_json(path: Path, content: Any) -> Path:
    """The content as a JSON file, NaN and Infinity allowed as Python's json does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
