"""Heatmap encoding and decoding: accuracy, borders, golden numbers, symmetry."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from knuckle import geometry
from knuckle.geometry import Alignment
from knuckle.methods.codec import (
    argmax_quarter,
    crop_to_heatmap,
    dark,
    gaussian_heatmaps,
    geometric_median,
    heatmap_to_crop,
    mmpose_heatmaps,
    peak_variance,
    soft_argmax,
)
from tests.methods import mmpose_restated as restated

HEIGHT, WIDTH = 48, 64  # not square, so that swapped axes show


def one(x: float, y: float, sigma: float = 2.0) -> Tensor:
    maps, weight = gaussian_heatmaps(torch.tensor([[[x, y]]]), torch.ones(1, 1).bool(), (HEIGHT, WIDTH), sigma)
    assert weight.item() == 1
    return maps


inside_x = st.floats(1, WIDTH - 2, width=32)
inside_y = st.floats(1, HEIGHT - 2, width=32)
sigmas = st.sampled_from([1.0, 1.5, 2.0, 3.0])


@given(x=inside_x, y=inside_y, sigma=sigmas, height=st.sampled_from([1.0, 0.01]))
@settings(deadline=None)
def test_decoding_undoes_encoding(x: float, y: float, sigma: float, height: float) -> None:
    maps, truth = one(x, y, sigma) * height, torch.tensor([x, y])
    assert (argmax_quarter(maps)[0, 0] - truth).abs().max() <= 0.25 + 1e-4
    assert (dark(maps, sigma)[0, 0] - truth).abs().max() < 0.005


@given(x=st.floats(14, WIDTH - 15), y=st.floats(14, HEIGHT - 15), sigma=st.sampled_from([1.0, 1.5, 2.0]))
@settings(deadline=None)
def test_the_centroid_of_a_map_is_the_crop_pixel(x: float, y: float, sigma: float) -> None:
    xy_crop = heatmap_to_crop(torch.tensor([x, y]), 4, "center")
    maps = one(x, y, sigma)[0, 0]
    cells = torch.stack(torch.meshgrid(torch.arange(WIDTH), torch.arange(HEIGHT), indexing="xy"), dim=-1).float()
    pixels = heatmap_to_crop(cells, 4, "center")
    centroid = (pixels * maps.unsqueeze(-1)).sum(dim=(0, 1)) / maps.sum()
    assert (centroid - xy_crop).abs().max() < 0.02


@given(x=inside_x, y=inside_y, sigma=sigmas)
@settings(deadline=None)
def test_decoding_mirrors_with_the_map(x: float, y: float, sigma: float) -> None:
    maps = one(x, y, sigma)
    mirror = torch.tensor([-1.0, 1.0]), torch.tensor([WIDTH - 1.0, 0.0])
    # At a tie of two cells the first one wins, so the quarter rule mirrors up to that tie.
    top_two = maps.flatten().topk(2).values
    if top_two[0] - top_two[1] > 1e-6:
        mirrored = argmax_quarter(maps.flip(-1))[0, 0] * mirror[0] + mirror[1]
        torch.testing.assert_close(mirrored, argmax_quarter(maps)[0, 0])
    mirrored = dark(maps.flip(-1), sigma)[0, 0] * mirror[0] + mirror[1]
    torch.testing.assert_close(mirrored, dark(maps, sigma)[0, 0], atol=5e-3, rtol=0)


@pytest.mark.parametrize("alignment", ["center", "corner"])
@given(x=st.floats(-300, 300), stride=st.sampled_from([1.75, 2.0, 4.0, 8.0]))
@settings(deadline=None)
def test_cells_and_pixels_are_geometrys(alignment: Alignment, x: float, stride: float) -> None:
    xy = np.array([[x, -x]])
    ours = crop_to_heatmap(torch.from_numpy(xy), stride, alignment)
    np.testing.assert_allclose(ours, geometry.crop_to_heatmap(xy, stride, alignment), atol=1e-9)
    np.testing.assert_allclose(heatmap_to_crop(ours, stride, alignment), xy, atol=1e-9)


def test_golden_gaussians() -> None:
    xy, labeled = torch.tensor([[[1.25, 0.0]]]), torch.ones(1, 1).bool()
    maps, _ = gaussian_heatmaps(xy, labeled, (2, 3), 1.0)
    torch.testing.assert_close(
        maps[0, 0], torch.tensor([[0.4578, 0.9692, 0.7548], [0.2777, 0.5879, 0.4578]]), atol=1e-4, rtol=0
    )
    # MMPose rounds to the nearest cell, here (1, 0).
    maps, _ = mmpose_heatmaps(xy, labeled, (2, 3), 1.0)
    torch.testing.assert_close(
        maps[0, 0], torch.tensor([[0.6065, 1.0, 0.6065], [0.3679, 0.6065, 0.3679]]), atol=1e-4, rtol=0
    )


@given(
    x=st.floats(-20, WIDTH + 20, width=32),
    y=st.floats(-20, HEIGHT + 20, width=32),
    sigma=st.sampled_from([1.0, 2.0, 3.0]),
)
@settings(deadline=None)
def test_mmposes_targets_cell_by_cell(x: float, y: float, sigma: float) -> None:
    maps, weight = mmpose_heatmaps(torch.tensor([[[x, y]]]), torch.ones(1, 1).bool(), (HEIGHT, WIDTH), sigma)
    center_x, center_y, reach = (
        int(np.float32(x) + np.float32(0.5)),
        int(np.float32(y) + np.float32(0.5)),
        int(3 * sigma),
    )
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.float32)
    for row in range(max(0, center_y - reach), min(HEIGHT, center_y + reach + 1)):
        for column in range(max(0, center_x - reach), min(WIDTH, center_x + reach + 1)):
            squared = (row - center_y) ** 2 + (column - center_x) ** 2
            expected[row, column] = np.exp(-squared / (2 * sigma**2))
    np.testing.assert_allclose(maps[0, 0].numpy(), expected, atol=1e-6)
    assert weight.item() == (expected.max() > 0)


@pytest.mark.parametrize(
    ("x", "y", "weight", "mmpose_weight"),
    [
        (3.0, 3.0, 1, 1),
        (-0.5, 3.0, 1, 1),
        (-0.6, 3.0, 0, 1),  # outside; a part of MMPose's patch is not
        (-6.4, 3.0, 0, 1),
        (-7.6, 3.0, 0, 0),
        (3.0, HEIGHT - 0.4, 0, 1),
        (3.0, HEIGHT + 6.0, 0, 0),
        (1e30, 3.0, 0, 0),
    ],
)
def test_weights_outside_the_map(x: float, y: float, weight: int, mmpose_weight: int) -> None:
    xy, labeled = torch.tensor([[[x, y]]]), torch.ones(1, 1).bool()
    assert gaussian_heatmaps(xy, labeled, (HEIGHT, WIDTH), 2.0)[1].item() == weight
    assert mmpose_heatmaps(xy, labeled, (HEIGHT, WIDTH), 2.0)[1].item() == mmpose_weight
    assert gaussian_heatmaps(xy, ~labeled, (HEIGHT, WIDTH), 2.0)[1].item() == 0


@given(seed=st.integers(0, 10_000), level=st.sampled_from([0.0, -2.0, -5.0]))
@settings(max_examples=30, deadline=None)
def test_corner_alignment_decodes_as_mmpose(seed: int, level: float) -> None:
    """Noise puts peaks on borders and corners too; a low level leaves some maps without a positive cell."""
    maps = torch.randn(1, 40, 6, 5, generator=torch.Generator().manual_seed(seed)) + level
    expected = restated.decode(maps[0].numpy(), quarter=True)
    np.testing.assert_array_equal(argmax_quarter(maps, "corner")[0].numpy(), expected)


def test_center_alignment_answers_inside_the_map_always() -> None:
    maps = torch.full((1, 1, 4, 5), -1.0)
    maps[0, 0, 2, 3] = -0.5
    maps[0, 0, 2, 2] = -0.6
    torch.testing.assert_close(argmax_quarter(maps)[0, 0], torch.tensor([2.75, 2.0]))
    torch.testing.assert_close(dark(maps, 2.0)[0, 0], torch.tensor([2.75, 2.0]))
    torch.testing.assert_close(argmax_quarter(maps, "corner")[0, 0], torch.tensor([-1.0, -1.0]))


@pytest.mark.parametrize(("x", "y"), [(0, 7), (WIDTH - 1, 7), (7, 0), (7, HEIGHT - 1), (0, 0)])
def test_peaks_on_the_border_move_only_along_it(x: int, y: int) -> None:
    maps = one(x, y)
    torch.testing.assert_close(argmax_quarter(maps)[0, 0], torch.tensor([float(x), float(y)]))
    torch.testing.assert_close(dark(maps, 2.0)[0, 0], torch.tensor([float(x), float(y)]))


def test_dark_falls_back_where_the_map_is_no_peak() -> None:
    cells = torch.arange(9.0)
    ridge = torch.exp(-((cells - 4) ** 2) / 8).expand(1, 1, 9, 9)  # highest along a whole column
    torch.testing.assert_close(dark(ridge, 2.0), argmax_quarter(ridge))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_answer_is_that_of_float32(dtype: torch.dtype) -> None:
    xy = torch.rand(2, 21, 2) * torch.tensor([WIDTH - 3, HEIGHT - 3]) + 1
    labeled = torch.ones(2, 21).bool()
    maps, _ = gaussian_heatmaps(xy, labeled, (HEIGHT, WIDTH), 2.0)
    with torch.autocast("cpu", dtype=dtype):
        again, _ = gaussian_heatmaps(xy, labeled, (HEIGHT, WIDTH), 2.0)
        found = dark(maps, 2.0)
    assert again.dtype == found.dtype == torch.float32
    assert torch.equal(again, maps)
    assert torch.equal(found, dark(maps, 2.0))


def test_low_precision_maps_are_decoded_in_float32() -> None:
    maps = one(20.3, 17.8)
    assert argmax_quarter(maps.bfloat16()).dtype == torch.float32
    assert dark(maps.half(), 2.0).dtype == torch.float32
    torch.testing.assert_close(dark(maps.half(), 2.0)[0, 0], torch.tensor([20.3, 17.8]), atol=0.01, rtol=0)


@given(x=st.floats(10, WIDTH - 11), y=st.floats(10, HEIGHT - 11), sigma=st.sampled_from([1.0, 1.5, 2.5]))
@settings(deadline=None)
def test_soft_argmax_finds_the_mean_and_the_spread_of_a_gaussian(x: float, y: float, sigma: float) -> None:
    mean, spread = soft_argmax(one(x, y, sigma).clamp(min=1e-30).log() + 7.0)
    assert (mean[0, 0] - torch.tensor([x, y])).abs().max() < 0.01
    assert (spread[0, 0] - sigma).abs().max() < 0.01


def test_soft_argmax_of_a_flat_map_is_its_middle() -> None:
    mean, spread = soft_argmax(torch.zeros(1, 1, HEIGHT, WIDTH))
    torch.testing.assert_close(mean[0, 0], torch.tensor([(WIDTH - 1) / 2, (HEIGHT - 1) / 2]))
    uniform = [math.sqrt((cells**2 - 1) / 12) for cells in (WIDTH, HEIGHT)]
    torch.testing.assert_close(spread[0, 0], torch.tensor(uniform))


def test_soft_argmax_has_right_and_finite_gradients() -> None:
    assert torch.autograd.gradcheck(soft_argmax, (torch.randn(1, 2, 3, 4, dtype=torch.float64).requires_grad_(),))
    certain = torch.full((1, 1, 3, 4), -1e4, dtype=torch.bfloat16)
    certain[0, 0, 1, 2] = 0
    mean, spread = soft_argmax(certain.requires_grad_())
    assert mean.dtype == spread.dtype == torch.float32
    assert mean.tolist() == [[[2.0, 1.0]]]
    torch.autograd.backward(mean.sum() + spread.sum())
    assert certain.grad is not None
    assert certain.grad.isfinite().all()


@pytest.mark.parametrize("deviation", [0.3, 1.0, 3.0, 8.0])
def test_a_peak_tells_how_far_the_keypoint_may_lie(deviation: float) -> None:
    """The mean of the targets over normally spread places, the best map there is, gives back their variance."""
    sigma, draws = 2.0, 20_000
    xy = 40 + deviation * torch.randn(draws, 1, 2, generator=torch.Generator().manual_seed(3))
    best = torch.zeros(1, 1, 81, 81)
    for some in torch.tensor_split(xy, 20):
        maps, _ = gaussian_heatmaps(some, torch.ones(len(some), 1, dtype=torch.bool), (81, 81), sigma)
        best += maps.sum(dim=0, keepdim=True) / draws
    assert peak_variance(best, sigma).item() == pytest.approx(deviation**2, rel=0.05)


def test_the_variance_of_a_peak_is_bounded() -> None:
    """Peaks above the targets' and maps without a peak give finite, positive variances."""
    maps = torch.stack([torch.full((4, 4), height) for height in (-1.0, 0.0, 1.0, 1.2)])[None]
    found = peak_variance(maps, 2.0)[0]
    assert found[0] == found[1] == pytest.approx(4 * 99, rel=1e-4)
    assert found[2] == found[3] == pytest.approx(4 / 99, rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), sharpness=st.floats(0.5, 2.5))
