"""Fits the 25 gestures and writes render/assets/gestures.json.

The angles below are written by hand, with what should touch. Adam moves them within the limits of the
joints until it does, nothing runs through anything else, and the angles have changed as little as
possible. Run it again when the hand, its capsules or its limits change:

    python tools/fit_gestures.py --out src/knuckle/render/assets/gestures.json
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from knuckle.render.anatomy import ANGLES, clamp_to_limits
from knuckle.render.bones import Bones, bend
from knuckle.render.collision import CAPSULE_NAMES, CAPSULES, axes, overlaps, penetration
from knuckle.render.contacts import Contact, gap
from knuckle.skeleton import GESTURES

Finger = tuple[float, float, float, float]
"""MCP flexion, abduction towards the thumb, PIP flexion, DIP flexion."""
Thumb = tuple[float, float, float, float, float]
"""CMC flexion, abduction, pronation, MCP flexion, IP flexion."""

INDEX, MIDDLE, RING, LITTLE = range(4)
FINGERS = ("index", "middle", "ring", "little")

UP: tuple[Finger, ...] = ((2, 2, 4, 3), (2, 0, 4, 3), (2, -4, 4, 3), (2, -12, 4, 3))
SPREAD: tuple[Finger, ...] = ((2, 14, 4, 3), (2, 2, 4, 3), (2, -11, 4, 3), (2, -26, 4, 3))
FOLDED: tuple[Finger, ...] = ((86, 2, 104, 62), (88, 0, 106, 64), (89, -4, 106, 64), (90, -12, 104, 62))

THUMB_ACROSS: Thumb = (14, 18, 25, 35, 35)  # over the folded fingers
THUMB_OUT: Thumb = (-12, -15, 0, 0, -6)  # away from the palm, in its plane
THUMB_RELAXED: Thumb = (0, 0, 0, 12, 12)
THUMB_BESIDE: Thumb = (24, -30, -8, 2, 2)  # along the index finger
THUMB_OPPOSED: Thumb = (16, 20, 40, 12, 14)  # its pad towards the fingertips


@dataclass(frozen=True)
class Draft:
    """A gesture as written by hand.

    Attributes:
        meaning: what a person reads in it.
        fingers: index to little finger.
        thumb: its five angles.
        contacts: pairs of capsules that touch, see `knuckle.render.contacts`.
    """

    meaning: str
    fingers: tuple[Finger, ...]
    thumb: Thumb
    contacts: tuple[tuple[str, str], ...] = field(default=())

    def angles(self) -> list[float]:
        """All 24 angles, the wrist straight."""
        return [*(angle for finger in self.fingers for angle in finger), *self.thumb, 0.0, 0.0, 0.0]


def fingers(up: tuple[int, ...], shape: tuple[Finger, ...] = UP, **other: Finger) -> tuple[Finger, ...]:
    """The fingers that are up in the given shape, the others folded, but for those given by name."""
    return tuple(other.get(name, shape[row] if row in up else FOLDED[row]) for row, name in enumerate(FINGERS))


def folded_on_palm(*folded: int) -> tuple[tuple[str, str], ...]:
    """The fingertips of folded fingers rest on the palm."""
    return tuple((f"{FINGERS[finger]} distal", "palm") for finger in folded)


DRAFTS: dict[str, Draft] = {
    "open_palm": Draft("flat open hand", UP, THUMB_BESIDE),
    "one_point": Draft(
        "index finger up or pointing; number one",
        fingers((INDEX,)),
        THUMB_ACROSS,
        (("thumb distal", "middle middle"), *folded_on_palm(MIDDLE, RING, LITTLE)),
    ),
    "two_victory": Draft(
        "index and middle finger apart; two, victory",
        fingers((INDEX, MIDDLE), index=(2, 14, 4, 3), middle=(2, -9, 4, 3)),
        THUMB_ACROSS,
        (("thumb distal", "ring middle"), *folded_on_palm(RING, LITTLE)),
    ),
    "three": Draft(
        "index, middle and ring finger up, thumb on the little finger; three",
        fingers((INDEX, MIDDLE, RING), SPREAD),
        (30, 10, 35, 40, 40),
        (("thumb distal", "little middle"), *folded_on_palm(LITTLE)),
    ),
    "four": Draft(
        "four fingers up, thumb across the palm; four", SPREAD, (28, 5, 25, 40, 40), (("thumb distal", "palm"),)
    ),
    "five_spread": Draft("all fingers spread; five", SPREAD, THUMB_OUT),
    "fist": Draft(
        "fist, thumb across the fingers",
        FOLDED,
        (14, 26, 25, 30, 40),
        (
            ("thumb distal", "middle middle"),
            ("thumb distal", "index middle"),
            *folded_on_palm(INDEX, MIDDLE, RING, LITTLE),
        ),
    ),
    "thumb_up": Draft("fist with the thumb up", FOLDED, THUMB_OUT, folded_on_palm(INDEX, MIDDLE, RING, LITTLE)),
    "six_call": Draft(
        "thumb and little finger out; six in China, call me, shaka",
        fingers((LITTLE,), SPREAD),
        THUMB_OUT,
        folded_on_palm(INDEX, MIDDLE, RING),
    ),
    "seven_pinched": Draft(
        "thumb, index and middle fingertip together; seven in China",
        fingers((), index=(55, 0, 35, 18), middle=(58, 0, 38, 20)),
        THUMB_OPPOSED,
        (("thumb distal", "index distal"), ("thumb distal", "middle distal"), *folded_on_palm(RING, LITTLE)),
    ),
    "eight_gun": Draft(
        "index and middle finger together, thumb out; a pistol",
        fingers((INDEX, MIDDLE), index=(2, 0, 4, 3), middle=(2, 1, 4, 3)),
        THUMB_OUT,
        folded_on_palm(RING, LITTLE),
    ),
    "nine_hook": Draft(
        "index finger hooked, the others folded; nine in China",
        fingers((), index=(10, 2, 80, 45)),
        THUMB_ACROSS,
        (("thumb distal", "middle middle"), *folded_on_palm(MIDDLE, RING, LITTLE)),
    ),
    "ok": Draft(
        "tips of thumb and index finger form a ring, the others up; okay",
        ((48, 2, 50, 25), (14, 0, 18, 10), (8, -6, 10, 6), (4, -20, 6, 4)),
        THUMB_OPPOSED,
        (("thumb distal", "index distal"),),
    ),
    "pinch_closed": Draft(
        "fingertips gathered on the thumb, all fingers bent; a purse",
        ((58, 2, 34, 20), (60, 0, 40, 22), (64, -4, 42, 22), (68, -12, 40, 20)),
        THUMB_OPPOSED,
        (("thumb distal", "index distal"), ("thumb distal", "middle distal"), ("thumb distal", "ring distal")),
    ),
    "l_shape": Draft(
        "index finger and thumb at a right angle; L",
        fingers((INDEX,)),
        THUMB_OUT,
        folded_on_palm(MIDDLE, RING, LITTLE),
    ),
    "rock_horns": Draft(
        "index and little finger up, thumb on the middle finger; horns",
        fingers((INDEX, LITTLE), SPREAD),
        THUMB_ACROSS,
        (("thumb distal", "middle middle"), *folded_on_palm(MIDDLE, RING)),
    ),
    "i_love_you": Draft(
        "thumb, index and little finger out; I love you in sign language",
        fingers((INDEX, LITTLE), SPREAD),
        THUMB_OUT,
        folded_on_palm(MIDDLE, RING),
    ),
    "ring_pinch": Draft(
        "tips of thumb and ring finger together, the others up",
        ((6, 8, 8, 5), (14, 2, 16, 10), (55, -4, 60, 32), (16, -16, 18, 12)),
        (24, 16, 38, 20, 25),
        (("thumb distal", "ring distal"),),
    ),
    "pinky_up": Draft(
        "little finger up, the others folded",
        fingers((LITTLE,)),
        (14, 26, 25, 30, 40),
        (("thumb distal", "middle middle"), ("thumb distal", "index middle"), *folded_on_palm(INDEX, MIDDLE, RING)),
    ),
    "claw": Draft(
        "spread fingers bent like claws",
        tuple((-5.0, spread[1], 60.0, 45.0) for spread in SPREAD),
        (-10, 5, 10, 15, 45),
    ),
    "relaxed": Draft("at rest", ((22, 2, 28, 18), (30, 0, 34, 22), (35, -4, 36, 24), (36, -10, 34, 22)), THUMB_RELAXED),
    "cylinder_grasp": Draft(
        "holding a bottle",
        ((45, 2, 50, 30), (48, 0, 52, 32), (50, -4, 54, 32), (52, -11, 52, 30)),
        (0, 25, 30, 15, 20),
    ),
    "sphere_grasp": Draft(
        "holding a ball",
        ((28, 14, 38, 24), (32, 2, 40, 26), (32, -10, 40, 26), (28, -26, 38, 24)),
        (-8, 25, 22, 12, 20),
    ),
    "flat_bent_duck": Draft(
        "straight fingers bent at the knuckles, thumb below them; a duck's bill",
        ((68, 2, 12, 8), (70, 0, 12, 8), (70, -4, 12, 8), (70, -12, 12, 8)),
        (10, 18, 28, 0, 5),
        (("thumb distal", "index distal"), ("thumb distal", "middle distal")),
    ),
    "fingers_crossed": Draft(
        "middle finger crossed over the index finger; good luck",
        fingers((), index=(24, -8, 8, 5), middle=(6, 12, 14, 8)),
        THUMB_ACROSS,
        (("thumb distal", "ring middle"), ("middle distal", "index distal"), *folded_on_palm(RING, LITTLE)),
    ),
}


NUM_COMPONENTS = 5
GRASP_SYNERGIES = (
    (*4 * (14.0, 0.0, 18.0, 12.0), 5.0, 6.0, 8.0, 6.0, 8.0),  # the whole hand closes
    (*4 * (18.0, 0.0, -14.0, -9.0), 0.0, 8.0, 8.0, 0.0, -6.0),  # MCPs bend while the fingers straighten
)
"""The two synergies that hold over 80 % of the variance of imagined grasps (Santello, Flanders and
Soechting, Journal of Neuroscience 18, 1998), in our own rounded numbers."""

STEPS = 500
RATE = 0.5  # degrees
FREE_DEGREES = 15.0
"""A change of one joint by this much costs as much as a gap of 1 mm."""
PAD_FRACTION = 0.6
PAD_WEIGHT = 0.15  # a wish: the contact itself may lie anywhere on the fingertips
ALLOWED_OVERLAP = 0.5  # mm, that soft skin gives way


def pad_positions(bones: Bones) -> Tensor:
    """Where the soft sides of the five fingertips lie, (3, b, 5) mm: PAD_FRACTION along their capsules' axes."""
    rows = [CAPSULE_NAMES.index(f"{finger} distal") for finger in ("thumb", *FINGERS)]
    radii = bones.heads.new_tensor([CAPSULES[row].radius for row in rows])
    palmar = bones.frames[:, [CAPSULES[row].bone for row in rows], :, 2].permute(2, 0, 1)
    start, end = (ends[..., rows] for ends in axes(bones))
    return start + PAD_FRACTION * (end - start) + radii * palmar


