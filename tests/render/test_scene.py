"""Scenes: ranges are kept, factors are independent, and a hand follows from its number alone."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from knuckle.render.camera import View
from knuckle.render.config import Framing, Lens, SceneConfig, Skin, Sleeves, Viewpoints
from knuckle.render.scene import Scene, draw_scene, draw_scenes, stack

OPTIONAL = (
    *("shape", "viewpoints", "lens", "framing", "skin", "sleeves", "jewelry", "lights", "occluders", "sensor"),
    "companions",
)
# Which fields of a scene and its first hand each factor may change.
TOUCHES = {
    "shape": {"shape", "angles"},  # a pose must clear itself on the hand's own shape
    "viewpoints": {"view"},
    "lens": {"view"},
    "framing": {"view"},
    "skin": {"material"},
    "sleeves": {"material"},
    "jewelry": {"jewels"},
    "lights": {"lighting"},
    "occluders": {"occluder"},
    "sensor": {"sensor"},
    "companions": set(),
}


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, tuple) and isinstance(second, tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, np.ndarray):
        return bool(np.array_equal(first, second))
    if isinstance(first, torch.Tensor):
        return bool(torch.equal(first, second))
    if hasattr(first, "__dataclass_fields__") and type(first) is type(second):
        return all(_same(getattr(first, f.name), getattr(second, f.name)) for f in fields(first))
    return bool(first == second)


def _without(*factors: str) -> SceneConfig:
    off: dict[str, Any] = dict.fromkeys(factors)
    return replace(SceneConfig(), **off)


def _values(scene: Scene) -> dict[str, Any]:
    """What was drawn for a picture and its first hand."""
    parts = (scene, scene.figures[0])
    return {f.name: getattr(part, f.name) for part in parts for f in fields(part) if f.name != "figures"}


def _view(scene: Scene) -> View:
    assert isinstance(scene.view, View)
    return scene.view


def _scenes(config: SceneConfig, count: int = 80) -> list[Scene]:
    return draw_scenes(config, 3, range(count))


def test_a_scene_follows_from_seed_and_number_alone() -> None:
    together = draw_scenes(SceneConfig(), 5, [7, 2, 40])
    for scene in together:
        assert _same(scene, draw_scene(SceneConfig(), 5, scene.index))
    assert not _same(together[0].view, draw_scene(SceneConfig(), 6, 7).view)
    assert not _same(together[0].view, together[1].view)


@pytest.mark.parametrize("factor", OPTIONAL)
def test_a_factor_that_is_switched_off_leaves_the_others_alone(factor: str) -> None:
    before = _scenes(SceneConfig(), 20)
    after = _scenes(_without(factor), 20)
    changed = {
        name
        for old, new in zip(before, after, strict=True)
        for name, value in _values(new).items()
        if not _same(_values(old)[name], value)
    }
    assert changed == TOUCHES[factor]


@pytest.mark.parametrize("factor", ["skin", "sleeves", "jewelry", "lights", "sensor"])
def test_looks_and_light_move_no_second_hand(factor: str) -> None:
    count = 0
    for old, new in zip(_scenes(SceneConfig(), 20), _scenes(_without(factor), 20), strict=True):
        assert len(old.figures) == len(new.figures)
        for before, after in zip(old.figures[1:], new.figures[1:], strict=True):
            count += 1
            assert _same(before.angles, after.angles)
            assert _same(before.placement, after.placement)
    assert count > 0


def test_switching_off_gives_the_same_for_every_hand() -> None:
    scenes = _scenes(_without(*OPTIONAL), 10)
    for scene in scenes[1:]:
        (figure,) = scene.figures
        assert _same(scene.view, scenes[0].view)
        assert _same(scene.lighting, scenes[0].lighting)
        assert _same(figure.shape, np.zeros(12, dtype=np.float32))
        assert _same(figure.material.dorsal, scenes[0].figures[0].material.dorsal)
        assert torch.isinf(figure.material.sleeve).all()
        assert figure.occluder is None
        assert scene.sensor is None


def test_views_keep_to_their_ranges() -> None:
    config = SceneConfig(framing=Framing(truncated=0.0))
    lens, framing = Lens(), Framing()
    for scene in _scenes(config):
        view = _view(scene)
        assert lens.distance[0] <= view.distance <= lens.distance[1]
        assert lens.distortion[0] <= view.distortion <= 0
        assert max(map(abs, view.off_axis)) <= lens.off_axis
        assert framing.fill[0] <= view.fill <= framing.fill[1]
        for at in view.center:  # the extent stays in the picture
            assert view.fill / 2 - 1e-9 <= at <= 1 - view.fill / 2 + 1e-9


def test_truncation_cuts_a_part_of_the_hand() -> None:
    for scene in _scenes(SceneConfig(framing=Framing(truncated=1.0))):
        view = _view(scene)
        beyond = max(abs(at - 0.5) + view.fill / 2 - 0.5 for at in view.center)
        assert 0 < beyond <= 0.3 * view.fill + 1e-9


def test_no_view_comes_from_the_forearm() -> None:
    for scene in _scenes(SceneConfig(viewpoints=Viewpoints(forearm=60.0)), 150):
        to_camera = -_view(scene).axes[2]
        assert -to_camera[1] < 0.5 + 1e-9


@pytest.mark.parametrize(
    ("kind", "towards"),
    [("facing", [0.0, 0.0, 1.0]), ("overhead", [0.0, 0.0, -1.0]), ("egocentric", [0.0, -0.5, -0.4])],
)
def test_kinds_of_viewpoints_look_from_where_they_say(kind: str, towards: list[float]) -> None:
    only = Viewpoints(**{"egocentric": 0.0, "facing": 0.0, "overhead": 0.0, "oblique": 0.0} | {kind: 1.0})
    directions = np.stack([-_view(scene).axes[2] for scene in _scenes(SceneConfig(viewpoints=only))])
    mean = directions.mean(axis=0)
    assert mean @ towards / np.linalg.norm(mean) / np.linalg.norm(towards) > 0.9


def test_oblique_views_come_from_all_around() -> None:
    only = Viewpoints(egocentric=0.0, facing=0.0, overhead=0.0, oblique=1.0, forearm=1.0)
    directions = np.stack([-_view(scene).axes[2] for scene in _scenes(SceneConfig(viewpoints=only), 300)])
    assert np.abs(directions.mean(axis=0)).max() < 0.12
    np.testing.assert_allclose((directions**2).mean(axis=0), 1 / 3, atol=0.07)


def test_sides_and_sleeves_are_as_frequent_as_asked() -> None:
    scenes = _scenes(SceneConfig(left_hands=0.25, sleeves=Sleeves(probability=0.7, short=0.0)), 400)
    assert np.mean([scene.figures[0].is_left for scene in scenes]) == pytest.approx(0.25, abs=0.08)
    worn = [bool(torch.isfinite(scene.figures[0].material.sleeve).all()) for scene in scenes]
    assert np.mean(worn) == pytest.approx(0.7, abs=0.08)


def test_tones_cover_the_monk_scale_evenly() -> None:
    dark, light = (
        _scenes(SceneConfig(skin=Skin(tone=tone, variation=0.0)), 5)[0].figures[0].material.dorsal.mean()
        for tone in ((9.0, 9.0), (0.0, 0.0))
    )
    brightness = [float(scene.figures[0].material.dorsal.mean()) for scene in _scenes(SceneConfig(), 300)]
    assert min(brightness) < 1.5 * float(dark)
    assert max(brightness) > 0.85 * float(light)


def test_stacked_rows_keep_their_order() -> None:
    scenes = _scenes(SceneConfig(), 4)
    stacked = stack([scene.figures[0].material for scene in scenes])
    assert stacked.offset.shape == (4, 3)
    assert torch.equal(stacked.offset[2], scenes[2].figures[0].material.offset[0])
