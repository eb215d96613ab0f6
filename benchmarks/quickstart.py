"""How long the README's first command takes, and what the network reaches that it trains.

    python -m benchmarks.quickstart --out benchmarks/results/quickstart.json

It runs `knuckle quickstart` as a user does, in a process of its own, and reads what it measured: PCK@0.2 and NME on
hands that the network has not seen, beside those of the training hands' mean pose, which never looks at the picture.
Goals: below five minutes on two cores, and well above the mean pose. Packages are there already.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import knuckle
from knuckle.benchmark.machine import machine
from knuckle.evaluate.mean_pose import in_boxes, mean_pose
from knuckle.metrics import nme, pck


def main() -> None:
    """Run it, then write the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    ran_on = machine()
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "quickstart"
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "knuckle", "quickstart", "--out", str(out)], check=True)
        seconds = time.perf_counter() - began
        measured = json.loads((out / "evaluation" / "metrics.json").read_text())
        learnt, true = (knuckle.read(out / "model" / f"{part}.json") for part in ("train", "test"))
    guessed = in_boxes(mean_pose(learnt), true)
    result = {
        "command": "python -m benchmarks.quickstart --out OUT",
        "machine": ran_on,
        "seconds": seconds,
        "learnt_from": len(learnt),
        "hands": measured["hands"],
        "pck_20": measured["pck_box_20"],
        "nme": measured["nme"],
        "mean_pose": {"pck_20": float(pck(guessed, true, 0.2)), "nme": float(nme(guessed, true))},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(json.dumps({key: value for key, value in result.items() if key != "machine"}, indent=1) + "\n")


if __name__ == "__main__":
    main()
