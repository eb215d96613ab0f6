"""`knuckle predict`: photos, a video or a camera in, keypoints out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from knuckle.cli.console import print_table, progress, say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from knuckle.formats.problems import OnBad
    from knuckle.hands import Hands
    from knuckle.predict import Predictor
    from knuckle.predict.files import BoxesByImage
    from knuckle.predict.on_ray import Cluster
    from knuckle.predict.sinks import Output
    from knuckle.predict.video import Video

SHOWN_PROBLEMS: Final = 10
MOST_LISTED: Final = 1000
"""Photos whose hands are listed on the terminal."""
NO_ANSWER: Final = "-"


def predict(
    source: Annotated[
        list[str] | None,
        typer.Argument(help="Photos, folders of photos, or patterns like 'photos/**/*.jpg'; or one video."),
    ] = None,
    image_list: Annotated[
        Path | None, typer.Option("--list", help="A text file with the path of a photo on each line.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="light or light_rendered, which come with knuckle; a run folder; a .safetensors, .onnx, .xml file.",
        ),
    ] = "light",
    camera: Annotated[
        int | None, typer.Option("--camera", min=0, help="Instead of files: the camera of that number, until Ctrl-C.")
    ] = None,
    boxes: Annotated[
        str | None,
        typer.Option(
            "--boxes",
            help="Where the hands are, instead of asking the detector: 'full' for one hand a photo, anywhere in the "
            "frame; or a file of boxes: any annotation format, or a CSV with the columns image, x1, y1, x2, y2. For a "
            "video: in its first frame.",
        ),
    ] = None,
    detector: Annotated[
        Path | None, typer.Option("--detector", help="An .onnx hand detector in place of the one that knuckle has.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File for the keypoints, or folder for labelme and yolo.")
    ] = None,
    file_format: Annotated[
        Literal["csv", "parquet", "json", "jsonl", "coco", "labelme", "yolo"] | None,
        typer.Option("--format", help="How to write them. Default: what the suffix of --out says."),
    ] = None,
    draw: Annotated[
        Path | None, typer.Option("--draw", help="Folder for pictures of the hands; of a video, a video file.")
    ] = None,
    flip_test: Annotated[
        bool, typer.Option("--flip-test", help="Average over each hand and its mirror image: twice the time.")
    ] = False,
    preset: Annotated[
        Literal["freihand", "rhd"] | None,
        typer.Option("--preset", help="What an MMPose checkpoint was trained on, where its name does not say."),
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1... Default: a GPU if any.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Hands that go through the network together.")] = 32,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run over photos.")] = False,
    on_bad: Annotated[
        Literal["skip", "stop"], typer.Option("--on-bad", help="What to do about a photo that cannot be used.")
    ] = "skip",
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Video: also write keypoints smoothed over time, and draw those.")
    ] = False,
    hands: Annotated[
        int | None,
        typer.Option("--hands", min=1, help="Video or camera: hands to follow at a time, at most. Default: 4."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.0, help="Video or camera: end after so many seconds.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            help="Photos: share them among the processes of a Ray cluster. 'local' for this machine, 'auto' for the "
            "cluster that it is part of, or an address.",
            metavar="ADDRESS",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="With --ray: processes at most. Default: one a core.")
    ] = None,
) -> None:
    """Find the keypoints of hands in photos, or follow them through a video.

    Without --out and --draw the hands are listed, a line each. With them every photo's result is on disk before
    the next batch begins, memory does not grow with the number of photos or frames, and --resume goes on after
    an interruption. Photos that cannot be used are counted and listed.

    Example: knuckle predict photo.jpg

    Example: knuckle predict photos --model runs/first --out hands.csv --draw drawn

    Example: knuckle predict clip.mp4 --model runs/first --out tracks.csv --draw out.mp4 --smooth
    """
    from knuckle.predict import load
    from knuckle.predict.on_ray import Cluster
    from knuckle.predict.photos import FULL
    from knuckle.predict.sinks import Output
    from knuckle.predict.video import is_video, open_camera, open_video

    sources = source or []
    moving = camera is not None or any(map(is_video, sources))
    if camera is None and not sources and image_list is None:
        raise ValueError("nothing to look at: give photos, folders, a video, --list FILE or --camera N.")
    if moving and len(sources) + (camera is not None) + (image_list is not None) > 1:
        raise ValueError("one video or camera at a time, and no photos beside it.")
    if ray is not None and (moving or out is None):
        raise ValueError("--ray is for photos whose keypoints go to --out FILE.")
    if workers is not None and ray is None:
        raise ValueError("--workers are processes of --ray; give --ray local for some of this machine.")
    if out is None and draw is None and moving:
        raise ValueError("nothing would be kept: give --out FILE for keypoints, --draw for pictures, or both.")
    output = None if out is None else Output.of(out, file_format)
    settings = {"model": model, "preset": preset, "boxes": boxes, "flip test": flip_test}
    settings["detector"] = None if detector is None else str(detector)
    options: dict[str, Any] = {"flip_test": flip_test, "preset": preset, "device": device, "batch_size": batch}
    options["detector"] = detector
    load_model = partial(load, model, **options) if ray is None else _for_workers(model, options)
    if moving:
        if resume:
            raise ValueError("a video is followed from its start: leave out --resume.")
        if boxes == FULL and hands is not None:
            raise ValueError("--boxes full follows one hand: leave out --hands, or let the detector find them.")
        opened = open_video(Path(sources[0])) if camera is None else open_camera(camera)
        with opened as video:
            _predict_video(
                load_model,
                video,
                boxes,
                output,
                draw,
                smooth=smooth,
                most_hands=hands,
                seconds=seconds,
                settings=settings,
            )
        return
    if smooth or seconds is not None or hands is not None:
        raise ValueError("--smooth, --seconds and --hands are for a video or a camera; photos show all their hands.")
    if resume and output is None:
        raise ValueError("--resume goes on with what --out has so far: give --out, or leave out --resume.")
    if resume and output is not None and output.is_complete:
        say(
            f"{out} is complete already, so no photo was looked at, not even one that came since, and nothing drawn; "
            "delete it to predict all photos again."
        )
        return
    _check_drawn_folder(draw)
    settings["pictures"] = None if draw is None else str(draw.absolute())  # those of photos that are done lie there
    images = _images(sources, image_list, draw)
    cluster = None if ray is None else Cluster(ray, workers, gpu=device is not None and device.startswith("cuda"))
    _predict_photos(
        load_model, images, boxes, output, draw, resume=resume, on_bad=on_bad, settings=settings, cluster=cluster
    )


def _for_workers(model: str, options: dict[str, Any]) -> Callable[[], Predictor]:
    """How a worker of Ray, which has one core, loads the model: from a path that holds in any folder."""
    from knuckle.predict import load
    from knuckle.predict.load import engine_of
    from knuckle.predict.shipped import is_shipped

    shipped = is_shipped(model)
    if options["detector"] is not None:
        options = options | {"detector": options["detector"].absolute()}
    if shipped or engine_of(Path(model)) != "torch":  # PyTorch's threads are as many as Ray tells it
        options = options | {"threads": 1}
    return partial(load, model if shipped else str(Path(model).absolute()), **options)


def _check_drawn_folder(draw: Path | None) -> None:
    """Photos are drawn into a folder, which is said before a model looks at any."""
    from knuckle.formats.image_header import IMAGE_SUFFIXES
    from knuckle.predict.video import is_video

    if draw is None or draw.is_dir():
        return
    if draw.is_file() or is_video(draw.name) or draw.suffix.lower() in IMAGE_SUFFIXES:
        raise ValueError(f"--draw {draw} is no folder, and pictures of photos go to one; name a folder.")


def _images(sources: list[str], image_list: Path | None, draw: Path | None) -> list[Path]:
    """All photos that were named, each once."""
    from knuckle.predict.sources import each_once, find_images, read_list

    found = find_images(sources, leave_out=draw)
    return found if image_list is None else each_once([*found, *read_list(image_list)])


def _predict_photos(
    load_model: Callable[[], Predictor],
    images: list[Path],
    boxes: str | None,
    output: Output | None,
    draw: Path | None,
    *,
    resume: bool,
    on_bad: OnBad,
    settings: dict[str, Any],
    cluster: Cluster | None,
) -> None:
    from knuckle.predict.boxes import match_boxes, read_boxes
    from knuckle.predict.files import picture_paths, predict_files
    from knuckle.predict.journal import count_entries
    from knuckle.predict.on_ray import predict_files_on_ray
    from knuckle.predict.photos import FULL

    listed = output is None and draw is None
    if listed and len(images) > MOST_LISTED:
        raise ValueError(
            f"{len(images)} photos are too many to list: give --out FILE for keypoints, --draw for pictures, or both."
        )
    found: list[Hands] = []
    pictures = None if draw is None else picture_paths(images, draw)
    places: BoxesByImage = None
    if boxes is not None:
        places = FULL if boxes == FULL else match_boxes(images, read_boxes(Path(boxes)))
    if output is not None:
        output.check_names(images)
    predictor = load_model()  # with Ray, too: what is wrong with it is better said here than by every worker
    if output is not None and not resume and (held := count_entries(output.journal)):
        say(f"{output.journal} of a run that did not end is begun anew: it held {held:,} photos, which --resume keeps.")
    start = time.perf_counter()
    keep: dict[str, Any] = {"output": output, "pictures": pictures, "settings": settings, "resume": resume}
    try:
        with progress(len(images), "photos") as update:
            if cluster is None:
                watch = found.append if listed else None
                tally, lost = predict_files(
                    predictor, images, places, **keep, on_bad=on_bad, progress=update, watch=watch
                )
            else:
                tally, lost = predict_files_on_ray(
                    load_model, images, places, cluster, **keep, on_bad=on_bad, progress=update
                )
    except KeyboardInterrupt:
        if output is not None:
            say(f"What was found so far is kept in {output.journal}; the same command with --resume goes on.")
        raise
    if tally.images == 0:
        raise ValueError(f"none of the {len(images)} photos can be used; the first: {tally.skipped[0]}")
    speed = tally.new / (time.perf_counter() - start)
    if listed:
        _print_hands(found)
        say("--out hands.csv writes the keypoints, --draw FOLDER draws them.")
    print_table(
        ("photos", "hands", "photos without hands" if boxes is None else "photos without boxes", "skipped", "photos/s"),
        [(tally.images, tally.hands, tally.without_boxes, len(tally.skipped), speed)],
    )
    if boxes is None and tally.without_boxes:
        say(f"The detector found no hand on {tally.without_boxes:,} of {tally.images:,} photos.")
    for sentence in lost:
        say(sentence)
    for problem in tally.skipped[:SHOWN_PROBLEMS]:
        say(f"skipped: {problem}")
    if len(tally.skipped) > SHOWN_PROBLEMS:
        say(f"and {len(tally.skipped) - SHOWN_PROBLEMS} more; --on-bad stop ends at the first one.")


def _print_hands(found: Sequence[Hands]) -> None:
    """A line a hand: where it is, and what else the model says of it."""
    from knuckle.formats.records import SIDE_NAMES

    rows = [
        (
            str(hands.image[row]),
            " ".join(f"{edge:.0f}" for edge in hands.box[row]),
            _percent(hands.score, row),
            SIDE_NAMES.get(int(hands.side[row]), NO_ANSWER),
            _percent(hands.side_probability, row),
            _percent(None if hands.confidence is None else _mean_of_known(hands.confidence), row),
        )
        for hands in found
        for row in range(len(hands))
    ]
    print_table(
        ("photo", "box x1 y1 x2 y2", "hand", "side", "side's probability", "points within 5 % of the box"), rows
    )


def _mean_of_known(confidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each hand over the joints that the model was taught; NaN where it was taught none."""
    import numpy as np

    return np.asarray(np.ma.masked_invalid(confidence).mean(axis=1).filled(np.nan))


