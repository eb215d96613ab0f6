"""Arms beyond the mesh: closed up to a far end, out of the picture, no nearer than allowed, alone or in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from jaxtyping import Int64
from torch import Tensor

from knuckle.render.arm import STATIONS, UPPER_ARM, extend_arms
from knuckle.render.camera import NEAREST_DEPTH
from knuckle.render.config import Framing, SceneConfig, Sleeves
from knuckle.render.dataset import stages
from knuckle.render.scene import draw_scenes
from knuckle.render.skin_model import SkinModel, load_skin
from knuckle.render.stage import Stage

SIZE = 64


def open_sides(faces: Int64[Tensor, "F 3"]) -> set[tuple[int, int]]:
    """Sides of triangles that no other triangle passes the other way."""
    sides = {(a, b) for k in range(3) for a, b in faces[:, [k, (k + 1) % 3]].tolist()}
    return {(a, b) for a, b in sides if (b, a) not in sides}


def far_end(model: SkinModel) -> list[int]:
    return sorted({vertex for side in open_sides(model.faces) for vertex in side})


def staged(fill: float, *, whole: bool = False, count: int = 110) -> Iterator[Stage]:
    config = replace(SceneConfig(), framing=Framing((fill, fill), 0.2, 0.3), occluders=None)
    yield from stages(range(count), 5, SIZE, config, "cpu", 40, whole=whole)


def test_the_arm_closes_the_mesh_and_is_open_at_its_last_ring_only() -> None:
    model = load_skin()
    own, around = len(model.asset.vertices), len(model.arm.end)
    assert len(open_sides(model.asset.faces)) == around
    last = own + len(STATIONS) * around
    assert far_end(model) == list(range(last - around, last))
    assert len(model.skin.y) == len(model.bone) == last
    assert len(model.phalanges) == len(model.faces)


def test_at_rest_the_skin_goes_on_away_from_the_wrist() -> None:
    model = load_skin()
    own, around = len(model.asset.vertices), len(model.arm.end)
    rings = model.skin.y[own:].reshape(len(STATIONS), around)
    before = torch.cat([model.skin.y[model.arm.end][None], rings[:-1]])
    assert (rings[1:] < before[1:]).all()
    assert float((rings[-1].mean() - model.skin.y[model.arm.end].mean()).abs()) == pytest.approx(STATIONS[-1], rel=0.02)
    assert (model.skin.palm[own:] == 0).all()
    assert (model.skin.nail[own:] < 0).all()


@pytest.mark.parametrize(("fill", "whole"), [(0.2, False), (0.5, False), (0.2, True)])
def test_no_open_end_lies_in_the_picture(fill: float, whole: bool) -> None:
    """All points of an end lie beyond one and the same side of the frame, whatever the picture.

    But for hands so small and near that the lens sees all directions before the frame ends: there an arm without
    end shrinks to a point.
    """
    seen = 0
    for stage in staged(fill, whole=whole, count=40 if whole else 110):
        xy = stage.camera.project(stage.vertices)[:, far_end(stage.model)]
        beyond = [(xy[..., k] < -0.5).all(1) | (xy[..., k] > SIZE - 0.5).all(1) for k in range(2)]
        point = (xy.amax(1) - xy.amin(1)).amax(1) < 0.5
        assert (beyond[0] | beyond[1] | point).all()
        assert float(point.float().mean()) < (0.15 if fill < 0.4 else 1e-9)
        seen += len(xy)
    assert seen > (40 if whole else 100)


def test_some_meshes_end_in_the_picture_so_that_arms_are_needed() -> None:
    inside = 0
    for stage in staged(0.2):
        xy = stage.camera.project(stage.vertices)[:, stage.model.arm.end]
        inside += int(((xy > 0) & (xy < SIZE - 1)).all(-1).any(1).sum())
    assert inside > 20


def test_arms_come_no_nearer_than_allowed_and_run_at_one_depth() -> None:
    for stage in staged(0.5):
        own, around = len(stage.model.asset.vertices), len(stage.model.arm.end)
        rings = stage.vertices[:, own:].reshape(len(stage.vertices), len(STATIONS), around, 3)
        limit = NEAREST_DEPTH * stage.keypoints[:, 0, 2]
        assert (rings[..., 2].amin((1, 2)) > limit - 6).all()  # but for a sleeve
        upper = rings[:, -len(UPPER_ARM) :].mean(2)[..., 2]
        assert float((upper - upper[:, :1]).abs().max()) < 2  # rings are not quite symmetric


def test_normals_are_unit_and_point_out_of_the_arm() -> None:
    for stage in staged(0.5, count=20):
        own, around = len(stage.model.asset.vertices), len(stage.model.arm.end)
        rings, normals = (v[:, own:].reshape(-1, around, 3) for v in (stage.vertices, stage.normals))
        torch.testing.assert_close(normals.norm(dim=-1), torch.ones(normals.shape[:2]), atol=1e-4, rtol=0)
        assert float(((rings - rings.mean(1, keepdim=True)) * normals).sum(-1).min()) > 10


def test_an_arm_has_the_same_bits_alone() -> None:
    stage = next(staged(0.5, count=7))
    own = len(stage.model.asset.vertices)
    turns = [figure.elbow for figure in stage.figures]

    def extended(rows: list[int]) -> tuple[Tensor, Tensor]:
        vertices, normals = stage.vertices[rows, :own], stage.normals[rows, :own]
        cameras = stage.camera.rows(rows)
        return extend_arms(
            stage.model.arm, vertices, normals, stage.keypoints[rows], [turns[k] for k in rows], cameras, SIZE
        )

    together = extended(list(range(len(turns))))
    for row in range(len(turns)):
        for alone, shared in zip(extended([row]), together, strict=True):
            assert torch.equal(alone[0], shared[row])


def test_the_upper_arm_leaves_the_hand_at_the_angle_asked_for() -> None:
    stage = next(staged(0.5, count=8))
    own = len(stage.model.asset.vertices)
    directions = []
    for turn in (0.0, 60.0):
        given = [turn] * len(stage.figures)
        mesh = stage.vertices[:, :own], stage.normals[:, :own]
        vertices, _ = extend_arms(stage.model.arm, *mesh, stage.keypoints, given, stage.camera, SIZE)
        centers = vertices[:, own:].reshape(len(given), len(STATIONS), -1, 3).mean(2)[..., :2]
        along = centers[:, -1] - centers[:, -2]
        directions.append(torch.atan2(along[:, 1], along[:, 0]))
    turned = torch.rad2deg(directions[1] - directions[0]) % 360
    torch.testing.assert_close(turned, torch.full_like(turned, 60.0), atol=0.1, rtol=0)


def test_half_of_the_other_arms_have_a_short_sleeve_and_it_changes_nothing_else() -> None:
    some, never = (replace(SceneConfig(), sleeves=Sleeves(short=short)) for short in (0.5, 0.0))
    with_short, without = (draw_scenes(config, 0, range(120)) for config in (some, never))
    changed = 0
    for a, b in zip(with_short, without, strict=True):
        first, second = a.figures[0].material, b.figures[0].material
        assert torch.equal(first.cloth, second.cloth)
        assert torch.equal(first.stripe_period, second.stripe_period)
        if not torch.equal(first.sleeve, second.sleeve):
            changed += 1
            assert 280 <= float(first.sleeve) <= 420
            assert float(second.sleeve) == float("inf")
    assert 12 < changed < 45
