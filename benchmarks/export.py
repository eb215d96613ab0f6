"""How far exported files are from PyTorch, and what lower precision costs, on crops of real hands.

    python -m benchmarks.export --photos PHOTOS/annotations.json --out benchmarks/results/export.json

Every kind of file of `light` is exported as `knuckle export` does it and runs on the same 100 labelled crops as
PyTorch: ONNX and OpenVINO in fp32 (goal: no keypoint differs by 0.01 crop pixels), OpenVINO in fp16, bf16 and int8, for
which PCK of both says what is lost. Int8 takes its ranges from crops of other groups of the photos.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from knuckle.benchmark.machine import machine
from knuckle.export import LIMIT, export_verified, in_two, labelled_crops
from knuckle.export.openvino import Precision
from knuckle.export.verify import CROPS
from knuckle.formats import read
from knuckle.hands import Hands
from knuckle.predict.load import StoredModel, read_model, weights_file

FILES: Final[tuple[tuple[str, Precision], ...]] = (
    ("light.onnx", "fp32"),
    ("light.xml", "fp32"),
    ("light.xml", "fp16"),
    ("light.xml", "bf16"),
    ("light.xml", "int8"),
)


def main() -> None:
    """Export, compare, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="labels of the photos")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    ran_on = machine()
    model, hands = read_model(weights_file("light")), read(options.photos)
    rows = [row for name, precision in FILES for row in measured(model, hands, name, precision)]
    result = {
        "command": "python -m benchmarks.export --photos PHOTOS/annotations.json --out OUT",
        "machine": ran_on,
        "limit_of_fp32": LIMIT,
        "rows": rows,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")


def measured(model: StoredModel, hands: Hands, name: str, precision: Precision) -> Iterator[dict[str, Any]]:
    """One row without the flip test and one with it."""
    wanted = 2 * CROPS if precision == "int8" else CROPS
    crops = labelled_crops(model.spec.rule, hands, wanted)
    calibration, crops = in_two(crops) if precision == "int8" else (None, crops)
    limit = LIMIT if precision == "fp32" else None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        found = export_verified(model, file, crops, limit, precision=precision, calibration=calibration)
        size = sum(part.stat().st_size for part in Path(folder).iterdir())
    for part in found:
        row = {"file": name, "precision": precision, "bytes": size, **asdict(part)}
        row["pck"] = {f"{at:g}": {"pytorch": ours, "file": theirs} for at, (ours, theirs) in part.pck.items()}
        sys.stdout.write(f"{name} {precision} flip {part.flip_test}: {part.largest:.2g} px, {part.pck}\n")
        sys.stdout.flush()
        yield row


if __name__ == "__main__":
    main()
