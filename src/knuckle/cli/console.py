"""What the verbs print: tables to stdout, sentences to stderr, progress as a bar or as plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import typer

SECONDS_BETWEEN_LINES: Final = 10.0
"""How often progress writes a line where there is no terminal to draw a bar on."""


def say(sentence: str) -> None:
    """One sentence to stderr, so that it never mixes with results on stdout."""
    typer.echo(sentence, err=True)


def say_first(sentences: Sequence[str], heading: str, most: int, rest_is: str) -> None:
    """A heading with the number of sentences, the first few, and where the rest is; nothing where there are none."""
    if not sentences:
        return
    say(f"{heading}: {len(sentences):,}")
    for sentence in sentences[:most]:
        say(f"  {sentence}")
    if len(sentences) > most:
        say(f"  ... and {len(sentences) - most:,} more, {rest_is}.")


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """A table in aligned columns to stdout: numbers to the right, text to the left.

    Floats are printed with four significant digits; format them yourself for another precision.
    """
    lines = [[str(name) for name in header], *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    numeric = [all(isinstance(row[column], int | float) for row in rows) for column in range(len(header))]
    if title:
        typer.echo(title)
    for number, line in enumerate(lines):
        cells = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        )
        typer.echo("  ".join(cells).rstrip())
        if number == 0:
            typer.echo("  ".join("-" * width for width in widths))


@contextmanager
def progress(total: int | None, what: str) -> Iterator[Callable[[int], None]]:
    """A progress display on stderr for the duration of the block.

    On a terminal it is a bar; elsewhere a plain line at most every ten seconds, fit for a log.

    Args:
        total: how many there will be, or None where nobody knows.
        what: what is counted, in the plural: "images".

    Yields:
        A function to call with the number done so far.
    """
    if sys.stderr.isatty():
        with _bar(total, what) as update:
            yield update
    else:
        yield _line_writer(total, what)


@contextmanager
def _bar(total: int | None, what: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _line_writer(total: int | None, what: str) -> Callable[[int], None]:
    last = time.monotonic()

    def update(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            say(f"{done:,} {what}" if total is None else f"{done:,} of {total:,} {what}")

    return update


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
