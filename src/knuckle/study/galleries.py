"""Worst hands as pictures for a page: the truth, and beside it the prediction over it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from knuckle.data.images import ImageError, read_image
from knuckle.draw import hand_tile
from knuckle.evaluate.figures import worst_hands
from knuckle.hands import Hands
from knuckle.skeleton import GESTURES
from knuckle.study.page import Gallery, Tile, data_address

WORST: Final = 12
_TILE: Final = 192
_QUALITY: Final = 82


def worst_gallery(pred: Hands, true: Hands, name: str, count: int = WORST) -> Gallery:
    """The hands with the largest NME of a set, worst first; those whose photo cannot be read are left out."""
    rows, nme, error = worst_hands(pred, true, count)
    tiles = list(
        _tiles([pred], true, rows.tolist(), [f"NME {n:.3f}, {e:.1f} px" for n, e in zip(nme, error, strict=True)])
    )
    return Gallery(f"The {len(tiles)} worst of {name}: truth, and the prediction over it (truth in white).", tiles)


def side_by_side(preds: Sequence[Hands], true: Hands, rows: Sequence[int], words: Sequence[str]) -> list[Tile]:
    """The truth and what each model found, a tile a row."""
    return list(_tiles(preds, true, rows, words))


def _tiles(preds: Sequence[Hands], true: Hands, rows: Sequence[int], words: Sequence[str]) -> Iterator[Tile]:
    for row, said in zip(rows, words, strict=True):
        truth = true[row]
        try:
            image = read_image(truth.paths()[0])
        except ImageError:
            continue
        found = [hand_tile(image, pred[row].replace(box=truth.box), tile=_TILE, truth=truth) for pred in preds]
        strip = np.concatenate([hand_tile(image, truth, tile=_TILE), *found], axis=1)
        gesture = int(truth.gesture[0])
        shown = GESTURES[gesture] if gesture >= 0 else "no gesture"
        yield Tile(tile_address(strip), f"{shown}, {said}: {Path(truth.image[0]).name}")


def tile_address(image: NDArray[np.uint8]) -> str:
    """A picture (h, w, 3) RGB as JPEG data that stands in place of an address."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return data_address(data.tobytes(), "image/jpeg")
