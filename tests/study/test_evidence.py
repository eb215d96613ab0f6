"""Evidence: the paper's numbers found again, exact tests by SciPy, and no claim that a small design cannot carry."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from knuckle.hands import Hands
from knuckle.metrics import permutation_test
from knuckle.study.evidence import Evidence, evidence
from knuckle.study.evidence_words import class_records, overall_records, power_records, sentences
from knuckle.study.hypotheses import h1_frame, h2_frame

CLASSES = (0, 6, 12)
Pair = tuple[Hands, Hands]


def hands_with_errors(errors: dict[int, list[float]], first_group: int = 0) -> Pair:
    """One hand a group, all its keypoints off by so many pixels, by gesture; boxes of 100 px."""
    gesture = np.repeat(list(errors), [len(values) for values in errors.values()])
    px = np.concatenate([np.asarray(values, dtype=float) for values in errors.values()])
    n = len(px)
    xy = np.random.default_rng(0).uniform(60, 160, (n, 21, 2))
    true = Hands(
        image=[f"{first_group + row}.png" for row in range(n)],
        xy=xy,
        visibility=np.full((n, 21), 2),
        gesture=gesture,
        group=first_group + np.arange(n),
        box=np.tile((60.0, 60.0, 160.0, 160.0), (n, 1)),
    )
    return true.replace(xy=xy + np.stack([px, 0 * px], axis=1)[:, None]), true


def scattered(count: int, mean: float, seed: int) -> list[float]:
    return list(np.random.default_rng(seed).gamma(16, mean / 16, count))


def studied(base: Pair, own: Pair, margin_px: float | None = None) -> Evidence:
    return evidence(*base, *own, np.ones(len(base[1]), dtype=bool), CLASSES, margin_px=margin_px)


@pytest.fixture(scope="module")
def small() -> tuple[Pair, Pair]:
    """The paper's 5 + 2 in three gestures; own fists are off by far more than anything else."""
    base = hands_with_errors({gesture: scattered(5, 4, gesture) for gesture in CLASSES})
    own = hands_with_errors({0: [3.0, 5.0], 6: [80.0, 90.0], 12: [4.0, 3.5]}, first_group=1000)
    return base, own


def test_the_papers_differences_are_the_direct_ones_times_the_share(small: tuple[Pair, Pair]) -> None:
    base, own = small
    found = studied(base, own)
    for design, row in zip(found.designs, h2_frame(*base, *own, CLASSES).rows, strict=True):
        assert design.paper_share == pytest.approx(2 / 7)
        assert design.paper_difference == pytest.approx(row.difference["epe"], rel=1e-4)
        assert design.paper_direct == pytest.approx(3.5 * row.difference["epe"], rel=1e-4)
    overall = found.epe.overall
    assert overall.diluted.estimate == pytest.approx(h1_frame(*base, *own).difference["epe"], rel=1e-4)
    assert overall.direct.estimate == pytest.approx(3.5 * overall.diluted.estimate)
    assert "is 0.286 of what lies between own and base" in sentences(found)[0]


def test_five_and_two_photos_cannot_show_what_is_plain_to_see(small: tuple[Pair, Pair]) -> None:
    found = studied(*small)
    assert {row.finding for row in found.epe.rows} == {"cannot show"}
    assert found.epe.rows[1].p == pytest.approx(1 / 21)
    assert found.epe.rows[1].p_holm == pytest.approx(3 / 21)
    assert math.isnan(found.epe.rows[1].difference.low)
    told = " ".join(sentences(found))
    assert "cannot show a difference in any single gesture" in told
    assert (
        "5 base groups and 2 own groups give no p below 0.0476, and Holm's correction over 3 makes that 0.143" in told
    )
    assert "too few groups for an interval" in told
    assert "none of 3 gestures is shown to differ" in told
    assert all(record["power"] == 0 for record in power_records(found))
    assert all(record["own_needed"] > 2 for record in power_records(found))


def first_fists(pair: Pair, count: int) -> Pair:
    """All hands but those of the fists after the first few."""
    rows = np.flatnonzero((pair[1].gesture != 6) | (np.cumsum(pair[1].gesture == 6) <= count))
    return pair[0][rows], pair[1][rows]


def test_a_small_gesture_among_large_ones_is_within_reach_where_these_are_rejected_first() -> None:
    """Holm's last step asks for 0.05 alone: 5 + 2 give 1/21, if both gestures of 30 + 30 differ."""
    base = hands_with_errors({0: scattered(30, 4, 0), 6: scattered(30, 4, 6), 12: scattered(5, 4, 12)})
    own = hands_with_errors({0: scattered(30, 9, 50), 6: scattered(30, 9, 56), 12: [80.0, 90.0]}, first_group=1000)
    found = studied(base, own)
    assert [design.reachable for design in found.designs] == [True, True, True]
    assert found.designs[2].smallest_holm == pytest.approx(1 / 21)
    assert [row.finding for row in found.epe.rows] == ["own worse"] * 3
    assert "cannot show" not in " ".join(sentences(found))
    # Where only one of them is large, two small ones share the last steps, and neither can be shown.
    few = studied(first_fists(base, 5), first_fists(own, 2))
    assert [row.finding for row in few.epe.rows] == ["own worse", "cannot show", "cannot show"]
    assert "cannot show a difference in 2 of 3 gestures" in " ".join(sentences(few))
    # Alike large ones: the small one was within reach, and is not shown.
    alike = hands_with_errors({0: scattered(30, 4, 50), 6: scattered(30, 4, 56), 12: [80.0, 90.0]}, first_group=1000)
    assert studied(base, alike).epe.rows[2].finding == "not shown"


