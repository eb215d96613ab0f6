"""Light on a hand: sky and ground, up to a few lamps, the shadow of the main one, and the dark between fingers.

Directions are in camera space (x right, y down, z forward) and point from the hand to the light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from knuckle.render.raster import rasterize

Columns = Sequence[Tensor]
"""x, y and z of many vectors, (N,) each: contiguous vectors are what a CPU is fastest at."""

SHADOW_SIDE: Final = 192
"""Cells along one side of a shadow map."""
MARGIN: Final = 6
"""Empty cells around the hand in a shadow map: room for the filter."""
NEAR_TAPS: Final = ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1))
WIDE_TAPS: Final = ((3, 1), (-1, 3), (-3, -1), (1, -3), (5, -3), (3, 5), (-5, 3), (-3, -5))
"""Cells that vote on a shadow, for a hard and for a soft edge."""
BIAS: Final = 2.5
"""mm that something must lie nearer to the lamp to cast a shadow; less would let surfaces shade themselves."""

OCCLUDERS: Final = (
    # (keypoint, keypoint, position between them, radius in mm)
    *((b, b + 1, t, r) for b in (5, 9, 13, 17) for t, r in ((0.0, 9.5), (0.5, 8.5), (1.0, 8.0))),
    *((b, b + 1, t, r) for b in (6, 10, 14, 18) for t, r in ((0.5, 7.5), (1.0, 7.0))),
    *((b, b + 1, 0.55, 6.5) for b in (7, 11, 15, 19)),
    *((1, 2, t, r) for t, r in ((0.2, 14.0), (0.7, 11.5))),
    *((b, b + 1, t, r) for b in (2, 3) for t, r in ((0.0, 10.0), (0.55, 8.5))),
    *((0, b, t, 13.0) for b in (5, 9, 13, 17) for t in (0.3, 0.65)),
)
"""Spheres on the bones that stand for the hand where it darkens itself."""


@dataclass(frozen=True)
class Lighting:
    """The light on a batch of hands, one row each. Colours are linear RGB irradiances over pi: a white
    surface that faces a lamp of colour 1 gets the value 1.

    Attributes:
        sky: light from above.
        ground: light from below.
        up: unit direction in which above lies.
        directions: unit directions to the lamps; the first one casts shadows.
        colors: of the lamps; black for a lamp that is off.
        softness: of the shadow's edge, 0 hard to 1 soft.
    """

    sky: Float32[Tensor, "B 3"]
    ground: Float32[Tensor, "B 3"]
    up: Float32[Tensor, "B 3"]
    directions: Float32[Tensor, "B L 3"]
    colors: Float32[Tensor, "B L 3"]
    softness: Float32[Tensor, " B"]


def openness(
    vertices: Float32[Tensor, "B V 3"], normals: Float32[Tensor, "B V 3"], keypoints: Float32[Tensor, "B 21 3"]
) -> Float32[Tensor, "B V"]:
    """The part of the ambient light that reaches each vertex past the rest of the hand, 0 to 1.

    A sphere of radius r at distance d in direction w takes max(0, n.w) (r / d)^2 of it (the form factor of
    a sphere above the horizon). A finger's own spheres lie below its surface and take nothing.
    """
    start, end, part, radius = (list(column) for column in zip(*OCCLUDERS, strict=True))
    between = keypoints.new_tensor(part)[:, None]
    centers = keypoints[:, start] * (1 - between) + keypoints[:, end] * between
    squared = keypoints.new_tensor(radius).square()[:, None]
    # Coordinates first: the long vectors below are contiguous.
    x, y, z = (center[:, :, None] - v[:, None] for center, v in zip(_columns(centers), _columns(vertices), strict=True))
    nx, ny, nz = (v[:, None] for v in _columns(normals))
    facing = (x * nx).add_(y * ny).add_(z * nz).clamp_min_(0)
    distance2 = torch.maximum(x.square_().add_(y.square_()).add_(z.square_()), squared)
    taken = facing.mul_(squared).div_(distance2.sqrt().mul_(distance2))
    total: Tensor = taken[:, 0].clone()
    for k in range(1, taken.shape[1]):  # one after the other: a sum's order could depend on the batch
        total += taken[:, k]
    return 1 / (1 + 1.1 * total + 0.5 * total * total)


def fill_light(
    normals: Float32[Tensor, "B V 3"], open_: Float32[Tensor, "B V"], lighting: Lighting
) -> Float32[Tensor, "B V 3"]:
    """Light on each vertex from everywhere but the main lamp."""
    height = 0.5 + 0.5 * _dot(normals, lighting.up[:, None])
    total = []
    lamps = [_dot(normals, lighting.directions[:, k, None]) for k in range(1, lighting.directions.shape[1])]
    for c in range(3):
        light = lighting.sky[:, c, None] * height + lighting.ground[:, c, None] * (1 - height)
        for k, facing in enumerate(lamps, start=1):
            light = light + lighting.colors[:, k, c, None] * ((facing + 0.2) / 1.2).clamp_min(0)
        # Light that skin bounces into its own folds is red: they darken less in red.
        total.append(light * (open_ * (1 + (0.25, 0.05, 0.0)[c] * (1 - open_))))
    return torch.stack(total, dim=-1)


def _columns(vectors: Float32[Tensor, "B n 3"]) -> Float32[Tensor, "3 B n"]:
    return vectors.permute(2, 0, 1).contiguous()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


class ShadowMap(NamedTuple):
    """The main lamp's view of a batch of hands."""

    nearness: Float32[Tensor, " cells"]
    """mm towards the lamp of the nearest surface, 0 for none; all maps behind one another."""
    vertices: Float32[Tensor, "B V 3"]
    """Column and row in the map and mm towards the lamp, for each vertex."""


