"""Hands as solid bodies: the capsules of a hand and its forearm, their distance from others, and what they hide.

Coordinates come first, as in `collision`, and every number is computed on its own: a hand gives the same
bits whichever others are computed with it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from knuckle.render.bones import bend
from knuckle.render.collision import CAPSULES, axes, segment_distance
from knuckle.render.mesh import BONES

FOREARM: Final = (20.0, 215.0)
"""mm from the wrist to where the axis of the forearm's capsule begins and ends."""
FOREARM_RADIUS: Final = 30.0
"""mm; the mean forearm measures 23 to 30 mm near the wrist and 27 to 38 mm at the elbow."""

_TOWARDS_WRIST: Final = 1
_FOREARM_BONE: Final = BONES.index("forearm_wrist")


class Solid(NamedTuple):
    """Hands as capsules, mm, all in one space.

    Attributes:
        start: (3, b, n) where the axes begin: the 19 of `collision.CAPSULES`, then the forearm.
        end: the same for the other end.
        radius: (n,).
        points: (3, b, 21) keypoints.
    """

    start: Float64[Tensor, "3 b n"]
    end: Float64[Tensor, "3 b n"]
    radius: Float64[Tensor, " n"]
    points: Float64[Tensor, "3 b 21"]

    def rows(self, rows: list[int]) -> Solid:
        """Some of the hands; a row may come more than once."""
        return Solid(self.start[:, rows], self.end[:, rows], self.radius, self.points[:, rows])

    def shifted(self, shift: Float64[Tensor, "b 3"]) -> Solid:
        """Each hand somewhere else."""
        by = shift.T[..., None]
        return Solid(self.start + by, self.end + by, self.radius, self.points + by)

    def moved(self, rotation: Float64[Tensor, "b 3 3"], shift: Float64[Tensor, "b 3"]) -> Solid:
        """Each hand turned (or mirrored), then shifted."""

        def move(p: Tensor) -> Tensor:
            lines = [
                rotation[:, k, 0, None] * p[0] + rotation[:, k, 1, None] * p[1] + rotation[:, k, 2, None] * p[2]
                for k in range(3)
            ]
            return torch.stack([line + shift[:, k, None] for k, line in enumerate(lines)])

        return Solid(move(self.start), move(self.end), self.radius, move(self.points))


def solids(angles: Float64[Tensor, "b 24"], shape: Float64[Tensor, "b 12"]) -> Solid:
    """Hands in hand space, as posed for right hands.

    The capsules are as thick as the mean hand's, and lie on the bones of each hand's own shape.
    """
    bones = bend(angles, shape)
    start, end = axes(bones)
    towards_wrist = bones.frames[:, _FOREARM_BONE, :, _TOWARDS_WRIST].T[..., None]
    radius = torch.tensor([capsule.radius for capsule in CAPSULES] + [FOREARM_RADIUS], dtype=torch.float64)
    return Solid(
        start=torch.cat([start, -towards_wrist * FOREARM[0]], dim=2),
        end=torch.cat([end, -towards_wrist * FOREARM[1]], dim=2),
        radius=radius,
        points=bones.keypoints.permute(2, 0, 1).contiguous(),
    )


def distance(first: Solid, second: Solid) -> Float64[Tensor, " b"]:
    """Smallest distance between the surfaces of two hands with their forearms, row by row; negative: they overlap."""
    p, u = first.start, first.end - first.start
    q, v = second.start, second.end - second.start
    between = segment_distance(p[..., :, None], u[..., :, None], q[..., None, :], v[..., None, :])
    reach = first.radius[:, None] + second.radius[None]
    return (between - reach).flatten(1).amin(1)


def hides(solid: Solid, points: Float64[Tensor, "3 b k"]) -> Bool[Tensor, "b k"]:
    """Which points the hands hide from a camera in the origin: the line of sight meets a capsule."""
    eye = torch.zeros_like(points)[..., None]
    u = solid.end - solid.start
    between = segment_distance(eye, points[..., None], solid.start[..., None, :], u[..., None, :])
    return (between < solid.radius).any(-1)
