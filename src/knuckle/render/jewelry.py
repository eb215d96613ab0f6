"""Rings, bracelets and watches: what is drawn for each hand, and how it shows on the skin.

All of it sticks to places on the hand at rest (`skin.SkinMap`). A ring is a band round a finger before its middle
joint, a bracelet or a strap one round the wrist, a case lies on the back of the wrist or on its inner side. Bands and
cases are painted on, with normals bent to round them off; straps and cases also lift the skin below them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from knuckle.render.light import dot, shine
from knuckle.render.ranges import Range, check_numbers, check_ranges, check_weights
from knuckle.render.skin import SkinMap

Color = tuple[float, float, float]

METALS: Final[tuple[Color, ...]] = (
    (1.00, 0.78, 0.34),
    (0.97, 0.96, 0.91),
    (0.96, 0.68, 0.54),
    (0.54, 0.50, 0.45),
    (0.06, 0.06, 0.07),
)
"""Linear reflectance of gold, silver, rose gold and titanium, and of blackened steel (Akenine-Moeller et al.,
"Real-Time Rendering", 4th edition 2018, table 9.2; rose gold is near its copper)."""
RING_PLACE: Final = 11.0
"""mm from the middle of a ring to the joint beyond it: PIP, the thumb's IP."""
BAND_THICKNESS: Final = 2.0
CASE_THICKNESS: Final = 7.0
"""mm by which a strap and a case stand off the skin."""
AXIS_AT_WRIST: Final = (3.0, 1.5)
"""x and z of the forearm's axis where watches are worn, mm at rest."""
NO_RING: Final = -1
_METAL_ROUGHNESS: Final = 0.26
_RAMP: Final = 5.0
"""mm over which skin rises to a strap; the mesh is no finer there."""


@dataclass(frozen=True)
class Jewelry:
    """What hands wear.

    Attributes:
        ring: probability of a ring.
        fingers: weights of the fingers that it may be on, thumb to little finger.
        ring_width: mm.
        wrist: probability of something round the wrist.
        watch: part of these that are watches; the others are bracelets.
        bracelet_width: mm.
        strap_width: mm.
        place: from the wrist's joint to the middle of the band, mm.
        case: radius of a round watch, mm; a square one has the same area, nearly.
        square: part of the watches with a square case.
        inside: part of the watches worn on the palm's side.
        metal: part of the straps and bracelets that are metal; the others are cloth, leather or rubber.

    Raises:
        ValueError: a range, share or probability cannot be one; names the field.
    """

    ring: float = 0.15
    fingers: tuple[float, float, float, float, float] = (0.06, 0.16, 0.18, 0.5, 0.1)
    ring_width: Range = (2.0, 6.5)
    wrist: float = 0.15
    watch: float = 0.65
    bracelet_width: Range = (2.5, 10.0)
    strap_width: Range = (14.0, 24.0)
    place: Range = (20.0, 42.0)
    case: Range = (13.0, 20.0)
    square: float = 0.35
    inside: float = 0.08
    metal: float = 0.45

    def __post_init__(self) -> None:
        check_numbers(self, "ring", "wrist", "watch", "square", "inside", "metal", most=1.0)
        check_weights(self, "fingers")
        check_ranges(self, "ring_width", "bracelet_width", "strap_width", "place", "case", above=0.0)


@dataclass(frozen=True)
class Jewels:
    """What a batch of hands wears, one row each. Colours are linear RGB.

    Attributes:
        finger: that wears the ring, 0 thumb to 4 little finger, `NO_RING` for none.
        ring_width: mm.
        ring_color: its metal.
        band: mm from the wrist to the middle of a band round it, infinity without one.
        band_width: mm.
        band_color: of the metal, or the albedo of cloth, leather or rubber.
        band_metal: 1 metal, 0 not.
        case: radius of the watch, half a square one's side, mm, 0 for a bracelet.
        square: 1 for a square case.
        side: 1 on the palm's side, -1 on the back.
        case_color: its metal.
        dial: albedo of the dial.
        time: (turns of the hour hand, of the minute hand).
    """

    finger: Int64[Tensor, " B"]
    ring_width: Float32[Tensor, " B"]
    ring_color: Float32[Tensor, "B 3"]
    band: Float32[Tensor, " B"]
    band_width: Float32[Tensor, " B"]
    band_color: Float32[Tensor, "B 3"]
    band_metal: Float32[Tensor, " B"]
    case: Float32[Tensor, " B"]
    square: Float32[Tensor, " B"]
    side: Float32[Tensor, " B"]
    case_color: Float32[Tensor, "B 3"]
    dial: Float32[Tensor, "B 3"]
    time: Float32[Tensor, "B 2"]


