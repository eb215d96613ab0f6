"""Labels: visibility against exact rays through the mesh, keypoints against the pixels of the hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from jaxtyping import Bool

from benchmarks.labels import first_hits
from knuckle.hands import OCCLUDED, UNLABELED, VISIBLE
from knuckle.render.companions import Companions
from knuckle.render.config import Framing, SceneConfig
from knuckle.render.dataset import stages
from knuckle.render.labels import JOINT_DEPTHS, Labels, inside, surface_nearness, visibility
from knuckle.render.object_view import depth_at
from knuckle.render.occluders import OccluderRanges
from knuckle.render.stage import HAND_FROM, Stage

SIZE = 128
BARE = SceneConfig(occluders=None, companions=None)


def _stages(config: SceneConfig, count: int) -> list[Stage]:
    return list(stages(range(count), 11, SIZE, config, "cpu", 10))


def test_visibility_agrees_with_rays_cast_through_the_mesh() -> None:
    agreed = checked = 0
    for stage in _stages(BARE, 20):
        labels = stage.labels(stage.samples())
        faces = stage.model.faces.numpy()
        for row in range(len(labels)):
            points = stage.keypoints[row].double().numpy()
            depth = first_hits(stage.vertices[row].double().numpy(), faces, points)
            hidden = depth < points[:, 2] - np.array(JOINT_DEPTHS)
            seen = labels.visibility[row] != UNLABELED
            agreed += int(((labels.visibility[row] == OCCLUDED) == hidden)[seen].sum())
            checked += int(seen.sum())
    assert checked > 350
    assert agreed / checked >= 0.97


def test_a_keypoint_behind_another_hand_is_hidden() -> None:
    """Of both hands the nearest surface on a keypoint's ray, by an independent test, against the label."""
    agreed = hidden_by_other = checked = 0
    config = SceneConfig(occluders=None, companions=Companions(probability=1.0))
    for stage in _stages(config, 20):
        labels = stage.labels(stage.samples())
        faces = stage.model.faces.numpy()
        for row, hand in enumerate(stage.labeled):
            points = stage.keypoints[hand].double().numpy()
            skin = [stage.vertices[k].double().numpy() for k, p in enumerate(stage.pictures) if p == row]
            own, *others = (first_hits(vertices, faces, points) for vertices in skin)
            before = np.min(others, axis=0, initial=np.inf) < np.minimum(own, points[:, 2])
            expected = before | (own < points[:, 2] - np.array(JOINT_DEPTHS))
            seen = labels.visibility[row] != UNLABELED
            agreed += int(((labels.visibility[row] == OCCLUDED) == expected)[seen].sum())
            hidden_by_other += int(before[seen].sum())
            checked += int(seen.sum())
    assert hidden_by_other > 20
    assert agreed / checked >= 0.97


def test_boxes_hold_the_hand_from_the_wrist_on() -> None:
    for stage in _stages(SceneConfig(framing=Framing(truncated=0.5)), 10):
        labels = stage.labels(stage.samples())
        hand = (stage.model.skin.y > HAND_FROM).numpy()
        whole = hand[stage.model.faces.numpy()].all(1)
        for at, row in enumerate(stage.labeled):
            drawn = np.zeros((SIZE, SIZE), np.uint8)
            corners = stage.camera.rows([row]).project(stage.vertices[[row]])[0].numpy()[stage.model.faces.numpy()]
            for triangle in corners[whole]:
                cv2.fillConvexPoly(drawn, np.round(triangle).astype(np.int32), 1)
            y, x = np.nonzero(drawn)
            np.testing.assert_allclose(labels.box[at], [x.min(), y.min(), x.max(), y.max()], atol=1.1)
            inside_picture = labels.visibility[at] != UNLABELED
            xy = labels.xy[at][inside_picture]
            assert (xy >= labels.box[at, :2] - 1e-3).all()
            assert (xy <= labels.box[at, 2:] + 1e-3).all()


def _mask(stage: Stage, row: int) -> Bool[np.ndarray, "size size"]:
    """The hand's pixels, grown by one."""
    covered = (stage.samples()[row].numpy() > 0).reshape(SIZE, 2, SIZE, 2).any(axis=(1, 3))
    return np.asarray(cv2.dilate(np.asarray(covered, dtype=np.uint8), np.ones((3, 3), np.uint8)) > 0)


