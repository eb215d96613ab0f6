"""Which gesture each hand shows: from the folder of its image, from lists of images, or from a table.

None of these look at a picture; `classify` proposes gestures from keypoints. All of them leave hands
that they say nothing about as they were.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from knuckle.formats.records import gesture_of
from knuckle.formats.table_files import Table, read_table_file
from knuckle.hands import UNKNOWN, Hands
from knuckle.skeleton import GESTURES
from knuckle.study.lists import Entry, gesture_of_name, match_entries, read_lists

TABLE_SUFFIXES: Final = (".csv", ".parquet", ".json")
TABLE_COLUMNS: Final = ("image", "gesture")
"""Columns that a table of gestures needs; `hand` may stand beside them."""

NUMBERING_NOTE: Final = (
    "Only class 6, the fist, is known to match the paper's numbering; the other class numbers are knuckle's own."
)


def by_folder(hands: Hands) -> Hands:
    """Gestures from the nearest folder of each image that names a class: `photos/c6/1.jpg` is a fist.

    Raises:
        ValueError: a folder names a class beyond c24; says which image.
    """
    found = {}
    for name in dict.fromkeys(hands.image.tolist()):
        try:
            found[name] = _folder_class(name)
        except ValueError as error:
            raise ValueError(f"the folder of {name} {error}; rename it.") from None
    named = np.array([found[name] for name in hands.image.tolist()], dtype=np.int64)
    return hands.replace(gesture=np.where(named == UNKNOWN, hands.gesture, named))


def _folder_class(image: str) -> int:
    for parent in PurePosixPath(image.replace("\\", "/")).parents:
        gesture = gesture_of_name(parent.name)
        if gesture is not None:
            return gesture
    return UNKNOWN


def by_lists(hands: Hands, path: Path) -> Hands:
    """Gestures from lists of images (`lists`), one file or a folder of them.

    Raises:
        ValueError: a list cannot be read, names an image that is not there, or gives a hand a second class;
            names file and line.
    """
    return _with_entries(hands, read_lists(path))


def by_table(hands: Hands, path: Path) -> Hands:
    """Gestures from a .csv, .parquet or .json table with the columns image and gesture, one row an image.

    A gesture is a number, "c6" or a name. The column `hand` may give the hand's number on its image, from 0
    on; without it, or where it is empty, a row means all of the image's hands.

    Raises:
        ValueError: the table lacks a column, a cell cannot be read, or an image is not there; names file and line.
    """
    table = read_table_file(path)
    missing = [name for name in TABLE_COLUMNS if name not in table.columns]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}; a table of gestures has {', '.join(TABLE_COLUMNS)}.")
    if table.broken:
        raise ValueError(next(iter(table.broken.values())))
    return _with_entries(hands, [_entry(table, row) for row in range(len(table.columns["image"]))])


def _entry(table: Table, row: int) -> Entry:
    where = table.where(row)
    image, gesture = (table.columns[name][row] for name in TABLE_COLUMNS)
    number = table.columns["hand"][row] if "hand" in table.columns else None
    if not isinstance(image, str):
        raise ValueError(f"{where} has no image.")
    if number is not None and not str(number).isdecimal():
        raise ValueError(f"{where} has the hand {number!r}, expected its number on the image, from 0 on.")
    try:
        named = gesture_of_name(gesture) if isinstance(gesture, str) else None
        known = gesture_of(gesture) if named is None else named
    except ValueError as error:
        raise ValueError(f"{where} {error}.") from None
    if known == UNKNOWN:
        raise ValueError(f"{where} has no gesture; leave the line out where nothing is known.")
    return Entry(known, image.replace("\\", "/"), None if number is None else int(number), where)


def _with_entries(hands: Hands, entries: list[Entry]) -> Hands:
    gesture = hands.gesture.copy()
    said: dict[int, Entry] = {}
    for entry, rows in zip(entries, match_entries(hands, entries), strict=True):
        for row in rows.tolist():
            other = said.setdefault(row, entry)
            if other.gesture != entry.gesture:
                raise ValueError(
                    f"{entry.where} gives {entry.image} the class {entry.gesture} ({GESTURES[entry.gesture]}), but "
                    f"{other.where} gave it {other.gesture} ({GESTURES[other.gesture]}); keep one of the lines."
                )
        gesture[rows] = entry.gesture
    return hands.replace(gesture=gesture)


def is_table(path: Path) -> bool:
    """Whether a file is a table of gestures rather than a list of images or a folder of lists."""
    return path.is_file() and path.suffix.lower() in TABLE_SUFFIXES
