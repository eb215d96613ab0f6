"""Photos to time prediction on, where none are given: pictures of camera size with something to decode in them.

No hand is in them. What a network computes does not depend on what it sees, and a JPEG's decoding depends on how much
detail it holds: soft noise of a few pixels' grain compresses about as an indoor photo does (100 to 200 kB).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float32

from knuckle.draw import write_image

SIZE_WH: Final = (640, 480)

COUNT: Final = 8

BOX_SIDE: Final = 200
"""Pixels of a hand's box: a hand at arm's length from a laptop's camera."""


def make_pictures(folder: Path, count: int = COUNT) -> list[Path]:
    """JPEGs of `SIZE_WH` in the folder, the same ones every time."""
    rng = np.random.default_rng(0)
    width, height = SIZE_WH
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        coarse = rng.integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8)
        grain = rng.integers(0, 48, (height // 2, width // 2, 3), dtype=np.uint8)
        picture = 0.8 * cv2.resize(coarse, SIZE_WH, interpolation=cv2.INTER_CUBIC) + cv2.resize(grain, SIZE_WH)
        write_image(path, picture.clip(0, 255).astype(np.uint8))
    return paths


def boxes_of(hands: int) -> Float32[np.ndarray, "hands 4"]:
    """Boxes for so many hands in such a picture, evenly from left to right."""
    width, height = SIZE_WH
    centre = (np.arange(hands) + 0.5) * width / hands
    top = (height - BOX_SIDE) / 2
    rows = [(x - BOX_SIDE / 2, top, x + BOX_SIDE / 2, top + BOX_SIDE) for x in centre]
    return np.array(rows, dtype=np.float32).reshape(-1, 4)
