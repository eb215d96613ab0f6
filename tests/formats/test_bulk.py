"""Stacking many records into arrays, and finding missing images by listing folders."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knuckle.formats.bulk import collector_paused, missing_images, stack


def test_records_that_fit_are_stacked() -> None:
    array, faults = stack([[[1, 2.5]], [[3, 4]]], (1, 2))
    np.testing.assert_array_equal(array, [[[1, 2.5]], [[3, 4]]])
    assert array.dtype == np.float64
    assert faults == {}


def test_no_records_make_an_empty_array() -> None:
    array, faults = stack([], (21, 3))
    assert array.shape == (0, 21, 3)
    assert faults == {}


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ([1, 2, 3], "has shape (3,) instead of (2,)"),
        ([[1], [2]], "has shape (2, 1) instead of (2,)"),
        ([1], "has shape (1,) instead of (2,)"),
        ([1, [2]], "is not an array of numbers of shape (2,)"),
        ([1, "2"], "is not an array of numbers of shape (2,)"),
        ([1, None], "is not an array of numbers of shape (2,)"),
        ({"x": 1}, "is not an array of numbers of shape (2,)"),
        (None, "is not an array of numbers of shape (2,)"),
        ("ab", "is not an array of numbers of shape (2,)"),
        ([1, 10**400], "is not an array of numbers of shape (2,)"),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_record_that_does_not_fit_is_named_and_nan(record: Any, fault: str, alone: bool) -> None:
    records = [record] if alone else [[5, 6], record, [7, 8]]
    array, faults = stack(records, (2,))
    assert list(faults.values()) == [fault]
    (index,) = faults
    assert np.isnan(array[index]).all()
    if not alone:
        assert index == 1
        np.testing.assert_array_equal(array[[0, 2]], [[5, 6], [7, 8]])


def test_missing_images_are_found_by_listing(tmp_path: Path) -> None:
    for name in ("a.jpg", "sub/b.jpg", "sub/deep/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = ["a.jpg", "b.jpg", "sub/b.jpg", "none/b.jpg", "sub/deep/c.jpg", "sub/c.jpg", "a.jpg"]
    assert missing_images(tmp_path, names) == [1, 3, 5]
    assert missing_images(tmp_path, []) == []
    assert missing_images(tmp_path, [str(tmp_path / "a.jpg"), str(tmp_path / "z.jpg")]) == [1]


def test_the_collector_runs_again_after_a_failure() -> None:
    def fail() -> None:
        with collector_paused():
            assert not gc.isenabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert gc.isenabled()
