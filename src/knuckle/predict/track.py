"""Tracks: which hand of one frame is which hand of the next, where to look for it, and when it is lost.

A track's keypoints in one frame give the box to search in the next one. Where they stop looking like a
hand, the track is missing: its last box is searched for a while longer, and what a detector finds may
take over its number. Everything here is a pure function of numbers; `follow` runs the network between them.

Letters in shapes: m hands in a frame, t tracks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64
from numpy.typing import NDArray

from knuckle.geometry import frame_box
from knuckle.hands import Hands, keypoint_extent
from knuckle.predict.judgement import LEAST_SCORE
from knuckle.skeleton import BONES

# When a hand stops being one. Sides are the longer sides of boxes.
MOST_SPREAD: Final = 0.3
"""Median standard deviation of the keypoints, in sides of the box that was searched. A uniform guess in a crop 1.5
sides wide has 0.43; weakly trained models, with a quarter of the keypoints within 0.2 sides, state 0.17 to 0.25."""
EXTENT_OVER_BOX: Final = (0.3, 1.4)
"""The keypoints' side over the side of the box that was searched. Below, they have collapsed to a spot; above,
they are strewn over the whole crop. A hand that opens or closes changes by a few per cent a frame."""
MOST_BONES: Final = 8.5
"""Length of all 20 bones in sides of the keypoints' extent. Rendered hands of all gestures have 2.7 to 7.5;
points thrown at random have more in 97 of 100 cases."""
LEAST_SIDE: Final = 8.0
"""Pixels. Below, there is no hand to be seen."""

SAME_HAND: Final = 0.6
"""Two sets of keypoints whose extents overlap more (intersection over union) are one hand found twice."""
STILL_THERE: Final = 0.2
"""A hand found anew whose extent overlaps a missing track's last box at least this much is that track's hand."""

USUAL_HANDS: Final = 2
"""One person's. A clip mostly shows no more, so once they are followed the detector looks more rarely."""


@dataclass(frozen=True)
class TrackRule:
    """How hands are followed.

    Attributes:
        most_hands: no more hands than this are followed at a time. The default is two people's: every hand costs a
            pass of the network a frame, and what a detector finds beyond those is more often no hand.
        margin: the side of the next search box over the side of the keypoints' extent, for a hand that
            opens or comes closer. The model's own padding comes on top.
        patience: seconds for which a missing hand is searched where it was last. Where frames are further apart the
            detector looks at each of them.
        search_every: seconds between two looks of the detector while fewer than `USUAL_HANDS` and fewer than
            `most_hands` are followed, but none is missing.
        search_more_every: the same while at least `USUAL_HANDS` are followed. A look with two hands there takes about
            as long as two frames, so the default costs them three per cent of the speed at 30 frames a second.

    Raises:
        ValueError: a number is out of range.
    """

    most_hands: int = 4
    margin: float = 1.1
    patience: float = 0.5
    search_every: float = 0.5
    search_more_every: float = 2.0

    def __post_init__(self) -> None:
        times = (self.patience, self.search_every, self.search_more_every)
        if self.most_hands < 1 or self.margin < 1 or min(times) < 0:
            raise ValueError(f"tracking needs most_hands and margin of at least 1, and no negative times, got {self}.")


class Tracks(NamedTuple):
    """What is followed, between two frames.

    Attributes:
        number: (t,) the tracks' numbers, counted from 1; no number is given twice.
        box: (t, 4) where to look in the next frame, x1, y1, x2, y2 in image pixels.
        seen: (t,) time in seconds of the last frame in which each was seen.
        is_live: (t,) whether that was the latest frame; the others are missing.
        next_number: of the next new track.
    """

    number: Int64[np.ndarray, " t"]
    box: Float32[np.ndarray, "t 4"]
    seen: Float64[np.ndarray, " t"]
    is_live: Bool[np.ndarray, " t"]
    next_number: int

    @classmethod
    def none(cls) -> Tracks:
        """Before the first frame."""
        return cls(np.empty(0, np.int64), np.empty((0, 4), np.float32), np.empty(0), np.empty(0, bool), 1)

    def since(self, earliest: float) -> Tracks:
        """Those that were seen in the latest frame, or at that time or later.

        A hand of the latest frame that was seen earlier than that is missing from now on: frames so far apart do not
        say where it is.
        """
        is_recent = self.seen >= earliest
        kept = self.is_live | is_recent
        is_live = (self.is_live & is_recent)[kept]
        return Tracks(self.number[kept], self.box[kept], self.seen[kept], is_live, self.next_number)


