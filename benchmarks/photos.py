"""From a small set of one's own photos to a measured model, by the commands that anyone would run.

    python -m benchmarks.photos --photos PHOTOS/annotations.json --out benchmarks/results/photos.json

PHOTOS are 120 frames of six videos with 240 hands, 16 of 21 joints labelled by hand; they may not be
passed on, so only numbers come out. Four videos train `recipes/photos_from_scratch.yaml` from random weights, the
other two are measured; no epoch is chosen on them. Then the model predicts on the same two videos from
their boxes, and the table that it writes is measured again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import knuckle
from benchmarks.data_loading import machine
from knuckle.metrics import epe, nme, pck
from knuckle.metrics.matching import match


def main() -> None:
    """Run the commands and write what they found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="COCO file of the photos")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        result = measure(options.photos.resolve(), Path(temporary))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["test"], indent=2))


def measure(photos: Path, folder: Path) -> dict[str, Any]:
    """Inspect, train, evaluate, predict; everything but the numbers stays in `folder`."""
    run, commands = folder / "run", list[dict[str, Any]]()

    def knuckle_command(*arguments: str) -> None:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "knuckle", *arguments], check=True)
        shown = " ".join(arguments).replace(str(photos.parent), "PHOTOS").replace(str(folder), "OUT")
        commands.append({"command": f"knuckle {shown}", "seconds": round(time.perf_counter() - began, 1)})

    knuckle_command("inspect", str(photos), "--out", str(folder / "look"))
    settings = ("--set", f"data.path={photos}", "--set", "data.validation=0", "--set", "device=cpu")
    knuckle_command("train", "recipes/photos_from_scratch.yaml", *settings, "--out", str(run))
    knuckle_command("evaluate", str(run), str(run / "test.json"), "--out", str(folder / "test"))
    knuckle_command("evaluate", str(run), str(run / "train.json"), "--out", str(folder / "train"))
    found = folder / "found.csv"
    boxes = ("--boxes", str(run / "test.json"))
    knuckle_command("predict", str(photos.parent / "images"), "--model", str(run), *boxes, "--out", str(found))
    true = knuckle.read(run / "test.json")
    pred, _ = match(knuckle.read(found), true)
    return {
        "command": "python -m benchmarks.photos --photos PHOTOS/annotations.json --out benchmarks/results/photos.json",
        "machine": machine(),
        "commands": commands,
        "data": json.loads((run / "data.json").read_text())["parts"],
        "suspicions": len(json.loads((folder / "look" / "inspect.json").read_text())["suspicions"]),
        "test": overall(folder / "test"),
        "train": overall(folder / "train"),
        "predict": {"epe": epe(pred, true), "nme": nme(pred, true), "pck_box_20": pck(pred, true)},
    }


def overall(report: Path) -> dict[str, Any]:
    """The report without its tables, which name images and groups."""
    numbers: dict[str, Any] = json.loads((report / "metrics.json").read_text())
    return {name: value for name, value in numbers.items() if name not in ("breakdown", "skipped")}


if __name__ == "__main__":
    main()
