"""What the page is told of a photo: its hands as JSON, and on request the same hands as csv rows and a Labelme file.

Everything is computed in memory; nothing is written to disk.
"""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from knuckle.data.images import decode_image
from knuckle.formats import table
from knuckle.formats.labelme import new_content, with_hands
from knuckle.formats.labelme_shapes import with_mark
from knuckle.formats.records import SIDE_NAMES
from knuckle.hands import OPTIONAL_COLUMNS, PER_HAND, UNKNOWN, Hands, group_number, keypoint_extent
from knuckle.predict import Predictor
from knuckle.predict.proposals import mark_of
from knuckle.skeleton import BONES, GESTURES, JOINT_COLORS, JOINT_NAMES
from knuckle.study.classify import propose

Boxes = Literal["full"] | None

MOST_PIXELS: Final = 30_000_000
"""Larger photos are refused before they are decoded."""
_UNSURE: Final = "unsure"


def about(model: str, boxes: Boxes, most_bytes: int) -> dict[str, Any]:
    """What the page needs to know before it asks: the model, how to draw a hand, and the limits."""
    return {
        "model": model,
        "boxes": boxes,
        "joints": JOINT_NAMES,
        "bones": BONES,
        "colors": ["#{:02x}{:02x}{:02x}".format(*color) for color in JOINT_COLORS],
        "most_bytes": most_bytes,
    }


def find_hands(
    predictor: Predictor,
    data: bytes,
    name: str,
    boxes: Boxes,
    *,
    files: bool = False,
    first: int = 0,
    model: str = "",
) -> dict[str, Any]:
    """The hands on a photo, as JSON can hold them.

    Args:
        predictor: the model.
        data: bytes of a JPEG, PNG, BMP or WebP file.
        name: the photo's file name.
        boxes: "full" for one hand in the whole frame, None for the model's detector.
        files: also give the hands as rows of a csv table and as a Labelme file.
        first: number of the photo's first hand in the table.
        model: the model's name, for the Labelme file, which is marked as a model's.

    Returns:
        `size_wh` in pixels; `hands`, each with `xy` (21 pairs of image pixels, null where the model knows nothing),
        `covariance` (xx, xy, yy; pixels squared) and `confidence` where the model states them, `score`, `side` with
        `side_probability`, `gesture` and `gesture_confidence`; `milliseconds` that the model took; `files` where asked
        for.

    Raises:
        ValueError: the bytes are no image that can be used, or the model needs boxes.
    """
    image = decode_image(data, name, MOST_PIXELS)
    began = time.perf_counter()
    hands = predictor.predict(image, boxes)
    milliseconds = (time.perf_counter() - began) * 1000
    count = len(hands)
    hands = hands.replace(image=[name] * count, group=np.full(count, group_number(name)))
    answer = {
        "name": name,
        "size_wh": [image.shape[1], image.shape[0]],
        "hands": _as_json(hands),
        "milliseconds": round(milliseconds, 1),
    }
    return answer | ({"files": _files(hands, name, first, model)} if files else {})


def _as_json(hands: Hands) -> list[dict[str, Any]]:
    proposals = propose(hands)
    found = []
    for row in range(len(hands)):
        gesture = int(proposals.gesture[row])
        entry: dict[str, Any] = {
            "xy": _numbers(hands.xy[row], 2),
            "side": None if hands.side[row] == UNKNOWN else SIDE_NAMES[int(hands.side[row])],
            "gesture": _UNSURE if gesture == UNKNOWN else GESTURES[gesture],
            "gesture_confidence": round(float(proposals.confidence[row]), 3),
        }
        if hands.covariance is not None:
            entry["covariance"] = _numbers(hands.covariance[row][:, [0, 0, 1], [0, 1, 1]], 3)
        if hands.confidence is not None:
            entry["confidence"] = _numbers(hands.confidence[row], 3)
        for column in PER_HAND:
            values = getattr(hands, column)
            if values is not None:
                entry[column] = _numbers(values[row : row + 1], 3)[0]
        found.append(entry)
    return found


def _numbers(values: NDArray[np.float32], decimals: int) -> list[Any]:
    """Nested lists of rounded numbers; None in place of what is not finite."""
    rounded = np.round(values.astype(np.float64), decimals)
    cells = rounded.astype(object)
    cells[~np.isfinite(rounded)] = None
    listed: list[Any] = cells.tolist()
    return listed


def _files(hands: Hands, name: str, first: int, model: str) -> dict[str, Any]:
    optional = [column for column in OPTIONAL_COLUMNS if getattr(hands, column) is not None]
    content = new_content(name, Path(name).with_suffix(".json"))
    extent = keypoint_extent(hands.xy)
    around = np.where(np.isnan(extent), hands.box, extent)
    return {
        "csv_header": _lines([table.header(optional)]),
        "csv_rows": _lines(table.rows(hands, first, optional)),
        "labelme": with_mark(with_hands(content, hands.replace(box=around), 0), mark_of(hands, model))
        if len(hands)
        else content,
    }


def _lines(rows: Any) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
