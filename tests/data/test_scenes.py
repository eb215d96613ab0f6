"""Scenes: photos that look alike are joined, through chains as well, and different places are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from knuckle.data.scenes import alike, joined, scenes_of
from tests.predict.centroid import light_at, save_rgb


def test_neighbours_of_neighbours_are_one_scene(tmp_path: Path) -> None:
    places = [(30.0, 30.0), (130.0, 90.0), (33.0, 30.0), (36.0, 30.0), (39.0, 30.0), (42.0, 30.0)]
    paths = [tmp_path / f"{number}.png" for number in range(len(places))]
    for path, place in zip(paths, places, strict=True):
        save_rgb(str(path), light_at(place, spread=12.0))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG")
    counted: list[int] = []
    scenes = scenes_of([*paths, broken, broken], counted.append)
    assert scenes.tolist() == [0, 1, 0, 0, 0, 0, 2, 3]
    assert counted[-1] == 8


def test_flat_pictures_look_like_nothing() -> None:
    assert alike(np.zeros((3, 256), dtype=np.float32)).tolist() == [0, 1, 2]


@given(st.integers(1, 12), st.lists(st.lists(st.integers(0, 11), max_size=4), max_size=8))
def test_links_join_as_sets_that_overlap_do(count: int, links: list[list[int]]) -> None:
    valid = [[thing for thing in link if thing < count] for link in links]
    sets = [{thing} for thing in range(count)]
    for link in valid:
        touched = [group for group in sets if group & set(link)]
        sets = [group for group in sets if not group & set(link)] + ([set().union(*touched)] if touched else [])
    found = joined(count, [np.array(link, dtype=np.int64) for link in valid])
    assert {frozenset(np.flatnonzero(found == number).tolist()) for number in set(found.tolist())} == set(
        map(frozenset, sets)
    )
    firsts = [found.tolist().index(number) for number in range(found.max() + 1)]
    assert firsts == sorted(firsts)
