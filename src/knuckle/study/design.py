"""The study's samples: subsets with as many hands of each gesture, drawn by seed or replayed from lists.

Counts in the paper: 20 for each of 25 classes (500 hands) for the first hypothesis, 5 for the second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Int64

from knuckle.hands import Hands
from knuckle.metrics import balance
from knuckle.skeleton import GESTURES
from knuckle.study.lists import Entry, match_entries, read_lists

ALL_CLASSES: Final = tuple(range(len(GESTURES)))


class Draw(NamedTuple):
    """A subset, and what may be used beside it.

    Attributes:
        rows: (m,) the drawn hands, class by class, in the order in which they were drawn: the first k of each
            class are themselves a balanced draw.
        rest: rows of all groups that no drawn hand belongs to, ascending. No group is on both sides.
    """

    rows: Int64[np.ndarray, " m"]
    rest: Int64[np.ndarray, " r"]


def draw_balanced(
    hands: Hands, per_class: int, classes: Sequence[int] = ALL_CLASSES, seed: int = 0, *, at_most: bool = False
) -> Draw:
    """As many hands of each class, drawn at random.

    Within a class each further hand comes from the group that has given fewest so far, so that hands are as
    independent as the data allow: one background of a FreiHAND pose, then another pose. The same hands,
    counts, classes and seed give the same draw, and a class's draw does not depend on the other classes.

    Args:
        hands: with gestures; hands without one are never drawn.
        per_class: how many of each class.
        classes: which classes.
        seed: of the draw.
        at_most: take all hands of a class that has fewer, instead of refusing.

    Raises:
        ValueError: the count is not positive, a class is no gesture, or a class has too few hands.
    """
    if per_class < 1:
        raise ValueError(f"a draw needs at least 1 hand a class, got {per_class}.")
    if not classes or any(not 0 <= gesture < len(GESTURES) for gesture in classes):
        raise ValueError(f"classes must be some of 0 to {len(GESTURES) - 1}, got {list(classes)}.")
    counts = class_counts(hands)
    short = {gesture: int(counts[gesture]) for gesture in classes if counts[gesture] < per_class}
    if short and not at_most:
        listed = ", ".join(f"{gesture} {GESTURES[gesture]} ({n})" for gesture, n in short.items())
        raise ValueError(
            f"{per_class} hands of each class were asked for, but these have fewer: {listed}; "
            "ask for fewer hands, name the classes to use, or label more hands."
        )
    drawn = [_draw_class(hands, gesture, seed)[:per_class] for gesture in classes]
    rows: Int64[np.ndarray, " m"] = np.concatenate(drawn)
    return Draw(rows, np.flatnonzero(~np.isin(hands.group, hands.group[rows])))


def _draw_class(hands: Hands, gesture: int, seed: int) -> Int64[np.ndarray, " n"]:
    """All hands of a class in the order of drawing: round after round, one hand of each group at random."""
    rows = np.random.default_rng([seed, gesture]).permutation(np.flatnonzero(hands.gesture == gesture))
    seen: dict[int, int] = {}
    rounds = []
    for group in hands.group[rows].tolist():
        rounds.append(seen.get(group, 0))
        seen[group] = rounds[-1] + 1
    return rows[np.argsort(np.array(rounds, dtype=np.int64), kind="stable")]


def first_of_each(hands: Hands, rows: Int64[np.ndarray, " m"], per_class: int) -> Int64[np.ndarray, " k"]:
    """The first rows of each class in the order of `rows`, at most `per_class` of each."""
    taken = np.zeros(len(GESTURES), dtype=np.int64)
    kept = []
    for row in rows.tolist():
        gesture = hands.gesture[row]
        if gesture >= 0 and taken[gesture] < per_class:
            taken[gesture] += 1
            kept.append(row)
    return np.array(kept, dtype=np.int64)


def replay(hands: Hands, path: Path) -> tuple[Hands, Int64[np.ndarray, " m"]]:
    """The subset that lists record, line by line; see `lists`.

    Returns:
        The hands with the lists' gestures, and the rows that the lists name, class by class.

    Raises:
        ValueError: a list cannot be read or names an image that is not there, or a hand is named twice.
    """
    lines = replayed_lines(hands, path)
    gesture = hands.gesture.copy()
    rows = np.array(list(lines), dtype=np.int64)
    gesture[rows] = [entry.gesture for entry in lines.values()]
    return hands.replace(gesture=gesture), rows


def replayed_lines(hands: Hands, path: Path) -> dict[int, Entry]:
    """The line of the lists that names each row, in the order of `replay`.

    Raises:
        ValueError: see `replay`.
    """
    entries = read_lists(path)
    lines: dict[int, Entry] = {}
    for entry, rows in zip(entries, match_entries(hands, entries), strict=True):
        for row in rows.tolist():
            if row in lines:
                raise ValueError(
                    f"{entry.where} names {entry.image} again, after {lines[row].where}; keep one of the lines."
                )
            lines[row] = entry
    return lines


@dataclass(frozen=True)
class Imbalance:
    """How unevenly a data set shows the gestures.

    Attributes:
        counts: hands of each class, in the order of `skeleton.GESTURES`.
        unlabeled: hands without a gesture, which are in no other number here.
        effective_classes: inverse Simpson index 1 / sum p^2 over the classes' shares p: the number of equally
            frequent classes that would be as diverse (Hill, Ecology 54, 1973). 25 where all are equal; NaN
            without a labelled hand.
        chi_square: Pearson's statistic against equal shares of the 25 classes.
        p_value: of it, with 24 degrees of freedom. It takes hands as independent, which groups are not.
    """

    counts: tuple[int, ...]
    unlabeled: int
    effective_classes: float
    chi_square: float
    p_value: float


def class_counts(hands: Hands) -> Int64[np.ndarray, " 25"]:
    """Hands of each class."""
    return np.bincount(hands.gesture[hands.gesture >= 0].astype(np.int64), minlength=len(GESTURES))


def imbalance(hands: Hands) -> Imbalance:
    """Counts per gesture, and how far they are from balance (`metrics.balance`)."""
    counts = class_counts(hands)
    total = int(counts.sum())
    listed = tuple(int(count) for count in counts)
    if total == 0:
        return Imbalance(listed, len(hands), math.nan, math.nan, math.nan)
    found = balance(counts)
    return Imbalance(listed, len(hands) - total, found.effective_classes, found.chi_square, found.p)
