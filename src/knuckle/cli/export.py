"""`knuckle export`: a model as an ONNX or OpenVINO file, verified against PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from knuckle.cli.console import print_table, say

FormatName = Literal["auto", "freihand", "rhd", "coco", "labelme", "yolo", "table"]


def export(
    model: Annotated[str, typer.Argument(help="light or light_rendered, a run folder, a .safetensors or .pth file.")],
    out: Annotated[Path, typer.Option(help="The file to write: .onnx, or .xml for OpenVINO.")],
    data: Annotated[
        Path | None, typer.Option(help="Labelled hands to verify on; default: rendered hands, made for it.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="The split of the data set; default: all of it.")] = None,
    format: Annotated[FormatName, typer.Option(help="The data set's format.")] = "auto",
    crops: Annotated[int, typer.Option(min=1, help="Hands to verify on.")] = 100,
    limit: Annotated[
        float | None,
        typer.Option(min=0, help="Crop pixels by which a keypoint may differ at most. Default: 0.01; below fp32, any."),
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "bf16", "int8"],
        typer.Option(help="OpenVINO: fp16 stores half, bf16 also computes so, int8 quantises by other hands."),
    ] = "fp32",
    preset: Annotated[
        Literal["freihand", "rhd"] | None,
        typer.Option(help="What an MMPose checkpoint was trained on, where its name does not say."),
    ] = None,
) -> None:
    """Write a model as an ONNX or OpenVINO file and verify it against PyTorch.

    The file takes crops and gives keypoints with covariance and, for calibrated models, confidence; knuckle predict
    and knuckle evaluate take it as --model, without PyTorch. Both run on the same crops; a keypoint that differs by
    more than --limit is a failure, and no file is left. Below fp32 there is no limit unless given, and the PCK of both
    against the labels says what was lost.

    Example: knuckle export runs/first --out hand.onnx

    Example: knuckle export light --out light.xml --precision int8 --data photos/annotations.json
    """
    from knuckle import export as exporting
    from knuckle.formats import read_checked
    from knuckle.predict.load import read_model, weights_file

    exporting.check_name(out, precision)
    stored = read_model(weights_file(model), preset)
    wanted = 2 * crops if precision == "int8" else crops
    if data is None:
        looked_at = exporting.rendered_crops(stored.spec.rule, wanted)
        what = "rendered hands"
    else:
        hands, _ = read_checked(data, format, split, "stop")
        looked_at = exporting.labelled_crops(stored.spec.rule, hands, wanted)
        what = f"hands of {data}"
    calibration, looked_at = exporting.in_two(looked_at) if precision == "int8" else (None, looked_at)
    most = exporting.LIMIT if limit is None and precision == "fp32" else limit
    found = exporting.export_verified(stored, out, looked_at, most, precision=precision, calibration=calibration)
    print_table(
        (
            "",
            "crops",
            "largest difference [crop px]",
            "median",
            "of covariance",
            "of confidence",
            "of score and side",
            *_pck_titles(),
        ),
        [
            (
                "with flip test" if part.flip_test else "without flip test",
                part.crops,
                f"{part.largest:.2g}",
                f"{part.median:.2g}",
                _or_dash(part.covariance),
                _or_dash(part.confidence),
                _or_dash(part.probability),
                *(f"{ours:.4f} > {theirs:.4f}" for ours, theirs in part.pck.values()),
            )
            for part in found
        ],
        title=f"{out} against PyTorch on {what}",
    )
    size = sum(file.stat().st_size for file in (out, out.with_suffix(".bin")) if file.is_file())
    say(f"Wrote {out}, {size / 2**20:.1f} MiB.")


def _pck_titles() -> list[str]:
    from knuckle.export.verify import PCK_AT

    return [f"PCK@{at:g}, PyTorch > file" for at in PCK_AT]


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
