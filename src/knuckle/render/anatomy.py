"""How a hand moves: 24 joint angles with their limits, and the posed skin and keypoints that follow from them.

All angles are degrees. Zero is the anatomical zero of goniometry: a straight flat hand with parallel fingers, in line
with the forearm. Only the thumb's base has no such zero; there it is the relaxed pose in which the mesh was modelled:
the metacarpal 43 degrees out of the plane of the palm and, seen on that plane, 59 degrees away from the middle finger.
Hand space and its axes are defined in `knuckle.render.mesh`; the palm stands still there and the forearm moves instead.

Positive is: flexion of every joint, towards the palm; abduction of a finger towards the thumb's side (an absolute
direction, not away from the middle finger); abduction of the thumb out of the plane of the palm; rotation of the thumb
about its own length so that it bends across the palm rather than along the index finger; deviation of the wrist
towards the little finger; pronation of the forearm.

Letters in shapes: B hands in a batch, V vertices, K = 21 keypoints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from knuckle.render.mesh import BONES, HandAsset

LIMITS_BY_NAME: Final[dict[str, tuple[float, float]]] = {
    "index_mcp_flexion": (-25, 90),
    "index_mcp_abduction": (-8, 25),
    "index_pip_flexion": (-5, 110),
    "index_dip_flexion": (-8, 80),
    "middle_mcp_flexion": (-25, 92),
    "middle_mcp_abduction": (-12, 12),
    "middle_pip_flexion": (-5, 110),
    "middle_dip_flexion": (-8, 80),
    "ring_mcp_flexion": (-25, 95),
    "ring_mcp_abduction": (-22, 6),
    "ring_pip_flexion": (-5, 110),
    "ring_dip_flexion": (-8, 80),
    "little_mcp_flexion": (-30, 98),
    "little_mcp_abduction": (-40, 2),
    "little_pip_flexion": (-5, 110),
    "little_dip_flexion": (-8, 80),
    "thumb_cmc_flexion": (-35, 35),
    "thumb_cmc_abduction": (-35, 30),
    "thumb_cmc_rotation": (-40, 45),
    "thumb_mcp_flexion": (-10, 60),
    "thumb_ip_flexion": (-20, 80),
    "wrist_flexion": (-60, 70),
    "wrist_deviation": (-20, 30),
    "forearm_pronation": (-50, 50),
}
"""Lowest and highest angle of each joint.

Active ranges of the American Academy of Orthopaedic Surgeons (Joint Motion: Method of Measuring and Recording, 1965;
revised as Greene and Heckman, The Clinical Measurement of Joint Motion, 1994): finger MCP 90 flexion and 45
extension, PIP 100, DIP 90, thumb CMC 15 flexion, 20 extension and 70 abduction, thumb MCP 50, IP 80, wrist 80 flexion,
70 extension, 20 radial and 30 ulnar deviation, forearm 80 each way. Narrower where a photographed hand hardly goes
(extension of MCP, the ends of the wrist), a little wider where flexion is passive (PIP and the ulnar MCPs in a fist).
Abduction is that of each finger about its own resting splay. The thumb's base is relative to its relaxed pose, and its
flexion is widened to reach opposition with this model's single pivot. The forearm's twist is what shows between
the hand and the sleeve; the rest happens at the elbow.
"""

ANGLES: Final[tuple[str, ...]] = tuple(LIMITS_BY_NAME)
"""Names of the 24 angles, the columns of every table of angles."""

LIMITS: Final[Float[Tensor, "24 2"]] = torch.tensor(list(LIMITS_BY_NAME.values()), dtype=torch.float32)
"""`LIMITS_BY_NAME` as a table. Read-only."""

MCP: Final = slice(0, 16, 4)
ABDUCTION: Final = slice(1, 16, 4)
PIP: Final = slice(2, 16, 4)
DIP: Final = slice(3, 16, 4)
"""Columns of the four fingers, index to little finger."""

MCP_LEADS: Final = ((100.0, 90.0), (85.0, 60.0), (70.0, 95.0))
"""By how many degrees of MCP flexion two neighbours may differ: for the pairs index-middle, middle-ring and
ring-little, how much straighter the first may be than the second, and the second than the first.

