"""What the surface of a hand looks like: tones, palms, knuckles, creases, nails, veins and sleeves.

All detail is a formula of where a point lies on the hand at rest (mm beyond each joint, sideways,
towards the back of the hand), so it has no seams, bends with the fingers and is as sharp as the picture.
Slow changes (tone, redness, mottling) are computed per vertex, sharp ones (creases, nails) per pixel.
Only +, -, *, /, min, max, sqrt and sin are used on long vectors: they give the same bits wherever in a
vector a number stands, so a hand looks the same in any batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from knuckle.render.mesh import HandAsset

MONK_TONES: Final = (
    (246, 237, 228),
    (243, 231, 219),
    (247, 234, 208),
    (234, 218, 186),
    (215, 189, 150),
    (160, 126, 86),
    (130, 92, 67),
    (96, 65, 52),
    (58, 49, 42),
    (41, 36, 32),
)
"""The ten swatches of the Monk skin tone scale in sRGB (skintone.google, 2022), light to dark."""

PALMAR_AXIS: Final = torch.tensor([0.0, 0.0, 1.0])
"""Out of the palm, in hand space."""

DISTAL: Final = 24.0
"""mm from the last joint to the fingertip in the coordinates of `SkinMap`, whatever the finger's length."""

T = TypeVar("T")


@dataclass(frozen=True)
class Material:
    """The looks of a batch of hands, one row each. Colours are linear RGB; strengths run from 0 to 1.

    Attributes:
        dorsal: albedo of the back of the hand and the forearm; `skin_tones` gives both.
        palmar: albedo of the palm.
        roughness: of the surface, about 0.35 (moist) to 0.65 (dry).
        specular: reflection seen head on; 0.028 is skin's (index of refraction 1.4).
        mottling: strength of blotches and melanin variation.
        redness: of knuckles, fingertips and palm.
        wrinkles: of the knuckles, deeper with age.
        creases: of the palm and under the joints.
        veins: of the back of the hand.
        nail: colour of the polish; only its weight `polish` makes it seen.
        polish: 0 natural nails, 1 fully painted.
        offset: moves the noise, so that each hand has its own blotches; any numbers.
        sleeve: mm from the wrist to the sleeve's end, infinity without a sleeve.
        cloth: colour of the sleeve.
        stripe: colour of its stripes.
        stripe_period: mm from stripe to stripe, infinity without stripes.
    """

    dorsal: Float32[Tensor, "B 3"]
    palmar: Float32[Tensor, "B 3"]
    roughness: Float32[Tensor, " B"]
    specular: Float32[Tensor, " B"]
    mottling: Float32[Tensor, " B"]
    redness: Float32[Tensor, " B"]
    wrinkles: Float32[Tensor, " B"]
    creases: Float32[Tensor, " B"]
    veins: Float32[Tensor, " B"]
    nail: Float32[Tensor, "B 3"]
    polish: Float32[Tensor, " B"]
    offset: Float32[Tensor, "B 3"]
    sleeve: Float32[Tensor, " B"]
    cloth: Float32[Tensor, "B 3"]
    stripe: Float32[Tensor, "B 3"]
    stripe_period: Float32[Tensor, " B"]


def rows_of(batch: T, rows: slice | Int64[Tensor, " m"]) -> T:
    """Some rows of a dataclass of tensors (`Material`, `Jewels`, `Lighting`)."""
    return type(batch)(**{f.name: getattr(batch, f.name)[rows] for f in fields(batch)})  # type: ignore[arg-type]


def srgb_to_linear(color: Float32[Tensor, "*n"]) -> Float32[Tensor, "*n"]:
    """Linear light of sRGB values between 0 and 1 (IEC 61966-2-1)."""
    return torch.where(color <= 0.04045, color / 12.92, ((color.clamp_min(0) + 0.055) / 1.055) ** 2.4)


def skin_tones(
    monk: Float32[Tensor, " B"], variation: Float32[Tensor, "B 3"]
) -> tuple[Float32[Tensor, "B 3"], Float32[Tensor, "B 3"]]:
    """Linear albedos of the back of the hand and of the palm.

    The Monk swatches are paint chips, greyer than skin in the same light: light tones are pulled towards
    the reflectance of skin. Palms hold little melanin, so dark skin has much lighter palms.

    Args:
        monk: Position on the Monk scale, 0 (lightest) to 9, between the swatches too.
        variation: Log of a factor for each channel; a standard deviation of 0.06 is plausible.
    """
    swatches, pull_dark, pull_light, bare, pink = (rows.to(monk.device) for rows in _tone_constants())
    below = monk.clamp(0, 8.999).floor().long()
    part = (monk.clamp(0, 9) - below)[:, None]
    tone = swatches[below] * (1 - part) + swatches[below + 1] * part
    light = (tone[:, 1:2] / 0.5).clamp(0, 1)
    tint = pull_dark * (1 - light) + pull_light * light
    dorsal = (tone + 0.02) * tint * variation.exp()
    dark = 0.62 * (1 - light)
    palmar = (dorsal * (1 - dark) + bare * dark) * pink
    return dorsal, palmar


