"""`knuckle render`: a labelled data set of rendered hands, made on the spot."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from knuckle.benchmark.machine import usable_cores
from knuckle.cli.console import print_table, progress, say

if TYPE_CHECKING:
    from knuckle.render import SceneConfig

_MANY = 300
"""Pictures below which processes cost more time to start than they save."""


def render(
    count: Annotated[int, typer.Option("--count", min=1, help="How many pictures.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; an interrupted one is gone on with.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed, other hands.")] = 0,
    size: Annotated[
        int | None,
        typer.Option("--size", min=16, max=4096, help="Side of the pictures in pixels. Default: 256; of scenes 512."),
    ] = None,
    scenes: Annotated[
        bool, typer.Option("--scenes", help="Whole scenes with none to four hands, to train detectors on.")
    ] = False,
    gestures: Annotated[
        str | None,
        typer.Option(
            "--gestures",
            help="Shares of gestures by name or number, the others share the rest evenly: fist:0.5,ok:0.1",
        ),
    ] = None,
    exclude: Annotated[
        str | None, typer.Option("--exclude", help="Gestures, by name or number, that never appear: fist,claw")
    ] = None,
    poses: Annotated[
        str | None,
        typer.Option(
            "--poses",
            help="Shares of gesture, interpolation, synergy and fingers (gestures of which single fingers do something "
            "else); the others keep their proportions: fingers:0.5",
        ),
    ] = None,
    views: Annotated[
        str | None,
        typer.Option("--views", help="Shares of egocentric, facing, overhead and oblique, likewise: overhead:0.5"),
    ] = None,
    backgrounds: Annotated[
        Path | None, typer.Option("--backgrounds", help="Folder of photos without hands; default: made by code.")
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1... Default: a GPU if any.")] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, help="Pictures that are rendered together. Default: 32; of scenes 8."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=0, help="Processes side by side, 0 for none. Default: on a CPU one a core, if it pays."
        ),
    ] = None,
) -> None:
    """Render hands with exact labels: pictures, COCO and CSV annotations, and a contact sheet.

    Picture number i of a seed is always the same, so the same command goes on after an interruption, and a
    larger --count adds to a finished folder.

    Example: knuckle render --count 1000 --out rendered
    """
    from knuckle.render.folder import render_folder, render_scenes_folder

    config = _config(gestures or "", exclude or "", poses or "", views or "", backgrounds)
    size, batch = size or (512 if scenes else 256), batch or (8 if scenes else 32)
    fill = render_scenes_folder if scenes else render_folder
    start = time.perf_counter()
    with progress(count, "pictures") as update:
        hands, new = fill(
            out,
            count,
            seed,
            size,
            config=config,
            device=device,
            batch=batch,
            workers=_workers(count, device) if workers is None else workers,
            progress=update,
        )
    speed = new / (time.perf_counter() - start)
    shares = [f"{(hands.visibility == value).mean():.1%}" if len(hands) else "" for value in (2, 1, 0)]
    print_table(
        ("hands", "rendered now", "pictures/s", "visible", "hidden", "outside"), [(len(hands), new, speed, *shares)]
    )
    say(f"Wrote {out}; look at {out / 'contact_sheet.png'}.")


def _workers(count: int, device: str | None) -> int:
    """One process a core where a CPU renders so many pictures that it pays, else none."""
    import torch

    on_gpu = torch.cuda.is_available() if device is None else device != "cpu"
    return 0 if on_gpu or count < _MANY else usable_cores()


def _config(gestures: str, exclude: str, poses: str, views: str, backgrounds: Path | None) -> SceneConfig:
    from dataclasses import replace

    from knuckle.render import SceneConfig
    from knuckle.render.backgrounds import Photos
    from knuckle.render.config import parse_views
    from knuckle.render.poses import PoseMix, parse_gesture, parse_gestures, parse_kinds

    excluded = frozenset(parse_gesture(name) for name in exclude.split(",") if name.strip())
    mix = PoseMix(weights=parse_gestures(gestures), exclude=excluded, **parse_kinds(poses))
    config = SceneConfig(poses=mix, viewpoints=parse_views(views))
    if backgrounds is None:
        return config
    photos = Photos(backgrounds.resolve())
    _ = photos.files  # an empty folder is an error before the first hand is rendered
    return replace(config, backgrounds=photos)
