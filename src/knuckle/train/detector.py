"""Training a hand detector: `python -m knuckle.train.detector recipes/detector.yaml --out runs/detector`.

A run can be stopped at any time; the same command goes on from its last checkpoint, with the same pictures in the same
order. Run folder:

recipe.yaml            what was asked for
metrics.jsonl          the loss of every step
checkpoint/            all that is needed to go on
detector.safetensors   the result: the moving average of the weights
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
import yaml
from torch import Tensor

from knuckle.data.detection import Layout, Mixture, draw_square, limit_threads, stack
from knuckle.data.pictures import Pictures, read_pictures
from knuckle.data.splits import split_groups
from knuckle.methods.detector import STRIDE, DetectorSpec, HandDetector, load_detector, save_detector
from knuckle.methods.detector_loss import detector_loss, encode
from knuckle.train.checkpoint import Position, load_checkpoint, read_position, save_checkpoint
from knuckle.train.detector_recipe import DetectorRecipe, DetectorTraining, PictureSource, load_detector_recipe
from knuckle.train.ema import MovingAverage
from knuckle.train.interrupt import Interrupted, stop_request
from knuckle.train.journal import Journal
from knuckle.train.optim import gradient_norm, learning_rate, make_optimizer, scale_gradients, set_learning_rate
from knuckle.train.recipe import Cosine, Training
from knuckle.train.steps import usable_precision

RESULT = "detector.safetensors"
SPLIT_SEED = 0
"""Of the split into what is trained on and what is held out."""


def train_detector(recipe: DetectorRecipe, base: Path, folder: Path) -> HandDetector:
    """Train a detector on the CPU; goes on where the folder's checkpoint stands.

    Args:
        recipe: all of the run.
        base: the folder that the recipe's paths start from.
        folder: of the run.

    Raises:
        ValueError: pictures cannot be read, the model to go on from is of another size than the network, or the
            folder holds a run of another recipe.
        Interrupted: SIGINT or SIGTERM came; everything is saved.
    """
    begun_from = None if recipe.start is None else _begun_from(base / recipe.start, recipe.network.spec())
    _open(folder, recipe)
    pictures = mixture(recipe, base)
    training = recipe.train
    torch.manual_seed(training.seed)
    network = HandDetector(recipe.network.spec())
    if begun_from is not None:
        network.load_state_dict(begun_from.state_dict())
    network = network.to(memory_format=torch.channels_last)
    average = MovingAverage(network, training.ema_decay)
    schedule = _schedule(training)
    optimizer = make_optimizer(network, schedule)
    position = read_position(folder / "checkpoint") or Position()
    if position.step:
        load_checkpoint(folder / "checkpoint", network, average.network, optimizer)
    total = training.epochs * training.steps_per_epoch
    limit_threads()
    network.train()
    with Journal(folder / "metrics.jsonl", keep_bytes=position.journal_bytes) as journal, stop_request() as request:
        for step in range(position.step, total):
            began = time.perf_counter()
            images, boxes = draw_batch(pictures, training, step)
            waited = time.perf_counter() - began
            set_learning_rate(optimizer, learning_rate(schedule, step, training.steps_per_epoch))
            losses = take_step(network, optimizer, images, boxes, training)
            average.update(network, step + 1)
            seconds = {"seconds": round(time.perf_counter() - began, 4), "waited": round(waited, 4)}
            journal.write("step", step=step + 1, **losses, **seconds)
            journal.progress(step + 1, total, f"loss {losses['loss']:.3g}")
            last = step + 1 == total
            if last or request.received or (step + 1) % training.checkpoint_every == 0:
                position = replace(position, step=step + 1, updates=step + 1, journal_bytes=journal.bytes_written())
                save_checkpoint(folder / "checkpoint", position, network, average.network, optimizer)
                save_detector(folder / RESULT, average.network, {"step": step + 1, "steps": total})
            if request.received and not last:
                raise Interrupted(f"Stopped after step {step + 1} of {total}; the same command goes on.")
    return average.network


def _begun_from(path: Path, spec: DetectorSpec) -> HandDetector:
    network = load_detector(path)[0]
    if network.spec != spec:
        raise ValueError(
            f"the recipe's network is {spec}, but {path} is {network.spec}; give its widths, blocks and neck in the "
            "recipe's section network."
        )
    return network


def mixture(recipe: DetectorRecipe, base: Path) -> Mixture:
    """The pictures that a recipe trains on.

    Raises:
        ValueError: a source cannot be read.
    """
    parts = [split_source(source, base)[0] for source in recipe.sources]
    return Mixture(tuple(parts), tuple(source.share for source in recipe.sources))


def split_source(source: PictureSource, base: Path) -> tuple[Pictures, Pictures]:
    """The pictures of a source that are trained on, and those that are held out.

    Raises:
        ValueError: there are none, or too few groups to hold any out.
    """
    path = base / source.path
    pictures = read_pictures(path, box_scale=source.box_scale, handless=source.handless)
    if not len(pictures):
        raise ValueError(f"{path} holds no picture to train on.")
    if source.training == 1:
        return pictures, pictures.rows(np.empty(0, dtype=np.int64))
    fractions = {"training": source.training, "held out": 1 - source.training}
    rows = split_groups(pictures.group, fractions, SPLIT_SEED)
    return pictures.rows(rows["training"]), pictures.rows(rows["held out"])


def draw_batch(pictures: Mixture, training: DetectorTraining, step: int) -> tuple[Tensor, Tensor]:
    """The squares of a step, which follow from its number."""
    epoch, within = divmod(step, training.steps_per_epoch)
    layout = Layout(training.side_of(epoch), training.mosaic, training.zoom, training.turned)
    numbers = range(within * training.batch, (within + 1) * training.batch)
    images, boxes = stack([draw_square(pictures, layout, training.seed, epoch, number) for number in numbers])
    return torch.from_numpy(images), torch.from_numpy(boxes)


def take_step(
    network: HandDetector,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    boxes: Tensor,
    training: DetectorTraining,
) -> dict[str, float]:
    """One step of the optimizer; a loss or a gradient that is not finite leaves the weights as they are."""
    targets = encode(boxes, images.shape[2] // STRIDE, images.shape[3] // STRIDE)
    precision = usable_precision(training.precision, images.device)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        found = network(images.contiguous(memory_format=torch.channels_last))
    losses = detector_loss(found.float(), targets)
    optimizer.zero_grad(set_to_none=True)
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    norm = float(gradient_norm(network))
    if np.isfinite(norm):
        scale_gradients(network, min(1.0, training.clip_norm / max(norm, 1e-12)))
        optimizer.step()
    return {name: float(value.detach()) for name, value in losses.items()} | {"gradient_norm": norm}


def _schedule(training: DetectorTraining) -> Training:
    """What the optimizer and its learning rate need, as keypoint networks' recipes have it."""
    return Training(
        epochs=training.epochs,
        optimizer="adamw",
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        schedule=Cosine(kind="cosine"),
        warmup_iterations=training.warmup,
    )


def _open(folder: Path, recipe: DetectorRecipe) -> None:
    """Make the run folder, or see that it is of the same recipe."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    file = folder / "recipe.yaml"
    if file.is_file():
        if file.read_text() != text:
            raise ValueError(f"{folder} holds a run of another recipe; train into another folder.")
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds other files; train into a new or empty folder.")
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def held_out(recipe: DetectorRecipe, base: Path) -> Iterator[tuple[PictureSource, Pictures]]:
    """The sources of a recipe that hold pictures out, and those pictures."""
    for source in recipe.sources:
        if source.training < 1:
            yield source, split_source(source, base)[1]


def main(
    recipe: Annotated[Path, typer.Argument(help="The recipe, such as recipes/detector.yaml.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; one that was begun is gone on with.")],
) -> None:
    """Train a hand detector.

    Example: python -m knuckle.train.detector recipes/detector.yaml --out runs/detector
    """
    try:
        train_detector(load_detector_recipe(recipe), recipe.parent, out)
    except Interrupted as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(130) from stopped
    except ValueError as error:
        typer.echo(f"knuckle: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"Wrote {out / RESULT}.", err=True)


if __name__ == "__main__":
    typer.run(main)