def pad_loss(drafts: list[Draft], bones: Bones) -> Tensor:
    """The sum of the squared distances between the pads of fingertips that touch: they should face each other."""
    pads = pad_positions(bones)
    tips = {f"{finger} distal": row for row, finger in enumerate(("thumb", *FINGERS))}
    pairs = [
        (row, tips[first], tips[second])
        for row, draft in enumerate(drafts)
        for first, second in draft.contacts
        if first == "thumb distal" and second in tips
    ]
    rows, first, second = (list(column) for column in zip(*pairs, strict=True))
    return ((pads[:, rows, first] - pads[:, rows, second]) ** 2).sum()


def contact_loss(drafts: list[Draft], bones: Bones) -> Tensor:
    """The sum of all squared gaps."""
    total = bones.heads.new_zeros(())
    for contact in sorted({contact for draft in drafts for contact in draft.contacts}):
        rows = [row for row, draft in enumerate(drafts) if contact in draft.contacts]
        total = total + (gap(Contact(*contact), Bones(*(part[rows] for part in bones))) ** 2).sum()
    return total


def fit(drafts: list[Draft]) -> Tensor:
    """The fitted angles of all gestures, (25, 24) degrees."""
    start = clamp_to_limits(torch.tensor([draft.angles() for draft in drafts], dtype=torch.float64))
    angles = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([angles], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS, RATE / 50)
    for _ in range(STEPS):
        bones = bend(angles)
        overlap = (overlaps(bones) - ALLOWED_OVERLAP).clamp_min(0)
        change = (angles - start)[:, :21] / FREE_DEGREES
        loss = 10 * contact_loss(drafts, bones) + 20 * (overlap**2).sum() + (change**2).sum()
        loss = loss + PAD_WEIGHT * pad_loss(drafts, bones)
        angles.grad = torch.autograd.grad(loss, angles)[0]
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            angles[:, 21:] = 0
            angles.copy_(clamp_to_limits(angles))
    return angles.detach()


