"""Annotation files and folders: every reader gives `Hands`, every writer takes them.

One file a format; this one chooses between them. docs/formats.md says what each holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

from knuckle.formats import coco, freihand, labelme, rhd, table, yolo, yolo_writing
from knuckle.formats.bulk import collector_paused
from knuckle.formats.image_header import IMAGE_SUFFIXES
from knuckle.formats.problems import OnBad, Problems, read_json
from knuckle.hands import Hands

Format = Literal["auto", "freihand", "rhd", "coco", "labelme", "yolo", "table"]
Reader = Callable[[Path, str | None, Problems], Hands]
Writer = Callable[[Hands, Path], list[str]]


@dataclass(frozen=True)
class _Room:
    """What a format's module offers; None where it has no splits or writes nothing."""

    detect: Callable[[Path], bool]
    read: Reader
    splits: Callable[[Path], tuple[str, ...]] | None = None
    write: Writer | None = None


# In the order in which "auto" asks them: the particular before the general.
_ROOMS: Final[dict[Format, _Room]] = {
    "freihand": _Room(freihand.detect, freihand.read_freihand, freihand.splits_freihand, freihand.write_freihand),
    "rhd": _Room(rhd.detect, rhd.read_rhd, rhd.splits_rhd),
    "yolo": _Room(yolo.detect, yolo.read_yolo, yolo.splits_yolo, yolo_writing.write_yolo),
    "labelme": _Room(labelme.detect, labelme.read_labelme, write=labelme.write_labelme),
    "coco": _Room(coco.detect, coco.read_coco, write=coco.write_coco),
    "table": _Room(table.detect, table.read_table, write=table.write_table),
}
assert {"auto", *_ROOMS} == set(get_args(Format))

WRITABLE: Final = tuple(name for name, room in _ROOMS.items() if room.write)


def read(path: str | Path, format: Format = "auto", split: str | None = None) -> Hands:
    """The hands that a file or folder of annotations holds; images are not opened.

    Args:
        path: a file or folder; docs/formats.md shows each format's layout.
        format: its format; "auto" looks at the folder's layout, the suffix and the first bytes.
        split: one of `splits(path)`, such as "training"; None reads all splits found.

    Raises:
        ValueError: the path is missing, no format fits, the split does not exist, or a record is bad:
            one sentence that says what, where, and what was expected.
    """
    return _read(Path(path), format, split, Problems("stop"))


def read_checked(
    path: str | Path, format: Format = "auto", split: str | None = None, on_bad: OnBad = "skip"
) -> tuple[Hands, list[str]]:
    """As `read`, but bad records are left out and listed.

    Args:
        path: a file or folder.
        format: its format, or "auto".
        split: one of `splits(path)`, or None for all.
        on_bad: "skip" leaves bad records out, "stop" raises on the first.

    Returns:
        The hands, and one sentence for each record left out.

    Raises:
        ValueError: nothing can be read from the path at all, or a record is bad and `on_bad` is "stop".
    """
    reading = read_noted(path, format, split, on_bad)
    return reading.hands, reading.skipped


class Reading(NamedTuple):
    """What a file or folder of annotations holds.

    Attributes:
        hands: its hands.
        skipped: one sentence for each record left out.
        notes: one sentence for each thing that is right, but has no place in `Hands`, such as images without a hand.
    """

    hands: Hands
    skipped: list[str]
    notes: list[str]


def read_noted(path: str | Path, format: Format = "auto", split: str | None = None, on_bad: OnBad = "skip") -> Reading:
    """As `read_checked`, with what `Hands` cannot hold; arguments and errors likewise."""
    problems = Problems(on_bad)
    return Reading(_read(Path(path), format, split, problems), problems.messages, problems.notes)


def splits(path: str | Path, format: Format = "auto") -> tuple[str, ...]:
    """Names of the splits found at a path, () where the format or this data has none.

    Raises:
        ValueError: the path is missing or no format fits.
    """
    room = _ROOMS[_resolve(Path(path), format)]
    return room.splits(Path(path)) if room.splits else ()


def write(hands: Hands, path: str | Path, format: Format = "coco") -> list[str]:
    """Write hands in another format.

    Args:
        hands: what to write.
        path: coco a .json file; table a .csv, .parquet or .json file; labelme and yolo a folder;
            freihand MMPose's .json file.
        format: one of `WRITABLE`; "auto" takes table for .csv and .parquet and coco for .json.

    Returns:
        What the format cannot hold, one sentence each; empty where nothing is lost.

    Raises:
        ValueError: the format cannot be written, the path does not suit it, or writing fails.
    """
    path = Path(path)
    writer = _ROOMS[_format_to_write(path, format)].write
    assert writer is not None
    return writer(hands, path)


def _format_to_write(path: Path, format: Format) -> Format:
    if format == "auto":
        by_suffix: dict[str, Format] = {".csv": "table", ".parquet": "table", ".json": "coco"}
        if path.suffix.lower() not in by_suffix:
            raise ValueError(f"{path} does not say which format to write; name one of {', '.join(WRITABLE)}.")
        return by_suffix[path.suffix.lower()]
    if format not in WRITABLE:
        raise ValueError(f"the format {format!r} cannot be written; choose one of {', '.join(WRITABLE)}.")
    return format


def _read(path: Path, format: Format, split: str | None, problems: Problems) -> Hands:
    if problems.on_bad not in get_args(OnBad):
        raise ValueError(f"on_bad must be one of {', '.join(get_args(OnBad))}, got {problems.on_bad!r}.")
    name = _resolve(path, format)
    room = _ROOMS[name]
    if split is not None and room.splits is None:
        raise ValueError(f"{path} is read as {name}, which has no splits, so it has no split {split!r}.")
    with collector_paused():
        return room.read(path, split, problems)


def _resolve(path: Path, format: Format) -> Format:
    """The format to read a path as."""
    if format not in get_args(Format):
        raise ValueError(f"there is no format {format!r}; choose one of {', '.join(get_args(Format))}.")
    if not path.exists():
        raise ValueError(f"{path} does not exist.")
    if format != "auto":
        return format
    found = next((name for name, room in _ROOMS.items() if room.detect(path)), None)
    if found is None:
        raise ValueError(_nothing_fits(path))
    return found


def _nothing_fits(path: Path) -> str:
    if path.is_dir():
        if any(file.suffix.lower() in IMAGE_SUFFIXES for file in path.iterdir()):
            return (
                f"{path} holds images but no annotations: it was searched for Labelme or COCO .json files, "
                "for YOLO's images/ and labels/, and for FreiHAND's and RHD's files."
            )
        return (
            f"{path} holds no annotations: it was searched for Labelme or COCO .json files, for YOLO's images/ and "
            "labels/, for FreiHAND's training_xyz.json and RHD's training/anno_training.pickle."
        )
    if path.suffix.lower() == ".json":
        read_json(path)  # a broken file says where
        return (
            f'{path} is JSON of no known format: neither "images" and "annotations" (COCO), nor "shapes" (Labelme), '
            'nor rows with "hand" and "joint" (a table) were found.'
        )
    return f"{path} is of no known format: annotations are .json, .csv or .parquet files, or folders."