def draw_jewels(jewelry: Jewelry | None, rng: np.random.Generator) -> Jewels:
    """What one hand wears, one row; nothing without ranges."""
    if jewelry is None:
        return _nothing()
    has_ring, has_band = rng.random() < jewelry.ring, rng.random() < jewelry.wrist
    if not (has_ring or has_band):
        return _nothing()
    j, weights = jewelry, np.array(jewelry.fingers)
    finger, is_watch = int(rng.choice(5, p=weights / weights.sum())), rng.random() < j.watch
    width = rng.uniform(*(j.strap_width if is_watch else j.bracelet_width))
    metal, square = rng.random() < j.metal, rng.random() < j.square

    return Jewels(
        finger=torch.tensor([finger if has_ring else NO_RING]),
        ring_width=_row(rng.uniform(*j.ring_width)),
        ring_color=_row(_metal(rng)),
        band=_row(rng.uniform(*j.place) if has_band else np.inf),
        band_width=_row(width),
        band_color=_row(_metal(rng) if metal else _strap(rng)),
        band_metal=_row(float(metal)),
        case=_row(max(rng.uniform(*j.case) * (0.87 if square else 1.0), 0.55 * width) if is_watch else 0.0),
        square=_row(float(square)),
        side=_row(1.0 if rng.random() < j.inside else -1.0),
        case_color=_row(_metal(rng)),
        dial=_row(rng.choice([0.02, 0.02, 0.1, 0.75]) + 0.05 * rng.random(3)),
        time=_row(rng.random(2)),
    )


@lru_cache(maxsize=1)
def _nothing() -> Jewels:
    one, color = _row(0.0), _row(np.zeros(3))
    columns = {field.name: color if "color" in field.name else one for field in fields(Jewels)}
    columns |= {"finger": torch.tensor([NO_RING]), "band": _row(np.inf), "dial": color, "time": _row(np.zeros(2))}
    return Jewels(**columns)


def _row(value: object) -> Tensor:
    return torch.from_numpy(np.asarray(value, dtype=np.float32)[None])


def _metal(rng: np.random.Generator) -> Color:
    return METALS[int(rng.choice(len(METALS), p=[0.32, 0.36, 0.1, 0.14, 0.08]))]


def _strap(rng: np.random.Generator) -> Float32[np.ndarray, " 3"]:
    """Albedo of leather, rubber or cloth: black, browns, then any colour."""
    kind = rng.random()
    if kind < 0.4:
        return np.full(3, rng.uniform(0.015, 0.05), dtype=np.float32)
    if kind < 0.7:
        return (rng.uniform(0.3, 1.2) * np.array([0.22, 0.10, 0.045])).astype(np.float32)
    return (rng.random(3) ** 1.7).astype(np.float32)


def lift(jewels: Jewels, skin: SkinMap, sleeve: Float32[Tensor, " B"]) -> Float32[Tensor, "B V"]:
    """How far straps and cases move each vertex outwards, mm; nothing under a sleeve."""
    away = (-skin.y - jewels.band[:, None]).abs() - jewels.band_width[:, None] / 2
    rise = BAND_THICKNESS * (1 - away / _RAMP).clamp(0, 1)
    x, y = skin.x - AXIS_AT_WRIST[0], -skin.y - jewels.band[:, None]
    case = jewels.case[:, None]
    beyond = _from_center(x, y, jewels.square[:, None]) - case
    on_side = (case > 0) & ((skin.z - AXIS_AT_WRIST[1]) * jewels.side[:, None] > 0)
    rise = torch.maximum(rise, CASE_THICKNESS * (1 - beyond / _RAMP).clamp(0, 1) * on_side)
    return rise * (-skin.y < sleeve[:, None])


