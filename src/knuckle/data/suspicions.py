"""Labels that look wrong: each suspicion names a hand, says why in a sentence, and has a score.

Scores are comparable: 1 is where a check begins to speak, 2 is twice as far. A suspicion is a
reason to look at a hand, not a verdict: fists, cut-off hands and odd views are rare but real.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from knuckle.data.joint_order import GIVEN, KNOWN_ORDERS, PROPORTIONS, joint_distances, order_cost, row_quantile
from knuckle.hands import Hands
from knuckle.skeleton import BONES, FINGERS, JOINT_NAMES

Kind = Literal[
    "joint order", "bone length", "outside image", "same place", "copied labels", "copied image", "image size"
]

LONG_BONE_DEVIATIONS: Final = 4.0
"""A bone is suspicious so many deviations beyond the usual long ones of the other hands ..."""
NORMAL_SIGMA: Final = 0.84
"""... which are this quantile, one standard deviation above the median of a normal distribution ..."""
DEVIATION_RANGE: Final = (0.12, 0.25)
"""... where a deviation, in log length, is kept in these bounds: few hands look too uniform, fists too scattered."""
HAND_SIZE_QUANTILE: Final = 0.7
"""A hand's size is told by its longer bones: in a fist most are shortened, and one bad point spoils up to five."""
OUTSIDE_PX: Final = 1.0
SAME_PLACE_PX: Final = 0.01
"""Two joints may well project onto one pixel, but hardly onto one point."""
SMALLEST_HAND_PX: Final = 20.0
"""Joints of smaller hands may share a pixel."""
SHORTCUT: Final = 0.12
"""Exchanging two joints of a finger is worth a sentence if it saves this much of the palm's length ..."""
REVERSAL_SHORTCUT: Final = 0.33
"""... and reversing it if it saves this much, and its tip lies nearer to the other knuckles than its own knuckle: the
fingers of a fist run back by themselves. Of 800 rendered hands 5 are named, of 200 fists 1, and of 800 index fingers
that were turned 513."""
LONGEST_FINGER: Final = 2.8
"""... unless the path stays longer than this, in palms: then a single point lies far off."""
FAN_JUMP: Final = 0.10
"""Sine of the angle by which a knuckle must be out of line around the wrist."""
ODD_ORDER_COST: Final = 0.30
OTHER_ORDER_SHARE: Final = 0.6
"""A known order is named for one hand if it fits this much better than a given one that costs more than that."""

_CHUNK: Final = 8192
_KNUCKLES: Final = tuple(joints[0] for name, joints in FINGERS.items() if name != "thumb")
_REVERSED: Final = (3, 2, 1, 0)
_EXCHANGES: Final = (
    ((1, 0, 2, 3), SHORTCUT, "{0} and {1} look exchanged"),
    ((0, 2, 1, 3), SHORTCUT, "{1} and {2} look exchanged"),
    ((0, 1, 3, 2), SHORTCUT, "{2} and {3} look exchanged"),
    (_REVERSED, REVERSAL_SHORTCUT, "the joints from {0} to {3} look reversed, tip to base"),
)


@dataclass(frozen=True)
class Suspicion:
    """A reason to look at one hand.

    Attributes:
        row: of the hand in its table.
        kind: what was checked.
        score: at least 1; the higher, the more suspicious.
        sentence: what is odd, without a full stop.
    """

    row: int
    kind: Kind
    score: float
    sentence: str


def ranked(suspicions: list[Suspicion]) -> list[Suspicion]:
    """The highest score first; equal scores in the order of rows."""
    return sorted(suspicions, key=lambda suspicion: (-suspicion.score, suspicion.row))


def label_suspicions(hands: Hands, *, order_is_known: bool = True) -> list[Suspicion]:
    """Everything the labels alone show, ranked.

    Args:
        hands: the table.
        order_is_known: False leaves out the joint order of single hands, where that of the whole set is wrong.
    """
    found = [*long_bones(hands), *points_outside(hands)]
    for first in range(0, len(hands), _CHUNK):
        xy = hands.xy[first : first + _CHUNK]
        distances = joint_distances(xy)
        found += _shifted(same_place(distances), first)
        if order_is_known:
            found += _shifted(odd_order(xy, distances), first)
    return ranked(found)


