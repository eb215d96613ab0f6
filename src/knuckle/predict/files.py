"""Predicting files: from paths and boxes to a journal and pictures, one photo at a time.

`look` is what a process does with photos; `keep_found` writes down what was found, wherever that was. `predict_files`
is both in one process, `knuckle.predict.on_ray` has many that look.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32

from knuckle.data.images import read_image
from knuckle.draw import SUFFIXES, draw_hands, write_image
from knuckle.formats.problems import OnBad
from knuckle.hands import Hands
from knuckle.predict.journal import Entry, Journal, Tally
from knuckle.predict.photos import FULL, Photo, check_boxes, check_name

if TYPE_CHECKING:
    from knuckle.predict.predictor import Predictor
    from knuckle.predict.sinks import Output

BoxesByImage = Mapping[Path, Float32[np.ndarray, "m 4"]] | Literal["full"] | None


class Task(NamedTuple):
    """What is to be done with photos.

    Attributes:
        boxes: for every photo its boxes; "full"; or None for the predictor's detector.
        pictures: for every photo where to draw it; None draws nothing.
        on_bad: "skip" goes on after a photo that cannot be used and says why in its entry; "stop" raises.
    """

    boxes: BoxesByImage
    pictures: Mapping[Path, Path] | None = None
    on_bad: OnBad = "skip"


Look = Callable[[Sequence[Path], Path], Iterator[Entry]]
"""Gives an entry for each photo, named from a folder."""


def predict_files(
    predictor: Predictor,
    images: Sequence[Path],
    boxes: BoxesByImage,
    *,
    output: Output | None = None,
    pictures: Mapping[Path, Path] | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    resume: bool = False,
    on_bad: OnBad = "skip",
    progress: Callable[[int], object] | None = None,
    watch: Callable[[Hands], object] | None = None,
) -> tuple[Tally, list[str]]:
    """Predict photos and write every result down at once.

    Memory does not grow with the number of photos, apart from their paths. Whatever ends the run
    early leaves the output's journal, and a run that resumes looks only at the photos that are
    missing there. Without an output nothing is kept but the pictures that are drawn.

    Args:
        predictor: the model.
        images: paths of the photos.
        boxes: for every photo its boxes; "full"; or None for the predictor's detector.
        output: where the hands go.
        pictures: for every photo where to draw it.
        settings: what must be the same when a run resumes.
        resume: go on with the output's journal where there is one.
        on_bad: "skip" goes on after a photo that cannot be used and writes the reason down; "stop" raises.
        progress: called after every photo with the number of photos done, those of the journal included.
        watch: called with the hands of every photo that this run looks at.

    Returns:
        What was met, earlier parts of a resumed run included, and one sentence for each thing that
        the output's format cannot hold.

    Raises:
        ValueError: a photo or a box cannot be used and `on_bad` is "stop", or something cannot be
            written; names it.
    """
    task = Task(boxes, pictures, on_bad)
    return keep_found(
        partial(look, predictor, task),
        images,
        output=output,
        settings=settings,
        resume=resume,
        progress=progress,
        watch=watch,
    )


def keep_found(
    looks: Look,
    images: Sequence[Path],
    *,
    output: Output | None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    resume: bool = False,
    progress: Callable[[int], object] | None = None,
    watch: Callable[[Hands], object] | None = None,
) -> tuple[Tally, list[str]]:
    """Write down what is found on photos, each when it comes. All else is as `predict_files` says."""
    if output is None:
        tally = Tally()
        for entry in looks(images, Path()):
            tally.add(entry)
            _report(progress, tally)
            _show(watch, entry)
        return tally, []
    with Journal(output.journal, {**settings, "format": output.kind}, resume=resume) as journal:
        rest = [image for image in images if name_from(output.root, image) not in journal.done]
        for entry in looks(rest, output.root):
            journal.add(entry)
            _report(progress, journal.tally)
            _show(watch, entry)
    return journal.tally, output.finish()


def _report(progress: Callable[[int], object] | None, tally: Tally) -> None:
    if progress is not None:
        progress(tally.images + len(tally.skipped))


def _show(watch: Callable[[Hands], object] | None, entry: Entry) -> None:
    if watch is not None:
        watch(entry.hands)


def look(predictor: Predictor, task: Task, images: Sequence[Path], root: Path) -> Iterator[Entry]:
    """What is found on each photo, drawn where asked for; a skipped photo comes a little early.

    Args:
        predictor: the model.
        task: what to do.
        images: paths of the photos.
        root: the folder that their names start from.

    Raises:
        ValueError: a photo or a box cannot be used and `task.on_bad` is "stop", or a picture cannot be written.
    """
    skipped: deque[Entry] = deque()

    def skip(image: Path, problem: str) -> None:
        skipped.append(Entry(name_from(root, image), (0, 0), Hands.empty(), problem))

    for found in predictor.stream(_photos(images, task, skip)):
        while skipped:
            yield skipped.popleft()
        image = Path(found.name)
        if task.pictures is not None:
            _draw(image, found.hands, task.pictures[image], task.boxes != FULL)
        name = name_from(root, image)
        yield Entry(name, found.size_wh, found.hands.replace(image=[name] * len(found.hands)))
    yield from skipped


def _photos(images: Sequence[Path], task: Task, skip: Callable[[Path, str], None]) -> Iterator[Photo]:
    boxes = task.boxes
    for image in images:
        try:
            check_name(image)
            photo = Photo(str(image), read_image(image), boxes if boxes is None else FULL)
            if boxes is not None and not isinstance(boxes, str):
                photo = photo._replace(boxes=check_boxes(boxes[image], photo.size_wh, str(image)))
        except ValueError as error:
            if task.on_bad == "stop":
                raise
            skip(image, str(error))
        else:
            yield photo


def name_from(root: Path, image: Path) -> str:
    """The path from `root` to the image with forward slashes; absolute where there is none, as on another drive."""
    try:
        return Path(os.path.relpath(image.absolute(), root.absolute())).as_posix()
    except ValueError:
        return image.absolute().as_posix()


def picture_paths(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Where each image is drawn: under `folder` as the images lie under the folder they all share.

    Raises:
        ValueError: a drawing would take the place of an image.
    """
    # Without "..", which would lead out of the folder again.
    places = {image: Path(os.path.normpath(image.absolute())) for image in images}
    shared = Path(os.path.commonpath([place.parent for place in places.values()])) if images else Path()
    paths = {image: folder / _as_picture(place.relative_to(shared)) for image, place in places.items()}
    originals = {image.resolve() for image in images}
    for image, picture in paths.items():
        if picture.resolve() in originals:
            raise ValueError(f"drawing {image} would overwrite the photo {picture}; choose another folder to draw to.")
    return paths


def _as_picture(path: Path) -> Path:
    # The old suffix stays, so that a.webp and a.png do not meet in one picture.
    return path if path.suffix.lower() in SUFFIXES else path.with_name(path.name + ".png")


def _draw(image: Path, hands: Hands, picture: Path, boxes: bool) -> None:
    picture.parent.mkdir(parents=True, exist_ok=True)
    # Read once more: to keep every photo until its hands are found would take memory without bound.
    write_image(picture, draw_hands(read_image(image), hands, boxes=boxes))
