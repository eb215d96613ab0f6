"""How far a model's answer for the mirrored photo is from the mirrored answer, with the flip test and without.

    python -m benchmarks.mirror runs/first                     # rendered hands
    python -m benchmarks.mirror hand.onnx --photos photos      # photos with one hand each
    python -m benchmarks.mirror light --out benchmarks/results/mirror.json

Distances are in pixels of photos of 224 x 224, once with the whole picture as the box and once with boxes that the
detector finds, then on whole scenes if photos are rendered. With the flip test they are rounding errors; without it
they show how far a hand's mirror image is news to the network. Hands found on one of the two alone are counted apart.
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
from numpy.typing import NDArray

import knuckle
from knuckle.data.images import read_image
from knuckle.geometry import mirror_boxes, mirror_image, mirror_points
from knuckle.metrics.matching import LEAST_IOU, box_iou
from knuckle.predict import Predictor
from knuckle.predict.sources import find_images
from knuckle.predict.track import assign
from knuckle.render import render, render_scenes

SIDE: Final = 224
SEED: Final = 7


def mirror_distances(
    predictor: Predictor, images: Sequence[UInt8[np.ndarray, "224 224 3"]]
) -> Float64[np.ndarray, "n 21"]:
    """The distance between predict(mirror(x)) and mirror(predict(x)) for every keypoint, NaN where it has none."""
    straight = predictor.predict(list(images), "full").xy.astype(np.float64)
    mirrored = predictor.predict([mirror_image(image) for image in images], "full").xy.astype(np.float64)
    return np.asarray(np.linalg.norm(mirror_points(mirrored, SIDE) - straight, axis=-1))


def found_distances(
    predictor: Predictor, images: Sequence[UInt8[np.ndarray, "224 224 3"]]
) -> tuple[Float64[np.ndarray, "n 21"], int]:
    """As `mirror_distances`, of the hands that the detector finds both ways; and how many it finds on one alone.

    Of the hands of a photo, those are one whose boxes overlap most, and by half at least.
    """
    distances, alone = [np.empty((0, 21))], 0
    for image in images:
        straight, mirrored = predictor.predict(image), predictor.predict(mirror_image(image))
        overlap = box_iou(straight.box, mirror_boxes(mirrored.box, SIDE))
        rows, columns = np.array(assign(overlap, LEAST_IOU), dtype=np.int64).reshape(-1, 2).T
        back = mirror_points(mirrored.xy[columns].astype(np.float64), SIDE)
        distances.append(np.linalg.norm(back - straight.xy[rows], axis=-1))
        alone += len(straight) + len(mirrored) - 2 * len(rows)
    return np.concatenate(distances), alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="what knuckle.load takes")
    parser.add_argument("--photos", nargs="+", help="photos or folders; default: rendered hands")
    parser.add_argument("--count", type=int, default=100, help="hands to look at")
    parser.add_argument("--out", type=Path, help="JSON file for the distances")
    arguments = parser.parse_args()
    if arguments.photos:
        images = scenes = _photos(arguments.photos, arguments.count)
    else:
        images, scenes = ([*make(arguments.count, SEED, SIDE)[0]] for make in (render, render_scenes))
    print(f"{arguments.model} on {len(images)} photos")
    print(f"{'':29} {'median [px]':>12} {'95 % [px]':>12} {'largest [px]':>12} {'found once':>12}")
    rows = {}
    for flip_test in (False, True):
        predictor = knuckle.load(arguments.model, flip_test=flip_test)
        name = "with flip test" if flip_test else "without flip test"
        rows[name] = _numbers(mirror_distances(predictor, images))
        distance, alone = found_distances(predictor, scenes)
        rows[f"detector {name}"] = _numbers(distance) | {"found once": float(alone)}
    for name, numbers in rows.items():
        print(f"{name:29} " + " ".join(f"{value:12.4f}" for value in numbers.values()))
    if arguments.out is not None:
        content = {
            "command": f"python -m benchmarks.mirror {Path(arguments.model).name}",
            "photos": len(images),
            "pixels": rows,
        }
        arguments.out.write_text(json.dumps(content, indent=1) + "\n")


def _numbers(distance: NDArray[np.float64]) -> dict[str, float]:
    known = distance[np.isfinite(distance)]
    if not known.size:
        raise SystemExit("no hand was found on a photo and on its mirror image; give others.")
    return {
        "median": float(np.median(known)),
        "95 %": float(np.quantile(known, 0.95)),
        "largest": float(known.max()),
    }


def _photos(sources: Sequence[str], count: int) -> list[UInt8[np.ndarray, "224 224 3"]]:
    paths: list[Path] = find_images(sources)[:count]
    return [
        np.asarray(cv2.resize(read_image(path), (SIDE, SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        for path in paths
    ]


if __name__ == "__main__":
    main()
