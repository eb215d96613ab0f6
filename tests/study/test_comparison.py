"""Two models on the same hands: exact tests by SciPy, verdicts by hand, and one set of numbers in every file."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from knuckle.formats import write
from knuckle.hands import Hands
from knuckle.skeleton import JOINT_NAMES
from knuckle.study.comparing import Question, run_comparison, write_comparison
from knuckle.study.comparison import comparison
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
    for row, listed in zip(rows, summary["gestures"], strict=True):
        for key in ("nme_a", "nme_b", "nme_difference", "nme_p_holm"):
            assert float(row[key]) == listed[key]
            assert f'data-v="{row[key]}"' in html
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    assert "://" not in html.split("</head>")[1]