def _from_center(x: Tensor, y: Tensor, square: Tensor) -> Tensor:
    """Distance from the middle of a round case; of a square one, to the side."""
    return torch.where(square > 0, torch.maximum(x.abs(), y.abs()), (x * x + y * y).sqrt())


def first_phalanges(bone: Int64[Tensor, " V"], faces: Int64[Tensor, "F 3"]) -> Int64[Tensor, " F"]:
    """The finger on whose first phalanx each triangle lies, 0 thumb to 4 little finger; -1 anywhere else.

    Args:
        bone: along which each vertex lies, a row of `skeleton.BONES`: four a finger from the wrist on, of which the
            thumb's first two are metacarpal.
        faces: vertices of the triangles.
    """
    finger = torch.where((bone % 4 == 1) & (bone >= 4) | (bone == 2), torch.div(bone, 4, rounding_mode="floor"), -1)
    first, second, third = finger[faces].unbind(1)
    return torch.where((first == second) & (second == third), first, -1)


class Worn(NamedTuple):
    """Points of the surface that wear something, and how they look there, (M,) each."""

    at: Int64[Tensor, " M"]
    weight: Tensor
    """Covered part of the pixel."""
    color: tuple[Tensor, Tensor, Tensor]
    """Reflectance of a metal, albedo of anything else."""
    metal: Tensor
    slope: Tensor
    """Of the surface along the finger or the forearm: bands are rounded."""
    shade: Tensor
    """Factor of the skin's albedo close by."""


def worn(
    jewels: Jewels,
    skin: SkinMap,
    triangle: Int64[Tensor, " N"],
    image: Int64[Tensor, " N"],
    pixel: Float32[Tensor, " N"],
    sleeve: Float32[Tensor, " B"],
    phalanges: Int64[Tensor, " F"],
) -> Worn:
    """Which points wear something.

    Args:
        jewels: of each hand.
        skin: coordinates of the points.
        triangle: in which each point lies.
        image: the hand of each point.
        pixel: mm that a pixel covers.
        sleeve: mm from each hand's wrist to its sleeve.
        phalanges: what `first_phalanges` says of each triangle.
    """
    at, is_band = _about(jewels, skin.y, triangle, image, phalanges)
    hand, pixel, *places = (column.index_select(0, at) for column in (image, pixel, *skin))
    skin = SkinMap(*places)

    # Along the arm or the finger, off the middle of the band, mm.
    off_band = skin.y + jewels.band[hand]
    joint = torch.where(jewels.finger[hand] == 0, skin.beyond_third, skin.beyond_second)
    off = torch.where(is_band, off_band, joint + RING_PLACE)
    half = torch.where(is_band, jewels.band_width[hand], jewels.ring_width[hand]) / 2
    radius, square, side = jewels.case[hand], jewels.square[hand], jewels.side[hand]
    out = _from_center(skin.x - AXIS_AT_WRIST[0], off_band, square)
    is_case = (radius > 0) & (out < radius + 3) & ((skin.z - AXIS_AT_WRIST[1]) * side > 0)
    outside = torch.minimum(off.abs() - half, torch.where(is_case, out - radius, torch.inf))
    near = ((outside < 1.5 + pixel) & (-skin.y < sleeve[hand])).nonzero()[:, 0]

    at, hand, off, half, radius, out, outside, pixel, is_band, is_case = (
        column.index_select(0, near) for column in (at, hand, off, half, radius, out, outside, pixel, is_band, is_case)
    )
    part = out / radius.clamp_min(1e-3)
    is_case = is_case & (part < 1)
    is_dial = is_case & (part < 0.8)
    x, y = (column[near] / radius.clamp_min(1e-3) for column in (skin.x - AXIS_AT_WRIST[0], off_band))
    hands = is_dial & _on_a_hand(x, y, jewels.time[hand])
    colors = []
    for c in range(3):
        band = torch.where(is_band, jewels.band_color[:, c][hand], jewels.ring_color[:, c][hand])
        dial = jewels.dial[:, c][hand]
        dial = torch.where(hands, torch.where(dial > 0.3, 0.03, 0.7), dial)
        colors.append(torch.where(is_dial, dial, torch.where(is_case, jewels.case_color[:, c][hand], band)))
    metal = torch.where(is_band, jewels.band_metal[hand], 1.0)
    metal = torch.where(is_dial, 0.0, torch.where(is_case, 1.0, metal))
    rounded = off / half
    rounded = torch.where(is_band, rounded * rounded * rounded, rounded)
    slope = torch.where(is_dial, 0.0, torch.where(is_case, y, rounded.clamp(-1, 1)))
    weight = (0.5 - outside / pixel).clamp(0, 1)
    shade = 1 - 0.4 * (1 - outside / 1.5).clamp(0, 1)
    return Worn(at, weight, (colors[0], colors[1], colors[2]), metal, 0.9 * slope, shade)


