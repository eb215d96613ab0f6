"""What a data set holds, what in it looks wrong, and pictures of any selection of it."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Int, UInt8
from numpy.typing import NDArray

from knuckle.data.duplicates import ImageCheck, check_images, copied_labels
from knuckle.data.images import ImageError, read_image
from knuckle.data.joint_order import OrderVerdict, judge_order
from knuckle.data.suspicions import Suspicion, label_suspicions, ranked
from knuckle.draw import contact_sheet, hand_tile
from knuckle.formats import Format, read_noted, splits
from knuckle.formats.problems import OnBad
from knuckle.hands import LEFT, OCCLUDED, RIGHT, UNKNOWN, UNLABELED, VISIBLE, Hands
from knuckle.skeleton import GESTURES, JOINT_NAMES

MOST_IMAGES: Final = 2000
"""So many image files are opened unless told otherwise: a look at a large set takes seconds."""
SIDES: Final = {LEFT: "left", RIGHT: "right", UNKNOWN: "unknown"}
SELECTIONS: Final = "random, worst, all, gesture=6, side=left, group=3 or rows=0,5,9"
MISSING_GREY: Final = 96


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        hands: all that was read.
        split_sizes: hands of each split; empty where the format has none.
        skipped: one sentence for each record that could not be read.
        counts: how many hands there are of each kind, ready for JSON; see `count`.
        order: whether the joints have the order they should have.
        images: what the image files show.
        notes: sentences about the whole set, the gravest first.
        suspicions: about single hands, ranked.
    """

    hands: Hands
    split_sizes: dict[str, int]
    skipped: list[str]
    counts: dict[str, Any]
    order: OrderVerdict
    images: ImageCheck
    notes: list[str]
    suspicions: list[Suspicion]


def inspect_data(
    path: Path, format: Format = "auto", split: str | None = None, on_bad: OnBad = "skip", images: int = MOST_IMAGES
) -> Inspection:
    """Reads a data set, split by split, and looks at it.

    Args:
        path: a file or folder that `knuckle.read` reads.
        format: its format, or "auto".
        split: only this split; None takes all, in the format's order.
        on_bad: "skip" lists bad records, "stop" raises on the first.
        images: how many image files to open at most.

    Raises:
        ValueError: the data set cannot be read.
    """
    names = (split,) if split is not None else splits(path, format)
    parts = {name: read_noted(path, format, name, on_bad) for name in names or (None,)}
    hands = Hands.concat(part.hands for part in parts.values())
    sizes = {name: len(part.hands) for name, part in parts.items() if name is not None}
    skipped = [message for part in parts.values() for message in part.skipped]
    found = inspect_hands(hands, sizes, skipped, images)
    return replace(found, notes=[*found.notes, *(f"{note}." for part in parts.values() for note in part.notes)])


def inspect_hands(
    hands: Hands,
    split_sizes: dict[str, int] | None = None,
    skipped: Sequence[str] = (),
    images: int = MOST_IMAGES,
) -> Inspection:
    """Looks at hands that were read already."""
    order, check = judge_order(hands), check_images(hands, images)
    found = label_suspicions(hands, order_is_known=not order.wrong)
    return Inspection(
        hands=hands,
        split_sizes=split_sizes or {},
        skipped=list(skipped),
        counts=count(hands),
        order=order,
        images=check,
        notes=_notes(hands, order, check),
        suspicions=ranked([*found, *copied_labels(hands), *check.suspicions]),
    )


def count(hands: Hands) -> dict[str, Any]:
    """How many hands, by everything a table knows: names to numbers, nested once, the most frequent first."""
    visibility = {
        name: (hands.visibility == value).sum(axis=0).tolist()
        for name, value in (("visible", VISIBLE), ("occluded", OCCLUDED), ("unlabeled", UNLABELED))
    }
    group_sizes = np.unique(hands.group, return_counts=True)[1]
    return {
        "hands": len(hands),
        "images": len(np.unique(hands.image)),
        "side": {SIDES[side]: n for side, n in _counted(hands.side)},
        "gesture": {GESTURES[value] if value >= 0 else "unlabeled": n for value, n in _counted(hands.gesture)},
        "image size": {
            f"{w} x {h}" if w and h else "unknown": n
            for (w, h), n in Counter(map(tuple, hands.size.tolist())).most_common()
        },
        "labeled joints": {str(value): n for value, n in _counted(hands.labeled.sum(axis=1))},
        "visibility": {
            joint: {name: numbers[row] for name, numbers in visibility.items()} for row, joint in enumerate(JOINT_NAMES)
        },
        "groups": {
            "number": len(group_sizes),
            "smallest": int(group_sizes.min(initial=len(hands))),
            "median": float(np.median(group_sizes)) if len(group_sizes) else 0.0,
            "largest": int(group_sizes.max(initial=0)),
        },
    }


