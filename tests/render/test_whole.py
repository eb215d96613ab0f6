"""Whole scenes: hands in the picture, apart from each other, labelled one by one; pictures without any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float64

from knuckle.hands import VISIBLE, Hands
from knuckle.render import SceneConfig
from knuckle.render.camera import WideView, wide_cameras
from knuckle.render.companions import Companions
from knuckle.render.config import WholeScenes
from knuckle.render.dataset import LEAST_SEEN, label_batches, render_batches, render_scenes, stages
from knuckle.render.labels import Labels
from knuckle.render.scene import Scene, figure_solids
from knuckle.render.solids import Solid, distance
from knuckle.render.stage import Stage
from knuckle.render.whole import draw_wholes, project

CONFIG = SceneConfig()
SIZE = 48


def _drawn(whole: WholeScenes, count: int, seed: int = 1) -> list[Scene]:
    return draw_wholes(replace(CONFIG, whole=whole), seed, range(count))


def _in_place(scene: Scene) -> tuple[Solid, list[Float64[np.ndarray, "21 2"]]]:
    """The hands in camera space, and their keypoints in the picture, from 0 to 1."""
    placements = [figure.placement for figure in scene.figures if figure.placement is not None]
    assert len(placements) == len(scene.figures)
    assert isinstance(scene.view, WideView)
    turns = torch.from_numpy(np.stack([placement.hand_to_camera for placement in placements]))
    shifts = torch.from_numpy(np.stack([placement.shift for placement in placements]))
    solid = figure_solids(scene.figures).moved(turns, shifts)
    return solid, [project(solid.points[:, row].T.numpy(), scene.view) for row in range(len(placements))]


def test_points_lie_where_the_camera_sees_them() -> None:
    rng = np.random.default_rng(0)
    view = WideView(half_width=0.6, distortion=-0.2)
    points = rng.uniform([-300, -300, 400], [300, 300, 900], (30, 3))
    camera = wide_cameras([view], 100, torch.device("cpu"))
    pixels = camera.project(torch.from_numpy(points.astype(np.float32))[None])[0].numpy()
    np.testing.assert_allclose(project(points, view) * 100 - 0.5, pixels, atol=1e-3)


def test_pictures_hold_as_many_hands_as_asked_and_some_none() -> None:
    counts = np.array([len(scene.figures) for scene in _drawn(WholeScenes(), 200)])
    asked = np.array(WholeScenes().hands)
    assert (counts == 0).mean() == pytest.approx(asked[0], abs=0.07)
    assert counts.max() == 4
    assert counts.mean() == pytest.approx(float(asked @ np.arange(5) / asked.sum()), abs=0.25)  # few find no place


def test_the_largest_hand_fills_as_much_as_asked() -> None:
    fills = []
    for scene in _drawn(WholeScenes(hands=(0.0, 1.0)), 80):
        _, (points,) = _in_place(scene)
        fills.append(float(np.ptp(points, axis=0).max()))
    assert min(fills) > 0.15 - 1e-3
    assert max(fills) < 1.0 + 1e-3
    assert min(fills) < 0.2
    assert max(fills) > 0.85


def test_hands_are_in_the_picture_and_before_the_camera() -> None:
    for scene in _drawn(WholeScenes(hands=(0.0, 0.3, 0.3, 0.2, 0.2)), 60):
        solid, places = _in_place(scene)
        assert float(solid.points[2].min()) > 100
        for points in places:
            assert ((points > 0) & (points < 1)).all(1).sum() >= 8
            low, high = points.min(0), points.max(0)
            inside = np.prod(np.minimum(high, 1) - np.maximum(low, 0)) / np.prod(high - low)
            assert inside >= 0.4


def test_no_hand_runs_through_another_one() -> None:
    near = 0
    for scene in _drawn(WholeScenes(hands=(0.0, 0.0, 1.0, 1.0), together=0.6), 60):
        solid, _ = _in_place(scene)
        for first in range(len(scene.figures)):
            for second in range(first):
                apart = float(distance(solid.rows([first]), solid.rows([second])))
                assert apart >= -4.0
                near += apart < 1.0
    assert near > 10  # hands that stand together touch


def test_arms_come_from_the_edges_most_from_below() -> None:
    down = []
    for scene in _drawn(WholeScenes(hands=(0.0, 1.0), fill=(0.2, 0.3)), 80):
        assert isinstance(scene.view, WideView)
        solid, (points,) = _in_place(scene)
        elbow = project(solid.end[:, 0, -1:].T.numpy(), scene.view)[0]
        away = elbow - points[0]
        down.append(away[1] / np.linalg.norm(away))
    assert 0.35 < np.mean(np.array(down) > 0.7) < 0.8
    assert 0.03 < np.mean(np.array(down) < -0.7) < 0.35


def test_nobody_has_two_hands_of_one_side() -> None:
    only = WholeScenes(hands=(0.0, 0.0, 1.0), other_person=0.0)
    for scene in _drawn(only, 25):
        if len(scene.figures) == 2:
            first, second = scene.figures
            assert first.is_left != second.is_left
            assert torch.equal(first.material.dorsal, second.material.dorsal)


def test_a_scene_follows_from_seed_and_number_alone() -> None:
    images, hands = render_scenes(6, 2, SIZE, device="cpu", batch=6)
    alone, alone_hands = zip(*(render_scenes(1, 2, SIZE, device="cpu", first=k) for k in range(6)), strict=True)
    np.testing.assert_array_equal(np.concatenate(alone), images)
    assert Hands.concat([part for part in alone_hands if len(part)]) == hands
    backwards = list(render_batches([5, 3, 0], 2, SIZE, device="cpu", batch=2, whole=True))
    np.testing.assert_array_equal(np.concatenate([part for part, _ in backwards]), images[[5, 3, 0]])


def test_a_row_a_hand_grouped_by_picture() -> None:
    count = 12
    images, hands = render_scenes(count, 4, SIZE, device="cpu", first=20)
    assert images.shape == (count, SIZE, SIZE, 3)
    expected = [len(scene.figures) for scene in draw_wholes(CONFIG, 4, range(20, 20 + count))]
    assert [(hands.group == 20 + k).sum() for k in range(count)] == expected
    assert 0 in expected
    assert max(expected) > 1
    assert (hands.labeled.sum(1) >= 3).all()
    assert (hands.box >= -0.5).all()
    assert (hands.box <= SIZE - 0.5).all()


def test_pictures_without_any_hand_are_pictures() -> None:
    empty = replace(CONFIG, whole=WholeScenes(hands=(1.0,)))
    images, hands = render_scenes(3, 0, SIZE, config=empty, device="cpu")
    assert hands == Hands.empty()
    assert images.std(axis=(1, 2, 3)).min() > 1
    assert not np.array_equal(images[0], images[1])


def _stage() -> Stage:
    whole = WholeScenes(hands=(0.2, 0.0, 0.5, 0.3), together=1.0, fill=(0.3, 0.9))
    config = replace(CONFIG, whole=whole, occluders=None, companions=Companions(beside=0.0))
    (stage,) = stages(range(12), 3, 96, config, "cpu", 12, whole=True)
    return stage


def test_visible_keypoints_lie_on_their_own_hand_before_all_others() -> None:
    stage = _stage()
    samples = stage.samples()
    labels = stage.labels(samples)
    assert len(labels) == len(stage.figures) > 12
    depth = np.where(samples > 0, 1 / samples.clamp_min(1e-9), np.inf).reshape(len(labels), 96, 2, 96, 2).min((2, 4))
    hidden_by_others = 0
    for row, picture in enumerate(stage.pictures):
        others = [k for k, p in enumerate(stage.pictures) if p == picture and k != row]
        for joint in np.flatnonzero(labels.visibility[row] > 0):
            x, y = np.round(labels.xy[row, joint]).astype(int)
            around = np.s_[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            if labels.visibility[row, joint] == VISIBLE:
                assert np.isfinite(depth[row][around]).any()
                for other in others:  # in no place around is the other one nearer everywhere
                    assert depth[other][around].max() >= depth[row][around].min()
            else:
                hidden_by_others += any(depth[other][y, x] < depth[row][y, x] for other in others)
    assert hidden_by_others > 5


def test_labels_come_without_pictures_and_know_their_picture() -> None:
    stage = _stage()
    labels = stage.labels(stage.layer().samples)
    again = stage.labels(stage.samples())
    assert labels.hands(boxes="skin") == again.hands(boxes="skin")
    assert labels.index.tolist() == stage.pictures
    assert len(Labels.concat([labels, again])) == 2 * len(labels)


def test_distractors_lie_beyond_the_hands_and_can_be_left_out() -> None:
    for scene in _drawn(WholeScenes(distractors=(2, 2)), 20):
        assert len(scene.distractors) == 2
        if scene.figures:
            solid, _ = _in_place(scene)
            for distractor in scene.distractors:
                assert distractor.center[2] > float(solid.points[2, :, 0].max()) + 200
    assert all(not scene.distractors for scene in _drawn(WholeScenes(distractors=(0, 0)), 5))


def test_a_hand_that_nobody_could_see_has_no_row() -> None:
    """Of picture 201 another hand's object hides one hand altogether."""
    (stage,) = stages([201], 1, 96, SceneConfig(), "cpu", 1, whole=True)
    seen = (stage.labels(stage.samples()).visibility == VISIBLE).sum(axis=1)
    assert seen.min() < LEAST_SEEN <= np.sort(seen)[1]
    [labels] = label_batches([201], 1, 96, device="cpu", whole=True)
    [(_, same)] = render_batches([201], 1, 96, device="cpu", whole=True)
    assert len(labels) == len(same) == len(seen) - 1
    assert ((labels.visibility == VISIBLE).sum(axis=1) >= LEAST_SEEN).all()
