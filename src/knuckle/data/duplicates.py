"""Copies, of labels and of pictures, and image files that are not what the labels say.

Copies inside one group (the frames of a video, FreiHAND's four versions) are how the set was made.
Across groups they leak from training into testing, and within one image a hand was labelled twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from knuckle.data.images import ImageError, read_image
from knuckle.data.suspicions import Suspicion
from knuckle.hands import Hands, keypoint_extent

COPY_PX: Final = 1.0
"""Labels are copies if no coordinate differs by more."""
FEWEST_POINTS: Final = 3
ALIKE: Final = 0.998
"""Correlation of two pictures' thumbnails from which they count as the same picture."""
THUMBNAIL: Final = 16
LEAST_CONTRAST: Final = 3.0
"""Thumbnails flatter than this, in grey levels, correlate by chance."""
_NEIGHBOURS: Final = 3
_CHUNK: Final = 512


def copied_labels(hands: Hands) -> list[Suspicion]:
    """Hands whose labels are another's to within `COPY_PX`: on the same image, or in another group."""
    pairs: dict[int, int] = {}
    for earlier, later in _copies(hands):
        pairs.setdefault(later, earlier)
    found = []
    for later, earlier in sorted(pairs.items()):
        same_image = hands.image[earlier] == hands.image[later]
        where = "on the same image" if same_image else f"in another group ({hands.image[earlier]})"
        sentence = f"its keypoints are those of row {earlier} {where}"
        found.append(Suspicion(later, "copied labels", 3.0 if same_image else 2.5, sentence))
    return found


class ImageCheck(NamedTuple):
    """What the image files show.

    Attributes:
        suspicions: copies and wrong sizes, each on the first row of its image.
        images: how many images the set has.
        checked: how many of them were opened.
        unreadable: one sentence for each opened image that cannot be used.
    """

    suspicions: list[Suspicion]
    images: int
    checked: int
    unreadable: list[str]


def check_images(hands: Hands, limit: int) -> ImageCheck:
    """Opens images and looks for copies and for sizes that differ from the labels'.

    An image is a copy if another file has the same bytes, or if it looks the same and belongs to
    another group; frames of one video look alike by nature.

    Args:
        hands: the table; each of its images is opened once.
        limit: how many images to open at most, spread evenly over the set.
    """
    rows = np.sort(np.unique(hands.image, return_index=True)[1])
    chosen = rows[:: max(1, -(-len(rows) // max(limit, 1)))][:limit]
    opened: list[tuple[int, _Content]] = []
    unreadable: list[str] = []
    thumbnails = np.zeros((len(chosen), THUMBNAIL**2), dtype=np.float32)
    for row in chosen.tolist():
        try:
            content = _content(hands[row].paths()[0])
        except ImageError as error:
            unreadable.append(str(error))
            continue
        thumbnails[len(opened)] = content.thumbnail
        opened.append((row, content))
    found = dict(_wrong_sizes(hands, opened))
    found |= dict(_alike_images(hands, opened, thumbnails))
    found |= dict(_same_files(hands, opened))
    return ImageCheck(list(found.values()), len(rows), len(chosen), unreadable)


class _Content(NamedTuple):
    digest: bytes
    size_wh: tuple[int, int]
    thumbnail: Float32[np.ndarray, " pixels"]  # centred and of unit length; zeros for a flat picture


def _content(path: Path) -> _Content:
    image = read_image(path)
    digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    return _Content(digest, (image.shape[1], image.shape[0]), thumbnail(image))


def thumbnail(image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " pixels"]:
    """A picture as few grey levels, centred and of unit length, so that products are correlations; zeros if flat."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    norm = float(np.linalg.norm(small))
    return np.zeros_like(small) if norm < LEAST_CONTRAST * THUMBNAIL else small / np.float32(norm)


def _wrong_sizes(hands: Hands, opened: list[tuple[int, _Content]]) -> Iterator[tuple[int, Suspicion]]:
    for row, content in opened:
        told = tuple(hands.size[row].tolist())
        if 0 not in told and told != content.size_wh:
            width, height = content.size_wh
            sentence = f"its image has {width} x {height} pixels, the labels say {told[0]} x {told[1]}"
            yield row, Suspicion(row, "image size", 4.0, sentence)


def _same_files(hands: Hands, opened: list[tuple[int, _Content]]) -> Iterator[tuple[int, Suspicion]]:
    first: dict[bytes, int] = {}
    for row, content in opened:
        twin = first.setdefault(content.digest, row)
        if twin != row:
            leaks = hands.group[row] != hands.group[twin]
            sentence = f"its image is byte for byte that of row {twin} ({hands.image[twin]})"
            yield row, Suspicion(row, "copied image", 3.0 if leaks else 1.0, sentence)


def _alike_images(
    hands: Hands, opened: list[tuple[int, _Content]], thumbnails: Float32[np.ndarray, "n pixels"]
) -> Iterator[tuple[int, Suspicion]]:
    for first in range(0, len(opened), _CHUNK):
        correlation = thumbnails[first : first + _CHUNK] @ thumbnails[: first + _CHUNK].T
        for place, earlier in np.argwhere(correlation >= ALIKE).tolist():
            row, twin = opened[min(first + place, len(opened) - 1)][0], opened[min(earlier, len(opened) - 1)][0]
            if twin < row and hands.group[row] != hands.group[twin]:
                sentence = f"its image looks like that of row {twin} in another group ({hands.image[twin]})"
                yield row, Suspicion(row, "copied image", 2.0, sentence)


def _copies(hands: Hands) -> Iterator[tuple[int, int]]:
    """Pairs of rows whose labels agree, the earlier row first; a pair may come more than once.

    Hands are put into cells by the mean and the extent of their points, six numbers that a copy
    changes by at most `COPY_PX`. The six can straddle at most six of seven grids that are shifted
    against each other by more than that, so a copy shares a cell with its original in at least one.
    Within a cell each hand is compared with the next few.
    """
    labeled = hands.labeled
    rows = np.flatnonzero(labeled.sum(axis=1) >= FEWEST_POINTS)
    if not len(rows):
        return
    images = np.unique(hands.image, return_inverse=True)[1]
    features = np.concatenate([np.nanmean(hands.xy[rows], axis=1), keypoint_extent(hands.xy[rows])], axis=1)
    mask = labeled[rows] @ (1 << np.arange(labeled.shape[1]))
    grids = features.shape[1] + 1
    shift = 1.01 * COPY_PX
    for grid in range(grids):
        cells = np.floor((features + grid * shift) / (grids * shift)).astype(np.int64)
        keys = np.column_stack([mask, cells])
        order = np.lexsort((rows, hands.group[rows], *keys.T))
        keys, placed = keys[order], rows[order]
        for step in range(1, _NEIGHBOURS + 1):
            near = np.flatnonzero((keys[step:] == keys[:-step]).all(axis=1))
            pairs = np.sort(np.stack([placed[near], placed[near + step]], axis=1), axis=1)
            one, two = pairs.T
            pairs = pairs[(hands.group[one] != hands.group[two]) | (images[one] == images[two])]
            difference = np.nan_to_num(np.abs(hands.xy[pairs[:, 0]] - hands.xy[pairs[:, 1]]))
            yield from pairs[difference.max(axis=(1, 2)) <= COPY_PX].tolist()
