"""Metrics against the published formulas, restated as plain loops, on heavy-tailed errors with gaps."""

from __future__ import annotations

import math
import warnings
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knuckle.hands import Hands
from knuckle.metrics import auc, epe, errors, nme, pck, pck_curve

TOLERANCE = 1e-6


def random_pair(seed: int, n: int = 40, *, degrees: float = 1.0, labeled: float = 0.7) -> tuple[Hands, Hands]:
    """Truth with unlabelled and occluded joints, and predictions off by Student-t errors (1 is Cauchy).

    A tenth of all errors land exactly on a threshold of some metric; one hand has no label, one a single one.
    """
    rng = np.random.default_rng(seed)
    visibility = np.where(rng.random((n, 21)) < labeled, rng.integers(1, 3, (n, 21)), 0)
    visibility[0] = 0
    visibility[1] = 0
    visibility[1, 4] = 2
    xy = rng.integers(20, 300, (n, 21, 2)).astype(np.float32)
    true = Hands(
        image=[f"{row}.jpg" for row in range(n)], xy=xy, visibility=visibility, size=np.tile((320, 240), (n, 1))
    )
    offset = rng.standard_t(degrees, (n, 21, 2)) * 4
    ties = rng.random((n, 21)) < 0.1
    offset[ties] = 0
    side = np.nan_to_num((true.box[:, 2:] - true.box[:, :2]).max(axis=1))
    for row, joint in zip(*np.nonzero(ties), strict=True):
        offset[row, joint, 0] = rng.choice([1.5 * rng.integers(20), 0.2 * side[row], 30.0, 28.5, 0.0])
    return true.replace(xy=xy + offset, visibility=np.full((n, 21), 2)), true


def loop_errors(pred: Hands, true: Hands) -> list[list[float | None]]:
    """The distance of every labelled keypoint, None elsewhere."""
    table: list[list[float | None]] = []
    for row in range(len(true)):
        table.append([])
        for joint in range(21):
            if true.visibility[row, joint] == 0:
                table[-1].append(None)
                continue
            x, y = (float(pred.xy[row, joint, axis]) - float(true.xy[row, joint, axis]) for axis in (0, 1))
            table[-1].append(math.hypot(x, y))
    return table


def loop_scale(true: Hands, row: int, normalizer: str) -> float:
    if normalizer == "px":
        return 1.0
    if normalizer == "image":
        return float(max(true.size[row]))
    if normalizer == "box":
        x1, y1, x2, y2 = (float(value) for value in true.box[row])
        return max(x2 - x1, y2 - y1)
    points = [true.xy[row, joint] for joint in range(21) if true.visibility[row, joint] > 0]
    if not points:
        return math.nan
    return max(float(max(p[axis] for p in points)) - float(min(p[axis] for p in points)) for axis in (0, 1))


def loop_pck(
    pred: Hands, true: Hands, threshold: float, normalizer: str, *, average: str = "macro", inclusive: bool = False
) -> float:
    """MMPose's PCK: per keypoint the share below the threshold, then the mean over keypoints that have any."""
    table = loop_errors(pred, true)
    hits: list[list[bool]] = [[] for _ in range(21)]
    for row in range(len(true)):
        scale = loop_scale(true, row, normalizer)
        for joint in range(21):
            error = table[row][joint]
            if error is None or scale == 0:
                continue
            ratio = error / scale
            hits[joint].append(ratio <= threshold if inclusive else ratio < threshold)
    if average == "micro":
        pooled = [hit for joint in hits for hit in joint]
        return sum(pooled) / len(pooled)
    shares = [sum(joint) / len(joint) for joint in hits if joint]
    return sum(shares) / len(shares)


def loop_auc_mmpose(pred: Hands, true: Hands) -> float:
    return sum(loop_pck(pred, true, 30 * step / 20, "px") for step in range(20)) / 20