def record(name: str, draft: Draft, angles: Tensor) -> dict[str, Any]:
    """What gestures.json says about a gesture."""
    angles = rounded(angles)
    bones = bend(angles[None])
    gaps = [
        {"first": first, "second": second, "gap": round(float(gap(Contact(first, second), bones)), 2)}
        for first, second in draft.contacts
    ]
    return {
        "name": name,
        "meaning": draft.meaning,
        "start": draft.angles(),
        "fitted": angles.tolist(),
        "contacts": gaps,
        "penetration": round(float(penetration(bones)), 2),
    }


def synergies(angles: Tensor) -> tuple[list[float], list[list[float]]]:
    """Mean of the gestures and the directions of free poses, in degrees for one standard deviation.

    The first NUM_COMPONENTS are the principal components of the gestures themselves; the last two are
    GRASP_SYNERGIES.
    """
    moving = angles[:, :21]
    _, spread, directions = torch.linalg.svd(moving - moving.mean(0), full_matrices=False)
    components = directions * spread[:, None] / (len(moving) - 1) ** 0.5
    components = components[:NUM_COMPONENTS]
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    components = torch.cat([components * largest.sign(), torch.tensor(GRASP_SYNERGIES, dtype=torch.float64)])
    return rounded(moving.mean(0)).tolist(), rounded(components).tolist()


