"""The training loop: epochs of guarded steps, validation, checkpoints, and a clean stop on request.

Everything random is a function of the seed and the position in the run, so a run that was killed and
resumed gives the same weights, bit for bit on the CPU, as one that was not.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from knuckle.data.loader import Batch, CropSource, batches
from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.methods.base import Method
from knuckle.methods.weights import ModelSpec, build, save_model
from knuckle.train.curves import draw_curves
from knuckle.train.distributed import Team, gather_objects, join_team, share_state, wait_for_team
from knuckle.train.interrupt import Interrupted, StopRequest, stop_request
from knuckle.train.journal import Journal
from knuckle.train.learner import Learner, save, start, take_step
from knuckle.train.parts import Parts, names, read_parts, render_held_out, taught
from knuckle.train.recipe import Recipe
from knuckle.train.run_folder import check_run, open_run, record_data, record_environment
from knuckle.train.start import settle, starting_model
from knuckle.train.steps import Gradient, batches_of_epoch, in_order, stripe, usable_precision
from knuckle.train.validation import is_better, validate


class DivergenceError(RuntimeError):
    """Too many steps gave a loss or a gradient that is not finite."""


@dataclass(frozen=True)
class Run:
    """What stays the same during a run.

    Attributes:
        recipe: what to do.
        parts: the hands.
        spec: how to rebuild the network.
        folder: where files go.
        team: the processes that share the work.
        journal: where events go.
    """

    recipe: Recipe
    parts: Parts
    spec: ModelSpec
    folder: Path
    team: Team
    journal: Journal


def train(recipe: Recipe, out: Path, *, resume: bool = False) -> Path:
    """Train a model as a recipe says.

    Under torchrun every process calls this with the same arguments.

    Args:
        recipe: what to train, on what, how.
        out: the run folder to make. docs/training.md lists what it holds.
        resume: go on in a folder that already holds this run; a folder that does not exist is begun.

    Returns:
        The run folder.

    Raises:
        ValueError: the recipe, the data or the folder is unfit; one sentence.
        Interrupted: SIGINT or SIGTERM came; the run can be resumed.
        DivergenceError: more than `train.max_bad_steps` steps were not finite.
    """
    recipe = settle(recipe)
    with join_team(recipe.device) as team:
        if team.leads:
            check_run(out, recipe, resume=resume)
        parts = read_parts(recipe, team.device)
        method, spec = build_method(recipe)
        before = method.get_buffer("taught") if recipe.start is not None else False
        method.get_buffer("taught").copy_(torch.from_numpy(taught(parts.train)) | before)
        if team.leads:
            open_run(out, recipe)
        parts = render_held_out(parts, recipe, out / "hands", team)
        if team.leads:
            record_data(out, parts)
            record_environment(out, recipe, team)
        wait_for_team(team)
        fit(method, spec, recipe, parts, out, team)
    return out


def build_method(recipe: Recipe) -> tuple[Method, ModelSpec]:
    """The recipe's network with its first weights: those of the model it starts from, else drawn from `train.seed`.

    Raises:
        ValueError: the method, the backbone, an option or the weights cannot be had.
    """
    if recipe.train.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is not reproducible without it
        torch.use_deterministic_algorithms(True)
    if recipe.start is not None:
        return starting_model(recipe)
    model = recipe.model
    rule = CropRule(model.size, model.padding, model.frame_padding, whole_image=recipe.data.crop == "full")
    spec = ModelSpec(method=model.method, backbone=model.backbone, rule=rule, options=dict(model.options))
    torch.manual_seed(recipe.train.seed)
    return build(spec, model.weights), spec


def training_source(recipe: Recipe, parts: Parts, spec: ModelSpec) -> CropSource:
    """The training hands and how they are cut and changed."""
    return CropSource(parts.train, spec.rule, recipe.augmentation, recipe.train.seed)


def fit(method: Method, spec: ModelSpec, recipe: Recipe, parts: Parts, folder: Path, team: Team) -> None:
    """Train a network on the parts of a run; goes on where the run folder's checkpoint stands.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the run can be resumed.
        DivergenceError: more than `train.max_bad_steps` steps were not finite.
    """
    learner = start(method, recipe.train, team, folder / "checkpoint")
    board = folder / "tensorboard" if recipe.train.tensorboard else None
    keep = learner.position.journal_bytes
    with (
        Journal(folder / "metrics.jsonl", keep_bytes=keep, writes=team.leads, tensorboard=board) as journal,
        stop_request() as request,
    ):
        run = Run(recipe, parts, spec, folder, team, journal)
        introduce(run, learner)
        while learner.position.epoch < recipe.train.epochs:
            if run_epoch(run, learner, request):
                save_result(run, learner, "last.safetensors")
                if team.leads:
                    save(learner, folder / "checkpoint", journal)
                raise Interrupted(
                    f"Stopped after step {learner.position.step} and saved everything in {folder}; the same command "
                    "with --resume continues."
                )
            finish_epoch(run, learner)


def run_epoch(run: Run, learner: Learner, request: StopRequest) -> bool:
    """Do the steps of the current epoch that are left. True when a request to stop ended it early."""
    training, team, journal = run.recipe.train, run.team, run.journal
    epoch = learner.position.epoch
    steps = batches_of_epoch(len(run.parts.train), training.batch, training.seed, epoch)
    left = steps[learner.position.step_in_epoch :]
    source = training_source(run.recipe, run.parts, run.spec)
    learner.method.train()
    with closing(load_shares(source, run.recipe, left, epoch, team)) as shares:
        for _ in left:
            began = time.perf_counter()
            pieces, skipped = next(shares)
            waited = time.perf_counter() - began
            gradient = take_step(learner, pieces, training, len(steps), team, request)
            step = learner.position.step
            for message in skipped:
                journal.write("skipped_hand", step=step, epoch=epoch + 1, message=message)
            report_step(run, learner, gradient, pieces, time.perf_counter() - began, waited)
            journal.progress(step, training.epochs * len(steps), f"epoch {epoch + 1}, loss {gradient.loss:.3g}")
            if gradient.stop:
                return True
            if step % training.checkpoint_every_steps == 0 and team.leads:
                save(learner, run.folder / "checkpoint", journal)
        return False


def load_shares(
    source: CropSource, recipe: Recipe, steps: Sequence[Int64[np.ndarray, " batch"]], epoch: int, team: Team
) -> Generator[tuple[list[Batch | None], list[str]], None, None]:
    """This process's pieces of each step, and one sentence a hand that could not be used."""
    training, on_bad = recipe.train, recipe.data.on_bad
    pieces = [piece for rows in steps for piece in stripe(rows, team.rank, team.size, training.accumulate)]
    loaded = in_order(batches(source, pieces, epoch=epoch, workers=training.workers, on_bad=on_bad), pieces)
    for _ in steps:
        taken = [next(loaded) for _ in range(training.accumulate)]
        yield [batch for batch, _ in taken], [message for _, messages in taken for message in messages]