@lru_cache(maxsize=1)
def _tone_constants() -> tuple[Tensor, ...]:
    """The linear swatches, what pulls dark and light ones towards skin, skin without melanin, and the palm's tint."""
    swatches = srgb_to_linear(torch.tensor(MONK_TONES, dtype=torch.float32) / 255)
    tints = ((1.25, 0.88, 0.78), (0.80, 0.60, 0.52), (0.46, 0.28, 0.205), (1.06, 0.95, 0.94))
    return swatches, *(torch.tensor(tint) for tint in tints)


class SkinMap(NamedTuple):
    """Where each vertex lies on the hand at rest, (V,) each; mm unless said."""

    x: Tensor
    """Across the hand, towards the thumb."""
    y: Tensor
    """From the wrist towards the middle knuckle."""
    z: Tensor
    palm: Tensor
    """1 on the palm's side, 0 on the back and the forearm."""
    beyond_first: Tensor
    """Along the nearest finger, beyond its first joint (MCP, the thumb's CMC)."""
    beyond_second: Tensor
    beyond_third: Tensor
    """Beyond the last joint, scaled so that the fingertip lies at `DISTAL`."""
    side: Tensor
    """Sideways off the finger's axis, in half widths of the last segment."""
    nail: Tensor
    """Signed distance to the edge of the nail, positive on it."""


def skin_map(asset: HandAsset) -> tuple[SkinMap, Int64[Tensor, " V"]]:
    """The skin coordinates of the hand at rest and the bone (`skeleton.BONES`) along which each vertex lies."""
    vertices, keypoints = asset.vertices, rest_keypoints(asset)
    normals = asset.normals(vertices[None])[0]
    fingers = keypoints[1:].reshape(5, 4, 3)
    parents = torch.cat([keypoints[:1].expand(5, 1, 3), fingers[:, :3]], dim=1)
    along = fingers - parents
    length = along.norm(dim=-1)
    offset = vertices[:, None, None] - parents
    part = ((offset * along).sum(-1) / length.square()).clamp(0, 1)
    distance = (offset - part[..., None] * along).norm(dim=-1)
    bone = distance.reshape(len(vertices), 20).argmin(1)
    finger = bone // 4

    unit = along / length[..., None]
    joint = torch.stack([unit[:, 1], unit[:, 1] + unit[:, 2], unit[:, 3]], dim=1)
    joint = (joint / joint.norm(dim=-1, keepdim=True))[finger]
    beyond = ((vertices[:, None] - fingers[finger, :3]) * joint).sum(-1)
    up = torch.stack([normals[(asset.nail > 0) & (finger == k)].mean(0) for k in range(5)])
    up = up - (up * unit[:, 3]).sum(1, keepdim=True) * unit[:, 3]
    up = up / up.norm(dim=1, keepdim=True)
    side = ((vertices - fingers[finger, 2]) * torch.linalg.cross(unit[:, 3], up)[finger]).sum(1)
    width = torch.stack([side[(beyond[:, 2] > 0) & (finger == k)].abs().max() for k in range(5)])[finger]

    # On the fingers the nail tells where the back is; on the palm, the axis out of the palm does.
    on_finger = ((beyond[:, 0] + 10) / 30).clamp(0, 1)[:, None]
    facing = (normals * (up[finger] * on_finger - PALMAR_AXIS.to(up) * (1 - on_finger))).sum(1)
    palm = _smooth((0.25 - facing) / 0.7) * _smooth((vertices[:, 1] + 25) / 35)
    last = beyond[:, 2] * DISTAL / length[finger, 3]
    x, y, z = vertices.unbind(1)
    return SkinMap(x, y, z, palm, beyond[:, 0], beyond[:, 1], last, side / width, asset.nail), bone


