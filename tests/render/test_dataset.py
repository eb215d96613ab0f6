"""Rendered hands: the same in any batch, labelled, and refused with one sentence where numbers are wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from knuckle.draw import write_image
from knuckle.hands import LEFT, Hands
from knuckle.render import SceneConfig, render
from knuckle.render.backgrounds import Photos
from knuckle.render.dataset import label_batches, render_batches, render_labeled
from knuckle.render.labels import Labels

SIZE = 48


def test_hands_are_the_same_one_by_one_and_in_any_batch() -> None:
    images, hands = render(8, seed=1, size=SIZE, device="cpu")
    assert images.shape == (8, SIZE, SIZE, 3)
    assert images.dtype == np.uint8
    for index in range(8):
        alone, hand = render(1, seed=1, size=SIZE, device="cpu", first=index)
        np.testing.assert_array_equal(alone[0], images[index])
        assert hand == hands[index]
    backwards = list(render_batches([7, 5, 3, 1], 1, SIZE, device="cpu", batch=3))
    np.testing.assert_array_equal(np.concatenate([part for part, _ in backwards]), images[[7, 5, 3, 1]])
    assert Labels.concat([labels for _, labels in backwards]).hands() == hands[[7, 5, 3, 1]]


def test_another_seed_gives_other_hands() -> None:
    first, second = (render(2, seed=seed, size=SIZE, device="cpu") for seed in (0, 1))
    assert not np.array_equal(first[0], second[0])
    assert first[1] != second[1]


def test_labels_come_without_pictures_too() -> None:
    _, labels = render_labeled(5, 2, SIZE, device="cpu")
    assert labels is not None
    alone = Labels.concat(list(label_batches(range(5), 2, SIZE, device="cpu", batch=2)))
    assert alone.hands() == labels.hands()
    np.testing.assert_array_equal(alone.xyz, labels.xyz)


def test_whoever_takes_hands_as_they_come_may_still_train() -> None:
    for made in (render_batches([0, 1], size=32, device="cpu", batch=1), label_batches([0], size=32, device="cpu")):
        for part in made:
            assert torch.is_grad_enabled()
            assert len(part) >= 1


def test_the_picture_shows_the_hand_where_the_labels_are() -> None:
    """Without background, objects and sensor, visible keypoints lie on pixels that are not the plain grey."""
    config = SceneConfig(backgrounds=None, occluders=None, companions=None, sensor=None)
    images, hands = render(6, seed=4, size=96, config=config, device="cpu")
    differs = (images != 120).any(axis=-1)
    for row in range(len(hands)):
        for x, y in np.round(hands.xy[row][hands.visibility[row] == 2]).astype(int):
            assert differs[row, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].any()


def test_a_left_hand_is_the_mirror_of_a_right_one() -> None:
    """Same pose, same camera, lamp in the middle: the pictures mirror each other, and so do the labels."""
    plain = SceneConfig(
        shape=None,
        viewpoints=None,
        lens=None,
        framing=None,
        lights=None,
        backgrounds=None,
        occluders=None,
        companions=None,
        sensor=None,
    )
    _, right = render(4, size=96, config=replace(plain, left_hands=0.0), device="cpu")
    _, left = render(4, size=96, config=replace(plain, left_hands=1.0), device="cpu")
    assert (left.side == LEFT).all()
    mirrored = right.mirrored()
    np.testing.assert_allclose(left.xy, mirrored.xy, atol=1e-3)
    assert (left.visibility == mirrored.visibility).mean() > 0.97


def test_photos_serve_as_backgrounds(tmp_path: Path) -> None:
    write_image(tmp_path / "blue.png", np.full((60, 60, 3), (10, 20, 200), dtype=np.uint8))
    config = SceneConfig(backgrounds=Photos(tmp_path), occluders=None, companions=None, sensor=None, framing=None)
    images, _ = render(2, size=SIZE, config=config, device="cpu")
    assert (images == (10, 20, 200)).all(axis=-1).mean() > 0.2


def test_no_hands_are_an_empty_table() -> None:
    images, hands = render(0, size=SIZE, device="cpu")
    assert images.shape == (0, SIZE, SIZE, 3)
    assert hands == Hands.empty()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"count": -1}, "count must not be negative, got -1"),
        ({"size": 8}, "size must be at least 16 pixels, got 8"),
        ({"seed": -3}, "got seed -3"),
        ({"first": -2}, "hand -2"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
    ],
)
def test_wrong_numbers_are_one_sentence(wrong: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        render(**({"count": 1, "size": SIZE} | wrong), device="cpu")  # type: ignore[arg-type]
