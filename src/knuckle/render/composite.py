"""Hands and objects over each other and over their background, pixel by pixel, the nearest on top.

A sheet is what one of them shows: colour multiplied by its share of the pixel, that share, and how near it
is. Edges stay soft: what covers half a pixel lets half of the next one show through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from knuckle.render import object_view


class Sheet(NamedTuple):
    """One hand or object in one picture; `nearness` is 1 / mm, 0 where it is not."""

    color: Float32[np.ndarray, "h w 3"]
    alpha: Float32[np.ndarray, "h w"]
    nearness: Float32[np.ndarray, "h w"]


def sheet_of(layer: object_view.Layer) -> Sheet:
    """What an object shows, as a sheet."""
    there = layer.alpha > 0
    nearness = np.where(there, 1 / np.where(there, layer.depth, 1), 0)
    return Sheet(layer.light * layer.alpha[..., None], layer.alpha, nearness.astype(np.float32))


def lay_over(sheets: Sequence[Sheet], ground: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """The light of sheets over a background, in linear RGB."""
    light = ground.copy()
    for sheet in sheets:  # any order is right where only one of them is
        light *= (1 - sheet.alpha)[..., None]
        light += sheet.color
    covered = np.zeros(ground.shape[:2], dtype=np.uint8)
    for sheet in sheets:
        covered += sheet.alpha > 0
    crossed = np.nonzero(covered > 1)
    if len(crossed[0]):
        light[crossed] = _in_order([Sheet(*(column[crossed] for column in sheet)) for sheet in sheets], ground[crossed])
    return light


def _in_order(sheets: Sequence[Sheet], light: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same for pixels (n, 3) that several sheets share: from the farthest to the nearest."""
    color, alpha, nearness = (np.stack(column) for column in zip(*sheets, strict=True))
    for row in np.argsort(nearness, axis=0, kind="stable"):
        light = light * (1 - np.take_along_axis(alpha, row[None], 0)[0])[:, None]
        light += np.take_along_axis(color, row[None, :, None], 0)[0]
    return light
