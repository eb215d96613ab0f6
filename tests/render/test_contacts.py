"""The gap between pieces of the hand."""

from __future__ import annotations

import pytest
import torch

from knuckle.render.anatomy import ANGLES
from knuckle.render.bones import bend
from knuckle.render.collision import CAPSULE_NAMES, PAIRS, overlaps
from knuckle.render.contacts import Contact, gap


def test_a_gap_is_the_negative_overlap_of_its_pair() -> None:
    bones = bend(torch.zeros(2, len(ANGLES), dtype=torch.float64))
    for column in (0, 40, 100):
        first, second = PAIRS[column]
        own = gap(Contact(CAPSULE_NAMES[first], CAPSULE_NAMES[second]), bones)
        torch.testing.assert_close(own, -overlaps(bones)[:, column])


def test_the_palm_is_the_nearest_of_its_four_capsules() -> None:
    bones = bend(torch.zeros(1, len(ANGLES), dtype=torch.float64))
    parts = [gap(Contact("thumb distal", name), bones) for name in CAPSULE_NAMES if name.startswith("palm")]
    torch.testing.assert_close(gap(Contact("thumb distal", "palm"), bones), torch.stack(parts).amin(0))


def test_an_unknown_piece_is_refused() -> None:
    with pytest.raises(AssertionError):
        Contact("thumb distal", "elbow")