def report_step(
    run: Run, learner: Learner, gradient: Gradient, pieces: Sequence[Batch | None], seconds: float, waited: float
) -> None:
    """Write the step that was just taken to the journal, with the seconds it took and those of them without a batch.

    Raises:
        DivergenceError: the step was left out, as too many before it.
    """
    position, journal = learner.position, run.journal
    if gradient.finite:
        journal.write(
            "step",
            step=position.step,
            epoch=position.epoch + 1,
            loss=gradient.loss,
            learning_rate=learner.optimizer.param_groups[0]["lr"],
            gradient_norm=gradient.norm,
            hands=gradient.hands,
            seconds=round(seconds, 4),
            waited=round(waited, 4),
        )
        return
    mine = [row for piece in pieces if piece is not None for row in piece.rows.tolist()]
    rows = sorted(row for rows in gather_objects(mine, run.team) for row in rows)
    images = names(run.parts.train, rows, position.epoch)
    journal.write(
        "bad_step", step=position.step, epoch=position.epoch + 1, loss=gradient.loss, rows=rows, images=images
    )
    what = f"step {position.step} has a loss of {gradient.loss:g} and a gradient of norm {gradient.norm:g}"
    journal.say(f"{what}: left out. Its hands are named in {run.folder / 'metrics.jsonl'}.")
    if position.bad_steps > run.recipe.train.max_bad_steps:
        raise DivergenceError(
            f"{what}, and more than train.max_bad_steps = {run.recipe.train.max_bad_steps} steps were not finite; "
            f"lower train.learning_rate, set train.clip_norm, or look at the hands of its batch: "
            f"{', '.join(images[:5])}{' ...' if len(images) > 5 else ''}."
        )


