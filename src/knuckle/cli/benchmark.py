"""`knuckle benchmark`: how long prediction takes on this machine, stage by stage."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from knuckle.cli.console import print_table, progress, say

if TYPE_CHECKING:
    from knuckle.benchmark.run import Result


def benchmark(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="light or light_rendered, run folders, .safetensors, .onnx or .xml files. Default: light."),
    ] = None,
    photos: Annotated[
        list[str] | None, typer.Option("--photos", help="Photos, folders or patterns. Default: made, 640 x 480.")
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option("--boxes", help="File of boxes for --photos. Default: the detector looks for them.")
    ] = None,
    hands: Annotated[int, typer.Option("--hands", min=1, help="Hands a frame on the pictures that are made.")] = 1,
    engine: Annotated[
        list[str] | None,
        typer.Option("--engine", help="onnxruntime, openvino, torch; repeatable. Default: all there are."),
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option("--threads", min=1, help="Repeatable. Default: 1 and one a core.")
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=2, help="Frames that are timed.")] = 200,
    warm_up: Annotated[int, typer.Option("--warm-up", min=0, help="Frames before them, which are not.")] = 20,
    flip_test: Annotated[bool, typer.Option("--flip-test", help="With each hand's mirror image, too.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="File for the same numbers as JSON.")] = None,
) -> None:
    """Time every stage of prediction, for each engine and number of threads, on one frame after the other.

    Each line of the table was measured in a process of its own. A cell is the median and the 95th percentile in
    milliseconds; "whole" goes from the file to the drawn picture and is timed by itself.

    Example: knuckle benchmark

    Example: knuckle benchmark light runs/mine --photos photos --boxes boxes.csv --threads 2 --out speed.json
    """
    from knuckle.benchmark.machine import is_busy, machine, usable_cores
    from knuckle.benchmark.pictures import boxes_of, make_pictures
    from knuckle.benchmark.run import ENGINES, measure_all, variants
    from knuckle.predict.boxes import match_boxes, read_boxes
    from knuckle.predict.sources import find_images

    if boxes is not None and not photos:
        raise ValueError("--boxes is for --photos; pictures that are made have boxes of their own.")
    engines = [name for name in ENGINES if engine is None or name in engine]
    if len(engines) < len(engine or []):
        raise ValueError(f"--engine is one of {', '.join(ENGINES)}, and each once, got {', '.join(engine or [])}.")
    counts = sorted(set(threads or [1, usable_cores()]))
    ran_on = machine()
    with TemporaryDirectory() as name:
        folder = Path(name)
        if photos:
            images = find_images(photos)
            places: Any = dict.fromkeys(images) if boxes is None else match_boxes(images, read_boxes(boxes))
            frames = [(image, own) for image, own in places.items() if own is None or len(own)]
            if not frames:
                raise ValueError(f"{boxes} has no box on any of the {len(images)} photos.")
        else:
            frames = [(image, boxes_of(hands)) for image in make_pictures(folder)]
        found = [variant for model in models or ["light"] for variant in variants(model, engines, folder)]
        with progress(len(found) * len(counts), "measurements") as update:
            results = measure_all(
                found,
                frames,
                counts,
                repeats=repeats,
                warm_up=warm_up,
                flip_test=flip_test,
                detect=boxes is None,
                progress=update,
            )
    missing = [variant.missing for variant in found if variant.missing]
    if out is not None:
        content = {
            "machine": ran_on,
            "frames": {"count": len(frames), "made": not photos, "hands": [_count(own) for _, own in frames]},
            "settings": {"repeats": repeats, "warm_up": warm_up, "flip_test": flip_test},
            "milliseconds": [result.to_dict() for result in results],
            "not_measured": missing,
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _print(
        results, f"Milliseconds a frame, median / 95th percentile, on {ran_on['cores']} cores of {ran_on['processor']}"
    )
    for sentence in missing:
        say(f"Not measured: {sentence}.")
    if is_busy(ran_on):
        say(
            f"Other programs ran (load average {ran_on['load_average']:.1f}): on a quiet machine the numbers are lower."
        )
    if out is not None:
        say(f"Wrote {out}.")


def _count(boxes: Any) -> int:
    return 1 if boxes is None else len(boxes)


def _print(results: list[Result], title: str) -> None:
    from knuckle.benchmark.stages import STAGES

    stages = [stage for stage in STAGES if any(stage in result.stages for result in results)]
    rows = [
        (
            result.model,
            result.engine,
            result.threads,
            *(f"{result.stages[stage].p50:.2f} / {result.stages[stage].p95:.2f}" for stage in stages),
        )
        for result in results
    ]
    print_table(("model", "engine", "threads", *stages), rows, title=title)
