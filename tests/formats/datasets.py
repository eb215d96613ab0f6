"""Small copies of the FreiHAND and RHD releases and of MMPose's json files, in their real layout."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

CAMERA = [[480.0, 0.0, 112.0], [0.0, 470.0, 110.0], [0.0, 0.0, 1.0]]


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_images(folder: Path, names: list[str], size_wh: tuple[int, int] = (224, 224)) -> None:
    """The same grey image under every name."""
    folder.mkdir(parents=True, exist_ok=True)
    grey = np.full((size_wh[1], size_wh[0], 3), 128, dtype=np.uint8)
    for name in names:
        if not (folder / name).exists():
            (folder / name).write_bytes(cv2.imencode(Path(name).suffix, grey)[1].tobytes())


def camera_points(records: int, seed: int = 0) -> Float64[np.ndarray, "n 21 3"]:
    """Points in metres within a hand's breadth, half a metre before the camera."""
    rng = np.random.default_rng(seed)
    return rng.uniform((-0.1, -0.1, 0.5), (0.1, 0.1, 0.7), (records, 21, 3))


def write_freihand(
    root: Path, records: int = 3, versions: int = 4, evaluation: int = 0, size_wh: tuple[int, int] = (224, 224)
) -> Float64[np.ndarray, "n 21 3"]:
    """A FreiHAND release; returns the camera points of its training records."""
    xyz = camera_points(records)
    write_json(root / "training_K.json", [CAMERA] * records)
    write_json(root / "training_xyz.json", xyz.tolist())
    write_images(root / "training" / "rgb", [f"{number:08d}.jpg" for number in range(records * versions)], size_wh)
    if evaluation:
        write_json(root / "evaluation_K.json", [CAMERA] * evaluation)
        write_json(root / "evaluation_xyz.json", camera_points(evaluation, seed=1).tolist())
        write_images(root / "evaluation" / "rgb", [f"{number:08d}.jpg" for number in range(evaluation)], size_wh)
    return xyz


def mmpose_freihand(numbers: list[int], seed: int = 0) -> dict[str, Any]:
    """The content of MMPose's FreiHAND json for the images of these numbers."""
    rng = np.random.default_rng(seed)
    annotations = []
    for number in numbers:
        keypoints = np.concatenate([rng.uniform(60, 160, (21, 2)), np.ones((21, 1))], axis=1)
        annotations.append(
            {
                "bbox": [55, 50, 110, 120],
                "keypoints": keypoints.ravel().tolist(),
                "category_id": 1,
                "id": number,
                "image_id": number,
                "segmentation": [[55, 50, 55, 170, 165, 170, 165, 50]],
                "iscrowd": 0,
                "area": 110 * 120,
            }
        )
    names = [f"training/rgb/{number:08d}.jpg" for number in numbers]
    return {
        "info": {"description": "FreiHand", "version": "1.0"},
        "licenses": "",
        "images": [
            {"file_name": name, "height": 224, "width": 224, "id": number}
            for name, number in zip(names, numbers, strict=True)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "hand"}],
    }


def write_mmpose_freihand(root: Path, splits: dict[str, list[int]]) -> None:
    """MMPose's split files below `annotations`, with their images."""
    for split, numbers in splits.items():
        write_json(root / "annotations" / f"freihand_{split}.json", mmpose_freihand(numbers))
        write_images(root / "training" / "rgb", [f"{number:08d}.jpg" for number in numbers])


def rhd_record(seed: int = 0, left: int = 21, right: int = 21) -> dict[str, NDArray[Any]]:
    """One image of RHD with so many visible keypoints on each hand."""
    rng = np.random.default_rng(seed)
    visible = np.concatenate([np.arange(21) < left, np.arange(21) < right])
    uv = rng.uniform(20, 300, (42, 2))
    return {
        "xyz": rng.uniform(-1, 1, (42, 3)),
        "uv_vis": np.concatenate([uv, visible[:, None]], axis=1),
        "K": np.array([[300, 0, 160], [0, 300, 160], [0, 0, 1]], dtype=np.float32),
    }


def write_rhd(root: Path, split: str, content: Any, protocol: int = 2) -> Path:
    """An RHD release's pickle with the images of its records; returns the pickle."""
    file = root / split / f"anno_{split}.pickle"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(content, protocol=protocol))
    if isinstance(content, dict):
        names = [f"{number:05d}.png" for number in content if isinstance(number, int)]
        write_images(root / split / "color", names, (320, 320))
    return file


def mmpose_rhd(numbers: list[int], side: str = "left", seed: int = 0) -> dict[str, Any]:
    """The content of MMPose's RHD json: nested keypoints, fingers from tip to base."""
    rng = np.random.default_rng(seed)
    keypoints = np.concatenate([rng.uniform(60, 260, (len(numbers), 21, 2)), np.ones((len(numbers), 21, 1))], axis=2)
    return {
        "info": {"description": "RHD", "version": "1.1"},
        "images": [{"file_name": f"{number:05d}.png", "height": 320, "width": 320, "id": number} for number in numbers],
        "annotations": [
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [50.25, 60.5, 200.125, 190.75],
                "area": 200.125 * 190.75,
                "keypoints": keypoints[row].tolist(),
                "hand_type": side,
            }
            for row, number in enumerate(numbers)
        ],
        "categories": [{"id": 1, "name": "hand"}],
    }
