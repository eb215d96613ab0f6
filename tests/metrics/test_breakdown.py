"""Tables by part: every row is the overall metric of the keypoints in that part."""

from __future__ import annotations

import math

import numpy as np
import pytest

from knuckle.hands import Hands
from knuckle.metrics import Row, breakdown, epe, errors, nme, pck
from knuckle.skeleton import FINGERS, GESTURES, JOINT_NAMES


def random_pair(seed: int = 0, n: int = 60) -> tuple[Hands, Hands]:
    rng = np.random.default_rng(seed)
    visibility = np.where(rng.random((n, 21)) < 0.8, rng.integers(1, 3, (n, 21)), 0)
    true = Hands(
        image=[f"{row}.jpg" for row in range(n)],
        xy=rng.uniform(20, 200, (n, 21, 2)),
        visibility=visibility,
        side=rng.integers(-1, 2, n),
        gesture=rng.choice([-1, 6, 24], n),
        group=rng.choice([7, 2**52, 11, -3], n),
    )
    found = np.where(rng.random((n, 21)) < 0.99, 2, 0)
    pred = true.replace(xy=np.nan_to_num(true.xy) + rng.standard_cauchy((n, 21, 2)) * 8, visibility=found)
    return pred, true


def check(row: Row, pred: Hands, part: Hands) -> None:
    """`part` is the truth with only the row's keypoints labelled."""
    distance = errors(pred, part)
    known = np.sort(distance[part.labeled].astype(np.float64))
    assert row.keypoints == part.labeled.sum() == len(known)
    assert row.hands == part.labeled.any(axis=1).sum()
    assert row.missing == np.isinf(known).sum()
    found = keep(part, pred.labeled)
    assert row.epe_found == pytest.approx(epe(pred, found))
    assert row.nme_found == pytest.approx(nme(pred, found))
    assert row.pck == pytest.approx(pck(pred, part))
    assert row.median == pytest.approx(float(np.median(known)), rel=1e-6)
    assert row.worst_image == part.image[row.worst_row]
    assert np.nanmax(distance[row.worst_row]) == np.nanmax(distance)


def keep(true: Hands, where: np.ndarray) -> Hands:
    """The truth with labels only there; boxes stay."""
    return true.replace(visibility=np.where(where, true.visibility, 0))


def test_joints_and_fingers() -> None:
    pred, true = random_pair()
    tables = breakdown(pred, true)
    assert [row.name for row in tables.joints] == list(JOINT_NAMES)
    for joint, row in enumerate(tables.joints):
        check(row, pred, keep(true, np.arange(21) == joint))
    assert [row.name for row in tables.fingers] == ["wrist", *FINGERS]
    for row, joints in zip(tables.fingers, [(0,), *FINGERS.values()], strict=True):
        check(row, pred, keep(true, np.isin(np.arange(21), joints)))


def test_sides_gestures_visibilities_and_groups() -> None:
    pred, true = random_pair(1)
    tables = breakdown(pred, true)
    assert [row.name for row in tables.sides] == ["unknown", "left", "right"]
    for row, side in zip(tables.sides, (-1, 0, 1), strict=True):
        check(row, pred, keep(true, (true.side == side)[:, None]))
    assert [row.name for row in tables.gestures] == ["unlabeled", GESTURES[6], GESTURES[24]]
    for row, gesture in zip(tables.gestures, (-1, 6, 24), strict=True):
        check(row, pred, keep(true, (true.gesture == gesture)[:, None]))
    assert [row.name for row in tables.visibilities] == ["occluded", "visible"]
    for row, visibility in zip(tables.visibilities, (1, 2), strict=True):
        check(row, pred, keep(true, true.visibility == visibility))
    assert [row.name for row in tables.groups] == ["-3", "7", "11", str(2**52)]
    for row in tables.groups:
        check(row, pred, keep(true, (true.group == int(row.name))[:, None]))


def test_a_part_without_any_prediction_has_no_mean_and_no_hit() -> None:
    pred, true = random_pair(4)
    (row,) = breakdown(pred.replace(visibility=np.zeros((60, 21))), keep(true, np.arange(21) == 8)).joints
    assert row.missing == row.keypoints > 0
    assert math.isnan(row.epe_found)
    assert math.isnan(row.nme_found)
    assert row.median == math.inf
    assert row.pck == 0


def test_more_groups_than_a_byte_counts() -> None:
    pred, true = random_pair(2, n=300)
    true = true.replace(group=np.arange(300)[::-1])
    rows = breakdown(pred, true).groups
    assert len(rows) == 300
    check(rows[5], pred, keep(true, (true.group == 5)[:, None]))
    check(rows[280], pred, keep(true, (true.group == 280)[:, None]))


def test_parts_without_a_label_have_no_row() -> None:
    pred, true = random_pair(3)
    wrists = breakdown(pred, keep(true, np.arange(21) == 0))
    assert [row.name for row in wrists.joints] == ["wrist"]
    assert [row.name for row in wrists.fingers] == ["wrist"]
    assert all(table == () for table in breakdown(Hands.empty(), Hands.empty()))


def test_a_part_of_boxes_without_extent_has_errors_but_no_relative_metric() -> None:
    true = Hands(image=["a"], xy=np.full((1, 21, 2), 5.0), visibility=np.where(np.arange(21) == 3, 2, 0)[None])
    pred = true.replace(xy=np.full((1, 21, 2), 8.0))
    (row,) = breakdown(pred, true).joints
    assert row.epe_found == pytest.approx(math.hypot(3, 3))
    assert math.isnan(row.nme_found)
    assert math.isnan(row.pck)
