"""Splitting a table of hands into parts without dividing a group between them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64

from knuckle.hands import Hands


def split_by_group(hands: Hands, fractions: Mapping[str, float], seed: int = 0) -> dict[str, Int64[np.ndarray, " n"]]:
    """Rows of each part, ascending. Hands of one group always fall into the same part.

    Groups are shuffled and dealt out from the largest to the smallest, each to the part that lacks
    most hands. The parts' sizes come as close to the fractions as the groups allow, and no part
    stays empty. The same hands, fractions and seed give the same parts.

    Args:
        hands: the table to split.
        fractions: share of the hands by name of the part, for example {"train": 0.8, "test": 0.2}.
        seed: of the shuffle.

    Raises:
        ValueError: the fractions are not positive or do not add up to 1, or there are fewer groups
            than parts.
    """
    return split_groups(hands.group, fractions, seed)


def split_groups(
    group: Int64[np.ndarray, " n"], fractions: Mapping[str, float], seed: int = 0
) -> dict[str, Int64[np.ndarray, " n"]]:
    """The split of `split_by_group`, of anything that has a group a row; errors likewise."""
    _check(fractions)
    groups, group_of_row, sizes = np.unique(group, return_inverse=True, return_counts=True)
    if len(groups) < len(fractions):
        raise ValueError(
            f"{len(group)} hands in {len(groups)} groups cannot be split into {len(fractions)} parts "
            f"({', '.join(fractions)}), as a group is never divided; give more groups or fewer parts."
        )
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    largest_first = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    part_of_group = np.empty(len(groups), dtype=np.intp)
    lacking = [fraction * len(group) for fraction in fractions.values()]
    empty = set(range(len(fractions)))
    for dealt, chosen in enumerate(largest_first.tolist()):
        # The last groups belong to the parts that still have none.
        open_parts = empty if len(groups) - dealt <= len(empty) else range(len(fractions))
        part = max(open_parts, key=lacking.__getitem__)
        part_of_group[chosen] = part
        lacking[part] -= sizes[chosen]
        empty.discard(part)
    part_of_row = part_of_group[group_of_row]
    return {name: np.flatnonzero(part_of_row == part) for part, name in enumerate(fractions)}


def _check(fractions: Mapping[str, float]) -> None:
    listed = ", ".join(f"{name} {fraction:g}" for name, fraction in fractions.items()) or "none"
    if not all(fraction > 0 for fraction in fractions.values()):
        raise ValueError(f"every fraction of a split must be above 0, got {listed}.")
    if not abs(sum(fractions.values()) - 1) < 1e-6:
        raise ValueError(f"the fractions of a split must add up to 1, got {listed}.")
