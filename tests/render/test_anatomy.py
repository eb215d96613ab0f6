from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from knuckle.render import anatomy
from knuckle.render.anatomy import ANGLES, LIMITS, clamp_to_limits, pose, pose_keypoints
from knuckle.render.mesh import BONES, load_asset
from knuckle.skeleton import BONES as SKELETON
from knuckle.skeleton import FINGERS, FINGERTIPS, JOINT_NAMES

ASSET = load_asset()
SEEDS = st.integers(0, 2**32 - 1)
X, Y, Z = torch.eye(3)


def angles_of(**values: float) -> Tensor:
    angles = torch.zeros(1, 24)
    for name, value in values.items():
        angles[0, ANGLES.index(name)] = value
    return angles


def keypoints_of(**values: float) -> dict[str, Tensor]:
    return dict(zip(JOINT_NAMES, pose_keypoints(ASSET, angles_of(**values))[0], strict=True))


def draw(seed: int, count: int = 4) -> tuple[Tensor, Tensor]:
    """Angles anywhere within and beyond the limits, and shapes."""
    generator = torch.Generator().manual_seed(seed)
    span = LIMITS[:, 1] - LIMITS[:, 0]
    angles = LIMITS[:, 0] + span * (torch.rand(count, 24, generator=generator) * 1.6 - 0.3)
    return angles, torch.randn(count, 12, generator=generator)


def bone_lengths(keypoints: Tensor) -> Tensor:
    start, end = (list(ends) for ends in zip(*SKELETON, strict=True))
    return (keypoints[:, end] - keypoints[:, start]).square().sum(-1).sqrt()


def direction(points: dict[str, Tensor], start: str, end: str) -> Tensor:
    return torch.nn.functional.normalize(points[end] - points[start], dim=0)


@pytest.mark.parametrize("finger", ["index", "middle", "ring", "little"])
def test_zero_is_a_straight_flat_hand(finger: str) -> None:
    points = keypoints_of()
    for start, end in pairwise([f"{finger}_mcp", f"{finger}_pip", f"{finger}_dip", f"{finger}_tip"]):
        torch.testing.assert_close(direction(points, start, end), Y, atol=1e-4, rtol=0)


