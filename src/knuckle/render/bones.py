"""The bones of the mean hand in any pose, without its skin, in double precision.

Gestures, collisions and the pose sampler decide by them. Double precision keeps those decisions the
same on every machine: they would differ only where a value meets a threshold to twelve digits.
"""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from typing import NamedTuple

from jaxtyping import Float64
from torch import Tensor

from knuckle.render import anatomy
from knuckle.render.mesh import HandAsset, load_asset


class Bones(NamedTuple):
    """Right hands in hand space, millimetres.

    Attributes:
        rotations: (b, bones, 3, 3) of each bone of `mesh.BONES` from its rest pose.
        heads: (b, bones, 3) where each bone begins.
        frames: (b, bones, 3, 3) the directions of `HandAsset.bone_frames`, turned with the bones.
        keypoints: (b, 21, 3).
    """

    rotations: Float64[Tensor, "b bones 3 3"]
    heads: Float64[Tensor, "b bones 3"]
    frames: Float64[Tensor, "b bones 3 3"]
    keypoints: Float64[Tensor, "b 21 3"]


@lru_cache(maxsize=1)
def mean_hand() -> HandAsset:
    """The baked hand on the CPU with its floats in double precision."""
    asset = load_asset()
    tensors = {field.name: getattr(asset, field.name) for field in fields(asset)}
    return HandAsset(**{name: t.double() if t.is_floating_point() else t for name, t in tensors.items()})


def bend(angles: Float64[Tensor, "b 24"], shape: Float64[Tensor, "b 12"] | None = None) -> Bones:
    """The bones at angles in degrees (columns as in `anatomy.ANGLES`). Differentiable.

    Args:
        angles: degrees.
        shape: coefficients of each hand's shape; the mean hand where None.
    """
    asset = mean_hand()
    posed = anatomy.pose_bones(asset, angles, shape)
    frames = posed.rotations @ asset.bone_frames.expand(len(angles), -1, -1, -1)
    return Bones(posed.rotations, posed.heads, frames, posed.keypoints)