def _about(
    jewels: Jewels, y: Tensor, triangle: Tensor, image: Tensor, phalanges: Tensor
) -> tuple[Int64[Tensor, " M"], Bool[Tensor, " M"]]:
    """The points on the right phalanx or part of the wrist, which are few, and whether it is the wrist."""
    reach = torch.maximum(jewels.band_width / 2, jewels.case) + _RAMP
    band, reach, finger = (column.index_select(0, image) for column in (jewels.band, reach, jewels.finger))
    is_band = (y + band).abs() < reach
    is_ring = (finger != NO_RING) & (phalanges.index_select(0, triangle) == finger)
    at = (is_band | is_ring).nonzero()[:, 0]
    return at, is_band.index_select(0, at)


def _on_a_hand(x: Tensor, y: Tensor, turns: Tensor) -> Tensor:
    """Whether points of a dial lie on its hour or minute hand; in radii of the case."""
    found = torch.zeros_like(x, dtype=torch.bool)
    for k, length in enumerate((0.42, 0.65)):
        # Enough for a direction: a triangle wave instead of a sine.
        right, up = (_triangle(turns[:, k] + quarter) for quarter in (0.0, 0.25))
        scale = 1 / (right * right + up * up).sqrt().clamp_min(1e-6)
        along, across = (x * right + y * up) * scale, (x * up - y * right) * scale
        found |= (along > -0.08) & (along < length) & (across.abs() < 0.045)
    return found


def _triangle(turns: Tensor) -> Tensor:
    """A wave from -1 to 1 with a period of 1, made of straight lines."""
    part = turns - turns.floor()
    return 1 - 4 * (part - 0.5).abs()


def gleam(
    seen: Worn,
    normal: Sequence[Tensor],
    view: Sequence[Tensor],
    lamp: Sequence[Tensor],
    lamp_color: Sequence[Tensor],
    surroundings: tuple[Tensor, Tensor, Tensor],
) -> list[Tensor]:
    """What metal mirrors of the lamp and of sky and ground: RGB, (M,) each.

    Args:
        seen: the points.
        normal: unit, x, y, z of (M,) each, as are the next two; camera space.
        view: unit direction to the camera.
        lamp: unit direction to it.
        lamp_color: what of it reaches the points.
        surroundings: (M, 3) each, or (1, 3) for all points: light from above, from below, and the direction of
            above.
    """
    sky, ground, up = surroundings
    n_v = dot(normal, view)
    towards = 2 * n_v
    mirrored = [n * towards - v for n, v in zip(normal, view, strict=True)]
    height = mirrored[0] * up[:, 0] + mirrored[1] * up[:, 1] + mirrored[2] * up[:, 2]
    # A horizon: metal shows the border between light and dark that skin blurs, and the dark things near it.
    above = (1.6 * height + 0.4).clamp(0, 1)
    whole = torch.ones_like(n_v)
    mirrored_lamp = shine(n_v, dot(lamp, view), dot(lamp, normal), whole * _METAL_ROUGHNESS, whole)
    strength = seen.metal * seen.weight
    low = 0.35 * ground
    return [
        strength * color * (low[:, c] + (sky[:, c] - low[:, c]) * above + lamp_color[c] * mirrored_lamp)
        for c, color in enumerate(seen.color)
    ]