def test_zero_has_the_forearm_in_line_and_the_thumb_straight() -> None:
    posed = pose(ASSET, angles_of())
    elbow = posed.rotations[0, -1] @ ASSET.bone_heads[-1]
    torch.testing.assert_close(elbow / elbow.norm(), -Y, atol=1e-4, rtol=0)
    points = keypoints_of()
    thumb = [direction(points, *pair) for pair in pairwise(("thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip"))]
    torch.testing.assert_close(thumb[0], thumb[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(thumb[0], thumb[2], atol=1e-4, rtol=0)


def test_thumb_at_zero_stands_as_documented() -> None:
    points = keypoints_of()
    x, y, z = direction(points, "thumb_cmc", "thumb_mcp")
    assert float(torch.rad2deg(torch.asin(z))) == pytest.approx(43, abs=0.5)
    assert float(torch.rad2deg(torch.atan2(x, y))) == pytest.approx(59, abs=0.5)


@pytest.mark.parametrize("finger", ["index", "middle", "ring", "little"])
@pytest.mark.parametrize(("joint", "bone"), [("mcp", "pip"), ("pip", "dip"), ("dip", "tip")])
def test_flexion_by_90_turns_the_bone_to_the_palm(finger: str, joint: str, bone: str) -> None:
    cupped = joint == "mcp" and finger in ("ring", "little")
    points = keypoints_of(**{f"{finger}_{joint}_flexion": 90})
    bent = direction(points, f"{finger}_{joint}", f"{finger}_{bone}")
    if cupped:  # its metacarpal follows
        assert 0 < -bent[1] < 0.2
        assert bent[2] > 0.97
    else:
        torch.testing.assert_close(bent, Z, atol=1e-4, rtol=0)


@pytest.mark.parametrize("finger", ["index", "middle", "ring", "little"])
def test_abduction_turns_a_finger_towards_the_thumb(finger: str) -> None:
    along = direction(keypoints_of(**{f"{finger}_mcp_abduction": 20}), f"{finger}_mcp", f"{finger}_tip")
    torch.testing.assert_close(along, torch.deg2rad(torch.tensor(20.0)).sin() * X + 0.9396926 * Y, atol=1e-4, rtol=0)


def test_wrist_turns_the_forearm_under_a_resting_hand() -> None:
    straight = pose(ASSET, angles_of())
    for values, towards in (
        ({"wrist_flexion": 30.0}, Z),
        ({"wrist_flexion": -30.0}, -Z),
        ({"wrist_deviation": 30.0}, -X),  # the little finger's side
    ):
        posed = pose(ASSET, angles_of(**values))
        elbow = posed.rotations[0, -1] @ ASSET.bone_heads[-1]
        length = ASSET.bone_heads[-1].norm()
        torch.testing.assert_close(elbow, length * (0.5 * towards - 0.8660254 * Y), atol=1e-2, rtol=0)
        torch.testing.assert_close(posed.keypoints, straight.keypoints)


def test_pronation_twists_the_forearm_about_its_length() -> None:
    rotation = pose(ASSET, angles_of(forearm_pronation=40)).rotations[0] @ ASSET.bone_frames
    torch.testing.assert_close(rotation[-1] @ Y, Y, atol=1e-4, rtol=0)
    # Seen from the elbow a right hand pronates counter-clockwise, so the forearm turns clockwise under it.
    assert (rotation[-1] @ X)[2] == pytest.approx(-0.6427876, abs=1e-4)
    assert (rotation[-2] @ X)[2] == pytest.approx(-0.3420201, abs=1e-4), "half of it at the wrist"


def test_thumb_moves_as_named() -> None:
    rest = keypoints_of()["thumb_tip"]
    abducted = keypoints_of(thumb_cmc_abduction=30)["thumb_tip"] - rest
    assert abducted[2] > 15, "out of the palm"
    extended = keypoints_of(thumb_cmc_flexion=-30)["thumb_tip"] - rest
    assert extended[1] < -15, "away from the index finger"
    for joint in ("mcp", "ip"):
        bent = keypoints_of(**{f"thumb_{joint}_flexion": 50})["thumb_tip"] - rest
        assert bent[0] < -5, "towards the palm"
        turned = keypoints_of(**{f"thumb_{joint}_flexion": 50, "thumb_cmc_rotation": 40})["thumb_tip"] - rest
        assert turned[0] < bent[0], "rotated, it bends further across the palm"
        assert turned[1] < bent[1]


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_bones_keep_their_lengths_in_any_pose(seed: int) -> None:
    angles, shape = draw(seed)
    posed, straight = pose_keypoints(ASSET, angles, shape), pose_keypoints(ASSET, torch.zeros_like(angles), shape)
    lengths, expected = bone_lengths(posed), bone_lengths(straight)
    hollow = [row for row, (_, end) in enumerate(SKELETON) if JOINT_NAMES[end] in ("ring_mcp", "little_mcp")]
    rigid = [row for row in range(len(SKELETON)) if row not in hollow]
    torch.testing.assert_close(lengths[:, rigid], expected[:, rigid], atol=1e-3, rtol=0)
    # The palm hollows about the heads of the metacarpals, a little away from the line to the wrist.
    torch.testing.assert_close(lengths[:, hollow], expected[:, hollow], atol=0, rtol=0.05)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_keypoints_are_joints_and_skin(seed: int) -> None:
    angles, shape = draw(seed)
    posed = pose(ASSET, angles, shape)
    tips = posed.vertices[:, ASSET.tip_vertices].mean(2)
    torch.testing.assert_close(posed.keypoints[:, list(FINGERTIPS)], tips, atol=1e-3, rtol=0)
    torch.testing.assert_close(posed.keypoints, pose_keypoints(ASSET, angles, shape), atol=1e-3, rtol=0)
    torch.testing.assert_close(posed.keypoints[:, 0], torch.zeros(len(angles), 3), atol=1e-4, rtol=0)
    identity = torch.eye(3).expand(len(angles), len(BONES), 3, 3)
    torch.testing.assert_close(posed.rotations @ posed.rotations.mT, identity, atol=1e-4, rtol=0)


def test_skin_follows_single_bones_exactly() -> None:
    angles, shape = draw(1)
    posed = pose(ASSET, angles, shape)
    rest = ASSET.vertices + torch.tensordot(shape, ASSET.shape_vertices, 1)
    bone = BONES.index("index_middle")
    own = ASSET.weights[:, bone] == 1
    head = ASSET.bone_heads[bone] + shape @ ASSET.shape_heads[:, bone]
    pip = posed.keypoints[:, FINGERS["index"][1]]
    expected = (rest[:, own] - head[:, None]) @ posed.rotations[:, bone].mT + pip[:, None]
    torch.testing.assert_close(posed.vertices[:, own], expected, atol=1e-3, rtol=0)


def test_no_shape_is_the_mean_shape_and_the_palm_stands_still() -> None:
    mean = torch.zeros(1, 12)
    assert torch.equal(pose(ASSET, angles_of(), mean).vertices, pose(ASSET, angles_of()).vertices)
    palm = ASSET.weights[:, 0] == 1
    torch.testing.assert_close(pose(ASSET, angles_of()).vertices[0, palm], ASSET.vertices[palm])


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_hand_is_the_same_bits_in_any_batch(count: int) -> None:
    angles, shape = draw(2, 8)
    together, apart = pose(ASSET, angles, shape), pose(ASSET, angles[:count], shape[:count])
    assert torch.equal(together.vertices[:count], apart.vertices)
    assert torch.equal(together.keypoints[:count], apart.keypoints)


def test_gradients_reach_every_angle_and_component() -> None:
    angles, shape = (tensor.requires_grad_() for tensor in draw(3))
    posed = pose(ASSET, angles, shape)
    weights = torch.randn(posed.vertices.shape, generator=torch.Generator().manual_seed(0))
    (posed.vertices * weights).sum().backward()  # type: ignore[no-untyped-call]
    assert angles.grad is not None
    assert shape.grad is not None
    assert torch.isfinite(angles.grad).all()
    assert (angles.grad.abs().amax(0) > 0).all()
    assert (shape.grad.abs().amax(0) > 0).all()


def test_gradient_agrees_with_finite_differences() -> None:
    angles, _ = draw(4, 1)
    angles.requires_grad_()
    pose_keypoints(ASSET, angles)[0, 8].sum().backward()  # type: ignore[no-untyped-call]
    assert angles.grad is not None
    step = torch.zeros(24)
    column = ANGLES.index("index_pip_flexion")
    step[column] = 0.5
    ahead, behind = (pose_keypoints(ASSET, angles.detach() + sign * step)[0, 8].sum() for sign in (1, -1))
    assert float(angles.grad[0, column]) == pytest.approx(float(ahead - behind), abs=0.01)


def test_the_palm_hollows_as_the_little_finger_bends() -> None:
    straight, bent = keypoints_of(), keypoints_of(little_mcp_flexion=90)
    moved = bent["little_mcp"] - straight["little_mcp"]
    assert moved[2] > 5, "its knuckle comes forward"
    torch.testing.assert_close(bent["index_mcp"], straight["index_mcp"])
    assert anatomy.cupping(torch.tensor([[0.0, 0.0, 45.0, 180.0]])).tolist() == [[2.5, 10.0]]


def test_limits_are_ordered_and_hold_zero() -> None:
    assert len(ANGLES) == 24
    assert (LIMITS[:, 0] < 0).all()
    assert (LIMITS[:, 1] > 0).all()


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_clamped_angles_are_within_all_limits_and_stay(seed: int) -> None:
    clamped = clamp_to_limits(draw(seed)[0])
    assert (clamped >= LIMITS[:, 0]).all()
    assert (clamped <= LIMITS[:, 1]).all()
    torch.testing.assert_close(clamp_to_limits(clamped), clamped)
    mcp, pip, dip = (clamped[:, columns] for columns in (anatomy.MCP, anatomy.PIP, anatomy.DIP))
    assert (dip - 2 / 3 * pip).abs().max() <= anatomy.DIP_TOLERANCE + 1e-3
    for pair, (first, second) in enumerate(anatomy.MCP_LEADS):
        lead = mcp[:, pair + 1] - mcp[:, pair]
        assert (lead <= first + 1e-3).all()
        assert (-lead <= second + 1e-3).all()


def test_allowed_angles_are_left_alone() -> None:
    relaxed = angles_of(index_mcp_flexion=20, index_pip_flexion=30, index_dip_flexion=20, thumb_ip_flexion=10)
    assert torch.equal(clamp_to_limits(relaxed), relaxed)


def test_a_bent_neighbour_pulls_a_finger_along() -> None:
    angles = angles_of(middle_mcp_flexion=90, little_mcp_flexion=90)
    clamped = clamp_to_limits(angles)[0]
    assert clamped[ANGLES.index("ring_mcp_flexion")] == 30, "60 degrees behind the middle finger"
    assert clamped[ANGLES.index("index_mcp_flexion")] == 0, "the index finger points freely"


def test_a_bent_finger_hardly_spreads() -> None:
    spread = clamp_to_limits(angles_of(index_mcp_abduction=25))[0]
    bent = clamp_to_limits(angles_of(index_mcp_abduction=25, index_mcp_flexion=90))[0]
    column = ANGLES.index("index_mcp_abduction")
    assert spread[column] == 25
    assert float(bent[column]) == pytest.approx(2 + 0.3 * 23)


def test_shapes_differ_but_keep_the_palm_length() -> None:
    angles, shape = torch.zeros(64, 24), draw(5, 64)[1]
    keypoints = pose_keypoints(ASSET, angles, shape)
    palm = keypoints[:, FINGERS["middle"][0]].norm(dim=1)
    torch.testing.assert_close(palm, torch.full((64,), 81.0), atol=0.5, rtol=0)
    length = keypoints[:, FINGERS["middle"][3], 1]
    assert 1 < float(length.std()) < 20
