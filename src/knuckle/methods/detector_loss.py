"""What the hand detector is taught: score maps and boxes from the hands of a picture, and the loss on them.

The targets are those of TTFNet (Liu et al. 2019, section 3), which learns in few steps: around the middle of every hand
lies a Gaussian as wide as a part of its box; it is the target of the score, and the weight of each cell's box.

Letters in shapes: B pictures, M hands of a picture at most, rows columns those of the cells.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from knuckle.methods.detector import STRIDE, boxes_of, cell_middles

SPREAD: Final = 0.54 / 6
"""Standard deviation of the Gaussian over the side of the box (TTFNet's alpha is 0.54, three deviations each way)."""
LEAST_WEIGHT: Final = 0.1
"""Cells at which the Gaussian is lower learn no box."""
BOX_WEIGHT: Final = 5.0
"""Of the boxes' loss beside the scores', as in TTFNet."""


class DetectorTargets(NamedTuple):
    """What the network should say.

    Attributes:
        score: (B, rows, columns) 1 in the cell of a hand's middle, falling off around it.
        box: (B, rows, columns, 4) x1, y1, x2, y2 in pixels of the picture, of the hand that a cell belongs to.
        weight: (B, rows, columns) of each cell's box; 0 where it belongs to no hand. Sums to 1 over a hand's cells.
    """

    score: Float[Tensor, "B rows columns"]
    box: Float[Tensor, "B rows columns 4"]
    weight: Float[Tensor, "B rows columns"]


def encode(boxes: Float[Tensor, "B M 4"], rows: int, columns: int) -> DetectorTargets:
    """The targets of some pictures.

    A cell between several hands belongs to the smallest of those whose middle is near.

    Args:
        boxes: x1, y1, x2, y2 in pixels of the picture; NaN fills rows up to M. Their middles lie in the picture.
        rows: of cells.
        columns: of cells.
    """
    there = torch.isfinite(boxes).all(dim=-1)
    known = torch.where(there[..., None], boxes, 0.0)
    middle, side = (known[..., :2] + known[..., 2:]) / 2, known[..., 2:] - known[..., :2]
    cells = cell_middles(rows, columns, boxes.device)
    distance = (cells - middle[:, :, None, None]) / (SPREAD * side).clamp(min=1e-6)[:, :, None, None]
    gaussian = torch.exp(-distance.square().sum(dim=-1) / 2)
    gaussian = torch.where(_nearest(middle, rows, columns), 1.0, gaussian) * there[:, :, None, None]
    if boxes.shape[1] == 0:
        nothing = boxes.new_zeros(len(boxes), rows, columns)
        return DetectorTargets(nothing, nothing[..., None].expand(-1, -1, -1, 4), nothing)
    near = gaussian >= LEAST_WEIGHT
    area = torch.where(near, side.prod(dim=-1)[:, :, None, None], torch.inf)
    owner = area.argmin(dim=1, keepdim=True)
    own = torch.zeros_like(near).scatter(1, owner, value=True) & near
    share = gaussian * own
    share = share / share.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    picture = torch.arange(len(boxes), device=boxes.device)[:, None, None]
    return DetectorTargets(gaussian.amax(dim=1), known[picture, owner[:, 0]], share.sum(dim=1))


def detector_loss(found: Float[Tensor, "B 5 rows columns"], targets: DetectorTargets) -> dict[str, Float[Tensor, ""]]:
    """The loss to minimise under "loss", and its parts "score" and "box", each a mean over the hands.

    "score" is the penalty-reduced focal loss of CornerNet (Law and Deng 2018, equation 1) with alpha 2 and beta 4,
    "box" the generalised IoU loss (Rezatofighi et al. 2019).
    """
    logit = found[:, 0].float()
    hands = (targets.score == 1).sum().clamp(min=1)
    probability = torch.sigmoid(logit)
    positive = F.softplus(-logit) * (1 - probability).square()
    negative = F.softplus(logit) * probability.square() * (1 - targets.score).pow(4)
    score = torch.where(targets.score == 1, positive, negative).sum() / hands
    taught = targets.weight > 0
    box = ((1 - giou(boxes_of(found)[taught], targets.box[taught])) * targets.weight[taught]).sum() / hands
    return {"loss": score + BOX_WEIGHT * box, "score": score, "box": box}


def giou(a: Float[Tensor, "n 4"], b: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    """Generalised intersection over union of boxes with area, pair by pair, from -1 to 1."""
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(dim=1)
    around = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(dim=1)
    union = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1) - shared
    return shared / union - (around - union) / around


def _nearest(middle: Float[Tensor, "B M 2"], rows: int, columns: int) -> Tensor:
    """The cell that holds each middle, as (B, M, rows, columns) bool; of middles on the edge the last cell."""
    cell = torch.floor((middle + 0.5) / STRIDE).long()
    x, y = cell[..., 0].clamp(0, columns - 1), cell[..., 1].clamp(0, rows - 1)
    grid = torch.arange(rows, device=middle.device)[:, None], torch.arange(columns, device=middle.device)
    return (grid[0] == y[..., None, None]) & (grid[1] == x[..., None, None])