def _percent(column: NDArray[np.float32] | None, row: int) -> str:
    return NO_ANSWER if column is None or not column[row] >= 0 else f"{column[row]:.0%}"


def _predict_video(
    load_model: Callable[[], Predictor],
    video: Video,
    boxes: str | None,
    output: Output | None,
    draw: Path | None,
    *,
    smooth: bool,
    most_hands: int | None,
    seconds: float | None,
    settings: dict[str, Any],
) -> None:
    from knuckle.predict.boxes import boxes_of_video
    from knuckle.predict.photos import FULL
    from knuckle.predict.smooth import SmoothRule
    from knuckle.predict.track import TrackRule
    from knuckle.predict.video_files import predict_video

    places = boxes if boxes is None or boxes == FULL else boxes_of_video(video.name, Path(boxes))
    rule = TrackRule() if most_hands is None else TrackRule(most_hands=most_hands)
    predictor = load_model()
    start = time.perf_counter()
    with progress(video.announced if seconds is None else None, "frames") as update:
        tally, lost = predict_video(
            predictor,
            video,
            boxes=places,
            detector=predictor.detector,
            rule=rule,
            smoothing=SmoothRule() if smooth else None,
            output=output,
            drawing=draw,
            seconds=seconds,
            settings=settings,
            progress=update,
        )
    speed = tally.frames / (time.perf_counter() - start)
    print_table(
        ("frames", "with hands", "tracks", "searches", "seconds", "frames/s"),
        [(tally.frames, tally.with_hands, tally.tracks, tally.searches, tally.time, speed)],
    )
    for sentence in lost:
        say(sentence)
    if most_hands is None and tally.at_once >= rule.most_hands:
        say(f"{tally.at_once} hands were seen at once, as many as are followed; if there are more, give --hands N.")
    if boxes != FULL and tally.last_hand != tally.time:
        since = "" if tally.last_hand is None else f" after {tally.last_hand:.1f} s"
        say(f"No hand was seen{since}.")
    if tally.interrupted:
        say(f"Stopped after {tally.time:.1f} s; what was found until then is written.")
        if not video.is_live:
            raise KeyboardInterrupt
