"""Two models on the same hands: exact tests by SciPy, verdicts by hand, and one set of numbers in every file."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from knuckle.formats import write
from knuckle.hands import Hands
from knuckle.skeleton import JOINT_NAMES
from knuckle.study import comparing
from knuckle.study.comparing import Question, run_comparison, write_comparison
from knuckle.study.comparison import comparison
from knuckle.study.run import Options
from tests.study.test_evidence import hands_with_errors, scattered

CLASSES = (0, 6)


@pytest.fixture
def three() -> tuple[Hands, Hands, Hands]:
    """B is off by 4 px; A likewise on open palms, and by 3 px more on fists."""
    b, true = hands_with_errors({g: scattered(24, 4, g) for g in CLASSES})
    noise = np.random.default_rng(9).normal(0, 0.2, len(true))
    more = np.where(true.gesture == 6, 3.0, 0.0) + noise
    a = b.replace(xy=b.xy + np.stack([more, 0 * more], axis=1)[:, None])
    return a, b, true


def test_only_the_gesture_that_differs_is_called_different(three: tuple[Hands, Hands, Hands]) -> None:
    a, b, true = three
    found = comparison(a, b, true, margin_px=0.5)
    palm, fist = found.gestures
    assert (palm.pairs["epe"].finding, fist.pairs["epe"].finding) == ("no difference beyond the margin", "B better")
    interval = fist.pairs["epe"].difference
    assert interval.low < 3 < interval.high
    assert interval.high - interval.low < 0.4  # what the hands have in common has cancelled
    assert found.overall.pairs["nme"].difference.estimate == pytest.approx(
        found.overall.pairs["epe"].difference.estimate / 100, rel=1e-3
    )
    assert len(found.joints) == 21
    assert "B better: fist" in " ".join(found.sentences())
    assert [row.name for row in found.failures.gestures if row.fails] == ["fist"]  # of A, against its open palms


def test_p_is_the_share_of_all_turns_of_signs(three: tuple[Hands, Hands, Hands]) -> None:
    a, b, true = three
    rows = np.array([0, 1, 2, 24, 25, 26, 27])
    found = comparison(a[rows], b[rows], true[rows])
    difference = [
        np.hypot(*np.moveaxis(pred.xy - true.xy, 2, 0)).mean(axis=1)[rows].astype(np.float64) for pred in (a, b)
    ]
    expected = stats.permutation_test(
        [difference[0] - difference[1]], lambda x: abs(x.mean()), permutation_type="samples", alternative="greater"
    )
    assert found.overall.pairs["epe"].p == pytest.approx(expected.pvalue)
    assert found.gestures[0].pairs["epe"].finding == "cannot show"  # 3 groups: p is at least 1/4
    assert "too few groups to show anything" in " ".join(found.sentences())


def test_points_that_one_model_missed_count_for_neither(three: tuple[Hands, Hands, Hands]) -> None:
    a, b, true = three
    lost = a.visibility.copy()
    lost[3, 7] = 0
    xy = b.xy.copy()
    xy[3, 7] += 500
    found = comparison(a.replace(visibility=lost), b.replace(xy=xy), true)
    assert found.missing == (1, 0)
    assert next(part for part in found.joints if part.name == JOINT_NAMES[7]).hands == len(true) - 1
    assert found.overall.pairs["epe"].b < 6
    with pytest.raises(ValueError, match="no labelled keypoint that both models found"):
        comparison(a.replace(visibility=np.zeros_like(lost)), b, true)


def test_files_and_page_give_the_same_numbers(three: tuple[Hands, Hands, Hands], tmp_path: Path) -> None:
    a, b, true = three
    paths = [tmp_path / f"{name}.json" for name in ("true", "a", "b")]
    for hands, path in zip((true, a, b), paths, strict=True):
        write(hands.replace(root=tmp_path), path, "coco")
    result = run_comparison(Question(str(paths[1]), str(paths[2]), paths[0]))
    out = tmp_path / "out"
    write_comparison(result, out)
    with (out / "gestures.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    summary = json.loads((out / "comparison.json").read_text())
    html = (out / "report.html").read_text()
    assert float(rows[1]["epe_difference"]) == pytest.approx(
        comparison(a, b, true).gestures[1].pairs["epe"].difference.estimate, rel=1e-3
    )
    assert summary["run"]["models"][str(paths[1])]["sha256"] == {
        "a.json": hashlib.sha256(paths[1].read_bytes()).hexdigest()
    }
    for row, listed in zip(rows, summary["gestures"], strict=True):
        for key in ("nme_a", "nme_b", "nme_difference", "nme_p_holm"):
            assert float(row[key]) == listed[key]
            assert f'data-v="{row[key]}"' in html
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    assert "://" not in html.split("</head>")[1]


def test_a_small_gesture_is_within_reach_where_large_ones_differ() -> None:
    """6 groups give no p below 2 / 2^6 = 0.031: above 0.05 / 3, but Holm asks it last."""
    b, true = hands_with_errors({0: scattered(24, 4, 0), 6: scattered(24, 4, 6), 12: scattered(6, 4, 12)})
    noise = np.random.default_rng(9).uniform(2.9, 3.1, len(true))
    found = comparison(b.replace(xy=b.xy + np.stack([noise, 0 * noise], axis=1)[:, None]), b, true)
    assert [part.pairs["nme"].finding for part in found.gestures] == ["B better"] * 3
    assert "too few groups" not in found.sentences()[3]


def test_one_model_against_itself_is_alike_and_has_no_spread(three: tuple[Hands, Hands, Hands]) -> None:
    _, b, true = three
    told = comparison(b, b, true).sentences()[0]
    assert "too little spread between groups for an interval" in told
    assert "alike within the margin (p < 0.001)" in told  # of the equivalence test: that of the permutation is 1
    few = np.arange(5)
    assert "too few groups for an interval" in comparison(b[few], b[few], true[few]).sentences()[0]


def test_what_cannot_be_compared_is_said_before_a_model_runs(
    three: tuple[Hands, Hands, Hands], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise AssertionError("nothing may be predicted")

    monkeypatch.setattr(comparing, "predictions_of_predictor", fail)
    _, b, true = three
    labels, other, empty = (tmp_path / f"{name}.json" for name in ("true", "other", "empty"))
    write(true.replace(root=tmp_path), labels, "coco")
    write(b.replace(root=tmp_path, image=[f"x{row}.png" for row in range(len(b))]), other, "coco")
    write(true.replace(root=tmp_path, visibility=np.zeros_like(true.visibility)), empty, "coco")
    with pytest.raises(ValueError, match="there is no model nothere"):
        run_comparison(Question("light", "nothere", labels))
    with pytest.raises(ValueError, match="predictions and truth share no image"):
        run_comparison(Question("light", str(other), labels))
    with pytest.raises(ValueError, match=r"other\.json is a file of predictions; harder pictures"):
        run_comparison(Question("light", str(other), labels), Options(robustness=True))
    with pytest.raises(ValueError, match="the margin must be a positive number of pixels, got 0;"):
        run_comparison(Question("light", str(labels), labels, margin=0.0))
    with pytest.raises(ValueError, match="robustness needs hands with three labelled keypoints"):
        run_comparison(Question("light", "light", empty), Options(robustness=True))
