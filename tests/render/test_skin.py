"""Skin: colours that are known, and details where anatomy has them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from knuckle.render.mesh import load_asset
from knuckle.render.skin import (
    DISTAL,
    MONK_TONES,
    DetailStrength,
    Material,
    SkinMap,
    detail,
    rest_keypoints,
    rows_of,
    skin_tones,
    srgb_to_linear,
    vertex_albedo,
    waves,
)
from knuckle.render.skin_model import load_skin
from knuckle.skeleton import BONES

LENGTH = 95.0


def points(count: int, **given: float) -> SkinMap:
    """The same place `count` times; anything not given is far from every detail."""
    far = {"x": 0.0, "y": 40.0, "z": 0.0, "palm": 0.0, "side": 0.0, "nail": -5.0}
    far |= {"beyond_first": 90.0, "beyond_second": 50.0, "beyond_third": -50.0}
    return SkinMap(**{name: torch.full((count,), value) for name, value in (far | given).items()})


def strength(count: int, value: float) -> DetailStrength:
    zero = torch.zeros(count)
    return DetailStrength(zero + value, zero + value, zero + value, zero + value, zero, zero, zero, zero + 0.5)


def test_linear_light_of_srgb() -> None:
    """Values of IEC 61966-2-1: middle grey, the end of the linear part, both ends."""
    found = srgb_to_linear(torch.tensor([0.0, 0.04045, 0.5, 1.0]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0031308, 0.2140411, 1.0]), atol=1e-6, rtol=1e-5)


def test_the_monk_scale_runs_from_light_to_dark_and_palms_are_lighter_on_dark_hands() -> None:
    dorsal, palmar = skin_tones(torch.linspace(3, 9, 25), torch.zeros(25, 3))
    light = dorsal[:, 1]
    assert (light[1:] < light[:-1]).all()
    for tones in (dorsal, palmar):
        assert ((tones > 0) & (tones < 1)).all()
        assert (tones[:, 0] > tones[:, 1]).all()  # skin is redder than green
    assert float(palmar[-1].mean()) > 2.5 * float(dorsal[-1].mean())
    assert float(palmar[0].mean()) < 1.2 * float(dorsal[0].mean())


def test_tones_between_and_beyond_the_swatches() -> None:
    ends = torch.tensor([-1.0, 0.0, 9.0, 12.0, 4.0, 5.0, 4.5])
    dorsal, _ = skin_tones(ends, torch.zeros(len(ends), 3))
    torch.testing.assert_close(dorsal[0], dorsal[1])
    torch.testing.assert_close(dorsal[2], dorsal[3])
    assert (dorsal[6] < dorsal[4]).all()
    assert (dorsal[6] > dorsal[5]).all()
    assert len(MONK_TONES) == 10


def test_rest_keypoints_lie_where_the_skin_coordinates_begin() -> None:
    model = load_skin()
    asset, skin = model.asset, model.skin
    keypoints = rest_keypoints(asset)
    assert keypoints.shape == (21, 3)
    assert (asset.vertices - keypoints[9]).norm(dim=1).min() < 15
    tips = asset.tip_vertices.reshape(-1)
    assert ((skin.beyond_third[tips] - DISTAL).abs() < 5).all()
    assert (model.bone[tips].reshape(5, -1) == torch.tensor([[3], [7], [11], [15], [19]])).all()
    assert all(BONES[bone][1] in (4, 8, 12, 16, 20) for bone in model.bone[tips].tolist())


def test_palm_and_nails_lie_on_opposite_sides() -> None:
    model = load_skin()
    skin = model.skin
    x, y, z = skin.x, skin.y, skin.z
    own = len(load_asset().vertices)
    torch.testing.assert_close(torch.stack([x, y, z], dim=1)[:own], load_asset().vertices)
    on_hand = (y > 20) & (y < 75) & (x.abs() < 25)
    assert float(skin.palm[on_hand & (z > 8)].mean()) > 0.9
    assert float(skin.palm[on_hand & (z < -8)].mean()) < 0.1
    assert float(skin.palm[skin.nail > 0].max()) < 0.35
    assert (skin.palm[y < -30] == 0).all()
    assert (skin.beyond_third[skin.nail > 0] > 0.3 * DISTAL).all()


def test_no_strength_no_marks() -> None:
    skin = points(7, x=3.0, y=40.0, palm=0.5, beyond_second=0.0)
    marks = detail(skin, LENGTH, strength(7, 0.0))
    torch.testing.assert_close(marks.shade, torch.ones(7))
    torch.testing.assert_close(marks.blood, torch.ones(7))
    assert (marks.tilt == 0).all()
    assert (marks.nail == 0).all()


@pytest.mark.parametrize("joint", ["beyond_second", "beyond_third"])
def test_creases_lie_under_the_joints_and_wrinkles_above_them(joint: str) -> None:
    away = torch.linspace(-20, 20, 401)
    for palm in (1.0, 0.0):
        skin = points(401, palm=palm)._replace(**{joint: away})
        marks = detail(skin, LENGTH, strength(401, 1.0)._replace(mottling=torch.zeros(401), veins=torch.zeros(401)))
        darkest = float(away[marks.shade.argmin()])
        assert abs(darkest) < (1.0 if palm else 3.0)
        assert float(marks.shade.min()) < 0.85
        torch.testing.assert_close(marks.shade[away.abs() > 9], torch.ones(int((away.abs() > 9).sum())))
        assert bool((marks.tilt != 0).any()) != bool(palm)


def test_the_nail_ends_at_its_edge() -> None:
    skin = points(5, beyond_third=15.0)._replace(nail=torch.tensor([-5.0, -1.0, 0.0, 1.0, 5.0]))
    marks = detail(skin, LENGTH, strength(5, 0.5))
    assert marks.nail.tolist() == pytest.approx([0, 0, 0.5, 1, 1])
    assert (marks.edge == 0).all()
    tip = detail(points(1, nail=3.0, beyond_third=DISTAL), LENGTH, strength(1, 0.5))
    assert float(tip.edge) == 1


def test_detail_changes_smoothly_over_the_whole_hand() -> None:
    """Two points 0.001 mm apart look alike, wherever on the hand: there are no seams."""
    skin = load_skin().skin
    count = len(skin.x)
    generator = torch.Generator().manual_seed(0)
    near = SkinMap(*(column + 1e-3 * torch.rand(count, generator=generator) for column in skin))
    here, there = (detail(s, LENGTH, strength(count, 1.0)) for s in (skin, near))
    for name, a, b in zip(here._fields, here, there, strict=True):
        assert float((a - b).abs().max()) < 0.02, name


def test_waves_are_centred_noise_of_the_asked_size() -> None:
    generator = torch.Generator().manual_seed(1)
    xyz = list((torch.rand(3, 20000, generator=generator) * 2000).unbind(0))
    zero = [torch.zeros(())] * 3
    first, second = waves(xyz, zero, 20.0)
    for field in (first, second):
        assert abs(float(field.mean())) < 0.1
        assert 0.35 < float(field.std()) < 0.65
    assert abs(float((first * second).mean())) < 0.1
    apart = waves([xyz[0] + 0.2, *xyz[1:]], zero, 20.0)[0]
    assert float((apart - first).abs().mean()) < 0.1


def materials(count: int) -> Material:
    def row(value: float, *shape: int) -> Tensor:
        return torch.full((count, *shape), value)

    dorsal, palmar = skin_tones(row(7.0), row(0.0, 3))
    numbers = dict.fromkeys(("roughness", "specular", "mottling", "redness", "wrinkles", "creases", "veins"), row(0.5))
    colors = dict.fromkeys(("nail", "offset", "cloth", "stripe"), row(0.5, 3))
    rest = dict.fromkeys(("polish", "sleeve", "stripe_period"), row(0.0))
    return Material(dorsal=dorsal, palmar=palmar, **numbers, **colors, **rest)


def test_albedo_follows_the_tones_and_redness_takes_green_and_blue() -> None:
    skin = load_skin().skin
    plain = replace(materials(1), mottling=torch.zeros(1), redness=torch.zeros(1))
    albedo = vertex_albedo(skin, plain)[0]
    torch.testing.assert_close(albedo[skin.palm == 0], plain.dorsal.expand(int((skin.palm == 0).sum()), -1))
    torch.testing.assert_close(albedo[skin.palm == 1], plain.palmar.expand(int((skin.palm == 1).sum()), -1))
    red = vertex_albedo(skin, replace(plain, redness=torch.ones(1)))[0] / albedo
    assert float((red[:, 1] / red[:, 0])[skin.nail > 0].mean()) < 0.95


def test_rows_of_a_material() -> None:
    part = rows_of(materials(5), slice(1, 3))
    assert isinstance(part, Material)
    assert part.dorsal.shape == (2, 3)
    assert part.sleeve.shape == (2,)