def test_p_values_are_those_of_scipy_and_statsmodels(small: tuple[Pair, Pair]) -> None:
    """All 21 labellings with Welch's t; Holm over the three gestures."""
    (base_pred, base_true), (own_pred, own_true) = small
    expected = []
    for gesture in CLASSES:
        arms = [
            np.hypot(*np.moveaxis(pred.xy - true.xy, 2, 0)).mean(axis=1)[true.gesture == gesture]
            for pred, true in ((own_pred, own_true), (base_pred, base_true))
        ]
        result = stats.permutation_test(
            arms, lambda a, b: abs(stats.ttest_ind(a, b, equal_var=False).statistic), alternative="greater"
        )
        expected.append(result.pvalue)
    found = studied(*small).epe.rows
    assert [row.p for row in found] == pytest.approx(expected)
    assert [row.p_holm for row in found] == pytest.approx(list(multipletests(expected, method="holm")[1]))


def test_a_design_that_is_large_enough_shows_the_one_gesture_that_differs() -> None:
    base = hands_with_errors({gesture: scattered(30, 4, gesture) for gesture in CLASSES})
    own = hands_with_errors({g: scattered(30, 8 if g == 6 else 4, 50 + g) for g in CLASSES}, first_group=1000)
    found = studied(base, own, margin_px=2.0)
    assert [row.finding for row in found.epe.rows] == [
        "no difference beyond the margin",
        "own worse",
        "no difference beyond the margin",
    ]
    fist = found.epe.rows[1].difference
    assert fist.low < fist.estimate < fist.high
    assert fist.low > 2
    assert found.nme.rows[1].difference.estimate == pytest.approx(fist.estimate / 100, rel=1e-4)
    assert found.nme.margin == pytest.approx(0.02, rel=1e-4)
    told = " ".join(sentences(found))
    assert (
        "By EPE 1 of 3 gestures are shown to differ on own photos, at 5 % over all of them (Holm); worse: 6 fist."
        in told
    )
    assert '"No difference" within a margin of 2.00 px' in told
    assert "cannot show" not in told
    records = class_records(found)
    assert records[1]["epe_finding"] == "own worse"
    assert records[1]["epe_p_holm"] == found.epe.rows[1].p_holm
    assert overall_records(found)[0]["p"] < 0.01


def test_groups_that_show_several_gestures_get_no_test_over_gestures(small: tuple[Pair, Pair]) -> None:
    base, (own_pred, own_true) = small
    one_person = np.zeros(len(own_true), dtype=np.int64)
    found = studied(base, (own_pred.replace(group=one_person), own_true.replace(group=one_person)))
    assert found.crossing
    assert math.isnan(found.epe.overall.p)
    assert "Some groups show several gestures" in " ".join(sentences(found))


def test_classes_without_own_hands_and_points_that_were_not_found_are_said(small: tuple[Pair, Pair]) -> None:
    (base_pred, base_true), (own_pred, own_true) = small
    lost = base_pred.visibility.copy()
    lost[0, :3] = 0
    rows = own_true.gesture != 12
    found = studied((base_pred.replace(visibility=lost), base_true), (own_pred[rows], own_true[rows]))
    assert found.epe.rows[2].finding == "no own hand"
    assert found.missing == 3
    assert math.isfinite(found.epe.overall.base)
    assert "were not found, and are in none of these numbers: 3." in " ".join(sentences(found))


def test_a_margin_that_is_none_is_refused(small: tuple[Pair, Pair]) -> None:
    with pytest.raises(ValueError, match="the margin must be a positive number of pixels, got 0"):
        studied(*small, margin_px=0.0)


def test_power_is_that_of_errors_as_they_scatter() -> None:
    """Own errors scatter four times as much as the base: a test finds less than one spread for all promises."""
    base = hands_with_errors({gesture: scattered(40, 8, gesture) for gesture in CLASSES})
    rng = np.random.default_rng(1)
    own = hands_with_errors({g: list(40 + 8 * stats.zscore(rng.normal(size=12), ddof=1)) for g in CLASSES}, 1000)
    found = studied(base, own)
    chance = found.epe.chances[2]
    assert chance.shift == pytest.approx(4, rel=0.05)
    drawn = []
    for study in range(200):
        mine = rng.normal(4, 8, 12)
        theirs = rng.choice(np.concatenate([scattered(40, 8, gesture) for gesture in CLASSES]), 40) - 8
        drawn.append(permutation_test(mine, theirs, resamples=999, seed=study).p <= 0.05 / 3)
    assert chance.power == pytest.approx(np.mean(drawn), abs=0.12)
    assert chance.by_formula > chance.power + 0.2
    (record,) = [record for record in power_records(found) if record["difference"] == chance.shift]
    assert (record["power"], record["power_by_formula"]) == (chance.power, chance.by_formula)
    assert f"a chance of {chance.power:.2f}, simulated from the errors at hand" in " ".join(sentences(found))
