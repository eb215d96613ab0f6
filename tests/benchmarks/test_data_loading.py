"""The generated releases are read whole, record for record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import knuckle
from benchmarks import data_loading
from benchmarks.data_loading import measure_rhd, write_release, write_rhd_release


def test_rhd_has_two_hands_an_image_but_those_that_are_hardly_seen(tmp_path: Path) -> None:
    expected = write_rhd_release(tmp_path, 40, np.random.default_rng(0))
    hands = knuckle.read(tmp_path, "rhd", "training")
    assert 40 < len(hands) == expected < 80
    assert len(np.unique(hands.image)) == 40
    assert all(path.is_file() for path in hands.paths())


def test_rhd_is_measured(tmp_path: Path) -> None:
    rows = measure_rhd(tmp_path / "rhd", runs=1, images=5)
    assert [row.name for row in rows] == ["5 RHD images: pickle.loads alone", "5 RHD images: every time"]
    assert all(row.median > 0 for row in rows)


def test_freihand_is_the_release_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_loading, "UNIQUE", 6)
    write_release(tmp_path, np.random.default_rng(0))
    assert len(knuckle.read(tmp_path, "freihand", "training")) == 6 * data_loading.VERSIONS