def rounded(degrees: Tensor) -> Tensor:
    """To hundredths of a degree, as the file stores them."""
    return (degrees * 100).round() / 100


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit the 25 gestures to their contacts.")
    parser.add_argument("--out", type=Path, required=True, help="the .json file to write")
    out: Path = parser.parse_args().out
    drafts = [DRAFTS[name] for name in GESTURES]
    fitted = fit(drafts)
    records = [record(*row) for row in zip(GESTURES, drafts, fitted, strict=True)]
    for gesture in records:
        gaps = ", ".join(f"{c['first']} - {c['second']} {c['gap']}" for c in gesture["contacts"])
        sys.stdout.write(f"{gesture['name']:16s} overlap {gesture['penetration']:.2f} mm  {gaps}\n")
    lines = ",\n".join(json.dumps(gesture) for gesture in records)
    about = "Gestures in degrees and millimetres on the mean right hand; made by tools/fit_gestures.py"
    header = f'"about": "{about}", "angles": {json.dumps(list(ANGLES))}'
    mean, directions = synergies(fitted)
    rows = ",\n".join(json.dumps(direction) for direction in directions)
    free = f'"synergy_mean": {json.dumps(mean)},\n"synergies": [\n{rows}\n]'
    out.write_text(f'{{{header},\n"gestures": [\n{lines}\n],\n{free}}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
