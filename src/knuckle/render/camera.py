"""The camera: where it stands, how it looks at the hand, and where a point in space meets the picture.

Camera space is OpenCV's: x right, y down, z forward, in millimetres. Pixels have their centres at
integers. A training picture is a crop of a wider photo, so perspective follows from the distance
alone, and the focal length is whatever makes the hand as large as asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

NEAREST_DEPTH: Final = 0.25
"""No vertex comes nearer to the camera than this part of the wrist's depth: an elbow that points at the
lens would fill the picture, or lie behind it."""


@dataclass(frozen=True)
class View:
    """How one hand is looked at, before it is known how large it is.

    Attributes:
        axes: (3, 3) the camera's x, y, z axes (rows) in hand space; a left hand's x is mirrored first.
        distance: from the camera to the centre of the hand along the optical axis, mm.
        off_axis: (x, y) tangents of the angle between the optical axis and the hand's centre.
        distortion: lambda of the division model, at most 0 (barrel); see `Camera.project`.
        fill: longer side of the keypoints' extent over the side of the picture.
        center: (x, y) where the centre of that extent lies, from 0 to 1 across the picture.
    """

    axes: Float64[np.ndarray, "3 3"]
    distance: float
    off_axis: tuple[float, float]
    distortion: float
    fill: float
    center: tuple[float, float]


@dataclass(frozen=True)
class WideView:
    """A camera that looks at a whole scene, with the optical axis in the middle of the picture.

    Attributes:
        half_width: tangent of half the angle that the picture shows, in each direction.
        distortion: lambda of the division model, at most 0 (barrel); see `Camera.project`.
    """

    half_width: float
    distortion: float


@dataclass(frozen=True)
class Placement:
    """Where a hand stands before a camera that was not set up for it.

    Attributes:
        hand_to_camera: (3, 3) from hand space, as posed for a right hand, to the camera's axes; orthogonal, with
            determinant -1 for a left hand.
        shift: (3,) mm along the camera's axes, to the hand's wrist: from the camera in a `WideView`, from the wrist
            of the hand that is looked at in a `View`.
    """

    hand_to_camera: Float64[np.ndarray, "3 3"]
    shift: Float64[np.ndarray, " 3"]


@dataclass(frozen=True)
class Camera:
    """Pinhole cameras with radial distortion, one a hand or one a picture.

    Attributes:
        hand_to_camera: (B, 3, 3), orthogonal; its determinant is -1 for a left hand.
        translation: (B, 3) mm.
        focal: (B,) pixels.
        principal: (B, 2) pixels, anywhere, since the picture is a crop.
        distortion: (B,) lambda of the division model.
    """

    hand_to_camera: Float[Tensor, "B 3 3"]
    translation: Float[Tensor, "B 3"]
    focal: Float[Tensor, " B"]
    principal: Float[Tensor, "B 2"]
    distortion: Float[Tensor, " B"]

    def to_camera(self, points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
        """From hand space, as posed for a right hand, to camera space."""
        return _rotate(self.hand_to_camera, points) + self.translation[:, None]

    def turn(self, directions: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
        """Directions of hand space, such as normals, in camera space."""
        return _rotate(self.hand_to_camera, directions)

    def project(self, points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 2"]:
        """Where points of camera space meet the picture, in pixels; they must lie before the camera.

        The division model of Fitzgibbon (CVPR 2001, "Simultaneous linear estimation of multiple view
        geometry and lens distortion", eq. 2) solved for the distorted point: it never folds back, however
        far out a point lies. Vertices and keypoints go through this one function.
        """
        return _distort(points, self.distortion) * self.focal[:, None, None] + self.principal[:, None]

    def rays(self, xy: Float[Tensor, "B N 2"]) -> Float[Tensor, "B N 3"]:
        """The rays (x, y, 1) of camera space that meet the picture at these pixels: `project` undone."""
        bent = (xy - self.principal[:, None]) / self.focal[:, None, None]
        straight = bent / (1 + self.distortion[:, None, None] * bent.square().sum(-1, keepdim=True))
        return torch.cat([straight, torch.ones_like(straight[..., :1])], dim=-1)

    def rows(self, rows: Sequence[int]) -> Camera:
        """Some of the cameras; a row may come more than once."""
        chosen = torch.as_tensor(list(rows), dtype=torch.long, device=self.focal.device)
        return Camera(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def of_hands(self, pictures: Sequence[int], placements: Sequence[Placement | None]) -> Camera:
        """From one camera a picture to one a hand, which differ in where the hand stands.

        Args:
            pictures: the row of each hand's picture.
            placements: of each hand; None for the hand that the picture's camera was set up for.
        """
        one = self.rows(pictures)
        for row, placement in enumerate(placements):
            if placement is not None:
                one.hand_to_camera[row] = torch.from_numpy(placement.hand_to_camera.astype(np.float32))
                one.translation[row] += torch.from_numpy(placement.shift.astype(np.float32)).to(one.focal.device)
        return one

    def pixel_rays(self, row: int, size: int) -> Float32[np.ndarray, "size size 3"]:
        """The rays through all pixels of one camera's square picture."""
        one = Camera(*(getattr(self.rows([row]), field.name).cpu() for field in fields(self)))
        line = torch.arange(size, dtype=torch.float32)
        y, x = torch.meshgrid(line, line, indexing="ij")
        return one.rays(torch.stack([x, y], dim=-1).reshape(1, -1, 2)).reshape(size, size, 3).numpy()


def look_at(direction: Float64[np.ndarray, " 3"], roll: float) -> Float64[np.ndarray, "3 3"]:
    """Camera axes (rows) for a camera that stands in a direction from the hand and looks back at it.

    Args:
        direction: from the hand to the camera, in hand space; of any length.
        roll: degrees by which the picture of the hand is turned clockwise; at 0 the wrist lies below the
            fingertips.
    """
    forward = -direction / np.linalg.norm(direction)
    down = np.array([0.0, -1.0, 0.0])
    if abs(forward @ down) > 0.999:  # fingers point at the camera or away from it: any side may be down
        down = np.array([0.0, 0.0, 1.0])
    y = down - (down @ forward) * forward
    y /= np.linalg.norm(y)
    x = np.cross(y, forward)
    turn = math.radians(roll)
    cos, sin = math.cos(turn), math.sin(turn)
    return np.stack([cos * x - sin * y, sin * x + cos * y, forward])


def place_cameras(
    views: Sequence[View],
    is_left: Sequence[bool],
    vertices: Float[Tensor, "B V 3"],
    keypoints: Float[Tensor, "B 21 3"],
    size: int,
) -> Camera:
    """The cameras that show posed hands as their views ask.

    A camera so near that the arm would pass it steps back until it does not, and zooms in by as much.

    Args:
        views: one a hand.
        is_left: which hands are left ones.
        vertices: hand space, mm, right hands.
        keypoints: likewise.
        size: side of the picture, pixels.
    """

    def column(values: Sequence[object]) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(vertices.device)

    axes, distortion = column([view.axes for view in views]), column([view.distortion for view in views])
    mirror = column([(-1.0 if left else 1.0, 1.0, 1.0) for left in is_left])
    hand_to_camera = axes * mirror[:, None]
    turned, arm = _rotate(hand_to_camera, keypoints), _rotate(hand_to_camera, vertices)
    middle = (turned.amin(dim=1) + turned.amax(dim=1)) / 2
    wrist_depth = turned[:, 0, 2] - middle[:, 2]
    nearest = arm[..., 2].amin(dim=1) - middle[:, 2]
    closest = (NEAREST_DEPTH * wrist_depth - nearest) / (1 - NEAREST_DEPTH)
    distance = torch.maximum(column([view.distance for view in views]), closest + 1.0)
    aside = column([view.off_axis for view in views]) * distance[:, None]
    translation = torch.cat([aside, distance[:, None]], dim=-1) - middle
    bent = _distort(turned + translation[:, None], distortion)
    low, high = bent.amin(dim=1), bent.amax(dim=1)
    focal = column([view.fill for view in views]) * size / (high - low).amax(dim=1)
    center = column([view.center for view in views]) * size - 0.5
    return Camera(hand_to_camera, translation, focal, center - (low + high) / 2 * focal[:, None], distortion)


def wide_cameras(views: Sequence[WideView], size: int, device: torch.device) -> Camera:
    """The cameras of whole scenes: hands stand in camera space themselves (`Placement`)."""
    half = torch.tensor([view.half_width for view in views], dtype=torch.float32, device=device)
    middle = (size - 1) / 2
    return Camera(
        hand_to_camera=torch.eye(3, device=device).repeat(len(views), 1, 1),
        translation=torch.zeros(len(views), 3, device=device),
        focal=size / 2 / half,
        principal=torch.full((len(views), 2), middle, device=device),
        distortion=torch.tensor([view.distortion for view in views], dtype=torch.float32, device=device),
    )


def _rotate(matrix: Float[Tensor, "B 3 3"], points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N 3"]:
    # Written out: a matrix product may round differently from one batch size to the next.
    columns = matrix[:, None].unbind(-1)
    x, y, z = points[..., None].unbind(-2)
    return columns[0] * x + columns[1] * y + columns[2] * z


def _distort(points: Float[Tensor, "B N 3"], distortion: Float[Tensor, " B"]) -> Float[Tensor, "B N 2"]:
    straight = points[..., :2] / points[..., 2:]
    squared = straight[..., :1].square() + straight[..., 1:].square()
    return straight * 2 / (1 + (1 - 4 * distortion[:, None, None] * squared).sqrt())
