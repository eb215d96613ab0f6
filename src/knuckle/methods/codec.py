"""Keypoints as heatmaps and back, in torch, for a whole batch at once and on any device.

Letters in shapes: B hands in a batch, K keypoints, h w rows and columns of the heatmaps. Positions are
cells of the heatmap as `knuckle.geometry` counts them: x right, y down, cell centres at integers.
Everything computes in float32, under autocast too.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from knuckle.geometry import Alignment, cell_offset

PEAK_HEIGHTS: Final = (0.01, 0.99)
"""Heights of peaks beyond which `peak_variance` no longer changes."""

MEDIAN_STEPS: Final = 10
"""Iterations of `geometric_median`."""

NEAR: Final = 0.5
"""Cells nearer to the median than this pull as if they were so far away; Weiszfeld's iteration stops at a cell else."""


def crop_to_heatmap(xy_crop: Float[Tensor, "*n 2"], stride: float, alignment: Alignment) -> Float[Tensor, "*n 2"]:
    """Heatmap cells of crop pixels; see `knuckle.geometry`."""
    return (xy_crop - cell_offset(stride, alignment)) / stride


def heatmap_to_crop(xy_heatmap: Float[Tensor, "*n 2"], stride: float, alignment: Alignment) -> Float[Tensor, "*n 2"]:
    """Crop pixels of heatmap cells, the inverse of `crop_to_heatmap`."""
    return xy_heatmap * stride + cell_offset(stride, alignment)


def gaussian_heatmaps(
    xy_heatmap: Float[Tensor, "B K 2"], labeled: Bool[Tensor, "B K"], shape_hw: tuple[int, int], sigma: float
) -> tuple[Float32[Tensor, "B K h w"], Float32[Tensor, "B K"]]:
    """Gaussians of height 1 around each keypoint, at its exact position.

    Args:
        xy_heatmap: positions in cells; any finite number where not labelled.
        labeled: which keypoints are known.
        shape_hw: rows and columns of the maps.
        sigma: standard deviation in cells.

    Returns:
        The maps, and a weight for each: 1 where it is labelled and lies inside the map, else 0.
    """
    height, width = shape_hw
    x, y = xy_heatmap.float().unbind(-1)
    maps = _bumps(y, height, sigma).unsqueeze(-1) * _bumps(x, width, sigma).unsqueeze(-2)
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return maps, (labeled & inside).float()


def mmpose_heatmaps(
    xy_heatmap: Float[Tensor, "B K 2"], labeled: Bool[Tensor, "B K"], shape_hw: tuple[int, int], sigma: float
) -> tuple[Float32[Tensor, "B K h w"], Float32[Tensor, "B K"]]:
    """The maps that MMPose trains on (`MSRAHeatmap`): centred on the nearest cell, cut off at 3 sigma.

    Arguments and results as `gaussian_heatmaps`, except that a keypoint outside keeps weight 1 while
    a part of its patch lies inside. One cell differs from MMPose: a keypoint whose patch ends at cell -1 has weight 0
    here, as no part of it lies inside, and weight 1 with an empty map there.
    """
    height, width = shape_hw
    # Python's int(): towards zero, so that -0.7 + 0.5 is cell 0.
    x, y = (xy_heatmap.float() + 0.5).trunc().unbind(-1)
    reach = 3 * sigma
    maps = _bumps(y, height, sigma, reach).unsqueeze(-1) * _bumps(x, width, sigma, reach).unsqueeze(-2)
    touches = (x + reach >= 0) & (x - reach < width) & (y + reach >= 0) & (y - reach < height)
    return maps, (labeled & touches).float()


def argmax_quarter(maps: Float[Tensor, "B K h w"], alignment: Alignment = "center") -> Float32[Tensor, "B K 2"]:
    """The highest cell, moved by a quarter of a cell towards its higher neighbour in x and in y.

    With "corner" this is MMPose 1.x to the letter (`refine_keypoints`): no move in x where the cell's
    column is 0, 1 or the last, or its row 0, the same in y; and a map that is nowhere positive gives -1, -1.
    With "center" a cell moves wherever it has both neighbours, and a map that is nowhere positive
    still gives its highest cell: there is no better guess, and no position outside the crop.
    """
    maps = maps.float()
    x, y, highest = _peak(maps)
    height, width = maps.shape[-2:]
    # Indices are kept inside; the guards below discard what a border made of them.
    inner_x, inner_y = x.clamp(1, width - 2), y.clamp(1, height - 2)
    slope_x = _at(maps, inner_x + 1, y) - _at(maps, inner_x - 1, y)
    slope_y = _at(maps, x, inner_y + 1) - _at(maps, x, inner_y - 1)
    if alignment == "corner":
        moves_x, moves_y = (inner_x == x) & (x > 1) & (y > 0), (inner_y == y) & (y > 1) & (x > 0)
    else:
        moves_x, moves_y = inner_x == x, inner_y == y
    xy = torch.stack([x + 0.25 * slope_x.sign() * moves_x, y + 0.25 * slope_y.sign() * moves_y], dim=-1)
    return torch.where((highest > 0).unsqueeze(-1), xy, -1.0) if alignment == "corner" else xy


