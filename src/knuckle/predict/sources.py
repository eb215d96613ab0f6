"""Which photos to predict: files, folders and glob patterns, in the order in which people count."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from knuckle.formats.files import list_lines
from knuckle.formats.image_header import IMAGE_SUFFIXES
from knuckle.predict.video import is_video

FOUND_SUFFIXES: Final = frozenset(IMAGE_SUFFIXES) | {
    *(".jpe", ".jfif"),
    # Not decoded by knuckle; found all the same, so that they are counted as skipped and not overlooked.
    *(".tif", ".tiff", ".gif", ".heic", ".heif", ".avif", ".jp2"),
}
"""What counts as an image where a folder or a pattern is searched; a file named by itself is always taken."""


def find_images(sources: Iterable[str | os.PathLike[str]], *, leave_out: Path | None = None) -> list[Path]:
    """The images of files, folders (searched to the bottom) and patterns such as `photos/**/*.jpg`.

    Only paths are kept, a few hundred bytes each. Sources keep their order; inside one, names are
    sorted as people count, `2.jpg` before `10.jpg`. An image met twice is taken once. Hidden files
    and folders are passed over.

    Args:
        sources: paths or patterns.
        leave_out: a folder that is passed over when one around it is searched, and by patterns that find others, too.

    Raises:
        ValueError: a source does not exist or holds no image; names it.
    """
    found: list[Path] = []
    for source in sources:
        images = list(_images_of(Path(source), None if leave_out is None else leave_out.resolve()))
        if not images:
            raise ValueError(_without_image(Path(source)))
        found += images
    return each_once(found)


def read_list(path: Path) -> list[Path]:
    """The images that a text file names, one path a line; empty lines do not count.

    Relative paths start from the working directory, as on a command line. Whether there is an image is seen when it is
    read: looking for millions beforehand would take longer than many a run.

    Raises:
        ValueError: the file cannot be read, or names no image.
    """
    found = each_once(Path(line) for line in list_lines(path) if line.strip())
    if not found:
        raise ValueError(f"{path} names no image; write one path a line.")
    return found


def each_once(images: Iterable[Path]) -> list[Path]:
    """The images without repetitions, which may be written otherwise: `a.jpg` and `x/../a.jpg` are one."""
    found: dict[str, Path] = {}
    for image in images:
        found.setdefault(os.path.normpath(image.absolute()), image)
    return list(found.values())


def _images_of(source: Path, leave_out: Path | None) -> Iterator[Path]:
    if source.is_dir():
        yield from _images_below(source, leave_out)
    elif source.exists():
        yield source
    elif any(sign in str(source) for sign in "*?["):
        # pathlib's glob takes no absolute patterns.
        matches = map(Path, glob.glob(str(source), recursive=True))  # noqa: PTH207
        images = [path for path in sorted(matches, key=as_people_count) if _is_image(path)]
        # What finds nothing else names the folder that is left out, so that it is searched as a folder given is.
        yield from [path for path in images if not _is_below(path, leave_out)] or images
    else:
        raise ValueError(f"there is no file or folder {source}.")


def _images_below(folder: Path, leave_out: Path | None) -> Iterator[Path]:
    for path in sorted(folder.iterdir(), key=as_people_count):
        if path.name.startswith("."):
            continue
        if _is_image(path):
            yield path
        elif path.is_dir() and not path.is_symlink() and (leave_out is None or path.resolve() != leave_out):
            yield from _images_below(path, leave_out)


def _is_below(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.parent.resolve().is_relative_to(folder)


def _without_image(source: Path) -> str:
    """What to say of a source that holds no image."""
    if source.is_dir() and any(is_video(path.name) for path in source.rglob("*")):
        return f"{source} holds videos and no image; give videos one by one."
    return f"{source} holds no image, which is a file ending in {' '.join(sorted(FOUND_SUFFIXES))}."


def _is_image(path: Path) -> bool:
    """Whether a path that a search met counts as an image; a link that leads nowhere does, to be told as such."""
    if path.suffix.lower() not in FOUND_SUFFIXES:
        return False
    return path.is_file() or (path.is_symlink() and not path.exists())


def as_people_count(path: Path) -> list[tuple[int, str]]:
    """A sort key under which the numbers inside names count as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]
