"""The command `knuckle`: one file a verb; this one registers them and turns errors into one sentence.

Verbs import what they need inside their functions, so that `knuckle --help` stays quick.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

import knuckle
from knuckle.cli.benchmark import benchmark
from knuckle.cli.calibrate import calibrate
from knuckle.cli.console import say
from knuckle.cli.convert import convert
from knuckle.cli.doctor import doctor
from knuckle.cli.evaluate import evaluate
from knuckle.cli.export import export
from knuckle.cli.inspect import inspect
from knuckle.cli.label import label
from knuckle.cli.predict import predict
from knuckle.cli.quickstart import quickstart
from knuckle.cli.render import render
from knuckle.cli.serve import serve
from knuckle.cli.study import study
from knuckle.cli.train import train

INTERRUPTED: Final = 130
BAD_INPUT: Final = 2
FAILURE: Final = 1

# click's UsageError, which some releases of typer bundle and others import.
_UsageError: Any = typer.BadParameter.__bases__[0]


@dataclass
class Settings:
    """Flags given before the verb.

    Attributes:
        debug: show the traceback of an error.
    """

    debug: bool = False


app = typer.Typer(
    name="knuckle",
    help="Finds the 21 keypoints of a hand in photos, and trains and measures the models that do.",
    epilog="Each verb explains itself: knuckle predict --help",
    add_completion=False,
    rich_markup_mode=None,  # plain text wraps by itself, and takes patterns like **/*.jpg as they are
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"knuckle {knuckle.__version__}")
        raise typer.Exit


@app.callback()
def _before_the_verb(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if isinstance(context.obj, Settings):
        context.obj.debug = debug


VERBS: Final = (
    *(quickstart, render, convert, inspect, train, evaluate, calibrate, export),
    *(predict, label, serve, study, benchmark, doctor),
)
for verb in VERBS:
    app.command()(verb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code: 0, 2 for bad input, 1 for failure, 130 for Ctrl-C.

    Args:
        arguments: what follows `knuckle`; None takes the process's own.
    """
    settings = Settings()
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = app(given, prog_name="knuckle", standalone_mode=False, obj=settings)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if settings.debug:
            traceback.print_exc()
        say(sentence_of(error))
        return BAD_INPUT if isinstance(error, (ValueError, _UsageError)) else FAILURE
    if code == INTERRUPTED:
        say("Interrupted.")
    return code if isinstance(code, int) else 0


def sentence_of(error: Exception) -> str:
    """What the user reads of an error, on one line."""
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("knuckle"):
        package = error.name.partition(".")[0]
        return f"Error: this needs {package}, which is not installed: pip install 'knuckle[train]'."
    if isinstance(error, _UsageError):
        verb = error.ctx.command_path if error.ctx else "knuckle"
        text = f"{error.format_message().rstrip('.')}. See {verb} --help."
    elif isinstance(error, (ValueError, ImportError)):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror or error}."
    else:
        text = f"{type(error).__name__}: {error} (knuckle --debug VERB ... shows where)."
    # A recipe's faults come one a line; within a line, whatever a library wrapped is put together again.
    return "Error: " + "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
