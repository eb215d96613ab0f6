"""The picture of a batch of posed hands: antialiased, lit, premultiplied by coverage, with depth.

Triangles are found at twice the resolution; each pixel is then shaded once, at its nearest sample, and
covered by as many quarters as its samples hit. Where the samples of a pixel see two surfaces (a finger
before the palm) both are shaded and mixed, so inner outlines are smooth too. Only covered pixels are
worked on, as columns of one long vector over the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from knuckle.render.arm import STATIONS, Arm, arm_of, straight_arm
from knuckle.render.jewelry import Jewels, Worn, first_phalanges, gleam, lift, worn
from knuckle.render.light import Lighting, ShadowMap, fill_light, gloss, length, lit, openness, shadow_map, unit
from knuckle.render.mesh import HandAsset, load_asset
from knuckle.render.raster import (
    Fragments,
    barycentric,
    fragments_of,
    interpolate,
    nearest_of_quarters,
    nearness_of,
    rasterize,
)
from knuckle.render.skin import (
    DetailStrength,
    Material,
    SkinMap,
    continued,
    detail,
    rest_keypoints,
    rows_of,
    skin_map,
    vertex_albedo,
)
from knuckle.skeleton import BONES

SAME_SURFACE: Final = 0.988
"""Samples of a pixel whose inverse depth is at least this part of the nearest one's are shaded as one."""
CLOTH_THICKNESS: Final = 4.0
"""mm by which a sleeve stands off the skin."""
SUBSURFACE: Final = (0.32, 0.15, 0.10)
"""How far light wraps around skin in red, green, blue; it scatters furthest in red (Jensen et al., SIGGRAPH
2001, "A practical model for subsurface light transport", table 2: skin)."""
FOREARM_IN_SHADOW: Final = 70.0
"""mm of the forearm that the shadow map must hold; what lies outside the map is lit."""
CHUNK: Final = 8
"""Hands that are shaded together on a CPU, so that intermediate results stay in its caches."""
BLOCK: Final = 65536
"""Fragments that are shaded together on a CPU, for the same reason."""


class Layer(NamedTuple):
    """Hands on a transparent ground."""

    color: Float32[Tensor, "B H W 3"]
    """Linear RGB, multiplied by alpha."""
    alpha: Float32[Tensor, "B H W"]
    """Covered part of each pixel."""
    inverse_depth: Float32[Tensor, "B H W"]
    """1 / mm of the nearest surface in each pixel, 0 where there is none."""
    samples: Float32[Tensor, "B 2H 2W"]
    """The same at each sample. Sample (u, v) lies at pixel (u / 2 - 1/4, v / 2 - 1/4)."""


@dataclass(frozen=True)
class SkinModel:
    """A hand's mesh, continued by its arm, with everything about its surface that does not change with the pose.

    Attributes:
        asset: the mesh, whose vertices come first.
        arm: what continues it.
        faces: triangles of both.
        skin: where each vertex lies on the hand at rest.
        bone: along which each vertex lies.
        phalanges: the finger on whose first phalanx each triangle lies (`jewelry.first_phalanges`).
        parents: of the bones.
        handlength: from the wrist to the middle knuckle at rest, mm.
    """

    asset: HandAsset
    arm: Arm
    faces: Int64[Tensor, "F 3"]
    skin: SkinMap
    bone: Int64[Tensor, " V"]
    phalanges: Int64[Tensor, " F"]
    parents: Int64[Tensor, " 20"]
    handlength: float


@lru_cache(maxsize=8)
def load_skin(device: torch.device | str = "cpu") -> SkinModel:
    """The baked hand's skin on a device, made once for each device. Its tensors are shared: do not write to them."""
    asset = load_asset(device)
    arm = arm_of(asset)
    skin, bone = skin_map(asset)
    skin = continued(skin, arm.end, straight_arm(arm, asset.vertices).reshape(len(STATIONS), -1, 3))
    faces = torch.cat([asset.faces, arm.faces])
    bone = torch.cat([bone, bone[arm.end].repeat(len(STATIONS))])
    return SkinModel(
        asset=asset,
        arm=arm,
        faces=faces,
        skin=skin,
        bone=bone,
        phalanges=first_phalanges(bone, faces),
        parents=torch.tensor([parent for parent, _ in BONES], device=asset.device),
        handlength=float(rest_keypoints(asset)[9].norm()),
    )


