"""The report holds each metric under its name, also where predictions, sizes or labels are missing."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest

from knuckle.evaluate import evaluate
from knuckle.evaluate.report import finite, named
from knuckle.hands import Hands
from knuckle.metrics import auc, cluster_bootstrap, epe, errors, nme, pck
from knuckle.metrics.calibration import measure
from knuckle.metrics.conformal import fit


def random_pair(n: int = 40, *, missing: bool = False) -> tuple[Hands, Hands]:
    rng = np.random.default_rng(n)
    true = Hands(
        image=[f"{row // 2}.jpg" for row in range(n)],
        xy=rng.uniform(20, 200, (n, 21, 2)),
        visibility=np.where(rng.random((n, 21)) < 0.8, 2, 0),
        group=np.arange(n) // 2,
        size=np.tile((224, 224), (n, 1)),
    )
    found = np.full((n, 21), 2)
    if missing:
        found[3] = 0
    return true.replace(xy=np.nan_to_num(true.xy) + rng.standard_t(3, (n, 21, 2)) * 20, visibility=found), true


def test_every_number_is_the_metric_of_its_name() -> None:
    pred, true = random_pair()
    report = evaluate(pred, true)
    assert (report.hands, report.images, report.groups) == (40, 20, 20)
    assert report.keypoints == true.labeled.sum()
    assert (report.missing, report.without_extent) == (0, 0)
    assert report.epe == report.epe_found == epe(pred, true)
    assert report.median_error == pytest.approx(float(np.nanmedian(errors(pred, true))), rel=1e-6)
    assert report.nme == report.nme_found == nme(pred, true)
    assert report.nme_hand == nme(pred, true, average="hand")
    assert report.pck_box_20 == pck(pred, true)
    assert report.pck_box_10 == pck(pred, true, 0.1)
    assert report.pck_box_05 == pck(pred, true, 0.05)
    assert report.pck_image_20 == pck(pred, true, 0.2, "image")
    assert report.auc_mmpose == auc(pred, true)
    assert report.auc_hand3d == auc(pred, true, "hand3d")
    assert report.epe != pytest.approx(report.median_error)


def test_intervals_belong_to_their_metric_and_resample_groups() -> None:
    pred, true = random_pair()
    report = evaluate(pred, true, seed=3)
    assert report.intervals.keys() == {"epe", "nme", "pck_box_20"}
    for name, interval in report.intervals.items():
        assert interval.estimate == pytest.approx(getattr(report, name), rel=1e-12)
        assert interval.low <= interval.estimate <= interval.high
        assert interval.low < interval.high
    sums = np.nansum(errors(pred, true), axis=1)
    by_group = cluster_bootstrap(sums, true.labeled.sum(axis=1), true.group, resamples=1000, seed=3)
    assert report.intervals["epe"] == pytest.approx(by_group, rel=1e-5)


def test_missing_predictions_are_counted_and_not_hidden() -> None:
    pred, true = random_pair(missing=True)
    report = evaluate(pred, true)
    kept = [row for row in range(40) if row != 3]
    assert report.missing == true.labeled[3].sum()
    assert report.epe == report.nme == math.inf
    assert report.epe_found == pytest.approx(epe(pred[kept], true[kept]))
    assert report.nme_found == pytest.approx(nme(pred[kept], true[kept]))
    assert math.isfinite(report.median_error)
    assert math.isnan(report.intervals["epe"].low)
    assert math.isfinite(report.intervals["pck_box_20"].low)


def test_json_has_every_number_and_none_that_json_does_not_know() -> None:
    pred, true = random_pair(missing=True)
    report = evaluate(pred, true, skipped=["a.jpg is cut off."])
    content = json.loads(report.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert content["epe"] is None
    assert content["pck_box_20"] == report.pck_box_20
    assert content["intervals"]["pck_box_20"] == [
        report.intervals["pck_box_20"].low,
        report.intervals["pck_box_20"].high,
    ]
    assert content["intervals"]["epe"] == [None, None]
    assert [row["name"] for row in content["breakdown"]["fingers"]][1] == "thumb"
    assert content["skipped"] == ["a.jpg is cut off."]


def test_the_image_normalizer_is_absent_where_a_size_is_unknown() -> None:
    pred, true = random_pair()
    report = evaluate(pred, true.replace(size=np.where(np.arange(40)[:, None] == 7, 0, 224) * np.ones((1, 2), int)))
    assert report.pck_image_20 is None
    assert report.pck_box_20 == pck(pred, true)


def test_hands_without_extent_and_nothing_at_all() -> None:
    true = Hands(image=["a"], xy=np.ones((1, 21, 2)), visibility=np.where(np.arange(21) == 3, 2, 0)[None])
    report = evaluate(true, true)
    assert (report.without_extent, report.epe) == (1, 0.0)
    assert math.isnan(report.nme)
    nothing = evaluate(Hands.empty(), Hands.empty())
    assert (nothing.hands, nothing.keypoints) == (0, 0)
    assert math.isnan(nothing.epe)
    assert json.loads(nothing.to_json())["auc_mmpose"] is None


def test_thirteen_thousand_predictions_take_a_moment() -> None:
    """A tenth of FreiHAND, with every metric, table and interval: 0.2 s; 2 s allow for a busy machine."""
    pred, true = random_pair(13024)
    start = time.process_time()
    evaluate(pred, true)
    assert time.process_time() - start < 2


def test_stated_uncertainty_is_measured_where_there_is_any() -> None:
    pred, true = random_pair()
    assert evaluate(pred, true).uncertainty is None
    assert json.loads(evaluate(pred, true).to_json())["uncertainty"] is None
    pred = pred.replace(covariance=np.tile(16 * np.eye(2), (40, 21, 1, 1)))
    raw = evaluate(pred, true, seed=2)
    assert finite(named(raw.uncertainty)) == finite(named(measure(pred, true, seed=2)))
    calibration = fit(pred, true)
    found = calibration.apply(pred)
    report = evaluate(found, true, calibration=calibration, seed=2)
    expected = measure(found, true, calibration.limits_array(), calibration.levels, seed=2)
    assert finite(named(report.uncertainty)) == finite(named(expected))
    content = json.loads(report.to_json())["uncertainty"]
    assert content["conformal"][0]["share"]["estimate"] == pytest.approx(0.5, abs=0.05)
    assert content["reliability"][0]["keypoints"] > 0
    assert content["risk_coverage"]["kept"][-1] == 1
