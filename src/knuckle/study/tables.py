"""Records as CSV files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from knuckle.formats.files import write_text


def write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """A table with a header, empty without records; empty cells stand for numbers that are not defined.

    Raises:
        ValueError: it cannot be written.
    """
    text = io.StringIO()
    if records:
        writer = csv.DictWriter(text, records[0].keys(), lineterminator="\n")
        writer.writeheader()
        for record in records:
            writer.writerow({key: "" if _undefined(value) else value for key, value in record.items()})
    write_text(path, text.getvalue())


def _undefined(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
