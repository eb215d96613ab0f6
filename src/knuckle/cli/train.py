"""`knuckle train`: a recipe in, a trained and measured model out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from knuckle.cli.console import print_table, say

INTERRUPTED = 130


def train(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file; recipes/ holds some.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the run: models, curves, numbers.")] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Go on from this model, with its network and crops: a run folder, .safetensors or MMPose .pth file, "
            "or a shipped name; short for --set start=...",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Change a field of the recipe: --set train.epochs=5. Repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped or killed.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Read the data, build the model, take one step, write nothing. Looks at --out, if given."
        ),
    ] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, mps, cuda, cuda:1...; short for --set device=...")
    ] = None,
) -> None:
    """Train a model as a recipe says, validating as it goes.

    The run folder holds best.safetensors, last.safetensors, metrics.jsonl, curves.png and all that is
    needed to resume and to repeat the run. Ctrl-C saves before it stops; --resume continues.

    On several GPUs: torchrun --nproc-per-node 4 -m knuckle train ...

    Example: knuckle train recipes/photos_from_scratch.yaml --set data.path=my_photos --out runs/photos

    Example: knuckle train --from runs/photos recipes/photos.yaml --set data.path=labels.json --out runs/mine
    """
    from knuckle.train.recipe import load_recipe

    given = [*(overrides or []), *([f"device={device}"] if device else [])]
    if start is not None:
        given.append(f"start={json.dumps(start)}")  # a JSON text is a YAML text, whatever signs a path has
    checked = load_recipe(recipe, given)
    leads = os.environ.get("RANK", "0") == "0"  # torchrun starts this in several processes: one of them talks
    if dry_run:
        from knuckle.train.dry_run import dry_run as rehearse

        told = rehearse(checked, out, resume=resume)
        if leads:
            print_table(("what", "value"), told, title=f"Dry run of {recipe}")
        return
    if out is None:
        raise typer.BadParameter("name a folder for the run: --out runs/NAME.", param_hint="--out")
    from knuckle.train import Interrupted
    from knuckle.train import train as run
    from knuckle.train.start import leaves_something_behind

    behind = checked.start is not None and leaves_something_behind(checked.start)
    try:
        run(checked, out, resume=resume)
    except Interrupted as stopped:
        if leads:
            say(str(stopped))
        raise typer.Exit(INTERRUPTED) from None
    if leads:
        say(f"Wrote {out}.")
        if behind:
            say(
                f"Calibration and hand head of {checked.start} belong to its old weights: without new ones the "
                "model says no confidence and no side, and finds hands worse; "
                f"knuckle calibrate {out} LABELS --no-hands PICTURES gives them (docs/label.md)."
            )