def continued(skin: SkinMap, end: Int64[Tensor, " n"], rest: Float32[Tensor, "rings n 3"]) -> SkinMap:
    """The coordinates of a mesh and then of rings of an arm beyond its open end, which are plain skin.

    Args:
        skin: of the mesh.
        end: the vertices around its open end, in the order of each ring's.
        rest: the rings at rest, hand space.
    """
    x, y, z = rest.unbind(-1)
    further = (skin.y[end] - y).clamp_min(0)
    last = SkinMap(*(column[end].expand_as(y) for column in skin))
    beyond = {name: getattr(last, name) - further for name in ("beyond_first", "beyond_second", "beyond_third")}
    last = last._replace(x=x, y=y, z=z, palm=torch.zeros_like(y), **beyond)
    return SkinMap(*(torch.cat([first, second.flatten()]) for first, second in zip(skin, last, strict=True)))


def rest_keypoints(asset: HandAsset) -> Float32[Tensor, "21 3"]:
    """The 21 keypoints of the mean hand at rest."""
    joints = asset.bone_heads[1:16].reshape(5, 3, 3)
    tips = asset.vertices[asset.tip_vertices].mean(1, keepdim=True)
    return torch.cat([asset.bone_heads[:1], torch.cat([joints, tips], dim=1).reshape(20, 3)])


def _smooth(t: Tensor) -> Tensor:
    """0 below 0, 1 above 1, and a smooth step between."""
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)


def _bump(t: Tensor) -> Tensor:
    """1 at 0, falling smoothly to 0 at -1 and 1: a bell of finite width."""
    return (1 - t * t).clamp_min_(0).square_()


def waves(point: Sequence[Tensor], offset: Sequence[Tensor], wavelength: float) -> tuple[Tensor, Tensor]:
    """Two smooth noise fields with a standard deviation of about 0.5, from sines bent by sines.

    Args:
        point: x, y, z in mm.
        offset: Added to the phases, broadcasting against the points.
        wavelength: Typical size of a blotch, mm.
    """
    k = 2 * math.pi / wavelength

    def phase(*factors: float) -> Tensor:
        line = point[0] * (k * factors[0])
        for value, factor in zip(point[1:], factors[1:], strict=True):
            line.add_(value, alpha=k * factor)
        return line + (factors[0] * offset[0] + factors[1] * offset[1] + factors[2] * offset[2])

    a = phase(0.41, -0.23, 0.35).add_(1.3).sin_().mul_(2.4)
    b = phase(0.45, 0.90, -0.21).add_(a).sin_()
    c = phase(1.90, -0.70, 1.10).add_(b, alpha=1.9).add_(a).sin_()
    d = phase(-0.60, 2.30, 1.20).add_(b, alpha=2.1).sub_(a).sin_()
    second = d.addcmul_(b, c).mul_(0.5)
    return c.add_(b).mul_(0.5), second


def vertex_albedo(skin: SkinMap, material: Material) -> Float32[Tensor, "B V 3"]:
    """Skin colour without its sharp detail: tones of palm and back, redness, mottling."""
    offset = [o[:, None] for o in material.offset.unbind(1)]
    broad, second = waves((skin.x, skin.y, skin.z), offset, 55.0)
    middle, third = waves((skin.x, skin.z, skin.y), offset, 21.0)
    knuckle = _bump(skin.beyond_second / 11) + 0.8 * _bump(skin.beyond_third / 8) + 0.8 * _bump(skin.beyond_first / 13)
    tip = _smooth((skin.beyond_third - 6) / 18)
    red = (knuckle * (1 - skin.palm) + tip * (0.5 + 0.5 * skin.palm) + 0.25 * skin.palm)[None]
    red = (red + 0.5 * broad + 0.3 * third) * material.redness[:, None]
    melanin = material.mottling[:, None] * (0.09 * broad + 0.10 * middle + 0.05 * second)
    channels = []
    for k, (reddening, browning) in enumerate(((0.05, 0.8), (0.30, 1.1), (0.28, 1.3))):
        tone = material.dorsal[:, k, None] * (1 - skin.palm) + material.palmar[:, k, None] * skin.palm
        channels.append(tone * (1 - reddening * red) * (1 - browning * melanin))
    return torch.stack(channels, dim=-1).clamp_min(0.004)


class Detail(NamedTuple):
    """Sharp detail of skin at N points, (N,) each."""

    shade: Tensor
    """Factor of the albedo; its reddening part is `blood`."""
    blood: Tensor
    """Further factor of green and blue."""
    tilt: Tensor
    """Slope of the surface along the finger."""
    bump_x: Tensor
    """Slope of the fine relief, in two directions across the surface."""
    bump_y: Tensor
    nail: Tensor
    """1 on the nail."""
    edge: Tensor
    """1 on the nail's white free edge."""


class DetailStrength(NamedTuple):
    """What `detail` needs of the material at N points, and the picture's resolution; (N,) each, or (1,) for all."""

    mottling: Tensor
    wrinkles: Tensor
    creases: Tensor
    veins: Tensor
    offset_x: Tensor
    offset_y: Tensor
    offset_z: Tensor
    pixel: Tensor
    """mm that one pixel covers: detail finer than a pixel is widened and weakened."""