def wear_sleeves(
    model: SkinModel,
    vertices: Float32[Tensor, "B V 3"],
    normals: Float32[Tensor, "B V 3"],
    sleeve: Float32[Tensor, " B"],
) -> Float32[Tensor, "B V 3"]:
    """The vertices with those under a sleeve moved out to the cloth; to be done before they are projected.

    Args:
        model: the hand.
        vertices: with or without those of the arm; in any space.
        normals: outward, in the same space.
        sleeve: mm from the wrist to the sleeve's end, infinity without one.
    """
    along = -model.skin.y[: vertices.shape[1]]
    under = (along - sleeve[:, None] + 3.0).clamp(0, CLOTH_THICKNESS)
    return vertices + normals * under[..., None]


def wear_jewels(
    model: SkinModel,
    vertices: Float32[Tensor, "B V 3"],
    normals: Float32[Tensor, "B V 3"],
    jewels: Jewels,
    sleeve: Float32[Tensor, " B"],
) -> Float32[Tensor, "B V 3"]:
    """The vertices with those under a watch or a bracelet moved out to it, where no sleeve covers it."""
    wearing = (jewels.band < torch.inf).nonzero()[:, 0]
    moved = normals[wearing] * lift(rows_of(jewels, wearing), model.skin, sleeve[wearing])[..., None]
    return vertices.index_add(0, wearing, moved)


def render_layer(
    model: SkinModel,
    vertices: Float32[Tensor, "B V 3"],
    normals: Float32[Tensor, "B V 3"],
    keypoints: Float32[Tensor, "B 21 3"],
    xy_pixels: Float32[Tensor, "B V 2"],
    mirrored: Bool[Tensor, " B"],
    material: Material,
    jewels: Jewels,
    lighting: Lighting,
    shape_hw: tuple[int, int],
    *,
    lamp: Float32[Tensor, "B V"] | None = None,
) -> Layer:
    """Render posed hands.

    Args:
        model: `load_skin` on the device of the other tensors.
        vertices: mm, camera space, wearing their sleeves.
        normals: Outward unit normals, camera space.
        keypoints: mm, camera space.
        xy_pixels: Where the camera sees the vertices.
        mirrored: Left hands.
        material: Of each hand.
        jewels: Of each hand.
        lighting: On each hand.
        shape_hw: Height and width of the picture.
        lamp: The part of the main lamp that reaches each vertex past other things (`cast.lamp_share`); None: all.

    Returns:
        The hands before nothing. A hand looks the same, to the last bit, in any batch.
    """
    scene = _Scene(vertices, normals, keypoints, xy_pixels, mirrored, material, jewels, lighting, lamp)
    step = CHUNK if vertices.device.type == "cpu" else max(len(vertices), 1)
    parts = [_render(model, scene.rows(slice(at, at + step)), shape_hw) for at in range(0, len(vertices), step)]
    return Layer(*(torch.cat(column) for column in zip(*parts, strict=True)))


class _Scene(NamedTuple):
    vertices: Tensor
    normals: Tensor
    keypoints: Tensor
    xy: Tensor
    mirrored: Tensor
    material: Material
    jewels: Jewels
    lighting: Lighting
    lamp: Tensor | None

    def rows(self, rows: slice) -> _Scene:
        """Some of the hands."""
        return _Scene(
            self.vertices[rows],
            self.normals[rows],
            self.keypoints[rows],
            self.xy[rows],
            self.mirrored[rows],
            rows_of(self.material, rows),
            rows_of(self.jewels, rows),
            rows_of(self.lighting, rows),
            None if self.lamp is None else self.lamp[rows],
        )


def _render(model: SkinModel, scene: _Scene, shape_hw: tuple[int, int]) -> Layer:
    """One chunk of the batch."""
    height, width = shape_hw
    batch = len(scene.vertices)
    nearness = 1 / scene.vertices[..., 2]
    front = torch.where(scene.mirrored, 1.0, -1.0)  # outward normals look at the camera, along -z
    fine = rasterize(scene.xy * 2 + 0.5, nearness, model.faces, (2 * height, 2 * width), front)
    nearest = nearest_of_quarters(fine)
    fragments, n = fragments_of(fine, nearest, SAME_SURFACE)
    framed = model.skin.y > -FOREARM_IN_SHADOW
    shadows = shadow_map(scene.vertices, model.faces, framed, scene.mirrored, scene.lighting)
    table = _vertex_table(model, scene, shadows)
    on_cpu = table.device.type == "cpu"
    blocks = fragments.blocks(BLOCK if on_cpu else len(fragments.pixel))
    light = torch.cat([_shade(model, scene, block, nearness, table, shadows.nearness) for block in blocks])

    color = light.new_zeros(batch * height * width, 3)
    alpha = light.new_zeros(batch * height * width)
    light = light * fragments.weight[:, None]
    color.index_copy_(0, fragments.pixel[:n], light[:n])
    alpha.index_copy_(0, fragments.pixel[:n], fragments.weight[:n])
    color.index_add_(0, fragments.pixel[n:], light[n:])
    alpha.index_add_(0, fragments.pixel[n:], fragments.weight[n:])
    shape = (batch, height, width)
    return Layer(color.reshape(*shape, 3), alpha.reshape(shape), nearness_of(nearest).contiguous(), fine.nearness)


