"""The journal keeps every number, survives being cut off anywhere, and refuses other settings."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from knuckle.hands import Hands
from knuckle.predict.journal import Entry, Journal, read_journal

SETTINGS = {"model": "m", "flip test": False}


def entry(name: str, count: int, seed: int = 0) -> Entry:
    rng = np.random.default_rng(seed)
    hands = Hands(
        image=[name] * count,
        xy=rng.normal(100, 60, (count, 21, 2)),
        visibility=rng.integers(0, 3, (count, 21)),
        box=np.tile((-0.5, -0.5, 159.5, 119.5), (count, 1)),
        size=np.tile((160, 120), (count, 1)),
        side=rng.integers(-1, 2, count),
        covariance=rng.normal(size=(count, 21, 2, 2)),
        score=rng.random(count),
        side_probability=np.where(np.arange(count) == 1, np.nan, 0.75),
    )
    return Entry(name, (160, 120), hands)


def same(left: Entry, right: Entry) -> bool:
    return left._replace(hands=Hands.empty()) == right._replace(hands=Hands.empty()) and left.hands == right.hands


ENTRIES = [
    entry("a.jpg", 2),
    entry("ä b.jpg", 1, 1),
    Entry("c.jpg", (5, 6), Hands.empty()),
    Entry("d.jpg", (0, 0), Hands.empty(), "d.jpg is cut off."),
    entry("../e.jpg", 3, 2),
]


def write(path: Path) -> None:
    with Journal(path, SETTINGS) as journal:
        for item in ENTRIES:
            journal.add(item)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.partial"
    write(path)
    back = list(read_journal(path))
    assert len(back) == len(ENTRIES)
    assert all(same(left, right) for left, right in zip(back, ENTRIES, strict=True))


@given(arrays(np.float32, (1, 21, 2), elements=st.floats(-(2.0**60), 2.0**60, width=32)))
def test_every_float32_survives(xy: np.ndarray) -> None:
    hands = Hands(image=["a"], xy=xy, visibility=np.full((1, 21), 2))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.partial"
        with Journal(path, SETTINGS) as journal:
            journal.add(Entry("a", (1, 1), hands))
        np.testing.assert_array_equal(next(iter(read_journal(path))).hands.xy, xy)


def test_a_journal_cut_off_anywhere_goes_on_where_it_was_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.partial"
    write(path)
    whole = path.read_bytes()
    ends = [end for end, byte in enumerate(whole, start=1) if byte == ord("\n")]
    for cut in [*range(0, len(whole), 997), *ends, *(end - 1 for end in ends)]:
        path.write_bytes(whole[:cut])
        kept = max(0, sum(end <= cut for end in ends) - 1)
        with Journal(path, SETTINGS, resume=True) as journal:
            assert journal.done == {item.name for item in ENTRIES[:kept]}
            for item in ENTRIES[kept:]:
                journal.add(item)
        assert path.read_bytes() == whole


def test_the_tally_counts_earlier_runs_too(tmp_path: Path) -> None:
    path = tmp_path / "x.partial"
    write(path)
    with Journal(path, SETTINGS, resume=True) as journal:
        journal.add(entry("f.jpg", 1))
        tally = journal.tally
    assert (tally.images, tally.hands, tally.without_boxes, tally.new) == (5, 7, 1, 1)
    assert tally.skipped == ["d.jpg is cut off."]


def test_without_resume_a_journal_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.partial"
    write(path)
    with Journal(path, SETTINGS) as journal:
        assert journal.done == set()
    assert list(read_journal(path)) == []


def test_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.partial"
    write(path)
    with pytest.raises(ValueError, match=r"begun with model 'm', now it is 'n'"):
        Journal(path, SETTINGS | {"model": "n"}, resume=True)


@pytest.mark.parametrize("text", ["not json\n", '{"model": "m", "flip test": false}\n{"size": [1, 2]}\n'])
def test_a_foreign_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.partial"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x\.partial:\d .*delete the file"):
        Journal(path, SETTINGS, resume=True)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot be written"):
        Journal(tmp_path / "file" / "x.partial", SETTINGS)
