"""Memory of `knuckle predict` over many photos: resident size after the first 500 and at the end.

    python benchmarks/predict_memory.py --photos 10000

Generates JPEGs of 640 x 480 pixels, predicts them with a small random network and writes
benchmarks/results/predict_memory.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import torch

from knuckle.geometry import CropRule
from knuckle.methods.heatmap import Heatmap
from knuckle.predict import Predictor
from knuckle.predict.files import predict_files
from knuckle.predict.sinks import Kind, Output

RESULT = Path(__file__).parent / "results" / "predict_memory.json"
WARM_UP = 500


def resident_mb() -> float:
    """Megabytes that the process holds now; on systems without /proc, the most it ever held."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6
    return peak_mb()


def peak_mb() -> float:
    """The most megabytes that the process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def make_photos(folder: Path, count: int) -> list[Path]:
    """Photos with noise that does not compress away: 20 different ones under `count` names."""
    rng = np.random.default_rng(0)
    for number in range(20):
        small = rng.integers(0, 256, (60, 80, 3), np.uint8)
        cv2.imwrite(str(folder / f"original{number}.jpg"), cv2.resize(small, (640, 480)))
    names = [folder / f"{number}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        name.hardlink_to(folder / f"original{number % 20}.jpg")
    return names


def measure(kind: Kind, photos: list[Path], predictor: Predictor, folder: Path) -> dict[str, Any]:
    """Predicts all photos into one output, watching the resident size."""
    suffix = {"coco": ".json", "labelme": ""}.get(kind, f".{kind}")
    seen: dict[str, float] = {}

    def watch(done: int) -> None:
        if done == WARM_UP:
            seen["early"] = resident_mb()
        elif done == len(photos):
            seen["late"] = resident_mb()

    start = time.perf_counter()
    tally, _ = predict_files(
        predictor, photos, "full", output=Output(folder / f"out_{kind}{suffix}", kind), progress=watch
    )
    return {
        "format": kind,
        "photos": tally.images,
        "resident_mb_after_500": round(seen["early"], 1),
        "resident_mb_after_all": round(seen["late"], 1),
        "resident_mb_after_writing": round(resident_mb(), 1),
        "photos_per_second": round(tally.images / (time.perf_counter() - start), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--formats", nargs="+", choices=get_args(Kind), default=["csv", "coco"])
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    if arguments.photos <= WARM_UP:
        parser.error(f"--photos must be more than {WARM_UP}")
    torch.manual_seed(0)
    predictor = Predictor(Heatmap("test_resnet", 64), CropRule(size=64))
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder), arguments.photos)
        rows = [measure(kind, photos, predictor, Path(folder)) for kind in arguments.formats]
    result = {
        "command": f"python {' '.join(sys.argv)}",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "peak_mb": round(peak_mb(), 1),
        "runs": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
