"""Fits the capsules of the collision model to the baked hand and writes render/assets/capsules.json.

Run it again when assets/hand.npz changes, then tools/fit_gestures.py:

    python tools/fit_capsules.py --out src/knuckle/render/assets/capsules.json

Each capsule is fitted by least squares to the skin of one bone: it may lie beside the bone (flesh is
thicker on the palm's side) and lean against it. Its ends are fixed along the bone, but for the
fingertips', which follow the skin.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from knuckle.render.mesh import BONES, HandAsset, load_asset

Floats = NDArray[np.float64]

WEB = 0.52
"""Share of a finger's first phalanx that is joined to its neighbours by the web: its capsule begins there."""
HEEL = 0.35
"""Share of the palm nearest to the wrist, where the carpal bones and the ball of the thumb lie: left out."""
PALM_RADIUS_MM = 12.5
"""Half the palm's thickness. Only its inner side is fitted, which fingertips reach."""
PALM_HALF_WIDTH_MM = 9.0
"""Skin this far to either side of a metacarpal's line decides how high the palm is there."""
KNUCKLE = 0.97
"""Where the palm's capsules end; their rounded ends reach past the knuckles from here."""


@dataclass(frozen=True)
class Piece:
    """What is to be fitted: the skin of one bone between two of its points.

    Attributes:
        name: of the capsule.
        bone: name of the bone that carries it.
        head: (3,) mm, where the bone begins.
        tail: (3,) mm, where it ends.
        span: from where to where along the bone, as fractions, skin is taken and the axis lies.
        skin: (n, 3) mm.
        rounded: whether the capsule's far end follows the skin.
        radius: mm, where it is given.
    """

    name: str
    bone: str
    head: Floats
    tail: Floats
    span: tuple[float, float]
    skin: Floats
    rounded: bool
    radius: float | None = None


def along(points: Floats, piece: Piece) -> Floats:
    """Place of points along the bone as a fraction of its length."""
    bone = piece.tail - piece.head
    fractions: Floats = (points - piece.head) @ bone / (bone @ bone)
    return fractions


def finger_pieces(asset: HandAsset) -> list[Piece]:
    """The three bones of each finger, thumb first."""
    vertices, heads = asset.vertices.double().numpy(), asset.bone_heads.double().numpy()
    weights = asset.weights.numpy()
    tips = vertices[asset.tip_vertices.numpy()].mean(1)
    pieces = []
    for row, bone in enumerate(BONES[1:16], start=1):
        finger, part = bone.split("_")
        distal = part == "distal"
        span = (WEB if part == "proximal" and finger != "thumb" else 0.1, 1.0)
        skin = vertices[weights[:, row] > (0.3 if part == "metacarpal" else 0.5)]
        tail = tips[(row - 1) // 3] if distal else heads[row + 1]
        pieces.append(Piece(f"{finger} {part}", bone, heads[row], tail, span, skin, distal))
    return pieces


def palm_pieces(asset: HandAsset) -> list[Piece]:
    """The palm along the lines from the wrist to the four knuckles."""
    vertices, heads = asset.vertices.double().numpy(), asset.bone_heads.double().numpy()
    palm_bones = [BONES.index(name) for name in ("palm", "ring_metacarpal", "little_metacarpal")]
    palm = vertices[np.isin(asset.weights.numpy().argmax(1), palm_bones)]
    carriers = {"index": "palm", "middle": "palm", "ring": "ring_metacarpal", "little": "little_metacarpal"}
    pieces = []
    for finger, carrier in carriers.items():
        knuckle = heads[BONES.index(f"{finger}_proximal")]
        sideways = np.cross(knuckle, [0.0, 0.0, 1.0])
        near = (np.abs(palm @ sideways) < PALM_HALF_WIDTH_MM * np.linalg.norm(sideways)) & (palm[:, 2] > 0)
        pieces.append(
            Piece(f"palm {finger}", carrier, heads[0], knuckle, (HEEL, KNUCKLE), palm[near], False, PALM_RADIUS_MM)
        )
    return pieces


def segment_distances(points: Floats, start: Floats, end: Floats) -> Floats:
    """Distance of each point to the segment from start to end."""
    axis = end - start
    fraction = np.clip((points - start) @ axis / (axis @ axis), 0, 1)
    distances: Floats = np.linalg.norm(points - start - fraction[:, None] * axis, axis=1)
    return distances


def fit(piece: Piece) -> tuple[Floats, Floats, float, float]:
    """The capsule nearest to the skin: start and end of its axis, radius, and root mean square error, mm."""
    bone = piece.tail - piece.head
    length = float(np.linalg.norm(bone))
    sideways = np.cross(bone, [0.0, 0.0, 1.0])
    sideways /= np.linalg.norm(sideways)
    palmar = np.cross(sideways, bone) / length
    fractions = along(piece.skin, piece)
    skin = piece.skin[(fractions > piece.span[0]) & (fractions < (2.0 if piece.rounded else piece.span[1]))]
    assert len(skin) >= 6, (piece.name, len(skin))

    def capsule(x: Floats) -> tuple[Floats, Floats, float]:
        far = x[5] if piece.rounded else piece.span[1]
        start = piece.head + piece.span[0] * bone + x[0] * palmar + x[1] * sideways
        return start, piece.head + far * bone + x[2] * palmar + x[3] * sideways, piece.radius or float(x[4])

    def residuals(x: Floats) -> Floats:
        start, end, radius = capsule(x)
        lean = 0.5 * (x[:2] - x[2:4])  # few vertices say little about it
        aside = x[1:4:2] * (10.0 if piece.radius else 0.0)  # one side of the skin says nothing about it
        return np.concatenate([segment_distances(skin, start, end) - radius, lean, aside])

    depth = 5.0  # joints lie nearer to the back of the hand than to the palm
    guess = np.array([depth, 0, depth, 0, 10.0, 0.7])
    solution = least_squares(residuals, guess).x
    start, end, radius = capsule(solution)
    return start, end, radius, float(np.sqrt(np.mean(residuals(solution)[:-4] ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit the collision capsules to the baked hand.")
    parser.add_argument("--out", type=Path, required=True, help="the .json file to write")
    out: Path = parser.parse_args().out
    asset = load_asset()
    records: list[dict[str, Any]] = []
    for piece in finger_pieces(asset) + palm_pieces(asset):
        start, end, radius, error = fit(piece)
        head = asset.bone_heads[BONES.index(piece.bone)].double().numpy()
        records.append(
            {
                "name": piece.name,
                "bone": piece.bone,
                "start": [round(float(value), 2) for value in start - head],
                "end": [round(float(value), 2) for value in end - head],
                "radius": round(radius, 2),
            }
        )
        sys.stdout.write(f"{piece.name:18s} radius {radius:5.2f}, error {error:.2f} mm\n")
    about = "Capsules of the mean right hand at rest, mm from the bone's head; made by tools/fit_capsules.py"
    lines = ",\n".join(json.dumps(record) for record in records)
    out.write_text(f'{{"about": "{about}", "capsules": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
