"""The study's two sets of hands, from a plan: base hands and own photos, with gestures, drawn and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from jaxtyping import Bool, Int64

from knuckle.formats import read_checked
from knuckle.hands import UNKNOWN, Hands
from knuckle.skeleton import GESTURES
from knuckle.study.classify import THRESHOLD, propose
from knuckle.study.crop_artefact import ASSUMED_SIZE
from knuckle.study.design import (
    ALL_CLASSES,
    Imbalance,
    class_counts,
    draw_balanced,
    first_of_each,
    imbalance,
    replay,
    replayed_lines,
)
from knuckle.study.gestures import by_folder, by_lists, by_table, is_table
from knuckle.study.lists import write_lists
from knuckle.study.own_photos import PAPER_SIZE, read_own_photos, resize_own_photos

if TYPE_CHECKING:
    from knuckle.formats import Format
    from knuckle.formats.problems import OnBad

OwnCrop = Literal["paper", "right"]

SOURCES: Final = "labels, folder, propose, or the path of lists or of a table"
LISTS: Final = "lists"
H1_LISTS: Final = "h1"
H2_LISTS: Final = "h2"
OWN_LISTS: Final = "own"
RESIZED: Final = "own_photos"


@dataclass(frozen=True)
class Plan:
    """What is compared, and how.

    Attributes:
        base: the data set that hands of each gesture are drawn from: FreiHAND in the paper.
        own: a folder of photos with Labelme files.
        model: what `knuckle.load` takes.
        base_format: of `base`, as `knuckle.read` takes it.
        split: of `base`; None: all.
        base_gestures: where the base hands' gestures come from: "labels" (as the annotations say), "folder",
            "propose" (by the classifier), or the path of lists or of a table.
        own_gestures: likewise for own photos.
        base_lists: replay these lists instead of drawing; a folder with h1/ and h2/ as a study writes it, or of
            lists for the first hypothesis, of which the second takes the first hands.
        own_lists: replay these lists of own photos.
        per_class: base hands of each class in the first hypothesis.
        h2_per_class: in the second; the first of those of the first hypothesis.
        own_per_class: own hands of each class at most, in both; 0 takes all.
        classes: which classes.
        seed: of the draws.
        resize: side in pixels that own photos are resized to, or None.
        own_crop: "paper" crops own photos as MMPose's loader does, as if they had 224 px; "right" as they are.
        margin: difference of EPE in pixels that counts as none; None: 5 % of the base's EPE.
        training: labels of the hands that the model learnt from, in any readable format, with gestures; None where
            they are not known.
    """

    base: Path
    own: Path
    model: str
    base_format: Format = "auto"
    split: str | None = None
    base_gestures: str = "labels"
    own_gestures: str = "labels"
    base_lists: Path | None = None
    own_lists: Path | None = None
    per_class: int = 20
    h2_per_class: int = 5
    own_per_class: int = 2
    classes: tuple[int, ...] = ALL_CLASSES
    seed: int = 0
    resize: int | None = PAPER_SIZE
    own_crop: OwnCrop = "paper"
    margin: float | None = None
    training: Path | None = None


@dataclass(frozen=True)
class Samples:
    """The hands that are compared.

    Attributes:
        base: those of the first hypothesis.
        in_h2: (n,) which of them are in the second, too.
        own: own photos, resized.
        base_imbalance: of all base hands that were read, before the draw.
        own_imbalance: of all own hands that were read.
        findings: one sentence for each thing that is missing or odd in own photos.
        skipped: one sentence for each record that cannot be used.
        notes: what else a reader of the results must know.
    """

    base: Hands
    in_h2: Bool[np.ndarray, " n"]
    own: Hands
    base_imbalance: Imbalance
    own_imbalance: Imbalance
    findings: tuple[str, ...]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]


def choose_samples(plan: Plan, folder: Path, on_bad: OnBad = "stop") -> Samples:
    """Read, label, draw and resize; writes `lists/` and `own_photos/` into the folder.

    Raises:
        ValueError: something cannot be read, has no gestures, or has too few hands of a class.
    """
    _check(plan)
    everything, skipped = read_checked(plan.base, plan.base_format, plan.split, on_bad)
    everything, base_notes = _labeled(everything, plan.base_gestures, plan.base_lists, "base")
    everything, h1_rows, h2_rows, base_replayed = _base_rows(everything, plan)
    write_lists(everything, h1_rows, folder / LISTS / H1_LISTS)
    write_lists(everything, h2_rows, folder / LISTS / H2_LISTS)
    photos = read_own_photos(plan.own, on_bad)
    own_all, own_notes = _labeled(photos.hands, plan.own_gestures, plan.own_lists, "own")
    own_all, own_rows, own_replayed = _own_rows(own_all, plan)
    write_lists(own_all, own_rows, folder / LISTS / OWN_LISTS)
    own = own_all[own_rows]
    notes = [*base_notes, *base_replayed, *own_notes, *own_replayed, *_shape_notes(own, plan.resize)]
    if plan.resize is not None:
        own = resize_own_photos(own, plan.resize, folder / RESIZED)
    rows = np.union1d(h1_rows, h2_rows)
    assert len(rows) == len(h1_rows), "the second hypothesis' hands are among those of the first"
    return Samples(
        base=everything[h1_rows],
        in_h2=np.isin(h1_rows, h2_rows),
        own=own,
        base_imbalance=imbalance(everything),
        own_imbalance=imbalance(own_all),
        findings=photos.findings,
        skipped=(*skipped, *photos.skipped),
        notes=(*notes, *_size_notes(everything[h1_rows])),
    )


def _check(plan: Plan) -> None:
    if plan.h2_per_class > plan.per_class and plan.base_lists is None:
        raise ValueError(
            f"the second hypothesis takes {plan.h2_per_class} of the {plan.per_class} hands a class of the first; give "
            f"--h2-per-class {plan.per_class} or fewer, or --per-class {plan.h2_per_class} or more."
        )


def parse_classes(text: str) -> tuple[int, ...]:
    """Classes from a text like "0,6,12-15".

    Raises:
        ValueError: a part is no class or range of classes.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not (last.isdecimal() and int(last) >= int(first))):
            raise ValueError(f"{part.strip()!r} is no class; write for example 0,6,12-15.")
        found += range(int(first), int(last or first) + 1)
    if not found or max(found) >= len(ALL_CLASSES):
        raise ValueError(f"classes are 0 to {len(ALL_CLASSES) - 1}, got {text!r}.")
    return tuple(dict.fromkeys(found))


