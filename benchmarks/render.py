"""How fast hands are rendered, and where the time goes.

    python -m benchmarks.render --out benchmarks/results/render.json

Whole pictures a second through `render`, as a user calls it; through processes side by side, one a core, as
`knuckle render` and the workers of a training use it; and the milliseconds a picture of each of its parts, measured
alone on the same hands. The variants take turns within each round, so that a busy moment hits all of them. On a GPU
every measurement waits until the device has finished.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import cv2
import torch

from benchmarks.data_loading import Row, machine, rows_of, take_turns
from knuckle.render import SceneConfig, render
from knuckle.render.dataset import stages
from knuckle.render.light import shadow_map
from knuckle.render.scene import draw_scenes, stack, to_device
from knuckle.render.shade import FOREARM_IN_SHADOW
from knuckle.render.stage import Stage

SIZES = (256, 128)
GOALS = {"cpu": {256: "at least 40", 128: "at least 150"}, "cuda": {256: "at least 2000"}}
"""Pictures a second; on two CPU cores, and on a data-centre GPU."""


def main() -> None:
    """Measure everything and write the results as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--images", type=int, default=128, help="pictures a round")
    parser.add_argument("--batch", type=int, default=32, help="hands rendered together")
    parser.add_argument("--processes", type=int, default=2, help="side by side on a CPU, one thread each")
    parser.add_argument("--runs", type=int, default=5, help="rounds; the median counts")
    options = parser.parse_args()
    rows: list[Row] = []
    for size in SIZES:
        rows += measure_pictures(size, options.images, options.batch, options.runs, options.device, options.processes)
        rows += measure_parts(size, options.batch, options.runs, options.device)
    result = {
        "command": f"python -m benchmarks.render {' '.join(Path(word).name for word in sys.argv[1:])}",
        "machine": machine(),
        "gpu": torch.cuda.get_device_name() if options.device == "cuda" else "",
        "rows": [asdict(row) for row in rows],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    for row in rows:
        sys.stdout.write(f"{row.name:52} {row.median:10.4g} {row.unit:9} {row.goal}\n")


def seconds(work: Callable[[], object], device: str) -> float:
    """How long one call takes, the device's share included."""
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure_pictures(size: int, count: int, batch: int, runs: int, device: str, processes: int) -> list[Row]:
    """Pictures a second with everything that a scene may have."""

    def pictures() -> object:
        return render(count, seed=0, size=size, device=device, batch=batch)

    seconds(lambda: render(batch, size=size, device=device, batch=batch), device)  # loads, allocates
    name = f"{size} px: whole pictures"
    goal = GOALS.get(device, {}).get(size, "")
    alone = {name: lambda: count / seconds(pictures, device)}
    if device == "cuda":
        return rows_of(take_turns(alone, runs), "images/s", {name: goal})
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_one_thread) as pool:

        def shared() -> object:
            return [*pool.map(_render_batch, [(size, batch, first) for first in range(0, processes * count, batch)])]

        shared()  # starts the processes
        together = f"{size} px: whole pictures, {processes} processes"
        both = alone | {together: lambda: processes * count / seconds(shared, device)}
        return rows_of(take_turns(both, runs), "images/s", {name: goal, together: goal})


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _render_batch(what: tuple[int, int, int]) -> None:
    """Pictures of a size, so many, from a number on."""
    size, batch, first = what
    render(batch, seed=0, size=size, first=first, device="cpu", batch=batch)


def measure_parts(size: int, batch: int, runs: int, device: str) -> list[Row]:
    """Milliseconds a picture of the steps of `render`, each alone."""
    config = SceneConfig()
    stage = next(stages(range(batch), 0, size, config, device, batch))
    layer = stage.layer()
    parts: dict[str, Callable[[], object]] = {
        "drawing the scenes": lambda: draw_scenes(config, 0, range(batch)),
        "scenes, poses and cameras": lambda: next(stages(range(batch), 0, size, config, device, batch)),
        "triangles to pixels, at twice the size": stage.samples,
        "shadow map": lambda: _shadows(stage),
        "triangles, shadows and shading": stage.layer,
        "background, objects and sensor": lambda: stage.images(layer, config.backgrounds),
        "labels": lambda: stage.labels(layer.samples),
    }
    with torch.no_grad():
        for part in parts.values():
            part()
        variants = {f"{size} px: {name}": _milliseconds(part, batch, device) for name, part in parts.items()}
        return rows_of(take_turns(variants, runs), "ms/image", {})


def _milliseconds(part: Callable[[], object], count: int, device: str) -> Callable[[], float]:
    return lambda: seconds(part, device) * 1000 / count


def _shadows(stage: Stage) -> object:
    device, model = stage.vertices.device, stage.model
    light = to_device(stack([stage.scenes[picture].lighting for picture in stage.pictures]), device)
    left = torch.tensor([figure.is_left for figure in stage.figures], device=device)
    return shadow_map(stage.vertices, model.faces, model.skin.y > -FOREARM_IN_SHADOW, left, light)


if __name__ == "__main__":
    main()
