"""Second hands: near, never through the first one, never hiding most of it, and drawn on their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float64

from knuckle.render import SceneConfig
from knuckle.render.camera import View
from knuckle.render.companions import Companions, approach, frame_of, rotation
from knuckle.render.config import Lens
from knuckle.render.dataset import render, stages
from knuckle.render.labels import surface_nearness
from knuckle.render.scene import Scene, draw_scenes, figure_solids
from knuckle.render.solids import Solid, distance
from knuckle.render.stage import Stage

ALWAYS = Companions(probability=1.0)
SIZE = 64


def _drawn(companions: Companions, count: int, seed: int = 3) -> list[Scene]:
    return draw_scenes(SceneConfig(companions=companions), seed, range(count))


def _both(scene: Scene) -> Solid:
    """Both hands along the camera's axes, from the first one's wrist."""
    assert isinstance(scene.view, View)
    first, second = scene.figures
    assert second.placement is not None
    turned = scene.view.axes * np.array([-1.0 if first.is_left else 1.0, 1.0, 1.0])
    turns = torch.from_numpy(np.stack([turned, second.placement.hand_to_camera]))
    shifts = torch.from_numpy(np.stack([np.zeros(3), second.placement.shift]))
    return figure_solids(scene.figures).moved(turns, shifts)


def _overlap(hands: Solid) -> float:
    """The deepest overlap of two hands, from points sampled along their axes: independent of `solids.distance`."""

    def points(row: int) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, " n"]]:
        part = torch.linspace(0, 1, 30, dtype=torch.float64)
        start, end = hands.start[:, row, :, None], hands.end[:, row, :, None]
        return (
            (start + (end - start) * part).permute(1, 2, 0).reshape(-1, 3).numpy(),
            hands.radius[:, None].expand(-1, 30).reshape(-1).numpy(),
        )

    (p, r), (q, s) = points(0), points(1)
    squared = (p**2).sum(1)[:, None] + (q**2).sum(1)[None] - 2 * p @ q.T
    return float((r[:, None] + s[None] - np.sqrt(np.maximum(squared, 0))).max())


def test_no_hand_runs_through_the_other() -> None:
    scenes = [scene for scene in _drawn(ALWAYS, 200) if len(scene.figures) == 2]
    assert len(scenes) > 190  # hardly any finds no place
    overlaps = [_overlap(_both(scene)) for scene in scenes]
    assert max(overlaps) <= 4.0
    assert np.mean(np.array(overlaps) > -1.0) > 0.3  # many touch


def test_hands_that_touch_touch_and_others_keep_their_gap() -> None:
    for touching, low, high in ((1.0, 0.0, 2.0), (0.0, -30.0, -20.0)):
        companions = replace(ALWAYS, touching=touching, clasped=0.0, gap=(20.0, 30.0), pressed=(0.0, 2.0))
        for scene in _drawn(companions, 20):
            both = _both(scene)
            overlap = -float(distance(both.rows([0]), both.rows([1])))
            assert low - 0.21 <= overlap <= high + 0.21


def test_a_second_hand_is_as_frequent_as_asked() -> None:
    scenes = _drawn(Companions(probability=0.3), 300)
    assert np.mean([len(scene.figures) == 2 for scene in scenes]) == pytest.approx(0.3, abs=0.08)


def test_sides_and_skin_are_those_of_one_person_or_of_two() -> None:
    for scene in _drawn(replace(ALWAYS, other_person=0.0), 12):
        first, second = scene.figures
        assert first.is_left != second.is_left
        assert torch.equal(first.material.dorsal, second.material.dorsal)
        assert torch.equal(first.material.sleeve, second.material.sleeve)
        np.testing.assert_array_equal(first.shape, second.shape)
    others = _drawn(replace(ALWAYS, other_person=1.0), 40)
    assert 0.2 < np.mean([scene.figures[0].is_left == scene.figures[1].is_left for scene in others]) < 0.8
    for scene in others:
        assert not torch.equal(scene.figures[0].material.dorsal, scene.figures[1].material.dorsal)


def test_a_placement_mirrors_a_left_hand_and_only_it() -> None:
    for scene in _drawn(replace(ALWAYS, other_person=0.5), 30):
        second = scene.figures[1]
        assert second.placement is not None
        turned = second.placement.hand_to_camera
        np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(turned) == pytest.approx(-1 if second.is_left else 1)


def test_switched_off_all_else_stays() -> None:
    """The other pictures are the same to the last bit, and so are the first hands' labels but for who hides them."""
    with_, without = SceneConfig(companions=Companions(probability=0.5)), SceneConfig(companions=None)
    accompanied = [len(scene.figures) == 2 for scene in draw_scenes(with_, 6, range(10))]
    assert 2 <= sum(accompanied) <= 8
    images, hands = render(10, 6, SIZE, config=with_, device="cpu")
    alone, alone_hands = render(10, 6, SIZE, config=without, device="cpu")
    for row, changes in enumerate(accompanied):
        assert np.array_equal(images[row], alone[row]) != changes
    labeled = alone_hands.labeled
    np.testing.assert_array_equal(hands.xy[labeled], alone_hands.xy[labeled])
    assert (hands.visibility <= alone_hands.visibility)[np.array(accompanied)].mean() > 0.97


