"""`knuckle study`: a model on base hands and own photos by the empirical study's protocol, or two models compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from knuckle.cli.console import progress, say, say_first
from knuckle.cli.study_tables import print_comparison, print_study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from knuckle.study.comparing import Question
    from knuckle.study.run import Options

FormatName = Literal["auto", "freihand", "rhd", "coco", "labelme", "yolo", "table"]

MOST_SENTENCES: Final = 5
ONE_MODEL: Final = "One model on base hands and own photos"
TWO_MODELS: Final = "Two models on the same hands, instead"
MODEL_HELP: Final = "light, light_rendered, a run folder, or a .safetensors, .onnx, .xml or .pth file."
ONE_MODEL_OPTIONS: Final = (
    "base",
    "own",
    "model",
    "own_gestures",
    "base_lists",
    "own_lists",
    "per_class",
    "h2_per_class",
    "own_per_class",
    "classes",
    "resize",
    "own_crop",
    "training",
)
"""What --compare has no use for."""


def study(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="New folder for the report, tables and pictures.")],
    base: Annotated[
        Path | None,
        typer.Option(help="The data set that hands of each gesture are drawn from.", rich_help_panel=ONE_MODEL),
    ] = None,
    own: Annotated[
        Path | None, typer.Option(help="Folder of own photos with Labelme files.", rich_help_panel=ONE_MODEL)
    ] = None,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP, rich_help_panel=ONE_MODEL)] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Two models, or files of their predictions.", rich_help_panel=TWO_MODELS),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labels that both are compared on; --base-format, --split and --base-gestures are about them.",
            rich_help_panel=TWO_MODELS,
        ),
    ] = None,
    base_format: Annotated[FormatName, typer.Option(help="The base data set's format.")] = "auto",
    split: Annotated[str | None, typer.Option(help="The split of the base data set; default: all of it.")] = None,
    base_gestures: Annotated[
        str, typer.Option(help="Gestures of base hands: labels, folder, propose, or a path of lists or a table.")
    ] = "labels",
    own_gestures: Annotated[
        str,
        typer.Option(
            help="Gestures of own photos: labels, folder, propose, or a path of lists or a table.",
            rich_help_panel=ONE_MODEL,
        ),
    ] = "labels",
    base_lists: Annotated[
        Path | None, typer.Option(help="Replay these lists of base hands: no draw.", rich_help_panel=ONE_MODEL)
    ] = None,
    own_lists: Annotated[
        Path | None, typer.Option(help="Replay these lists of own photos: no draw.", rich_help_panel=ONE_MODEL)
    ] = None,
    per_class: Annotated[
        int, typer.Option(min=1, help="Base hands of each class, hypothesis 1.", rich_help_panel=ONE_MODEL)
    ] = 20,
    h2_per_class: Annotated[
        int, typer.Option(min=1, help="Base hands of each class, hypothesis 2.", rich_help_panel=ONE_MODEL)
    ] = 5,
    own_per_class: Annotated[
        int, typer.Option(min=0, help="Own hands of each class at most; 0: all.", rich_help_panel=ONE_MODEL)
    ] = 2,
    classes: Annotated[str, typer.Option(help="Which classes, such as 0,6,12-15.", rich_help_panel=ONE_MODEL)] = "0-24",
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    resize: Annotated[
        Literal["244", "224", "none"],
        typer.Option(help="Side that own photos are resized to, pixels.", rich_help_panel=ONE_MODEL),
    ] = "244",
    own_crop: Annotated[
        Literal["paper", "right"],
        typer.Option(help="Crop own photos as if they had 224 px, or as they are.", rich_help_panel=ONE_MODEL),
    ] = "paper",
    flip_test: Annotated[
        bool, typer.Option("--flip-test", help="Average over each crop and its mirror image.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1...; default: a GPU where there is one.")] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            min=0, help="Difference of EPE in pixels that counts as none; default: 5 % of the EPE of base or B."
        ),
    ] = None,
    training: Annotated[
        Path | None,
        typer.Option(help="Labels that the model learnt from: error against share.", rich_help_panel=ONE_MODEL),
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also in harder pictures: 51 times as many predictions.")
    ] = False,
    on_bad: Annotated[Literal["stop", "skip"], typer.Option(help="What to do with unusable records.")] = "stop",
) -> None:
    """What a model fails on, and what the evidence for that is: on hands of every gesture, with and without own photos.

    With --base, --own and --model it follows the empirical study: the frames of both hypotheses, the paper's verdicts
    by the paper's rules, what the crop of MMPose's loader does to own photos; then own against base itself, with
    intervals, tests and power. With --compare A B --data LABELS it compares two models on the same hands, paired.
    Either way --out gets report.html, every number as CSV and JSON, and the pictures.

    Example: knuckle study --base FreiHAND_pub_v2 --base-gestures lists --own photos --own-gestures folder
    --model res50_freihand_224x224.pth --flip-test --out study

    Example: knuckle study --compare runs/old runs/new --data FreiHAND_pub_v2 --split evaluation --out compared
    """
    from knuckle.study.run import Options

    options = Options(flip_test, device, workers, on_bad, robustness)
    if compare is not None:
        _refuse_options_of_one_model(context)
        if data is None:
            raise ValueError("--compare takes two models and --data with the hands' labels; name these with --data.")
        from knuckle.study.comparing import Question

        _compare(Question(*compare, data, base_format, split, base_gestures, margin, seed), options, out)
        return
    if base is None or own is None or model is None:
        raise ValueError("a study takes --base, --own and --model, or else --compare A B with --data.")
    if data is not None:
        raise ValueError("--data belongs to --compare; name the base data set with --base.")
    from knuckle.study.results import filling, write_study
    from knuckle.study.run import run_study
    from knuckle.study.samples import Plan, parse_classes

    plan = Plan(
        base=base,
        own=own,
        model=model,
        base_format=base_format,
        split=split,
        base_gestures=base_gestures,
        own_gestures=own_gestures,
        base_lists=base_lists,
        own_lists=own_lists,
        per_class=per_class,
        h2_per_class=h2_per_class,
        own_per_class=own_per_class,
        classes=parse_classes(classes),
        seed=seed,
        resize=None if resize == "none" else int(resize),
        own_crop=own_crop,
        margin=margin,
        training=training,
    )
    with filling(out) as folder:
        with progress(None, "hands") as update:
            found = run_study(plan, folder, options, update)
        notes = write_study(found, folder)  # before anything is printed: a reader that hangs up must not cost the files
    print_study(found)
    _say_rest(out, (*found.notes, *notes), found.samples.findings, found.skipped)


def _refuse_options_of_one_model(context: typer.Context) -> None:
    """Options that would change nothing are an error, not a silence."""
    sources = {name: context.get_parameter_source(name) for name in ONE_MODEL_OPTIONS}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(
            "--compare takes two models and --data with the hands' labels; leave out what belongs to the study of one "
            f"model: {listed}."
        )


def _compare(question: Question, options: Options, out: Path) -> None:
    from knuckle.study.comparing import run_comparison, write_comparison
    from knuckle.study.results import filling

    with filling(out) as folder:
        with progress(None, "hands") as update:
            result = run_comparison(question, options, update)
        notes = write_comparison(result, folder)
    print_comparison(result)
    _say_rest(out, (*result.notes, *notes), (), result.skipped)


def _say_rest(out: Path, notes: Sequence[str], findings: Sequence[str], skipped: Sequence[str]) -> None:
    for note in notes:
        say(note)
    say_first(findings, "Missing or odd in own photos", MOST_SENTENCES, "listed in findings.txt")
    say_first(skipped, "Skipped, and in no number", MOST_SENTENCES, "listed in skipped.txt")
    say(f"Wrote {out}; open {out / 'report.html'}.")
