"""Draws hand poses, none of which runs through itself.

They are gestures with noise, poses between two gestures, free ones, and gestures of which single fingers differ.

Everything about hand i follows from (seed, i) alone. Each hand has its own generator; a pose that is
rejected is drawn again from it, while which gesture it is to show stays as drawn, so that rejection
changes no shares. All hands without a pose yet are tried together, and every number of a hand is
computed on its own: which other hands are drawn with it makes no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64

from knuckle.render.anatomy import ANGLES, LIMITS, clamp_to_limits
from knuckle.render.bones import bend
from knuckle.render.collision import penetration
from knuckle.render.gestures import SYNERGIES, SYNERGY_MEAN, TEMPLATES, nearest_gesture
from knuckle.render.mesh import NUM_SHAPES
from knuckle.render.ranges import check_numbers, check_weights
from knuckle.render.shares import parse_shares
from knuckle.skeleton import GESTURES

STREAM: Final = 1
"""Third part of a hand's key: other modules draw from (seed, index) with other numbers here or none."""

MAX_PENETRATION_MM: Final = 4.0
"""Flesh gives way by a few millimetres; a pose whose capsules overlap deeper is drawn again."""

MAX_TRIES: Final = 600
"""Tries before a hand falls back to the plain gesture drawn for it, which clears itself on the mean hand."""

CHUNK: Final = 2048
"""Hands drawn at a time, which bounds the memory."""

TOGETHER: Final = 32
"""Poses tried at a time at least: when few hands wait, several tries of each cost little more than one."""

_WRIST: Final = slice(21, 24)
_FINGER_OF: Final[Int64[np.ndarray, " 21"]] = np.repeat(np.arange(5), [4, 4, 4, 4, 5])
"""The finger of each angle of `anatomy.ANGLES` before the wrist's: forefinger first, thumb last."""

FINGER_DIFFERS: Final = 0.4
"""Probability that a finger leaves the gesture of a hand whose fingers differ."""

WRIST_SHARE: Final = 0.85
"""How much of the wrist's range is used."""

NOISE_DEGREES: Final[Float64[np.ndarray, " 21"]] = np.array(4 * [7.0, 3.0, 8.0, 5.0] + [5.0, 5.0, 5.0, 6.0, 7.0])
"""Standard deviation of each joint's own noise at full strength: four fingers, then the thumb."""

CURL_DEGREES: Final = 4.0
"""Standard deviation of the noise that all fingers share: MCP and PIP bend together."""

_CURL: Final[Float64[np.ndarray, " 21"]] = CURL_DEGREES * np.array(4 * [1.0, 0.0, 1.0, 2 / 3] + 5 * [0.0])
_NUM_NORMALS: Final = 22 + len(SYNERGIES)
KINDS: Final = ("gesture", "interpolation", "synergy", "fingers")
"""Of poses, as the fields of `PoseMix` name them."""

_LABELLED, _BETWEEN, _FREE, _MIXED = range(len(KINDS))