def long_bones(hands: Hands) -> list[Suspicion]:
    """Bones that are far longer than in the other hands, measured by the hand's own size.

    The logarithm of each bone's length, less the hand's size, is compared with quantiles of that
    bone over the hands, on the long side only: short bones are normal, they point at the camera.
    """
    parents, joints = np.array(BONES).T
    lengths = np.linalg.norm(hands.xy[:, parents] - hands.xy[:, joints], axis=-1).astype(np.float64)
    with np.errstate(divide="ignore"):
        relative = np.clip(np.log(lengths / np.array(PROPORTIONS)), -20, 20)
    relative -= row_quantile(relative, HAND_SIZE_QUANTILE)[:, None]
    typical, usual_most = (row_quantile(relative.T, share) for share in (0.5, NORMAL_SIGMA))
    spread = np.clip(usual_most - typical, *DEVIATION_RANGE)
    excess = np.nan_to_num((relative - usual_most) / spread, nan=0.0)
    worst = excess.argmax(axis=1)
    return [
        Suspicion(
            row,
            "bone length",
            float(excess[row, bone] / LONG_BONE_DEVIATIONS),
            f"the bone {JOINT_NAMES[parents[bone]]} to {JOINT_NAMES[joints[bone]]} is "
            f"{np.exp(relative[row, bone] - usual_most[bone]):.1f} times as long as in most hands",
        )
        for row in np.flatnonzero(excess.max(axis=1, initial=0) >= LONG_BONE_DEVIATIONS).tolist()
        for bone in [int(worst[row])]
    ]


def points_outside(hands: Hands) -> list[Suspicion]:
    """Labelled points more than a pixel outside their image, where the image's size is known."""
    edge = hands.size[:, None].astype(np.float64) - 0.5
    beyond = np.maximum(-0.5 - hands.xy, hands.xy - edge).max(axis=-1)
    known = np.asarray((hands.size > 0).all(axis=1, keepdims=True))
    beyond = np.where(known, np.nan_to_num(beyond, nan=0.0), 0)
    found = []
    for row in np.flatnonzero(beyond.max(axis=1, initial=0) > OUTSIDE_PX).tolist():
        joint, count = int(beyond[row].argmax()), int((beyond[row] > OUTSIDE_PX).sum())
        width, height = hands.size[row].tolist()
        found.append(
            Suspicion(
                row,
                "outside image",
                1 + 10 * float(beyond[row, joint]) / max(width, height),
                f"{count} of its points lie{'s' * (count == 1)} outside the {width} x {height} image, "
                f"{JOINT_NAMES[joint]} by {beyond[row, joint]:.0f} px",
            )
        )
    return found


def same_place(distances: Float[np.ndarray, "n 21 21"]) -> list[Suspicion]:
    """Two joints of a hand on one point."""
    first, second = np.triu_indices(distances.shape[1], k=1)
    pairs = distances[:, first, second]
    large = np.nanmax(pairs, axis=1, keepdims=True, initial=0) >= SMALLEST_HAND_PX
    close: NDArray[np.bool_] = np.logical_and(pairs < SAME_PLACE_PX, large)
    found = []
    for row in np.flatnonzero(close.any(axis=1)).tolist():
        pair, count = int(close[row].argmax()), int(close[row].sum())
        names = f"{JOINT_NAMES[first[pair]]} and {JOINT_NAMES[second[pair]]}"
        more = f", and {count - 1} more pairs do" if count > 1 else ""
        found.append(Suspicion(row, "same place", 1 + 0.5 * count, f"{names} lie at the same place{more}"))
    return found


def odd_order(xy: Float[np.ndarray, "n 21 2"], distances: Float[np.ndarray, "n 21 21"]) -> list[Suspicion]:
    """Joints of single hands that look exchanged; the most telling reason of each hand."""
    best: dict[int, Suspicion] = {}
    for suspicion in (*_known_orders(distances), *_shortcuts(xy), *_crossed_knuckles(xy)):
        if suspicion.row not in best or best[suspicion.row].score < suspicion.score:
            best[suspicion.row] = suspicion
    return list(best.values())


