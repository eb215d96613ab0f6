"""A flow's own regions hold what they state where truths are drawn from its density, and say where they are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.methods import METHODS
from knuckle.methods.base import Decoded
from knuckle.methods.rle import RLE
from knuckle.predict.points import to_image
from knuckle.predict.regions import density_coverage, density_of, mean_shift
from knuckle.predict.torch_engine import TorchEngine, as_points
from tests.predict.centroid import Centroid

N, SIZE = 100, 64


def bent(decoder: str) -> RLE:
    """A model whose density is neither normal nor centred."""
    model = METHODS["rle"]("test_resnet", SIZE, decoder=decoder)
    assert isinstance(model, RLE)
    torch.manual_seed(1)
    for parameter in model.flow.parameters():
        torch.nn.init.normal_(parameter, std=0.22)
    model.eval()
    return model


def drawn(model: RLE) -> tuple[Hands, Hands]:
    """Predictions in crops of several sizes, and truths drawn from their densities, both in image pixels."""
    torch.manual_seed(2)
    outputs = {"xy_crop": torch.rand(N, 21, 2) * SIZE, "sigma": torch.rand(N, 21, 2) * 0.2 + 0.01}
    eps = model.flow.sample(N * 21, torch.Generator().manual_seed(5)).view(N, 21, 2)
    truth_crop = outputs["xy_crop"] + SIZE * outputs["sigma"] * eps
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 50, (N, 2))
    box = np.concatenate([low, low + rng.uniform(20, 200, (N, 2))], axis=1)
    crops = np.array([CropRule(size=SIZE).around_box(own).image_to_crop for own in box])
    found, covariance = to_image(as_points(model.decode(outputs)), crops)
    true, _ = to_image(as_points(Decoded(truth_crop, None)), crops)
    hands = Hands(image=[str(row) for row in range(N)], xy=found, visibility=np.full((N, 21), 2), box=box)
    return hands.replace(covariance=covariance), hands.replace(xy=true)


@pytest.mark.parametrize("decoder", ["mu", "mean"])
def test_truths_drawn_from_the_density_lie_in_its_regions(decoder: str) -> None:
    model = bent(decoder)
    density = density_of(TorchEngine(model))
    assert density is not None
    pred, true = drawn(model)
    rows = [row for row in density_coverage(density, pred, true, resamples=10) if row.kind == "all"]
    assert [row.level for row in rows] == [0.5, 0.8, 0.9, 0.95]
    for row in rows:
        assert row.keypoints == N * 21
        assert row.share.estimate == pytest.approx(row.level, abs=4 * np.sqrt(0.25 / row.keypoints))


def test_other_truths_do_not() -> None:
    model = bent("mu")
    density = density_of(TorchEngine(model))
    assert density is not None
    pred, true = drawn(model)
    far = pred.replace(xy=pred.xy + 3 * (true.xy - pred.xy))
    (half,) = (
        row for row in density_coverage(density, pred, far, resamples=10) if (row.kind, row.level) == ("all", 0.5)
    )
    assert half.share.estimate < 0.3
    visibility = np.full((N, 21), 2)
    visibility[:, 4] = 0
    rows = density_coverage(density, pred, true.replace(visibility=visibility), resamples=10)
    assert {row.part for row in rows if row.keypoints == 0} == {"thumb_tip"}


def test_methods_without_a_density_have_none() -> None:
    assert density_of(TorchEngine(Centroid())) is None


def test_the_shift_is_that_of_the_mean_from_the_keypoint() -> None:
    """Against the mean of the truths of `drawn`, in deviations of their density."""
    model = bent("mu")
    density = density_of(TorchEngine(model))
    assert density is not None
    pred, true = drawn(model)
    assert pred.covariance is not None
    deviation = np.sqrt(np.diagonal(pred.covariance, axis1=-2, axis2=-1))
    found = ((true.xy - pred.xy) / deviation).mean(axis=(0, 1))
    assert mean_shift(density) == pytest.approx(found, abs=4 / np.sqrt(N * 21))
    assert np.abs(found).max() > 0.15, "this flow is not centred"
    centred = density_of(TorchEngine(bent("mean")))
    assert centred is not None
    assert mean_shift(centred) == pytest.approx((0, 0), abs=1e-6)