def detail(skin: SkinMap, hand_length: float, strength: DetailStrength) -> Detail:
    """Creases, wrinkles, veins, fine relief and nails at N points of the surface.

    Args:
        skin: Skin coordinates at the points.
        hand_length: From the wrist to the middle knuckle at rest, mm.
        strength: The material there.
    """
    s = strength
    back = 1 - skin.palm
    fine, rough = waves((skin.x, skin.y, skin.z), (s.offset_x, s.offset_y, s.offset_z), 9.0)

    joint = torch.where(skin.beyond_second.abs() < skin.beyond_third.abs(), skin.beyond_second, skin.beyond_third)
    bowed = (skin.side * skin.side).mul_(0.9).add_(joint).add_(rough, alpha=0.5)
    visible = (1.6 / s.pixel).clamp_max(1.0)
    ridged = _bump(joint / 6.5).mul_(back).mul_(s.wrinkles * visible)
    phase = bowed.mul_(2 * math.pi / 2.9)
    line = torch.sin(phase + 0.5 * math.pi).add_(1).mul_(0.5)

    width = 0.55 + 0.45 * s.pixel
    to_crease = torch.minimum(joint.abs_(), (skin.beyond_first - 0.25 * hand_length).abs_())
    to_crease = torch.minimum(to_crease, _palm_lines(skin, hand_length).add_(0.3))
    to_crease.add_(fine.abs(), alpha=0.35).add_(rough, alpha=0.2).mul_(1 / (2 * width))
    crease = _bump(to_crease).mul_(skin.palm).mul_(s.creases * (1.1 / width).clamp_max(1.0))
    vein = _veins(skin, fine).mul_(back).mul_(s.veins)
    nail, edge, fold = _nails(skin, s.pixel)

    relief = (0.015 + 0.045 * s.wrinkles) * visible
    shade = (fine * (0.06 * s.mottling)).add_(1).mul_(1 - 0.30 * crease).mul_(1 - 0.18 * fold).mul_(1 - 0.06 * vein)
    shade.mul_(line.mul_(line).mul_(ridged).mul_(-0.30).add_(1))
    blood = (rough * (0.07 * s.mottling)).add_(1).mul_(1 - 0.22 * crease).mul_(1 + 0.05 * vein)
    tilt = phase.sin_().mul_(ridged).mul_(0.45)
    return Detail(shade, blood, tilt, (fine * relief).add_(vein, alpha=0.10), rough * relief, nail, edge)


def some(values: Tensor, at: Int64[Tensor, " m"]) -> Tensor:
    """The values of some points; one value for all points stays one."""
    return values if len(values) == 1 else values.index_select(0, at)


def _palm_lines(skin: SkinMap, hand_length: float) -> Tensor:
    """Millimetres to the nearest of the palm's three lines (heart, head, life) and of the wrist's crease."""
    x, y = skin.x / hand_length, skin.y / hand_length
    # Quadratics drawn by eye; beyond a line's ends a slope is added, which makes it fade.
    heart = (y - 0.80 + 0.40 * (x - 0.06) * (x - 0.06) - 0.22 * x).abs() + (x - 0.17).clamp_min(0) * 0.8
    head = (y - 0.64 - 0.42 * x + 0.25 * x * x).abs() + (-0.26 - x).clamp_min(0) * 0.8
    middle = y - 0.40
    life = (x - 0.14 + 1.35 * middle * middle - 0.25 * middle).abs() + (middle.abs() - 0.32).clamp_min(0) * 0.8
    wrist = (y + 0.02).abs() + 0.004
    return torch.minimum(torch.minimum(heart, head), torch.minimum(life, wrist)) * hand_length


def _veins(skin: SkinMap, noise: Tensor) -> Tensor:
    """Ridges along the back of the hand between the wrist and the knuckles, 0 to 1."""
    across = torch.sin(0.17 * skin.x + 1.1 * torch.sin(0.05 * skin.y + 0.03 * skin.x) + 0.06 * noise)
    return _bump(across / 0.42) * _bump((skin.y - 35) / 60)


def _nails(skin: SkinMap, pixel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Masks of the nail, of its free edge and of the fold of skin around it."""
    nail = (skin.nail / pixel.clamp_min(0.3) + 0.5).clamp_(0, 1)
    edge = (skin.beyond_third - 0.90 * DISTAL).clamp(0, 1) * nail
    fold = _bump((skin.nail + 0.5) / 1.2) * (1 - nail)
    return nail, edge, fold
