"""Shares of named kinds as users write them: "fist:0.5,ok:0.1". What is not named shares what is left over."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping


def parse_shares(
    text: str, usual: Mapping[str, float], what: str, name_of: Callable[[str], str] | None = None
) -> dict[str, float]:
    """The share of each kind, of 1 in all.

    Args:
        text: name:share pairs between commas; empty: the usual shares.
        usual: all kinds by name, with the proportions in which those that are not named share what the named ones
            leave over.
        what: what one of them is called in messages, such as "gesture".
        name_of: the name in `usual` for a name as users write it; raises a ValueError that lists what there is. Names
            are written as in `usual` where None.

    Raises:
        ValueError: says which pair is wrong and what is expected.
    """
    name_of = name_of or (lambda name: _known(name, usual, what))
    given: dict[str, float] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        written, colon, number = pair.partition(":")
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if not colon or not 0 <= share <= 1:
            raise ValueError(
                f"'{pair}' is not a {what} and its share from 0 to 1: write for example {_example(usual)}."
            )
        name = name_of(written)
        if name in given:
            raise ValueError(f"The {what} '{written.strip()}' ({name}) is given twice: give it one share.")
        given[name] = share
    left = 1 - sum(given.values())
    others = sum(weight for name, weight in usual.items() if name not in given)
    if left < -1e-9:
        raise ValueError(f"The shares sum to {1 - left:g}: make them at most 1.")
    if others <= 0 and left > 1e-9:
        raise ValueError(f"The shares sum to {1 - left:g}: make them 1, as no other takes the rest.")
    return {
        name: given.get(name, max(left, 0.0) * weight / others if others > 0 else 0.0) for name, weight in usual.items()
    }


def shares_text(shares: Mapping[str, float]) -> str:
    """What `parse_shares` reads."""
    return ",".join(f"{name}:{share}" for name, share in shares.items())


def _known(name: str, usual: Mapping[str, float], what: str) -> str:
    if name.strip() not in usual:
        raise ValueError(f"There is no {what} '{name.strip()}': choose from {', '.join(usual)}.")
    return name.strip()


def _example(usual: Mapping[str, float]) -> str:
    return f"{next(iter(usual))}:0.5"
