"""Makes the files of a model that ships, from a finished run: rounded weights, ONNX, safetensors and a card.

    python -m tools.ship runs/light --name light --metrics "own photos=report/metrics.json"

1. Matrices and kernels are rounded to float16 (`knuckle.methods.half`); what that moves is measured on crops.
2. Both files are written from the rounded weights: NAME.safetensors for PyTorch, NAME.onnx for everybody else.
3. Both are loaded as users will load them and must give the same keypoints to 0.01 crop pixels, on rendered hands or on
   the labelled ones of --data.
4. docs/models/NAME.md is written; what stands below its marker is written by hand and stays.

Nothing is left where a step fails, or a file is larger than `knuckle.predict.shipped.MOST_BYTES` allows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from knuckle.export import LIMIT, Crops, Verification, export_onnx, labelled_crops, rendered_crops, verify
from knuckle.export.verify import CROPS, find_all
from knuckle.formats import read
from knuckle.methods.half import rounded
from knuckle.methods.weights import save_model
from knuckle.predict.load import StoredModel, read_model, weights_file
from knuckle.predict.onnx_engine import load_onnx
from knuckle.predict.shipped import ASSETS, MOST_BYTES, ONNX, SAFETENSORS, SHIPPED
from knuckle.predict.torch_engine import TorchEngine
from tools.model_card import Card, write_card

CARDS = Path(__file__).parents[1] / "docs" / "models"


class Rounding(NamedTuple):
    """How far rounding moved the keypoints of some crops, in crop pixels."""

    median: float
    percentile_99: float
    largest: float


def ship(run: Path, name: str, assets: Path, crops: Crops) -> tuple[StoredModel, Rounding, list[Verification]]:
    """Write the two files of a model into a folder, or none.

    Args:
        run: the run folder, or a .safetensors file.
        name: what it will be called.
        assets: the folder.
        crops: what the files are verified on.

    Raises:
        ValueError: the weights cannot be read or rounded, or a file is too large.
        RuntimeError: the two files do not give the same keypoints.
    """
    full = read_model(weights_file(run))
    model = full._replace(method=rounded(full.method))
    moved = rounding(full, model, crops)
    with tempfile.TemporaryDirectory() as folder:
        weights, graph = (Path(folder) / f"{name}{suffix}" for suffix in (SAFETENSORS, ONNX))
        save_model(weights, model.method, model.spec, model.notes, model.calibration)
        export_onnx(model, graph)
        for file in (weights, graph):
            if file.stat().st_size > MOST_BYTES[name]:
                raise ValueError(
                    f"{file.name} has {file.stat().st_size:,} bytes, and {name} may have {MOST_BYTES[name]:,}; "
                    "train a smaller network."
                )
        found = verify(TorchEngine(read_model(weights).method), load_onnx(graph, "cpu"), crops)
        worst = max(part.largest for part in found)
        if not worst <= LIMIT:
            raise RuntimeError(
                f"the two files differ by {worst:.2g} crop pixels, more than {LIMIT}; nothing was written."
            )
        assets.mkdir(parents=True, exist_ok=True)
        for file in (weights, graph):
            (assets / file.name).write_bytes(file.read_bytes())
    return model, moved, list(found)


def rounding(full: StoredModel, model: StoredModel, crops: Crops) -> Rounding:
    """What rounding did to the keypoints."""
    before, after = (find_all(TorchEngine(one.method), crops, False).xy_crop for one in (full, model))
    distance = np.linalg.norm(before.astype(np.float64) - after, axis=-1)
    known = distance[np.isfinite(distance)]
    return Rounding(float(np.median(known)), float(np.percentile(known, 99)), float(known.max()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder, or its .safetensors file")
    parser.add_argument("--name", choices=SHIPPED, required=True)
    parser.add_argument("--data", type=Path, help="labelled hands to verify on; default: rendered ones")
    parser.add_argument("--crops", type=int, default=CROPS)
    parser.add_argument("--metrics", action="append", default=[], metavar="TITLE=FILE", help="knuckle evaluate's JSON")
    parser.add_argument("--assets", type=Path, default=ASSETS)
    parser.add_argument("--cards", type=Path, default=CARDS)
    arguments = parser.parse_args()
    rule = read_model(weights_file(arguments.run)).spec.rule
    if arguments.data is None:
        crops, looked_at = rendered_crops(rule, arguments.crops), "rendered hands"
    else:
        crops = labelled_crops(rule, read(arguments.data), arguments.crops)
        looked_at = f"hands of {arguments.data.parent.name}/{arguments.data.name}"
    try:
        model, moved, found = ship(arguments.run, arguments.name, arguments.assets, crops)
        card = write_card(
            arguments.cards / f"{arguments.name}.md",
            Card(
                name=arguments.name,
                run=arguments.run if arguments.run.is_dir() else arguments.run.parent,
                files=[arguments.assets / f"{arguments.name}{suffix}" for suffix in (ONNX, SAFETENSORS)],
                model=model,
                rounding=moved._asdict(),
                verification=found,
                verified_on=looked_at,
                metrics=dict(entry.split("=", 1) for entry in arguments.metrics),
            ),
        )
    except (ValueError, RuntimeError) as error:
        sys.exit(f"Error: {error}")
    for suffix in (ONNX, SAFETENSORS):
        file = arguments.assets / f"{arguments.name}{suffix}"
        print(f"{file}  {file.stat().st_size:,} bytes")
    print(f"rounding moved keypoints by {moved.median:.3g} px in the median, {moved.largest:.3g} px at most")
    print(f"the two files differ by {max(part.largest for part in found):.2g} crop px at most")
    print(f"card: {card}")


if __name__ == "__main__":
    main()
