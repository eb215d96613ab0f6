"""The picture of a batch of posed hands: antialiased, lit, premultiplied by coverage, with depth.

Triangles are found at twice the resolution; each pixel is then shaded once, at its nearest sample, and
covered by as many quarters as its samples hit. Where the samples of a pixel see two surfaces (a finger
before the palm) both are shaded and mixed, so inner outlines are smooth too. Only covered pixels are
worked on, as columns of one long vector over the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from knuckle.render.jewelry import NO_RING, Jewels, Worn, gleam, worn
from knuckle.render.light import (
    Lighting,
    ShadowMap,
    dot,
    fill_light,
    length,
    lit,
    openness,
    rim,
    shadow_map,
    shine,
    unit,
)
from knuckle.render.raster import (
    Coverage,
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
    detail,
    rows_of,
    some,
    vertex_albedo,
)
from knuckle.render.skin_model import SkinModel

SAME_SURFACE: Final = 0.988
"""Samples of a pixel whose inverse depth is at least this part of the nearest one's are shaded as one."""
SUBSURFACE: Final = (0.32, 0.15, 0.10)
"""How far light wraps around skin in red, green, blue; it scatters furthest in red (Jensen et al., SIGGRAPH
2001, "A practical model for subsurface light transport", table 2: skin)."""
FOREARM_IN_SHADOW: Final = 70.0
"""mm of the forearm that the shadow map must hold; what lies outside the map is lit."""
CHUNK: Final = 8
"""Hands whose vertices are worked on together on a CPU, so that intermediate results stay in its caches."""
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


class _Surface(NamedTuple):
    """What shading needs to know of the surface of each hand."""

    table: Float32[Tensor, "B V columns"]
    """What is interpolated between vertices, see `_vertex_table`."""
    nearness: Float32[Tensor, "B V"]
    shadows: Float32[Tensor, "B cells"]
    pixel: Float32[Tensor, " B"]
    """mm that a pixel covers."""

    def rows(self, rows: slice) -> _Surface:
        """Some of the hands."""
        return _Surface(*(column[rows] for column in self))


