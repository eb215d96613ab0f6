"""Scenes: photos that look alike, such as the frames of one video, and must not be told apart by a split.

Two photos are of one scene if their thumbnails correlate, or if a chain of such pairs leads from one to the
other. On 370 frames of six videos and seven places no two of these were joined (the closest pair correlates by
0.78); the videos came back whole, and the places, which a camera walks through, as 59 scenes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, Int64

from knuckle.data.duplicates import THUMBNAIL, thumbnail
from knuckle.data.images import ImageError, read_image

SAME_SCENE: Final = 0.9
"""Correlation of two photos' thumbnails from which they show one scene."""

_CHUNK: Final = 512


def scenes_of(paths: Sequence[Path], progress: Callable[[int], object] | None = None) -> Int64[np.ndarray, " n"]:
    """The scene of each photo, numbered from 0 as they come; a photo that cannot be read is a scene of its own.

    Args:
        paths: the photos; each is opened once.
        progress: called after every photo with the number of photos opened.
    """
    thumbnails = np.zeros((len(paths), THUMBNAIL**2), dtype=np.float32)
    for row, path in enumerate(paths):
        with suppress(ImageError):  # zeros correlate with nothing
            thumbnails[row] = thumbnail(read_image(path))
        if progress is not None:
            progress(row + 1)
    return alike(thumbnails)


def alike(thumbnails: Float32[np.ndarray, "n pixels"]) -> Int64[np.ndarray, " n"]:
    """The connected groups of rows that correlate by `SAME_SCENE` or more, numbered from 0 as they come."""
    links: list[Int64[np.ndarray, " k"]] = []
    for first in range(0, len(thumbnails), _CHUNK):
        near = thumbnails[first : first + _CHUNK] @ thumbnails.T >= SAME_SCENE
        links += [np.flatnonzero(row) for row in near]
    return joined(len(thumbnails), links)


def joined(count: int, links: Sequence[Int64[np.ndarray, " k"]]) -> Int64[np.ndarray, " n"]:
    """The groups of `count` things, numbered from 0 as they come, where each link joins the things that it names.

    A link may name any number of things; those that no link names stay alone.
    """
    parent = list(range(count))

    def root(thing: int) -> int:
        while parent[thing] != thing:
            parent[thing] = parent[parent[thing]]
            thing = parent[thing]
        return thing

    for link in links:
        for thing in link[1:].tolist():
            one, other = root(int(link[0])), root(thing)
            parent[max(one, other)] = min(one, other)
    roots = np.array([root(thing) for thing in range(count)], dtype=np.int64)
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)
