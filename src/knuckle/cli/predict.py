"""`knuckle predict`: photos in, keypoints out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from knuckle.cli.console import print_table, progress, say

if TYPE_CHECKING:
    from knuckle.predict.files import BoxesByImage

SHOWN_PROBLEMS = 10


def predict(
    source: Annotated[list[str], typer.Argument(help="Photos, folders of photos, or patterns like 'photos/**/*.jpg'.")],
    model: Annotated[str, typer.Option("--model", help="Run folder, .safetensors file or MMPose .pth checkpoint.")],
    boxes: Annotated[
        str,
        typer.Option(
            "--boxes",
            help="Where the hands are: 'full' for one hand a photo, anywhere in the frame; or a file of boxes: any "
            "annotation format, or a CSV with the columns image, x1, y1, x2, y2.",
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="File for the keypoints, or folder for labelme.")] = None,
    file_format: Annotated[
        Literal["csv", "parquet", "json", "jsonl", "coco", "labelme"] | None,
        typer.Option("--format", help="How to write them. Default: what the suffix of --out says."),
    ] = None,
    draw: Annotated[Path | None, typer.Option("--draw", help="Folder for pictures of the hands.")] = None,
    flip_test: Annotated[
        bool, typer.Option("--flip-test", help="Average over each hand and its mirror image: twice the time.")
    ] = False,
    preset: Annotated[
        Literal["freihand", "rhd"] | None,
        typer.Option("--preset", help="What an MMPose checkpoint was trained on, where its name does not say."),
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1... Default: a GPU if any.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Hands that go through the network together.")] = 32,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    on_bad: Annotated[
        Literal["skip", "stop"], typer.Option("--on-bad", help="What to do about a photo that cannot be used.")
    ] = "skip",
) -> None:
    """Find the keypoints of hands in photos.

    Every photo's result is on disk before the next batch begins, memory does not grow with the number
    of photos, and --resume goes on after an interruption. Photos that cannot be used are counted and listed.

    Example: knuckle predict photos --model runs/first --boxes full --out hands.csv --draw drawn
    """
    from knuckle.predict import load
    from knuckle.predict.boxes import match_boxes, read_boxes
    from knuckle.predict.files import picture_paths, predict_files
    from knuckle.predict.photos import FULL
    from knuckle.predict.sinks import Output
    from knuckle.predict.sources import find_images

    if out is None and draw is None:
        raise ValueError("nothing would be kept: give --out FILE for keypoints, --draw FOLDER for pictures, or both.")
    output = None if out is None else Output.of(out, file_format)
    if resume and output is None:
        raise ValueError("--resume goes on with what --out has so far: give --out, or leave out --resume.")
    if resume and output is not None and output.is_complete:
        say(f"{out} is complete already; delete it to predict again.")
        return
    images = find_images(source, leave_out=draw)
    pictures = None if draw is None else picture_paths(images, draw)
    places: BoxesByImage = FULL if boxes == FULL else match_boxes(images, read_boxes(Path(boxes)))
    predictor = load(model, flip_test=flip_test, preset=preset, device=device, batch_size=batch)
    start = time.perf_counter()
    try:
        with progress(len(images), "photos") as update:
            tally, lost = predict_files(
                predictor,
                images,
                places,
                output=output,
                pictures=pictures,
                settings={"model": model, "preset": preset, "boxes": boxes, "flip test": flip_test},
                resume=resume,
                on_bad=on_bad,
                progress=update,
            )
    except KeyboardInterrupt:
        if output is not None:
            say(f"What was found so far is kept in {output.journal}; the same command with --resume goes on.")
        raise
    if tally.images == 0:
        raise ValueError(f"none of the {len(images)} photos can be used; the first: {tally.skipped[0]}")
    speed = tally.new / (time.perf_counter() - start)
    print_table(
        ("photos", "hands", "photos without boxes", "skipped", "photos/s"),
        [(tally.images, tally.hands, tally.without_boxes, len(tally.skipped), speed)],
    )
    for sentence in lost:
        say(sentence)
    for problem in tally.skipped[:SHOWN_PROBLEMS]:
        say(f"skipped: {problem}")
    if len(tally.skipped) > SHOWN_PROBLEMS:
        say(f"and {len(tally.skipped) - SHOWN_PROBLEMS} more; --on-bad stop ends at the first one.")
