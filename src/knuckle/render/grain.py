"""Normal noise for whole pictures, from a fixed table.

Drawing a normal number for each value of a picture takes as long as everything else that happens to it on its way
through the sensor. A sum of two stretches of a table of normal numbers, each from a random place on, is normal too,
costs one addition a value, and hardly ever comes twice.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Float32

_TABLE: Final = 1 << 18
_STRETCH: Final = 1 << 14
"""Values that are read in one go; the next ones come from other places."""


def normal_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Float32[np.ndarray, "*shape"]:
    """Noise of mean 0 and standard deviation 1; `rng` draws where in the table it is read."""
    count = math.prod(shape)
    noise = np.empty(count, dtype=np.float32)
    table = _table()
    places = rng.integers(_TABLE, size=(-(-count // _STRETCH), 2)).tolist()
    for start, (first, second) in zip(range(0, count, _STRETCH), places, strict=True):
        part = noise[start : start + _STRETCH]
        np.add(table[first : first + len(part)], table[second : second + len(part)], out=part)
    return noise.reshape(shape)


@lru_cache(maxsize=1)
def _table() -> Float32[np.ndarray, " n"]:
    """Normal numbers of variance 1/2, with room for a stretch after the last place."""
    rng = np.random.Generator(np.random.SFC64(0))
    return rng.standard_normal(_TABLE + _STRETCH, dtype=np.float32) * np.float32(math.sqrt(0.5))
