"""What fine-tuning on a few own videos gains on videos that it has not seen.

    python -m benchmarks.finetune --photos PHOTOS/annotations.json --model light --out benchmarks/results/finetune.json

PHOTOS are 120 frames of six videos with 240 hands, 16 of 21 joints labelled by hand; they may not be passed on, so only
numbers come out. The videos are dealt into folds; each fold is held out once, while `knuckle train --from MODEL
recipes/photos.yaml` learns from the others. Nothing is chosen on held-out videos: the schedule is the recipe's, and the
last model counts. Both models are measured on the same hands with the same boxes.

Frames of one video are nearly alike, so each video counts as one observation: the gain is the mean over videos of the
difference in NME, and p is the exact two-sided sign-flipping test over six videos, which cannot be smaller than 1/32.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Int64

import knuckle
from benchmarks.data_loading import machine
from knuckle.hands import Hands
from knuckle.metrics import nme, pck
from knuckle.metrics.permutation import paired_permutation_test
from knuckle.train import load_recipe, train

RECIPE: Final = Path(__file__).parents[1] / "recipes" / "photos.yaml"


def main() -> None:
    """Fine-tune on each choice of videos, and measure before and after on the others."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="COCO file of the photos")
    parser.add_argument("--model", required=True, help="the model to go on from")
    parser.add_argument("--held-out", type=int, default=1, help="videos in a fold")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a field of the recipe")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    hands = knuckle.read(options.photos)
    rounds = []
    for number, fold in enumerate(folds(hands.group, options.held_out)):
        with tempfile.TemporaryDirectory() as temporary:
            rounds.append(fine_tune(hands, fold, options.model, options.overrides, Path(temporary)))
        print(f"fold {number}: {json.dumps(rounds[-1])}", flush=True)
    result = {
        "command": f"python -m benchmarks.finetune --photos PHOTOS/annotations.json --model {Path(options.model).name} "
        f"--held-out {options.held_out}" + "".join(f" --set {text}" for text in options.overrides),
        "machine": machine(),
        "recipe": load_recipe(RECIPE, options.overrides).plain()["train"],
        "summary": summary(rounds),
        "rounds": rounds,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["summary"], indent=2))


def folds(group: Int64[np.ndarray, " n"], size: int) -> list[list[int]]:
    """The groups in order, `size` at a time."""
    groups = np.unique(group).tolist()
    return [groups[start : start + size] for start in range(0, len(groups), size)]


def fine_tune(hands: Hands, held_out: list[int], model: str, overrides: list[str], folder: Path) -> dict[str, Any]:
    """Train on the videos that are not held out, and measure both models on those that are."""
    away = np.isin(hands.group, held_out)
    labels = folder / "labels.json"
    knuckle.write(hands[~away], labels)
    recipe = load_recipe(RECIPE, [f"start={json.dumps(model)}", f"data.path={labels}", "device=cpu", *overrides])
    began = time.perf_counter()
    run = train(recipe, folder / "run")
    seconds = time.perf_counter() - began
    models: dict[str, str | Path] = {"before": model, "after": run}
    return {
        "photos": len(np.unique(hands.image[~away])),
        "hands": int((~away).sum()),
        "seconds": round(seconds, 1),
        "videos": [
            {name: measure(path, hands[hands.group == video]) for name, path in models.items()} for video in held_out
        ],
    }


def measure(model: str | Path, true: Hands) -> dict[str, float]:
    """A model's errors on labelled hands, given their boxes."""
    predictor = knuckle.load(model, device="cpu")
    paths = true.paths()
    found = Hands.concat([predictor.predict(path, box[None]) for path, box in zip(paths, true.box, strict=True)])
    found = found.replace(image=true.image, root=true.root)
    return {
        "nme": round(nme(found, true), 5),
        "pck_box_05": round(pck(found, true, 0.05), 4),
        "pck_box_10": round(pck(found, true, 0.1), 4),
    }


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over videos before and after, and what can be said of their difference."""
    videos = [video for one in rounds for video in one["videos"]]
    means = {
        when: {name: round(float(np.mean([video[when][name] for video in videos])), 5) for name in videos[0][when]}
        for when in ("before", "after")
    }
    difference = [video["after"]["nme"] - video["before"]["nme"] for video in videos]
    test = paired_permutation_test(difference)
    return {
        "videos": len(videos),
        **means,
        "nme_difference": round(test.difference, 5),
        "videos_better": sum(value < 0 for value in difference),
        "p": test.p,
        "seconds_of_training": round(float(np.mean([one["seconds"] for one in rounds])), 1),
    }


if __name__ == "__main__":
    main()
