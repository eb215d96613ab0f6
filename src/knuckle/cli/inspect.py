"""`knuckle inspect`: what a data set holds, and which of its labels look wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from knuckle.cli.console import print_table, say, say_first

if TYPE_CHECKING:
    from knuckle.data.inspect import Inspection

FormatName = Literal["auto", "freihand", "rhd", "coco", "labelme", "yolo", "table"]

MOST_KINDS: Final = 8
"""Rows of a table of counts; the rest is summed up in one more."""
MOST_SUSPICIONS: Final = 12
MOST_SKIPPED: Final = 5


def inspect(
    data: Annotated[Path, typer.Argument(help="A file or folder of labelled hands.")],
    format: Annotated[FormatName, typer.Option(help="The data set's format.")] = "auto",
    split: Annotated[str | None, typer.Option(help="Only this split; default: all of them.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for inspect.json, suspicions.csv and pictures.")] = None,
    sheet: Annotated[
        str,
        typer.Option(
            help="Hands to draw into sheet.png: random, worst, all, gesture=6, side=left, group=3, rows=0,5,9."
        ),
    ] = "random",
    count: Annotated[int, typer.Option(min=1, help="Most hands on a sheet.")] = 24,
    images: Annotated[int, typer.Option(min=0, help="Most image files to open in search of copies.")] = 2000,
    gestures: Annotated[
        int,
        typer.Option(min=0, help="Also gestures.html: so many hands of each proposed gesture to confirm or change."),
    ] = 0,
    on_bad: Annotated[Literal["skip", "stop"], typer.Option(help="What to do with records that are broken.")] = "skip",
) -> None:
    """Look at a data set before you trust it.

    Counts hands by split, side, gesture, visibility and group, and ranks labels that look wrong:
    joints in another order, bones too long, points outside the image, copies. --out also writes
    the numbers, every suspicion, a picture of the most suspicious hands and one of any selection.
    --gestures adds a page on which the gestures that keypoints look like are confirmed or changed,
    and saved as a table for knuckle study.

    Example: knuckle inspect photos/annotations.json --out look --sheet side=left --gestures 40
    """
    if gestures and out is None:
        raise ValueError("--gestures writes a page; name its folder with --out.")
    from knuckle.data.inspect import draw_sheet, inspect_data, select, write_inspection
    from knuckle.draw import write_image

    found = inspect_data(data, format, split, on_bad, images)
    if len(found.hands):
        _print_counts(found)
        _print_joints(found)
        _print_suspicions(found)
    for note in found.notes:
        typer.echo(note)
    say_first(found.skipped, "Records that could not be read", MOST_SKIPPED, "listed in inspect.json with --out")
    if len(found.hands) == 0:
        raise ValueError(f"{data} holds no usable hand.")
    if out is None:
        return
    write_inspection(found, out)
    warning = f"WRONG JOINT ORDER, LOOKS LIKE {found.order.best}: " if found.order.wrong else ""
    rows = select(sheet, found.hands, found.suspicions, count)
    write_image(out / "sheet.png", draw_sheet(found.hands, rows, found.suspicions, f"{warning}{data.name}, {sheet}"))
    if found.suspicions:
        rows = select("worst", found.hands, found.suspicions, count)
        title = f"{warning}{data.name}, the most suspicious hands"
        write_image(out / "suspicious.png", draw_sheet(found.hands, rows, found.suspicions, title))
    if gestures:
        from knuckle.study.gesture_page import write_gesture_page

        for note in write_gesture_page(found.hands, out / "gestures.html", f"Gestures of {data.name}", gestures):
            say(note)
    say(f"Wrote {out}.")


def _print_counts(found: Inspection) -> None:
    counts, groups = found.counts, found.counts["groups"]
    sizes = f"{groups['smallest']} to {groups['largest']} hands, median {groups['median']:g}"
    title = f"{counts['hands']:,} hands on {counts['images']:,} images in {groups['number']:,} groups ({sizes})"
    tables: dict[str, dict[str, int]] = {
        "split": found.split_sizes,
        **{name: counts[name] for name in ("side", "gesture", "image size", "labeled joints")},
    }
    rows = [(name, kind, number) for name, table in tables.items() for kind, number in _shortened(table)]
    print_table(("what", "kind", "hands"), rows, title=title)


def _shortened(table: dict[str, int]) -> list[tuple[str, int]]:
    entries = list(table.items())
    rest = entries[MOST_KINDS:]
    return entries[:MOST_KINDS] + ([(f"{len(rest)} more", sum(number for _, number in rest))] if rest else [])


def _print_joints(found: Inspection) -> None:
    """One line a joint, and only where joints differ from each other."""
    visibility: dict[str, Any] = found.counts["visibility"]
    if len({tuple(numbers.values()) for numbers in visibility.values()}) == 1:
        visibility = {"every joint": next(iter(visibility.values()))}
    typer.echo()
    print_table(
        ("joint", "visible", "occluded", "unlabeled"),
        [(name, *numbers.values()) for name, numbers in visibility.items()],
    )


def _print_suspicions(found: Inspection) -> None:
    if not found.suspicions:
        typer.echo("\nNo label looks suspicious.\n")
        return
    typer.echo()
    print_table(
        ("row", "image", "score", "why"),
        [
            (entry.row, Path(str(found.hands.image[entry.row])).name, f"{entry.score:.1f}", entry.sentence)
            for entry in found.suspicions[:MOST_SUSPICIONS]
        ],
        title=f"Suspicious labels, the worst first: {len(found.suspicions):,}",
    )
    typer.echo()
