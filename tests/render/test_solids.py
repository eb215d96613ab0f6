"""Solid hands: distances and hidden points against points sampled along the capsules, the forearm against its skin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import Float64
from torch import Tensor

from knuckle.render.anatomy import ANGLES, pose
from knuckle.render.skin_model import load_skin
from knuckle.render.solids import FOREARM, Solid, distance, hides, solids


def _hands(count: int, spread: float = 200.0) -> Solid:
    rng = np.random.default_rng(4)
    angles = torch.from_numpy(rng.uniform(0, 60, (count, len(ANGLES))) * (np.arange(len(ANGLES)) < 21))
    hands = solids(angles, torch.from_numpy(rng.normal(0, 0.5, (count, 12))))
    turns = torch.from_numpy(np.stack([np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(count)]))
    return hands.moved(turns, torch.from_numpy(rng.uniform(-spread, spread, (count, 3)) + np.array([0, 0, 600.0])))


def _sampled(hand: Solid, row: int) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, " n"]]:
    """Points along the axes of one hand's capsules, with their radii."""
    part = torch.linspace(0, 1, 120, dtype=torch.float64)
    start, end = hand.start[:, row, :, None], hand.end[:, row, :, None]
    points = (start + (end - start) * part).permute(1, 2, 0).reshape(-1, 3)
    return points.numpy(), hand.radius[:, None].expand(-1, 120).reshape(-1).numpy()


def test_the_distance_is_that_of_the_nearest_points() -> None:
    hands = _hands(12)
    first, second = hands.rows(list(range(6))), hands.rows(list(range(6, 12)))
    for row, found in enumerate(distance(first, second).tolist()):
        (p, r), (q, s) = _sampled(first, row), _sampled(second, row)
        between = np.linalg.norm(p[:, None] - q[None], axis=2) - r[:, None] - s[None]
        assert found <= between.min() + 1e-9
        assert found == pytest.approx(between.min(), abs=1.0)


def test_hidden_points_have_a_capsule_on_their_line_of_sight() -> None:
    rng = np.random.default_rng(2)
    hands = _hands(4, spread=60.0)
    points = torch.from_numpy(rng.uniform(-150, 150, (3, 4, 40)) + np.array([0, 0, 900.0])[:, None, None])
    hidden = hides(hands, points)
    assert 0.1 < hidden.double().mean() < 0.9
    for row in range(4):
        axis, radius = _sampled(hands, row)
        for k, point in enumerate(points[:, row].T.numpy()):
            ray = point / np.linalg.norm(point)
            off = np.linalg.norm(axis - (axis @ ray)[:, None] * ray, axis=1) - radius
            if abs(off.min()) > 0.2:
                assert bool(hidden[row, k]) == (off.min() < 0)


def test_points_before_a_hand_are_not_hidden() -> None:
    hands = _hands(3, spread=20.0)
    assert not hides(hands, torch.tensor([0.0, 0.0, 100.0], dtype=torch.float64)[:, None, None].expand(3, 3, 1)).any()


def test_a_hand_gives_the_same_bits_alone_and_moved_hands_keep_their_shape() -> None:
    rng = np.random.default_rng(1)
    angles = torch.from_numpy(rng.uniform(0, 40, (5, len(ANGLES))))
    shape = torch.from_numpy(rng.normal(0, 1, (5, 12)))
    together, alone = solids(angles, shape), solids(angles[2:3], shape[2:3])
    assert torch.equal(together.start[:, 2:3], alone.start)
    assert torch.equal(together.points[:, 2:3], alone.points)
    turn = torch.from_numpy(np.linalg.qr(rng.standard_normal((3, 3)))[0]).expand(5, 3, 3)
    shift = torch.tensor([3.0, -5.0, 400.0], dtype=torch.float64).expand(5, 3)
    moved = together.moved(turn, shift)

    def lengths(solid: Solid) -> Tensor:
        along: Tensor = torch.linalg.vector_norm(solid.end - solid.start, dim=0)
        return along

    torch.testing.assert_close(lengths(moved), lengths(together))
    back = moved.shifted(-shift).moved(turn.transpose(1, 2), torch.zeros_like(shift))
    torch.testing.assert_close(back.points, together.points)


def test_the_forearm_s_capsule_lies_under_its_skin() -> None:
    model = load_skin("cpu")
    angles = torch.zeros(1, len(ANGLES))
    hand = solids(angles.double(), torch.zeros(1, 12, dtype=torch.float64))
    skin = pose(model.asset, angles).vertices[0].double().numpy()
    y = model.skin.y[: len(skin)].numpy()  # without the upper arm
    arm = skin[(y < -FOREARM[0] - 10) & (y > -FOREARM[1] + 10)]
    start, end = hand.start[:, 0, -1].numpy(), hand.end[:, 0, -1].numpy()
    along = (end - start) / np.linalg.norm(end - start)
    off = np.linalg.norm(arm - start - ((arm - start) @ along)[:, None] * along, axis=1)
    assert abs(np.median(off) - float(hand.radius[-1])) < 6
    assert off.max() < float(hand.radius[-1]) + 25