def loop_auc_hand3d(pred: Hands, true: Hands) -> float:
    """Per keypoint the trapezoid rule over 20 thresholds from 0 to 30 px, then the mean over keypoints."""
    table = loop_errors(pred, true)
    areas = []
    for joint in range(21):
        values = [row[joint] for row in table if row[joint] is not None]
        if not values:
            continue
        limits = [30 * step / 19 for step in range(20)]
        curve = [sum(value is not None and value <= limit for value in values) / len(values) for limit in limits]
        area = sum((curve[i] + curve[i + 1]) / 2 * (limits[i + 1] - limits[i]) for i in range(19))
        areas.append(area / 30)
    return sum(areas) / len(areas)


def loop_nme(pred: Hands, true: Hands, average: str) -> float:
    table = loop_errors(pred, true)
    hands = []
    for row in range(len(true)):
        scale = loop_scale(true, row, "box")
        values = [error / scale for error in table[row] if error is not None and scale > 0]
        if values:
            hands.append(values)
    if average == "hand":
        return sum(sum(values) / len(values) for values in hands) / len(hands)
    pooled = [value for values in hands for value in values]
    return sum(pooled) / len(pooled)


def test_nme_within_each_hand_first_weighs_hands_equally() -> None:
    """One hand with 21 errors of 3 / 30 and one with 2 errors of 6 / 30."""
    near, near_true = one_hand(3.0)
    far, far_true = one_hand(6.0)
    far_true = far_true.replace(visibility=np.where(np.arange(21) < 2, 2, 0)[None])
    pred, true = Hands.concat([near, far]), Hands.concat([near_true, far_true])
    assert nme(pred, true) == pytest.approx((21 * 0.1 + 2 * 0.2) / 23)
    assert nme(pred, true, "hand") == pytest.approx((0.1 + 0.2) / 2)


SEEDS = range(6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("degrees", [1.0, 2.5])
def test_epe_and_nme_are_the_published_means(seed: int, degrees: float) -> None:
    pred, true = random_pair(seed, degrees=degrees)
    pooled = [error for row in loop_errors(pred, true) for error in row if error is not None]
    assert epe(pred, true) == pytest.approx(sum(pooled) / len(pooled), rel=TOLERANCE)
    assert nme(pred, true) == pytest.approx(loop_nme(pred, true, "point"), rel=TOLERANCE)
    assert nme(pred, true, average="hand") == pytest.approx(loop_nme(pred, true, "hand"), rel=TOLERANCE)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize(("normalizer", "threshold"), [("box", 0.2), ("image", 0.05), ("keypoints", 0.1), ("px", 28.5)])
def test_pck_is_the_published_share(
    seed: int,
    inclusive: bool,
    average: Literal["macro", "micro"],
    normalizer: Literal["box", "image", "keypoints", "px"],
    threshold: float,
) -> None:
    pred, true = random_pair(seed)
    expected = loop_pck(pred, true, threshold, normalizer, average=average, inclusive=inclusive)
    assert pck(pred, true, threshold, normalizer, average, inclusive) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("seed", SEEDS)
def test_auc_follows_each_protocol(seed: int) -> None:
    pred, true = random_pair(seed)
    assert auc(pred, true) == pytest.approx(loop_auc_mmpose(pred, true), abs=TOLERANCE)
    assert auc(pred, true, "hand3d") == pytest.approx(loop_auc_hand3d(pred, true), abs=TOLERANCE)


def test_the_box_column_is_the_normalizer_not_the_keypoints() -> None:
    pred, true = random_pair(3)
    x1, y1, x2, y2 = np.moveaxis(true.box, 1, 0)
    wide = true.replace(box=np.stack([x1, y1, x2 + 200, y2], axis=1))
    assert pck(pred, wide) == pytest.approx(loop_pck(pred, wide, 0.2, "box"), abs=TOLERANCE)
    assert pck(pred, wide) > pck(pred, true)
    assert pck(pred, wide, normalizer="keypoints") == pck(pred, true)


def one_hand(offset: float, *, side: float = 30.0) -> tuple[Hands, Hands]:
    """A hand with a box of that side, every prediction off by `offset` px in x."""
    xy = np.full((1, 21, 2), 64.0)
    xy[0, 0, 0] += side
    true = Hands(image=["a"], xy=xy, visibility=np.full((1, 21), 2))
    return true.replace(xy=xy + np.array((offset, 0))), true


@pytest.mark.parametrize(("threshold", "normalizer"), [(0.1, "box"), (3.0, "px"), (0.1, "keypoints")])
def test_an_error_on_the_threshold_counts_only_when_inclusive(
    threshold: float, normalizer: Literal["box", "px", "keypoints"]
) -> None:
    pred, true = one_hand(3.0)
    assert pck(pred, true, threshold, normalizer) == 0
    assert pck(pred, true, threshold, normalizer, inclusive=True) == 1


@pytest.mark.parametrize("step", range(20))
def test_mmpose_auc_is_strict_at_each_of_its_thresholds(step: int) -> None:
    assert auc(*one_hand(1.5 * step)) == pytest.approx((19 - step) / 20, abs=1e-12)


def test_hand3d_auc_counts_an_error_on_its_last_threshold() -> None:
    assert auc(*one_hand(30.0), protocol="hand3d") == pytest.approx(0.5 / 19, abs=1e-12)


def test_a_perfect_prediction_reaches_each_ceiling_exactly() -> None:
    _, true = random_pair(0)
    assert auc(true, true) == 0.95
    assert auc(true, true, "hand3d") == 1.0
    assert (epe(true, true), nme(true, true), pck(true, true)) == (0.0, 0.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.1, 12.0))