def _vertex_table(model: SkinModel, scene: _Scene, shadows: ShadowMap) -> Tensor:
    """What is interpolated between vertices, (B * V, columns): normal, position, direction of the bone,
    albedo, ambient light, place in the shadow map, skin coordinates, and what is the same all over a hand
    (cheaper to interpolate with the rest than to fetch by hand).
    """
    batch, count = scene.vertices.shape[:2]
    bones = scene.keypoints[:, 1:] - scene.keypoints[:, model.parents]
    bones = bones / length(*bones.unbind(-1))[..., None].clamp_min(1e-6)
    own = len(model.asset.vertices)
    open_ = openness(scene.vertices[:, :own], scene.normals[:, :own], scene.keypoints)
    open_ = torch.nn.functional.pad(open_, (0, count - own), value=1.0)  # the arm is far from the fingers
    columns = [
        scene.normals,
        scene.vertices,
        bones[:, model.bone],
        vertex_albedo(model.skin, scene.material),
        fill_light(scene.normals, open_, scene.lighting),
        shadows.vertices,
        torch.stack(model.skin, dim=-1).expand(batch, -1, -1),
        _of_hand(scene, own)[:, None].expand(-1, count, -1),
    ]
    if scene.lamp is not None:
        columns.append(1 - scene.lamp[..., None])  # the shade: no shade stays exactly 0 between vertices
    return torch.cat(columns, dim=-1).reshape(batch * count, -1)


def _of_hand(scene: _Scene, own: int) -> Tensor:
    """What is the same all over a hand, (B, columns): `DetailStrength`, then three of the surface, then the lamp.

    Only its own vertices measure it, not those of the arm.
    """
    material, lighting = scene.material, scene.lighting
    columns = (
        *(material.mottling, material.wrinkles, material.creases, material.veins, *material.offset.unbind(1)),
        _pixel_mm(scene.vertices[:, :own], scene.xy[:, :own]),
        *(material.roughness, material.specular, lighting.softness),
        *lighting.directions[:, 0].unbind(1),
        *lighting.colors[:, 0].unbind(1),
    )
    return torch.stack(columns, dim=1)


def _shade(
    model: SkinModel, scene: _Scene, fragments: Fragments, nearness: Tensor, table: Tensor, shadows: Tensor
) -> Tensor:
    """Linear RGB of every fragment, (N, 3)."""
    material = scene.material
    corners = model.faces.index_select(0, fragments.triangle)
    corners = corners + (fragments.image * scene.vertices.shape[1])[:, None]
    weights = barycentric(scene.xy, nearness, corners, fragments.x, fragments.y)
    columns = interpolate(table, corners, weights).t().contiguous().unbind(0)
    position, along, ambient = columns[3:6], columns[6:9], columns[12:15]
    shadow_x, shadow_y, to_lamp = columns[15:18]
    skin = SkinMap(*columns[18:27])
    strength = DetailStrength(*columns[27:35])
    roughness, specular, softness = columns[35:38]
    lamp, lamp_color = columns[38:41], columns[41:44]

    marks = detail(skin, model.handlength, strength)
    blood = marks.shade * marks.blood
    albedo = [columns[9] * marks.shade, columns[10] * blood, columns[11] * blood]
    bare = 1 - marks.nail
    _paint_nails(albedo, marks.nail, marks.edge, fragments.image, material)
    roughness = roughness * (1 - 0.45 * marks.nail)
    wrap = [torch.full_like(roughness, w) for w in SUBSURFACE]
    cloth = _dress(albedo, wrap, roughness, skin, fragments.image, material)
    bare.index_fill_(0, cloth, 0.15)
    specular = specular.index_fill(0, cloth, 0.01)
    at = (fragments.triangle, fragments.image)
    jewels = worn(scene.jewels, skin, *at, strength.pixel, material.sleeve, model.phalanges)
    _adorn(albedo, wrap, roughness, specular, bare, jewels)

    normal = unit(*columns[:3])
    tilt, bx, by = marks.tilt * bare, marks.bump_x * bare, marks.bump_y * bare
    tilt.index_add_(0, jewels.at, jewels.slope * jewels.weight)
    normal = unit(*(n + tilt * a + b for n, a, b in zip(normal, along, (bx, by, bx - by), strict=True)))
    light = lit(shadows, fragments.image, shadow_x, shadow_y, to_lamp, softness)
    if scene.lamp is not None:
        light = light * (1 - columns[-1])
    facing = normal[0] * lamp[0] + normal[1] * lamp[1] + normal[2] * lamp[2]
    shine, rim = gloss(normal, position, lamp, facing, roughness, specular)
    shine = shine * light
    channels = []
    for c in range(3):
        diffuse = ((facing + wrap[c]) / (1 + wrap[c])).clamp_min(0) * light
        channels.append(albedo[c] * (lamp_color[c] * diffuse + ambient[c]) + lamp_color[c] * shine + ambient[c] * rim)
    _add_gleam(channels, jewels, normal, position, lamp, lamp_color, light, fragments.image, scene.lighting)
    return torch.stack(channels, dim=1)