def _known_orders(distances: Float[np.ndarray, "n 21 21"]) -> Iterator[Suspicion]:
    """Hands that another data set's order fits better."""
    given = order_cost(distances, GIVEN)
    odd = np.flatnonzero(given > ODD_ORDER_COST)
    for name, order in KNOWN_ORDERS.items():
        share = order_cost(distances[odd], order) / given[odd]
        for row in np.flatnonzero(share < OTHER_ORDER_SHARE).tolist():
            score = 2 * OTHER_ORDER_SHARE / max(float(share[row]), 0.1)
            yield Suspicion(int(odd[row]), "joint order", score, f"its joints look like {name}")


def _shortcuts(xy: Float[np.ndarray, "n 21 2"]) -> Iterator[Suspicion]:
    """Fingers whose path from the wrist gets shorter when joints are exchanged: the right order is the shortest."""
    palm = np.linalg.norm(xy[:, _KNUCKLES] - xy[:, :1], axis=-1)
    palm_length = np.nanmax(palm, axis=1, initial=1e-6)
    for joints in FINGERS.values():
        given = _path_length(xy[:, (0, *joints)])
        for exchange, threshold, sentence in _EXCHANGES:
            exchanged = _path_length(xy[:, (0, *(joints[place] for place in exchange))])
            saved = (given - exchanged) / palm_length
            odd = (saved > threshold) & (exchanged < LONGEST_FINGER * palm_length)
            if exchange == _REVERSED and joints[0] in _KNUCKLES:
                odd &= _tip_stands_for_knuckle(xy, joints)
            for row in np.flatnonzero(odd).tolist():
                names = [JOINT_NAMES[joint] for joint in joints]
                yield Suspicion(row, "joint order", float(saved[row] / threshold), sentence.format(*names))


def _tip_stands_for_knuckle(xy: Float[np.ndarray, "n 21 2"], joints: tuple[int, ...]) -> Bool[np.ndarray, " n"]:
    """Whether a finger's tip lies nearer to the other fingers' knuckles than its knuckle does."""
    others = [knuckle for knuckle in _KNUCKLES if knuckle != joints[0]]
    away = np.linalg.norm(xy[:, (joints[0], joints[-1])] - xy[:, others].mean(axis=1, keepdims=True), axis=-1)
    return np.asarray(away[:, 0] > away[:, 1])


def _path_length(points: Float[np.ndarray, "n k 2"]) -> Float[np.ndarray, " n"]:
    """The length of each path from its first point through the labelled ones of the others."""
    points = points.copy()
    for place in range(1, points.shape[1]):
        missing = np.isnan(points[:, place, 0])
        points[missing, place] = points[missing, place - 1]
    return np.asarray(np.linalg.norm(np.diff(points, axis=1), axis=-1).sum(axis=1))


def _crossed_knuckles(xy: Float[np.ndarray, "n 21 2"]) -> Iterator[Suspicion]:
    """Hands whose four knuckles, index to little finger, do not follow each other around the wrist."""
    rays = xy[:, _KNUCKLES] - xy[:, :1]
    longest = np.linalg.norm(rays, axis=-1).max(axis=1)
    turns = rays[:, :-1, 0] * rays[:, 1:, 1] - rays[:, :-1, 1] * rays[:, 1:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        turns = turns / longest[:, None] ** 2
    jump = np.minimum(turns.max(axis=1), -turns.min(axis=1))
    for row in np.flatnonzero(jump > FAN_JUMP).tolist():
        sentence = "its fingers look exchanged: the knuckles from index to little finger do not follow each other"
        yield Suspicion(row, "joint order", float(jump[row] / FAN_JUMP), sentence)


def _shifted(suspicions: list[Suspicion], by: int) -> list[Suspicion]:
    return [Suspicion(s.row + by, s.kind, s.score, s.sentence) for s in suspicions]