def test_mmpose_auc_says_little_that_epe_does_not(seed: int, scale: float) -> None:
    """AUC = 0.975 - EPE / 30, as a sum of steps of 1.5 px, while nothing is masked or above 28.5 px."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(50, 200, (30, 21, 2))
    true = Hands(image=["a"] * 30, xy=xy, visibility=np.full((30, 21), 2))
    radius = np.minimum(rng.exponential(scale, (30, 21)), 28.4)
    angle = rng.uniform(0, 2 * np.pi, (30, 21))
    pred = true.replace(xy=xy + radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1))
    assert auc(pred, true) == pytest.approx(0.975 - epe(pred, true) / 30, abs=0.025)


def test_errors_are_nan_without_a_label_and_infinite_without_a_prediction() -> None:
    _, true = one_hand(0.0)
    visibility = np.full((1, 21), 2)
    visibility[0, 5] = 0
    gap = true.replace(visibility=visibility)
    found = errors(true, gap)
    assert found.dtype == np.float32
    assert np.isnan(found[0, 5])
    assert np.isfinite(np.delete(found[0], 5)).all()
    missed = errors(gap, true)
    assert np.isposinf(missed[0, 5])
    assert (np.delete(missed[0], 5) == 0).all()


def test_a_missing_prediction_is_a_miss_and_never_left_out() -> None:
    _, true = one_hand(0.0)
    pred = true.replace(visibility=np.where(np.arange(21) == 5, 0, 2)[None])
    assert epe(pred, true) == math.inf
    assert nme(pred, true) == nme(pred, true, "hand") == math.inf
    assert pck(pred, true, 1e9, inclusive=True) == pytest.approx(20 / 21)
    assert auc(pred, true) == pytest.approx(0.95 * 20 / 21)
    assert auc(pred, true, "hand3d") == pytest.approx(20 / 21)


def test_a_hand_whose_box_has_no_extent_is_left_out_of_relative_metrics_only() -> None:
    pred, true = random_pair(1, n=3)  # row 1 has a single keypoint
    off = pred.replace(xy=np.where(np.arange(3)[:, None, None] == 1, pred.xy + 1000, pred.xy))
    assert nme(off, true) == nme(pred, true)
    assert pck(off, true) == pck(pred, true)
    assert epe(off, true) > epe(pred, true)


def test_metrics_of_nothing_are_nan_without_a_warning() -> None:
    empty = Hands.empty()
    blank = Hands(image=["a"], xy=np.zeros((1, 21, 2)), visibility=np.zeros((1, 21)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for hands in (empty, blank):
            values = [epe(hands, hands), nme(hands, hands), nme(hands, hands, "hand"), pck(hands, hands)]
            values += [pck(hands, hands, average="micro"), auc(hands, hands), auc(hands, hands, "hand3d")]
            values += [pck(hands, hands, normalizer="image"), pck(hands, hands, normalizer="keypoints")]
            assert all(math.isnan(value) for value in values)


def test_a_joint_that_nobody_labelled_is_left_out_of_the_macro_average() -> None:
    pred, true = one_hand(3.0)
    true = true.replace(visibility=np.where(np.arange(21) < 2, 2, 0)[None])
    assert pck(pred, true, 4.0, "px") == 1
    assert pck(pred, true, 2.0, "px") == 0


def test_macro_and_micro_differ_when_joints_are_labelled_unequally() -> None:
    true = Hands(image=["a", "b"], xy=np.zeros((2, 21, 2)), visibility=[[2, 2] + [0] * 19, [2] + [0] * 20])
    xy = np.zeros((2, 21, 2))
    xy[:, 1] = 9
    pred = true.replace(xy=xy, visibility=np.full((2, 21), 2))
    assert pck(pred, true, 5.0, "px", "macro") == pytest.approx(1 / 2)
    assert pck(pred, true, 5.0, "px", "micro") == pytest.approx(2 / 3)


def test_a_curve_is_pck_at_each_threshold() -> None:
    pred, true = random_pair(2)
    thresholds = [0.3, 0.05, 0.1]
    curve = pck_curve(pred, true, thresholds)
    assert curve.tolist() == [pck(pred, true, threshold) for threshold in thresholds]


def test_different_tables_are_refused() -> None:
    pred, true = random_pair(0, n=4)
    with pytest.raises(ValueError, match="got 3 and 4 hands"):
        epe(pred[:3], true)
    with pytest.raises(ValueError, match=r"row 2 has other\.jpg and 2\.jpg"):
        epe(pred.replace(image=["0.jpg", "1.jpg", "other.jpg", "wrong.jpg"]), true)


def test_names_match_when_empty_or_when_the_files_are_the_same() -> None:
    pred, true = random_pair(0, n=4)
    expected = epe(pred, true)
    assert epe(pred.replace(image=[""] * 4), true) == expected
    moved = true.replace(root="data/set")
    assert epe(pred.replace(image=[f"data/set/{name}" for name in true.image]), moved) == expected


def test_an_unknown_normalizer_is_refused_where_it_matters() -> None:
    pred, true = random_pair(0, n=4)
    size = np.array(true.size)
    size[0] = 0  # nothing is labelled there
    assert pck(pred, true.replace(size=size), normalizer="image") == pck(pred, true, normalizer="image")
    size[2] = 0
    with pytest.raises(ValueError, match=r"row 2 \(2\.jpg\) has no image size"):
        pck(pred, true.replace(size=size), normalizer="image")
    box = np.array(true.box)
    box[3] = np.nan
    with pytest.raises(ValueError, match=r"row 3 \(3\.jpg\) has no box"):
        nme(pred, true.replace(box=box))


def test_misspelt_options_are_refused() -> None:
    pred, true = random_pair(0, n=2)
    with pytest.raises(ValueError, match="normalizer must be one of box, image"):
        pck(pred, true, normalizer="bbox")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="protocol must be one of mmpose, hand3d"):
        auc(pred, true, "coco")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite number, got nan"):
        pck(pred, true, math.nan)
