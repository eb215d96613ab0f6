"""Pictures of hands: their coverage, depth and light, and that no hand depends on its company."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from knuckle.render.anatomy import ANGLES, pose
from knuckle.render.arm import extend_arms
from knuckle.render.camera import Camera
from knuckle.render.jewelry import Jewelry, Jewels, draw_jewels
from knuckle.render.light import Lighting
from knuckle.render.scene import stack
from knuckle.render.shade import CHUNK, Layer, render_layer
from knuckle.render.skin import Material, rows_of, skin_tones
from knuckle.render.skin_model import load_skin, wear_sleeves

SIZE = 40
DISTANCE = 500.0


def material(count: int, generator: torch.Generator) -> Material:
    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    dorsal, palmar = skin_tones(uniform(0, 9), uniform(-0.1, 0.1, 3))
    return Material(
        dorsal=dorsal,
        palmar=palmar,
        roughness=uniform(0.35, 0.65),
        specular=torch.full((count,), 0.028),
        mottling=uniform(0, 1),
        redness=uniform(0, 1),
        wrinkles=uniform(0, 1),
        creases=uniform(0, 1),
        veins=uniform(0, 1),
        nail=uniform(0, 1, 3),
        polish=(uniform(0, 1) < 0.5).float(),
        offset=uniform(0, 50, 3),
        sleeve=torch.where(uniform(0, 1) < 0.5, uniform(10, 80), torch.inf),
        cloth=uniform(0, 1, 3),
        stripe=uniform(0, 1, 3),
        stripe_period=torch.where(uniform(0, 1) < 0.5, uniform(6, 40), torch.inf),
    )


def lighting(count: int, generator: torch.Generator) -> Lighting:
    directions = torch.randn(count, 2, 3, generator=generator) - torch.tensor([0.0, 0.5, 1.0])
    return Lighting(
        sky=torch.full((count, 3), 0.4),
        ground=torch.full((count, 3), 0.15),
        up=torch.tensor([0.0, -1.0, 0.0]).expand(count, 3),
        directions=directions / directions.norm(dim=-1, keepdim=True),
        colors=torch.tensor([0.9, 0.2])[:, None].expand(count, 2, 3),
        softness=torch.rand(count, generator=generator),
    )


class Hands:
    """Hands in random views of the camera, most of each in the picture."""

    def __init__(self, count: int, seed: int = 0, size: int = SIZE) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.model = load_skin()
        self.size = size
        self.material = material(count, generator)
        self.lighting = lighting(count, generator)
        self.mirrored = torch.arange(count) % 2 == 1
        angles = torch.rand(count, len(ANGLES), generator=generator) * 40
        posed = pose(self.model.asset, angles, torch.randn(count, 12, generator=generator))
        turn = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))[0]
        turn = turn * torch.linalg.det(turn).sign()[:, None, None]
        mirror = torch.ones(count, 3)
        mirror[self.mirrored, 0] = -1.0

        def to_camera(points: Tensor) -> Tensor:
            return torch.einsum("bij,bnj->bni", turn, points * mirror[:, None])

        keypoints = to_camera(posed.keypoints)
        shift = torch.tensor([0.0, 0.0, DISTANCE]) - keypoints.mean(1, keepdim=True)
        self.keypoints = keypoints + shift
        focal = torch.full((count,), 0.8 * size * DISTANCE / 180)
        middle = torch.full((count, 2), (size - 1) / 2)
        camera = Camera(torch.eye(3).expand(count, 3, 3), torch.zeros(count, 3), focal, middle, torch.zeros(count))
        hands = to_camera(posed.vertices) + shift, to_camera(self.model.asset.normals(posed.vertices))
        bare, self.normals = extend_arms(self.model.arm, *hands, self.keypoints, [20.0] * count, camera, size)
        self.vertices = wear_sleeves(self.model, bare, self.normals, self.material.sleeve)
        self.jewels = stack([draw_jewels(Jewelry(ring=0.7, wrist=0.7), np.random.default_rng(k)) for k in range(count)])

    def xy(self) -> Tensor:
        focal = 0.8 * self.size * DISTANCE / 180
        return self.vertices[..., :2] / self.vertices[..., 2:].clamp_min(100) * focal + (self.size - 1) / 2

    def render(self, rows: slice = slice(None), lamp: Tensor | None = None) -> Layer:
        return render_layer(
            self.model,
            self.vertices[rows],
            self.normals[rows],
            self.keypoints[rows],
            self.xy()[rows],
            self.mirrored[rows],
            rows_of(self.material, rows),
            rows_of(self.jewels, rows),
            rows_of(self.lighting, rows),
            (self.size, self.size),
            lamp=lamp,
        )


def test_a_hand_looks_the_same_to_the_last_bit_in_any_batch() -> None:
    hands = Hands(CHUNK + 3, size=64)
    together = hands.render()
    for k in range(len(hands.vertices)):
        for alone, shared in zip(hands.render(slice(k, k + 1)), together, strict=True):
            assert torch.equal(alone[0], shared[k])
    for other, shared in zip(hands.render(slice(2, 7)), together, strict=True):
        assert torch.equal(other, shared[2:7])


def test_alpha_is_the_covered_part_of_the_samples_and_light_is_premultiplied() -> None:
    layer = Hands(4).render()
    hit = (layer.samples > 0).float().reshape(4, SIZE, 2, SIZE, 2)
    assert torch.equal(layer.alpha, hit.mean((2, 4)))
    assert 0.05 < float(layer.alpha.mean()) < 0.8
    assert layer.color.isfinite().all()
    assert (layer.color >= 0).all()
    assert (layer.color[layer.alpha == 0] == 0).all()
    assert float((layer.color.amax(-1) / layer.alpha.clamp_min(0.25)).max()) < 20


def test_depth_is_that_of_the_nearest_sample_and_lies_on_the_hand() -> None:
    hands = Hands(4)
    layer = hands.render()
    nearest = layer.samples.reshape(4, SIZE, 2, SIZE, 2).amax((2, 4))
    assert torch.equal(layer.inverse_depth, nearest)
    for k in range(4):
        depth = 1 / layer.inverse_depth[k][layer.alpha[k] > 0]
        z = hands.vertices[k, :, 2]
        assert float(z.min()) * 0.9999 <= float(depth.min())
        assert float(depth.max()) <= float(z.max()) * 1.0001


def test_the_left_hand_is_the_mirror_image_of_the_right_one() -> None:
    hands = Hands(2, seed=4)
    straight = hands.render()
    flip = torch.tensor([-1.0, 1.0, 1.0])
    hands.vertices, hands.normals, hands.keypoints = (
        v * flip for v in (hands.vertices, hands.normals, hands.keypoints)
    )
    hands.mirrored = ~hands.mirrored
    hands.lighting = replace(hands.lighting, directions=hands.lighting.directions * flip)
    mirrored = hands.render()
    assert float((mirrored.alpha.flip(2) - straight.alpha).abs().mean()) < 1e-3
    assert float((mirrored.color.flip(2) - straight.color).abs().mean()) < 4e-3


def test_hands_outside_the_picture_leave_it_empty() -> None:
    hands = Hands(2)
    hands.vertices[..., 0] += 5000
    for array in hands.render():
        assert (array == 0).all()


def test_without_light_there_is_nothing_to_see() -> None:
    hands = Hands(2)
    dark = hands.lighting
    hands.lighting = replace(dark, sky=dark.sky * 0, ground=dark.ground * 0, colors=dark.colors * 0)
    layer = hands.render()
    assert (layer.alpha > 0).any()
    assert (layer.color == 0).all()


def test_light_past_other_things_is_multiplied_onto_the_main_lamp_alone() -> None:
    hands = Hands(3)
    free = hands.render()
    ones = torch.ones(hands.vertices.shape[:2])
    for lit, shared in zip(hands.render(lamp=ones), free, strict=True):
        assert torch.equal(lit, shared)  # to the last bit: a hand may have company that stands in a shadow
    shaded = hands.render(lamp=ones * torch.tensor([0.0, 0.5, 1.0])[:, None]).color
    colors = hands.lighting.colors.clone()
    colors[:, 0] = 0
    hands.lighting = replace(hands.lighting, colors=colors)
    dark = hands.render().color
    torch.testing.assert_close(shaded[0], dark[0])
    torch.testing.assert_close(shaded[1], (dark[1] + free.color[1]) / 2)
    assert torch.equal(shaded[2], free.color[2])
    assert float((free.color - dark).mean()) > 0.01


def test_darker_tones_make_darker_pictures() -> None:
    means = []
    for monk in (0.0, 3.0, 6.0, 9.0):
        hands = Hands(2)
        dorsal, palmar = skin_tones(torch.full((2,), monk), torch.zeros(2, 3))
        hands.material = replace(hands.material, dorsal=dorsal, palmar=palmar, sleeve=torch.full((2,), torch.inf))
        means.append(float(hands.render().color.mean()))
    assert means == sorted(means, reverse=True)
    assert means[0] > 2 * means[-1]


def test_a_sleeve_has_its_colour_and_stands_off_the_arm() -> None:
    hands = Hands(6)
    bare, never = hands.vertices.clone(), torch.full((6,), torch.inf)
    assert torch.equal(wear_sleeves(hands.model, bare, hands.normals, never), bare)
    worn = wear_sleeves(hands.model, bare, hands.normals, torch.full((6,), 30.0))
    moved = (worn - bare).norm(dim=-1)
    assert (moved[:, hands.model.skin.y > -27] == 0).all()
    torch.testing.assert_close(moved[:, hands.model.skin.y < -40].mean(), torch.tensor(4.0), atol=1e-2, rtol=0)

    green = torch.tensor([[0.0, 0.8, 0.0]]).expand(6, -1)
    hands.jewels = stack([draw_jewels(None, np.random.default_rng(0))] * 6)
    counts = []
    for start in (torch.inf, 30.0):
        hands.material = replace(hands.material, sleeve=never.clamp_max(start), cloth=green, stripe_period=never)
        color = hands.render().color
        counts.append(int((color[..., 1] > 3 * color[..., 0] + 0.01).sum()))
    assert counts[0] == 0
    assert counts[1] > 100


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_paints_the_same_picture() -> None:
    hands = Hands(4)
    here = hands.render()
    there = render_layer(
        load_skin("cuda"),
        hands.vertices.cuda(),
        hands.normals.cuda(),
        hands.keypoints.cuda(),
        hands.xy().cuda(),
        hands.mirrored.cuda(),
        Material(**{name: value.cuda() for name, value in vars(hands.material).items()}),
        Jewels(**{name: value.cuda() for name, value in vars(hands.jewels).items()}),
        Lighting(**{name: value.cuda() for name, value in vars(hands.lighting).items()}),
        (SIZE, SIZE),
    )
    assert float((there.color.cpu() - here.color).abs().mean()) < 2 / 255
    assert float((there.alpha.cpu() - here.alpha).abs().mean()) < 1e-3
