"""What touches what: the gap between two pieces of the hand that are meant to meet."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor

from knuckle.render.bones import Bones
from knuckle.render.collision import CAPSULE_NAMES, CAPSULES, axes, segment_distance


@dataclass(frozen=True)
class Contact:
    """Two pieces of the hand whose skin touches.

    Attributes:
        first: name of a capsule of `collision.CAPSULES`, for example "thumb distal": the thumb's last phalanx.
        second: another one, or "palm", any of the palm's four.
    """

    first: str
    second: str

    def __post_init__(self) -> None:
        for name in (self.first, self.second):
            assert name in CAPSULE_NAMES or name == "palm", name


def gap(contact: Contact, bones: Bones) -> Float64[Tensor, " b"]:
    """The distance between the two surfaces in each hand, mm; negative: how deep they overlap. Differentiable."""
    start, end = axes(bones)
    first = CAPSULE_NAMES.index(contact.first)
    rows = [row for row, name in enumerate(CAPSULE_NAMES) if contact.second in (name, name.split()[0])]
    radii = start.new_tensor([CAPSULES[first].radius + CAPSULES[row].radius for row in rows])
    along = end - start
    distance = segment_distance(start[..., [first]], along[..., [first]], start[..., rows], along[..., rows])
    return (distance - radii).amin(1)
