"""Each fault, put into one hand of a clean set, is what the list of suspicions begins with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from examples.drawn_hands import drawn_hand
from knuckle.data.joint_order import KNOWN_ORDERS
from knuckle.data.suspicions import Suspicion, label_suspicions, long_bones, points_outside, ranked
from knuckle.hands import Hands
from knuckle.render import SceneConfig, render
from knuckle.render.poses import PoseMix
from knuckle.skeleton import FROM_RHD, GESTURES

ROW = 17
SIZE = 160


@pytest.fixture(scope="module")
def clean() -> Hands:
    """Forty hands of all gestures; the one that gets the faults is open."""
    gestures = [None if row != ROW else "open_palm" for row in range(40)]
    drawn = [drawn_hand(np.random.default_rng(row), SIZE, gesture=gesture) for row, gesture in enumerate(gestures)]
    return Hands(
        image=[f"{row}.jpg" for row in range(40)],
        xy=np.stack([xy for _, xy, _ in drawn]),
        visibility=np.full((40, 21), 2),
        size=np.full((40, 2), SIZE),
    )


def with_rows(hands: Hands, rows: dict[int, int | tuple[float, float]]) -> Hands:
    """Joints of hand `ROW` replaced: by another joint's position, or by a point."""
    xy = hands.xy.copy()
    for joint, source in rows.items():
        xy[ROW, joint] = hands.xy[ROW, source] if isinstance(source, int) else source
    return hands.replace(xy=xy)


def exchanged(*pairs: tuple[int, int]) -> dict[int, int | tuple[float, float]]:
    return {a: b for pair in pairs for a, b in (pair, pair[::-1])}


def worst(hands: Hands) -> Suspicion:
    return label_suspicions(hands)[0]


def test_a_clean_set_raises_no_suspicion(clean: Hands) -> None:
    assert label_suspicions(clean) == []


@pytest.mark.parametrize("joint", [4, 7, 8, 12, 20])
def test_a_point_far_off_makes_a_long_bone(clean: Hands, joint: int) -> None:
    off = 0.45 * float(np.ptp(clean.xy[ROW], axis=0).max())
    x, y = clean.xy[ROW, joint]
    center = SIZE / 2
    moved = (float(x + np.sign(center - x) * off), float(y + np.sign(center - y) * off))
    found = worst(with_rows(clean, {joint: moved}))
    assert (found.row, found.kind) == (ROW, "bone length")
    assert "times as long" in found.sentence


@pytest.mark.parametrize(
    ("pair", "names"),
    [
        ((5, 6), "index_mcp and index_pip"),
        ((10, 11), "middle_pip and middle_dip"),
        ((19, 20), "little_dip and little_tip"),
        ((2, 3), "thumb_mcp and thumb_ip"),
    ],
)
def test_two_exchanged_joints_of_a_finger_are_named(clean: Hands, pair: tuple[int, int], names: str) -> None:
    found = worst(with_rows(clean, exchanged(pair)))
    assert (found.row, found.kind) == (ROW, "joint order")
    assert names in found.sentence


def test_exchanged_joints_are_named_where_others_are_unlabelled(clean: Hands) -> None:
    faulty = with_rows(clean, exchanged((5, 6)))
    visibility = faulty.visibility.copy()
    visibility[:, [1, 7, 11, 15, 19]] = 0
    found = worst(faulty.replace(visibility=visibility))
    assert found.row == ROW
    assert "index_mcp and index_pip" in found.sentence


def test_a_reversed_finger_is_named(clean: Hands) -> None:
    found = worst(with_rows(clean, exchanged((13, 16), (14, 15))))
    assert (found.row, found.kind) == (ROW, "joint order")
    assert "from ring_mcp to ring_tip look reversed" in found.sentence


@pytest.mark.parametrize(("first", "second"), [(5, 9), (9, 13), (13, 17), (5, 17)])
def test_exchanged_fingers_cross_around_the_wrist(clean: Hands, first: int, second: int) -> None:
    found = worst(with_rows(clean, exchanged(*((first + n, second + n) for n in range(4)))))
    assert (found.row, found.kind) == (ROW, "joint order")
    assert "fingers look exchanged" in found.sentence


