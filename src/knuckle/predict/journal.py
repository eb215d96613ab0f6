"""The journal of a prediction run: one line an image, so that an interrupted run can go on.

It lies beside the output as `NAME.partial`: JSON lines, the first one with the run's settings, each
further one with all that is known about one image. A line that was not written to its end is cut off
when the run goes on. The final file is made from the journal alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import numpy as np

from knuckle.formats.files import numbers_or_null
from knuckle.hands import OPTIONAL_COLUMNS, Hands, group_number
from knuckle.predict.moments import Moment, from_json, to_json

COLUMNS: Final = ("xy", "visibility", "box", "side", *OPTIONAL_COLUMNS)
"""The columns of `Hands` that a prediction fills."""


class Entry(NamedTuple):
    """What a run knows about one image.

    Attributes:
        name: the image's path, relative to the output's folder where possible.
        size_wh: its width and height in pixels, (0, 0) where it could not be read.
        hands: its hands, whose `image` column is `name`.
        problem: why the image was skipped, in one sentence, or "".
        moment: of a video's frame, when it was and which its hands are; None for a photo.
    """

    name: str
    size_wh: tuple[int, int]
    hands: Hands
    problem: str = ""
    moment: Moment | None = None


@dataclass
class Tally:
    """What a run has met so far.

    Attributes:
        images: photos that were looked at, the skipped ones not counted.
        hands: hands found on them.
        without_boxes: photos among them that had no boxes, given or detected, and so no hands.
        skipped: one sentence a photo that could not be used.
        new: photos among `images` that this run looked at, and not one before it.
    """

    images: int = 0
    hands: int = 0
    without_boxes: int = 0
    skipped: list[str] = field(default_factory=list)
    new: int = 0

    def add(self, entry: Entry, *, new: bool = True) -> None:
        """Count one photo."""
        if entry.problem:
            self.skipped.append(entry.problem)
            return
        self.images += 1
        self.new += new
        self.hands += len(entry.hands)
        self.without_boxes += not len(entry.hands)


class Journal:
    """A journal that is open for writing.

    Args:
        path: its file.
        settings: what must not change between a run and its continuation, as JSON can hold it.
        resume: go on with the journal that lies there, if one does; otherwise begin anew.

    Attributes:
        path: its file.
        done: names of the images that need no further work.
        tally: what the journal holds, in numbers.

    Raises:
        ValueError: the journal cannot be written, or was written with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path = path
        self.done: set[str] = set()
        self.tally = Tally()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if resume and path.is_file() and _cut_to_whole_lines(path):
                _check_settings(path, settings)
                for entry in read_journal(path):
                    self._count(entry, new=False)
                self._stream = path.open("a", encoding="utf-8", newline="\n")
            else:
                self._stream = path.open("w", encoding="utf-8", newline="\n")
                self._write_line(dict(settings))
        except OSError as error:
            raise ValueError(f"{path} cannot be written ({error.strerror or error}).") from error

    def add(self, entry: Entry) -> None:
        """Write down what is known about an image; it is in the file when this returns."""
        self._write_line(line_of(entry))
        self._count(entry, new=True)

    def _count(self, entry: Entry, *, new: bool) -> None:
        self.done.add(entry.name)
        self.tally.add(entry, new=new)

    def _write_line(self, content: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps(content, allow_nan=False) + "\n")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


def read_journal(path: Path) -> Iterator[Entry]:
    """The entries of a journal, one at a time and in order.

    Raises:
        ValueError: a line is not what a journal holds; names it.
    """
    with path.open(encoding="utf-8") as stream:
        next(stream, None)
        for number, line in enumerate(stream, start=2):
            try:
                yield entry_of(json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}:{number} is not a line of a journal; delete the file to begin anew."
                ) from error


def line_of(entry: Entry) -> dict[str, Any]:
    """An entry as JSON can hold it; `entry_of` reads it back."""
    line: dict[str, Any] = {"image": entry.name, "size": list(entry.size_wh)}
    if entry.problem:
        line["problem"] = entry.problem
    if entry.moment is not None:
        line["moment"] = to_json(entry.moment)
    if len(entry.hands):
        line["hands"] = {
            name: numbers_or_null(column) for name in COLUMNS if (column := getattr(entry.hands, name)) is not None
        }
    return line


def entry_of(line: Mapping[str, Any]) -> Entry:
    """The entry that `line_of` made a line of.

    Raises:
        KeyError, TypeError, ValueError: it made none such.
    """
    name, (width, height), columns = line["image"], line["size"], line.get("hands")
    moment = from_json(line["moment"]) if "moment" in line else None
    if columns is None:
        return Entry(name, (width, height), Hands.empty(), line.get("problem", ""), moment)
    count = len(columns["xy"])
    arrays: dict[str, Any] = {column: np.array(numbers, dtype=np.float32) for column, numbers in columns.items()}
    size = np.tile((width, height), (count, 1))
    group = None if moment is None else np.full(count, group_number(moment.video))
    return Entry(name, (width, height), Hands(image=[name] * count, size=size, group=group, **arrays), "", moment)


def _cut_to_whole_lines(path: Path) -> bool:
    """Cuts off a line that was not written to its end; whether anything is left."""
    with path.open("rb+") as stream:
        whole = 0
        for line in stream:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
        stream.truncate(whole)
    return whole > 0


def count_entries(path: Path) -> int:
    """How many images a journal that may lie there knows; 0 where there is none."""
    try:
        with path.open("rb") as stream:
            return max(sum(1 for _ in stream) - 1, 0)
    except OSError:
        return 0


def read_settings(path: Path) -> dict[str, Any]:
    """The settings that a journal began with.

    Raises:
        ValueError: its first line holds none.
    """
    with path.open(encoding="utf-8") as stream:
        first = stream.readline()
    try:
        return dict(json.loads(first))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}:1 is not the beginning of a journal; delete the file to begin anew.") from error


def _check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    before = read_settings(path)
    for name, value in json.loads(json.dumps(settings)).items():
        if before.get(name) != value:
            raise ValueError(
                f"{path} was begun with {name} {before.get(name)!r}, now it is {value!r}; "
                "give the same settings, or leave out --resume to begin anew."
            )
