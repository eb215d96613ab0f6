"""Long tables: one row a hand and joint, as .csv, .parquet or .json; they hold everything that `Hands` does.

Every hand has 21 rows; a joint that is not labelled has visibility 0 and empty x and y. Columns of
the whole hand repeat in its rows. `side` is -1 unknown, 0 left, 1 right; `gesture` is -1 or 0 to 24.
The JSON form is a list with one object a row, one a line; an object of columns is read, too.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from knuckle.formats.files import (
    count_of,
    flat_boxes,
    head_of,
    image_root,
    images_relative_to,
    numbers_or_null,
    predicted_numbers,
    replacing,
    write_text,
)
from knuckle.formats.joints import joint_of_name
from knuckle.formats.problems import Problems
from knuckle.formats.records import NO_BOX, Rows, gesture_of, group_of, name_of, shown, side_of, size_of
from knuckle.formats.table_files import Table, pyarrow_modules, read_table_file
from knuckle.hands import OPTIONAL_COLUMNS, PER_HAND, UNLABELED, VISIBLE, Hands
from knuckle.skeleton import JOINT_NAMES, NUM_JOINTS

SUFFIXES: Final = (".csv", ".parquet", ".json")

_BOX: Final = ("box_x1", "box_y1", "box_x2", "box_y2")
_HAND_COLUMNS: Final = ("image", "side", "gesture", "group", "width", "height", *_BOX, *PER_HAND)
"""Columns whose cells must agree in all rows of a hand."""
_REQUIRED: Final = ("hand", "image", "joint", "x", "y")
_COLUMNS: Final = (
    *("hand", "image", "joint", "joint_name", "x", "y", "visibility"),
    *("side", "gesture", "group", "width", "height", *_BOX),
)
_PREDICTED: Final = {
    "covariance": ("variance_x", "covariance_xy", "variance_y"),
    "confidence": ("confidence",),
    "score": ("score",),
    "side_probability": ("side_probability",),
}

Value = TypeVar("Value")


def detect(path: Path) -> bool:
    """Whether this is a .csv or .parquet file, or a .json file of rows with hand and joint, or without rows."""
    if path.suffix.lower() == ".json" and path.is_file():
        head = head_of(path)
        return (b'"hand"' in head and b'"joint"' in head) or b"".join(head.split()) == b"[]"
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read_table(path: Path, split: str | None, problems: Problems) -> Hands:
    """The hands of a long table, in the order of their first rows.

    Columns hand, image, joint, x, y are required. Without `visibility` a joint with x and y is
    visible, without box columns the box is the extent of the labelled keypoints, other missing
    columns are unknown. A prediction's column without any number counts as missing.

    Args:
        path: the .csv, .parquet or .json file.
        split: must be None; tables know no splits.
        problems: takes the hands that are left out.

    Raises:
        ValueError: the file is no such table, or a hand is bad and problems are to stop the reading.
    """
    assert split is None, "the dispatcher refuses splits where the format has none"
    table = read_table_file(path)
    if not table.columns:
        return Hands.empty(path.parent)  # a JSON list without rows names no columns either
    missing = [name for name in _REQUIRED if name not in table.columns]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]}; a table of hands needs {', '.join(_REQUIRED)}.")
    rows_of: dict[Any, list[int]] = {}
    for row, hand in enumerate(table.columns["hand"]):
        number = hand if isinstance(hand, str) else _as_whole(hand)
        rows_of.setdefault(number if isinstance(number, (int, str)) else None, []).append(row)
    for row in rows_of.pop(None, []):
        problems.add(f"{table.where(row)}: has no number in the column hand.")
    hands = Rows()
    for hand, rows in rows_of.items():
        try:
            _add_hand(hands, table, rows)
        except _BadCellError as error:
            problems.add(str(error))
        except ValueError as error:
            problems.add(f"{table.where(rows[0])}: hand {hand} {error}.")
    first_image = next((name for name in table.columns["image"] if isinstance(name, str)), "")
    return hands.hands(image_root(path.parent, first_image))


class _BadCellError(ValueError):
    """A whole sentence that names line and column."""


def _add_hand(hands: Rows, table: Table, rows: list[int]) -> None:
    for row in rows:
        if row in table.broken:
            raise _BadCellError(table.broken[row])
    joints = [_cell(table, "joint", row, _whole) for row in rows]
    if sorted(joints) != list(range(NUM_JOINTS)):
        raise ValueError(f"has {len(rows)} rows with {len(set(joints))} different joints, expected joints 0 to 20")
    first = rows[0]
    for name in (name for name in _HAND_COLUMNS if name in table.columns):
        column = table.columns[name]
        for row in rows:
            if column[row] != column[first]:
                value, other = (shown(column[r]) for r in (row, first))
                raise _BadCellError(f"{table.where(row)}: {name} is {value}, but {other} in the hand's first row.")
    ordered = [row for _, row in sorted(zip(joints, rows, strict=True))]
    hands.add(
        _cell(table, "image", first, name_of),
        _keypoints(table, ordered),
        box=_box(table, first),
        side=_cell(table, "side", first, lambda cell: side_of(_as_whole(cell))),
        gesture=_cell(table, "gesture", first, lambda cell: gesture_of(_as_whole(cell))),
        group=_cell(table, "group", first, lambda cell: group_of(_as_whole(cell))),
        size=(
            _cell(table, "width", first, lambda cell: size_of(_as_whole(cell), None)[0]),
            _cell(table, "height", first, lambda cell: size_of(None, _as_whole(cell))[1]),
        ),
        covariance=_predicted(table, "covariance", ordered),
        confidence=_predicted(table, "confidence", ordered),
        score=_predicted(table, "score", [first]),
        side_probability=_predicted(table, "side_probability", [first]),
    )


def _keypoints(table: Table, rows: list[int]) -> Float64[np.ndarray, "21 3"]:
    names = table.columns.get("joint_name")
    for joint, row in enumerate(rows):
        if names and names[row] not in (None, JOINT_NAMES[joint]) and joint_of_name(str(names[row])) != joint:
            raise _BadCellError(
                f"{table.where(row)}: joint {joint} is called {shown(names[row])}, expected {JOINT_NAMES[joint]}."
            )
    if "visibility" in table.columns:
        return _reals(table, ("x", "y", "visibility"), rows)
    xy = _reals(table, ("x", "y"), rows)
    visibility = np.where(np.isnan(xy).all(axis=1), UNLABELED, VISIBLE)
    return np.concatenate([xy, visibility[:, None]], axis=1)


def _box(table: Table, row: int) -> Float64[np.ndarray, " 4"] | None:
    if any(name not in table.columns for name in _BOX):
        return None
    box = _reals(table, _BOX, [row])[0]
    return NO_BOX if np.isnan(box).all() else box


def _predicted(table: Table, name: str, rows: list[int]) -> NDArray[np.float64] | None:
    columns = _PREDICTED[name]
    if any(column not in table.columns for column in columns):
        return None
    values = _reals(table, columns, rows)
    return values[0, 0] if name in PER_HAND else values if name == "covariance" else values[:, 0]


def _reals(table: Table, names: Sequence[str], rows: list[int]) -> Float64[np.ndarray, "rows names"]:
    """The numbers of some columns in some rows, NaN for empty cells."""
    columns = [table.columns[name] for name in names]
    try:
        return np.array([[_real(column[row]) for column in columns] for row in rows])
    except (TypeError, ValueError, OverflowError):  # again, cell by cell, to say which one it is
        return np.array([[_cell(table, name, row, _real) for name in names] for row in rows])


def _cell(table: Table, column: str, row: int, parse: Callable[[Any], Value]) -> Value:
    """One cell as `parse` understands it; cells of a missing column are empty."""
    cell = table.columns[column][row] if column in table.columns else None
    try:
        return parse(cell)
    except (TypeError, ValueError, OverflowError):
        expected = "a number" if parse in (_real, _whole) else "a proper value"
        raise _BadCellError(f"{table.where(row)}: {column} is {shown(cell)}, expected {expected}.") from None


def _real(cell: Any) -> float:
    return math.nan if cell is None else float(cell)


def _whole(cell: Any) -> int:
    whole = _as_whole(cell)
    if isinstance(whole, int):
        return whole
    raise ValueError(cell)


def _as_whole(cell: Any) -> Any:
    """The int that a cell holds or spells; other cells as they are."""
    if isinstance(cell, str):
        try:
            return int(cell)
        except ValueError:
            return cell
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    return cell


def header(optional: Sequence[str] = OPTIONAL_COLUMNS) -> list[str]:
    """The names of the columns, with those of the given predicted columns of `Hands`."""
    return [*_COLUMNS, *(column for name in OPTIONAL_COLUMNS if name in optional for column in _PREDICTED[name])]


def rows(hands: Hands, first_hand: int = 0, optional: Sequence[str] = OPTIONAL_COLUMNS) -> Iterator[list[Any]]:
    """The rows of a table in the order of `header(optional)`, None for empty cells.

    With `csv.writer` this streams: write `header()` once, then `rows(...)` of each batch. Image paths
    are written as they stand; `files.images_relative_to` makes them lead from the table's folder.

    Args:
        hands: any number of hands.
        first_hand: number of the first of them in the table.
        optional: the predicted columns that the header has; empty cells where the hands have none.
    """
    xy, box = numbers_or_null(hands.xy), numbers_or_null(hands.box)
    empty: dict[str, Any] = {"covariance": [[None] * 3] * NUM_JOINTS, "confidence": [None] * NUM_JOINTS}
    empty |= dict.fromkeys(PER_HAND)
    predicted = {name: [cells] * len(hands) for name, cells in empty.items()} | predicted_numbers(hands)
    for row, image in enumerate(hands.image.tolist()):
        of_hand = [int(hands.side[row]), int(hands.gesture[row]), int(hands.group[row]), *hands.size[row].tolist()]
        of_hand += box[row]
        for joint, name in enumerate(JOINT_NAMES):
            cells = [first_hand + row, image, joint, name, *xy[row][joint], int(hands.visibility[row, joint]), *of_hand]
            if "covariance" in optional:
                cells += predicted["covariance"][row][joint]
            if "confidence" in optional:
                cells.append(predicted["confidence"][row][joint])
            cells += [predicted[name][row] for name in PER_HAND if name in optional]
            yield cells


def write_table(hands: Hands, path: Path) -> list[str]:
    """Write a table; the suffix decides between csv, parquet and json. Image paths lead from its folder.

    Returns:
        One sentence on boxes without area; a table holds everything else.

    Raises:
        ValueError: another suffix, the file cannot be written, or pyarrow is missing for parquet.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path} must end in {', '.join(SUFFIXES)} to be written as a table.")
    flat = flat_boxes(hands)
    box = np.where(flat[:, None], np.float32(np.nan), hands.box)
    hands = images_relative_to(hands, path.parent).replace(box=box)
    present = [name for name in OPTIONAL_COLUMNS if getattr(hands, name) is not None]
    names, cells = header(present), rows(hands, optional=present)
    if suffix == ".csv":
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(cells)
    elif suffix == ".json":
        lines = (json.dumps(dict(zip(names, row, strict=True)), allow_nan=False) for row in cells)
        write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")
    else:
        _write_parquet(path, names, list(zip(*cells, strict=True)))
    return [f"box: that of {count_of(flat, 'hand')} without area left out."] if flat.any() else []


def _write_parquet(path: Path, names: Sequence[str], columns: list[tuple[Any, ...]]) -> None:
    arrow, parquet = pyarrow_modules(path)
    whole = ("hand", "joint", "visibility", "side", "gesture", "group", "width", "height")
    types = {name: arrow.int64() if name in whole else arrow.float64() for name in names}
    types |= {"image": arrow.string(), "joint_name": arrow.string()}
    cells = columns or [()] * len(names)
    table = arrow.table(
        {name: arrow.array(column, type=types[name]) for name, column in zip(names, cells, strict=True)}
    )
    with replacing(path) as temporary:
        parquet.write_table(table, temporary)
