"""What is known of rendered hands: keypoints in the picture and in space, and which of them can be seen."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int8, Int64, UInt8
from torch import Tensor

from knuckle.hands import OCCLUDED, UNLABELED, VISIBLE, Hands
from knuckle.skeleton import JOINT_NAMES

_DEPTH_BELOW_SKIN: Final = {
    "wrist": 48.0,
    "thumb_cmc": 44.0,
    "thumb_mcp": 32.0,
    "thumb_ip": 22.0,
    "mcp": 28.0,
    "pip": 20.0,
    "dip": 17.0,
    "tip": 12.0,
}
JOINT_DEPTHS: Final[tuple[float, ...]] = tuple(
    _DEPTH_BELOW_SKIN[name if name in _DEPTH_BELOW_SKIN else name.rpartition("_")[2]] for name in JOINT_NAMES
)
"""mm of hand that may lie before each joint of a visible part. Joints are inside: measured over poses and views,
nine of ten rays that meet the hand once on their way to the joint pass through less than this. Tips lie on the
skin, and may be looked at through the finger's end."""


@dataclass(frozen=True)
class Labels:
    """What is known of n rendered hands; a `Hands` table holds the part that real photos have too.

    Attributes:
        index: (n,) number of the hand's picture in its seed's sequence.
        xy: (n, 21, 2) image pixels, finite for points outside the picture too.
        xyz: (n, 21, 3) mm in camera space: x right, y down, z forward.
        visibility: (n, 21) 2 visible, 1 hidden by the hand itself, another hand or an object, 0 outside the picture.
        box: (n, 4) x1, y1, x2, y2, the extent of the hand's skin from the wrist on, hidden or not, cut at the frame.
        side: (n,) 0 left, 1 right.
        gesture: (n,) index into `skeleton.GESTURES`, -1 for a hand between gestures.
        angles: (n, 24) degrees, in the order of `anatomy.ANGLES`.
        shape: (n, 12) coefficients of the hand's shape.
        focal: (n,) pixels.
        principal: (n, 2) pixels.
        distortion: (n,) lambda of the division model (`camera.Camera.project`).
        size: side of the pictures, pixels.
    """

    index: Int64[np.ndarray, " n"]
    xy: Float32[np.ndarray, "n 21 2"]
    xyz: Float32[np.ndarray, "n 21 3"]
    visibility: UInt8[np.ndarray, "n 21"]
    box: Float32[np.ndarray, "n 4"]
    side: Int8[np.ndarray, " n"]
    gesture: Int8[np.ndarray, " n"]
    angles: Float32[np.ndarray, "n 24"]
    shape: Float32[np.ndarray, "n 12"]
    focal: Float32[np.ndarray, " n"]
    principal: Float32[np.ndarray, "n 2"]
    distortion: Float32[np.ndarray, " n"]
    size: int

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def concat(cls, parts: Sequence[Labels]) -> Labels:
        """The hands of all parts in order; at least one part, all of one size."""
        sizes = {part.size for part in parts}
        assert len(sizes) == 1, "labels of pictures of one size"
        columns: dict[str, Any] = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(cls)
            if field.name != "size"
        }
        return cls(**columns, size=sizes.pop())

    def rows(self, rows: Int64[np.ndarray, " m"]) -> Labels:
        """Some of the hands, by row."""
        columns: dict[str, Any] = {
            field.name: getattr(self, field.name)[rows] for field in fields(self) if field.name != "size"
        }
        return Labels(**columns, size=self.size)

    def hands(self, image: Sequence[str] | None = None, boxes: Literal["keypoints", "skin"] = "keypoints") -> Hands:
        """The table of these hands; each picture is a group, its number in the sequence.

        Args:
            image: one path a hand; None for pictures that are in memory only, whose name is empty.
            boxes: around the keypoints in the picture, or `box`.
        """
        n = len(self)
        return Hands(
            box=self.box if boxes == "skin" else None,
            image=[""] * n if image is None else image,
            xy=self.xy,
            visibility=self.visibility,
            side=self.side,
            gesture=self.gesture,
            group=self.index,
            size=np.full((n, 2), self.size),
        )


def write_labels(file: Path, labels: Labels) -> None:
    """All columns as .npz, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    part = file.with_suffix(".part")
    with part.open("wb") as stream:
        np.savez_compressed(stream, **{field.name: getattr(labels, field.name) for field in fields(labels)})
    part.replace(file)


def read_labels(file: Path) -> Labels | None:
    """What `write_labels` wrote; None where there is no such file, or it is damaged."""
    try:
        with np.load(file) as stored:
            columns = {field.name: stored[field.name] for field in fields(Labels)}
        return Labels(**columns | {"size": int(columns["size"])})
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def visibility(
    xy: Float[Tensor, "B 21 2"],
    depth: Float[Tensor, "B 21"],
    surface: Float[Tensor, "B 21"],
    covered: Bool[Tensor, "B 21"],
    size: int,
) -> UInt8[Tensor, "B 21"]:
    """Which keypoints can be seen: the surface at their place in the picture belongs to the finger that holds them.

    Args:
        xy: keypoints, pixels.
        depth: of the keypoints along the optical axis, mm.
        surface: inverse depth of the hand's surface there, 0 where there is none; see `surface_nearness`.
        covered: which keypoints an object or another hand hides.
        size: side of the picture, pixels.

    Returns:
        0 outside the picture, 1 hidden, 2 visible.
    """
    allowed = torch.tensor(JOINT_DEPTHS, dtype=depth.dtype, device=depth.device)
    hidden = covered | (surface * (depth - allowed).clamp_min(0) > 1)
    seen = torch.where(hidden, OCCLUDED, VISIBLE)
    return torch.where(inside(xy, size), seen, UNLABELED).to(torch.uint8)


def inside(xy: Float[Tensor, "B K 2"], size: int) -> Bool[Tensor, "B K"]:
    """Which points lie in a square picture, whose frame runs from -0.5 to size - 0.5."""
    return ((xy >= -0.5) & (xy < size - 0.5)).all(dim=-1)


def extent(xy: Float[Tensor, "B V 2"], size: int) -> Float[Tensor, "B 4"]:
    """The box around points, cut at the frame of a square picture: x1, y1, x2, y2."""
    return torch.cat([xy.amin(dim=1), xy.amax(dim=1)], dim=-1).clamp(-0.5, size - 0.5)


def surface_nearness(
    xy: Float[Tensor, "B K 2"], samples: Float[Tensor, "R H W"], rows: Sequence[int], size: int
) -> Float[Tensor, "B K"]:
    """Inverse depth of a surface at the sample nearest to each point, at the frame for points outside.

    Args:
        xy: pixels.
        samples: inverse depths, a whole number of samples along each side of a pixel.
        rows: whose surface is asked for, B rows of the samples.
        size: side of the picture, pixels.
    """
    side = samples.shape[-1]
    per_pixel = side // size
    column, row = ((xy + 0.5) * per_pixel - 0.5).round().long().clamp(0, side - 1).unbind(-1)
    of = torch.as_tensor(list(rows), dtype=torch.long, device=xy.device)[:, None]
    return samples.reshape(-1)[(of * side + row) * side + column]