def needs_detector(tracks: Tracks, time: float, last_look: float, rule: TrackRule) -> bool:
    """Whether the detector should look at the frame of that time: while a hand is missing or none is followed, at
    every frame; while there is room for more, now and then, and more rarely once the usual number is followed; else
    never.
    """
    followed = len(tracks.number)
    if not tracks.is_live.all() or followed == 0:
        return True
    wait = rule.search_every if followed < USUAL_HANDS else rule.search_more_every
    return followed < rule.most_hands and time - last_look >= wait


def search_boxes(xy: Float32[np.ndarray, "m 21 2"], margin: float) -> Float32[np.ndarray, "m 4"]:
    """Where to look in the next frame: the keypoints' extent, grown on every side by (margin - 1) / 2 of its
    longer side.
    """
    extent = keypoint_extent(xy)
    grow = (margin - 1) / 2 * _side(extent)[:, None]
    return np.asarray(np.concatenate([extent[:, :2] - grow, extent[:, 2:] + grow], axis=1), dtype=np.float32)


def plausible(hands: Hands) -> Bool[np.ndarray, " m"]:
    """Which rows still look like hands, by what any model returns.

    A row is no hand where its keypoints
    - are finite for less than two joints, or their extent is smaller than `LEAST_SIDE`;
    - lie outside the frame for the most part;
    - fill too little or too much of the box that was searched (`EXTENT_OVER_BOX`; of the whole frame, a hand may
      fill as little as it likes);
    - are joined by bones that are too long for their extent (`MOST_BONES`);
    - are too uncertain, where the model says how uncertain they are (`MOST_SPREAD`);
    or where the model says how probably there is a hand, and that is too little (`LEAST_SCORE`).

    Args:
        hands: predicted hands with `size`, and in `box` where they were searched.
    """
    extent, seen = keypoint_extent(hands.xy), hands.labeled
    side, searched = _side(extent), _side(hands.box)
    with np.errstate(invalid="ignore", divide="ignore"):
        is_hand = (seen.sum(axis=1) >= 2) & (side >= LEAST_SIDE)
        limit = hands.size[:, None].astype(np.float32) - 0.5
        inside = ((hands.xy > -0.5) & (hands.xy < limit)).all(axis=-1) & seen
        is_hand &= 2 * inside.sum(axis=1) >= seen.sum(axis=1)
        least = np.where(_covers_frame(hands), 0.0, EXTENT_OVER_BOX[0])
        is_hand &= (side >= least * searched) & (side <= EXTENT_OVER_BOX[1] * searched)
        is_hand &= _bone_length(hands.xy) <= MOST_BONES * side
    if hands.covariance is not None:
        is_hand &= ~(_spread(hands.covariance) > MOST_SPREAD * searched)
    if hands.score is not None:
        is_hand &= ~(hands.score < LEAST_SCORE)
    return np.asarray(is_hand)


def overlap(first: Float[np.ndarray, "m 4"], second: Float[np.ndarray, "k 4"]) -> Float64[np.ndarray, "m k"]:
    """Intersection over union of every box with every other; 0 where neither has an area."""
    one, other = np.asarray(first, np.float64)[:, None], np.asarray(second, np.float64)[None]
    common = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = np.clip(common, 0, None).prod(axis=-1)
    union = (one[..., 2:] - one[..., :2]).prod(axis=-1) + (other[..., 2:] - other[..., :2]).prod(axis=-1) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def assign(overlaps: Float64[np.ndarray, "m k"], least: float) -> list[tuple[int, int]]:
    """Pairs (row, column), each used once, largest overlap first; pairs that overlap less than `least` are left out."""
    pairs: list[tuple[int, int]] = []
    left = np.array(overlaps, dtype=np.float64)
    while left.size and left.max() >= least:
        row, column = (int(index) for index in np.unravel_index(int(left.argmax()), left.shape))
        pairs.append((row, column))
        left[row], left[:, column] = -1, -1
    return pairs


