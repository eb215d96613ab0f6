"""The graph's calibration is that of `Calibration.apply`: over all ranges, with one knot, where nothing is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from knuckle.export.graph import calibrate, interpolate, probability_within
from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.metrics.gaussian import probability_within as exact_probability
from tests.export.models import calibration

N, SIDE = 200, 50.0


def predictions() -> Hands:
    """Predictions in crop pixels with boxes of one size, covariances from a dot to the whole crop, and one missing."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(N, 21, 2, 2)) * np.exp(rng.uniform(-3, 4, (N, 21, 1, 1)))
    xy = rng.uniform(0, 64, (N, 21, 2))
    xy[0, 3] = np.nan
    covariance = root @ np.swapaxes(root, -1, -2)
    covariance[0, 3] = np.nan
    visibility = np.where(np.isnan(xy[..., 0]), 0, 2)
    low = rng.uniform(0, 10, (N, 2))
    box = np.concatenate([low, low + np.array([SIDE, 30])], axis=1)
    return Hands(image=["a"] * N, xy=xy, visibility=visibility, box=box, covariance=covariance)


@pytest.mark.parametrize("source", ["covariance", "box"])
@pytest.mark.parametrize("one_knot", [False, True])
def test_it_is_the_calibration_of_the_package(source: str, one_knot: bool) -> None:
    fitted = calibration(source)
    if one_knot:
        fitted = replace(fitted, disc=(0.3,), confidence=(0.6,))
    hands = predictions()
    expected = fitted.apply(hands)
    assert hands.covariance is not None
    assert expected.confidence is not None
    assert expected.covariance is not None
    known = expected.confidence[~np.isnan(expected.confidence)]
    assert one_knot or (known.min() < 0.06 and known.max() > 0.6), "the knots must be reached"
    found = calibrate(
        {"xy_crop": torch.tensor(hands.xy), "covariance_crop": torch.tensor(hands.covariance)},
        torch.tensor(SIDE),
        fitted,
    )
    np.testing.assert_allclose(found["calibrated_covariance_crop"], expected.covariance, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["confidence"], expected.confidence, atol=1e-3)


def test_the_probability_of_a_disc_is_exact() -> None:
    covariance = predictions().covariance
    assert covariance is not None
    found = probability_within(torch.tensor(covariance), torch.tensor(7.0))
    np.testing.assert_allclose(found, exact_probability(covariance, np.full((N, 21), 7.0)), atol=1e-5)


def test_it_interpolates_like_numpy() -> None:
    fitted = calibration("box")
    disc = np.linspace(0, 1, 21 * 50).reshape(50, 21).astype(np.float32)
    found = interpolate(torch.from_numpy(disc), fitted)
    np.testing.assert_allclose(found, np.interp(disc, fitted.disc, fitted.confidence), atol=1e-4)


def test_the_side_of_a_box_follows_from_the_rule() -> None:
    box = np.array([10, 20, 70, 50], dtype=np.float32)
    rule = CropRule(size=64, padding=1.6)
    assert rule.box_side == pytest.approx(60 * rule.around_box(box).zoom)
    whole = CropRule(size=64, frame_padding=0.8, whole_image=True)
    assert whole.box_side == pytest.approx(160 * whole.around_frame((160, 120)).zoom)


def test_no_entry_of_a_matrix_is_picked_by_two_gathers() -> None:
    """NNCF joins such pairs wrongly when it quantises the graph; OpenVINO then refuses the file."""
    traced = torch.jit.trace(probability_within, (torch.eye(2).expand(3, 21, 2, 2), torch.tensor(7.0)))  # type: ignore[no-untyped-call]
    assert "aten::select" not in str(traced.graph)
