"""What readers and writers share: whole files or none, paths that lead to the images, lists, short exact numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32
from numpy.typing import NDArray

from knuckle.hands import OPTIONAL_COLUMNS, Hands, keypoint_extent

SNIFFED_BYTES = 65536


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` only when all went well.

    Raises:
        ValueError: the file cannot be written; names it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror or error}).") from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file as a whole or not at all. ValueError where it cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def json_lines(items: Iterable[Mapping[str, Any]]) -> str:
    """A JSON array with one item a line, so that an error's line leads to the record."""
    return "[\n" + ",\n".join(json.dumps(item, allow_nan=False) for item in items) + "\n]"


def head_of(path: Path) -> bytes:
    """The first bytes of a file, to guess its format from; empty where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(SNIFFED_BYTES)
    except OSError:
        return b""


def list_lines(path: Path) -> list[str]:
    """The lines of a text file that lists images.

    Raises:
        ValueError: the file cannot be read, or is no text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()  # Windows' editors begin a file with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8, so it cannot be a list of images.") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error


def is_file(path: Path) -> bool:
    """`Path.is_file`, and False for a name too long for the file system, where that raises."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """`Path.is_dir`, and False for a name too long for the file system, where that raises."""
    try:
        return path.is_dir()
    except OSError:
        return False


def images_relative_to(hands: Hands, folder: Path) -> Hands:
    """The same hands with image paths that lead from `folder` to the same files, `root` = `folder`.

    Names without a `root` that lead to no file stay as they are: nothing says where they belong.
    """
    names, rows = np.unique(hands.image, return_inverse=True)
    if hands.root is None:
        related = [_relative(Path(name), folder) if is_file(Path(name)) else name for name in names.tolist()]
    elif _same_folder(hands.root, folder):
        related = names.tolist()
    else:
        related = [_relative(hands.root / name, folder) for name in names.tolist()]
    return hands.replace(image=np.array(related, dtype=np.str_)[rows] if len(hands) else [], root=folder)


def _same_folder(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _relative(file: Path, folder: Path) -> str:
    """The path from `folder` to `file` with forward slashes; absolute where no relative one exists."""
    try:
        return _plain(file).relative_to(_plain(folder)).as_posix()
    except ValueError:
        pass
    real = Path(os.path.realpath(file.parent)) / file.name
    try:
        return Path(os.path.relpath(real, os.path.realpath(folder))).as_posix()
    except ValueError:  # another drive
        return real.as_posix()


def _plain(path: Path) -> Path:
    """Absolute and without "..", but through the symbolic links that the user named."""
    return Path(os.path.normpath(path.absolute()))


def image_root(folder: Path, name: str) -> Path:
    """The folder that image names of an annotation file in `folder` start from, judged by one of them."""
    candidates = (folder, folder / "images", folder.parent, folder.parent / "images")
    return next((candidate for candidate in candidates if is_file(candidate / name)), folder)


def image_sizes(hands: Hands) -> Int32[np.ndarray, "n 2"]:
    """The size of each hand's image, known where any hand of the image knows it.

    Raises:
        ValueError: two hands give one image different sizes.
    """
    _, rows = np.unique(hands.image, return_inverse=True)
    size = np.zeros((len(hands), 2), dtype=np.int32)
    np.maximum.at(size, rows, hands.size)
    size = size[rows]
    known = (hands.size > 0).all(axis=1)
    differs = known & (hands.size != size).any(axis=1)
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise ValueError(
            f"the hands of {hands.image[row]} disagree on its size: {hands.size[row].tolist()} in row {row} "
            f"and {size[row].tolist()} elsewhere."
        )
    return size


def short_decimals(values: Float32[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Float64 numbers with few digits that become exactly `values` when cast to float32."""
    exact = values.astype(np.float64)
    short = exact.copy()
    open_ = np.isfinite(values)
    for decimals in range(10):
        rounded = np.round(exact, decimals)
        fits = open_ & (rounded.astype(np.float32) == values)
        short[fits] = rounded[fits]
        open_ &= ~fits
    return short


def numbers_or_null(values: NDArray[Any]) -> list[Any]:
    """Nested lists of short exact numbers, None for what is not finite."""
    cells = short_decimals(np.asarray(values, dtype=np.float32)).astype(object)
    cells[~np.isfinite(values)] = None
    listed: list[Any] = cells.tolist()
    return listed


def predicted_numbers(hands: Hands) -> dict[str, list[Any]]:
    """The predicted columns that are there as lists, one entry a hand, null where nobody computed a number.

    A covariance is the three numbers variance of x, covariance, variance of y, for each joint.
    """
    columns = {name: getattr(hands, name) for name in OPTIONAL_COLUMNS if getattr(hands, name) is not None}
    if hands.covariance is not None:
        columns["covariance"] = hands.covariance[..., [0, 0, 1], [0, 1, 1]]
    return {name: numbers_or_null(column) for name, column in columns.items()}


def flat_boxes(hands: Hands) -> Bool[np.ndarray, " n"]:
    """True for a box without area that is not just the extent of keypoints as narrow: readers refuse it."""
    return np.asarray(_without_area(hands.box) & ~(hands.box == keypoint_extent(hands.xy)).all(axis=1))


def _without_area(box: Float32[np.ndarray, "n 4"]) -> Bool[np.ndarray, " n"]:
    return np.asarray((box[:, 2] <= box[:, 0]) | (box[:, 3] <= box[:, 1]))


def boxes_with_area(hands: Hands) -> tuple[Float32[np.ndarray, "n 4"], list[str]]:
    """Boxes that a file can hold, NaN where only the extent of the keypoints would come back.

    A box without area is taken for a mistake by the readers, unless the keypoints are as narrow.

    Returns:
        The boxes, and one sentence on those that cannot be held.
    """
    box = hands.box.copy()
    unfit = flat_boxes(hands) | (np.isnan(box[:, 0]) & hands.labeled.any(axis=1))
    box[_without_area(box)] = np.nan
    if not unfit.any():
        return box, []
    return box, [
        f"box: {count_of(unfit, 'hand')} without a box, or with one without area, "
        "will be given the extent of the labelled keypoints."
    ]


def count_of(mask: NDArray[np.bool_], noun: str) -> str:
    """'1 hand', '2 hands': how many entries are true."""
    count = int(np.count_nonzero(mask))
    return f"{count} {noun}{'' if count == 1 else 's'}"