def _render(model: SkinModel, scene: _Scene, shape_hw: tuple[int, int]) -> Layer:
    """One chunk of the batch."""
    height, width = shape_hw
    batch, own = len(scene.vertices), len(model.asset.vertices)
    nearness = 1 / scene.vertices[..., 2]
    front = torch.where(scene.mirrored, 1.0, -1.0)  # outward normals look at the camera, along -z
    fine = rasterize(scene.xy * 2 + 0.5, nearness, model.faces, (2 * height, 2 * width), front)
    nearest = nearest_of_quarters(fine)
    framed = model.skin.y > -FOREARM_IN_SHADOW
    shadows = shadow_map(scene.vertices, model.faces, framed, scene.mirrored, scene.lighting)
    pixel = _pixel_mm(scene.vertices[:, :own], scene.xy[:, :own])  # the arm does not count
    surface = _Surface(_vertex_table(model, scene, shadows), nearness, shadows.nearness.reshape(batch, -1), pixel)
    # Large hands are painted one by one on a CPU: in a block of one hand's fragments, what is the same all over the
    # hand is one number instead of a column. Small ones go together, or calls would cost more than their work.
    step = max(1, BLOCK // (height * width)) if nearest.device.type == "cpu" else max(batch, 1)
    parts = [slice(at, at + step) for at in range(0, batch, step)]
    painted = [
        _paint(model, scene.rows(part), surface.rows(part), Coverage(fine.key[part]), nearest[part]) for part in parts
    ]
    color, alpha = (torch.cat(column) if len(column) > 1 else column[0] for column in zip(*painted, strict=True))
    return Layer(color, alpha, nearness_of(nearest), fine.nearness)


def _paint(
    model: SkinModel, scene: _Scene, surface: _Surface, fine: Coverage, nearest: Int64[Tensor, "B H W"]
) -> tuple[Float32[Tensor, "B H W 3"], Float32[Tensor, "B H W"]]:
    """Premultiplied colour and coverage of hands whose triangles have been found."""
    fragments, n = fragments_of(fine, nearest, SAME_SURFACE)
    on_cpu = nearest.device.type == "cpu"
    blocks = fragments.blocks(BLOCK if on_cpu else len(fragments.pixel))
    light = torch.cat([_shade(model, scene, surface, block) for block in blocks], dim=1)
    light = light.mul_(fragments.weight).t().contiguous()
    color = light.new_zeros(nearest.numel(), 3)
    alpha = light.new_zeros(nearest.numel())
    color.index_copy_(0, fragments.pixel[:n], light[:n])
    alpha.index_copy_(0, fragments.pixel[:n], fragments.weight[:n])
    color.index_add_(0, fragments.pixel[n:], light[n:])
    alpha.index_add_(0, fragments.pixel[n:], fragments.weight[n:])
    return color.reshape(*nearest.shape, 3), alpha.reshape(nearest.shape)


def _vertex_table(model: SkinModel, scene: _Scene, shadows: ShadowMap) -> Float32[Tensor, "B V columns"]:
    """What is interpolated between vertices: normal, direction to the camera, direction of the bone, albedo, ambient
    light, place in the shadow map, skin coordinates, cosine between the directions to the camera and to the lamp.
    """
    batch, count = scene.vertices.shape[:2]
    bones = scene.keypoints[:, 1:] - scene.keypoints[:, model.parents]
    bones = bones / length(*bones.unbind(-1))[..., None].clamp_min(1e-6)
    own = len(model.asset.vertices)
    open_ = openness(scene.vertices[:, :own], scene.normals[:, :own], scene.keypoints)
    open_ = torch.nn.functional.pad(open_, (0, count - own), value=1.0)  # the arm is far from the fingers
    view = scene.vertices / -length(*scene.vertices.unbind(-1))[..., None].clamp_min(1e-6)
    columns = [
        scene.normals,
        view,
        bones[:, model.bone],
        vertex_albedo(model.skin, scene.material),
        fill_light(scene.normals, open_, scene.lighting),
        shadows.vertices,
        torch.stack(model.skin, dim=-1).expand(batch, -1, -1),
        dot(scene.lighting.directions[:, 0, :, None].unbind(1), view.unbind(-1))[..., None],
    ]
    if scene.lamp is not None:
        columns.append(1 - scene.lamp[..., None])  # the shade: no shade stays exactly 0 between vertices
    return torch.cat(columns, dim=-1)


def _shade(model: SkinModel, scene: _Scene, surface: _Surface, fragments: Fragments) -> Float32[Tensor, "3 N"]:
    """Linear RGB of every fragment. Columns are worked on in place where they are not needed again."""
    material, lighting = scene.material, scene.lighting
    hand = fragments.image if len(scene.vertices) > 1 else fragments.image.new_zeros(1)  # one number does for one hand
    corners = model.faces.index_select(0, fragments.triangle)
    corners = corners + (hand * scene.vertices.shape[1])[:, None]
    weights = barycentric(scene.xy, surface.nearness, corners, fragments.x, fragments.y)
    # Column by column: the whole table turned at once takes twice as long.
    columns = torch.stack(interpolate(surface.table.flatten(0, 1), corners, weights).unbind(1))
    albedo, ambient, skin = columns[9:12], columns[12:15], SkinMap(*columns[18:27])
    strengths = (material.mottling, material.wrinkles, material.creases, material.veins, *material.offset.unbind(1))
    strength = DetailStrength._make([*(column[hand] for column in strengths), surface.pixel[hand]])

    marks = detail(skin, model.handlength, strength)
    albedo.mul_(marks.shade)
    albedo[1:].mul_(marks.blood)
    bare = 1 - marks.nail
    _paint_nails(albedo, marks.nail, marks.edge, hand, material)
    roughness = (1 - 0.45 * marks.nail).mul_(material.roughness[hand])
    wrap = columns.new_tensor(SUBSURFACE)[:, None].repeat(1, columns.shape[1])
    specular = material.specular[hand].expand_as(bare).clone()
    if bool((material.sleeve < torch.inf).any()):
        _dress(albedo, wrap, roughness, specular, bare, skin, hand, material)
    jewels = _jewels(model, scene, fragments, skin, strength.pixel)
    if jewels is not None:
        _adorn(albedo, wrap, roughness, specular, bare, jewels)

    tilt, bx, by = (column.mul_(bare) for column in (marks.tilt, marks.bump_x, marks.bump_y))
    if jewels is not None:
        tilt.index_add_(0, jewels.at, jewels.slope * jewels.weight)
    for n, along, bump in zip(columns[:3], columns[6:9], (bx, by, bx - by), strict=True):
        n.addcmul_(tilt, along).add_(bump)
    normal, view, lamp = unit(*columns[:3]), columns[3:6].unbind(0), lighting.directions[:, 0][hand].unbind(1)
    n_v, n_l = dot(view, normal), dot(lamp, normal)
    channels = (albedo + rim(n_v, roughness, specular)).mul_(ambient)

    lamp_color = lighting.colors[:, 0][hand].unbind(1)
    light = torch.zeros_like(n_l)
    if bool(lighting.colors[:, 0].any()):
        x, y, nearness = columns[15:18].unbind()
        light = lit(surface.shadows.flatten(), hand, x, y, nearness, lighting.softness[hand])
    if scene.lamp is not None:
        light.mul_(1 - columns[28])
    if jewels is not None:
        _add_gleam(channels, jewels, normal, view, lamp, lamp_color, light, hand, lighting)
    mirrored = shine(n_v, columns[27], n_l, roughness, specular)
    for c, channel in enumerate(channels):
        diffuse = (n_l + wrap[c]).div_(1 + wrap[c]).clamp_min_(0)
        channel.add_(diffuse.mul_(albedo[c]).add_(mirrored).mul_(light).mul_(lamp_color[c]))
    return channels


def _jewels(model: SkinModel, scene: _Scene, fragments: Fragments, skin: SkinMap, pixel: Tensor) -> Worn | None:
    """What is worn; most hands wear nothing."""
    jewels = scene.jewels
    if not bool(((jewels.finger != NO_RING) | (jewels.band < torch.inf)).any()):
        return None
    at = (fragments.triangle, fragments.image)
    return worn(jewels, skin, *at, pixel.expand_as(skin.y), scene.material.sleeve, model.phalanges)


def _pixel_mm(vertices: Tensor, xy: Tensor) -> Tensor:
    """Millimetres that a pixel covers on each hand: its extent in space over its extent in the picture."""
    space = vertices[..., :2].amax(1) - vertices[..., :2].amin(1)
    picture = xy.amax(1) - xy.amin(1)
    return space.amax(1) / picture.amax(1).clamp_min(1)


def _paint_nails(albedo: Tensor, nail: Tensor, edge: Tensor, hand: Tensor, material: Material) -> None:
    """Mix the nails' colour into the albedo, in place."""
    at = nail.nonzero()[:, 0]  # few points in a hundred
    nail, edge, hand = nail.index_select(0, at), edge.index_select(0, at), some(hand, at)
    polish = material.polish[hand]
    for c, (tint, white) in enumerate(((1.08, 0.80), (0.98, 0.72), (0.96, 0.64))):
        natural = material.palmar[:, c][hand] * tint
        color = material.nail[:, c][hand] * polish + natural * (1 - polish)
        lighter = (white - natural) * (0.55 * (1 - polish))  # the free edge
        below = albedo[c].index_select(0, at)
        albedo[c].index_copy_(0, at, (edge * lighter).add_(color).sub_(below).mul_(nail).add_(below))


def _dress(
    albedo: Tensor,
    wrap: Tensor,
    roughness: Tensor,
    specular: Tensor,
    bare: Tensor,
    skin: SkinMap,
    hand: Tensor,
    material: Material,
) -> None:
    """Make what lies under a sleeve cloth, in place. On all points: to pick out those takes longer."""
    past_hem = -material.sleeve[hand] - skin.y
    cloth = (past_hem > 0).float()
    phase = skin.y / material.stripe_period[hand]
    stripe = ((phase - phase.floor()) < 0.5).float().mul_(material.stripe_period[hand] < torch.inf)
    # A hem of 12 mm with its seam, and the weave.
    tone = 1 - 0.35 * ((past_hem - 12).abs_() < 0.8) - 0.25 * (past_hem < 0.8)
    weave = torch.sin(4.1 * skin.y).mul_((3.7 * skin.x).add_(skin.z, alpha=2.9).sin_())
    tone.mul_(weave.mul_(0.06).add_(1))
    for c in range(3):
        plain = material.cloth[:, c][hand]
        color = (stripe * (material.stripe[:, c][hand] - plain)).add_(plain).mul_(tone)
        albedo[c].add_(color.sub_(albedo[c]).mul_(cloth))
    for column, value in ((wrap, 0.1), (roughness, 0.95), (specular, 0.01), (bare, 0.15)):
        column.add_((value - column).mul_(cloth))


def _adorn(albedo: Tensor, wrap: Tensor, roughness: Tensor, specular: Tensor, bare: Tensor, jewels: Worn) -> None:
    """Lay what is worn over the skin, in place."""
    at, weight = jewels.at, jewels.weight
    for c in range(3):
        below = albedo[c].index_select(0, at) * jewels.shade
        own = jewels.color[c] * (1 - 0.9 * jewels.metal)  # a metal scatters nothing, but scratches do
        albedo[c].index_copy_(0, at, below + (own - below) * weight)
    for column, value in (
        (wrap[0], 0.0),
        (wrap[1], 0.0),
        (wrap[2], 0.0),
        (roughness, 0.45),
        (specular, 0.04),
        (bare, 0.0),
    ):
        column.index_add_(0, at, (value - column.index_select(0, at)) * weight)


def _add_gleam(
    channels: Tensor,
    jewels: Worn,
    normal: Sequence[Tensor],
    view: Sequence[Tensor],
    lamp: Sequence[Tensor],
    lamp_color: Sequence[Tensor],
    light: Tensor,
    hand: Tensor,
    lighting: Lighting,
) -> None:
    """Add what metal mirrors, in place."""
    at = jewels.at
    hand, part = some(hand, at), light.index_select(0, at)
    facing, seen, lit_from = ([some(column, at) for column in columns] for columns in (normal, view, lamp))
    arriving = [some(column, at) * part for column in lamp_color]
    surroundings = (lighting.sky[hand], lighting.ground[hand], lighting.up[hand])
    for channel, own in zip(channels, gleam(jewels, facing, seen, lit_from, arriving, surroundings), strict=True):
        channel.index_add_(0, at, own)