@dataclass(frozen=True)
class PoseMix:
    """What poses are drawn, and how often each kind. Rejection changes no share.

    Attributes:
        gesture: share of gestures with noise, which alone carry a label.
        interpolation: share of poses between two gestures.
        synergy: share of free poses: random amounts of `gestures.SYNERGIES`.
        fingers: share of gestures of which single fingers do something else, as when one is lifted off a table: each
            with probability `FINGER_DIFFERS` is on its way to the same finger of any gesture, at most to its end.
        weights: (25,) probability of each gesture, as in `parse_gestures`; excluded ones count as 0.
        exclude: gestures that never occur: neither as a label nor as the nearest gesture of any pose.
        noise: strength of the joints' noise; 0 gives the bare gestures.

    Raises:
        ValueError: a share or weight is negative, or all are 0; names the field.
    """

    gesture: float = 0.60
    interpolation: float = 0.25
    synergy: float = 0.15
    fingers: float = 0.0
    weights: tuple[float, ...] = (1 / len(GESTURES),) * len(GESTURES)
    exclude: frozenset[int] = frozenset()
    noise: float = 1.0

    def __post_init__(self) -> None:
        check_weights(self, *KINDS)
        check_weights(self, "weights")
        if len(self.weights) != len(GESTURES):
            raise ValueError(
                f"weights must give one number for each of {len(GESTURES)} gestures, not {len(self.weights)}."
            )
        check_numbers(self, "noise")
        if not self.exclude <= set(range(len(GESTURES))):
            raise ValueError(
                f"exclude must hold gestures from 0 to {len(GESTURES) - 1}, but is {sorted(self.exclude)}."
            )
        if sum(weight for gesture, weight in enumerate(self.weights) if gesture not in self.exclude) <= 0:
            raise ValueError("All gestures with a weight are excluded: exclude fewer of them.")

    @property
    def shares(self) -> tuple[float, float, float, float]:
        return (self.gesture, self.interpolation, self.synergy, self.fingers)


def parse_gestures(text: str) -> tuple[float, ...]:
    """The probability of each gesture from a text like "6:0.5,thumb_up:0.1".

    What the named gestures leave over is spread evenly over the others.

    Args:
        text: gesture:probability pairs between commas; a gesture is its number or name. Empty: all even.

    Raises:
        ValueError: says which pair is wrong and what is expected.
    """
    evenly = dict.fromkeys(GESTURES, 1.0)
    return tuple(parse_shares(text, evenly, "gesture", lambda name: GESTURES[parse_gesture(name)]).values())


def parse_kinds(text: str) -> dict[str, float]:
    """The share of each kind of pose, ready for `PoseMix(**kinds)`, from a text like "gesture:0.3,fingers:0.5".

    What the named kinds leave over the others share as they do in `PoseMix()`.

    Raises:
        ValueError: says which pair is wrong and what is expected.
    """
    return parse_shares(text, dict(zip(KINDS, PoseMix().shares, strict=True)), "kind of pose")


def parse_gesture(text: str) -> int:
    """The class of a gesture given by number or name.

    Raises:
        ValueError: there is no such gesture; lists them.
    """
    name = text.strip()
    if name in GESTURES:
        return GESTURES.index(name)
    if name.isdecimal() and int(name) < len(GESTURES):
        return int(name)
    known = ", ".join(f"{number} {gesture}" for number, gesture in enumerate(GESTURES))
    raise ValueError(f"There is no gesture '{name}': choose from {known}.")


class _Plan(NamedTuple):
    """What each hand is to show, drawn once; n hands.

    `finger` is the gesture that each finger is on its way to where fingers differ, `reach` how far it gets at most; 0
    for those that stay.
    """

    kind: Int64[np.ndarray, " n"]
    gesture: Int64[np.ndarray, " n"]
    other: Int64[np.ndarray, " n"]
    finger: Int64[np.ndarray, "n 5"]
    reach: Float64[np.ndarray, "n 5"]
    wrist: Float64[np.ndarray, "n 3"]
    shape: Float64[np.ndarray, "n 12"]


def sample_poses(
    seed: int,
    indices: Sequence[int] | Int64[np.ndarray, " n"],
    mix: PoseMix | None = None,
    stream: int = STREAM,
    shapes: Float[np.ndarray, "n 12"] | None = None,
) -> tuple[Float64[np.ndarray, "n 24"], Int64[np.ndarray, " n"]]:
    """The poses of the hands with these indices.

    Args:
        seed: at least 0.
        indices: at least 0, in any order; equal indices give equal hands.
        mix: what to draw; `PoseMix()` where None.
        stream: another number, other poses: for further hands of the same picture.
        shapes: coefficients of each hand's shape, on which a pose must not run through itself; the mean hand's
            where None.

    Returns:
        angles in degrees, columns as in `anatomy.ANGLES`, within `anatomy.clamp_to_limits`; and the gesture
        of each hand, -1 for poses between gestures and free ones.
    """
    assert len(ANGLES) == TEMPLATES.shape[1]
    mix = mix or PoseMix()
    shapes = np.zeros((len(indices), NUM_SHAPES)) if shapes is None else np.asarray(shapes, np.float64)
    angles = np.empty((len(indices), len(ANGLES)))
    gestures = np.empty(len(indices), np.int64)
    for start in range(0, len(indices), CHUNK):
        part = slice(start, start + CHUNK)
        angles[part], gestures[part] = _sample_chunk(seed, indices[part], mix, stream, shapes[part])
    return angles, gestures


