from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from knuckle.data.label_noise import NOISE, gaussian, heavy, missing, other_hand, swapped
from knuckle.hands import OCCLUDED, UNLABELED, Hands
from knuckle.skeleton import FINGERS

KINDS = pytest.mark.parametrize("kind", NOISE)
HITTING_HANDS = pytest.mark.parametrize("kind", ["swapped", "other_hand"])


def some_hands(n: int = 200, *, seed: int = 0, unlabeled: float = 0.0) -> Hands:
    """Hands with boxes of many sizes around their points; their first joint always has a label."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(20, 400, (n, 1, 1))
    visibility = rng.choice([UNLABELED, OCCLUDED, 2], (n, 21), p=[unlabeled, 0.2, 0.8 - unlabeled])
    visibility[:, 0] = 2
    xy = 50 + size * rng.random((n, 21, 2)) * [1, 0.6]
    box = np.concatenate([np.full((n, 2), 50), 50 + size[:, 0] * [1, 0.6]], axis=1)
    return Hands(image=[f"{row}.jpg" for row in range(n)], xy=xy, visibility=visibility, box=box, group=np.arange(n))


def longer_side(hands: Hands) -> np.ndarray:
    return np.asarray((hands.box[:, 2:] - hands.box[:, :2]).max(axis=1))


def changed(noisy: Hands, hands: Hands) -> np.ndarray:
    """(n, 21) bool: the label is another one."""
    moved = ~np.isclose(noisy.xy, hands.xy, rtol=0, atol=0, equal_nan=True).all(axis=-1)
    return np.asarray(moved | (noisy.visibility != hands.visibility))


@KINDS
def test_no_noise_changes_nothing(kind: str) -> None:
    hands = some_hands(20, unlabeled=0.2)
    assert NOISE[kind](hands, 0.0, 3) == hands


@KINDS
def test_the_seed_decides(kind: str) -> None:
    hands = some_hands(50)
    first, again, other = (NOISE[kind](hands, 0.5, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@KINDS
def test_only_labels_change_and_what_has_none_gets_none(kind: str) -> None:
    hands = some_hands(60, unlabeled=0.1)
    hands = Hands.concat(
        [some_hands(200, seed=5), hands.replace(group=1000 + hands.group)]
    )  # some that lend all joints
    noisy = NOISE[kind](hands, 0.7, 0)
    assert changed(noisy, hands).any()
    assert (noisy.visibility[~hands.labeled] == UNLABELED).all()
    assert noisy.replace(xy=hands.xy, visibility=hands.visibility) == hands


@KINDS
@given(kept=st.integers(1, 30), seed=st.integers(0, 2**40))
def test_rows_that_follow_make_no_difference(kind: str, kept: int, seed: int) -> None:
    hands = some_hands(40)
    whole, part = NOISE[kind](hands, 0.4, seed)[:kept], NOISE[kind](hands[: max(kept, 2)], 0.4, seed)[:kept]
    if kind == "other_hand":  # whose label it is depends on who is there
        np.testing.assert_array_equal(changed(whole, hands[:kept]).any(1), changed(part, hands[:kept]).any(1))
    else:
        assert whole == part


@pytest.mark.parametrize("kind", ["swapped", "other_hand", "missing"])
def test_a_higher_rate_hits_the_same_and_more(kind: str) -> None:
    hands = some_hands(300)
    little, much = (NOISE[kind](hands, rate, 4) for rate in (0.2, 0.5))
    hit = changed(little, hands)
    assert hit.any()
    assert (changed(much, hands) & hit).sum() == hit.sum() < changed(much, hands).sum()
    np.testing.assert_array_equal(much.xy[hit], little.xy[hit])


@pytest.mark.parametrize("kind", ["gaussian", "heavy"])
def test_a_higher_rate_moves_the_same_way_and_further(kind: str) -> None:
    hands = some_hands(50)
    little, much = (NOISE[kind](hands, rate, 4).xy.astype(float) - hands.xy for rate in (0.1, 0.3))
    np.testing.assert_allclose(much, 3 * little, atol=0.01, rtol=1e-3)


def test_gaussian_displacements_are_normal_in_box_sides() -> None:
    hands = some_hands(300)
    z = (gaussian(hands, 0.05, 0).xy.astype(float) - hands.xy) / (0.05 * longer_side(hands)[:, None, None])
    assert scipy.stats.kstest(z.ravel(), "norm").pvalue > 0.01
    for one, other in ((z[..., 0], z[..., 1]), (z[:, :-1], z[:, 1:]), (z[:-1], z[1:])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.05


def test_heavy_displacements_follow_t_with_two_degrees_of_freedom() -> None:
    hands = some_hands(300)
    displacement = (heavy(hands, 0.05, 0).xy.astype(float) - hands.xy) / (0.05 * longer_side(hands)[:, None, None])
    # Each coordinate of the plane's t is a t itself, and so is every other direction.
    assert scipy.stats.kstest(displacement[..., 0].ravel(), "t", (2,)).pvalue > 0.01
    assert scipy.stats.kstest((displacement @ [0.6, -0.8]).ravel(), "t", (2,)).pvalue > 0.01
    squared = (displacement**2).sum(axis=-1).ravel()
    assert scipy.stats.kstest(squared / 2, "f", (2, 2)).pvalue > 0.01
    assert (squared > 25).mean() == pytest.approx(1 / (1 + 12.5), abs=0.01)


@HITTING_HANDS
@pytest.mark.parametrize("rate", [0.1, 0.4, 1.0])
def test_the_rate_is_the_part_of_hands_that_are_hit(kind: str, rate: float) -> None:
    hands = some_hands(1000)
    hit = int(changed(NOISE[kind](hands, rate, 0), hands).any(axis=1).sum())
    assert scipy.stats.binomtest(hit, 1000, rate).pvalue > 0.01


def test_kinds_with_the_same_seed_hit_other_hands() -> None:
    hands = some_hands(1000)
    swap, other = (changed(NOISE[kind](hands, 0.5, 0), hands).any(axis=1) for kind in ("swapped", "other_hand"))
    assert abs(np.corrcoef(swap, other)[0, 1]) < 0.1


def test_two_fingers_exchange_base_for_base_and_tip_for_tip() -> None:
    hands = some_hands(300)
    noisy = swapped(hands, 1.0, 0)
    pairs = set()
    for row in range(len(hands)):
        fingers = [name for name, joints in FINGERS.items() if (noisy.xy[row] != hands.xy[row])[list(joints)].all()]
        assert len(fingers) == 2
        one, other = (list(FINGERS[name]) for name in fingers)
        order = np.arange(21)
        order[one], order[other] = other, one
        np.testing.assert_array_equal(noisy.xy[row], hands.xy[row][order])
        np.testing.assert_array_equal(noisy.visibility[row], hands.visibility[row][order])
        pairs.add(tuple(fingers))
    assert len(pairs) == 10


def test_a_joint_without_a_partner_is_not_swapped() -> None:
    hands = some_hands(100, unlabeled=0.3)
    noisy = swapped(hands, 1.0, 0)
    np.testing.assert_array_equal(noisy.labeled, hands.labeled)
    pairs = changed(noisy, hands)[:, 1:].reshape(-1, 5, 4)  # finger, place on it
    assert set(pairs.sum(axis=1).ravel().tolist()) == {0, 2}
    assert set(pairs.any(axis=2).sum(axis=1).tolist()) <= {0, 2}


def test_another_hands_label_fits_the_box() -> None:
    hands = some_hands(60)
    noisy = other_hand(hands, 1.0, 0)
    side, center = longer_side(hands), (hands.box[:, :2] + hands.box[:, 2:]) / 2
    shapes = (hands.xy - center[:, None]) / side[:, None, None]
    found = (noisy.xy - center[:, None]) / side[:, None, None]
    distance = np.abs(found[:, None] - shapes[None]).max(axis=(2, 3))
    donor = distance.argmin(axis=1)
    assert (distance.min(axis=1) < 1e-4).all()
    assert (donor != np.arange(60)).all()
    assert len(np.unique(donor)) > 20
    np.testing.assert_array_equal(noisy.visibility, hands.visibility[donor])


def test_another_hand_is_of_another_group_and_has_all_joints() -> None:
    hands = some_hands(40).replace(group=np.repeat([0, 1], 20))
    few = hands.visibility.copy()
    few[20:39, 5] = UNLABELED  # only the last hand can stand in for those of the first group
    hands = hands.replace(visibility=few)
    noisy = other_hand(hands, 1.0, 0)
    np.testing.assert_array_equal(noisy.labeled, hands.labeled)
    shape = (noisy.xy[:20] - noisy.xy[:20, :1]) / longer_side(hands)[:20, None, None]
    lent = (hands.xy[39] - hands.xy[39, :1]) / longer_side(hands)[39]
    np.testing.assert_allclose(shape, np.broadcast_to(lent, shape.shape), atol=1e-4)


def test_without_another_group_nobody_lends_a_label() -> None:
    hands = some_hands(5).replace(group=np.zeros(5, dtype=int))
    with pytest.raises(ValueError, match=r"no hand of another group labels all joints that row \d"):
        other_hand(hands, 1.0, 0)


def test_missing_labels_are_lost_one_by_one() -> None:
    hands = some_hands(300)
    noisy = missing(hands, 0.3, 0)
    lost = hands.labeled & ~noisy.labeled
    assert scipy.stats.binomtest(int(lost.sum()), lost.size, 0.3).pvalue > 0.01
    assert abs(np.corrcoef(lost[:, :-1].ravel(), lost[:, 1:].ravel())[0, 1]) < 0.05
    np.testing.assert_array_equal(noisy.xy[~lost], hands.xy[~lost])
    assert not missing(hands, 1.0, 0).labeled.any()


@KINDS
def test_an_impossible_rate_is_refused(kind: str) -> None:
    for rate in (-0.1, float("nan"), *([] if kind in ("gaussian", "heavy") else [1.1])):
        with pytest.raises(ValueError, match="rate"):
            NOISE[kind](some_hands(3), rate, 0)


@pytest.mark.parametrize("kind", ["gaussian", "heavy", "other_hand"])
def test_a_labeled_hand_needs_its_box(kind: str) -> None:
    hands = some_hands(3).replace(box=np.full((3, 4), np.nan))
    with pytest.raises(ValueError, match="no box"):
        NOISE[kind](hands, 1.0, 0)


@KINDS
def test_an_empty_table_stays_empty(kind: str) -> None:
    assert NOISE[kind](Hands.empty(), 0.5, 0) == Hands.empty()