@pytest.mark.parametrize("name", KNOWN_ORDERS)
def test_one_hand_in_another_data_sets_order_comes_first(clean: Hands, name: str) -> None:
    rows = np.argsort(KNOWN_ORDERS[name]).tolist()
    assert worst(with_rows(clean, dict(enumerate(rows)))).row == ROW


def test_the_order_of_single_hands_is_left_out_on_request(clean: Hands) -> None:
    wrong = clean.replace(xy=clean.xy[:, FROM_RHD])
    assert any(found.kind == "joint order" for found in label_suspicions(wrong))
    assert not any(found.kind == "joint order" for found in label_suspicions(wrong, order_is_known=False))


def test_points_outside_the_image_are_counted_and_measured(clean: Hands) -> None:
    found = points_outside(with_rows(clean, {8: (SIZE + 29.5, 50.0), 12: (50.0, -3.5)}))
    assert [suspicion.row for suspicion in found] == [ROW]
    assert found[0].sentence == f"2 of its points lie outside the {SIZE} x {SIZE} image, index_tip by 30 px"
    assert worst(with_rows(clean, {8: (SIZE + 200.0, 50.0)})).kind == "outside image"


def test_points_on_the_edge_or_of_unknown_images_are_not_outside(clean: Hands) -> None:
    assert points_outside(with_rows(clean, {8: (SIZE, 0.0)})) == []
    far = with_rows(clean, {8: (5000.0, 50.0)})
    assert points_outside(far.replace(size=np.zeros((40, 2)))) == []


def test_two_joints_at_one_place_are_named(clean: Hands) -> None:
    found = worst(with_rows(clean, {7: 8}))
    assert (found.row, found.kind) == (ROW, "same place")
    assert found.sentence == "index_dip and index_tip lie at the same place"


def test_a_folded_hand_is_not_suspicious_for_its_short_bones(clean: Hands) -> None:
    folded = clean.xy.copy()
    palm = folded[ROW, [5, 9, 13, 17]]
    for finger, knuckle in enumerate(palm):
        folded[ROW, 6 + 4 * finger : 9 + 4 * finger] = knuckle + np.array([[1, 2], [0, 3], [0, 5]])
    assert [found for found in long_bones(clean.replace(xy=folded)) if found.row == ROW] == []


def test_ranking_puts_the_highest_score_first_and_then_the_row() -> None:
    scores = [(3, 1.0), (1, 2.0), (0, 1.0)]
    order = ranked([Suspicion(row, "same place", score, "") for row, score in scores])
    assert [suspicion.row for suspicion in order] == [1, 0, 3]


def test_rows_are_right_beyond_the_first_chunk(clean: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("knuckle.data.suspicions._CHUNK", 7)
    assert worst(with_rows(clean, exchanged((10, 11)))).row == ROW


def test_empty_tables_and_unlabelled_hands_are_not_suspicious() -> None:
    assert label_suspicions(Hands.empty()) == []
    assert label_suspicions(Hands(image=["a"], xy=np.zeros((1, 21, 2)), visibility=np.zeros((1, 21)))) == []


def test_a_fist_is_no_row_of_reversed_fingers() -> None:
    """Its tips lie nearer to the wrist than its knuckles do, as if the fingers ran backwards."""
    weights = tuple(float(name == "fist") for name in GESTURES)
    poses = PoseMix(gesture=1.0, interpolation=0.0, synergy=0.0, weights=weights)
    _, fists = render(24, 3, 32, config=replace(SceneConfig(), poses=poses), device="cpu")
    palm = np.linalg.norm(fists.xy[:, 9] - fists.xy[:, 0], axis=-1)
    runs_back = np.linalg.norm(fists.xy[:, 12] - fists.xy[:, 0], axis=-1) < palm
    assert runs_back.mean() > 0.5
    assert not [found for found in label_suspicions(fists) if "reversed" in found.sentence]
