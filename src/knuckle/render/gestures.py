"""The 25 gestures: their joint angles, what touches what in each, and which one a hand shows.

The angles are fitted by tools/fit_gestures.py from hand-written ones, so that the parts which should
touch do and nothing runs through anything else; assets/gestures.json holds both, with the remaining
gap of each contact and the deepest overlap. docs/gestures.md lists them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64

from knuckle.render.anatomy import ANGLES
from knuckle.render.bones import bend
from knuckle.render.contacts import Contact
from knuckle.skeleton import GESTURES, NUM_JOINTS, PARENTS


@dataclass(frozen=True)
class Gesture:
    """One of the 25 classes.

    Attributes:
        name: as in `skeleton.GESTURES`.
        meaning: what a person reads in it.
        start: (24,) degrees, as written by hand.
        angles: (24,) degrees, as fitted.
        contacts: what touches.
        gaps: millimetres left at each contact on the mean hand.
        penetration: millimetres, deepest overlap of two capsules on the mean hand.
    """

    name: str
    meaning: str
    start: Float64[np.ndarray, " 24"]
    angles: Float64[np.ndarray, " 24"]
    contacts: tuple[Contact, ...]
    gaps: tuple[float, ...]
    penetration: float


def _read_asset() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        resources.files("knuckle.render").joinpath("assets/gestures.json").read_bytes()
    )
    assert content["angles"] == list(ANGLES)
    assert [record["name"] for record in content["gestures"]] == list(GESTURES)
    return content


def _gesture(record: dict[str, Any]) -> Gesture:
    return Gesture(
        name=record["name"],
        meaning=record["meaning"],
        start=np.array(record["start"], dtype=np.float64),
        angles=np.array(record["fitted"], dtype=np.float64),
        contacts=tuple(Contact(contact["first"], contact["second"]) for contact in record["contacts"]),
        gaps=tuple(contact["gap"] for contact in record["contacts"]),
        penetration=record["penetration"],
    )


_ASSET: Final = _read_asset()

TABLE: Final = tuple(_gesture(record) for record in _ASSET["gestures"])
"""The gestures in the order of `skeleton.GESTURES`."""

TEMPLATES: Final[Float64[np.ndarray, "25 24"]] = np.stack([gesture.angles for gesture in TABLE])
"""Their fitted angles in degrees, columns as in `anatomy.ANGLES`. Read-only."""

SYNERGY_MEAN: Final[Float64[np.ndarray, " 21"]] = np.array(_ASSET["synergy_mean"])
"""Mean of the gestures: the first 21 angles, without the wrist. Read-only."""

SYNERGIES: Final[Float64[np.ndarray, "7 21"]] = np.array(_ASSET["synergies"])
"""How joints move together, degrees for one standard deviation: the five principal components of the
gestures, and the two synergies of grasping (Santello, Flanders and Soechting, Journal of Neuroscience 18,
1998): closing the hand, and bending the knuckles while the fingers straighten. Read-only."""

for _array in (TEMPLATES, SYNERGY_MEAN, SYNERGIES):
    _array.setflags(write=False)

_FIRST, _SECOND = np.triu_indices(NUM_JOINTS, 1)


@lru_cache(maxsize=1)
def template_keypoints() -> Float64[np.ndarray, "25 21 3"]:
    """The gestures' keypoints on the mean right hand, hand space, mm."""
    points: Float64[np.ndarray, "25 21 3"] = bend(torch.from_numpy(TEMPLATES.copy())).keypoints.numpy()
    return points


def signature(keypoints3d: Float[np.ndarray, "b 21 3"]) -> Float64[np.ndarray, "b 210"]:
    """A description of a hand's pose that knows neither its side, place, size nor the lengths of its bones.

    Every bone keeps its direction and takes the mean hand's length; the distances between all pairs
    of the 21 points that result are the description, in millimetres. Bones of no length stay so.
    """
    points = np.asarray(keypoints3d, dtype=np.float64)
    mean = template_keypoints()[0]
    rebuilt = np.zeros_like(points)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            bone = points[:, joint] - points[:, parent]
            length = np.sqrt((bone**2).sum(1, keepdims=True))
            own = np.sqrt(((mean[joint] - mean[parent]) ** 2).sum())
            rebuilt[:, joint] = rebuilt[:, parent] + bone * (own / np.maximum(length, 1e-12))
    between = rebuilt[:, _FIRST] - rebuilt[:, _SECOND]
    distances: Float64[np.ndarray, "b 210"] = np.sqrt((between**2).sum(2))
    return distances


@lru_cache(maxsize=1)
def _template_signatures() -> Float64[np.ndarray, "25 210"]:
    return signature(template_keypoints())


def template_distances(keypoints3d: Float[np.ndarray, "b 21 3"]) -> Float64[np.ndarray, "b 25"]:
    """How far each hand is from each gesture: root mean square difference of their signatures, mm."""
    own = signature(keypoints3d)
    squares = [((own - template) ** 2).mean(1) for template in _template_signatures()]
    distances: Float64[np.ndarray, "b 25"] = np.sqrt(np.stack(squares, 1))
    return distances


def nearest_gesture(keypoints3d: Float[np.ndarray, "b 21 3"]) -> Int64[np.ndarray, " b"]:
    """The gesture that each hand resembles most, whatever its side, direction, place and size.

    Args:
        keypoints3d: (b, 21, 3) in any unit, in the order of `skeleton.JOINT_NAMES`.
    """
    nearest: Int64[np.ndarray, " b"] = template_distances(keypoints3d).argmin(1)
    return nearest