def dark(maps: Float[Tensor, "B K h w"], sigma: float) -> Float32[Tensor, "B K 2"]:
    """Distribution-aware decoding (Zhang et al., CVPR 2020): one Newton step on the logarithm of the blurred map.

    The step starts at the highest cell and is exact where the map is a Gaussian. Where the cell lies on
    the border, the logarithm is not concave there, or the step would leave the cell's neighbours,
    the result is that of `argmax_quarter`.

    Args:
        maps: heatmaps, of any height.
        sigma: standard deviation in cells of the Gaussians they were trained on, and of the blur.
    """
    maps = maps.float()
    x, y, _ = _peak(maps)
    height, width = maps.shape[-2:]
    inner_x, inner_y = x.clamp(1, width - 2), y.clamp(1, height - 2)
    logs = _blurred_3x3(maps, inner_x, inner_y, sigma).clamp(min=1e-30).log()
    above, row, below = logs.unbind(-2)
    dx, dy = (row[..., 2] - row[..., 0]) / 2, (below[..., 1] - above[..., 1]) / 2
    dxx = row[..., 2] - 2 * row[..., 1] + row[..., 0]
    dyy = below[..., 1] - 2 * row[..., 1] + above[..., 1]
    dxy = (below[..., 2] - above[..., 2] - below[..., 0] + above[..., 0]) / 4
    determinant = dxx * dyy - dxy * dxy
    concave = (dxx < 0) & (determinant > 1e-12)
    safe = torch.where(concave, determinant, 1.0)
    step_x, step_y = (dxy * dy - dyy * dx) / safe, (dxy * dx - dxx * dy) / safe
    good = concave & (inner_x == x) & (inner_y == y) & (step_x.abs() <= 1) & (step_y.abs() <= 1)
    refined = torch.stack([x + step_x, y + step_y], dim=-1)
    return torch.where(good.unsqueeze(-1), refined, argmax_quarter(maps))


def peak_variance(maps: Float[Tensor, "B K h w"], sigma: float) -> Float32[Tensor, "B K"]:
    """How far a keypoint may lie from its peak, as the peak's height tells: the variance along each axis, in cells.

    The map of the least squared error is the mean of the target Gaussians over all places where the keypoint may be.
    If these spread normally with variance v along each axis, that mean is a Gaussian of height
    sigma^2 / (sigma^2 + v): the surer, the higher.

    Args:
        maps: heatmaps trained on Gaussians of height 1.
        sigma: the standard deviation of these in cells.
    """
    height = maps.float().amax(dim=(-2, -1)).clamp(*PEAK_HEIGHTS)
    return sigma * sigma * (1 / height - 1)


def geometric_median(likelihood: Float[Tensor, "B K h w"]) -> Float32[Tensor, "B K 2"]:
    """The point with the smallest expected distance to a cell drawn from each distribution (Weiszfeld's iteration).

    Of all points it has the smallest error on average if the distribution is right; the mean has the smallest squared
    one. It lies in the larger of two separate peaks, where the mean lies between them.

    Args:
        likelihood: of the cells, each map's sum 1.
    """
    likelihood = likelihood.float()
    height, width = likelihood.shape[-2:]
    columns, rows = (torch.arange(n, device=likelihood.device, dtype=torch.float32) for n in (width, height))
    x = (likelihood.sum(dim=-2) * columns).sum(dim=-1)
    y = (likelihood.sum(dim=-1) * rows).sum(dim=-1)
    for _ in range(MEDIAN_STEPS):
        away_x, away_y = columns - x.unsqueeze(-1), rows - y.unsqueeze(-1)
        distance = (away_x.square().unsqueeze(-2) + away_y.square().unsqueeze(-1)).clamp(min=NEAR**2).sqrt()
        pull = likelihood / distance
        total = pull.sum(dim=(-2, -1))
        x = (pull.sum(dim=-2) * columns).sum(dim=-1) / total
        y = (pull.sum(dim=-1) * rows).sum(dim=-1) / total
    return torch.stack([x, y], dim=-1)


