"""The capsules against the skin they were fitted to, and their distances against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from knuckle.render.anatomy import ANGLES
from knuckle.render.bones import bend, mean_hand
from knuckle.render.collision import CAPSULE_NAMES, CAPSULES, PAIRS, axes, overlaps, penetration, segment_distance
from knuckle.render.mesh import BONES


def angles(**degrees: float) -> torch.Tensor:
    """One hand with the given angles, all others 0."""
    return torch.tensor([[degrees.get(name, 0.0) for name in ANGLES]], dtype=torch.float64)


def test_segment_distance_is_the_minimum_over_both_segments() -> None:
    random = np.random.default_rng(0)
    for _ in range(60):
        p, u, q, v = random.normal(size=(4, 3))
        if random.random() < 0.2:
            v = 0.7 * u  # parallel

        def distance(
            x: np.ndarray, p: np.ndarray = p, u: np.ndarray = u, q: np.ndarray = q, v: np.ndarray = v
        ) -> float:
            return float(np.linalg.norm(p + x[0] * u - q - x[1] * v))

        starts = [(0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)]
        expected = min(minimize(distance, start, bounds=[(0, 1), (0, 1)]).fun for start in starts)
        own = segment_distance(*(torch.from_numpy(vector) for vector in (p, u, q, v)))
        assert float(own) == pytest.approx(expected, abs=1e-5)


def test_points_are_segments_of_no_length() -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    point = torch.tensor([3.0, 4.0, 0.0], dtype=torch.float64)
    along = torch.tensor([0.0, 10.0, 0.0], dtype=torch.float64)
    assert float(segment_distance(zero, zero, point, zero)) == pytest.approx(5)
    assert float(segment_distance(point, zero, zero, along)) == pytest.approx(3)


def test_every_finger_vertex_lies_near_the_surface_of_its_capsules() -> None:
    hand = mean_hand()
    bones = bend(angles())
    rest = bones._replace(
        rotations=torch.eye(3, dtype=torch.float64).expand(1, len(BONES), 3, 3), heads=hand.bone_heads[None]
    )
    start, end = (ends[:, 0].T.numpy() for ends in axes(rest))
    errors = []
    for row, capsule in enumerate(CAPSULES[3:15], start=3):
        skin = hand.vertices[hand.weights[:, capsule.bone] > 0.9].numpy()
        axis = end[row] - start[row]
        fraction = (skin - start[row]) @ axis / (axis @ axis)
        skin, fraction = skin[fraction > 0.05], np.clip(fraction[fraction > 0.05], 0, 1)
        errors.append(np.linalg.norm(skin - start[row] - fraction[:, None] * axis, axis=1) - capsule.radius)
    distances = np.concatenate(errors)
    assert len(distances) > 300
    assert np.sqrt(np.mean(distances**2)) < 1.0
    assert np.abs(distances).max() < 3.5


def test_the_flat_hand_hardly_touches_itself() -> None:
    """Parallel fingers lie side by side, skin against skin."""
    assert float(penetration(bend(angles()))) < 1.0
    spread = {"index_mcp_abduction": 10.0, "ring_mcp_abduction": -8.0, "little_mcp_abduction": -18.0}
    assert float(penetration(bend(angles(**spread)))) == 0.0


@pytest.mark.parametrize(
    ("pose", "pair"),
    [
        ({"index_mcp_abduction": -25.0, "middle_mcp_abduction": 25.0}, ("index", "middle")),
        ({f"middle_{joint}_flexion": 110.0 for joint in ("mcp", "pip", "dip")}, ("middle", "palm")),
        (
            {
                "thumb_cmc_abduction": -20.0,
                "thumb_cmc_flexion": 60.0,
                "thumb_mcp_flexion": 40.0,
                "thumb_ip_flexion": 30.0,
            },
            ("thumb", "palm"),
        ),
    ],
)
def test_what_runs_through_something_is_found(pose: dict[str, float], pair: tuple[str, str]) -> None:
    bones = bend(angles(**pose))
    first, second = PAIRS[int(overlaps(bones)[0].argmax())]
    assert float(penetration(bones)) > 4
    assert (CAPSULE_NAMES[first].split()[0], CAPSULE_NAMES[second].split()[0]) == pair


def test_pairs_leave_out_flesh_that_is_grown_together() -> None:
    names = {(CAPSULE_NAMES[i], CAPSULE_NAMES[j]) for i, j in PAIRS}
    assert ("index proximal", "index middle") not in names
    assert ("index proximal", "palm index") not in names
    assert ("palm index", "palm middle") not in names
    assert {("thumb distal", "palm ring"), ("index distal", "middle distal"), ("little distal", "palm little")} <= names
    assert len(PAIRS) == len(names)


def test_penetration_of_a_hand_does_not_depend_on_its_batch() -> None:
    poses = torch.from_numpy(np.random.default_rng(1).uniform(0, 60, (33, 24)))
    together = penetration(bend(poses))
    alone = torch.cat([penetration(bend(poses[row : row + 1])) for row in range(len(poses))])
    assert (together > 0).any()
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)
