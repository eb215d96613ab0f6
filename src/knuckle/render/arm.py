"""The arm beyond the mesh: an elbow and an upper arm that leave the picture.

The baked hand ends at the elbow as an open tube. Here rings of vertices continue it: the elbow bends away from the
line of sight, then the upper arm runs across the picture, outwards from the hand and at one depth, until its open
end lies outside the frame.

The arithmetic is elementwise, so an arm gives the same bits in every batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from knuckle.render.camera import NEAREST_DEPTH, Camera
from knuckle.render.mesh import HandAsset

ELBOW: Final = (16.0, 32.0, 48.0, 66.0, 86.0)
"""mm along the arm from the mesh's end to each ring that still bends."""
UPPER_ARM: Final = (60.0, 130.0, 220.0, 340.0, 500.0)
"""mm from the last of them to each ring of the straight upper arm; stretched where the frame is farther away."""
STATIONS: Final = (*ELBOW, *(ELBOW[-1] + length for length in UPPER_ARM))
"""mm along the arm from the mesh's end to each ring, unstretched."""
THICKNESS: Final = (1.0, 1.01, 1.02, 1.04, 1.07, 1.14, 1.2, 1.24, 1.26, 1.26)
"""Radius of each ring over that of the mesh's end."""
_UNEVEN: Final = (0.7, 0.4, 0.15, *(0.0,) * (len(STATIONS) - 3))
"""How much of the mesh's uneven end is left in each ring; the others are circles across the arm."""
_LONGEST: Final = 20_000.0
"""mm; a lens that sees half of all directions has no edge that an arm could reach."""


@dataclass(frozen=True)
class Arm:
    """Which vertices continue the mesh, and how they hang together.

    Attributes:
        end: (n,) the vertices around the mesh's open end.
        faces: (G, 3) triangles between that end and the rings, numbered on after the mesh's vertices.
    """

    end: Int64[Tensor, " n"]
    faces: Int64[Tensor, "G 3"]


def arm_of(asset: HandAsset) -> Arm:
    """The continuation of a mesh that is open at one end."""
    end = _open_end(asset)
    rings = torch.arange(len(STATIONS) * len(end)).reshape(len(STATIONS), len(end)) + len(asset.vertices)
    inner = torch.cat([end[None], rings[:-1]])
    following, beyond = inner.roll(-1, 1), rings.roll(-1, 1)
    faces = torch.stack([inner, following, rings, following, beyond, rings], dim=-1)
    return Arm(end.to(asset.device), faces.reshape(-1, 3).to(asset.device))


def _open_end(asset: HandAsset) -> Int64[Tensor, " n"]:
    """The vertices around the hole, in the direction in which the triangles beyond it must pass them."""
    sides = torch.cat([asset.faces[:, [k, (k + 1) % 3]] for k in range(3)]).tolist()
    there = {(a, b) for a, b in sides}
    after = {b: a for a, b in there if (b, a) not in there}
    loop = [min(after)]
    while after[loop[-1]] != loop[0]:
        loop.append(after[loop[-1]])
    assert len(loop) == len(after), "one hole"
    return torch.tensor(loop)


def straight_arm(arm: Arm, vertices: Float32[Tensor, "V 3"]) -> Float32[Tensor, "E 3"]:
    """The rings of the unbent arm at rest, in hand space, whose wrist is in the origin."""
    end = _End(vertices[arm.end][None], vertices.new_zeros(1, 3))
    offsets, _ = end.rings(end.along[:, None].expand(-1, len(STATIONS), -1))
    centers = end.center + vertices.new_tensor(STATIONS)[:, None] * end.along
    return (centers[:, None] + offsets[0]).flatten(0, 1)


def extend_arms(
    arm: Arm,
    vertices: Float32[Tensor, "B V 3"],
    normals: Float32[Tensor, "B V 3"],
    keypoints: Float32[Tensor, "B 21 3"],
    turns: Sequence[float],
    camera: Camera,
    size: int,
) -> tuple[Float32[Tensor, "B V+E 3"], Float32[Tensor, "B V+E 3"]]:
    """Vertices and outward normals of hands with their arms, in camera space, mm.

    The upper arm leaves the elbow in the direction in which the elbow lies from the hand in the picture, turned by a
    given angle. No ring comes nearer to the camera than the mesh may.

    Args:
        arm: of the mesh.
        vertices: of the mesh.
        normals: of the mesh.
        keypoints: of the hands.
        turns: degrees by which each upper arm leaves that direction, clockwise in the picture; less than 90.
        camera: of each hand.
        size: side of the picture, pixels.
    """
    end = _End(vertices[:, arm.end], keypoints[:, 0])
    across = _outwards(end.center, keypoints[:, 9], turns)
    steps = [station / ELBOW[-1] for station in ELBOW]
    along = torch.stack([_between(end.along, across, part) for part in steps] + [across] * len(UPPER_ARM), dim=1)
    offsets, outward = end.rings(along)

    least = NEAREST_DEPTH * keypoints[:, :1, 2] - offsets[..., 2].amin(2)  # of each ring's centre
    center, before, centers = end.center, 0.0, []
    for ring, station in enumerate(ELBOW):
        center = center + (station - before) * _between(end.along, across, steps[ring] - 0.5 / len(ELBOW))
        center = _no_nearer(center, least[:, ring])
        centers.append(center)
        before = station
    center = _no_nearer(center, least[:, -1])
    stretch = (_to_leave(center, across, end.radius * THICKNESS[-1], camera, size) / UPPER_ARM[-1]).clamp_min(1)
    centers += [center + length * stretch[:, None] * across for length in UPPER_ARM]
    rings = torch.stack(centers, dim=1)[:, :, None] + offsets
    return torch.cat([vertices, rings.flatten(1, 2)], dim=1), torch.cat([normals, outward.flatten(1, 2)], dim=1)