def advance(
    tracks: Tracks, hands: Hands, time: float, rule: TrackRule, *, searched: bool = True
) -> tuple[Tracks, Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """The tracks after a frame, and which of its hands they are.

    Hands that are not plausible are left out, and so are those that repeat another one: the live
    track keeps the hand rather than the missing one, and that rather than a new find.

    Args:
        tracks: what was followed up to this frame.
        hands: (t + c) predicted hands: one for every track, in order, then c where a detector said.
        time: of the frame, in seconds.
        rule: how hands are followed.
        searched: whether the tracks' boxes were searched; if not, `hands` are the c alone.

    Returns:
        The tracks, the k rows of `hands` that are hands, and the number of the track of each; in order
        of the numbers.
    """
    known = len(tracks.number) if searched else 0
    extent, is_hand, is_live = keypoint_extent(hands.xy), plausible(hands), tracks.is_live[:known]
    order = [*np.flatnonzero(is_live), *np.flatnonzero(~is_live), *range(known, len(hands))]
    kept: list[int] = []
    for row in order:
        is_new = not (row < known and is_live[row])
        if not is_hand[row] or (is_new and len(kept) >= rule.most_hands):
            continue
        if (overlap(extent[[row]], extent[kept]) <= SAME_HAND).all():
            kept.append(int(row))
    numbers = {row: int(tracks.number[row]) for row in kept if row < known}
    found = [row for row in kept if row >= known]
    lost = [row for row in range(len(tracks.number)) if row >= known or row not in numbers]
    for one, other in assign(overlap(extent[found], tracks.box[lost]), STILL_THERE):
        numbers[found[one]] = int(tracks.number[lost[other]])
    next_number = tracks.next_number
    for row in found:
        if row not in numbers:
            numbers[row], next_number = next_number, next_number + 1
    rows = np.array(sorted(kept, key=numbers.__getitem__), dtype=np.int64)
    of_rows = np.array([numbers[row] for row in rows], dtype=np.int64)
    missing = np.array([row for row in lost if tracks.number[row] not in of_rows], dtype=np.int64)
    after = Tracks(
        number=np.concatenate([of_rows, tracks.number[missing]]),
        box=np.concatenate([search_boxes(hands.xy[rows], rule.margin), tracks.box[missing]]),
        seen=np.concatenate([np.full(len(rows), time), tracks.seen[missing]]),
        is_live=np.arange(len(rows) + len(missing)) < len(rows),
        next_number=next_number,
    )
    return after, rows, of_rows


def _side(box: Float32[np.ndarray, "m 4"]) -> Float32[np.ndarray, " m"]:
    """The longer side, NaN without a box."""
    return np.asarray((box[:, 2:] - box[:, :2]).max(axis=1, initial=0.0), dtype=np.float32)


def _covers_frame(hands: Hands) -> Bool[np.ndarray, " m"]:
    frame = np.array([frame_box((int(width), int(height))) for width, height in hands.size]).reshape(-1, 4)
    return np.asarray((hands.box[:, :2] <= frame[:, :2]).all(axis=1) & (hands.box[:, 2:] >= frame[:, 2:]).all(axis=1))


def _bone_length(xy: Float32[np.ndarray, "m 21 2"]) -> Float64[np.ndarray, " m"]:
    """The length of all bones together; those whose ends are not both known count as the mean of the others."""
    parents, joints = np.array(BONES).T
    lengths = np.linalg.norm(xy[:, joints].astype(np.float64) - xy[:, parents], axis=-1)
    known = np.isfinite(lengths)
    total: NDArray[np.float64] = np.where(known, lengths, 0).sum(axis=1) * len(BONES) / np.maximum(known.sum(axis=1), 1)
    return total


def _spread(covariance: Float32[np.ndarray, "m 21 2 2"]) -> Float64[np.ndarray, " m"]:
    """Median over the joints of the standard deviation, the root of the mean variance of x and y; NaN without any."""
    variance = np.trace(covariance.astype(np.float64), axis1=-2, axis2=-1) / 2
    return np.array(
        [np.sqrt(np.median(own[np.isfinite(own)])) if np.isfinite(own).any() else np.nan for own in variance]
    )