def assign(hands: Hands, source: str, name: str) -> tuple[Hands, list[str]]:
    """Gestures from a source, and a sentence on hands that have none or whose gesture is a guess.

    Args:
        hands: the table.
        source: "labels", "folder", "propose", or the path of lists or of a table.
        name: of the set, for messages.

    Raises:
        ValueError: there is no such source, it cannot be read, or no hand has a gesture then.
    """
    if len(hands) == 0:
        raise ValueError(f"there is no {name} hand that can be used.")
    notes = []
    if source == "folder":
        labels, hands = hands.gesture, by_folder(hands.replace(gesture=np.full(len(hands), UNKNOWN)))
        unnamed = (hands.gesture == UNKNOWN) & (labels != UNKNOWN)
        if unnamed.any():
            hands = hands.replace(gesture=np.where(unnamed, labels, hands.gesture))
            notes.append(
                f"No folder names a class for {int(unnamed.sum()):,} of {len(hands):,} {name} hands, so their gestures "
                "are those of their labels; folders are to be called c6, 6 or fist."
            )
    elif source == "propose":
        hands = hands.replace(gesture=propose(hands).gesture)
        notes.append(
            f"The gestures of the {name} hands are the classifier's proposals with a confidence of {THRESHOLD} or "
            "more, not labels; look at them before relying on a class (docs/study.md states how often they are right)."
        )
    elif source != "labels":
        path = Path(source)
        if not path.exists():
            raise ValueError(f"gestures come from {SOURCES}, but there is no {source}.")
        hands = by_table(hands, path) if is_table(path) else by_lists(hands, path)
    without = int((hands.gesture == UNKNOWN).sum())
    if without == len(hands):
        raise ValueError(f"no {name} hand has a gesture; take them from {SOURCES} (--{name}-gestures).")
    if without:
        notes.append(f"{name.capitalize()} hands without a gesture, which are not used: {without:,} of {len(hands):,}.")
    return hands, notes


def _labeled(hands: Hands, source: str, lists: Path | None, name: str) -> tuple[Hands, list[str]]:
    """As `assign`; lists that are replayed bring gestures of their own, so labels need not have any."""
    return (hands, []) if lists is not None and source == "labels" else assign(hands, source, name)


