"""Rendered hands as training data: which hand a row is, what an epoch shows, what its pictures follow from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from knuckle.data import rendered
from knuckle.data.rendered import RenderedHands
from knuckle.render import SceneConfig, render

EPOCH = RenderedHands(count=4, seed=7, size=24)


def test_row_r_of_epoch_e_is_hand_e_times_count_plus_r_of_its_sequence() -> None:
    images, hands = EPOCH.render([3, 0], epoch=2)
    expected_images, expected = render(4, seed=7, size=24, first=8, device="cpu")
    np.testing.assert_array_equal(images, expected_images[[3, 0]])
    np.testing.assert_array_equal(hands.xy, expected.xy[[3, 0]])
    np.testing.assert_array_equal(hands.group, [11, 8])
    assert hands.image.tolist() == EPOCH.names([3, 0], epoch=2)
    assert EPOCH.names([3], epoch=2) == ["hand 11 of rendered sequence 7"]


def test_factors_that_are_switched_off_are_not_in_the_pictures() -> None:
    config = replace(SceneConfig(), backgrounds=None, occluders=None, sensor=None)
    images, _ = replace(EPOCH, config=config).render(range(4))
    expected, _ = render(4, seed=7, size=24, config=config, device="cpu")
    np.testing.assert_array_equal(images, expected)
    levels, counts = np.unique(images, return_counts=True)
    assert abs(levels[counts.argmax()].astype(int) - 120) <= 1, "plain grey behind every hand"


def test_epochs_share_no_hand() -> None:
    numbers = [EPOCH.render(range(len(EPOCH)), epoch)[1].group for epoch in range(3)]
    assert np.concatenate(numbers).tolist() == list(range(12))


def test_many_hands_are_rendered_a_few_at_a_time_and_stay_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = EPOCH.render(range(4))
    monkeypatch.setattr(rendered, "TOGETHER", 3)
    in_parts = EPOCH.render(range(4))
    np.testing.assert_array_equal(at_once[0], in_parts[0])
    assert at_once[1] == in_parts[1]
