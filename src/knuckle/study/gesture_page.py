"""A page on which a person confirms or changes proposed gestures, and saves them as a table for the study.

One HTML file that fetches nothing: the hands of each proposed gesture side by side, the likeliest first, a choice under
each. "All of these" confirms a gesture at once; a change confirms its hand. The table that the page saves has the
columns image, hand and gesture (`gestures.by_table`) and holds confirmed hands alone. The browser keeps what is chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Int64

from knuckle.data.images import ImageError, read_image
from knuckle.draw import hand_tile
from knuckle.formats.files import write_text
from knuckle.hands import UNKNOWN, Hands
from knuckle.skeleton import GESTURES
from knuckle.study.classify import Proposals, propose
from knuckle.study.galleries import tile_address
from knuckle.study.lists import numbers_on_images, ranks

TEMPLATE: Final = "gestures.html"
TILE: Final = 160
UNSURE: Final = "not sure"


class Shown(NamedTuple):
    """A hand on the page.

    Attributes:
        image: as the table names it.
        hand: its number on the image, from 0.
        likeliest: name of the gesture that is proposed, or of the likeliest one.
        confidence: of that gesture.
        address: the picture, as data.
    """

    image: str
    hand: int
    likeliest: str
    confidence: float
    address: str


@dataclass(frozen=True)
class GesturePage:
    """What the page shows.

    Attributes:
        title: of the page.
        key: of what the browser keeps; another one for other hands.
        sections: hands by the name of the gesture that is proposed, and last those that the classifier is not sure of.
        names: of all gestures.
        notes: sentences about hands that are not on it.
    """

    title: str
    key: str
    sections: dict[str, list[Shown]]
    names: Sequence[str]
    notes: Sequence[str]


def write_gesture_page(hands: Hands, path: Path, title: str, most: int) -> list[str]:
    """Write the page for hands whose gesture nobody has said.

    Args:
        hands: with labelled keypoints; those that have a gesture are left out.
        path: of the HTML file.
        title: of the page.
        most: hands of each proposed gesture; groups take turns.

    Returns:
        One sentence for each kind of hands that are not on the page.

    Raises:
        ValueError: every hand has a gesture, none can be read, or the page cannot be written.
    """
    from jinja2 import Environment

    page = gesture_page(hands, title, most)
    template = resources.files("knuckle.study").joinpath(f"assets/{TEMPLATE}").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    write_text(path, environment.from_string(template).render(page=page))
    return list(page.notes)


def gesture_page(hands: Hands, title: str, most: int) -> GesturePage:
    """What the page of these hands shows; arguments and errors as for `write_gesture_page`."""
    without = np.flatnonzero(hands.gesture == UNKNOWN)
    if not len(without):
        raise ValueError("every hand has a gesture already, so there is nothing to confirm.")
    found = propose(hands[without])
    number = numbers_on_images(hands)
    sections: dict[str, list[Shown]] = {}
    unread, left_out = 0, 0
    for gesture in [*range(len(GESTURES)), UNKNOWN]:
        rows = _turns(hands, without, found, gesture)
        shown = [_shown(hands, without[row], number[without[row]], found, row) for row in rows[:most].tolist()]
        left_out += max(0, len(rows) - most)
        unread += sum(hand is None for hand in shown)
        readable = [hand for hand in shown if hand is not None]
        if readable:
            sections[UNSURE if gesture == UNKNOWN else GESTURES[gesture]] = readable
    if not sections:
        raise ValueError(f"none of the {unread} photos that would be shown can be read.")
    counted = {
        "{} hands have a gesture already.": len(hands) - len(without),
        f"{{}} hands are beyond the first {most} of their gesture.": left_out,
        "{} hands have photos that cannot be read.": unread,
    }
    notes = [sentence.format(f"{count:,}") for sentence, count in counted.items() if count]
    content = "".join(f"{hand.image}\t{hand.hand}\n" for section in sections.values() for hand in section)
    return GesturePage(title, hashlib.sha256(content.encode()).hexdigest()[:16], sections, GESTURES, notes)


def _turns(hands: Hands, without: Int64[np.ndarray, " m"], found: Proposals, gesture: int) -> Int64[np.ndarray, " k"]:
    """The rows with that proposal: every group's most confident hand first, then every group's second."""
    rows = np.flatnonzero(found.gesture == gesture)
    rows = rows[np.argsort(-found.confidence[rows], kind="stable")]
    group = hands.group[without[rows]]
    by_group = np.argsort(group, kind="stable")
    turn = np.empty(len(rows), dtype=np.int64)
    turn[by_group] = ranks(group[by_group])
    return rows[np.argsort(turn, kind="stable")]


def _shown(hands: Hands, row: np.int64, number: np.int64, found: Proposals, proposal: int) -> Shown | None:
    try:
        picture = read_image(hands[row].paths()[0])
    except ImageError:
        return None
    return Shown(
        str(hands.image[row]),
        int(number),
        GESTURES[found.likeliest[proposal]],
        float(found.confidence[proposal]),
        tile_address(hand_tile(picture, hands[row], tile=TILE)),
    )
