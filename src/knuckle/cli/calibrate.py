"""`knuckle calibrate`: make a model's stated uncertainty true on labelled hands, and measure how true it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from knuckle.cli.console import print_table, progress, say, say_first
from knuckle.cli.uncertainty import print_coverage, print_recognition

if TYPE_CHECKING:
    from knuckle.evaluate.calibration import Measured
    from knuckle.metrics import Calibration

FormatName = Literal["auto", "freihand", "rhd", "coco", "labelme", "yolo", "table"]

MOST_SKIPPED: Final = 5


def calibrate(
    model: Annotated[str, typer.Argument(help="A run folder, .safetensors or .pth file.")],
    data: Annotated[
        Path | None, typer.Argument(help="Labelled hands: half of them fit, the other half measures.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="The split of the data set; default: all of it.")] = None,
    format: Annotated[FormatName, typer.Option(help="The data set's format.")] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="The calibrated model; default: NAME.calibrated.safetensors beside the model."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--json", help="File for all numbers; default: beside the calibrated model.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(help="Other labelled hands, to measure on alone; without DATA nothing is fitted.")
    ] = None,
    no_hands: Annotated[
        Path | None,
        typer.Option(
            "--no-hands",
            help="A folder of pictures without hands, or the annotations of knuckle render --scenes: also fits how "
            "probably a crop shows a hand, and which one.",
        ),
    ] = None,
    at_least: Annotated[
        int | None, typer.Option(min=1, help="Refuse a fitting half of fewer hands; default: 2000.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the split.")] = 0,
    boxes: Annotated[
        Literal["box", "full"] | None,
        typer.Option(help="Cut around the labelled box, or take the full image; default: as the model was trained."),
    ] = None,
    flip_test: Annotated[
        bool, typer.Option("--flip-test", help="Calibrate predictions averaged over each crop and its mirror image.")
    ] = False,
    preset: Annotated[
        Literal["freihand", "rhd"] | None,
        typer.Option(help="What an MMPose checkpoint was trained on, where its name does not say."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1...; default: a GPU where there is one.")] = None,
    on_bad: Annotated[Literal["stop", "skip"], typer.Option(help="What to do with unusable samples.")] = "stop",
) -> None:
    """Make a model's stated uncertainty true, and measure how true it is.

    Splits DATA by group into halves. One fits a scale and regions for each joint and the map to confidence;
    the other one measures them, with 95 % intervals. The calibrated model is written beside the model, and predicts
    with confidence from then on. With --no-hands it also says how probably there is a hand (score), and which one
    (side, side_probability). --check measures a calibrated model on other labels, such as real photos.

    Example: knuckle calibrate runs/first rendered/annotations.json --no-hands scenes/annotations.json
    """
    from knuckle.evaluate import calibration as calibrating
    from knuckle.evaluate import hand_head as recognising
    from knuckle.formats import read_checked
    from knuckle.predict import load
    from knuckle.predict.load import weights_file
    from knuckle.predict.shipped import is_shipped

    if data is None and check is None:
        raise ValueError("there is nothing to do: give DATA to calibrate with, --check OTHER to measure, or both.")
    if data is None and out is not None:
        raise ValueError("--out names the model that is calibrated with DATA: give DATA, or leave out --out.")
    if data is None and no_hands is not None:
        raise ValueError("--no-hands shows what DATA's hands are told from: give DATA, or leave out --no-hands.")
    if is_shipped(model) and data is not None and out is None:
        raise ValueError(f"{model} lies inside the installed package: give --out FILE for the calibrated model.")
    weights = weights_file(model)
    target = out or weights.with_name(f"{weights.stem}.calibrated.safetensors")
    calibrating.check_name(target)
    predictor = load(model, flip_test=flip_test, preset=preset, device=device)
    settings: dict[str, Any] = {"boxes": boxes, "workers": workers, "on_bad": on_bad, "progress": progress}
    numbers: dict[str, Any] = {"model": model, "seed": seed, "flip_test": flip_test}
    parts: dict[str, Measured] = {}
    skipped: list[str] = []
    calibration, head, none = None, None, None
    if data is not None:
        hands, unread = read_checked(data, format, split, on_bad)
        skipped += unread
        bar = calibrating.AT_LEAST if at_least is None else at_least
        if no_hands is not None:
            head, none, unread = recognising.teach(
                predictor, hands, no_hands, seed=seed, workers=workers, on_bad=on_bad, progress=progress
            )
            skipped += unread
        calibration, parts["other half"] = calibrating.calibrate(
            predictor, hands, seed=seed, at_least=bar, none=none, **settings
        )
        calibrating.save_calibrated(weights, calibration, target, preset, head)
        numbers["calibration"] = calibration.to_dict()
    if check is not None:
        hands, unread = read_checked(check, "auto", None, on_bad)
        skipped += unread
        parts["check"] = calibrating.check(predictor, hands, calibration, seed=seed, **settings)
    if record is None and data is not None:
        record = target.with_suffix(".json")
    if record is not None:  # before anything is printed: a reader that hangs up must not cost the files
        numbers |= {name: measured.to_dict() for name, measured in parts.items()} | {"unread": skipped}
        record.write_text(json.dumps(numbers, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    if calibration is not None:
        _print_fit(calibration, calibrating.AT_LEAST)
    titles = {"other half": "On the other half", "check": f"On {check}, where nothing guarantees it"}
    for name, measured in parts.items():
        _print_measured(measured, titles[name])
        skipped += measured.skipped
    say_first(skipped, "Skipped samples, which are not in these numbers", MOST_SKIPPED, "listed in the JSON file")
    for file in (target if data is not None else None, record):
        if file is not None:
            say(f"Wrote {file}.")


def _print_fit(calibration: Calibration, reliable: int) -> None:
    what = (
        "the method's own covariance, scaled"
        if calibration.source == "covariance"
        else "calibration alone, as the method has no covariance: one size of region for each joint"
    )
    few = f", fewer than the {reliable:,} that make it reliable" if calibration.hands < reliable else ""
    typer.echo(f"Fitted on {calibration.hands:,} hands in {calibration.groups:,} groups{few}.")
    typer.echo(f"Uncertainty: {what}.")
    never = sum(scale is None for scale in calibration.scale)
    if never:
        typer.echo(f"Joints without a labelled and predicted keypoint, which state nothing: {never}.")


def _print_measured(measured: Measured, where: str) -> None:
    typer.echo()
    print_coverage(
        f"{where}: {measured.hands:,} hands in {measured.groups:,} groups, share of true keypoints in the regions",
        {
            "own density": measured.density,
            "before": measured.before.gaussian if measured.before is not None else (),
            "scaled": measured.after.gaussian,
            "after": measured.after.conformal,
        },
    )
    rows = []
    for name, one in (("before", measured.before), ("after", measured.after)):
        if one is not None:
            size = one.sharpness[0].radius if one.sharpness else float("nan")
            error = one.expected_calibration_error
            rows.append((name, f"{size:.4f}", "-" if error is None else f"{error:.4f}"))
    typer.echo()
    print_table(("", "radius of the 90 % region / box side", "calibration error of confidence"), rows)
    print_recognition(measured.recognition, measured.refusal)
    if measured.mean_shift is not None:
        x, y = measured.mean_shift
        typer.echo(f"The flow's mean lies {x:+.3f} (x) and {y:+.3f} (y) of its standard deviations from the keypoint.")
    curve = measured.after.risk_coverage
    if curve is not None:
        typer.echo(
            f"Mean error / box side over all shares of the most certain keypoints: {curve.area:.4f} "
            f"(random order {curve.area_random:.4f}, best {curve.area_oracle:.4f})."
        )
