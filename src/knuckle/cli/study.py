"""`knuckle study`: the empirical study's protocol on a base data set, own photos and a model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from knuckle.cli.console import print_table, progress, say, say_first

if TYPE_CHECKING:
    from knuckle.study.design import Imbalance
    from knuckle.study.run import Study

FormatName = Literal["auto", "freihand", "rhd", "coco", "labelme", "yolo", "table"]

MOST_SENTENCES: Final = 5


def study(
    base: Annotated[Path, typer.Option(help="The data set that hands of each gesture are drawn from.")],
    own: Annotated[Path, typer.Option(help="Folder of own photos with Labelme files.")],
    model: Annotated[str, typer.Option(help="A run folder, .safetensors or .pth file.")],
    out: Annotated[Path, typer.Option(help="New folder for lists, tables and pictures.")],
    base_format: Annotated[FormatName, typer.Option(help="The base data set's format.")] = "auto",
    split: Annotated[str | None, typer.Option(help="The split of the base data set; default: all of it.")] = None,
    base_gestures: Annotated[
        str, typer.Option(help="Gestures of base hands: labels, folder, propose, or a path of lists or a table.")
    ] = "labels",
    own_gestures: Annotated[
        str, typer.Option(help="Gestures of own photos: labels, folder, propose, or a path of lists or a table.")
    ] = "labels",
    base_lists: Annotated[Path | None, typer.Option(help="Replay these lists of base hands: no draw.")] = None,
    own_lists: Annotated[Path | None, typer.Option(help="Replay these lists of own photos: no draw.")] = None,
    per_class: Annotated[int, typer.Option(min=1, help="Base hands of each class, hypothesis 1.")] = 20,
    h2_per_class: Annotated[int, typer.Option(min=1, help="Base hands of each class, hypothesis 2.")] = 5,
    own_per_class: Annotated[int, typer.Option(min=0, help="Own hands of each class at most; 0: all.")] = 2,
    classes: Annotated[str, typer.Option(help="Which classes, such as 0,6,12-15.")] = "0-24",
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    resize: Annotated[
        Literal["244", "224", "none"], typer.Option(help="Side that own photos are resized to, pixels.")
    ] = "244",
    own_crop: Annotated[
        Literal["paper", "right"], typer.Option(help="Crop own photos as if they had 224 px, or as they are.")
    ] = "paper",
    flip_test: Annotated[
        bool, typer.Option("--flip-test", help="Average over each crop and its mirror image.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1...; default: a GPU where there is one.")] = None,
    on_bad: Annotated[Literal["stop", "skip"], typer.Option(help="What to do with unusable records.")] = "stop",
) -> None:
    """Compare a model on hands of every gesture with and without own photos, as the empirical study does.

    Prints the frames of both hypotheses, the paper's verdicts by the paper's rules, and what the crop of
    MMPose's loader does to own photos; --out gets every number, the lists and Figures 4 to 10.

    Example: knuckle study --base FreiHAND_pub_v2 --base-gestures lists --own photos --own-gestures folder
    --model res50_freihand_224x224.pth --flip-test --out study
    """
    from knuckle.study.results import filling, write_study
    from knuckle.study.run import Options, run_study
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
    )
    with filling(out) as folder:
        with progress(None, "hands") as update:
            found = run_study(plan, folder, Options(flip_test, device, workers, on_bad), update)
        notes = write_study(found, folder)  # before anything is printed: a reader that hangs up must not cost the files
    _print_study(found)
    for note in (*found.notes, *notes):
        say(note)
    say_first(found.samples.findings, "Missing or odd in own photos", MOST_SENTENCES, "listed in findings.txt")
    say_first(found.skipped, "Skipped, and in no number", MOST_SENTENCES, "listed in skipped.txt")
    say(f"Wrote {out}.")


def _print_study(found: Study) -> None:
    from knuckle.study.gestures import NUMBERING_NOTE
    from knuckle.study.hypotheses import H1_WORDS, H2_WORDS

    samples = found.samples
    _print_imbalance({"base": samples.base_imbalance, "own": samples.own_imbalance})
    typer.echo()
    print_table(
        ("set", "hands", "AUC", "EPE [px]", "PCK@0.2 (224 px)"),
        [
            (row["set"], row["hands"], *_signed(row["set"] == "difference", row, ("auc", "epe", "pck")))
            for row in found.h1.rows()
        ],
        title="Hypothesis 1",
    )
    typer.echo(H1_WORDS)
    typer.echo()
    records = [row.record() for row in found.h2.rows]
    print_table(
        ("class", "base", "own", "AUC base", "base + own", "diff", "EPE base", "base + own", "diff", "by the rule"),
        [
            (
                f"{record['class']:>2} {record['name']}",
                record["base_hands"],
                record["own_hands"],
                *(text for metric in ("auc", "epe") for text in _three(record, metric)),
                record["finding"],
            )
            for record in records
        ],
        title="Hypothesis 2",
    )
    typer.echo(H2_WORDS)
    typer.echo(found.h2.verdict())
    typer.echo(NUMBERING_NOTE)
    if found.crops is not None:
        typer.echo()
        typer.echo("The crop of own photos")
        for sentence in found.crops.sentences():
            typer.echo(sentence)


def _print_imbalance(sets: dict[str, Imbalance]) -> None:
    print_table(
        ("set", "hands", "without a gesture", "classes", "effective classes", "chi-square", "p"),
        [
            (
                name,
                sum(found.counts),
                found.unlabeled,
                sum(count > 0 for count in found.counts),
                f"{found.effective_classes:.1f} of 25",
                f"{found.chi_square:.1f}",
                f"{found.p_value:.2g}",
            )
            for name, found in sets.items()
        ],
        title="Balance of what was read, before the draw",
    )


def _signed(with_sign: bool, row: dict[str, float], metrics: tuple[str, ...]) -> list[str]:
    digits = {"auc": 4, "epe": 3, "pck": 4}
    return [f"{row[metric]:{'+' if with_sign else ''}.{digits[metric]}f}" for metric in metrics]


def _three(record: dict[str, float], metric: str) -> tuple[str, str, str]:
    """Base, base + own and the difference."""
    digits = 4 if metric == "auc" else 3
    return (
        f"{record[f'{metric}_base']:.{digits}f}",
        f"{record[f'{metric}_base_own']:.{digits}f}",
        "" if math.isnan(record[f"{metric}_difference"]) else f"{record[f'{metric}_difference']:+.{digits}f}",
    )
