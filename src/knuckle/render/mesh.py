"""The hand as a mesh: what is baked into assets/hand.npz, and normals of any batch of posed vertices.

The asset is one RIGHT hand with its forearm, in hand space: millimetres, origin in the wrist, +y towards the middle
knuckle, +x towards the thumb's side, +z out of the palm (so the back of the hand looks to -z). A left hand is its
mirror image: x becomes -x for vertices, normals and keypoints alike, and every triangle turns its winding
(`faces.flip(1)`).

Letters in shapes: B hands in a batch, V vertices, F triangles.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import resources
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

ASSET: Final = "assets/hand.npz"

BONES: Final[tuple[str, ...]] = (
    "palm",  # carpus with the metacarpals of index and middle finger
    *("thumb_metacarpal", "thumb_proximal", "thumb_distal"),
    *("index_proximal", "index_middle", "index_distal"),
    *("middle_proximal", "middle_middle", "middle_distal"),
    *("ring_proximal", "ring_middle", "ring_distal"),
    *("little_proximal", "little_middle", "little_distal"),
    *("ring_metacarpal", "little_metacarpal"),
    *("forearm_wrist", "forearm_elbow"),  # the halves of the forearm: the skin twists between them
)
"""Rows of `HandAsset.bone_heads`. A bone's head is the joint about which it turns, except for `forearm_wrist`, whose
head lies half way to the elbow and which turns about the wrist."""


NUM_SHAPES: Final = 12
"""Shape components of the baked hand."""


@dataclass(frozen=True)
class HandAsset:
    """The right hand at rest, all tensors on one device, floats in float32.

    Rest is the relaxed pose in which the mesh was modelled, not the straight hand: `knuckle.render.anatomy` knows the
    difference. Shape components are in units of one standard deviation; every shape has the same palm length.

    Attributes:
        vertices: (V, 3) mm, the mean shape. Also the place that skin detail sticks to (rest space).
        faces: (F, 3) vertex numbers, counter-clockwise seen from outside, so that
            (b - a) x (c - a) points out of the hand.
        weights: (V, bones) how much each bone moves each vertex; rows sum to 1.
        bone_heads: (bones, 3) mm, the joint where each bone of `BONES` begins.
        bone_frames: (bones, 3, 3) orientation of each bone at rest. Columns: its axis of flexion, the direction along
            it (away from the wrist; for the forearm, from the elbow), and the side towards which it bends.
        shape_vertices: (12, V, 3) mm, what one standard deviation of each shape component adds.
        shape_heads: (12, bones, 3) mm, the same for the bone heads.
        tip_vertices: (5, 8) vertex numbers, thumb to little finger; their mean is the fingertip keypoint.
        nail: (V,) mm, signed distance to the edge of the fingernail, positive on the nail, clipped to +-5.
        vertex_faces: (V, d) the triangles that meet at each vertex, padded with F.
    """

    vertices: Float[Tensor, "V 3"]
    faces: Int64[Tensor, "F 3"]
    weights: Float[Tensor, "V bones"]
    bone_heads: Float[Tensor, "bones 3"]
    bone_frames: Float[Tensor, "bones 3 3"]
    shape_vertices: Float[Tensor, "12 V 3"]
    shape_heads: Float[Tensor, "12 bones 3"]
    tip_vertices: Int64[Tensor, "5 n"]
    nail: Float[Tensor, " V"]
    vertex_faces: Int64[Tensor, "V d"]

    @property
    def device(self) -> torch.device:
        return self.vertices.device

    def to(self, device: torch.device | str) -> HandAsset:
        return HandAsset(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def normals(self, vertices: Float[Tensor, "B V 3"]) -> Float[Tensor, "B V 3"]:
        """Outward unit normals of posed vertices, in the space that the vertices are in.

        The mean of the surrounding triangles' normals by area. Vertices of a mirrored hand get inward normals: mirror
        the normals of the right hand instead. Sums in a fixed order, so equal vertices give equal normals.
        """
        by_vertex = vertices.transpose(0, 1).contiguous()  # whole rows are gathered much faster
        a, b, c = (by_vertex.index_select(0, corner) for corner in self.faces.unbind(1))
        area_normals = torch.nn.functional.pad(torch.linalg.cross(b - a, c - a), (0, 0, 0, 0, 0, 1))
        sums = torch.zeros_like(by_vertex)
        for slot in self.vertex_faces.unbind(1):
            sums += area_normals.index_select(0, slot)
        return torch.nn.functional.normalize(sums, dim=-1).transpose(0, 1)


def faces_around_vertices(faces: Int64[np.ndarray, "F 3"], num_vertices: int) -> Int64[np.ndarray, "V d"]:
    """The triangles that meet at each vertex in ascending order, padded with F."""
    order = np.argsort(faces.ravel(), kind="stable")
    owner = faces.ravel()[order]
    counts = np.bincount(owner, minlength=num_vertices)
    slot = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((num_vertices, int(counts.max())), len(faces), np.int64)
    table[owner, slot] = order // 3
    return table


@lru_cache(maxsize=8)
def load_asset(device: torch.device | str = "cpu") -> HandAsset:
    """The baked hand on a device; read once for each device. Its tensors are shared: do not write to them."""
    with resources.files("knuckle.render").joinpath(ASSET).open("rb") as file, np.load(file) as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    stored = {name: array.astype(np.int64 if array.dtype.kind == "i" else np.float32) for name, array in stored.items()}
    stored["weights"] /= stored["weights"].sum(1, keepdims=True)  # float16 in the file
    stored["vertex_faces"] = faces_around_vertices(stored["faces"], len(stored["vertices"]))
    return HandAsset(**{name: torch.from_numpy(array).to(device) for name, array in stored.items()})
