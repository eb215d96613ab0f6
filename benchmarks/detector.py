"""How well the hand detector finds hands, how often it sees one where none is, and how long it takes.

    python -m benchmarks.detector --data ../shared/data --scenes runs/scenes/test --out benchmarks/results/detector.json

The scenes are `knuckle render --scenes --size 320 --count 300 --seed 900 --out runs/scenes/test`. Of `pinch_mit` and
`boxes_ccby` only the groups count that recipes/detector.yaml holds out. The other folders are for evaluation alone.
Intervals are percentiles of 50 resamplings of the groups (95 %); of two or three groups they say little.
Without --model the detector that comes with knuckle is measured. "together" is what `Predictor` finds with the model
"light", whose hand head judges every box with the detector.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data_loading import machine
from knuckle.data.images import read_image
from knuckle.data.pictures import Pictures, read_pictures
from knuckle.metrics.detection import Found, precision_recall
from knuckle.predict.detector import OnnxDetector, shipped_detector
from knuckle.predict.load import load
from knuckle.predict.predictor import Predictor
from knuckle.train.detector import split_source
from knuckle.train.detector_recipe import PictureSource, load_detector_recipe

RESAMPLES = 50
TIMED = 100
ALL_SCORES = 0.02
"""Average precision counts boxes from this score on."""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with pinch_mit, boxes_ccby, photos and the others"
    )
    parser.add_argument(
        "--scenes", type=Path, required=True, help="folder of knuckle render --scenes that was not trained on"
    )
    parser.add_argument("--recipe", type=Path, default=Path("recipes/detector.yaml"), help="which groups are held out")
    parser.add_argument("--model", type=Path, help="an .onnx detector")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    shipped = shipped_detector() if options.model is None else OnnxDetector(options.model)
    path = options.model or Path(__file__).parents[1] / "src/knuckle/predict/assets/detector.onnx"
    detector = OnnxDetector(path, least_score=ALL_SCORES, threads=1)
    predictor = load("light", detector=path)
    result: dict[str, Any] = {
        "command": "python -m benchmarks.detector --data DATA --scenes SCENES --out benchmarks/results/detector.json",
        "machine": machine(),
        "detector": {"bytes": path.stat().st_size, "least_score": shipped.least_score, **shipped.metadata["notes"]},
        "sets": {
            name: {"together": together(predictor, pictures), **measure(detector, pictures, shipped.least_score)}
            for name, pictures in sets(options.data, options.scenes, options.recipe).items()
        },
        "milliseconds": {str(threads): timed(path, threads) for threads in (1, 2)},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def sets(data: Path, scenes: Path, recipe: Path) -> dict[str, Pictures]:
    """The pictures of every set, with labels as they were drawn."""
    found = {"rendered, held out": read_pictures(scenes, handless=True)}
    found |= {f"{name}, held out": pictures for name, pictures in held_out(data, recipe).items()}
    found["photos, evaluation only"] = read_pictures(data / "photos" / "annotations.json")
    found["backgrounds_ccbysa, no hand"] = backgrounds(data / "backgrounds_ccbysa")
    return found


def held_out(data: Path, recipe: Path) -> dict[str, Pictures]:
    """By folder, the pictures that the detector's recipe keeps for measuring."""
    training = {Path(source.path).parent.name: source.training for source in load_detector_recipe(recipe).sources}
    return {
        name: split_source(PictureSource(path=f"{name}/annotations.json", training=training.get(name, 0.7)), data)[1]
        for name in ("pinch_mit", "boxes_ccby")
    }


def backgrounds(folder: Path) -> Pictures:
    """The pictures of the folder that show neither a hand nor a part of a person."""
    with (folder / "index.csv").open(newline="") as file:
        empty = {
            row["file"] for row in csv.DictReader(file) if row["hand_visible"] == row["person_part_visible"] == "0"
        }
    every = read_pictures(folder / "images", handless=True)
    return every.rows([row for row, path in enumerate(every.paths) if path.name in empty])


def measure(detector: OnnxDetector, pictures: Pictures, least_score: float) -> dict[str, Any]:
    """The numbers of one set."""
    found: list[Found] = [detector.detect([read_image(path)])[0][:2] for path in pictures.paths]
    curve = precision_recall(found, pictures.boxes)
    precision, recall, wrong = curve.at(least_score)
    numbers: dict[str, Any] = {
        "pictures": len(pictures),
        "groups": len(np.unique(pictures.group)),
        "hands": curve.hands,
    }
    numbers["false boxes a picture"] = round(wrong, 4)
    if curve.hands:
        numbers |= {
            "average precision": round(curve.average_precision, 4),
            "interval": interval(found, pictures),
            "recall": round(recall, 4),
            "precision": round(precision, 4),
            "recall of boxes of any score": round(float(curve.recall[-1]) if len(curve.recall) else 0.0, 4),
        }
    return numbers


def together(predictor: Predictor, pictures: Pictures) -> dict[str, float]:
    """Recall, precision and false boxes a picture of the hands that a predictor finds."""
    hands = [predictor.predict(str(path)) for path in pictures.paths]
    found: list[Found] = [(own.box, np.zeros(0) if own.score is None else own.score) for own in hands]
    precision, recall, wrong = precision_recall(found, pictures.boxes).at(0.0)
    numbers = {"false boxes a picture": wrong}
    if any(len(boxes) for boxes in pictures.boxes):
        numbers |= {"recall": recall, "precision": precision}
    return {name: round(value, 4) for name, value in numbers.items()}


def interval(found: list[Found], pictures: Pictures) -> list[float]:
    """2.5 and 97.5 % of the average precision when groups are drawn anew."""
    groups, rng, values = np.unique(pictures.group), np.random.default_rng(0), []
    rows = {group: np.flatnonzero(pictures.group == group) for group in groups}
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rows[group] for group in rng.choice(groups, len(groups))])
        values.append(precision_recall([found[row] for row in drawn], pictures.rows(drawn).boxes).average_precision)
    return [round(float(value), 4) for value in np.nanpercentile(values, (2.5, 97.5))]


def timed(path: Path, threads: int) -> dict[str, float]:
    """Milliseconds of one 640 x 480 picture from pixels to boxes: on the clock, and of processor time over all threads.

    On a machine that does other work the clock says little; the load before the measurement stands beside it.
    """
    detector = OnnxDetector(path, threads=threads)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    detector.detect([image] * 10)
    clock, processor = [], []
    load = os.getloadavg()[0]
    for _ in range(TIMED):
        began, worked = time.perf_counter(), time.process_time()
        detector.detect([image])
        clock.append((time.perf_counter() - began) * 1e3)
        processor.append((time.process_time() - worked) * 1e3)
    return {
        "clock, median": round(float(np.median(clock)), 2),
        "clock, 95 %": round(float(np.percentile(clock, 95)), 2),
        "clock, least": round(min(clock), 2),
        "processor, median": round(float(np.median(processor)), 2),
        "load of the machine": round(load, 1),
    }


if __name__ == "__main__":
    main()
