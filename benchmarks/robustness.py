"""How much worse do models become in harder pictures? On rendered hands, where only the factor changes, and on photos.

    python -m benchmarks.robustness --models light --work WORK --out benchmarks/results/robustness.json

Every factor of `knuckle study --robustness` at five severities. Another background of a rendered hand is rendered: the
same hand in the same light before something else, to the last keypoint. The same hands are measured a second time with
the backgrounds that the study makes up for photos, outside the hull of the keypoints: what that substitute is worth.
With --photos (any labelled folder that knuckle reads) those are measured, too; their own background stays within the
hull. The figure lies beside the JSON file.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from jaxtyping import UInt8

import knuckle
from benchmarks.data_loading import machine
from knuckle.formats import read
from knuckle.hands import Hands
from knuckle.render import SceneConfig, render
from knuckle.render.backgrounds import Procedural
from knuckle.study.robustness import Robustness, measure
from knuckle.study.robustness_report import curve_figure, factor_rows, gesture_rows, severity_rows, worst_factors

SIZE: Final = 224
TOGETHER: Final = 32
_ELSEWHERE: Final = 97
"""Random numbers that the other background leaves out."""

Image = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Elsewhere(Procedural):
    """The background that the same generator draws when it has gone on a little."""

    def draw(self, size: int, rng: np.random.Generator) -> Image:
        """As `Procedural.draw`."""
        rng.random(_ELSEWHERE)
        return super().draw(size, rng)


def main() -> None:
    """Render, measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", required=True, help="names, run folders or files")
    parser.add_argument("--work", type=Path, required=True, help="folder for the rendered hands")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write; the figure goes beside it")
    parser.add_argument("--hands", type=int, default=300, help="rendered hands")
    parser.add_argument("--seed", type=int, default=11, help="of their sequence")
    parser.add_argument("--photos", type=Path, help="labelled photos")
    options = parser.parse_args()
    hands = rendered(options.work, options.hands, options.seed)
    results: dict[str, Robustness] = {}
    for name in options.models:
        model = knuckle.load(name)
        shown = Path(name).name
        results[f"{shown}, rendered"] = measure(model, hands, others=partial(elsewhere, options.seed))
        results[f"{shown}, rendered, backgrounds made up"] = measure(model, hands)
        if options.photos:
            results[f"{shown}, {options.photos.name}"] = measure(model, read(options.photos))
    names = " ".join(Path(name).name for name in options.models)
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.robustness --models {names} --hands {options.hands} "
        f"--seed {options.seed} --work WORK --out OUT" + (" --photos PHOTOS" if options.photos else ""),
        "machine": machine(),
        "knuckle": knuckle.__version__,
        "severities": [*severity_rows(results, by="measured")],
        "factors": factor_rows(results, by="measured"),
        "gestures": [*gesture_rows(results, by="measured")],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    curve_figure(results).savefig(options.out.with_suffix(".png"), dpi=100)
    for line in worst_factors(results):
        sys.stdout.write(line + "\n")


def rendered(work: Path, count: int, seed: int) -> Hands:
    """Rendered hands with their pictures as PNG files in `work`; the row is the number in the sequence."""
    work.mkdir(parents=True, exist_ok=True)
    parts = []
    for first in range(0, count, TOGETHER):
        images, hands = render(min(TOGETHER, count - first), seed, SIZE, first=first, device="cpu")
        names = [str(work / f"{first + row:05d}.png") for row in range(len(images))]
        for name, image in zip(names, images, strict=True):
            cv2.imwrite(name, np.ascontiguousarray(image[..., ::-1]))
        parts.append(hands.replace(image=np.array(names)))
    return Hands.concat(parts)


def elsewhere(seed: int, row: int) -> Image:
    """The picture of a hand of the sequence before another background."""
    config = replace(SceneConfig(), backgrounds=Elsewhere())
    image: Image = render(1, seed, SIZE, first=row, device="cpu", config=config)[0][0]
    return image


if __name__ == "__main__":
    main()