def select(selection: str, hands: Hands, suspicions: Sequence[Suspicion], most: int) -> Int[np.ndarray, " m"]:
    """The rows that a selection names, at most `most` of them.

    Args:
        selection: "random" (always the same ones), "worst" (the most suspicious), "all" (from the first on), or
            `gesture=`, `side=`, `group=`, `rows=` with a value; a gesture by number or name.
        hands: the table.
        suspicions: ranked.
        most: rows asked for by number are not cut off.

    Raises:
        ValueError: there is no such selection, or it selects nothing.
    """
    key, _, value = selection.partition("=")
    every = np.arange(len(hands))
    if selection == "random":
        rows = np.sort(np.random.default_rng(0).permutation(every)[:most])
    elif selection == "worst":
        rows = np.array(list(dict.fromkeys(suspicion.row for suspicion in suspicions)), dtype=np.intp)
    elif selection == "all":
        rows = every
    elif key == "rows":
        rows = np.array([_number(part, selection) for part in value.split(",")])
        beyond = rows[(rows < 0) | (rows >= len(hands))]
        if len(beyond):
            raise ValueError(f"there is no row {beyond[0]} in {len(hands)} hands; rows count from 0.")
        most = len(rows)
    elif key == "side" and value in SIDES.values():
        rows = np.flatnonzero(np.array([SIDES[side] for side in hands.side.tolist()]) == value)
    elif key == "gesture":
        gesture = GESTURES.index(value) if value in GESTURES else _number(value, selection)
        rows = np.flatnonzero(hands.gesture == gesture)
    elif key == "group":
        rows = np.flatnonzero(hands.group == _number(value, selection))
    else:
        raise ValueError(f"there is no selection {selection!r}; choose {SELECTIONS}.")
    if not len(rows):
        raise ValueError(f"the selection {selection!r} holds no hand; choose {SELECTIONS}.")
    return rows[:most]


def draw_sheet(
    hands: Hands, rows: Int[np.ndarray, " m"], suspicions: Sequence[Suspicion], title: str
) -> UInt8[np.ndarray, "h w 3"]:
    """A contact sheet of the rows, each captioned with its number, file and first suspicion.

    A hand whose image cannot be read is drawn on grey.
    """
    reasons: dict[int, str] = {}
    for suspicion in suspicions:
        reasons.setdefault(suspicion.row, suspicion.sentence)
    tiles, captions = [], []
    for row in rows.tolist():
        hand = hands[row]
        lines = [f"{row}  {_short_name(hand)}", reasons.get(row, "")]
        try:
            image = read_image(hand.paths()[0])
        except ImageError:
            image = _grey_frame(hand)
            lines.insert(1, "no image: the file cannot be read")
        tiles.append(hand_tile(image, hand))
        captions.append("\n".join(line for line in lines if line))
    return contact_sheet(tiles, captions, title=title)


def write_inspection(inspection: Inspection, folder: Path) -> None:
    """Writes `inspect.json` (counts, notes, skipped records) and `suspicions.csv` (ranked).

    Raises:
        ValueError: the folder cannot be written.
    """
    summary = {
        **inspection.counts,
        "splits": inspection.split_sizes,
        "notes": inspection.notes,
        "joint order": asdict(inspection.order),
        "suspicions": dict(Counter(suspicion.kind for suspicion in inspection.suspicions).most_common()),
        "images checked": inspection.images.checked,
        "unreadable images": inspection.images.unreadable,
        "skipped": inspection.skipped,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "inspect.json").write_text(json.dumps(_finite(summary), indent=2) + "\n", encoding="utf-8")
        with (folder / "suspicions.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("row", "image", "kind", "score", "sentence"))
            for found in inspection.suspicions:
                image = inspection.hands.image[found.row]
                table.writerow((found.row, image, found.kind, f"{found.score:.3f}", found.sentence))
    except OSError as error:
        raise ValueError(f"{folder} cannot be written ({error.strerror or error}).") from error


def _notes(hands: Hands, order: OrderVerdict, check: ImageCheck) -> list[str]:
    notes = []
    if order.wrong:
        notes.append(
            f"WRONG JOINT ORDER: the joints look like {order.best}, which fits {order.better_in:.0%} of "
            f"{order.judged:,} hands better (cost {order.best_cost:.2f}, as given {order.given_cost:.2f}); "
            "bring them into knuckle's order before anything else."
        )
    elif order.judged == 0 and len(hands):
        notes.append("The joint order was not checked: no hand has enough labelled bones.")
    spans = hands.size.max(axis=1, initial=0) > 2
    if spans.any() and np.nanmax(np.abs(hands.xy[spans]), initial=0) <= 2 and hands.labeled[spans].any():
        notes.append(
            "All coordinates lie within 2 px of the corner: they look like fractions of the image, not pixels."
        )
    known = (hands.size > 0).all(axis=1)
    given, swapped = (
        _outside(hands.xy[known], hands.size[known]),
        _outside(hands.xy[known][..., ::-1], hands.size[known]),
    )
    if given > 0.1 and swapped < 0.1 * given:
        notes.append(
            f"x and y look swapped: {given:.0%} of the points lie outside their image, {swapped:.0%} if swapped."
        )
    if check.unreadable:
        share = f"{len(check.unreadable):,} of {check.checked:,} images opened"
        notes.append(f"{share} cannot be used; the first: {check.unreadable[0]}")
    if check.checked < check.images:
        notes.append(f"{check.checked:,} of {check.images:,} images were opened to look for copies and damage.")
    return notes


def _outside(xy: NDArray[np.float32], size: NDArray[np.int32]) -> float:
    """The share of labelled points outside their image."""
    labeled = np.isfinite(xy[..., 0])
    outside = np.asarray(((xy < -1) | (xy > size[:, None])).any(axis=-1))
    return float(outside[labeled].mean()) if labeled.any() else 0.0


def _counted(values: NDArray[Any]) -> list[tuple[int, int]]:
    return Counter(values.tolist()).most_common()


def _number(text: str, selection: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} in the selection {selection!r} is no number; choose {SELECTIONS}.") from None


def _short_name(hand: Hands) -> str:
    return Path(str(hand.image[0])).name


def _grey_frame(hand: Hands) -> UInt8[np.ndarray, "h w 3"]:
    """A grey picture of a sensible size: `hand_tile` fills the rest."""
    width, height = (int(side) if 0 < side < 10_000 else 256 for side in hand.size[0])
    return np.full((height, width, 3), MISSING_GREY, dtype=np.uint8)


def _finite(value: Any) -> Any:
    """JSON knows no NaN: None instead."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
