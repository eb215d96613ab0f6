"""Rings and watches: on the right finger and round the wrist, nowhere else, and not under sleeves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from knuckle.render import SceneConfig
from knuckle.render.dataset import stages
from knuckle.render.jewelry import BAND_THICKNESS, CASE_THICKNESS, NO_RING, Jewelry, Jewels, draw_jewels, lift
from knuckle.render.scene import draw_scenes
from knuckle.render.skin import SkinMap
from knuckle.render.skin_model import load_skin, wear_jewels
from knuckle.render.stage import Stage, set_stage
from knuckle.skeleton import BONES

SIZE = 96
PLAIN = replace(
    SceneConfig(), viewpoints=None, lens=None, framing=None, occluders=None, companions=None, sensor=None, sleeves=None
)
FRONT = 24
"""Pictures of open palms and backs, enough to see each finger."""


def jewels(**given: object) -> Jewels:
    """One row of a hand that wears nothing, with some things changed."""
    nothing = draw_jewels(None, np.random.default_rng(0))
    columns = {name: torch.as_tensor(value, dtype=getattr(nothing, name).dtype)[None] for name, value in given.items()}
    return replace(nothing, **columns)


def adorned(stage: Stage, worn: Jewels) -> Stage:
    """The same hands, all wearing the same."""
    figures = [replace(figure, jewels=worn) for figure in stage.figures]
    scenes = [replace(scene, figures=(figure,)) for scene, figure in zip(stage.scenes, figures, strict=True)]
    return set_stage(scenes, stage.model, stage.size)


@pytest.fixture(scope="module")
def bare() -> Stage:
    config = replace(PLAIN, jewelry=None)
    return next(stages(range(FRONT), 2, SIZE, config, "cpu", FRONT))


def changed(bare: Stage, worn: Jewels) -> Tensor:
    return (adorned(bare, worn).layer().color - bare.layer().color).abs().amax(-1) > 1e-6


def millimetre(stage: Stage) -> list[float]:
    """Pixels that a millimetre at each wrist spans."""
    scale: list[float] = (stage.camera.focal / stage.keypoints[:, 0, 2]).tolist()
    return scale


def test_rates_and_ranges() -> None:
    rows = [draw_jewels(Jewelry(), np.random.default_rng(seed)) for seed in range(2000)]
    rings = [row for row in rows if int(row.finger) != NO_RING]
    bands = [row for row in rows if float(row.band) < float("inf")]
    assert 0.12 < len(rings) / 2000 < 0.18
    assert 0.12 < len(bands) / 2000 < 0.18
    assert {int(row.finger) for row in rings} == {0, 1, 2, 3, 4}
    assert 0.5 < np.mean([float(row.case) > 0 for row in bands]) < 0.8
    assert all(20 <= float(row.band) <= 42 for row in bands)
    for row in rows[:50]:
        for column in vars(row).values():
            assert len(column) == 1


def test_switched_off_it_leaves_every_other_draw_alone() -> None:
    config = replace(SceneConfig(), jewelry=Jewelry(ring=1.0, wrist=1.0))
    for a, b in zip(
        draw_scenes(config, 0, range(12)), draw_scenes(replace(config, jewelry=None), 0, range(12)), strict=True
    ):
        for first, second in zip(a.figures, b.figures, strict=True):
            assert int(first.jewels.finger) != NO_RING
            assert int(second.jewels.finger) == NO_RING
            assert float(second.jewels.band) == float("inf")
            for name, column in vars(first.material).items():
                assert torch.equal(column, getattr(second.material, name))
            assert first.elbow == second.elbow
        assert torch.equal(a.lighting.colors, b.lighting.colors)


def test_pictures_differ_only_where_something_is_worn(bare: Stage) -> None:
    ring = jewels(finger=3, ring_width=5.0, ring_color=(1.0, 0.8, 0.3))
    parts = changed(bare, ring)
    assert parts.any()
    assert float(parts.float().mean()) < 0.02
    assert not changed(bare, jewels()).any()


@pytest.mark.parametrize("finger", range(5))
def test_a_ring_lies_on_the_first_phalanx_of_its_finger(bare: Stage, finger: int) -> None:
    parts = changed(bare, jewels(finger=finger, ring_width=5.0, ring_color=(1.0, 0.8, 0.3)))
    xy = bare.camera.project(bare.keypoints)
    first = 2 if finger == 0 else 4 * finger + 1
    assert BONES[first] == (first, first + 1)
    seen = 0
    for row in range(FRONT):
        y, x = parts[row].nonzero().float().unbind(1)
        if len(x) == 0:
            continue
        start, end = xy[row, first], xy[row, first + 1]
        along = end - start
        t = (((x - start[0]) * along[0] + (y - start[1]) * along[1]) / along.square().sum().clamp_min(9)).clamp(0, 1)
        off = torch.hypot(x - start[0] - t * along[0], y - start[1] - t * along[1])
        assert float(off.max()) < 14 * millimetre(bare)[row] + 1.5
        seen += 1
    assert seen > FRONT // 4


def test_a_band_lies_round_the_wrist_and_under_no_sleeve(bare: Stage) -> None:
    strap = jewels(band=30.0, band_width=16.0, band_color=(0.0, 0.0, 1.0))
    color = adorned(bare, strap).layer().color
    parts = color[..., 2] > 3 * color[..., 0] + 0.01  # a lifted strap moves the rims of shadows a little, too
    assert (parts.flatten(1).any(1)).float().mean() > 0.5
    xy = bare.camera.project(bare.keypoints)
    for row in range(FRONT):
        y, x = parts[row].nonzero().float().unbind(1)
        if len(x):
            assert float(torch.hypot(x - xy[row, 0, 0], y - xy[row, 0, 1]).max()) < 75 * millimetre(bare)[row] + 2

    under = [replace(figure.material, sleeve=torch.tensor([10.0])) for figure in bare.figures]
    scenes = [
        replace(scene, figures=(replace(scene.figures[0], material=m),))
        for scene, m in zip(bare.scenes, under, strict=True)
    ]
    sleeved = set_stage(scenes, bare.model, SIZE)
    assert not changed(sleeved, strap).any()


def test_a_watch_lifts_the_skin_below_it_and_nothing_else() -> None:
    model = load_skin()
    count = len(model.skin.y)
    worn = jewels(band=30.0, band_width=20.0, case=20.0, side=-1.0)
    vertices, normals = torch.zeros(1, count, 3), torch.tensor([0.0, 0.0, 1.0]).expand(1, count, 3)
    rise = wear_jewels(model, vertices, normals, worn, torch.tensor([torch.inf]))[0, :, 2]
    off = (model.skin.y + 30).abs()
    assert (rise[off > 26] == 0).all()
    assert (rise[off < 10] >= BAND_THICKNESS).all()
    assert float(rise.max()) == CASE_THICKNESS
    assert float(rise[model.skin.z > 2].max()) == BAND_THICKNESS
    assert not wear_jewels(model, vertices, normals, worn, torch.tensor([5.0])).any()


def test_a_square_case_is_square_and_a_round_one_is_not() -> None:
    zero = torch.zeros(2)
    corner = SkinMap(*[zero] * 9)._replace(x=zero + 3.0 + 19.0, y=zero - 30.0 + 19.0, z=zero - 20.0)
    rises = []
    for square in (0.0, 1.0):
        worn = jewels(band=30.0, band_width=2.0, case=20.0, side=-1.0, square=square)
        rises.append(float(lift(worn, corner, torch.tensor([torch.inf]))[0, 0]))
    assert rises[0] < 0.5 * CASE_THICKNESS
    assert rises[1] == CASE_THICKNESS


def test_hands_with_jewels_look_the_same_in_any_batch() -> None:
    config = replace(PLAIN, jewelry=Jewelry(ring=1.0, wrist=1.0))
    together = next(stages(range(9), 4, SIZE, config, "cpu", 9)).layer()
    for row in (0, 4, 8):
        alone = next(stages([row], 4, SIZE, config, "cpu", 1)).layer()
        assert torch.equal(alone.color[0], together.color[row])
        assert torch.equal(alone.samples[0], together.samples[row])