def test_visible_keypoints_lie_on_the_hand_and_hidden_ones_behind_something() -> None:
    kinds = set()
    objects = OccluderRanges(held=0.3, passing=0.4)
    config = SceneConfig(occluders=objects, framing=Framing(truncated=0.3), companions=None)
    for stage in _stages(config, 30):
        labels = stage.labels(stage.samples())
        rows = range(len(labels))
        nearness = surface_nearness(torch.from_numpy(labels.xy), stage.samples(), rows, SIZE)
        surface = 1 / nearness.clamp_min(1e-9).numpy()
        for row in rows:
            mask, things = _mask(stage, row), stage.shown[row]
            for joint in range(21):
                kind = int(labels.visibility[row, joint])
                kinds.add(kind)
                x, y = np.round(labels.xy[row, joint]).astype(int)
                if kind == VISIBLE:
                    assert mask[y, x]
                elif kind == OCCLUDED:
                    before = surface[row, joint]
                    for thing in things:
                        before = min(before, depth_at(thing, labels.xy[row, joint][None])[0])
                    assert before < labels.xyz[row, joint, 2]
    assert kinds == {UNLABELED, OCCLUDED, VISIBLE}


def test_the_camera_in_the_labels_projects_the_points_in_the_labels() -> None:
    for stage in _stages(BARE, 5):
        labels = stage.labels(stage.samples())
        straight = labels.xyz[..., :2] / labels.xyz[..., 2:]
        squared = (straight**2).sum(-1, keepdims=True)
        bent = 2 * straight / (1 + np.sqrt(1 - 4 * labels.distortion[:, None, None] * squared))
        xy = bent * labels.focal[:, None, None] + labels.principal[:, None]
        np.testing.assert_allclose(xy, labels.xy, atol=2e-3)


@pytest.mark.parametrize(
    ("xy", "surface_depth", "covered", "expected"),
    [
        ((10.0, 10.0), 395.0, False, VISIBLE),
        ((10.0, 10.0), 400.0 - max(JOINT_DEPTHS) - 1, False, OCCLUDED),
        ((10.0, 10.0), 395.0, True, OCCLUDED),
        ((-0.6, 10.0), 395.0, False, UNLABELED),
        ((-0.5, 10.0), 395.0, False, VISIBLE),
        ((31.5, 10.0), 395.0, False, UNLABELED),
        ((10.0, 10.0), np.inf, False, VISIBLE),  # between the samples of a thin edge
    ],
)
def test_the_three_kinds(xy: tuple[float, float], surface_depth: float, covered: bool, expected: int) -> None:
    seen = visibility(
        torch.tensor(xy).expand(1, 21, 2),
        torch.full((1, 21), 400.0),
        torch.full((1, 21), 1 / surface_depth),
        torch.full((1, 21), covered),
        32,
    )
    assert set(seen[0].tolist()) == {expected}


def test_samples_are_read_where_the_point_lies() -> None:
    samples = torch.arange(64, dtype=torch.float32).reshape(1, 8, 8)  # two a pixel
    xy = torch.tensor([[[0.25, -0.25], [-0.25, 0.25], [3.3, 3.3], [99.0, -5.0]]])
    assert surface_nearness(xy, samples, [0], 4)[0].tolist() == [1.0, 8.0, 63.0, 7.0]
    assert inside(xy, 4)[0].tolist() == [True, True, True, False]


def test_hands_hold_what_photos_have_and_rows_can_be_taken() -> None:
    (stage,) = _stages(BARE, 6)
    labels = stage.labels(stage.samples())
    hands = labels.hands()
    assert set(hands.image) == {""}
    assert hands.group.tolist() == list(range(6))
    np.testing.assert_array_equal(hands.xy[hands.labeled], labels.xy[hands.labeled])
    np.testing.assert_array_equal(hands.side, labels.side)
    np.testing.assert_array_equal(hands.size, np.full((6, 2), SIZE))
    some = labels.rows(np.array([4, 1]))
    assert some.index.tolist() == [4, 1]
    assert Labels.concat([some, labels]).hands()[2:] == hands
