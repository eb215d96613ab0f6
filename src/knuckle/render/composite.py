"""Hands and objects over each other and over their background, pixel by pixel, the nearest on top.

A sheet is what one of them shows: colour multiplied by its share of the pixel, that share, and how near it
is. Edges stay soft: what covers half a pixel lets half of the next one show through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from knuckle.render import object_view


class Sheet(NamedTuple):
    """One hand or object in a window of a picture; `nearness` is 1 / mm, 0 where it is not.

    `corner` is the row and column of the window's first pixel.
    """

    color: Float32[np.ndarray, "h w 3"]
    alpha: Float32[np.ndarray, "h w"]
    nearness: Float32[np.ndarray, "h w"]
    corner: tuple[int, int] = (0, 0)

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the picture."""
        (row, column), (height, width) = self.corner, self.alpha.shape
        return slice(row, row + height), slice(column, column + width)


def sheet_of(layer: object_view.Layer) -> Sheet:
    """What an object shows, as a sheet."""
    there = layer.alpha > 0
    nearness = np.where(there, 1 / np.where(there, layer.depth, 1), 0)
    return Sheet(layer.light * layer.alpha[..., None], layer.alpha, nearness.astype(np.float32), layer.corner)


def lay_over(sheets: Sequence[Sheet], ground: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """The light of sheets over a background, in linear RGB."""
    light = ground.copy()
    sheets = [sheet for sheet in sheets if sheet.alpha.size]
    for sheet in sheets:  # any order is right where only one of them is
        light[sheet.window] *= cv2.cvtColor(1 - sheet.alpha, cv2.COLOR_GRAY2RGB)
        light[sheet.window] += sheet.color
    if len(sheets) < 2:
        return light
    covered = np.zeros(ground.shape[:2], dtype=np.uint8)
    for sheet in sheets:
        covered[sheet.window] += sheet.alpha > 0
    crossed = np.nonzero(covered > 1)
    if len(crossed[0]):
        light[crossed] = _in_order([_at(sheet, *crossed) for sheet in sheets], ground[crossed])
    return light


class _Column(NamedTuple):
    """What a sheet shows at n pixels."""

    color: NDArray[np.float32]
    alpha: NDArray[np.float32]
    nearness: NDArray[np.float32]


def _at(sheet: Sheet, row: NDArray[np.int64], column: NDArray[np.int64]) -> _Column:
    """A sheet at pixels of the picture: nothing outside its window."""
    height, width = sheet.alpha.shape
    row, column = row - sheet.corner[0], column - sheet.corner[1]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    found = _Column(*(np.zeros((len(row), *values.shape[2:]), dtype=np.float32) for values in sheet[:3]))
    for to, values in zip(found, sheet[:3], strict=True):
        to[inside] = values[row[inside], column[inside]]
    return found


def _in_order(columns: Sequence[_Column], light: NDArray[np.float32]) -> NDArray[np.float32]:
    """The light (n, 3) of pixels that several sheets share: from the farthest to the nearest."""
    color, alpha, nearness = (np.stack(values) for values in zip(*columns, strict=True))
    for row in np.argsort(nearness, axis=0, kind="stable"):
        light = light * (1 - np.take_along_axis(alpha, row[None], 0)[0])[:, None]
        light += np.take_along_axis(color, row[None, :, None], 0)[0]
    return light
