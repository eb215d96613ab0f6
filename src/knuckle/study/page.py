"""A report as one self-contained HTML file: sentences, tables that sort, figures and galleries, nothing fetched.

Tables show some columns of their records, rounded; each cell keeps the whole value, so that sorting and reading it out
give the number of the CSV file of the same name.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

from knuckle.formats.files import write_text

TEMPLATE: Final = "report.html"
ABSENT: Final = "-"


class Column(NamedTuple):
    """One column of a table: the record's key, the heading, and how a number is written ("" for text)."""

    key: str
    heading: str
    form: str = ""


class Cell(NamedTuple):
    """What is shown, the whole value, and whether it is a number."""

    text: str
    value: str
    number: bool


@dataclass(frozen=True)
class Table:
    """Records as a table; `name` is that of the CSV file with all columns."""

    name: str
    caption: str
    records: Sequence[Mapping[str, Any]]
    columns: Sequence[Column]
    kind: ClassVar[str] = "table"

    @property
    def rows(self) -> list[list[Cell]]:
        """The cells, row by row."""
        return [[_cell(record[column.key], column.form) for column in self.columns] for record in self.records]


@dataclass(frozen=True)
class Chart:
    """A figure as SVG text; `caption` says what to see in it."""

    caption: str
    svg: str
    kind: ClassVar[str] = "chart"

    @property
    def address(self) -> str:
        """The figure in place of an address; its ids then cannot meet those of another figure."""
        return data_address(self.svg.encode(), "image/svg+xml")


class Tile(NamedTuple):
    """A picture of a gallery: its address with the data inside, and what to read below it."""

    address: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side."""

    caption: str
    tiles: Sequence[Tile]
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True)
class Formulas:
    """Terms and what they mean."""

    terms: Mapping[str, str]
    kind: ClassVar[str] = "formulas"


Block = Table | Chart | Gallery | Formulas


@dataclass(frozen=True)
class Section:
    """A part of the report: sentences, then blocks."""

    title: str
    sentences: Sequence[str]
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Page:
    """The whole report.

    Attributes:
        title: of the page.
        lead: what was studied, in a sentence or two.
        fails: sentences of the "fails on" summary, which comes first.
        sections: the rest, in order.
    """

    title: str
    lead: str
    fails: Sequence[str]
    sections: Sequence[Section]


def write_page(page: Page, path: Path) -> None:
    """Write the page.

    Raises:
        ValueError: it cannot be written.
    """
    from jinja2 import Environment

    template = resources.files("knuckle.study").joinpath(f"assets/{TEMPLATE}").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    write_text(path, environment.from_string(template).render(page=page))


def data_address(data: bytes, kind: str) -> str:
    """Data as text that stands in place of an address."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _cell(value: Any, form: str) -> Cell:
    if isinstance(value, bool):
        return Cell("yes" if value else "no", str(value), False)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Cell(ABSENT, "", bool(form))
    if isinstance(value, float) and math.isinf(value):
        return Cell("∞" if value > 0 else "-∞", str(value), True)
    if isinstance(value, int | float):
        return Cell(format(value, form), str(value), True)
    return Cell(str(value), str(value), False)