def _stage(count: int) -> Stage:
    (stage,) = stages(range(count), 8, SIZE, SceneConfig(companions=ALWAYS, occluders=None), "cpu", count)
    return stage


def test_only_the_first_hand_has_labels_and_enough_of_it_stays_visible() -> None:
    stage = _stage(25)
    samples = stage.samples()
    labels = stage.labels(samples)
    assert labels.index.tolist() == list(range(25))
    assert len(stage.figures) > 40
    for at, row in enumerate(stage.labeled):
        others = [k for k, picture in enumerate(stage.pictures) if picture == at and k != row]
        xy = torch.from_numpy(labels.xy[at : at + 1])
        own = torch.maximum(surface_nearness(xy, samples, [row], SIZE), 1 / stage.keypoints[row, :, 2])
        for other in others:
            assert int((surface_nearness(xy, samples, [other], SIZE) <= own).sum()) >= 6


def test_the_second_hand_is_in_the_picture() -> None:
    stage = _stage(25)
    second = [row for row in range(len(stage.pictures)) if row not in stage.labeled]
    xy = stage.camera.rows(second).project(stage.keypoints[second])
    inside = ((xy > -0.5) & (xy < SIZE - 0.5)).all(-1).sum(1)
    assert (inside >= 4).all()  # 6 without the lens's distortion


def test_the_frame_is_what_the_camera_will_show() -> None:
    config = SceneConfig(companions=None, lens=replace(Lens(), distortion=(0.0, 0.0)))
    (stage,) = stages(range(8), 5, SIZE, config, "cpu", 8)
    for row, scene in enumerate(stage.scenes):
        assert isinstance(scene.view, View)
        frame = frame_of(scene.view, scene.figures[0].is_left, figure_solids(scene.figures))
        np.testing.assert_allclose(frame.hand_to_camera, stage.camera.hand_to_camera[row], atol=1e-6)
        if scene.view.distance > 600:  # nearer ones may step back from the arm
            np.testing.assert_allclose(frame.wrist, stage.camera.translation[row], atol=0.5)
            focal, principal = float(stage.camera.focal[row]), stage.camera.principal[row].numpy()
            np.testing.assert_allclose(frame.low * focal + principal, [-0.5, -0.5], atol=0.3)
            np.testing.assert_allclose(frame.high * focal + principal, [SIZE - 0.5] * 2, atol=0.3)


def test_what_passes_by_does_not_arrive() -> None:
    hand = figure_solids(_drawn(ALWAYS, 1)[0].figures[:1])
    up = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    for aside, arrives in ((0.0, True), (2000.0, False)):
        start = up * 900 + torch.tensor([[0.0, 0.0, aside]], dtype=torch.float64)
        shift, arrived = approach(hand, hand, start, up, torch.zeros(1, dtype=torch.float64))
        assert bool(arrived) == arrives
        if arrives:
            assert float(distance(hand, hand.shifted(shift))) == pytest.approx(0, abs=0.2)


def test_a_rotation_turns_by_its_angle_about_its_axis() -> None:
    axis = np.array([2.0, -1.0, 2.0]) / 3
    turn = rotation(axis, 0.7)
    np.testing.assert_allclose(turn @ axis, axis, atol=1e-12)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.trace(turn) == pytest.approx(1 + 2 * np.cos(0.7))
    assert np.linalg.det(turn) == pytest.approx(1)


def test_hands_of_one_picture_share_its_camera() -> None:
    stage = _stage(6)
    for row, picture in enumerate(stage.pictures):
        first = stage.pictures.index(picture)
        for column in ("focal", "principal", "distortion"):
            values = getattr(stage.camera, column)
            assert torch.equal(values[row], values[first])
