"""`knuckle export`: a model as an ONNX file, verified against PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from knuckle.cli.console import print_table, say

FormatName = Literal["auto", "freihand", "rhd", "coco", "labelme", "yolo", "table"]


def export(
    model: Annotated[str, typer.Argument(help="A run folder, .safetensors or .pth file.")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    data: Annotated[
        Path | None, typer.Option(help="Labelled hands to verify on; default: rendered hands, made for it.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="The split of the data set; default: all of it.")] = None,
    format: Annotated[FormatName, typer.Option(help="The data set's format.")] = "auto",
    crops: Annotated[int, typer.Option(min=1, help="Hands to verify on.")] = 100,
    limit: Annotated[float, typer.Option(min=0, help="Crop pixels by which a keypoint may differ at most.")] = 0.01,
    preset: Annotated[
        Literal["freihand", "rhd"] | None,
        typer.Option(help="What an MMPose checkpoint was trained on, where its name does not say."),
    ] = None,
) -> None:
    """Write a model as an ONNX file and verify it against PyTorch.

    The file takes crops and gives keypoints with covariance and, for calibrated models, confidence; knuckle predict
    and knuckle evaluate take it as --model, without PyTorch. Both run on the same crops; a keypoint that differs by
    more than --limit is a failure, and no file is left.

    Example: knuckle export runs/first --out hand.onnx
    """
    from knuckle import export as exporting
    from knuckle.formats import read_checked
    from knuckle.predict.load import read_model, weights_file

    exporting.check_name(out)
    stored = read_model(weights_file(Path(model)), preset)
    if data is None:
        looked_at = exporting.rendered_crops(stored.spec.rule, crops)
        what = "rendered hands"
    else:
        hands, _ = read_checked(data, format, split, "stop")
        looked_at = exporting.labelled_crops(stored.spec.rule, hands, crops)
        what = f"hands of {data}"
    found = exporting.export_verified(stored, out, looked_at, limit)
    print_table(
        ("", "crops", "largest difference [crop px]", "median", "of covariance", "of confidence", "of score and side"),
        [
            (
                "with flip test" if part.flip_test else "without flip test",
                part.crops,
                f"{part.largest:.2g}",
                f"{part.median:.2g}",
                _or_dash(part.covariance),
                _or_dash(part.confidence),
                _or_dash(part.probability),
            )
            for part in found
        ],
        title=f"{out} against PyTorch on {what}",
    )
    say(f"Wrote {out}, {out.stat().st_size / 2**20:.1f} MiB.")


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