def test_the_median_has_the_smallest_expected_distance(seed: int, sharpness: float) -> None:
    """No point of a fine grid around it does better by more than what steps that stop at ten leave."""
    logits = sharpness * torch.randn(1, 1, 12, 9, generator=torch.Generator().manual_seed(seed))
    likelihood = logits.flatten(-2).softmax(-1).view_as(logits)
    x, y = geometric_median(likelihood)[0, 0].double().tolist()
    rows, columns = np.mgrid[:12, :9]
    steps = np.linspace(-2, 2, 41)
    points = np.stack(np.meshgrid(x + steps, y + steps), -1).reshape(-1, 2)
    distance = np.hypot(points[:, :1] - columns.ravel(), points[:, 1:] - rows.ravel())
    expected = distance @ likelihood.double().numpy().ravel()
    here = np.hypot(x - columns, y - rows).ravel() @ likelihood.double().numpy().ravel()
    assert here <= 1.01 * expected.min() + 0.02


def test_the_median_of_one_peak_is_its_centre_and_of_two_the_larger() -> None:
    centre = torch.tensor([[[20.3, 11.8]]])
    maps, _ = gaussian_heatmaps(centre, torch.ones(1, 1, dtype=torch.bool), (HEIGHT, WIDTH), 1.5)
    torch.testing.assert_close(geometric_median(maps / maps.sum()), centre, atol=0.02, rtol=0)
    two = torch.zeros(1, 1, HEIGHT, WIDTH)
    two[0, 0, 10, 5], two[0, 0, 10, 45] = 0.6, 0.4
    torch.testing.assert_close(geometric_median(two), torch.tensor([[[5.0, 10.0]]]), atol=0.7, rtol=0)
