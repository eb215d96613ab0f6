"""`knuckle convert`: from one annotation format to another, and what got lost on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from knuckle.cli.console import print_table, say

if TYPE_CHECKING:
    from knuckle.hands import Hands

MOST_SENTENCES = 20


def convert(
    source: Annotated[Path, typer.Argument(help="File or folder to read.", show_default=False)],
    target: Annotated[Path, typer.Argument(help="File or folder to write.", show_default=False)],
    from_: Annotated[
        str, typer.Option("--from", help="auto, freihand, rhd, coco, labelme, yolo or table.", metavar="FORMAT")
    ] = "auto",
    to: Annotated[
        str,
        typer.Option(help="coco, labelme, yolo, table or freihand; auto judges by the suffix.", metavar="FORMAT"),
    ] = "auto",
    split: Annotated[str | None, typer.Option(help="Only this split of the source.", show_default="all")] = None,
    on_bad: Annotated[str, typer.Option(help="stop at a bad record, or skip it and list it.")] = "stop",
) -> None:
    """Convert annotations to another format, and list what it cannot hold.

    Example: knuckle convert photos/annotations.json labels --to labelme
    """
    from typing import cast

    from knuckle.formats import Format, read_noted, write
    from knuckle.formats.problems import OnBad

    hands, skipped, notes = read_noted(source, cast(Format, from_), split, cast(OnBad, on_bad))
    for sentence in _shortened(skipped):
        say(f"Skipped: {sentence}")
    if not len(hands):
        raise ValueError(f"{source} holds no usable hand, so nothing was written.")
    lost = [*notes, *write(hands, target, cast(Format, to))]
    print_table(("what", "count"), [*_counts(hands), ("skipped records", len(skipped))], title=f"{source} -> {target}")
    if lost:
        typer.echo("\nNot in the target:")
        for sentence in lost:
            typer.echo(f"  {sentence}")


def _counts(hands: Hands) -> list[tuple[str, int]]:
    import numpy as np

    from knuckle.hands import OCCLUDED, UNKNOWN

    return [
        ("hands", len(hands)),
        ("images", len(np.unique(hands.image))),
        ("groups", len(np.unique(hands.group))),
        ("labelled keypoints", int(hands.labeled.sum())),
        ("of them occluded", int((hands.visibility == OCCLUDED).sum())),
        ("hands with a side", int((hands.side != UNKNOWN).sum())),
        ("hands with a gesture", int((hands.gesture != UNKNOWN).sum())),
    ]


def _shortened(sentences: list[str]) -> list[str]:
    hidden = len(sentences) - MOST_SENTENCES
    return sentences if hidden <= 0 else [*sentences[:MOST_SENTENCES], f"{hidden:,} more records."]
