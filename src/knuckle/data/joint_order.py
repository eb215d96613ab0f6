"""Is this the joint order it claims to be? Hands have proportions; a wrong order breaks them.

Every candidate order is tried on the labels and judged by the lengths of the bones it gives. Mean
bone lengths of a hand (wrist to middle knuckle = 1) serve as the measure; a photo shortens bones
that point at the camera but keeps the rest in proportion, so the cost of an order is the mean over
bones of |log(length / expected length)|, cut off at `FAR`, after the hand's own size is divided out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from knuckle.hands import Hands
from knuckle.skeleton import BONES, FINGERS, FROM_MANO, FROM_RHD, NUM_JOINTS

Array = NDArray[np.float64]

GIVEN: Final = tuple(range(NUM_JOINTS))
_LITTLE_FIRST: Final = (0, *(joint for joints in reversed(list(FINGERS.values())) for joint in joints))

# Permutations as in `skeleton`: `xy_freihand = xy_given[PERMUTATION]`.
KNOWN_ORDERS: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        "RHD order (each finger from tip to base)": FROM_RHD,
        "little finger first": _LITTLE_FIRST,
        "little finger first, each finger from tip to base": tuple(FROM_RHD[joint] for joint in _LITTLE_FIRST),
        "MANO order (index, middle, little, ring, thumb, then the fingertips)": FROM_MANO,
        "wrist last": (20, *range(20)),
        "HANDS 2017 order (wrist, five knuckles, then three joints a finger)": (
            0,
            *(joint for finger in range(5) for joint in (1 + finger, *range(6 + 3 * finger, 9 + 3 * finger))),
        ),
        "level by level (wrist, five bases, ..., five tips)": (
            0,
            *(1 + finger + 5 * level for finger in range(5) for level in range(4)),
        ),
    }
)

# Mean lengths of the bones in `skeleton.BONES` order, rounded, the palm's with the carpus: after
# Buryanov and Kotiuk, "Proportions of hand segments" (Int. J. Morphol. 2010).
PROPORTIONS: Final[tuple[float, ...]] = (
    *(0.38, 0.42, 0.33, 0.28),
    *(0.97, 0.42, 0.25, 0.21),
    *(1.00, 0.46, 0.28, 0.23),
    *(0.94, 0.42, 0.27, 0.23),
    *(0.88, 0.33, 0.20, 0.20),
)

FAR: Final = 1.5
FEWEST_BONES: Final = 6
"""A hand with fewer labelled bones says nothing about the order."""
SAMPLE: Final = 4000
"""The order of a data set is judged on at most so many hands, evenly spread over it."""
CLEARLY: Final = 0.8
"""Another order is named when its typical cost is below this share of the given order's ..."""
MOST: Final = 0.7
"""... and it fits at least this share of the hands better."""


@dataclass(frozen=True)
class OrderVerdict:
    """How well the given order and the best known other one fit.

    Attributes:
        judged: number of hands with enough labelled bones.
        given_cost: median cost of the given order; about 0.2 in the right order.
        best: name of the known order with the lowest median cost, "" where the given one is best.
        best_cost: its median cost.
        better_in: share of the hands that the best one fits better.
        wrong: whether the given order is clearly not the data's.
    """

    judged: int
    given_cost: float
    best: str
    best_cost: float
    better_in: float
    wrong: bool


def judge_order(hands: Hands) -> OrderVerdict:
    """Compares the given order of a whole data set with the known others."""
    every = max(1, -(-len(hands) // SAMPLE))
    distances = joint_distances(hands.xy[::every])
    given = order_cost(distances, GIVEN)
    enough = np.isfinite(given)
    distances, given = distances[enough], given[enough]
    if not len(given):
        return OrderVerdict(0, float("nan"), "", float("nan"), 0.0, wrong=False)
    costs = {name: order_cost(distances, order) for name, order in KNOWN_ORDERS.items()}
    medians = {name: float(np.nanmedian(cost)) if np.isfinite(cost).any() else FAR for name, cost in costs.items()}
    best = min(medians, key=medians.__getitem__)
    given_cost, best_cost = float(np.median(given)), medians[best]
    better_in = float((costs[best] < given).mean())
    wrong = best_cost < CLEARLY * given_cost and better_in >= MOST
    return OrderVerdict(len(given), given_cost, best if best_cost < given_cost else "", best_cost, better_in, wrong)


def joint_distances(xy: Float[np.ndarray, "n 21 2"]) -> Float[np.ndarray, "n 21 21"]:
    """Distances between every two joints in pixels, NaN where one is unlabelled."""
    offset = xy[:, :, None] - xy[:, None]
    return np.asarray(np.hypot(offset[..., 0], offset[..., 1]))


def order_cost(distances: Float[np.ndarray, "n 21 21"], order: Sequence[int]) -> Float[np.ndarray, " n"]:
    """How badly each hand's bones fit a hand's proportions if its joints had that order.

    NaN for hands with fewer than `FEWEST_BONES` labelled bones in that order.
    """
    ends = np.array([(order[parent], order[joint]) for parent, joint in BONES])
    lengths = distances[:, ends[:, 0], ends[:, 1]].astype(np.float64)
    with np.errstate(divide="ignore"):
        ratio = np.log(lengths / np.array(PROPORTIONS))
    known = ~np.isnan(ratio)
    ratio = np.clip(ratio, -20, 20)
    deviation = np.abs(ratio - row_quantile(ratio, 0.5)[:, None])
    count = known.sum(axis=1)
    cost = np.where(known, np.minimum(deviation, FAR), 0).sum(axis=1) / np.maximum(count, 1)
    return np.where(count >= FEWEST_BONES, cost, np.nan)


def row_quantile(values: Shaped[np.ndarray, "n k"], share: float) -> Float[np.ndarray, " n"]:
    """As `np.nanquantile(values, share, axis=1)`, NaN for rows without a number, and 20 times faster."""
    if values.shape[1] == 0:
        return np.full(len(values), np.nan)
    ordered = np.sort(values, axis=1)  # NaN last
    position = share * np.maximum((~np.isnan(ordered)).sum(axis=1) - 1, 0)
    low = np.floor(position).astype(np.intp)
    rows, high = np.arange(len(values)), np.ceil(position).astype(np.intp)
    return np.asarray(ordered[rows, low] + (position - low) * (ordered[rows, high] - ordered[rows, low]))