def shadow_map(
    vertices: Float32[Tensor, "B V 3"],
    faces: Int64[Tensor, "F 3"],
    framed: Bool[Tensor, " V"],
    mirrored: Bool[Tensor, " B"],
    lighting: Lighting,
) -> ShadowMap:
    """See the hands from the main lamp, in parallel projection, each filling its map.

    Args:
        vertices: mm, camera space.
        faces: Vertices of the triangles.
        framed: Which vertices the map must hold; the others may lie outside.
        mirrored: Left hands, whose triangles turn the other way.
        lighting: On each hand.
    """
    lamp = lighting.directions[:, 0]
    # Any two axes across the light will do, as long as they do not collapse: start from its smallest part.
    helper = torch.nn.functional.one_hot(lamp.abs().argmin(1), 3).to(lamp.dtype)
    across = torch.linalg.cross(lamp, helper)
    across = across / _dot(across, across).sqrt()[:, None]
    down = torch.linalg.cross(lamp, across)
    x, y, z = (_dot(vertices, axis[:, None]) for axis in (across, down, lamp))
    left, top = (v[:, framed].amin(1, keepdim=True) for v in (x, y))
    extent = torch.maximum(*((v[:, framed] - low).amax(1, keepdim=True) for v, low in ((x, left), (y, top))))
    scale = (SHADOW_SIDE - 1 - 2 * MARGIN) / extent.clamp_min(1e-3)
    near = z - z.amin(1, keepdim=True) + 1
    placed = torch.stack([(x - left) * scale + MARGIN, (y - top) * scale + MARGIN, near], dim=-1)
    front = torch.where(mirrored, -1.0, 1.0)  # across, down and lamp are right-handed
    nearness = torch.zeros(len(vertices), SHADOW_SIDE, SHADOW_SIDE, device=vertices.device)
    on = lighting.colors[:, 0].any(1)  # a lamp that is off needs no shadow
    seen = rasterize(placed[on, :, :2], placed[on, :, 2], faces, (SHADOW_SIDE, SHADOW_SIDE), front[on])
    nearness[on] = seen.nearness
    return ShadowMap(nearness.reshape(-1), placed)


