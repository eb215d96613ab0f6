"""Lists of images by class: text files c0.txt to c24.txt with one image name a line, read, matched and written.

The form of the study's own lists. A file's name gives the class of every image in it: `c6.txt`, `6.txt`
or `fist.txt`. Empty lines and lines that begin with # say nothing. Where an image holds several hands,
a tab and the hand's number on its image follow the name, counted from 0 in the table's order; without
a number a line means all of the image's hands.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from knuckle.formats.files import list_lines, write_text
from knuckle.formats.records import gesture_name
from knuckle.hands import Hands
from knuckle.skeleton import GESTURES

SUFFIX: Final = ".txt"
_NUMBERED: Final = re.compile(r"c?(\d{1,3})", re.IGNORECASE)


class Entry(NamedTuple):
    """One line of a list.

    Attributes:
        gesture: the class, an index into `skeleton.GESTURES`.
        image: the image's name as written, with forward slashes.
        hand: the hand's number on its image; None for all of them.
        where: file and line, for messages.
    """

    gesture: int
    image: str
    hand: int | None
    where: str


def gesture_of_name(name: str) -> int | None:
    """The class that a folder's or list's name means: "c6", "6" and "fist" are 6, "photos" is None.

    Raises:
        ValueError: the name is a number beyond the classes; half a sentence.
    """
    numbered = _NUMBERED.fullmatch(name.strip())
    if numbered is None:
        known = gesture_name(name)
        return None if known is None else GESTURES.index(known)
    number = int(numbered[1])
    if number >= len(GESTURES):
        raise ValueError(f"names the class {name}, but classes are c0 to c{len(GESTURES) - 1}")
    return number


def read_lists(path: Path) -> list[Entry]:
    """The lines of one list, or of all lists in a folder by class.

    Raises:
        ValueError: there is no list, a list's name is no class, or a line cannot be read; names file and line.
    """
    if not path.exists():
        raise ValueError(f"there are no lists {path}.")
    files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path} holds no lists; they are text files such as c6{SUFFIX} with one image name a line.")
    entries: list[Entry] = []
    for file in files:
        entries += _read_list(file)
    return sorted(entries, key=lambda entry: entry.gesture)


def _read_list(file: Path) -> list[Entry]:
    try:
        gesture = gesture_of_name(file.stem)
    except ValueError as error:
        raise ValueError(f"{file} {error}.") from None
    if gesture is None:
        raise ValueError(f"{file} does not say its class; name it c0{SUFFIX} to c{len(GESTURES) - 1}{SUFFIX}.")
    return [
        _entry(line, gesture, f"{file}:{number}")
        for number, line in enumerate(list_lines(file), start=1)
        if line.strip() and not line.startswith("#")
    ]


def _entry(line: str, gesture: int, where: str) -> Entry:
    name, tab, number = line.partition("\t")
    if tab and not number.strip().isdecimal():
        raise ValueError(f"{where} has {number.strip()!r} after the tab, expected the hand's number on its image.")
    return Entry(gesture, name.strip().replace("\\", "/"), int(number) if tab else None, where)


def match_entries(hands: Hands, entries: Sequence[Entry]) -> list[Int64[np.ndarray, " m"]]:
    """The rows that each line means.

    An image is found by its path, by the end of its path (`rgb/00000012.jpg`, `00000012.jpg`), or by either
    without the suffix, as long as only one image ends so.

    Raises:
        ValueError: a line names no image, several images, or a hand that its image has not.
    """
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(hands.image.tolist()):
        rows_of[name].append(row)
    images_of: defaultdict[str, set[str]] = defaultdict(set)
    for image in rows_of:
        for end in _ends(image):
            images_of[end].add(image)
    return [_rows(entry, rows_of, images_of) for entry in entries]


def _ends(image: str) -> set[str]:
    """Every end of a path, with and without the suffix."""
    parts = PurePosixPath(image.replace("\\", "/")).parts
    whole = [PurePosixPath(*parts[start:]) for start in range(len(parts))]
    return {end.as_posix() for end in whole} | {end.with_suffix("").as_posix() for end in whole}


def _rows(entry: Entry, rows_of: dict[str, list[int]], images_of: dict[str, set[str]]) -> Int64[np.ndarray, " m"]:
    exact = {entry.image} & rows_of.keys()
    images = exact or images_of.get(PurePosixPath(entry.image).as_posix(), set())
    if not images:
        raise ValueError(f"{entry.where} names {entry.image}, which is none of the {len(rows_of):,} images.")
    if len(images) > 1:
        first, second, *_ = sorted(images)
        raise ValueError(f"{entry.where}: {entry.image} may mean {first} or {second}; write more of the path.")
    (image,) = images
    rows = rows_of[image]
    if entry.hand is None:
        return np.array(rows, dtype=np.int64)
    if entry.hand >= len(rows):
        raise ValueError(f"{entry.where} asks for hand {entry.hand} of {image}, which has {len(rows)}, from 0 on.")
    return np.array([rows[entry.hand]], dtype=np.int64)


def write_lists(hands: Hands, rows: Int64[np.ndarray, " m"], folder: Path) -> None:
    """Write the rows as one list a class, in the order given; classes without a row get no file.

    Args:
        hands: the whole table, so that hands on one image can be counted.
        rows: chosen rows, all with a gesture.
        folder: where the lists go; lists of the same class there are replaced.

    Raises:
        ValueError: a chosen hand has no gesture, or a file cannot be written.
    """
    unlabeled = rows[hands.gesture[rows] < 0]
    if len(unlabeled):
        raise ValueError(f"row {unlabeled[0]} ({hands.image[unlabeled[0]]}) has no gesture, so it fits no list.")
    _, image_of_row, hands_on = np.unique(hands.image, return_inverse=True, return_counts=True)
    number = numbers_on_images(hands)
    lines: defaultdict[int, list[str]] = defaultdict(list)
    for row in rows.tolist():
        image = image_of_row[row]
        several = hands_on[image] > 1
        lines[int(hands.gesture[row])].append(
            f"{hands.image[row]}\t{number[row]}" if several else str(hands.image[row])
        )
    for gesture, own in lines.items():
        write_text(folder / f"c{gesture}{SUFFIX}", "".join(f"{line}\n" for line in own))


def numbers_on_images(hands: Hands) -> Int64[np.ndarray, " n"]:
    """Each hand's number on its image, from 0 in the table's order."""
    order = np.argsort(hands.image, kind="stable")
    return ranks(hands.image[order])[np.argsort(order)]


def ranks(values: NDArray[np.generic]) -> Int64[np.ndarray, " n"]:
    """Of sorted values, how many equal ones stand before each."""
    place = np.arange(len(values))
    begins = np.ones(len(values), dtype=bool)
    begins[1:] = values[1:] != values[:-1]
    return place - np.maximum.accumulate(np.where(begins, place, 0))