That the range of one MCP depends on its neighbours is measured in doi:10.1080/10255842.2016.1189541; the numbers here
are ours, chosen so that index and little finger, which have extensors of their own, point almost freely, and the ring
finger, tied to both neighbours by tendon bridges, does not.
"""

RESTING_ABDUCTION: Final = (2.0, 0.0, -4.0, -12.0)
"""Index to little finger: the splay to which a bent finger is bound."""

ABDUCTION_LEFT_IN_FIST: Final = 0.3
"""Share of the sideways range that is left at 90 degrees of MCP flexion, where the collateral ligaments are taut."""

DIP_PER_PIP: Final = 2 / 3
DIP_TOLERANCE: Final = 25.0
"""A finger bent by its own muscles keeps DIP = 2/3 PIP (Rijpkema and Girard, SIGGRAPH 1991); contact moves it off."""

CUPPING: Final = (5.0, 10.0)
"""Degrees by which the metacarpals of ring and little finger follow when their MCPs are bent by 90 degrees."""

CUPPING_TURN: Final = 0.6
"""How much the little finger's metacarpal turns its knuckle towards the thumb meanwhile, per degree of cupping."""


@dataclass(frozen=True)
class Posed:
    """Right hands in hand space, millimetres.

    Attributes:
        vertices: (B, V, 3) skin.
        keypoints: (B, K, 3) in the order of `skeleton.JOINT_NAMES`: the heads of the bones, where the joints turn, and
            the fingertips on the skin.
        rotations: (B, bones, 3, 3) from each bone's rest orientation to its posed one.
    """

    vertices: Float[Tensor, "B V 3"]
    keypoints: Float[Tensor, "B K 3"]
    rotations: Float[Tensor, "B bones 3 3"]


class PosedBones(NamedTuple):
    """The bones of right hands in hand space, millimetres.

    Attributes:
        rotations: (B, bones, 3, 3) from each bone's rest orientation to its posed one.
        heads: (B, bones, 3) where each bone begins.
        keypoints: (B, K, 3) as in `Posed`.
    """

    rotations: Float[Tensor, "B bones 3 3"]
    heads: Float[Tensor, "B bones 3"]
    keypoints: Float[Tensor, "B K 3"]


def _lead_table() -> Float[Tensor, "4 4"]:
    """How many degrees straighter finger i may be than finger j, through all fingers between them."""
    table = torch.zeros(4, 4)
    for i in range(4):
        for j in range(4):
            pairs = MCP_LEADS[min(i, j) : max(i, j)]
            table[i, j] = sum(pair[0 if i < j else 1] for pair in pairs)
    return table


_LEADS: Final = _lead_table()


def least_mcp_flexion(mcp: Float[Tensor, "B 4"]) -> Float[Tensor, "B 4"]:
    """The flexion to which the bent neighbours pull each finger's MCP, see `MCP_LEADS`; never less than its own."""
    return (mcp[:, None, :] - _LEADS.to(mcp)).amax(2)


def abduction_range(
    mcp: Float[Tensor, "B 4"], limits: Float[Tensor, "4 2"]
) -> tuple[Float[Tensor, "B 4"], Float[Tensor, "B 4"]]:
    """Lowest and highest abduction of each finger: the more its MCP is bent, the closer to its resting splay."""
    share = 1 - (1 - ABDUCTION_LEFT_IN_FIST) * (mcp / 90).clamp(0, 1)
    rest = mcp.new_tensor(RESTING_ABDUCTION)
    return rest + share * (limits[:, 0] - rest), rest + share * (limits[:, 1] - rest)


def dip_range(
    pip: Float[Tensor, "B 4"], limits: Float[Tensor, "4 2"]
) -> tuple[Float[Tensor, "B 4"], Float[Tensor, "B 4"]]:
    """Lowest and highest DIP flexion of each finger: near two thirds of its PIP's, within the joint's own limits."""
    middle = DIP_PER_PIP * pip
    lowest = torch.maximum(middle - DIP_TOLERANCE, limits[:, 0])
    return lowest, torch.minimum(middle + DIP_TOLERANCE, limits[:, 1])


