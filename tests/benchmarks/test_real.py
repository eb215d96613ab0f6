"""Shipped models are measured on photos that they have not seen."""

from __future__ import annotations

from pathlib import Path

from benchmarks.real import real_hands
from knuckle.formats import read, write
from tests.formats.fakes import example_hands

LABELS = Path(__file__).parents[2] / "labels"


def test_pinches_are_those_that_nothing_is_trained_on(tmp_path: Path) -> None:
    write(example_hands(tmp_path / "photos"), tmp_path / "photos" / "annotations.json", "coco")
    sets = real_hands(tmp_path)
    assert list(sets) == ["pinch_mit", "photos"]
    assert len(sets["photos"]) == 3
    assert {path.parent for path in sets["pinch_mit"].paths()} == {tmp_path / "pinch_mit" / "images"}
    learnt = read(LABELS / "pinch_mit_training.json")
    assert set(sets["pinch_mit"].group.tolist()).isdisjoint(learnt.group.tolist())
    assert set(sets["pinch_mit"].image.tolist()).isdisjoint(learnt.image.tolist())
