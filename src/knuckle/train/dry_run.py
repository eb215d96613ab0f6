"""A rehearsal of a run: everything is read and built, one step is taken, nothing is written."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64

from knuckle.data.loader import CropSource
from knuckle.methods.weights import ModelSpec
from knuckle.train.distributed import Team, join_team
from knuckle.train.learner import Learner, start, take_step
from knuckle.train.loop import build_method, load_shares, training_source
from knuckle.train.parts import Parts, read_parts
from knuckle.train.recipe import Recipe
from knuckle.train.run_folder import check_run
from knuckle.train.start import settle
from knuckle.train.steps import batches_of_epoch


def dry_run(recipe: Recipe, out: Path | None = None, *, resume: bool = False) -> list[tuple[str, str]]:
    """Take one training step and tell what was found: pairs of a name and a value to print.

    Args:
        recipe: what is to be trained.
        out: the run folder that `train` would be given; None looks at none.
        resume: as `train` would be told.

    Raises:
        ValueError: the recipe, its data or the folder is unfit, exactly as `train` would say.
    """
    recipe = settle(recipe)
    with join_team(recipe.device) as team:
        if out is not None and team.leads:
            check_run(out, recipe, resume=resume)
        parts, spec, learner, source, steps = _prepare(recipe, team)
        method = learner.method
        with closing(load_shares(source, recipe, steps[:1], 0, team)) as shares:
            pieces, _ = next(shares)
        began = time.perf_counter()
        gradient = take_step(learner, pieces, recipe.train, len(steps), team)
        seconds = time.perf_counter() - began
        shapes = [("crops", [str(side) for side in piece.images.shape]) for piece in pieces[:1] if piece is not None]
        with torch.no_grad():
            crop = torch.zeros(1, 3, spec.rule.size, spec.rule.size, dtype=torch.uint8, device=team.device)
            outputs = method.eval()(crop)
        shapes += [
            (f"output {name}", ["B", *(str(side) for side in value.shape[1:])]) for name, value in outputs.items()
        ]
        return [
            *((f"{name} hands", f"{len(hands)}") for name, hands in parts.named().items()),
            ("hands left out", f"{len(parts.skipped)}"),
            ("device", str(team.device)),
            ("parameters", f"{sum(parameter.numel() for parameter in method.parameters()):,}"),
            *((name, " x ".join(shape)) for name, shape in shapes),
            ("steps an epoch", f"{len(steps)}"),
            ("steps of the run", f"{len(steps) * recipe.train.epochs}"),
            ("first loss", f"{gradient.loss:.6g}"),
            ("first gradient norm", f"{gradient.norm:.6g}"),
            ("first step", f"{seconds:.2f} s"),
            ("peak memory", _peak_memory(team.device)),
        ]


def step_seconds(recipe: Recipe, count: int) -> list[float]:
    """How long each of the first steps of a run takes on this machine, reading its images included; writes nothing.

    Raises:
        ValueError: the recipe or its data is unfit.
    """
    recipe = settle(recipe)
    with join_team(recipe.device) as team:
        _, _, learner, source, steps = _prepare(recipe, team)
        taken: list[float] = []
        with closing(load_shares(source, recipe, steps[:count], 0, team)) as shares:
            for _ in steps[:count]:
                began = time.perf_counter()
                pieces, _ = next(shares)
                take_step(learner, pieces, recipe.train, len(steps), team)
                taken.append(time.perf_counter() - began)
        return taken


class _Prepared(NamedTuple):
    """What a run has before its first step: hands, network, learner, where crops come from, the rows of each step."""

    parts: Parts
    spec: ModelSpec
    learner: Learner
    source: CropSource
    steps: list[Int64[np.ndarray, " batch"]]


def _prepare(recipe: Recipe, team: Team) -> _Prepared:
    parts = read_parts(recipe, team.device)
    method, spec = build_method(recipe)
    learner = start(method, recipe.train, team)
    method.train()  # a model to go on from comes as it predicts
    steps = batches_of_epoch(len(parts.train), recipe.train.batch, recipe.train.seed, epoch=0)
    return _Prepared(parts, spec, learner, training_source(recipe, parts, spec), steps)


def _peak_memory(device: torch.device) -> str:
    """Of the GPU where there is one, else of this process."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**20:,.0f} MiB on {device}"
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return "unknown"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{peak / (2**20 if sys.platform == 'darwin' else 2**10):,.0f} MiB"
