"""How long `knuckle predict one.jpg` takes from the shell to the end: an ONNX file against the weights of PyTorch.

    python -m benchmarks.start                       # a ResNet-50 heatmap network with random weights
    python -m benchmarks.start --model runs/first    # a model of your own
    python -m benchmarks.start --model light --out benchmarks/results/start.json    # the shipped one; goal: below 1.5 s

Every start is a new process. The first of each kind reads files that nobody has read lately and is printed apart; the
others are warm. Only numbers of one run on a quiet machine can be compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from knuckle.benchmark.machine import machine
from knuckle.draw import write_image
from knuckle.export import export_onnx
from knuckle.geometry import CropRule
from knuckle.methods.weights import ModelSpec, build, save_model
from knuckle.predict.load import StoredModel, read_model, weights_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="light or accurate, a run folder or a .safetensors file")
    parser.add_argument("--out", type=Path, help="JSON file for the seconds")
    parser.add_argument("--repeats", type=int, default=5, help="warm starts of each kind")
    arguments = parser.parse_args()
    ran_on = machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = _random_model() if arguments.model is None else read_model(weights_file(arguments.model))
        save_model(folder / "m.safetensors", model.method, model.spec, {}, model.calibration)
        export_onnx(model, folder / "m.onnx")
        pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        write_image(folder / "one.jpg", pixels)
        print(f"{'file':16} {'first [s]':>10} {'warm, median [s]':>18} {'warm, slowest [s]':>18}")
        seconds = {}
        for file in ("m.safetensors", "m.onnx"):
            first, *warm = [_seconds(folder, file) for _ in range(1 + arguments.repeats)]
            print(f"{file:16} {first:10.2f} {median(warm):18.2f} {max(warm):18.2f}")
            seconds[file] = {"first": first, "warm_median": median(warm), "warm_slowest": max(warm)}
    if arguments.out is not None:
        content = {"machine": ran_on, "model": arguments.model or "resnet50 at random", "seconds": seconds}
        arguments.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _random_model() -> StoredModel:
    spec = ModelSpec("heatmap", "resnet50", CropRule(size=256))
    return StoredModel(build(spec).eval(), spec, {}, None)


def _seconds(folder: Path, model: str) -> float:
    command = [sys.executable, "-m", "knuckle", "predict", "one.jpg", "--model", model]
    start = time.perf_counter()
    subprocess.run([*command, "--boxes", "full", "--out", "x.csv"], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
