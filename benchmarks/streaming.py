"""Does training wait for rendered hands? The loader's images a second against the network's, in one run.

    python -m benchmarks.streaming --out benchmarks/results/streaming.json
    python -m benchmarks.streaming --device cuda --workers 0 --batch 64 --out benchmarks/results/streaming_gpu.json

Three quantities for each size of picture and crop: the loader alone (rendering, cutting, augmentation), the
training step alone on a batch that is there, and both together, as `knuckle train` runs them, with the share of the
time in which training had no batch. The loader is measured with each number of workers; without workers a thread
renders, on the network's GPU if it has one. The variants take turns within each round, so that a busy moment hits
all of them. On a CPU loader and network share the same cores, and each slows the other down: there the share of time
without a batch says less than training beside the network alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.data_loading import Row, machine, rows_of
from knuckle.data.loader import Batch, CropSource
from knuckle.geometry import CropRule
from knuckle.train.distributed import Team, join_team
from knuckle.train.learner import Learner, start, take_step
from knuckle.train.loop import build_method, load_shares
from knuckle.train.parts import read_parts
from knuckle.train.recipe import Recipe, check_recipe
from knuckle.train.steps import batches_of_epoch


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        backbone: of the heatmap method.
        device: of the network.
        batch: hands a step.
        steps: measured in a round.
        runs: rounds.
        sizes: sides of picture and crop, pixels.
        workers: numbers of processes that render.
        precision: as in a recipe.
    """

    backbone: str
    device: str
    batch: int
    steps: int
    runs: int
    sizes: tuple[int, ...]
    workers: tuple[int, ...]
    precision: str


def main() -> None:
    """Measure everything and write the results as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--backbone", default="resnet50", help="timm name; the method is heatmap")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--batch", type=int, default=16, help="hands a step")
    parser.add_argument("--steps", type=int, default=8, help="steps a round")
    parser.add_argument("--runs", type=int, default=3, help="rounds; the median counts")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256], help="sides of picture and crop")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="numbers of worker processes")
    parser.add_argument("--precision", default="float32", help="float32 or bf16")
    options = parser.parse_args()
    out: Path = options.out
    plan = Plan(
        options.backbone,
        options.device,
        options.batch,
        options.steps,
        options.runs,
        tuple(options.sizes),
        tuple(options.workers),
        options.precision,
    )
    rows = [row for size in plan.sizes for row in measure(plan, size)]
    result = {
        "command": f"python -m benchmarks.streaming {' '.join(sys.argv[1:])}",
        "machine": machine(),
        "gpu": torch.cuda.get_device_name() if plan.device == "cuda" else "",
        "settings": asdict(plan),
        "rows": [asdict(row) for row in rows],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    for row in rows:
        sys.stdout.write(f"{row.name:56} {row.median:10.4g} {row.unit:9} {row.goal}\n")


def measure(plan: Plan, size: int) -> list[Row]:
    """All rows of one size, round after round."""
    speeds: dict[str, list[float]] = {}
    waits: dict[str, list[float]] = {}
    with join_team(plan.device) as team:
        alone = recipe(plan, size, 0)
        learner = start(build_method(alone)[0], alone.train, team)
        for epoch in range(plan.runs):
            step = network_alone(plan, learner, alone, team)
            speeds.setdefault(f"{size} px: network alone", []).append(step)
            for workers in plan.workers:
                name, given = f"{size} px, {workers} workers", recipe(plan, size, workers)
                loader, _ = stream(plan, None, given, epoch, team)
                together, waited = stream(plan, learner, given, epoch, team)
                speeds.setdefault(f"{name}: loader alone", []).append(loader)
                speeds.setdefault(f"{name}: training", []).append(together)
                waits.setdefault(f"{name}: time without a batch", []).append(waited)
    return [*rows_of(speeds, "images/s", {}), *rows_of(waits, "share", {})]


def recipe(plan: Plan, size: int, workers: int) -> Recipe:
    """Rendered hands with the geometry that training changes, on the method and backbone that are measured."""
    content: dict[str, Any] = {
        "data": {"kind": "rendered", "hands": plan.batch * (plan.steps + warm_up(workers)), "validation": 0},
        "model": {"backbone": plan.backbone, "size": size},
        "augmentation": {"mirror": 0.5, "rotation": 30.0, "scale": (0.75, 1.25), "shift": 0.1},
        "train": {"batch": plan.batch, "workers": workers, "precision": plan.precision, "channels_last": True},
        "device": plan.device,
    }
    return check_recipe(content, "the benchmark's recipe")


def warm_up(workers: int) -> int:
    """Steps before the clock starts: workers are up, and no more batches wait than will go on waiting."""
    return 1 + 2 * max(1, workers)


def network_alone(plan: Plan, learner: Learner, given: Recipe, team: Team) -> float:
    """Images a second of the training step on a batch that is there."""
    with closing(batches_of(plan, given, 0, team)) as shares:
        pieces, _ = next(shares)
    take_step(learner, pieces, given.train, plan.steps, team)
    began = time.perf_counter()
    for _ in range(plan.steps):
        take_step(learner, pieces, given.train, plan.steps, team)
    return plan.batch * plan.steps / (time.perf_counter() - began)


def stream(plan: Plan, learner: Learner | None, given: Recipe, epoch: int, team: Team) -> tuple[float, float]:
    """Images a second of an epoch, and the share of its time without a batch; loading only, where nobody learns."""
    waited = began = 0.0
    with closing(batches_of(plan, given, epoch, team)) as shares:
        for number in range(-warm_up(given.train.workers), plan.steps):
            if number == 0:
                waited, began = 0.0, time.perf_counter()
            asked = time.perf_counter()
            pieces, _ = next(shares)
            waited += time.perf_counter() - asked
            if learner is not None:
                take_step(learner, pieces, given.train, plan.steps, team)
        seconds = time.perf_counter() - began
    return plan.batch * plan.steps / seconds, waited / seconds


def batches_of(
    plan: Plan, given: Recipe, epoch: int, team: Team
) -> Generator[tuple[list[Batch | None], list[str]], None, None]:
    """The batches of an epoch, as the training loop gets them."""
    parts = read_parts(given, team.device)
    source = CropSource(parts.train, CropRule(given.model.size), given.augmentation)
    return load_shares(source, given, batches_of_epoch(len(parts.train), plan.batch, 0, epoch), epoch, team)


if __name__ == "__main__":
    main()
