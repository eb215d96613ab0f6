"""Does the hand run through itself? A model of capsules, and how deep two of them overlap.

A capsule is a segment with a radius. Every phalanx, the thumb's metacarpal and the four metacarpals of
the palm carry one each, fitted to the skin of the mean hand by tools/fit_capsules.py (root mean square
distance to the skin 0.3 to 0.6 mm on the fingers, 1 to 2 mm on thumb and palm). They move with the bones,
so that testing a pose needs no mesh. Flesh that belongs together is not tested: the bones of one
finger, the web between neighbours, the ball of the thumb and the palm.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from knuckle.render.bones import Bones
from knuckle.render.mesh import BONES


@dataclass(frozen=True)
class Capsule:
    """One rigid piece of the hand.

    Attributes:
        name: finger and piece, for example "index middle"; "palm ring" lies over the ring finger's metacarpal.
        bone: index in `mesh.BONES` of the bone that carries it.
        start: (x, y, z) where its axis begins, in millimetres from the bone's head, in the hand's rest pose.
        end: the same for the other end.
        radius: millimetres.
    """

    name: str
    bone: int
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float


def _read() -> tuple[Capsule, ...]:
    content = json.loads(resources.files("knuckle.render").joinpath("assets/capsules.json").read_bytes())
    return tuple(
        Capsule(r["name"], BONES.index(r["bone"]), tuple(r["start"]), tuple(r["end"]), r["radius"])
        for r in content["capsules"]
    )


CAPSULES: Final = _read()
"""Three for each finger from thumb to little finger, then the palm's four: 19."""

CAPSULE_NAMES: Final = tuple(capsule.name for capsule in CAPSULES)
PALM: Final = tuple(row for row, name in enumerate(CAPSULE_NAMES) if name.startswith("palm"))
"""Rows of the palm's capsules."""


def _share_flesh(first: str, second: str) -> bool:
    """Whether two capsules are grown together, so that their overlap says nothing."""
    (owner, piece), (other_owner, other_piece) = first.split(), second.split()
    if owner == other_owner:
        return True
    if other_owner == "palm":
        return piece in ("metacarpal", "proximal") or (owner == "palm")
    return owner == "thumb" and piece == "metacarpal" and other_piece == "proximal"


PAIRS: Final = tuple(
    (i, j)
    for i in range(len(CAPSULES))
    for j in range(i + 1, len(CAPSULES))
    if not _share_flesh(CAPSULE_NAMES[i], CAPSULE_NAMES[j])
)
"""Rows of the capsules that may touch but not overlap, two by two."""


class _Model(NamedTuple):
    """The constants above as tensors, coordinates first."""

    bone: Tensor
    start: Tensor
    end: Tensor
    first: Tensor
    second: Tensor
    contact_distance: Tensor


@lru_cache(maxsize=1)
def _model() -> _Model:
    first, second = torch.tensor(PAIRS).unbind(1)
    radius = torch.tensor([capsule.radius for capsule in CAPSULES], dtype=torch.float64)
    return _Model(
        bone=torch.tensor([capsule.bone for capsule in CAPSULES]),
        start=torch.tensor([capsule.start for capsule in CAPSULES], dtype=torch.float64).T.contiguous(),
        end=torch.tensor([capsule.end for capsule in CAPSULES], dtype=torch.float64).T.contiguous(),
        first=first,
        second=second,
        contact_distance=radius[first] + radius[second],
    )


def axes(bones: Bones) -> tuple[Float64[Tensor, "3 b 19"], Float64[Tensor, "3 b 19"]]:
    """Where the axes of the capsules begin and end, in hand space, millimetres.

    Coordinates come first: everything below works on whole planes of numbers, each on its own, which
    is fast and gives a hand the same bits in every batch.
    """
    model = _model()
    matrix = bones.rotations[:, model.bone].permute(2, 3, 0, 1).contiguous()
    head = bones.heads[:, model.bone].permute(2, 0, 1).contiguous()

    def moved(local: Tensor) -> Tensor:
        x, y, z = local
        place: Tensor = head + matrix[:, 0] * x + matrix[:, 1] * y + matrix[:, 2] * z
        return place

    return moved(model.start), moved(model.end)


def overlaps(bones: Bones) -> Float64[Tensor, "b pairs"]:
    """How deep the capsules of each of PAIRS overlap, in mm; negative: the gap between them. Differentiable."""
    model = _model()
    start, end = axes(bones)
    along = end - start
    distance = segment_distance(
        start[..., model.first], along[..., model.first], start[..., model.second], along[..., model.second]
    )
    return model.contact_distance - distance


def penetration(bones: Bones) -> Float64[Tensor, " b"]:
    """The deepest overlap of two parts of each hand in millimetres, 0 where nothing overlaps."""
    return overlaps(bones).amax(1).clamp_min(0.0)


def segment_distance(
    p: Float64[Tensor, "3 *m"], u: Float64[Tensor, "3 *m"], q: Float64[Tensor, "3 *n"], v: Float64[Tensor, "3 *n"]
) -> Float64[Tensor, "*n"]:
    """The smallest distance between the segments from p to p + u and from q to q + v.

    Ericson, Real-Time Collision Detection (2005), section 5.1.9. A segment of no length is a point.
    """
    between = p - q
    uu, vv, uv = _dot(u, u).clamp_min(1e-9), _dot(v, v).clamp_min(1e-9), _dot(u, v)
    u_between, v_between = _dot(u, between), _dot(v, between)
    determinant = (uu * vv - uv * uv).clamp_min(1e-9)
    s = ((uv * v_between - u_between * vv) / determinant).clamp(0, 1)
    t = ((uv * s + v_between) / vv).clamp(0, 1)
    s = ((uv * t - u_between) / uu).clamp(0, 1)
    return length(between + u * s - v * t)


def length(vectors: Float64[Tensor, "3 *n"]) -> Float64[Tensor, "*n"]:
    """Their lengths; off by 1e-6 at 0, where the root would have no derivative."""
    return (_dot(vectors, vectors) + 1e-12).sqrt()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