def clamp_to_limits(angles: Float[Tensor, "B 24"]) -> Float[Tensor, "B 24"]:
    """The angles moved into `LIMITS`, then into what the joints allow each other.

    Each joint is moved no further than needed; what is allowed comes back unchanged, so clamping twice is clamping
    once. Differentiable wherever it leaves an angle alone.
    """
    limits = LIMITS.to(angles)
    within = torch.minimum(torch.maximum(angles, limits[:, 0]), limits[:, 1])
    mcp = least_mcp_flexion(within[:, MCP])
    lowest, highest = abduction_range(mcp, limits[ABDUCTION])
    abduction = torch.minimum(torch.maximum(within[:, ABDUCTION], lowest), highest)
    pip = within[:, PIP]
    lowest, highest = dip_range(pip, limits[DIP])
    dip = torch.minimum(torch.maximum(within[:, DIP], lowest), highest)
    fingers = torch.stack([mcp, abduction, pip, dip], 2).flatten(1)
    return torch.cat([fingers, within[:, 16:]], 1)


def cupping(mcp: Float[Tensor, "B 4"]) -> Float[Tensor, "B 2"]:
    """Flexion of the metacarpals of ring and little finger in degrees: the palm hollows as they bend."""
    return (mcp[:, 2:] / 90).clamp(0, 1) * mcp.new_tensor(CUPPING)


# Every bone has a frame at rest (`HandAsset.bone_frames`): x is its axis of flexion, y runs along it, z leaves it on
# the side towards which it bends. A pose turns these frames; what carries a rest frame over into the posed one turns
# the skin. Bones of the palm have hand space itself as their frame, so that zero angles mean straight and flat.

_PARENTS: Final = (0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 16, 10, 11, 17, 13, 14, 0, 0, 0, 18)
_PIVOTS: Final = (*range(18), 0, 18)  # the forearm turns about the wrist, its half at the elbow about its middle
_DISTAL: Final = (3, 6, 9, 12, 15)
_KEYPOINT_ROWS: Final = (0, *(row for f in range(5) for row in (1 + 3 * f, 2 + 3 * f, 3 + 3 * f, len(BONES) + f)))
_THUMB_BASE: Final = 1

_LEVELS: Final = ((1, 4, 7, 16, 17, 18), (2, 5, 8, 10, 13, 19), (3, 6, 9, 11, 14), (12, 15))
"""The bones by their number of ancestors beside the palm (bone 0): what a level needs, the ones before it give."""
_ROWS: Final = (0, *(bone for level in _LEVELS for bone in level))
"""The bones in the order of their levels."""

_RING_CUP: Final = len(ANGLES)
_LITTLE_CUP: Final = len(ANGLES) + 1
"""Columns after the angles: `cupping`."""


def _turn_table() -> tuple[tuple[int, int, int, int, float], ...]:
    """Which turns make up the way from each bone's parent to it: bone, place in the product of three, axis (x, y or
    z), column of the angles, factor.
    """
    at = {name: column for column, name in enumerate(ANGLES)}
    turns = [
        (16, 0, 0, _RING_CUP, 1.0),
        (17, 0, 0, _LITTLE_CUP, 1.0),
        (17, 1, 1, _LITTLE_CUP, CUPPING_TURN),
        (_THUMB_BASE, 0, 2, at["thumb_cmc_abduction"], -1.0),
        (_THUMB_BASE, 1, 0, at["thumb_cmc_flexion"], 1.0),
        (_THUMB_BASE, 2, 1, at["thumb_cmc_rotation"], 1.0),
        (2, 0, 0, at["thumb_mcp_flexion"], 1.0),
        (3, 0, 0, at["thumb_ip_flexion"], 1.0),
        (18, 0, 0, at["wrist_flexion"], -1.0),
        (18, 1, 2, at["wrist_deviation"], -1.0),
        (18, 2, 1, at["forearm_pronation"], 0.5),
        (19, 0, 1, at["forearm_pronation"], 0.5),
    ]
    for row, finger in enumerate(("index", "middle", "ring", "little")):
        first = 4 + 3 * row
        turns += [
            (first, 0, 2, at[f"{finger}_mcp_abduction"], -1.0),
            (first, 1, 0, at[f"{finger}_mcp_flexion"], 1.0),
            (first + 1, 0, 0, at[f"{finger}_pip_flexion"], 1.0),
            (first + 2, 0, 0, at[f"{finger}_dip_flexion"], 1.0),
        ]
    return tuple(turns)


