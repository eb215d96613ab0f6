"""How often does the gesture classifier name the gesture that was rendered, and what does it take for what?

    python -m benchmarks.gestures --out benchmarks/results/gestures.json

Labels of rendered hands whose seed the classifier was not trained on, with every factor of the renderer on and poses
in its own mixture: exact keypoints, keypoints with noise as detectors give them, and keypoints of pictures that were
squeezed into squares. With --model and --photos (a folder with images/ and labels.csv of finger-counting photos), also
on what a model finds on real photos: the hand that its detector is surest of.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Int8
from numpy.typing import NDArray

import knuckle
from benchmarks.data_loading import machine
from knuckle.hands import UNKNOWN, Hands
from knuckle.render.dataset import label_batches
from knuckle.render.labels import Labels
from knuckle.skeleton import GESTURES
from knuckle.study.classify import THRESHOLD, confusion, propose

COUNTS: Final = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
"""Finger-counting classes and the gestures that show them."""
SUMMARY: Final = ("hands", "proposed", "right_of_proposed", "likeliest_right", "none_of_them_proposed")


def main() -> None:
    """Render labels, propose, count, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--hands", type=int, default=4000, help="how many")
    parser.add_argument("--seed", type=int, default=7, help="of the sequence")
    parser.add_argument("--photos", type=Path, help="folder of finger-counting photos")
    parser.add_argument("--model", help="that finds the keypoints on them")
    options = parser.parse_args()
    labels = Labels.concat(list(label_batches(range(options.hands), options.seed, 16, device="cpu", batch=500)))
    given = conditions(labels.xy.astype(np.float64))
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.gestures {' '.join(Path(word).name for word in sys.argv[1:])}",
        "machine": machine(),
        "threshold": THRESHOLD,
        "rendered": {name: measure(xy, labels.gesture) for name, xy in given.items()},
    }
    if options.photos and options.model:
        result["photos"] = photos(options.photos, options.model)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, measured in result["rendered"].items():
        sys.stdout.write(f"{name}: {json.dumps({key: measured[key] for key in SUMMARY})}\n")


def conditions(xy: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The keypoints as they are, with noise, and squeezed."""
    rng = np.random.default_rng(0)
    side = np.ptp(xy, axis=1).max(axis=1)[:, None, None]
    noise = rng.normal(size=xy.shape)
    return {
        "exact": xy,
        "noise of 2 % of the box": xy + 0.02 * side * noise,
        "noise of 5 % of the box": xy + 0.05 * side * noise,
        "4:3 squeezed into a square": xy * (0.75, 1),
    }


def measure(xy: NDArray[np.float64], true: Int8[np.ndarray, " n"]) -> dict[str, Any]:
    """Shares and the confusion matrix over hands; -1 is a pose without a gesture, and "unsure"."""
    n = len(xy)
    found = propose(Hands(image=[""] * n, xy=xy, visibility=np.full((n, 21), 2)))
    shown = true != UNKNOWN
    proposed = found.gesture != UNKNOWN
    return {
        "hands": int(shown.sum()),
        "proposed": share(proposed[shown]),
        "right_of_proposed": share((found.gesture == true)[shown & proposed]),
        "likeliest_right": share((found.likeliest == true)[shown]),
        "poses_without_a_gesture": int((~shown).sum()),
        "none_of_them_proposed": share(proposed[~shown]),
        "confusion": taken_for(true, found.gesture),
    }


def taken_for(true: Int8[np.ndarray, " n"], found: Int8[np.ndarray, " n"]) -> dict[str, dict[str, int]]:
    """The confusion matrix without its zeros: of each gesture that was shown, how often each was proposed."""
    table = confusion(true, found)
    shown, proposed = [*GESTURES, "none of them"], [*GESTURES, "unsure"]
    return {
        name: {other: int(count) for other, count in zip(proposed, row, strict=True) if count}
        for name, row in zip(shown, table, strict=True)
        if row.any()
    }


def share(mask: NDArray[np.bool_]) -> float | None:
    """The share that is true, None of nothing."""
    return round(float(mask.mean()), 4) if mask.size else None


def photos(folder: Path, model: str) -> dict[str, Any]:
    """What is proposed for each finger count, on the surest hand that a model finds; shares are of photos with one."""
    with (folder / "labels.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["class"] in COUNTS]
    hands = knuckle.load(model).predict([folder / "images" / row["file"] for row in rows])
    _, surest = np.unique(hands.image, return_index=True)
    hands = hands[surest]
    count = {row["file"]: COUNTS[row["class"]] for row in rows}
    found = propose(hands)
    true = np.array([count[Path(name).name] for name in hands.image.tolist()], dtype=np.int8)
    proposed = found.gesture != UNKNOWN
    return {
        "model": model,
        "photos": len(rows),
        "with_a_hand": len(hands),
        "proposed": share(proposed),
        "right_of_proposed": share((found.gesture == true)[proposed]),
        "likeliest_right": share(found.likeliest == true),
        "confusion": taken_for(true, found.gesture),
    }


if __name__ == "__main__":
    main()