def lit(
    shadows: Float32[Tensor, " cells"],
    image: Int64[Tensor, " N"],
    x: Float32[Tensor, " N"],
    y: Float32[Tensor, " N"],
    nearness: Float32[Tensor, " N"],
    softness: Float32[Tensor, " N"],
) -> Float32[Tensor, " N"]:
    """The part of the main lamp that reaches points of the surface: 0 in the shadow, 1 in the light.

    Args:
        shadows: All cells of the shadow maps.
        image: The map of each point.
        x: Column in the map.
        y: Row in the map.
        nearness: mm towards the lamp.
        softness: Of the shadow's edge.
    """
    column, row = ((v + 0.5).clamp(MARGIN, SHADOW_SIDE - MARGIN) for v in (x, y))
    cell = image * (SHADOW_SIDE * SHADOW_SIDE) + row.long() * SHADOW_SIDE + column.long()
    limit = nearness + BIAS
    hard, soft = (_votes(shadows, cell, limit, taps) for taps in (NEAR_TAPS, WIDE_TAPS))
    blocked = hard + (soft - hard) * softness
    # The border of the map is empty for the hand; the forearm beyond it would read its neighbours' cells.
    blocked = blocked * ((column - x).abs() < 1) * ((row - y).abs() < 1)
    return 1 - blocked * blocked * (3 - 2 * blocked)


def _votes(shadows: Tensor, cell: Tensor, limit: Tensor, taps: tuple[tuple[int, int], ...]) -> Tensor:
    """The part of the taps that see something nearer to the lamp, with a soft limit of 2 mm."""
    total = torch.zeros_like(limit)
    for right, down in taps:
        nearer = shadows.index_select(0, cell + (down * SHADOW_SIDE + right)).sub_(limit)
        total += nearer.mul_(0.5).clamp_(0, 1)
    return total.div_(len(taps))


def gloss(
    normal: Columns, position: Columns, lamp: Columns, facing: Tensor, roughness: Tensor, specular: Tensor
) -> tuple[Tensor, Tensor]:
    """What the surface mirrors of the lamp and, at grazing angles, of the ambient light.

    The GGX distribution (Walter et al., EGSR 2007, eq. 33) with Schlick's Fresnel term and Karis's
    approximation of the shadowing (SIGGRAPH 2013 course), times pi as lamps are given over pi.

    Args:
        normal: Unit; x, y, z of (N,) each, as are the next two.
        position: Camera space.
        lamp: Unit direction to the lamp.
        facing: Cosine between normal and lamp.
        roughness: Between 0 and 1.
        specular: Reflection seen head on.
    """
    view = unit(*(-p for p in position))
    half = unit(*(v + d for v, d in zip(view, lamp, strict=True)))
    n_h = (normal[0] * half[0] + normal[1] * half[1] + normal[2] * half[2]).clamp_min(0)
    n_v = (normal[0] * view[0] + normal[1] * view[1] + normal[2] * view[2]).clamp(0.02, 1)
    v_h = (view[0] * half[0] + view[1] * half[1] + view[2] * half[2]).clamp(0, 1)
    a2 = roughness * roughness
    a2 = a2 * a2
    bell = n_h * n_h * (a2 - 1) + 1
    k = (roughness + 1) * (roughness + 1) * 0.125
    n_l = facing.clamp_min(0)
    masking = 4 * (n_v * (1 - k) + k) * (n_l * (1 - k) + k)
    mirrored = a2 / (bell * bell * masking) * _fresnel(v_h, specular) * n_l
    return mirrored, _fresnel(n_v, specular) * (0.45 * (1 - roughness))


def _fresnel(cosine: Tensor, head_on: Tensor) -> Tensor:
    away = 1 - cosine
    squared = away * away
    return head_on + (1 - head_on) * (squared * squared * away)


def length(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Lengths of vectors given by columns."""
    return (x * x + y * y + z * z).sqrt()


def unit(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors given by columns, scaled to length 1."""
    scale = 1 / length(x, y, z).clamp_min(1e-9)
    return x * scale, y * scale, z * scale
