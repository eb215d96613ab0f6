"""Are the labels of rendered hands true? Keypoints against pixels, visibility against rays, gestures against poses.

    python -m benchmarks.labels --out benchmarks/results/labels.json

For the first hands of a seed, with every factor on: does each visible keypoint project inside the hand's mask,
grown by one pixel; has each hidden one something nearer in front of it, skin, another hand or an object; how often
does visibility agree with a ray cast through the mesh (Moeller and Trumbore, 1997); and how often does the nearest
gesture template of the 3D keypoints give the gesture back that was drawn.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy.typing import NDArray

import knuckle
from benchmarks.data_loading import machine
from knuckle.hands import OCCLUDED, UNLABELED, VISIBLE
from knuckle.render import SceneConfig
from knuckle.render.dataset import stages
from knuckle.render.gestures import nearest_gesture
from knuckle.render.labels import JOINT_DEPTHS, Labels, surface_nearness
from knuckle.render.object_view import depth_at
from knuckle.render.poses import PoseMix
from knuckle.render.stage import Stage

SIZE = 256
BATCH = 25


def main() -> None:
    """Count, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--hands", type=int, default=500, help="how many")
    parser.add_argument("--seed", type=int, default=5, help="of the sequence")
    options = parser.parse_args()
    result = {
        "command": f"python -m benchmarks.labels {' '.join(sys.argv[1:])}",
        "machine": machine(),
        "knuckle": knuckle.__version__,
        "hands": options.hands,
        "pixels": pixels(options.hands, options.seed),
        "rays": rays(options.hands, options.seed),
        "gestures": gestures(options.hands, options.seed),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(json.dumps({name: result[name] for name in ("pixels", "rays", "gestures")}, indent=1) + "\n")


def pixels(count: int, seed: int) -> dict[str, int]:
    """Visible keypoints off the mask and hidden ones with nothing before them, with how many of each there are."""
    found: Counter[str] = Counter()
    for stage in stages(range(count), seed, SIZE, SceneConfig(), "cpu", BATCH):
        samples = stage.samples()
        labels = stage.labels(samples)
        for at, row in enumerate(stage.labeled):
            mask = grown_mask(samples[row])
            nearest = nearest_surface(stage, row, labels.xy[at], samples)
            for joint in range(21):
                kind = labels.visibility[at, joint]
                x, y = np.round(labels.xy[at, joint]).astype(int)
                if kind == VISIBLE:
                    found["visible"] += 1
                    found["visible, off the mask"] += not mask[y, x]
                elif kind == OCCLUDED:
                    found["hidden"] += 1
                    found["hidden, nothing nearer"] += not nearest[joint] < labels.xyz[at, joint, 2]
                else:
                    found["outside"] += 1
    return dict(found)


def grown_mask(samples: torch.Tensor) -> Bool[np.ndarray, "size size"]:
    """The pixels that a hand covers in part, and those beside them."""
    covered = (samples.numpy() > 0).reshape(SIZE, 2, SIZE, 2).any(axis=(1, 3))
    return np.asarray(cv2.dilate(np.asarray(covered, dtype=np.uint8), np.ones((3, 3), np.uint8)) > 0)


def nearest_surface(
    stage: Stage, row: int, xy: Float32[np.ndarray, "21 2"], samples: torch.Tensor
) -> NDArray[np.float64]:
    """Depth of what is nearest to the camera at each keypoint: hands of the picture, or objects; mm."""
    picture = stage.pictures[row]
    hands = [other for other, own in enumerate(stage.pictures) if own == picture]
    points = torch.from_numpy(xy)[None]
    nearness = np.stack([surface_nearness(points, samples, [hand], SIZE)[0].numpy() for hand in hands]).max(axis=0)
    depth = 1 / np.maximum(nearness, 1e-9)
    for layer in stage.shown[picture]:
        depth = np.minimum(depth, depth_at(layer, xy))
    return np.asarray(depth, dtype=np.float64)


def rays(count: int, seed: int) -> dict[str, Any]:
    """How often visibility agrees with rays through the mesh, for hands with nothing else in the picture."""
    agreed = checked = 0
    alone = replace(SceneConfig(), occluders=None, companions=None)
    for stage in stages(range(count), seed, SIZE, alone, "cpu", BATCH):
        labels = stage.labels(stage.samples())
        faces = stage.model.asset.faces.numpy()
        for row in range(len(labels)):
            points = stage.keypoints[row].double().numpy()
            depth = first_hits(stage.vertices[row].double().numpy(), faces, points)
            hidden = depth < points[:, 2] - np.array(JOINT_DEPTHS)
            inside = labels.visibility[row] != UNLABELED
            agreed += int(((labels.visibility[row] == OCCLUDED) == hidden)[inside].sum())
            checked += int(inside.sum())
    return {"keypoints": checked, "agree": agreed / checked}


def first_hits(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Depth of the first surface on the ray from the camera to each point, infinity for none, mm.

    Moeller and Trumbore (1997), "Fast, minimum storage ray-triangle intersection".

    Args:
        vertices: (V, 3) mm, camera space.
        faces: (F, 3).
        points: (n, 3) mm, camera space.
    """
    a = vertices[faces[:, 0]]
    ab, ac = vertices[faces[:, 1]] - a, vertices[faces[:, 2]] - a
    first = np.full(len(points), np.inf)
    for row, ray in enumerate(points):
        across = np.cross(ray, ac)
        determinant = (ab * across).sum(1)
        safe = np.where(np.abs(determinant) < 1e-12, np.inf, determinant)
        u = -(a * across).sum(1) / safe
        q = np.cross(-a, ab)
        v, along = (q @ ray) / safe, (ac * q).sum(1) / safe
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (along > 0) & np.isfinite(safe)
        if hit.any():
            first[row] = along[hit].min() * ray[2]
    return first


def gestures(count: int, seed: int) -> dict[str, Any]:
    """How often the template nearest to the 3D keypoints is the gesture that was drawn, with noise."""
    parts: list[Labels] = []
    config = replace(SceneConfig(), poses=PoseMix(gesture=1.0, interpolation=0.0, synergy=0.0))
    for stage in stages(range(20 * count), seed, 16, config, "cpu", 500):
        parts.append(stage.labels(stage.samples()))
    labels = Labels.concat(parts)
    found = nearest_gesture(labels.xyz.astype(np.float64))
    return {"hands": len(labels), "recovered": float((found == labels.gesture).mean())}


if __name__ == "__main__":
    main()
