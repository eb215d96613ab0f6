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
"""x, y and z of many vectors, (N,) each: contiguous vectors are what a CPU is fastest at. (1,) each: one for all."""

SHADOW_SIDE: Final = 192
"""Cells along one side of a shadow map."""
MARGIN: Final = 6
"""Empty cells around the hand in a shadow map: room for the filter."""
NEAR_TAPS: Final = ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1))
WIDE_TAPS: Final = ((3, 1), (-1, 3), (-3, -1), (1, -3), (5, -3), (3, 5), (-5, 3), (-3, -5))
"""Cells that vote on a shadow, for a hard and for a soft edge."""
_FIRST: Final = MARGIN * (SHADOW_SIDE + 1)
"""The first cell inside the margin; taps reach no further than the margin."""
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
    # Hand by hand, in the processor's cache, and so that a matrix product is rounded alike in every batch.
    taken = [_taken(*hand, squared) for hand in zip(vertices, normals, centers, strict=True)]
    total = torch.stack(taken) if taken else vertices[..., 0]
    return 1 / (1 + 1.1 * total + 0.5 * total * total)


def _taken(
    vertices: Float32[Tensor, "V 3"],
    normals: Float32[Tensor, "V 3"],
    centers: Float32[Tensor, "S 3"],
    squared: Float32[Tensor, "S 1"],
) -> Float32[Tensor, " V"]:
    """What the spheres of one hand take of the light of each vertex.

    |c - v|^2 = c.c + v.v - 2 c.v and n.(c - v) = n.c - n.v leave the work to matrix products; from an origin in the
    hand, since from the camera the squares would be so large that nothing would be left of their difference.
    """
    origin = centers[:1]
    v, c = vertices - origin, centers - origin
    distance2 = torch.addmm((c * c).sum(1)[:, None] + (v * v).sum(1), c, v.t(), alpha=-2)
    distance2 = torch.maximum(distance2, squared)
    facing = torch.addmm((normals * v).sum(1)[None], c, normals.t(), beta=-1).clamp_min_(0)
    parts = facing.mul_(squared).div_(distance2.sqrt().mul_(distance2))
    while len(parts) > 1:  # in pairs: the order of a sum is not left to the number of threads
        half = len(parts) // 2
        pairs = parts[:half] + parts[half : 2 * half]
        pairs[: len(parts) % 2] += parts[2 * half :]
        parts = pairs
    return parts[0]


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
    image: Int64[Tensor, " #N"],
    x: Float32[Tensor, " N"],
    y: Float32[Tensor, " N"],
    nearness: Float32[Tensor, " N"],
    softness: Float32[Tensor, " #N"],
) -> Float32[Tensor, " N"]:
    """The part of the main lamp that reaches points of the surface: 0 in the shadow, 1 in the light.

    Args:
        shadows: All cells of the shadow maps.
        image: The map of each point, or one number if all are on one map.
        x: Column in the map.
        y: Row in the map.
        nearness: mm towards the lamp.
        softness: Of the shadow's edge, each point's or one number.
    """
    column, row = ((v + 0.5).clamp_(MARGIN, SHADOW_SIDE - MARGIN) for v in (x, y))
    cell = image.int() * (SHADOW_SIDE * SHADOW_SIDE) + row.int() * SHADOW_SIDE + column.int()
    nearer, limit = shadows * 0.5, (nearness + BIAS) * 0.5  # half, for a soft limit of 2 mm
    hard, soft = (_votes(nearer, cell - _FIRST, limit, taps) for taps in (NEAR_TAPS, WIDE_TAPS))
    blocked = hard + (soft - hard) * softness
    # The border of the map is empty for the hand; the forearm beyond it would read its neighbours' cells.
    blocked.mul_((column - x).abs_() < 1).mul_((row - y).abs_() < 1)
    return 1 - blocked * blocked * (3 - 2 * blocked)


def _votes(shadows: Tensor, cell: Tensor, limit: Tensor, taps: tuple[tuple[int, int], ...]) -> Tensor:
    """The part of the taps that see something nearer to the lamp. `cell` is `_FIRST` before the one in the middle."""
    total = torch.zeros_like(limit)
    for right, down in taps:  # moving the map costs nothing, moving the points would
        moved = shadows[_FIRST + down * SHADOW_SIDE + right :]
        total += moved.index_select(0, cell).sub_(limit).clamp_(0, 1)
    return total.div_(len(taps))


def shine(n_v: Tensor, v_l: Tensor, n_l: Tensor, roughness: Tensor, specular: Tensor) -> Tensor:
    """What the surface mirrors of a lamp.

    The GGX distribution (Walter et al., EGSR 2007, eq. 33) with Schlick's Fresnel term and Karis's
    approximation of the shadowing (SIGGRAPH 2013 course), times pi as lamps are given over pi. The vector h half way
    between v and l is (v + l) / |v + l|, with |v + l|^2 = 2 + 2 v.l: only cosines are needed.

    Args:
        n_v: Cosine between the normal and the direction to the camera.
        v_l: Cosine between the directions to the camera and to the lamp.
        n_l: Cosine between the normal and the direction to the lamp.
        roughness: Between 0 and 1.
        specular: Reflection seen head on.
    """
    both = 1 / (2 + 2 * v_l).clamp_min_(1e-6).sqrt_()
    n_h = (n_v + n_l).mul_(both).clamp_min_(0)
    v_h = (v_l + 1).mul_(both).clamp_(0, 1)
    n_v, n_l = n_v.clamp(0.02, 1), n_l.clamp_min(0)
    a2 = roughness * roughness
    a2 = a2 * a2
    bell = (n_h * n_h).mul_(a2 - 1).add_(1)
    k = (roughness + 1) * (roughness + 1) * 0.125
    rest = 1 - k
    masking = (n_v * rest).add_(k).mul_((n_l * rest).add_(k)).mul_(4)
    return _fresnel(v_h, specular).mul_(a2).mul_(n_l).div_(bell.mul_(bell).mul_(masking))


def rim(n_v: Tensor, roughness: Tensor, specular: Tensor) -> Tensor:
    """The part of the ambient light that the surface mirrors, most at grazing angles; arguments as for `shine`."""
    return _fresnel(n_v.clamp(0.02, 1), specular) * (0.45 * (1 - roughness))


def _fresnel(cosine: Tensor, head_on: Tensor) -> Tensor:
    away = 1 - cosine
    squared = away * away
    return squared.mul_(squared).mul_(away).mul_(1 - head_on).add_(head_on)


def dot(a: Columns, b: Columns) -> Tensor:
    """Products of vectors given by columns; one of the first may stand for all vectors, but not of the second."""
    return (b[0] * a[0]).addcmul_(b[1], a[1]).addcmul_(b[2], a[2])


def length(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Lengths of vectors given by columns."""
    return dot((x, y, z), (x, y, z)).sqrt_()


def unit(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors given by columns, scaled to length 1."""
    scale = 1 / length(x, y, z).clamp_min_(1e-9)
    return x * scale, y * scale, z * scale