def finish_epoch(run: Run, learner: Learner) -> None:
    """Validate where it is due, keep the best and the last model, draw the curves, write the checkpoint."""
    training = run.recipe.train
    epoch = learner.position.epoch + 1
    if epoch % training.validate_every == 0 or epoch == training.epochs:
        if len(run.parts.validation):
            measure(run, learner, epoch)
        if run.team.leads:
            draw_curves(run.folder / "metrics.jsonl", run.folder / "curves.png")
    learner.position = replace(learner.position, epoch=epoch, step_in_epoch=0)
    save_result(run, learner, "last.safetensors")
    if run.team.leads:
        save(learner, run.folder / "checkpoint", run.journal)


def measure(run: Run, learner: Learner, epoch: int) -> None:
    """Validate the network, and keep it if it is the best so far."""
    metric, position = run.recipe.train.save_best, learner.position
    hands = run.parts.validation
    assert isinstance(hands, Hands), "held-out hands are on disk before training begins"
    share_state(learner.result, run.team)
    began = time.perf_counter()
    metrics, unread = validate(learner.result, run.spec.rule, run.recipe, hands, run.team)
    for message in unread:
        run.journal.write("skipped_hand", step=position.step, epoch=epoch, message=message)
    seconds = round(time.perf_counter() - began, 4)
    run.journal.write("validation", step=position.step, epoch=epoch, **metrics, seconds=seconds)
    better = is_better(metric, metrics[metric], position.best)
    if better:
        learner.position = replace(position, best=metrics[metric], best_epoch=epoch)
        save_result(run, learner, "best.safetensors", epoch=epoch, metrics=metrics)
    run.journal.say(
        f"epoch {epoch} of {run.recipe.train.epochs}: EPE {metrics['epe']:.2f} px, NME {metrics['nme']:.4f}, "
        f"PCK@0.2 {metrics['pck']:.3f}, AUC {metrics['auc']:.3f}{' (best so far)' if better else ''}"
    )


def save_result(
    run: Run, learner: Learner, name: str, *, epoch: int | None = None, metrics: dict[str, float] | None = None
) -> None:
    """Write the network as it would be used, with what is known of it."""
    if not run.team.leads:
        return
    known = {key: value if math.isfinite(value) else None for key, value in (metrics or {}).items()}
    notes = {
        "epoch": learner.position.epoch if epoch is None else epoch,
        "step": learner.position.step,
        "validation": known,
    }
    save_model(run.folder / name, learner.result, run.spec, notes)


def introduce(run: Run, learner: Learner) -> None:
    """Say what is about to be trained, and from where."""
    sizes = ", ".join(f"{len(hands)} for {name}" for name, hands in run.parts.named().items())
    where = f"{run.team.size} x {run.team.device.type}" if run.team.size > 1 else str(run.team.device)
    run.journal.say(f"Hands: {sizes}; {len(run.parts.skipped)} left out (data.json). Device: {where}.")
    wanted = run.recipe.train.precision
    if usable_precision(wanted, run.team.device) != wanted:
        run.journal.say(f"This CPU has no instructions for {wanted}; the network runs in float32.")
    if learner.position.step:
        run.journal.say(f"Going on after step {learner.position.step}, in epoch {learner.position.epoch + 1}.")
