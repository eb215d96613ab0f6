"""The study's two sets from rendered hands: FreiHAND's layout and Labelme files that read back as they were made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import knuckle
from examples import rendered_study
from examples.rendered_study import BASE, OWN, balanced, write_base
from knuckle.hands import RIGHT
from knuckle.skeleton import GESTURES
from knuckle.study.lists import read_lists


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hands")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendered_study, "FRAME", 48)
        patch.setattr(rendered_study, "PHOTO", 64)
        rendered_study.main(folder, base=1, own=1, seed=3)
    return folder


def test_the_base_set_reads_as_freihand_with_the_keypoints_that_were_rendered(tmp_path: Path) -> None:
    images, labels = balanced(BASE, 1, 5, 32)
    write_base(tmp_path, images, labels)
    hands = knuckle.read(tmp_path, split="evaluation")
    assert len(hands) == len(GESTURES)
    np.testing.assert_allclose(hands.xy, labels.xy, atol=1e-3)
    assert sorted(labels.gesture.tolist()) == list(range(len(GESTURES)))


def test_every_gesture_is_listed_once_and_found_again(folder: Path) -> None:
    entries = read_lists(folder / "lists")
    assert [entry.gesture for entry in entries] == list(range(len(GESTURES)))
    images = {Path(image).name for image in knuckle.read(folder / "FreiHAND", split="evaluation").image}
    assert {Path(entry.image).name for entry in entries} == images


def test_own_photos_are_other_hands_with_gestures_of_their_own(folder: Path) -> None:
    own = knuckle.read(folder / "own")
    assert sorted(own.gesture.tolist()) == list(range(len(GESTURES)))
    assert (own.size == 64).all()
    assert (own.side == RIGHT).all()
    assert OWN.lights != BASE.lights
    assert OWN.lens != BASE.lens
