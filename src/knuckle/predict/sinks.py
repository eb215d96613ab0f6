"""From a finished journal to the file that was asked for, in constant memory, whole or not at all.

Tables and COCO files are made from pieces: each piece is what the format's own writer makes of a few
hundred photos, so a streamed file and one written at once agree. Frames of a video add what `moments` says.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final, Literal, get_args

from knuckle.formats import table
from knuckle.formats.coco import write_coco
from knuckle.formats.files import replacing
from knuckle.formats.image_header import IMAGE_SUFFIXES, header_size_wh
from knuckle.formats.labelme import write_labelme
from knuckle.formats.table_files import pyarrow_modules
from knuckle.formats.yolo_writing import write_yolo
from knuckle.hands import OPTIONAL_COLUMNS, Hands
from knuckle.predict.journal import Entry, read_journal, read_settings
from knuckle.predict.moments import annotation_keys, cells_of, columns_of, image_keys
from knuckle.predict.proposals import mark_of

Kind = Literal["csv", "parquet", "json", "jsonl", "coco", "labelme", "yolo"]

PIECE: Final = 256
"""Photos that are turned into rows together."""

_SUFFIXES: Final[dict[Kind, str]] = {
    "csv": ".csv",
    "parquet": ".parquet",
    "json": ".json",
    "jsonl": ".jsonl",
    "coco": ".json",
}
"""The suffix that each kind of file must have; the others are folders."""
FOLDERS: Final[tuple[Kind, ...]] = ("labelme", "yolo")
"""Kinds of output that are folders, written beside or with copies of the photos."""


@dataclass(frozen=True)
class Output:
    """Where the hands go.

    Attributes:
        path: the file, or for labelme and yolo the folder.
        kind: csv, parquet and json are the long table that `knuckle.read` reads; jsonl has the
            table's rows as one JSON object a line; coco is one file of COCO keypoints, photos without
            a hand included; labelme is one file a photo with hands, marked as a model's; yolo is a
            YOLO-pose folder with copies of those photos.
    """

    path: Path
    kind: Kind

    @classmethod
    def of(cls, path: Path, kind: Kind | None = None) -> Output:
        """The output at a path; without a kind, what its suffix says.

        Raises:
            ValueError: the suffix says nothing or something else than the kind, the path is of the
                wrong sort, or what the kind needs is not installed.
        """
        suffix = path.suffix.lower()
        chosen = kind or next((name for name, own in _SUFFIXES.items() if own == suffix), None)
        if chosen is None:
            raise ValueError(
                f"the suffix of {path} does not say how to write it; give --format {'|'.join(get_args(Kind))}."
            )
        if suffix != _SUFFIXES.get(chosen, suffix):
            raise ValueError(f"{path} must end in {_SUFFIXES[chosen]} to be written as {chosen}.")
        if path.is_dir() and chosen not in FOLDERS:
            raise ValueError(f"{path} is a folder, but {chosen} is written to a file.")
        if path.is_file() and chosen in FOLDERS:
            raise ValueError(f"{path} is a file, but {chosen} files are written to a folder.")
        if chosen == "parquet":
            pyarrow_modules(path)  # now, as at the end of a long run it would be late
        return cls(path, chosen)

    @property
    def root(self) -> Path:
        """The folder that image names start from."""
        return self.path if self.kind == "labelme" else self.path.parent

    @property
    def journal(self) -> Path:
        """Where the journal of an unfinished run lies."""
        return self.path.with_name(f"{self.path.name}.partial")

    @property
    def is_complete(self) -> bool:
        """Whether an earlier run wrote the file to its end; of a folder nobody knows."""
        return self.path.is_file() and not self.journal.exists()

    def check_names(self, images: Iterable[Path]) -> None:
        """Refuse photos that the output cannot hold by their names, before a long run rather than at its end.

        Raises:
            ValueError: copies for YOLO would have a suffix that its readers do not know. What is no image may have any,
                as it is skipped.
        """
        if self.kind != "yolo":
            return
        for image in images:
            if image.suffix.lower() not in IMAGE_SUFFIXES and _is_image(image):
                raise ValueError(
                    f"{image} must end in one of {', '.join(IMAGE_SUFFIXES)} to go into a YOLO folder; rename it."
                )

    def finish(self) -> list[str]:
        """Make the output of its journal, and remove the journal.

        Returns:
            One sentence for each thing that the format cannot hold, and on Labelme files of people, which stay as they
            are.

        Raises:
            ValueError: the output cannot be written; the journal stays.
        """
        entries = read_journal(self.journal)
        first = next(read_journal(self.journal), None)
        added = columns_of(None if first is None else first.moment)
        lost: list[str] = []
        if self.kind in FOLDERS:
            hands = Hands.concat(_hands(piece, self.root) for piece in _pieces(entries))
            if self.kind == "yolo":
                lost = write_yolo(hands, self.path)
            else:
                model = str(read_settings(self.journal).get("model", ""))
                lost = write_labelme(hands, self.path, partial(mark_of, model=model))
        elif self.kind == "coco":
            _write_coco(entries, self.path)
        elif self.kind == "parquet":
            _write_parquet(_pieces(entries), added, self.path)
        else:
            names, rows = _table(_pieces(entries), added, self.root)
            with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
                _WRITE_ROWS[self.kind](stream, names, rows)
        self.journal.unlink()
        return lost


def _is_image(path: Path) -> bool:
    try:
        header_size_wh(path)
    except ValueError:
        return False
    return True


def _pieces(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """A few hundred entries with hands at a time."""
    with_hands = (entry for entry in entries if len(entry.hands))
    while piece := list(islice(with_hands, PIECE)):
        yield piece


def _hands(piece: Iterable[Entry], root: Path) -> Hands:
    return Hands.concat(entry.hands for entry in piece).replace(root=root)


def _added_cells(piece: Iterable[Entry]) -> Iterator[list[Any]]:
    """What the entries add to each row of their hands' table."""
    return chain.from_iterable(cells_of(entry.moment, len(entry.hands)) for entry in piece)