def soft_argmax(logits: Float[Tensor, "B K h w"]) -> tuple[Float[Tensor, "B K 2"], Float[Tensor, "B K 2"]]:
    """The mean position of each map's softmax (Sun et al., "Integral Human Pose Regression", ECCV 2018, Eq. 2).

    Args:
        logits: unnormalised log-probabilities of the cells.

    Returns:
        Mean and standard deviation (x, y) of the position, in cells; float32, or float64 for float64 logits.
        Both have finite gradients, also where all of the probability lies in one cell.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    likelihood = logits.flatten(-2).softmax(dim=-1).view_as(logits)
    x, x_spread = _moments(likelihood.sum(dim=-2))
    y, y_spread = _moments(likelihood.sum(dim=-1))
    return torch.stack([x, y], dim=-1), torch.stack([x_spread, y_spread], dim=-1)


def _moments(likelihood: Float[Tensor, "B K cells"]) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B K"]]:
    """Mean and standard deviation along one axis."""
    cells = torch.arange(likelihood.shape[-1], device=likelihood.device, dtype=likelihood.dtype)
    mean = (likelihood * cells).sum(dim=-1)
    variance = (likelihood * (cells - mean.unsqueeze(-1)).square()).sum(dim=-1)
    # The square root has no gradient at 0.
    return mean, variance.clamp(min=1e-12).sqrt()


def _bumps(
    center: Float32[Tensor, "B K"], cells: int, sigma: float, reach: float | None = None
) -> Float32[Tensor, "B K cells"]:
    """One Gaussian of height 1 a keypoint along one axis, zero beyond `reach` cells."""
    offset = torch.arange(cells, device=center.device, dtype=torch.float32) - center.unsqueeze(-1)
    bumps = torch.exp(offset.square() / (-2 * sigma * sigma))
    return bumps if reach is None else bumps * (offset.abs() <= reach)


def _peak(maps: Float32[Tensor, "B K h w"]) -> tuple[Tensor, Tensor, Tensor]:
    """Column and row (B, K) int64 of each map's highest cell, the first in reading order, and its value."""
    highest, index = maps.flatten(-2).max(dim=-1)
    width = maps.shape[-1]
    return index % width, index // width, highest


def _at(maps: Float32[Tensor, "B K h w"], x: Tensor, y: Tensor) -> Float32[Tensor, "B K"]:
    return maps.flatten(-2).gather(-1, (y * maps.shape[-1] + x).unsqueeze(-1)).squeeze(-1)


def _blurred_3x3(maps: Float32[Tensor, "B K h w"], x: Tensor, y: Tensor, sigma: float) -> Float32[Tensor, "B K 3 3"]:
    """The Gaussian-blurred map at cell (x, y) and its eight neighbours, none of them outside.

    Only the window that the blur sees is read. Near a border the kernel is cut off on both sides alike, as
    cutting it on one side alone would pull the peak inwards.
    """
    height, width = maps.shape[-2:]
    reach = math.ceil(3 * sigma)
    offsets = torch.arange(-reach - 1, reach + 2, device=maps.device)
    columns, rows = (x.unsqueeze(-1) + offsets).clamp(0, width - 1), (y.unsqueeze(-1) + offsets).clamp(0, height - 1)
    index = rows.unsqueeze(-1) * width + columns.unsqueeze(-2)
    window = maps.flatten(-2).gather(-1, index.flatten(-2)).reshape(index.shape)
    across, down = _kernels(x, width, offsets, sigma), _kernels(y, height, offsets, sigma)
    with torch.autocast(maps.device.type, enabled=False):
        blurred: Tensor = down @ window @ across.transpose(-1, -2)
    return blurred


def _kernels(center: Tensor, cells: int, offsets: Tensor, sigma: float) -> Float32[Tensor, "B K 3 window"]:
    """The blur's weights over a window around `center`, for the cell before, at and after it."""
    distance = offsets - torch.arange(-1, 2, device=offsets.device).unsqueeze(-1)
    room = torch.minimum(center - 1, cells - 2 - center)[..., None, None]
    return torch.exp(distance.square() / (-2 * sigma * sigma)) * (distance.abs() <= room)