def _pixel_mm(vertices: Tensor, xy: Tensor) -> Tensor:
    """Millimetres that a pixel covers on each hand: its extent in space over its extent in the picture."""
    space = vertices[..., :2].amax(1) - vertices[..., :2].amin(1)
    picture = xy.amax(1) - xy.amin(1)
    return space.amax(1) / picture.amax(1).clamp_min(1)


def _paint_nails(albedo: list[Tensor], nail: Tensor, edge: Tensor, image: Tensor, material: Material) -> None:
    """Mix the nails' colour into the albedo, in place; few pixels are nail."""
    at = nail.nonzero()[:, 0]
    hand = image[at]
    part, edge, polish = nail[at], edge[at], material.polish[hand]
    for c, (tint, white) in enumerate(((1.08, 0.80), (0.98, 0.72), (0.96, 0.64))):
        natural = material.palmar[:, c][hand] * tint
        natural = natural + (white - natural) * (0.55 * edge)
        color = natural + (material.nail[:, c][hand] - natural) * polish
        albedo[c][at] += (color - albedo[c][at]) * part


def _dress(
    albedo: list[Tensor], wrap: list[Tensor], roughness: Tensor, skin: SkinMap, image: Tensor, material: Material
) -> Tensor:
    """Make what lies under a sleeve cloth, in place; returns which points those are."""
    cloth = (-skin.y > material.sleeve[image]).nonzero()[:, 0]
    hand = image[cloth]
    y = skin.y[cloth]
    phase = y / material.stripe_period[hand]
    stripe = ((phase - phase.floor()) < 0.5) & (material.stripe_period[hand] < torch.inf)
    past_hem = -y - material.sleeve[hand]
    # A hem of 12 mm with its seam, and the weave.
    tone = 1 - 0.35 * ((past_hem - 12).abs() < 0.8) - 0.25 * (past_hem < 0.8)
    tone = tone * (1 + 0.06 * torch.sin(4.1 * y) * torch.sin(3.7 * skin.x[cloth] + 2.9 * skin.z[cloth]))
    for c in range(3):
        color = torch.where(stripe, material.stripe[:, c][hand], material.cloth[:, c][hand])
        albedo[c][cloth] = color * tone
        wrap[c][cloth] = 0.1
    roughness[cloth] = 0.95
    return cloth


def _adorn(
    albedo: list[Tensor], wrap: list[Tensor], roughness: Tensor, specular: Tensor, bare: Tensor, jewels: Worn
) -> None:
    """Lay what is worn over the skin, in place."""
    at, weight = jewels.at, jewels.weight
    for c in range(3):
        below = albedo[c][at] * jewels.shade
        own = jewels.color[c] * (1 - 0.9 * jewels.metal)  # a metal scatters nothing, but scratches do
        albedo[c][at] = below + (own - below) * weight
        wrap[c][at] *= 1 - weight
    for column, value in ((roughness, 0.45), (specular, 0.04)):
        column[at] += (value - column[at]) * weight
    bare[at] *= 1 - weight


def _add_gleam(
    channels: list[Tensor],
    jewels: Worn,
    normal: Sequence[Tensor],
    position: Sequence[Tensor],
    lamp: Sequence[Tensor],
    lamp_color: Sequence[Tensor],
    light: Tensor,
    image: Tensor,
    lighting: Lighting,
) -> None:
    """Add what metal mirrors, in place."""
    at = jewels.at
    hand, part = image[at], light[at]
    seen_normal, seen_position, to_lamp = ([column[at] for column in columns] for columns in (normal, position, lamp))
    arriving = [column[at] * part for column in lamp_color]
    surroundings = (lighting.sky[hand], lighting.ground[hand], lighting.up[hand])
    added = gleam(jewels, seen_normal, seen_position, to_lamp, arriving, surroundings)
    for channel, own in zip(channels, added, strict=True):
        channel[at] += own
