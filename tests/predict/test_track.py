"""Tracks: pure rules for where to look, what is a hand, and which hand is which."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from knuckle.geometry import frame_box
from knuckle.hands import Hands
from knuckle.predict.judgement import LEAST_SCORE
from knuckle.predict.track import (
    TrackRule,
    Tracks,
    advance,
    assign,
    needs_detector,
    overlap,
    plausible,
    search_boxes,
)
from knuckle.render import render

SIZE_WH = (200, 100)
RULE = TrackRule(most_hands=2)


@pytest.fixture(scope="module")
def real() -> np.ndarray[Any, Any]:
    """(n, 21, 2) keypoints of rendered hands of many gestures, in extents of side 1 with their corner at 0."""
    xy = render(30, 5, 48)[1].xy
    xy = xy[np.isfinite(xy).all(axis=(1, 2))]
    xy -= xy.min(axis=1, keepdims=True)
    return np.asarray(xy / xy.max(axis=(1, 2), keepdims=True))


def hands_at(xy: Any, box: Any = None, sigma: float | None = None) -> Hands:
    """Predicted hands that were searched in a box, by default in that of their own extent."""
    xy = np.asarray(xy, np.float32)
    visibility = np.where(np.isfinite(xy).all(axis=-1), 2, 0)
    hands = Hands(image=["a"] * len(xy), xy=xy, visibility=visibility, size=np.tile(SIZE_WH, (len(xy), 1)))
    covariance = None if sigma is None else np.tile(np.eye(2) * sigma**2, (len(xy), 21, 1, 1))
    return hands.replace(box=hands.box if box is None else box, covariance=covariance)


def tracks_at(*boxes: tuple[float, ...], live: Any = None, seen: Any = None) -> Tracks:
    count = len(boxes)
    is_live = np.ones(count, bool) if live is None else np.array(live)
    return Tracks(
        np.arange(1, count + 1),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.zeros(count) if seen is None else np.array(seen, float),
        is_live,
        count + 1,
    )


def test_rendered_hands_are_plausible_and_points_at_random_are_not(real: np.ndarray[Any, Any]) -> None:
    assert len(real) > 20
    assert plausible(hands_at(10 + 60 * real, sigma=3)).all()
    rng = np.random.default_rng(0)
    thrown = rng.uniform(10, 85, (500, 21, 2))
    assert plausible(hands_at(thrown)).mean() < 0.1  # by their bones alone


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda xy: xy, True),
        (lambda xy: xy * 0.25 + 30, False),  # collapsed to a spot
        (lambda xy: xy * 1.5, False),  # strewn over the crop
        (lambda xy: xy - (70, 0), False),  # mostly outside the frame
        (lambda xy: xy - (25, 0), True),  # partly outside
        (lambda xy: xy + np.array([170, 0]), False),
        (lambda xy: np.where(np.arange(21)[:, None] == 3, np.nan, xy), True),
        (lambda xy: np.full_like(xy, np.nan), False),
    ],
)
def test_geometry_decides(real: np.ndarray[Any, Any], change: Any, kept: bool) -> None:
    spread_out = real[np.median(real, axis=1).min(axis=1).argmax()]  # the weight lies far from the corner
    xy = 5 + 60 * spread_out
    box = [(5, 5, 65, 65)]
    assert plausible(hands_at(change(xy)[None], box)).tolist() == [kept]


def test_uncertainty_decides_where_it_is_known(real: np.ndarray[Any, Any]) -> None:
    xy = 10 + 60 * real[:1]
    for sigma, kept in ((1.0, True), (17.0, True), (19.0, False)):
        assert plausible(hands_at(xy, sigma=sigma)).tolist() == [kept]
    # Joints that were never taught have no covariance and do not count.
    partly = hands_at(xy, sigma=3).replace(
        covariance=np.where(np.arange(21)[:, None, None] < 5, np.nan, 9 * np.eye(2))[None]
    )
    assert plausible(partly).all()


def test_the_score_decides_where_there_is_one(real: np.ndarray[Any, Any]) -> None:
    hands = hands_at(10 + 60 * real[[0, 0, 0, 0]])
    scored = hands.replace(score=[0.99, LEAST_SCORE, LEAST_SCORE - 0.01, np.nan])
    assert plausible(scored).tolist() == [True, True, False, True]


def test_a_track_whose_score_stays_low_is_dropped(real: np.ndarray[Any, Any]) -> None:
    sure = hands_at(10 + 60 * real[:1])
    tracks, _, _ = advance(Tracks.none(), sure.replace(score=[0.9]), 0.0, RULE)
    for time in (0.1, 0.2, 0.3):
        tracks, rows, _ = advance(tracks.since(time - RULE.patience), sure.replace(score=[0.1]), time, RULE)
        assert len(rows) == 0
        assert tracks.number.tolist() == [1], "it is searched for a while"
    assert len(tracks.since(0.7 - RULE.patience).number) == 0


def test_a_hand_may_be_small_where_the_whole_frame_was_searched_but_not_invisible(real: np.ndarray[Any, Any]) -> None:
    frame = [frame_box(SIZE_WH)]
    assert plausible(hands_at(50 + 20 * real[:1], frame)).all()
    assert not plausible(hands_at(50 + 20 * real[:1], [(0, 0, 99, 99)])).any()
    assert not plausible(hands_at(50 + 6 * real[:1], frame)).any()


def test_the_next_box_is_the_extent_with_a_margin() -> None:
    xy = np.zeros((1, 21, 2), np.float32)
    xy[0, 0], xy[0, 1], xy[0, 2] = (10, 20), (50, 20), (30, 40)
    xy[0, 3:] = (30, 30)
    np.testing.assert_allclose(search_boxes(xy, 1.2), [(6, 16, 54, 44)])
    xy[0, :, 1] = 20  # a hand seen edge-on still needs a box with an area
    assert (np.diff(search_boxes(xy, 1.1)[0].reshape(2, 2), axis=0) > 0).all()


boxes = arrays(np.float64, st.tuples(st.integers(0, 5), st.just(4)), elements=st.integers(0, 20)).map(
    lambda box: np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)
)


@given(boxes, boxes)
def test_overlap_counts_pixels(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> None:
    def covered(box: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        y, x = np.mgrid[:41, :41]
        return np.asarray((x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3]))

    result = overlap(first, second)
    assert result.shape == (len(first), len(second))
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            union = (covered(one) | covered(other)).sum()
            expected = (covered(one) & covered(other)).sum() / union if union else 0
            assert result[row, column] == pytest.approx(expected)


@given(arrays(np.float64, st.tuples(st.integers(0, 4), st.integers(0, 4)), elements=st.floats(0, 1)))
def test_pairs_use_each_row_and_column_once_and_leave_no_pair_out(overlaps: np.ndarray[Any, Any]) -> None:
    pairs = assign(overlaps, 0.3)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    assert all(overlaps[pair] >= 0.3 for pair in pairs)
    left = np.array(overlaps)
    for row, column in pairs:
        left[row], left[:, column] = 0, 0
    assert not (left >= 0.3).any()
    if pairs:
        assert overlaps[pairs[0]] == overlaps.max()
        best = linear_sum_assignment(overlaps, maximize=True)
        assert sum(overlaps[pair] for pair in pairs) >= overlaps[best].sum() / 2 - 0.3 * min(overlaps.shape)


def test_the_detector_is_needed_when_a_hand_is_missing_or_there_is_room() -> None:
    one = tracks_at((0, 0, 50, 50))
    both = tracks_at((0, 0, 50, 50), (60, 0, 90, 50))
    assert needs_detector(Tracks.none(), 1.0, 0.99, RULE)
    assert not needs_detector(one, 1.0, 0.7, RULE)
    assert needs_detector(one, 1.0, 0.5, RULE)
    assert not needs_detector(both, 100.0, 0.0, RULE)
    assert needs_detector(tracks_at((0, 0, 50, 50), (60, 0, 90, 50), live=[True, False]), 1.0, 0.99, RULE)


def test_once_a_pair_is_followed_the_detector_looks_for_more_only_now_and_then() -> None:
    rule = TrackRule()
    one, both, three = (tracks_at(*[(40 * n, 0, 40 * n + 30, 50) for n in range(count)]) for count in (1, 2, 3))
    assert needs_detector(one, 1.0, 0.5, rule)
    for tracks in (both, three):
        assert not needs_detector(tracks, 1.9, 0.0, rule)
        assert needs_detector(tracks, 2.0, 0.0, rule)
    assert not needs_detector(three, 100.0, 0.0, TrackRule(most_hands=3))


def test_a_hand_of_the_latest_frame_is_kept_however_long_ago_that_was() -> None:
    tracks = tracks_at((0, 0, 50, 50), (60, 0, 90, 50), live=[True, False], seen=[5.0, 4.8])
    same = tracks.since(4.7)
    assert (same.number.tolist(), same.is_live.tolist()) == ([1, 2], [True, False])
    later = tracks.since(99.5)
    assert (later.number.tolist(), later.is_live.tolist()) == ([1], [False])
    assert needs_detector(later, 100.0, 99.9, RULE), "it may be anywhere by now"


def test_where_boxes_were_not_searched_they_still_say_which_hand_is_which(real: np.ndarray[Any, Any]) -> None:
    left, right = 5 + 60 * real[0], (110, 5) + 60 * real[1]
    tracks, _, _ = advance(Tracks.none(), hands_at([left, right]), 0.0, RULE)
    later = tracks.since(9.5)
    found = hands_at([right + np.array([8, 0]), left])
    after, rows, numbers = advance(later, found, 10.0, RULE, searched=False)
    assert (rows.tolist(), numbers.tolist(), after.is_live.tolist()) == ([1, 0], [1, 2], [True, True])
    after, rows, numbers = advance(later, hands_at([left]), 10.0, RULE, searched=False)
    assert (rows.tolist(), numbers.tolist(), after.number.tolist()) == ([0], [1], [1, 2])
    assert after.since(10.5).number.tolist() == [1], "the other was not there"


def test_a_lost_hand_is_kept_in_mind_and_a_new_find_there_takes_its_number(real: np.ndarray[Any, Any]) -> None:
    left, right = 5 + 60 * real[0], (110, 5) + 60 * real[1]
    tracks, rows, numbers = advance(Tracks.none(), hands_at([right, left]), 0.0, RULE)
    assert (rows.tolist(), numbers.tolist()) == ([0, 1], [1, 2])
    gone = hands_at([right * np.nan, left])
    tracks, rows, numbers = advance(tracks, gone, 0.1, RULE)
    assert (rows.tolist(), numbers.tolist(), tracks.is_live.tolist()) == ([1], [2], [True, False])
    assert tracks.seen.tolist() == [0.1, 0.0]
    missing = tracks.since(0.0)
    back = hands_at([left, right * np.nan, right + np.array([8, 0])])
    tracks, rows, numbers = advance(missing, back, 0.2, RULE)
    assert (rows.tolist(), numbers.tolist()) == ([2, 0], [1, 2])
    assert tracks.is_live.all()
    # Later it is forgotten, and whoever comes is new.
    later, _, numbers = advance(missing.since(0.05), hands_at([left, right]), 0.9, RULE)
    assert numbers.tolist() == [2, 3]
    assert later.next_number == 4


def test_two_tracks_on_one_hand_become_one_and_the_live_one_stays(real: np.ndarray[Any, Any]) -> None:
    hand = 5 + 60 * real[0]
    box = (5, 5, 65, 65)
    tracks = tracks_at(box, box, live=[False, True])
    after, rows, numbers = advance(tracks, hands_at([hand, hand]), 0.1, RULE)
    assert (rows.tolist(), numbers.tolist()) == ([1], [2])
    assert after.is_live.tolist() == [True, False]


def test_no_more_hands_than_asked_for(real: np.ndarray[Any, Any]) -> None:
    hands = hands_at([x + 40 * real[0] for x in ((0, 0), (50, 0), (100, 0))], sigma=1)
    _, rows, _ = advance(Tracks.none(), hands, 0.0, RULE)
    assert rows.tolist() == [0, 1]


def test_a_rule_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        TrackRule(margin=0.9)
    with pytest.raises(ValueError, match="no negative times"):
        TrackRule(search_more_every=-1)
