"""The cache of parsed files: valid until a source changes, and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from knuckle.formats import cache
from knuckle.formats.cache import CacheEntry

ARRAYS = {"xy": np.arange(6, dtype=np.float32).reshape(3, 2), "image": np.array(["ä.jpg", "b.jpg", "c"])}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KNUCKLE_CACHE", raising=False)
    monkeypatch.setattr(cache, "SMALLEST_SOURCE", 3)
    (tmp_path / "source.json").write_text("[1, 2]")
    return tmp_path / "source.json"


def entries(source: Path) -> list[Path]:
    return sorted((source.parent / "cache").rglob("*.*"))


def test_what_is_stored_comes_back(source: Path) -> None:
    assert CacheEntry.of("reader", [source]).load() is None
    CacheEntry.of("reader", [source]).store(ARRAYS)
    loaded = CacheEntry.of("reader", [source]).load()
    assert loaded is not None
    assert loaded.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(loaded[name], array)
    assert [file.suffix for file in entries(source)] == [".npz"]


def test_the_home_folder_is_used_where_no_other_is_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(source.parent / "home"))
    monkeypatch.setenv("USERPROFILE", str(source.parent / "home"))
    file = CacheEntry.of("reader", [source]).file
    assert file is not None
    assert file.parent == source.parent / "home" / ".cache" / "knuckle"


def test_a_changed_source_is_read_again_and_replaces_its_entry(source: Path) -> None:
    CacheEntry.of("reader", [source]).store(ARRAYS)
    before = source.stat().st_mtime_ns
    source.write_text("[1, 3]")
    os.utime(source, ns=(before + 1, before + 1))
    assert CacheEntry.of("reader", [source]).load() is None
    os.utime(source, ns=(before, before))
    assert CacheEntry.of("reader", [source]).load() is not None
    source.write_text("[1, 2, 3]")
    os.utime(source, ns=(before, before))
    assert CacheEntry.of("reader", [source]).load() is None
    CacheEntry.of("reader", [source]).store(ARRAYS)
    assert len(entries(source)) == 1


def test_entries_belong_to_a_reader_a_path_and_a_version(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CacheEntry.of("reader", [source]).store(ARRAYS)
    other = source.parent / "other.json"
    other.write_text("[1, 2]")
    os.utime(other, ns=(source.stat().st_mtime_ns,) * 2)
    assert CacheEntry.of("reader", [other]).load() is None
    assert CacheEntry.of("another", [source]).load() is None
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    assert CacheEntry.of("reader", [source]).load() is None


def test_it_can_be_turned_off(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CacheEntry.of("reader", [source]).store(ARRAYS)
    monkeypatch.setenv("KNUCKLE_CACHE", "off")
    assert CacheEntry.of("reader", [source]).load() is None
    CacheEntry.of("another", [source]).store(ARRAYS)
    assert len(entries(source)) == 1


def test_small_sources_are_not_kept(source: Path) -> None:
    source.write_text("[]")
    CacheEntry.of("reader", [source]).store(ARRAYS)
    assert entries(source) == []


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign", "pickled"])
def test_a_damaged_entry_counts_as_none(damage: str, source: Path) -> None:
    entry = CacheEntry.of("reader", [source])
    entry.store(ARRAYS)
    assert entry.file is not None
    data = entry.file.read_bytes()
    if damage == "pickled":
        np.savez(entry.file, fingerprint=entry.fingerprint, xy=np.array([{}], dtype=object))
    else:
        numbers = ARRAYS["xy"].tobytes()
        assert numbers in data
        broken = {
            "empty": b"",
            "cut": data[: len(data) // 2],
            "flipped": data.replace(numbers, numbers[::-1]),
            "foreign": b"no zip at all",
        }[damage]
        entry.file.write_bytes(broken)
    assert entry.load() is None


def test_a_folder_that_cannot_be_written_is_no_error(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source.parent / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(source.parent / "file"))
    entry = CacheEntry.of("reader", [source])
    entry.store(ARRAYS)
    assert entry.load() is None


def test_a_failed_write_leaves_nothing_behind(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    CacheEntry.of("reader", [source]).store(ARRAYS)
    assert entries(source) == []
