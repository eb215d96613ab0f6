"""`knuckle quickstart`: a first model in minutes, from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from knuckle.cli.console import progress, say


def quickstart(
    photos: Annotated[list[Path] | None, typer.Argument(help="Photos of hands to try the model on.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to make.")] = Path("runs/quickstart"),
    hands: Annotated[int, typer.Option("--hands", min=100, help="Hands to render.")] = 3000,
    epochs: Annotated[
        int, typer.Option("--epochs", min=1, help="Passes over them; on a slow machine fewer, so that it ends in time.")
    ] = 10,
) -> None:
    """Render hands, train a small network on them, measure it, and show what it finds.

    Takes a few minutes on two CPU cores and needs no download. Ends with a page of pictures and numbers.

    Example: knuckle quickstart my_hand.jpg --out runs/quickstart
    """
    from knuckle.quickstart import Settings
    from knuckle.quickstart import quickstart as run

    settings = Settings(hands=hands, epochs=epochs)
    page = run(out, photos or (), settings=settings, say=say, progress=progress)
    typer.echo(f"Open {page} in a browser.")