class _Turns(NamedTuple):
    """`_turn_table` as tensors, one entry for each place in each bone's product."""

    column: Int64[Tensor, " places*bones"]
    factor: Float[Tensor, " places*bones"]
    """0 where there is no turn."""
    still: Float[Tensor, "places*bones 3 3"]
    cosine: Float[Tensor, "places*bones 3 3"]
    sine: Float[Tensor, "places*bones 3 3"]
    """A right-handed rotation about the entry's axis is still + cosine * cos(angle) + sine * sin(angle)."""


@lru_cache(maxsize=8)
def _turns(dtype: torch.dtype, device: torch.device) -> _Turns:
    entries = 3 * len(BONES)
    axis, column, factor = torch.zeros(entries).long(), torch.zeros(entries).long(), torch.zeros(entries)
    for bone, place, about, angle, times in _turn_table():
        at = place * len(BONES) + bone
        axis[at], column[at], factor[at] = about, angle, times
    still, cosine, sine = torch.zeros(3, 3, 3), torch.eye(3).repeat(3, 1, 1), torch.zeros(3, 3, 3)
    for about in range(3):
        first, second = (about + 1) % 3, (about + 2) % 3
        still[about, about, about], cosine[about, about, about] = 1.0, 0.0
        sine[about, first, second], sine[about, second, first] = -1.0, 1.0
    tensors = (factor, still[axis], cosine[axis], sine[axis])
    return _Turns(column.to(device), *(tensor.to(device, dtype) for tensor in tensors))


def _local_turns(asset: HandAsset, angles: Float[Tensor, "B 24"]) -> Float[Tensor, "B bones 3 3"]:
    """How the frame of each bone stands in its parent's frame; that of the palm in hand space."""
    table = _turns(angles.dtype, angles.device)
    columns = torch.cat([angles, cupping(angles[:, MCP])], 1)
    radians = torch.deg2rad(columns[:, table.column] * table.factor)[..., None, None]
    turns = table.still + radians.cos() * table.cosine + radians.sin() * table.sine
    first, second, third = turns.reshape(-1, 3, len(BONES), 3, 3).unbind(1)
    bare = first @ second @ third
    thumb = asset.bone_frames[_THUMB_BASE].expand(len(angles), 3, 3) @ bare[:, _THUMB_BASE]
    return torch.cat([bare[:, :_THUMB_BASE], thumb[:, None], bare[:, _THUMB_BASE + 1 :]], 1)


def _bone_motions(
    asset: HandAsset, angles: Float[Tensor, "B 24"], heads: Float[Tensor, "B bones 3"]
) -> tuple[Float[Tensor, "B bones 3 3"], Float[Tensor, "B bones 3"]]:
    """Rotation and shift of each bone from rest: a point p of it goes to rotation @ p + shift.

    What all hands share is expanded to one matrix a hand: PyTorch would else stack the batch into one large product,
    and some processors round that differently in batches of different sizes.
    """
    turns = _local_turns(asset, angles)
    frames = _from_parents(turns, torch.matmul)
    rotations = frames @ asset.bone_frames.transpose(1, 2).expand(len(angles), -1, -1, -1)
    pivots = heads[:, list(_PIVOTS), :, None]
    steps = ((rotations[:, list(_PARENTS)] - rotations) @ pivots)[..., 0]
    return rotations, _from_parents(steps, torch.add)


def _from_parents(
    own: Float[Tensor, "B bones *k"], combine: Callable[[Tensor, Tensor], Tensor]
) -> Float[Tensor, "B bones *k"]:
    """What all bones have, from what each adds to its parent, level by level."""
    done = own[:, :1]
    for level in _LEVELS:
        parents = [_ROWS.index(_PARENTS[bone]) for bone in level]
        done = torch.cat([done, combine(done[:, parents], own[:, list(level)])], 1)
    return done[:, [_ROWS.index(bone) for bone in range(len(BONES))]]


