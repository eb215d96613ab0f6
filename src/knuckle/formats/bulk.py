"""Annotation files with a hundred thousand records, handled as arrays instead of record by record."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection meanwhile: a parsed file is millions of lists, none of them garbage.

    Searching them for some would take as long as parsing does.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def stack(records: Sequence[Any], shape: tuple[int, ...]) -> tuple[Float64[np.ndarray, "n ..."], dict[int, str]]:
    """All records as one array (n, *shape), and by index what is wrong with those that do not fit.

    The wrong ones are NaN in the array. What is wrong continues a sentence that begins with the
    record's name: "has shape (20, 3) instead of (21, 3)".
    """
    whole = _numbers(records)
    if whole is not None and whole.shape == (len(records), *shape):
        return whole.astype(np.float64, copy=False), {}
    stacked, faults = np.full((len(records), *shape), np.nan), dict[int, str]()
    for index, record in enumerate(records):
        numbers = _numbers(record)
        if numbers is None:
            faults[index] = f"is not an array of numbers of shape {shape}"
        elif numbers.shape != shape:
            faults[index] = f"has shape {numbers.shape} instead of {shape}"
        else:
            stacked[index] = numbers
    return stacked, faults


def missing_images(root: Path, names: Sequence[str]) -> list[int]:
    """Indices of the names that are no file under `root`; lists each folder once instead of asking for each file."""
    listed, missing = dict[str, set[str]](), list[int]()
    for index, name in enumerate(names):
        folder, _, file = name.rpartition("/")
        if folder not in listed:
            listed[folder] = set(listing(root / folder))
        if file not in listed[folder]:
            missing.append(index)
    return missing


def listing(folder: Path) -> list[str]:
    """Names of what is in a folder; empty where there is no such folder."""
    try:
        with os.scandir(folder) as entries:  # Path.iterdir would build 130,240 paths
            return [entry.name for entry in entries]
    except OSError:
        return []


def _numbers(value: Any) -> NDArray[Any] | None:
    try:
        array = np.array(value)
    except (ValueError, TypeError, OverflowError):  # ragged, or no numbers at all
        return None
    return array if array.dtype.kind in "iuf" else None
