"""A cache of parsed annotation files: arrays in `.npz`, valid until a source file changes.

Parsing a hundred megabytes of JSON takes a second or two, loading the same numbers as arrays a
twentieth of that. Entries lie in `$XDG_CACHE_HOME/knuckle` (or `~/.cache/knuckle`), one a source,
and hold no pickle. `KNUCKLE_CACHE=off` turns it off. The cache never fails: an entry that cannot be
read counts as absent, one that cannot be written is not written.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

VERSION: Final = 1
"""To be raised whenever a reader changes what it stores, or how it gets there."""

SMALLEST_SOURCE: Final = 1_000_000
"""Bytes of source below which parsing is as quick as a cache."""

_FINGERPRINT: Final = "fingerprint"


@dataclass(frozen=True)
class CacheEntry:
    """The arrays parsed from some files, as they were when `of` was called.

    Attributes:
        file: where the arrays are kept, or None where nothing is to be cached.
        fingerprint: (1 + 2 files,) int64, the version, then size and modification time of each source.
    """

    file: Path | None
    fingerprint: Int64[np.ndarray, " m"]

    @classmethod
    def of(cls, reader: str, sources: Sequence[Path]) -> CacheEntry:
        """The entry for what `reader` makes of these files. Call it before reading them."""
        stats = [source.stat() for source in sources]
        numbers = [VERSION, *(number for stat in stats for number in (stat.st_size, stat.st_mtime_ns))]
        fingerprint = np.array(numbers, dtype=np.int64)
        if os.environ.get("KNUCKLE_CACHE") == "off" or sum(stat.st_size for stat in stats) < SMALLEST_SOURCE:
            return cls(None, fingerprint)
        name = "\n".join([reader, *(str(source.resolve()) for source in sources)])
        return cls(_folder() / f"{hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}.npz", fingerprint)

    def load(self) -> dict[str, NDArray[Any]] | None:
        """The arrays, or None where there is no entry, it is out of date, or it is damaged."""
        if self.file is None or not self.file.is_file():
            return None
        try:
            with np.load(self.file, allow_pickle=False) as stored:
                if not np.array_equal(stored[_FINGERPRINT], self.fingerprint):
                    return None
                return {name: stored[name] for name in stored.files if name != _FINGERPRINT}
        # A damaged file fails in many ways (zip, zlib, header, memory); all mean: read the source.
        except Exception:
            return None

    def store(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep the arrays, in one step: another process sees the old entry or the new one."""
        if self.file is None:
            return
        named: dict[str, Any] = {_FINGERPRINT: self.fingerprint, **arrays}
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(dir=self.file.parent, suffix=".tmp")
        except OSError:
            return
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **named)
            Path(draft).replace(self.file)
        except OSError:
            Path(draft).unlink(missing_ok=True)


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "knuckle"