def _sample_chunk(
    seed: int,
    indices: Sequence[int] | Int64[np.ndarray, " n"],
    mix: PoseMix,
    stream: int,
    shapes: Float64[np.ndarray, "n 12"],
) -> tuple[Float64[np.ndarray, "n 24"], Int64[np.ndarray, " n"]]:
    generators = [np.random.Generator(np.random.SFC64((seed, int(index), stream))) for index in indices]
    uniforms = np.stack([generator.random(9) for generator in generators])
    # From generators of their own, so that hands of other kinds are the same whether fingers may differ or not.
    of_fingers = np.zeros((len(uniforms), 3, 5))
    if mix.fingers > 0:
        keys = [(seed, int(index), stream, 1) for index in indices]
        of_fingers = np.stack([np.random.Generator(np.random.SFC64(key)).random((3, 5)) for key in keys])
    plan = _plan(uniforms, of_fingers, mix, shapes)
    angles = TEMPLATES[plan.gesture].copy()
    angles[:, _WRIST] = plan.wrist
    labels = np.where(plan.kind == _LABELLED, plan.gesture, -1)
    waiting = np.arange(len(generators))
    tried = 0
    while len(waiting) and tried < MAX_TRIES:
        tries = min(max(1, TOGETHER // len(waiting)), MAX_TRIES - tried)
        poses, accepted = _try([generators[row] for row in waiting], _rows(plan, waiting), tries, mix)
        done = accepted.any(1)
        angles[waiting[done]] = poses[done, accepted[done].argmax(1)]
        waiting = waiting[~done]
        tried += tries
    labels[waiting] = plan.gesture[waiting]
    return angles, labels


def _rows(plan: _Plan, rows: Int64[np.ndarray, " m"]) -> _Plan:
    return _Plan(*(column[rows] for column in plan))


def _try(
    generators: Sequence[np.random.Generator], plan: _Plan, tries: int, mix: PoseMix
) -> tuple[Float64[np.ndarray, "n tries 24"], Bool[np.ndarray, "n tries"]]:
    """The next poses of each hand, and whether they will do. The first that does is the hand's."""
    draws = [(g.random(2), g.standard_normal(_NUM_NORMALS)) for g in generators for _ in range(tries)]
    uniforms, normals = (np.stack(column) for column in zip(*draws, strict=True))
    repeated = _rows(plan, np.repeat(np.arange(len(generators)), tries))
    poses = _propose(repeated, uniforms, normals, mix.noise)
    labels = np.where(repeated.kind == _LABELLED, repeated.gesture, -1)
    accepted = _acceptable(poses, repeated.shape, labels, mix.exclude)
    return poses.reshape(-1, tries, poses.shape[1]), accepted.reshape(-1, tries)


def _plan(
    uniforms: Float64[np.ndarray, "n 9"],
    of_fingers: Float64[np.ndarray, "n 3 5"],
    mix: PoseMix,
    shape: Float64[np.ndarray, "n 12"],
) -> _Plan:
    """What each hand is to show, from numbers between 0 and 1."""
    allowed = np.array([gesture not in mix.exclude for gesture in range(len(GESTURES))])
    gesture = _choose(uniforms[:, 1], np.where(allowed, mix.weights, 0.0))
    partners = np.flatnonzero(allowed)
    rank = np.searchsorted(partners, gesture)
    step = 1 + np.floor(uniforms[:, 2] * (len(partners) - 1)).astype(np.int64)  # never the gesture itself
    limits = _wrist_limits()
    swing = WRIST_SHARE * (uniforms[:, 3:6] + uniforms[:, 6:9] - 1)  # most often near the middle
    return _Plan(
        kind=_choose(uniforms[:, 0], np.array(mix.shares)),
        gesture=gesture,
        other=partners[(rank + step) % len(partners)],
        finger=partners[np.floor(of_fingers[:, 1] * len(partners)).astype(np.int64)],
        reach=np.where(of_fingers[:, 0] < FINGER_DIFFERS, 0.5 + 0.5 * of_fingers[:, 2], 0.0),
        wrist=np.where(swing < 0, -swing * limits[:, 0], swing * limits[:, 1]),
        shape=shape,
    )


def _choose(uniforms: Float64[np.ndarray, " n"], weights: Float64[np.ndarray, " k"]) -> Int64[np.ndarray, " n"]:
    """Numbers between 0 and 1 to classes in proportion to their weights; a class of weight 0 never."""
    steps = np.cumsum(weights)
    return np.searchsorted(steps / steps[-1], uniforms, side="right")


@lru_cache(maxsize=1)
def _wrist_limits() -> Float64[np.ndarray, "3 2"]:
    limits: Float64[np.ndarray, "3 2"] = LIMITS[_WRIST].double().numpy()
    return limits


def _propose(
    plan: _Plan,
    uniforms: Float64[np.ndarray, "n 2"],
    normals: Float64[np.ndarray, "n k"],
    noise: float,
) -> Float64[np.ndarray, "n 24"]:
    """One pose for each hand, within the limits of its joints."""
    fingers = TEMPLATES[:, :21]
    own, other = fingers[plan.gesture], fingers[plan.other]
    share = 0.15 + 0.7 * uniforms[:, :1]
    free = np.broadcast_to(SYNERGY_MEAN, own.shape)
    for column, synergy in enumerate(SYNERGIES, start=22):
        free = free + normals[:, column, None] * synergy
    kind = plan.kind[:, None]
    toward = fingers[plan.finger[:, _FINGER_OF], np.arange(own.shape[1])]
    shorter = 1 - 0.9 * uniforms[:, :1] ** 2  # drawn anew with each try, as fingers may meet on the way
    mixed = own + shorter * plan.reach[:, _FINGER_OF] * (toward - own)
    center = np.select(
        [kind == _LABELLED, kind == _BETWEEN, kind == _MIXED], [own, own + share * (other - own), mixed], free
    )
    strength = noise * np.where((kind == _LABELLED) | (kind == _MIXED), 0.25 + 0.95 * uniforms[:, 1:], 0.5)
    center = center + strength * (normals[:, :21] * NOISE_DEGREES + normals[:, 21:22] * _CURL)
    angles = torch.from_numpy(np.concatenate([center, plan.wrist], 1))
    within: Float64[np.ndarray, "n 24"] = clamp_to_limits(angles).numpy()
    return within


def _acceptable(
    angles: Float64[np.ndarray, "n 24"],
    shape: Float64[np.ndarray, "n 12"],
    labels: Int64[np.ndarray, " n"],
    exclude: frozenset[int],
) -> Bool[np.ndarray, " n"]:
    """Whether a pose runs through itself nowhere, still shows its gesture, and resembles no excluded one."""
    bones = bend(torch.from_numpy(angles), torch.from_numpy(shape))
    clear = (penetration(bones) <= MAX_PENETRATION_MM).numpy()
    nearest = nearest_gesture(bones.keypoints.numpy())
    true_to_label = (labels < 0) | (nearest == labels)
    passed: Bool[np.ndarray, " n"] = clear & true_to_label & ~np.isin(nearest, list(exclude))
    return passed