class _End:
    """The open ends of a batch of meshes, and the rings that follow from them.

    Attributes:
        center: (B, 3) mm.
        along: (B, 3) unit directions of the forearms, away from the wrist.
        radius: (B,) mm.
    """

    def __init__(self, loop: Float32[Tensor, "B n 3"], wrist: Float32[Tensor, "B 3"]) -> None:
        self.center = _mean(loop)
        self.along = _unit(self.center - wrist)
        offset = loop - self.center[:, None]
        ahead = _dot(offset, self.along[:, None])[..., None]
        aside = offset - ahead * self.along[:, None]
        self._ahead, self._outward = ahead * self.along[:, None], _unit(aside)
        self._radius = _dot(aside, self._outward)
        self.radius = _mean(self._radius[..., None])[:, 0]

    def rings(self, along: Float32[Tensor, "B r 3"]) -> tuple[Float32[Tensor, "B r n 3"], Float32[Tensor, "B r n 3"]]:
        """Offsets from the arm's axis and outward normals of all rings, each across a direction."""
        thickness, uneven = (along.new_tensor(row)[:, None, None] for row in (THICKNESS, _UNEVEN))
        mean = self.radius[:, None, None, None]
        radius = mean + (self._radius[:, None, :, None] - mean) * uneven
        outward = self._outward[:, None].expand(-1, len(THICKNESS), -1, -1)
        offset = outward * (radius * thickness) + self._ahead[:, None] * uneven
        first = self.along[:, None]
        return _turned(offset, first, along), _turned(outward, first, along)


def _outwards(elbow: Tensor, hand: Tensor, turns: Sequence[float]) -> Float32[Tensor, "B 3"]:
    """Unit directions parallel to the picture: from the hand to the elbow as the camera sees them, turned."""
    x, y = (elbow[:, :2] / elbow[:, 2:] - hand[:, :2] / hand[:, 2:]).unbind(1)
    sin, cos = (elbow.new_tensor([f(math.radians(turn)) for turn in turns]) for f in (math.sin, math.cos))
    return _unit(torch.stack([cos * x - sin * y, sin * x + cos * y, torch.zeros_like(x)], dim=1))


def _no_nearer(center: Tensor, depth: Tensor) -> Float32[Tensor, "B 3"]:
    """Centres moved away from the camera to a depth, unless they lie beyond it."""
    return torch.cat([center[:, :2], torch.maximum(center[:, 2], depth)[:, None]], dim=1)


def _to_leave(center: Tensor, across: Tensor, radius: Tensor, camera: Camera, size: int) -> Float32[Tensor, " B"]:
    """How far along a direction of constant depth nothing within a radius is in the picture any more, mm.

    In tangents of the viewing angle an undistorted picture would be a rectangle. Barrel distortion pulls its corners
    out furthest, so the rectangle through the true corners holds the picture.
    """
    depth = center[:, 2:]
    margin = (radius / center[:, 2])[:, None]
    corners = center.new_tensor([(x, y) for x in (-0.5, size - 0.5) for y in (-0.5, size - 0.5)])
    bent = (corners - camera.principal[:, None]) / camera.focal[:, None, None]
    squared = (bent[..., :1].square() + bent[..., 1:].square()) * camera.distortion[:, None, None]
    straight = bent / (1 + squared).clamp_min(0.05)
    low, high = straight.amin(1), straight.amax(1)
    # What is as far beyond the centre as the radius looks nearer to the optical axis.
    low, high = low - margin * (1 + low.abs()), high + margin * (1 + high.abs())
    direction = torch.where(across[:, :2].abs() < 1e-6, 1e-6, across[:, :2])
    edge = torch.where(direction < 0, low, high)
    length = (edge * depth - center[:, :2]) / direction
    return length.amin(1).clamp(0, _LONGEST)


def _between(first: Tensor, second: Tensor, part: float) -> Tensor:
    """Unit vectors on the way from one direction to another."""
    return _unit(first * (1 - part) + second * part)


def _turned(
    vectors: Float32[Tensor, "B r n 3"], first: Float32[Tensor, "B #r 3"], second: Float32[Tensor, "B r 3"]
) -> Float32[Tensor, "B r n 3"]:
    """Vectors after the smallest rotation that takes one unit vector to another, not its opposite (Rodrigues)."""
    axis, cosine = _cross(first, second), _dot(first, second)[..., None]
    ax, ay, az = (axis[:, :, None, k] for k in range(3))
    x, y, z = vectors.unbind(-1)
    along = (x * ax + y * ay + z * az) / (1 + cosine).clamp_min(1e-3)
    return torch.stack(
        [
            x * cosine + ay * z - az * y + ax * along,
            y * cosine + az * x - ax * z + ay * along,
            z * cosine + ax * y - ay * x + az * along,
        ],
        dim=-1,
    )


def _mean(points: Float32[Tensor, "B n C"]) -> Float32[Tensor, "B C"]:
    """One after the other: a sum's order could depend on the batch."""
    total = points[:, 0]
    for k in range(1, points.shape[1]):
        total = total + points[:, k]
    return total / points.shape[1]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    (ax, ay, az), (bx, by, bz) = a.unbind(-1), b.unbind(-1)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], dim=-1)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / _dot(vectors, vectors).sqrt().clamp_min(1e-9)[..., None]
