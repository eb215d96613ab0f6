"""A folder of photos with one light each, and models that find a hand around a light, for tests of labelling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from knuckle.geometry import CropRule
from knuckle.label.sheets import Sheet, read_sheets
from knuckle.predict import Predictor
from tests.predict.centroid import Glow, light_at, save_rgb

SIZE_WH = (160, 120)


def photo_folder(folder: Path, scenes: int = 3, frames: int = 2) -> Path:
    """`scenes` places with the light in different corners, and `frames` photos of each in which it moves a little."""
    for scene in range(scenes):
        place = (30 + 50 * scene, 30 + 30 * (scene % 3))
        for frame in range(frames):
            path = folder / f"v{scene}" / f"{frame}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_rgb(str(path), light_at((place[0] + frame, place[1]), SIZE_WH))
    return folder


def glow(**options: Any) -> Predictor:
    """Finds a hand around the light, with the covariance of `COVARIANCE_CROP` in crop pixels unless told otherwise."""
    return Predictor(Glow(**options), CropRule(size=64))


def sheets_of(folder: Path) -> list[Sheet]:
    sheets, problems = read_sheets(folder, sorted(folder.rglob("*.png")))
    assert problems == []
    return sheets


def move_a_point(file: Path, by: float = 3.0) -> None:
    """What a person does in Labelme, which leaves every other key as it was."""
    import json

    content = json.loads(file.read_text())
    point = next(shape for shape in content["shapes"] if shape["shape_type"] == "point")
    point["points"] = (np.array(point["points"]) + by).tolist()
    file.write_text(json.dumps(content))