def _keypoints(
    heads: Float[Tensor, "B bones 3"],
    tips: Float[Tensor, "B 5 3"],
    rotations: Float[Tensor, "B bones 3 3"],
    shifts: Float[Tensor, "B bones 3"],
) -> Float[Tensor, "B K 3"]:
    bones = [*range(len(BONES)), *_DISTAL]
    points = torch.cat([heads, tips], 1)
    posed = (rotations[:, bones] @ points[..., None])[..., 0] + shifts[:, bones]
    return posed[:, list(_KEYPOINT_ROWS)]


def pose(asset: HandAsset, angles: Float[Tensor, "B 24"], shape: Float[Tensor, "B 12"] | None = None) -> Posed:
    """Bends hands: forward kinematics, then linear blend skinning. Differentiable in angles and shape.

    The angles are taken as they are; see `clamp_to_limits`.

    Args:
        asset: from `knuckle.render.mesh.load_asset`, on the device of the angles.
        angles: (B, 24) degrees, columns as in `ANGLES`.
        shape: (B, 12) in standard deviations of the shape components; the mean hand where None.
    """
    rest, heads = _shaped(asset, angles, shape)
    rotations, shifts = _bone_motions(asset, angles, heads)
    motions = torch.cat([rotations, shifts[..., None]], 3).flatten(2)
    # Hand by hand, so that a hand's bits do not depend on its batch.
    by_hand = [asset.weights @ motion for motion in motions]
    blended = torch.stack(by_hand) if by_hand else motions
    blended = blended.reshape(*rest.shape, 4)
    vertices = (blended[..., :3] @ rest[..., None])[..., 0] + blended[..., 3]
    tips = rest[:, asset.tip_vertices].mean(2)
    return Posed(vertices, _keypoints(heads, tips, rotations, shifts), rotations)


def pose_keypoints(
    asset: HandAsset, angles: Float[Tensor, "B 24"], shape: Float[Tensor, "B 12"] | None = None
) -> Float[Tensor, "B K 3"]:
    """The keypoints of `pose` without the skin: much cheaper, for fitting and for rejecting poses."""
    return pose_bones(asset, angles, shape).keypoints


def pose_bones(
    asset: HandAsset, angles: Float[Tensor, "B 24"], shape: Float[Tensor, "B 12"] | None = None
) -> PosedBones:
    """The bones of `pose`, with the keypoints."""
    tips, heads = _shaped_tips(asset, angles, shape)
    rotations, shifts = _bone_motions(asset, angles, heads)
    posed = (rotations @ heads[..., None])[..., 0] + shifts
    return PosedBones(rotations, posed, _keypoints(heads, tips, rotations, shifts))


def _blend(
    mean: Float[Tensor, "n 3"], components: Float[Tensor, "12 n 3"], shape: Float[Tensor, "B 12"]
) -> Float[Tensor, "B n 3"]:
    """Points of each hand's own shape.

    Term by term: a matrix product would round one hand's points differently in batches of different sizes.
    """
    points = mean.expand(len(shape), -1, -1)
    for component, amount in zip(components, shape.unbind(1), strict=True):
        points = points + amount[:, None, None] * component
    return points


def _shaped(
    asset: HandAsset, angles: Float[Tensor, "B 24"], shape: Float[Tensor, "B 12"] | None
) -> tuple[Float[Tensor, "B V 3"], Float[Tensor, "B bones 3"]]:
    """Skin and bone heads of each hand's own shape at rest."""
    if shape is None:
        return asset.vertices.expand(len(angles), -1, -1), asset.bone_heads.expand(len(angles), -1, -1)
    return _blend(asset.vertices, asset.shape_vertices, shape), _blend(asset.bone_heads, asset.shape_heads, shape)


def _shaped_tips(
    asset: HandAsset, angles: Float[Tensor, "B 24"], shape: Float[Tensor, "B 12"] | None
) -> tuple[Float[Tensor, "B 5 3"], Float[Tensor, "B bones 3"]]:
    """Fingertips and bone heads of each hand's own shape at rest."""
    tips, heads = asset.vertices[asset.tip_vertices].mean(1), asset.bone_heads
    if shape is None:
        return tips.expand(len(angles), -1, -1), heads.expand(len(angles), -1, -1)
    shape_tips = asset.shape_vertices[:, asset.tip_vertices].mean(2)
    return _blend(tips, shape_tips, shape), _blend(heads, asset.shape_heads, shape)