def _base_rows(hands: Hands, plan: Plan) -> tuple[Hands, Int64[np.ndarray, " m"], Int64[np.ndarray, " k"], list[str]]:
    """The hands with their gestures, rows of the first and second hypothesis, and what to know of them."""
    if plan.base_lists is None:
        rows = draw_balanced(hands, plan.per_class, plan.classes, plan.seed).rows
        return hands, rows, first_of_each(hands, rows, plan.h2_per_class), []
    if not (plan.base_lists / H1_LISTS).is_dir():
        hands, rows, notes = _replayed(hands, plan.base_lists, plan, "base")
        return hands, rows, first_of_each(hands, rows, plan.h2_per_class), notes
    first, second = (replayed_lines(hands, plan.base_lists / name) for name in (H1_LISTS, H2_LISTS))
    for row, line in second.items():
        if row not in first:
            raise ValueError(
                f"{plan.base_lists / H2_LISTS} names {hands.image[row]}, which is not in {H1_LISTS}; "
                "the second hypothesis compares hands of the first."
            )
        if line.gesture != first[row].gesture:
            raise ValueError(
                f"{line.where} gives {line.image} the class {line.gesture} ({GESTURES[line.gesture]}), but "
                f"{first[row].where} gave it {first[row].gesture} ({GESTURES[first[row].gesture]}); correct one of the "
                "lists."
            )
    hands, rows, notes = _replayed(hands, plan.base_lists / H1_LISTS, plan, "base")
    chosen = np.array([row for row in second if hands.gesture[row] in plan.classes], dtype=np.int64)
    return hands, rows, chosen, notes


def _own_rows(hands: Hands, plan: Plan) -> tuple[Hands, Int64[np.ndarray, " m"], list[str]]:
    if plan.own_lists is not None:
        return _replayed(hands, plan.own_lists, plan, "own")
    if not np.isin(hands.gesture, plan.classes).any():
        counts = class_counts(hands)
        raise ValueError(
            f"no own hand shows one of the classes {_spelt(plan.classes)}; own photos show "
            f"{', '.join(f'{row} {GESTURES[row]} ({counts[row]})' for row in np.flatnonzero(counts).tolist())}: name "
            "some of these with --classes, or label photos of those that you want."
        )
    most = plan.own_per_class or len(hands)
    return hands, draw_balanced(hands, most, plan.classes, plan.seed, at_most=True).rows, []


def _replayed(hands: Hands, lists: Path, plan: Plan, name: str) -> tuple[Hands, Int64[np.ndarray, " m"], list[str]]:
    """What lists record of the plan's classes, and a sentence on hands of others."""
    hands, rows = replay(hands, lists)
    kept = rows[np.isin(hands.gesture[rows], plan.classes)]
    if not len(kept):
        raise ValueError(
            f"{lists} names no {name} hand of the classes {_spelt(plan.classes)}; it has "
            f"{_spelt(np.unique(hands.gesture[rows]).tolist())}: name some of these with --classes."
        )
    beyond = len(rows) - len(kept)
    told = f"Hands of {lists} that are not used, as they are of other classes than {_spelt(plan.classes)}: {beyond:,}."
    return hands, kept, [told] if beyond else []


def _spelt(classes: Sequence[int]) -> str:
    return ", ".join(map(str, classes)) or "none"


def _shape_notes(own: Hands, resize: int | None) -> list[str]:
    """How much squares change the photos' shape."""
    ratio = own.size[:, 0] / own.size[:, 1]
    stretched = ratio != 1
    if resize is None or not stretched.any():
        return []
    most = float(np.exp(np.abs(np.log(ratio)).max()))
    return [
        f"Resizing to {resize} x {resize} px changes the shape of {int(stretched.sum())} of {len(own)} own "
        f"photos, the most by a factor of {most:.2f}: hands look that much wider or narrower than those of the base."
    ]


def _size_notes(base: Hands) -> list[str]:
    other = (base.size != ASSUMED_SIZE).any(axis=1)
    if not other.any():
        return []
    return [
        f"{int(other.sum())} of {len(base)} base hands lie on images that are not {ASSUMED_SIZE} x {ASSUMED_SIZE} px: "
        f"AUC and EPE are in image pixels and PCK's limit is {0.2 * ASSUMED_SIZE:.1f} px, so they compare with no "
        "published row."
    ]
