"""How far a model's answer for the mirrored photo is from the mirrored answer, with the flip test and without.

    python -m benchmarks.mirror runs/first                     # rendered hands
    python -m benchmarks.mirror hand.onnx --photos photos      # photos with one hand each
    python -m benchmarks.mirror light --out benchmarks/results/mirror.json

Distances are in pixels of photos of 224 x 224. With the flip test they are rounding errors; without it they show how
far a hand's mirror image is news to the network.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

import knuckle
from knuckle.data.images import read_image
from knuckle.geometry import mirror_image, mirror_points
from knuckle.predict import Predictor
from knuckle.predict.sources import find_images
from knuckle.render import render

SIDE: Final = 224
SEED: Final = 7


def mirror_distances(
    predictor: Predictor, images: Sequence[UInt8[np.ndarray, "224 224 3"]]
) -> Float64[np.ndarray, "n 21"]:
    """The distance between predict(mirror(x)) and mirror(predict(x)) for every keypoint, NaN where it has none."""
    straight = predictor.predict(list(images), "full").xy.astype(np.float64)
    mirrored = predictor.predict([mirror_image(image) for image in images], "full").xy.astype(np.float64)
    return np.asarray(np.linalg.norm(mirror_points(mirrored, SIDE) - straight, axis=-1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="what knuckle.load takes")
    parser.add_argument("--photos", nargs="+", help="photos or folders; default: rendered hands")
    parser.add_argument("--count", type=int, default=100, help="hands to look at")
    parser.add_argument("--out", type=Path, help="JSON file for the distances")
    arguments = parser.parse_args()
    images = (
        _photos(arguments.photos, arguments.count) if arguments.photos else [*render(arguments.count, SEED, SIDE)[0]]
    )
    print(f"{arguments.model} on {len(images)} photos")
    print(f"{'':18} {'median [px]':>12} {'95 % [px]':>12} {'largest [px]':>12}")
    rows = {}
    for flip_test in (False, True):
        distance = mirror_distances(knuckle.load(arguments.model, flip_test=flip_test), images)
        known = distance[np.isfinite(distance)]
        name = "with flip test" if flip_test else "without flip test"
        numbers = {"median": np.median(known), "95 %": np.quantile(known, 0.95), "largest": known.max()}
        rows[name] = {what: float(value) for what, value in numbers.items()}
        print(f"{name:18} " + " ".join(f"{value:12.4f}" for value in numbers.values()))
    if arguments.out is not None:
        content = {
            "command": f"python -m benchmarks.mirror {Path(arguments.model).name}",
            "photos": len(images),
            "pixels": rows,
        }
        arguments.out.write_text(json.dumps(content, indent=1) + "\n")


def _photos(sources: Sequence[str], count: int) -> list[UInt8[np.ndarray, "224 224 3"]]:
    paths: list[Path] = find_images(sources)[:count]
    return [
        np.asarray(cv2.resize(read_image(path), (SIDE, SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        for path in paths
    ]


if __name__ == "__main__":
    main()
