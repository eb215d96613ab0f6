"""Proposes a gesture for each hand from its 2D keypoints, with a confidence, or says that it is unsure.

A hand is described by the distances between all pairs of its keypoints over their spread, and by the
angles at which its fingers bend and part. Neither knows the hand's side, place, size, or how the picture
is turned. A small network (two hidden layers) reads them; `tools/fit_gesture_classifier.py` trains it on
labels of rendered hands, and docs/study.md gives its confusion matrix. It is a proposal to be looked
at: people form gestures in more ways than the renderer does.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int8, Int64
from numpy.typing import NDArray

from knuckle.hands import UNKNOWN, Hands
from knuckle.skeleton import BONES, FINGERS, GESTURES, NUM_JOINTS

ASSET: Final = "assets/gesture_classifier.npz"
NONE_OF_THEM: Final = len(GESTURES)
"""The network's last answer: a pose between the gestures, or another one."""
THRESHOLD: Final = 0.7
"""A proposal with less confidence is "unsure"."""
FEWEST_JOINTS: Final = 15
"""Hands with fewer labelled joints are "unsure" without a look."""

_CHUNK: Final = 4096
"""Hands described at a time, which bounds the memory."""

_FIRST, _SECOND = np.triu_indices(NUM_JOINTS, 1)
_PARENTS, _CHILDREN = np.array(BONES).T
_BONE_TO: Final = {joint: bone for bone, (_, joint) in enumerate(BONES)}
_ALONG: Final = [pair for joints in FINGERS.values() for pair in pairwise(joints)]
_ACROSS: Final = [(a[k], b[k]) for a, b in pairwise(FINGERS.values()) for k in (1, 3)]
_ANGLES: Final = np.array([(_BONE_TO[first], _BONE_TO[second]) for first, second in (*_ALONG, *_ACROSS)])
"""Pairs of bones: along each finger, and between neighbouring fingers at their first and last phalanges."""
NUM_FEATURES: Final = len(_FIRST) + len(_ANGLES)


class Proposals(NamedTuple):
    """What the classifier proposes for n hands.

    Attributes:
        gesture: (n,) int8, -1 where it is unsure.
        confidence: (n,) of the likeliest gesture, proposed or not; 0 where too few joints are labelled.
        likeliest: (n,) int8, the likeliest gesture, however unlikely.
    """

    gesture: Int8[np.ndarray, " n"]
    confidence: Float64[np.ndarray, " n"]
    likeliest: Int8[np.ndarray, " n"]


def propose(hands: Hands, threshold: float = THRESHOLD) -> Proposals:
    """The gesture that each hand seems to show; labels in `hands.gesture` are not looked at.

    Args:
        hands: with labelled keypoints, in any frame.
        threshold: confidence below which a hand is unsure.
    """
    probability = probabilities(hands.xy, hands.labeled)
    confidence = probability[:, :NONE_OF_THEM].max(axis=1)
    likeliest = probability[:, :NONE_OF_THEM].argmax(axis=1)
    few = hands.labeled.sum(axis=1) < FEWEST_JOINTS
    sure = (confidence >= threshold) & ~few
    return Proposals(
        np.where(sure, likeliest, UNKNOWN).astype(np.int8), np.where(few, 0.0, confidence), likeliest.astype(np.int8)
    )


def probabilities(
    xy: Float[np.ndarray, "n 21 2"], labeled: Bool[np.ndarray, "n 21"] | None = None
) -> Float64[np.ndarray, "n 26"]:
    """The probability of each gesture, and last that it is none of them; each row sums to 1.

    Args:
        xy: keypoints in image pixels; unlabelled ones may be anything.
        labeled: which keypoints count; None: all.
    """
    known = np.ones(xy.shape[:2], dtype=bool) if labeled is None else labeled
    starts = range(0, len(xy), _CHUNK)
    return np.concatenate(
        [np.empty((0, NONE_OF_THEM + 1)), *(_answers(xy[at : at + _CHUNK], known[at : at + _CHUNK]) for at in starts)]
    )


def _answers(xy: Float[np.ndarray, "n 21 2"], labeled: Bool[np.ndarray, "n 21"]) -> Float64[np.ndarray, "n 26"]:
    network = _network()
    values = (describe(xy, labeled) - network["mean"]) / network["deviation"]
    values = np.nan_to_num(values, nan=0.0)  # what is not known takes its mean
    for layer in range(3):
        values = values @ network[f"weight{layer}"].T + network[f"bias{layer}"]
        if layer < 2:
            values = np.maximum(values, 0)
    exponent = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Float64[np.ndarray, "n 26"] = exponent / exponent.sum(axis=1, keepdims=True)
    return shares


def describe(
    xy: Float[np.ndarray, "n 21 2"], labeled: Bool[np.ndarray, "n 21"] | None = None
) -> Float64[np.ndarray, "n features"]:
    """Distances of all pairs over the root mean square distance from the centre, then cosines of angles.

    NaN where a keypoint is not labelled, or a bone has no length.
    """
    points = np.asarray(xy, dtype=np.float64)
    known = np.ones(points.shape[:2], dtype=bool) if labeled is None else labeled
    count = np.maximum(known.sum(axis=1), 1)[:, None, None]
    center = np.where(known[..., None], points, 0.0).sum(axis=1, keepdims=True) / count
    points = np.where(known[..., None], points - center, 0.0)
    spread = np.sqrt((points**2).sum(axis=(1, 2)) / count[:, 0, 0])
    points = np.where(known[..., None], points, np.nan) / np.where(spread > 0, spread, np.nan)[:, None, None]
    distances = np.sqrt(((points[:, _FIRST] - points[:, _SECOND]) ** 2).sum(axis=2))
    bones = points[:, _CHILDREN] - points[:, _PARENTS]
    lengths = np.sqrt((bones**2).sum(axis=2, keepdims=True))
    bones = bones / np.where(lengths > 0, lengths, np.nan)
    cosines = (bones[:, _ANGLES[:, 0]] * bones[:, _ANGLES[:, 1]]).sum(axis=2)
    return np.concatenate([distances, cosines], axis=1)


@lru_cache(maxsize=1)
def _network() -> dict[str, NDArray[np.float64]]:
    with resources.files("knuckle.study").joinpath(ASSET).open("rb") as stream, np.load(stream) as stored:
        network = {name: stored[name].astype(np.float64) for name in stored.files}
    assert network["mean"].shape == (NUM_FEATURES,)
    return network


def confusion(true: Int8[np.ndarray, " n"], found: Int8[np.ndarray, " n"]) -> Int64[np.ndarray, "26 26"]:
    """How many hands of each gesture (row) were taken for each (column); the last row and column are -1."""
    table = np.zeros((NONE_OF_THEM + 1, NONE_OF_THEM + 1), dtype=np.int64)
    np.add.at(table, (true, found), 1)  # -1 is the last
    return table