def _table(pieces: Iterator[list[Entry]], added: Sequence[str], root: Path) -> tuple[list[str], Iterator[list[Any]]]:
    """The header and the rows of a long table; one model gives all hands the same columns."""
    first = next(pieces, [])
    optional = [name for name in OPTIONAL_COLUMNS if getattr(_hands(first, root), name) is not None]

    def rows() -> Iterator[list[Any]]:
        number = 0
        for piece in chain([first], pieces):
            hands = _hands(piece, root)
            cells = zip(table.rows(hands, number, optional), _added_cells(piece), strict=True)
            yield from (row + more for row, more in cells)
            number += len(hands)

    return [*table.header(optional), *added], rows()


def _write_csv(stream: IO[str], names: Sequence[str], rows: Iterable[list[Any]]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)


def _write_jsonl(stream: IO[str], names: Sequence[str], rows: Iterable[list[Any]]) -> None:
    stream.writelines(_object(names, row) + "\n" for row in rows)


def _write_json(stream: IO[str], names: Sequence[str], rows: Iterable[list[Any]]) -> None:
    _write_list(stream, (_object(names, row) for row in rows))


_WRITE_ROWS: Final = {"csv": _write_csv, "json": _write_json, "jsonl": _write_jsonl}


def _object(names: Sequence[str], row: Sequence[Any]) -> str:
    return json.dumps(dict(zip(names, row, strict=True)), allow_nan=False)


def _write_list(stream: IO[str], items: Iterable[str]) -> None:
    """A JSON list with one item a line."""
    separator = "[\n"
    for item in items:
        stream.write(separator + item)
        separator = ",\n"
    stream.write("\n]\n" if separator == ",\n" else "[]\n")


def _write_parquet(pieces: Iterator[list[Entry]], added: Sequence[str], path: Path) -> None:
    """A table of row groups, each written by the format's writer and numbered on."""
    arrow, parquet = pyarrow_modules(path)
    part = path.with_name(f".{path.stem}.part.parquet")
    number = 0
    with replacing(path) as temporary:
        writer: Any = None
        try:
            for piece in chain([next(pieces, [])], pieces):
                hands = _hands(piece, path.parent)
                table.write_table(hands, part)
                group = parquet.read_table(part)
                field = group.schema.field("hand")
                hand = arrow.array([value + number for value in group.column("hand").to_pylist()], type=field.type)
                group = group.set_column(group.schema.get_field_index("hand"), field, hand)
                cells = list(_added_cells(piece))
                for column, name in enumerate(added):
                    kind = arrow.int64() if name in ("frame", "track") else arrow.float64()
                    group = group.append_column(name, arrow.array([row[column] for row in cells], type=kind))
                writer = writer or parquet.ParquetWriter(temporary, group.schema)
                writer.write_table(group)
                number += len(hands)
        finally:
            part.unlink(missing_ok=True)
            if writer is not None:
                writer.close()


def _write_coco(entries: Iterator[Entry], path: Path) -> None:
    """A COCO file whose images and annotations are written by the format's writer and numbered on."""
    part = path.with_name(f".{path.stem}.part.json")
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream, TemporaryFile("w+") as images:
        stream.write('{"annotations": ')
        _write_list(stream, _coco_annotations(entries, part, images))
        stream.write(',"images": ')
        images.seek(0)
        _write_list(stream, (line.rstrip("\n") for line in images))
        write_coco(Hands.empty(path.parent), part)
        rest = json.loads(part.read_bytes())
        part.unlink()
        stream.write(f',"info": {json.dumps(rest["info"])},\n"categories": {json.dumps(rest["categories"])}}}\n')


def _coco_annotations(entries: Iterator[Entry], part: Path, images: IO[str]) -> Iterator[str]:
    """The annotations as JSON; their images go to `images`, one a line."""
    image_number = annotation_number = 0
    while piece := list(islice(entries, PIECE)):
        write_coco(Hands.concat(entry.hands for entry in piece).replace(root=part.parent), part)
        content = json.loads(part.read_bytes())
        numbers: dict[str, int] = {}
        for entry in piece:
            if entry.problem:
                continue
            image_number += 1
            numbers[entry.name] = image_number
            width, height = entry.size_wh
            record = {"id": image_number, "file_name": entry.name, "width": width, "height": height}
            images.write(json.dumps(record | image_keys(entry.moment)) + "\n")
        names = {image["id"]: image["file_name"] for image in content["images"]}
        rows = ((entry, row) for entry in piece for row in range(len(entry.hands)))
        for annotation, (entry, row) in zip(content["annotations"], rows, strict=True):
            annotation_number += 1
            keys = {"id": annotation_number, "image_id": numbers[names[annotation["image_id"]]]}
            keys |= annotation_keys(entry.moment, row, annotation["keypoints"][2::3])
            yield json.dumps(annotation | keys, allow_nan=False)
