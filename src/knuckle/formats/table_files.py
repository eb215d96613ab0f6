"""Tables as columns of cells: csv, parquet and json files read alike, each row knowing its place."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knuckle.formats.problems import read_json
from knuckle.formats.records import shown


@dataclass(frozen=True)
class Table:
    """Columns of equal length; an empty cell is None, a csv file's other cells are text.

    Attributes:
        path: the file.
        columns: name -> cells.
        lines: line of each row in a csv file, empty for other files.
        broken: row -> what is wrong with it as a whole, one sentence.
    """

    path: Path
    columns: dict[str, list[Any]]
    lines: list[int] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)

    def where(self, row: int) -> str:
        """File and line, or file and row counted from 0, as an error message names it."""
        return f"{self.path}:{self.lines[row]}" if self.lines else f"{self.path}: row {row}"


def read_table_file(path: Path) -> Table:
    """The table in a .csv, .parquet or .json file.

    Raises:
        ValueError: the file cannot be read or is no table; names file and line.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _read_csv(path)
    if suffix == ".parquet":
        return _read_parquet(path)
    if suffix == ".json":
        return _read_json_table(path)
    raise ValueError(f"{path} must end in .csv, .parquet or .json to be read as a table.")


def _read_csv(path: Path) -> Table:
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(reader.line_num)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8, so it cannot be a csv table.") from error
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num} is not valid csv ({error}).") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error
    if not rows:
        raise ValueError(f"{path} is empty, but a table begins with the names of its columns.")
    names = [name.strip() for name in rows.pop(0)]
    lines.pop(0)
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(f"{path} has two columns {repeated!r}.")
    broken = {}
    for index, row in enumerate(rows):
        if len(row) != len(names):
            broken[index] = f"{path}:{lines[index]} has {len(row)} cells, expected {len(names)}."
            row += [""] * (len(names) - len(row))
    return Table(path, {name: [row[i] or None for row in rows] for i, name in enumerate(names)}, lines, broken)


def _read_json_table(path: Path) -> Table:
    content = read_json(path)
    if isinstance(content, list):
        return Table(path, _columns_of_records(path, content))
    if not isinstance(content, dict) or not all(isinstance(column, list) for column in content.values()):
        raise ValueError(f"{path} is no table: it must be a list of rows, or an object with a list for each column.")
    if len({len(column) for column in content.values()}) > 1:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in content.items())
        raise ValueError(f"{path} has columns of different lengths ({lengths}).")
    return Table(path, {name: [_cell(cell) for cell in column] for name, column in content.items()})


def _columns_of_records(path: Path, records: Sequence[Any]) -> dict[str, list[Any]]:
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            raise ValueError(f"{path}: row {index} is {shown(record)}, expected an object with the columns' names.")
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [_cell(record.get(name)) for record in records] for name in names}


def _read_parquet(path: Path) -> Table:
    arrow, parquet = pyarrow_modules(path)
    try:
        content = parquet.read_table(path).to_pydict()
    except (arrow.ArrowException, OSError, ValueError, OverflowError) as error:  # text that is not UTF-8; no such date
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as parquet ({reason}).") from error
    return Table(path, {name: [_cell(cell) for cell in column] for name, column in content.items()})


def pyarrow_modules(path: Path) -> tuple[Any, Any]:
    """The modules `pyarrow` and `pyarrow.parquet`.

    Raises:
        ValueError: pyarrow is not installed; says how to get it.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(f"{path} is parquet, which needs pyarrow: pip install 'knuckle[train]'.") from error
    return pyarrow, pyarrow.parquet


def _cell(cell: Any) -> Any:
    """None for empty cells; true and false as text, so that they never pass for 1 and 0."""
    if isinstance(cell, bool):
        return str(cell)
    return None if cell == "" or (isinstance(cell, float) and math.isnan(cell)) else cell
