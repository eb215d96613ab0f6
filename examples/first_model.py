"""The whole path in one go, on a machine with nothing but Python: look, train, measure, predict.

Draws a small set of hands, then runs the commands that anyone would run on their own photos, and says
which. Takes a few minutes on two CPU cores. `python -m examples.first_model --out runs/first`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from examples.drawn_hands import draw_dataset


def run(*arguments: str) -> None:
    """Show a knuckle command and run it."""
    print(f"\n$ knuckle {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "knuckle", *arguments], check=True)


def main() -> None:
    """Parse the command line and go."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/first"), help="folder for everything made here")
    parser.add_argument("--count", type=int, default=1200, help="hands to draw")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the training part")
    options = parser.parse_args()
    photos, model = options.out / "hands", options.out / "model"

    print(f"Drawing {options.count} hands into {photos} ...", flush=True)
    draw_dataset(photos, options.count, seed=0)
    run("inspect", str(photos), "--out", str(options.out / "inspect"))
    run(
        *("train", "recipes/photos.yaml", "--out", str(model)),
        *("--set", f"data.path={photos}", "--set", f"train.epochs={options.epochs}"),
    )
    run("evaluate", str(model), str(model / "test.json"), "--out", str(options.out / "evaluation"))
    run(
        *("predict", str(photos / "images"), "--model", str(model), "--boxes", str(model / "test.json")),
        *("--out", str(options.out / "found.csv"), "--draw", str(options.out / "drawn")),
    )
    print(f"\nOpen {options.out}/evaluation/gallery.png and {options.out}/drawn to see what it learnt.")


if __name__ == "__main__":
    main()
