"""`knuckle evaluate`: how good a model, or a file of predictions, is on a data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from knuckle.cli.console import print_table, progress, say, say_first
from knuckle.cli.uncertainty import print_recognition, print_uncertainty

if TYPE_CHECKING:
    from knuckle.evaluate import Report
    from knuckle.metrics import Row

FormatName = Literal["auto", "freihand", "rhd", "coco", "labelme", "yolo", "table"]

MOST_GROUPS: Final = 10
MOST_SKIPPED: Final = 5


def evaluate(
    model: Annotated[str, typer.Argument(help="Run folder, .safetensors, .onnx or .pth file, or predictions.")],
    data: Annotated[Path, typer.Argument(help="The labelled data set.")],
    split: Annotated[str | None, typer.Option(help="The split of the data set; default: all of it.")] = None,
    format: Annotated[FormatName, typer.Option(help="The data set's format.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for tables, predictions and pictures.")] = None,
    boxes: Annotated[
        Literal["box", "full"] | None,
        typer.Option(help="Cut around the labelled box, or take the full image; default: as the model was trained."),
    ] = None,
    flip_test: Annotated[
        bool, typer.Option("--flip-test", help="Average over each crop and its mirror image.")
    ] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1...; default: a GPU where there is one.")] = None,
    on_bad: Annotated[Literal["stop", "skip"], typer.Option(help="What to do with unusable samples.")] = "stop",
) -> None:
    """Measure a model, or a file of predictions, against labelled hands.

    Prints EPE, NME, PCK and AUC with 95 % intervals, per joint and per group, and how far the stated
    uncertainty can be believed; --out also writes every table, each hand's error, the predictions,
    curves and the worst hands as a picture.

    Example: knuckle evaluate runs/first FreiHAND_pub_v2 --split evaluation --out report
    """
    from knuckle import evaluate as evaluation
    from knuckle.formats import read_checked

    true, unread = read_checked(data, format, split, on_bad)
    if len(true) == 0:
        raise ValueError(f"{data} holds no hands to compare with; knuckle inspect {data} shows what was read.")
    if evaluation.holds_predictions(Path(model)):
        compared = evaluation.predictions_from_file(Path(model), true, on_bad)
    else:
        with progress(len(true), "hands") as update:
            compared = evaluation.predictions_of_model(
                model,
                true,
                boxes=boxes,
                flip_test=flip_test,
                workers=workers,
                device=device,
                on_bad=on_bad,
                progress=update,
            )
    report = evaluation.evaluate(
        compared.pred,
        compared.true,
        calibration=compared.calibration,
        skipped=[*unread, *compared.skipped],
    )
    notes = list(compared.notes)
    if out is not None:  # before anything is printed: a reader that hangs up must not cost the files
        notes += evaluation.write_report(report, compared.pred, compared.true, out)
    _print_report(report)
    for note in notes:
        say(note)
    say_first(
        report.skipped,
        "Skipped samples, which are not in these numbers",
        MOST_SKIPPED,
        "listed in skipped.txt with --out",
    )
    if out is not None:
        say(f"Wrote {out}.")


def _print_report(report: Report) -> None:
    print_table(("metric", "value", "95 % interval"), _overall_rows(report), title=_headline(report))
    if report.uncertainty is not None:
        typer.echo()
        print_uncertainty(report.uncertainty)
    print_recognition(report.recognition)
    tables = report.breakdown
    for title, rows in (("Per joint", tables.joints), ("Per finger", tables.fingers)):
        _print_parts(title, rows)
    for title, rows in (
        ("Per side", tables.sides),
        ("Per gesture", tables.gestures),
        ("Per visibility", tables.visibilities),
    ):
        if len(rows) > 1:
            _print_parts(title, rows)
    if len(tables.groups) > 1:
        worst = sorted(tables.groups, key=lambda row: (row.pck, -row.median))[:MOST_GROUPS]
        more = len(tables.groups) - len(worst)
        _print_parts(
            f"Per group, worst first{f' ({more:,} more in per_group.csv)' if more else ''}", worst, example=True
        )


def _headline(report: Report) -> str:
    counts = (
        f"{report.hands:,} hands, {report.images:,} images, {report.groups:,} groups, {report.keypoints:,} keypoints"
    )
    notes = [f"{report.missing:,} without a prediction"] if report.missing else []
    notes += [f"{report.without_extent:,} hands without a box extent"] if report.without_extent else []
    return ", ".join([counts, *notes])


def _overall_rows(report: Report) -> list[tuple[str, str, str]]:
    from knuckle.metrics import MIN_GROUPS

    def interval(name: str, digits: int) -> str:
        bounds = report.intervals[name]
        if math.isnan(bounds.low):
            return f"needs {MIN_GROUPS} groups" if report.groups < MIN_GROUPS else ""
        return f"{bounds.low:.{digits}f} to {bounds.high:.{digits}f}"

    rows = [
        ("EPE [px]", f"{report.epe:.3f}", interval("epe", 3)),
        ("median error [px]", f"{report.median_error:.3f}", ""),
        ("NME (box, over keypoints)", f"{report.nme:.4f}", interval("nme", 4)),
        ("NME (box, within each hand first)", f"{report.nme_hand:.4f}", ""),
        ("PCK@0.2 (box)", f"{report.pck_box_20:.4f}", interval("pck_box_20", 4)),
        ("PCK@0.1 (box)", f"{report.pck_box_10:.4f}", ""),
        ("PCK@0.05 (box)", f"{report.pck_box_05:.4f}", ""),
        ("AUC (MMPose, 0-28.5 px, at most 0.95)", f"{report.auc_mmpose:.4f}", ""),
        ("AUC (hand3d, 0-30 px, at most 1)", f"{report.auc_hand3d:.4f}", ""),
    ]
    if report.missing:
        rows.insert(1, ("EPE of the keypoints found [px]", f"{report.epe_found:.3f}", ""))
    if report.pck_image_20 is not None:
        rows.append(("PCK@0.2 (image)", f"{report.pck_image_20:.4f}", ""))
    return rows


def _print_parts(title: str, rows: Sequence[Row], *, example: bool = False) -> None:
    header = ("part", "hands", "keypoints", "missing", "EPE [px]", "NME", "median [px]", "PCK@0.2")
    cells = [
        (row.name, row.hands, row.keypoints, row.missing, row.epe_found, row.nme_found, row.median, row.pck)
        for row in rows
    ]
    typer.echo()
    if example:
        worst = [(*cell, row.worst_image) for cell, row in zip(cells, rows, strict=True)]
        print_table((*header, "worst image"), worst, title=title)
    else:
        print_table(header, cells, title=title)
