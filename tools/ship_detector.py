"""Exports trained detector weights as the file that comes with knuckle.

    python tools/ship_detector.py runs/detector/detector.safetensors --out src/knuckle/predict/assets/detector.onnx

The score below which boxes are dropped is chosen on rendered scenes; python -m benchmarks.detector measures the file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from knuckle.export.detector import export_detector
from knuckle.methods.detector import load_detector

DATA = (
    "scenes of knuckle render; pinch_mit (MIT, Md Mahmudul Alam) and boxes_ccby (CC BY 4.0 as declared by its "
    "uploader, Roboflow workspace lebanese-university-grkoz), the groups that recipes/detector.yaml trains on"
)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="detector.safetensors of a run")
    parser.add_argument("--side", type=int, default=256, help="longer side of the pictures that it is to see")
    parser.add_argument("--least-score", type=float, default=0.4, help="boxes below it are no hands")
    parser.add_argument("--data", default=DATA, help="what it was trained on")
    parser.add_argument("--out", type=Path, required=True, help=".onnx file to write")
    options = parser.parse_args()
    network, notes = load_detector(options.weights)
    known = {**notes, "data": options.data, "licence": "Apache-2.0", "card": "docs/models/detector.md"}
    export_detector(network, options.out, side=options.side, least_score=options.least_score, notes=known)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
