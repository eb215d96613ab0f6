"""Where the hands are, by a file: boxes from any annotation format or from a CSV, matched to photos."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from knuckle.formats import read

BOX_COLUMNS: Final = ("image", "x1", "y1", "x2", "y2")
"""The header of a CSV of boxes; other columns may stand beside these."""

NO_BOXES: Final = np.empty((0, 4), dtype=np.float32)


class BoxFile(NamedTuple):
    """The boxes of a file.

    Attributes:
        name: the file, for messages.
        root: the folder that relative image paths start from.
        boxes: (m, 4) float32 x1, y1, x2, y2 in image pixels for every image named in the file, under
            its name there, with forward slashes.
    """

    name: str
    root: Path
    boxes: dict[str, Float32[np.ndarray, "m 4"]]


def read_boxes(path: Path) -> BoxFile:
    """The boxes of an annotation file or folder that `knuckle.read` understands, or of a CSV.

    The CSV has the columns image, x1, y1, x2, y2, one line a hand, in image pixels and tight around
    the keypoints. Annotated hands without a box are left out.

    Raises:
        ValueError: the file is missing, broken or of no known format; names file and line.
    """
    if path.suffix.lower() == ".csv" and path.is_file():
        header = _csv_header(path)
        if set(BOX_COLUMNS) <= set(header) and "joint" not in header:
            return BoxFile(str(path), path.parent, _read_csv(path))
    hands = read(path)
    rows = [(name, box) for name, box in zip(hands.image.tolist(), hands.box, strict=True) if np.isfinite(box).all()]
    return BoxFile(str(path), hands.root or Path(), _by_image(rows))


def match_boxes(images: Sequence[Path], file: BoxFile) -> dict[Path, Float32[np.ndarray, "m 4"]]:
    """The boxes of every image; none, (0, 4), for an image that the file does not name.

    An image is found by its path, else by the longest end of its path that the file names
    (`video3/0001.jpg`, `0001.jpg`), else by its file name where the file has it only once.

    Raises:
        ValueError: the file names none of the images, or one of its names fits several images.
    """
    by_path = {(file.root / name).resolve(): name for name in file.boxes}
    exact = {image: by_path[path] for image in images if (path := image.resolve()) in by_path}
    by_file_name: defaultdict[str, list[str]] = defaultdict(list)
    for name in file.boxes:
        by_file_name[PurePosixPath(name).name].append(name)
    matched = dict(exact)
    taken: dict[str, Path | None] = dict.fromkeys(exact.values())
    for image in images:
        best = None if image in exact else _best_name(image, file, by_file_name)
        if best is None:
            continue
        if best not in taken:
            matched[image] = best
            taken[best] = image
        elif (other := taken[best]) is not None:
            raise ValueError(
                f"{file.name}: {best} may mean {other} or {image}; write more of the path into the file's image names."
            )
    if not matched:
        example = next(iter(file.boxes), None)
        says = "has no boxes" if example is None else f"has boxes for {example}"
        raise ValueError(f"{file.name} names none of the {len(images)} images: it {says}, they begin with {images[0]}.")
    return {image: file.boxes[matched[image]] if image in matched else NO_BOXES for image in images}


def boxes_of_video(video: str, path: Path) -> Float32[np.ndarray, "m 4"]:
    """The boxes that a file gives for a video's first frame, under the video's own name.

    Raises:
        ValueError: the file cannot be read, or does not name the video.
    """
    file = read_boxes(path)
    boxes = match_boxes([Path(video)], file)[Path(video)] if Path(video).is_file() else file.boxes.get(video)
    if boxes is None:
        raise ValueError(f"{path} does not name {video}.")
    return boxes


def _best_name(image: Path, file: BoxFile, by_file_name: dict[str, list[str]]) -> str | None:
    parts = image.absolute().parts[1:]
    ends = (PurePosixPath(*parts[start:]).as_posix() for start in range(len(parts)))
    by_end = next((end for end in ends if end in file.boxes), None)
    namesakes = by_file_name.get(image.name, [])
    return by_end or (namesakes[0] if len(namesakes) == 1 else None)


def _csv_header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        return [name.strip() for name in next(csv.reader(stream), [])]


def _read_csv(path: Path) -> dict[str, NDArray[np.float32]]:
    header = _csv_header(path)
    columns = [header.index(name) for name in BOX_COLUMNS]
    rows: list[tuple[str, NDArray[np.float32]]] = []
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        lines = csv.reader(stream)
        next(lines)
        for line in lines:
            if not line:
                continue
            try:
                name, *numbers = (line[column].strip() for column in columns)
                rows.append((name, np.array([float(number) for number in numbers], dtype=np.float32)))
            except (IndexError, ValueError) as error:
                raise ValueError(
                    f"{path}:{lines.line_num} must hold an image and four numbers x1, y1, x2, y2."
                ) from error
    return _by_image(rows)


def _by_image(rows: Sequence[tuple[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    boxes: defaultdict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for name, box in rows:
        boxes[PurePosixPath(name.replace("\\", "/")).as_posix()].append(box)
    return {name: np.stack(own) for name, own in boxes.items()}
