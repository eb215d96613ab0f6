"""Which objects there may be before or inside the hand, and the numbers drawn for one.

An object is held or passes between hand and camera. `grip` says where it lies, `object_view` what it shows and hides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64

from knuckle.render.convex import Shape
from knuckle.render.ranges import Range, check_numbers, check_ranges, log_uniform

Vector = Float64[np.ndarray, " 3"]


@dataclass(frozen=True)
class OccluderRanges:
    """Which objects there may be.

    Attributes:
        held: probability of an object in the grip.
        passing: probability of an object between hand and camera.
        approach: how far a passing object has come from the hand to the camera.

    Raises:
        ValueError: a range, share or probability cannot be one; names the field.
    """

    held: float = 0.15
    passing: float = 0.15
    approach: Range = (0.12, 0.45)

    def __post_init__(self) -> None:
        check_numbers(self, "held", "passing", most=1.0)
        check_ranges(self, "approach", least=0.0, most=1.0)


class Kind(NamedTuple):
    """What people hold: a shape and the ranges of its half axes in mm, each log-uniform.

    The first axis is the thickness, the third the length. A range of (0, 0) repeats the axis before it: things that
    are round.
    """

    shape: Shape
    thickness: Range
    width: Range
    length: Range


_ROUND: Final = (0.0, 0.0)
KINDS: Final = (
    Kind("cylinder", (3.0, 5.5), _ROUND, (55.0, 95.0)),  # pens, chopsticks, brushes
    Kind("cylinder", (7.0, 17.0), _ROUND, (45.0, 140.0)),  # handles, rails, torches
    Kind("cylinder", (18.0, 36.0), _ROUND, (35.0, 95.0)),  # cups, cans, bottles
    Kind("box", (3.5, 6.0), (31.0, 40.0), (62.0, 82.0)),  # phones
    Kind("box", (0.6, 2.5), (24.0, 45.0), (38.0, 70.0)),  # cards, letters, thin books
    Kind("box", (6.0, 25.0), (12.0, 40.0), (25.0, 90.0)),  # boxes, packets, tools
    Kind("ellipsoid", (14.0, 40.0), _ROUND, _ROUND),  # balls
    Kind("ellipsoid", (10.0, 26.0), (12.0, 30.0), (16.0, 60.0)),  # fruit, stones, soap
)


@dataclass(frozen=True)
class Occluder:
    """One object.

    Attributes:
        shape: what it is; a cylinder's axis is its third.
        half_axes: (3,) mm.
        axes: (3, 3) its axes as rows, in hand space where held, else in camera space; the first one of a held
            object points out of the palm.
        held: whether it lies in the grip.
        keypoint: which one a passing object comes before.
        approach: how far a passing object has come from there to the camera, 0 to 1.
        shift: (3,) mm in the space of `axes`.
        colors: (2, 3) linear RGB of the stripes across its third axis.
        stripes: radians over half its length; 0 for one colour.
        gloss: how much of the lamp its surface mirrors, 0 for none.
    """

    shape: Shape
    half_axes: Vector
    axes: Float64[np.ndarray, "3 3"]
    held: bool
    keypoint: int
    approach: float
    shift: Vector
    colors: Float64[np.ndarray, "2 3"]
    stripes: float
    gloss: float = 0.0


def draw_occluder(ranges: OccluderRanges, rng: np.random.Generator) -> Occluder | None:
    """One object, or none."""
    chance = rng.random()
    if chance >= ranges.held + ranges.passing:
        return None
    held = chance < ranges.held
    kind = KINDS[int(rng.integers(len(KINDS)))]
    half_axes = _half_axes(kind, rng)
    axes = _across_the_palm(rng) if held else _any_rotation(rng)
    shift = rng.normal(0, 4.0 if held else 15.0, 3)
    if held:  # by its end as well as by its middle
        shift += axes[2] * rng.uniform(-0.6, 0.6) * max(half_axes[2] - 30.0, 0.0)
    return Occluder(
        shape=kind.shape,
        half_axes=half_axes,
        axes=axes,
        held=held,
        keypoint=int(rng.integers(21)),
        approach=rng.uniform(*ranges.approach),
        shift=shift,
        colors=np.clip(rng.random((2, 3)) ** 2 * rng.uniform(0.2, 1.1, (2, 1)), 0.005, 1.0),
        stripes=float(rng.uniform(0, 12)) if rng.random() < 0.4 else 0.0,
        gloss=float(rng.uniform(0, 0.5)) if rng.random() < 0.6 else 0.0,
    )


def _half_axes(kind: Kind, rng: np.random.Generator) -> Vector:
    lengths: list[float] = []
    for bounds in kind[1:]:
        drawn = log_uniform(bounds, rng) if bounds != _ROUND else lengths[-1]
        lengths.append(drawn)
    return np.array(lengths)


def _across_the_palm(rng: np.random.Generator) -> Float64[np.ndarray, "3 3"]:
    """Axes whose third runs from the little finger to the index, give or take 20 degrees."""
    third = np.array([1.0, 0.0, 0.0]) + rng.normal(0, 0.35, 3)
    third /= np.linalg.norm(third)
    second = np.cross(third, [0.0, 0.0, 1.0])
    second /= np.linalg.norm(second)
    return np.stack([np.cross(second, third), second, third])


def _any_rotation(rng: np.random.Generator) -> Float64[np.ndarray, "3 3"]:
    """Uniform over all rotations: the QR decomposition of a normal matrix."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q *= np.sign(np.diag(r))
    return np.asarray(q * np.sign(np.linalg.det(q)))
