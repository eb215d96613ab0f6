"""The same errors split by joint, finger, side, gesture, visibility and group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from knuckle.hands import Hands
from knuckle.metrics.errors import distances, normalizers
from knuckle.skeleton import FINGERS, GESTURES, JOINT_NAMES, NUM_JOINTS

PCK_THRESHOLD: Final = 0.2
VISIBILITY_NAMES: Final = ("unlabeled", "occluded", "visible")


@dataclass(frozen=True)
class Row:
    """The metrics of one part of the keypoints. Missing predictions are counted beside the means, not in them.

    Attributes:
        name: what the part is: a joint, a finger, a group's number.
        hands: hands with at least one labelled keypoint in the part.
        keypoints: labelled keypoints.
        missing: labelled keypoints without a prediction.
        epe_found: mean error of the keypoints that have a prediction, image pixels (micro).
        nme_found: the same over the longer side of the box.
        median: median error, image pixels; missing predictions count as infinite.
        pck: PCK@0.2 of the box, strict, macro over the joints of the part; missing ones are misses.
        worst_row: row of the hand with the largest error, a missing prediction before all.
        worst_image: its image.
    """

    name: str
    hands: int
    keypoints: int
    missing: int
    epe_found: float
    nme_found: float
    median: float
    pck: float
    worst_row: int
    worst_image: str


class Breakdown(NamedTuple):
    """One table a way of splitting; parts without a labelled keypoint have no row."""

    joints: tuple[Row, ...]
    fingers: tuple[Row, ...]
    sides: tuple[Row, ...]
    gestures: tuple[Row, ...]
    visibilities: tuple[Row, ...]
    groups: tuple[Row, ...]


def breakdown(pred: Hands, true: Hands) -> Breakdown:
    """The metrics of every joint, finger, side, gesture, visibility and group.

    Sides, gestures, visibilities and groups are the truth's. The wrist belongs to no finger and has
    a row of its own among them.

    Raises:
        ValueError: the two do not describe the same hands, or a labelled hand has no box.
    """
    distance = distances(pred, true)
    box_side = normalizers(true, "box")
    points = _Points.of(distance, distance / np.where(box_side > 0, box_side, np.nan)[:, None])
    groups, group_codes = np.unique(true.group, return_inverse=True)

    def table(codes: NDArray[np.integer], names: Sequence[str]) -> tuple[Row, ...]:
        return _table(points, np.broadcast_to(codes, distance.shape), names, true.image)

    return Breakdown(
        joints=table(np.arange(NUM_JOINTS), JOINT_NAMES),
        fingers=table(_finger_codes(), ("wrist", *FINGERS)),
        sides=table(true.side[:, None].astype(np.int64) + 1, ("unknown", "left", "right")),
        gestures=table(true.gesture[:, None].astype(np.int64) + 1, ("unlabeled", *GESTURES)),
        visibilities=table(true.visibility.astype(np.int64), VISIBILITY_NAMES),
        groups=table(group_codes[:, None], [str(group) for group in groups.tolist()]),
    )


class _Points(NamedTuple):
    """The labelled keypoints, hand by hand.

    The flags are 0 or 1: `found`, has a prediction; `sized`, has a box with an extent; `correct`,
    lies within PCK's threshold. `distance` is 0 where not found, `ratio` where not found or not
    sized. `by_error` sorts the keypoints of `error`, where missing ones are infinite.
    """

    row: Int64[np.ndarray, " m"]
    joint: Int64[np.ndarray, " m"]
    error: Float64[np.ndarray, " m"]
    distance: Float64[np.ndarray, " m"]
    ratio: Float64[np.ndarray, " m"]
    found: Float64[np.ndarray, " m"]
    sized: Float64[np.ndarray, " m"]
    correct: Float64[np.ndarray, " m"]
    by_error: Int64[np.ndarray, " m"]

    @classmethod
    def of(cls, distance: Float64[np.ndarray, "n 21"], ratio: Float64[np.ndarray, "n 21"]) -> _Points:
        row, joint = np.nonzero(~np.isnan(distance))
        error, scaled = distance[row, joint], ratio[row, joint]
        found, sized = np.isfinite(error), ~np.isnan(scaled)
        return cls(
            row=row,
            joint=joint,
            error=error,
            distance=np.where(found, error, 0.0),
            ratio=np.where(found & sized, scaled, 0.0),
            found=found.astype(np.float64),
            sized=sized.astype(np.float64),
            correct=(scaled < PCK_THRESHOLD).astype(np.float64),
            by_error=np.argsort(error),
        )


def _table(
    points: _Points, codes: NDArray[np.integer], names: Sequence[str], images: NDArray[np.str_]
) -> tuple[Row, ...]:
    """One row for each code that a labelled keypoint has; `codes` (n, 21) count into `names`."""
    parts = len(names)
    code = codes[points.row, points.joint]
    keypoints = np.bincount(code, minlength=parts)
    present = np.flatnonzero(keypoints)

    def total(values: Float64[np.ndarray, " m"]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(code, values, minlength=parts)[present], dtype=np.float64)

    median, worst = _medians_and_worst(points, code, keypoints)
    worst_row = points.row[worst]
    found = total(points.found)
    columns = (
        _hands(code, points.row, parts)[present],
        keypoints[present],
        keypoints[present] - found.astype(np.int64),
        _quotient(total(points.distance), found),
        _quotient(total(points.ratio), total(points.found * points.sized)),
        median,
        _macro_pck(points, code, parts)[present],
        worst_row,
        images[worst_row],
    )
    rows = zip(present.tolist(), *(column.tolist() for column in columns), strict=True)
    return tuple(Row(names[part], *values) for part, *values in rows)


def _medians_and_worst(
    points: _Points, code: NDArray[np.integer], keypoints: NDArray[np.int64]
) -> tuple[Float64[np.ndarray, " present"], Int64[np.ndarray, " present"]]:
    """The median error of each part that has keypoints, and the index of its largest one."""
    narrow = code.astype(np.min_scalar_type(len(keypoints)))  # short integers sort several times faster
    order = points.by_error[np.argsort(narrow[points.by_error], kind="stable")]
    count = keypoints[keypoints > 0]
    last = np.cumsum(count) - 1
    first = last - count + 1
    low, high = order[first + (count - 1) // 2], order[first + count // 2]
    return (points.error[low] + points.error[high]) / 2, order[last]


def _hands(code: NDArray[np.integer], row: Int64[np.ndarray, " m"], parts: int) -> Int64[np.ndarray, " parts"]:
    """How many different hands each part has keypoints of."""
    pairs = np.sort(row * parts + code)  # sorting integers is several times faster than np.unique here
    first = np.ones(len(pairs), dtype=bool)
    first[1:] = pairs[1:] != pairs[:-1]
    return np.bincount(pairs[first] % parts, minlength=parts)


def _macro_pck(points: _Points, code: NDArray[np.integer], parts: int) -> Float64[np.ndarray, " parts"]:
    """PCK@0.2 of each part: the mean over its joints of each joint's share, NaN where nothing counts."""
    cell = code * NUM_JOINTS + points.joint
    sized, correct = (
        np.bincount(cell, flags, minlength=parts * NUM_JOINTS).reshape(parts, NUM_JOINTS)
        for flags in (points.sized, points.correct)
    )
    shares = np.nan_to_num(_quotient(correct, sized))
    return _quotient(shares.sum(axis=1), (sized > 0).sum(axis=1))


def _quotient(top: NDArray[np.number], bottom: NDArray[np.number]) -> NDArray[np.float64]:
    """One over the other, NaN where the divisor is 0."""
    quotient: NDArray[np.float64] = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=quotient, where=bottom > 0)
    return quotient


def _finger_codes() -> Int64[np.ndarray, " 21"]:
    codes = np.zeros(NUM_JOINTS, dtype=np.int64)
    for number, joints in enumerate(FINGERS.values(), start=1):
        codes[list(joints)] = number
    return codes
