"""Wrong labels on purpose: hands with a known amount of label noise, to measure what it does to training.

Every kind of noise takes hands, a rate and a seed, and returns the same hands with other keypoints. Images, boxes and
all other columns stay, keypoints that were not labelled stay so, and a rate of 0 changes nothing.

All randomness of a row comes from (seed, kind, row): its noise is the same whatever rows follow it, and kinds that are
applied one after the other do not hit the same hands. Rates share their draws: with the same seed a higher rate gives
the same displacements, enlarged, or hits the same hands and more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from knuckle.hands import UNLABELED, Hands
from knuckle.metrics.errors import normalizers
from knuckle.skeleton import FINGERS, NUM_JOINTS

_FINGER_JOINTS: Final[Int64[np.ndarray, "5 4"]] = np.array(list(FINGERS.values()))


def gaussian(hands: Hands, rate: float, seed: int = 0) -> Hands:
    """Every keypoint moves by a normal displacement, independent in x and y.

    Args:
        hands: with a box wherever a keypoint is labelled.
        rate: the standard deviation in x and in y, as a fraction of the box's longer side.
        seed: not negative.

    Raises:
        ValueError: the rate is negative or not finite, or a labelled hand has no box.
    """
    return _moved(hands, rate, [rng.standard_normal((NUM_JOINTS, 2)) for rng in _generators(hands, "gaussian", seed)])


def heavy(hands: Hands, rate: float, seed: int = 0) -> Hands:
    """Every keypoint moves by a displacement after Student's t in the plane with 2 degrees of freedom.

    A normal displacement over the square root of a standard exponential number: the same in all directions, and
    x and y go far together. Its variance is infinite. The part 1 / (1 + r^2 / 2) of all keypoints moves further
    than r times the scale: half of them 1.4 times (normal displacements: 1.2), one in 14 five times.

    Args:
        hands: with a box wherever a keypoint is labelled.
        rate: the scale, as a fraction of the box's longer side; that of the normal numbers, so that the bulk of the
            keypoints moves about as far as in `gaussian` at this rate.
        seed: not negative.

    Raises:
        ValueError: the rate is negative or not finite, or a labelled hand has no box.
    """
    return _moved(
        hands,
        rate,
        [
            rng.standard_normal((NUM_JOINTS, 2)) / np.sqrt(rng.standard_exponential((NUM_JOINTS, 1)))
            for rng in _generators(hands, "heavy", seed)
        ],
    )


def swapped(hands: Hands, rate: float, seed: int = 0) -> Hands:
    """Two fingers of a hand, each pair as likely, exchange their labels: base for base, tip for tip.

    Position and visibility go together. Joints that only one of the two fingers has a label for stay as they are.

    Args:
        hands: any.
        rate: the probability that this happens to a hand.
        seed: not negative.

    Raises:
        ValueError: the rate is not within 0..1.
    """
    _check_fraction(rate)
    joints = np.arange(NUM_JOINTS)
    taken_from = np.tile(joints, (len(hands), 1))
    for row, rng in enumerate(_generators(hands, "swapped", seed)):
        if rng.random() < rate:
            one, other = _FINGER_JOINTS[rng.permutation(len(_FINGER_JOINTS))[:2]]
            taken_from[row, one], taken_from[row, other] = other, one
    both = hands.labeled & np.take_along_axis(hands.labeled, taken_from, axis=1)
    taken_from = np.where(both, taken_from, joints)
    return hands.replace(
        xy=np.take_along_axis(hands.xy, taken_from[..., None], axis=1),
        visibility=np.take_along_axis(hands.visibility, taken_from, axis=1),
    )


def other_hand(hands: Hands, rate: float, seed: int = 0) -> Hands:
    """A hand gets the label of another one, moved and scaled from that hand's box into its own.

    The other hand is of another group, so that it is not the same pose, and labels all joints that this one labels.
    All such hands are as likely: which of them it is depends on the whole table, but not which hands are hit. Position
    and visibility come from the other hand; longer sides and centres of the boxes coincide.

    Args:
        hands: with a box wherever a keypoint is labelled.
        rate: the probability that this happens to a hand.
        seed: not negative.

    Raises:
        ValueError: the rate is not within 0..1, a labelled hand has no box, or there is no other hand that would do.
    """
    _check_fraction(rate)
    side = normalizers(hands, "box")
    center = (hands.box[:, None, :2].astype(np.float64) + hands.box[:, None, 2:]) / 2
    labeled = hands.labeled
    xy, visibility = hands.xy.astype(np.float64), hands.visibility.copy()
    for row, rng in enumerate(_generators(hands, "other_hand", seed)):
        if rng.random() < rate and labeled[row].any():
            other = rng.choice(_candidates(hands, row, labeled, side))
            xy[row] = center[row] + (hands.xy[other] - center[other]) * (side[row] / side[other])
            visibility[row] = np.where(labeled[row], hands.visibility[other], UNLABELED)
    return hands.replace(xy=xy, visibility=visibility)


def missing(hands: Hands, rate: float, seed: int = 0) -> Hands:
    """A keypoint loses its label, independent of all others; a hand may lose all of them.

    Args:
        hands: any.
        rate: the probability that this happens to a keypoint.
        seed: not negative.

    Raises:
        ValueError: the rate is not within 0..1.
    """
    _check_fraction(rate)
    drawn = np.array([rng.random(NUM_JOINTS) for rng in _generators(hands, "missing", seed)])
    lost = drawn.reshape(-1, NUM_JOINTS) < rate
    return hands.replace(visibility=np.where(lost, UNLABELED, hands.visibility))


NOISE: Final = MappingProxyType[str, Callable[[Hands, float, int], Hands]](
    {"gaussian": gaussian, "heavy": heavy, "swapped": swapped, "other_hand": other_hand, "missing": missing}
)
"""The kinds of noise by name: NOISE["gaussian"](hands, 0.05, seed)."""


def _generators(hands: Hands, kind: str, seed: int) -> Iterator[np.random.Generator]:
    """One generator a row."""
    number = tuple(NOISE).index(kind)
    return (np.random.Generator(np.random.SFC64((seed, number, row))) for row in range(len(hands)))


def _moved(hands: Hands, rate: float, displacements: list[Float64[np.ndarray, "21 2"]]) -> Hands:
    """The keypoints moved by displacements in units of rate times the box's longer side."""
    if not (math.isfinite(rate) and rate >= 0):
        raise ValueError(f"the rate of displaced labels must be a finite number, 0 or more, got {rate:g}.")
    step = rate * normalizers(hands, "box")
    return hands.replace(xy=hands.xy + step[:, None, None] * np.reshape(displacements, (-1, NUM_JOINTS, 2)))


def _candidates(
    hands: Hands, row: int, labeled: Bool[np.ndarray, "n 21"], side: Float64[np.ndarray, " n"]
) -> Int64[np.ndarray, " m"]:
    """The rows whose label may stand in for that of `row`."""
    complete = (labeled | ~labeled[row]).all(axis=1)
    found = np.flatnonzero(complete & (hands.group != hands.group[row]) & (side > 0))
    if not len(found):
        raise ValueError(
            f"no hand of another group labels all joints that row {row} ({hands.image[row]}) labels, so none can lend "
            "it its label; give more hands."
        )
    return found


def _check_fraction(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"the rate of wrong labels must lie in 0..1, got {rate:g}.")
