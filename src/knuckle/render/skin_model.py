"""A hand's mesh with its skin and arm, as they are in every pose, and what it wears, which moves its vertices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from knuckle.render.arm import STATIONS, Arm, arm_of, straight_arm
from knuckle.render.jewelry import Jewels, first_phalanges, lift
from knuckle.render.mesh import HandAsset, load_asset
from knuckle.render.skin import SkinMap, continued, rest_keypoints, rows_of, skin_map
from knuckle.skeleton import BONES

CLOTH_THICKNESS: Final = 4.0
"""mm by which a sleeve stands off the skin."""


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
