"""Drawn hands with exact labels: a stand-in data set that needs nothing but numpy and OpenCV.

A hand seen from its palm: a polygon, a forearm, and fingers of tapered capsules that bend towards
the viewer. It is not a photograph, yet a small network can learn its 21 keypoints, as the fingers
differ in length, place and direction.

    python -m examples.drawn_hands --count 600 --out drawn

writes 600 JPEGs of 224 x 224 pixels and `annotations.json` (COCO keypoints). Eight images in a row
show the same person and form a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final

import cv2
import numpy as np
import typer
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

import knuckle
from knuckle.draw import write_image
from knuckle.hands import LEFT, OCCLUDED, RIGHT, VISIBLE, Hands
from knuckle.skeleton import FINGERS, GESTURES, NUM_JOINTS

Image = NDArray[np.float32]
Array = NDArray[np.float64]

IMAGES_PER_PERSON: Final = 8
EXTENDED: Final[dict[str, tuple[int, ...]]] = {
    "open_palm": (1, 1, 1, 1, 1),
    "one_point": (0, 1, 0, 0, 0),
    "two_victory": (0, 1, 1, 0, 0),
    "three": (1, 1, 1, 0, 0),
    "four": (0, 1, 1, 1, 1),
    "fist": (0, 0, 0, 0, 0),
    "thumb_up": (1, 0, 0, 0, 0),
    "l_shape": (1, 1, 0, 0, 0),
    "rock_horns": (0, 1, 0, 0, 1),
    "pinky_up": (0, 0, 0, 0, 1),
}
"""Which fingers are straight in each gesture that is drawn, thumb to little finger."""

# A left hand from its palm, fingers up. Lengths in palms (wrist to middle_mcp); y grows downwards.
_BASE: Final = np.array([(-0.26, -0.20), (-0.30, -0.97), (-0.05, -1.00), (0.19, -0.94), (0.41, -0.82)])
_BONES: Final = np.array(
    [(0.38, 0.31, 0.27), (0.46, 0.28, 0.23), (0.52, 0.32, 0.24), (0.47, 0.30, 0.24), (0.36, 0.22, 0.20)]
)
_RADII: Final = np.array([(0.15, 0.085), (0.115, 0.075), (0.115, 0.075), (0.11, 0.07), (0.095, 0.06)])  # base, tip
_DIRECTION: Final = np.deg2rad([-42, -9, -1, 6, 15])  # from straight up, clockwise
_FLEXION: Final = np.deg2rad([(14, 22, 40), *[(62, 85, 50)] * 4])  # of the three bones in a fist
_PALM: Final = np.array(
    [
        *[(-0.17, 0.06), (-0.38, -0.30), (-0.42, -0.70), (-0.40, -1.00), (-0.05, -1.06)],
        *[(0.25, -1.01), (0.51, -0.85), (0.44, -0.40), (0.19, 0.06)],
    ]
)
_FAR_DOWN: Final = 2.5  # the forearm leaves the picture


@dataclass(frozen=True)
class Person:
    """What stays the same in all pictures of a group: skin, sleeve and proportions."""

    skin: Float[np.ndarray, " 3"]
    sleeve: Float[np.ndarray, " 3"]
    sleeve_from: float
    bone_scale: Float[np.ndarray, "5 3"]
    thickness: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Person:
        """Light to dark skin; bones within 6 % of the average hand's."""
        tone = rng.uniform() ** 0.8
        skin = (1 - tone) * np.array([238, 198, 172]) + tone * np.array([112, 72, 52])
        return cls(
            skin=skin * rng.uniform(0.95, 1.05, 3),
            sleeve=_muted(rng),
            sleeve_from=rng.uniform(0.25, 1.2),
            bone_scale=rng.uniform(0.94, 1.06) * rng.uniform(0.97, 1.03, (5, 3)),
            thickness=rng.uniform(0.92, 1.12),
        )


@dataclass(frozen=True)
class _Capsule:
    """A bone with its flesh: two end points, a radius at each, and the joints that may lie under it unharmed."""

    ends: Float[np.ndarray, "2 2"]
    radii: tuple[float, float]
    joints: tuple[int, ...]


def drawn_hand(
    rng: np.random.Generator,
    size: int = 224,
    *,
    gesture: str | None = None,
    side: int | None = None,
    person: Person | None = None,
) -> tuple[UInt8[np.ndarray, "size size 3"], Float[np.ndarray, "21 2"], UInt8[np.ndarray, " 21"]]:
    """One picture of one hand, all of its keypoints inside the frame.

    Args:
        rng: source of all randomness.
        size: side of the picture in pixels.
        gesture: a key of `EXTENDED`. Default: a random one.
        side: LEFT or RIGHT. Default: a random one.
        person: whose hand. Default: a random person's.

    Returns:
        The picture in RGB, keypoints in image pixels, visibility (1 where another finger hides the joint).
    """
    person = Person.random(rng) if person is None else person
    gesture = str(rng.choice(list(EXTENDED))) if gesture is None else gesture
    side = int(rng.choice([LEFT, RIGHT])) if side is None else side
    joints = _pose(rng, person, EXTENDED[gesture])
    matrix, offset = _placement(rng, joints, size, side)
    xy, unit = joints @ matrix.T + offset, float(np.sqrt(abs(np.linalg.det(matrix))))
    capsules = _capsules(xy, unit * person.thickness)
    light = _unit(rng.uniform(0, 2 * np.pi)) * rng.uniform(0.2, 0.6)
    canvas = _background(rng, size)
    forearm = np.array([(0.0, -0.1), (0.0, _FAR_DOWN)]) @ matrix.T + offset
    cuff = np.array([(0.0, person.sleeve_from), (0.0, _FAR_DOWN)]) @ matrix.T + offset
    _draw_capsule(canvas, _Capsule(forearm, (0.27 * unit, 0.40 * unit), ()), person.skin, light)
    _draw_capsule(canvas, _Capsule(cuff, (0.36 * unit, 0.50 * unit), ()), person.sleeve, light)
    _draw_palm(canvas, _PALM @ matrix.T + offset, person.skin, unit)
    for capsule in capsules:
        _draw_capsule(canvas, capsule, person.skin, light)
    return _photographed(rng, canvas), xy.astype(np.float32), _visibility(xy, capsules)


def draw_dataset(folder: Path, count: int, seed: int = 0, *, size: int = 224) -> Hands:
    """Writes `count` pictures and their `annotations.json` (COCO keypoints) to a folder.

    Picture i depends on (seed, i) alone, its person on (seed, i // 8).

    Raises:
        ValueError: the folder cannot be written.
    """
    names, points, seen, sides, gestures = [], [], [], [], []
    for number in range(count):
        person = Person.random(np.random.default_rng((seed, 0, number // IMAGES_PER_PERSON)))
        rng = np.random.default_rng((seed, 1, number))
        gesture, side = str(rng.choice(list(EXTENDED))), int(rng.choice([LEFT, RIGHT]))
        image, xy, visibility = drawn_hand(rng, size, gesture=gesture, side=side, person=person)
        name = f"images/{number:06d}.jpg"
        write_image(folder / name, image)
        names.append(name)
        points.append(xy)
        seen.append(visibility)
        sides.append(side)
        gestures.append(GESTURES.index(gesture))
    hands = Hands(
        image=names,
        xy=np.reshape(points, (count, NUM_JOINTS, 2)),
        visibility=np.reshape(seen, (count, NUM_JOINTS)),
        side=sides,
        gesture=gestures,
        group=np.arange(count) // IMAGES_PER_PERSON,
        size=np.full((count, 2), size),
        root=folder,
    )
    knuckle.write(hands, folder / "annotations.json", format="coco")
    return hands


def _pose(rng: np.random.Generator, person: Person, extended: tuple[int, ...]) -> Float[np.ndarray, "21 2"]:
    """The joints in palms, in the left hand's own frame.

    A finger bends in the plane that stands on the palm: seen from the palm, a bone raised by an
    angle shows only its cosine, and a finger bent past 90 degrees points back to the wrist.
    """
    spread = rng.uniform(0.6, 1.6)
    joints = np.zeros((NUM_JOINTS, 2))
    for finger, rows in enumerate(FINGERS.values()):
        bend = rng.uniform(0.0, 0.25) if extended[finger] else rng.uniform(0.7, 1.0)
        sideways = _DIRECTION[finger] * (spread if finger else 1.0) + rng.normal(0, np.deg2rad(3))
        if finger == 0 and not extended[0]:
            sideways += np.deg2rad(rng.uniform(40, 80))  # a folded thumb lies across the palm
        raised = np.cumsum(_FLEXION[finger] * bend)
        shown = _BONES[finger] * person.bone_scale[finger] * np.cos(raised)
        turns = sideways + np.cumsum([0.0, 0.12, 0.10]) * (finger == 0) * np.sign(0.5 - extended[0])
        steps = shown[:, None] * np.stack([np.sin(turns), -np.cos(turns)], axis=1)
        joints[list(rows)] = _BASE[finger] + np.concatenate([[(0, 0)], np.cumsum(steps, axis=0)])
    return joints


def _placement(
    rng: np.random.Generator, joints: Float[np.ndarray, "21 2"], size: int, side: int
) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, " 2"]]:
    """Matrix and offset from palms to pixels: tilt, mirror, turn and scale at random, inside the frame."""
    tilt = _rotation(rng.uniform(0, np.pi))
    tilted = tilt @ np.diag([1.0, rng.uniform(0.82, 1.0)]) @ tilt.T
    mirror = np.diag([1.0 if side == LEFT else -1.0, 1.0])
    matrix = _rotation(rng.normal(0, np.deg2rad(35))) @ tilted @ mirror * rng.uniform(0.22, 0.36) * size
    xy = joints @ matrix.T
    margin = 0.05 * size
    room = size - 1 - 2 * margin
    shrink = min(1.0, room / float(np.ptp(xy, axis=0).max()))
    matrix, xy = matrix * shrink, xy * shrink
    return matrix, margin - xy.min(axis=0) + rng.uniform(0, 1, 2) * (room - np.ptp(xy, axis=0))


def _capsules(xy: Float[np.ndarray, "21 2"], unit: float) -> list[_Capsule]:
    """The fingers' bones in the order they are drawn: little finger first, thumb last, base to tip."""
    capsules = []
    for finger, rows in reversed(list(enumerate(FINGERS.values()))):
        base, tip = _RADII[finger] * unit
        radii = np.linspace(float(base), float(tip), 4)
        for n, (start, end) in enumerate(pairwise(rows)):
            capsules.append(_Capsule(xy[[start, end]], (radii[n], radii[n + 1]), (start, end)))
    return capsules


def _visibility(xy: Float[np.ndarray, "21 2"], capsules: list[_Capsule]) -> UInt8[np.ndarray, " 21"]:
    """1 where a bone drawn after the joint's own covers it."""
    visibility = np.full(NUM_JOINTS, VISIBLE, dtype=np.uint8)
    drawn_at = {joint: number for number, capsule in enumerate(capsules) for joint in capsule.joints}
    for joint, point in enumerate(xy):
        for capsule in capsules[drawn_at.get(joint, -1) + 1 :]:
            distance, radius = _distance(capsule, point)
            if distance < 0.9 * radius:
                visibility[joint] = OCCLUDED
    return visibility


def _distance(capsule: _Capsule, points: Float[np.ndarray, "*n 2"]) -> tuple[Array, Array]:
    """How far points are from the bone's axis, and the flesh's radius at the nearest place on it."""
    start, end = capsule.ends
    axis = end - start
    along = np.clip((points - start) @ axis / max(float(axis @ axis), 1e-9), 0, 1)
    nearest = start + along[..., None] * axis
    radius = capsule.radii[0] + along * (capsule.radii[1] - capsule.radii[0])
    return np.linalg.norm(points - nearest, axis=-1), radius


def _draw_capsule(
    canvas: Image, capsule: _Capsule, color: Float[np.ndarray, " 3"], light: Float[np.ndarray, " 2"]
) -> None:
    """Shaded as a round body under a light from the side; its edge is smooth over one pixel."""
    size_wh = np.array(canvas.shape[1::-1])
    reach = max(capsule.radii) + 1
    x1, y1 = np.clip(np.floor(capsule.ends.min(axis=0) - reach), 0, size_wh).astype(int)
    x2, y2 = np.clip(np.ceil(capsule.ends.max(axis=0) + reach) + 1, 0, size_wh).astype(int)
    if x1 >= x2 or y1 >= y2:
        return
    points = np.stack(np.meshgrid(np.arange(x1, x2), np.arange(y1, y2)), axis=-1).astype(np.float64)
    distance, radius = _distance(capsule, points)
    cover = np.clip(radius - distance + 0.5, 0, 1)[..., None]
    start, end = capsule.ends
    across = np.array([start[1] - end[1], end[0] - start[0]]) / max(float(np.linalg.norm(end - start)), 1e-9)
    tilt = np.clip((points - start) @ across / radius, -1, 1)  # of the surface, -1 and 1 at the two rims
    facing = np.sqrt(1 - np.clip(distance / radius, 0, 1) ** 2)
    shade = 0.62 + 0.38 * facing + 0.3 * tilt * float(across @ light)
    window = canvas[y1:y2, x1:x2]
    window += cover * (shade[..., None] * color - window)


def _draw_palm(canvas: Image, outline: Float[np.ndarray, "m 2"], color: Float[np.ndarray, " 3"], unit: float) -> None:
    """A rounded polygon, darker towards its rim."""
    mask = np.zeros(canvas.shape[:2], dtype=np.uint8)
    cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.035 * unit)).astype(np.float32) / 255
    cover = np.clip((soft - 0.5) * max(1.0, 0.1 * unit) + 0.5, 0, 1)[..., None]
    depth = cv2.GaussianBlur(mask, (0, 0), 0.12 * unit).astype(np.float32)[..., None] / 255
    canvas += cover * ((0.68 + 0.32 * depth) * color - canvas)


def _background(rng: np.random.Generator, size: int) -> Image:
    """A gradient with shapes, some of them skin-coloured, and cloudy noise."""
    ramp = np.linspace(0, 1, size)[:, None, None]
    canvas = (1 - ramp) * _muted(rng) + ramp * _muted(rng)
    canvas = np.ascontiguousarray(np.broadcast_to(canvas, (size, size, 3)), dtype=np.float32)
    if rng.uniform() < 0.5:
        canvas = np.ascontiguousarray(canvas.transpose(1, 0, 2))
    for _ in range(rng.integers(2, 9)):
        color = Person.random(rng).skin if rng.uniform() < 0.25 else _muted(rng)
        center = tuple(int(v) for v in rng.integers(0, size, 2))
        axes = tuple(int(v) for v in rng.integers(size // 20 + 1, size // 4 + 2, 2))
        if rng.uniform() < 0.5:
            cv2.ellipse(canvas, center, axes, float(rng.uniform(0, 180)), 0, 360, color.tolist(), -1)
        else:
            corners = cv2.boxPoints((center, axes, float(rng.uniform(0, 180)))).astype(np.int32)
            cv2.fillPoly(canvas, [corners], color.tolist())
    for cells in (4, 24):
        noise = rng.normal(0, 12, (cells, cells, 3)).astype(np.float32)
        canvas += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.3, 2.5))), dtype=np.float32)


def _muted(rng: np.random.Generator) -> Float[np.ndarray, " 3"]:
    """A random colour, less saturated than three random numbers."""
    return 0.6 * rng.uniform(10, 245) + 0.4 * rng.uniform(10, 245, 3)


def _photographed(rng: np.random.Generator, canvas: Image) -> UInt8[np.ndarray, "size size 3"]:
    """With slight blur, exposure and sensor noise."""
    blurred = cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.2, 0.8)))
    noisy = blurred * rng.uniform(0.8, 1.15) + rng.normal(0, rng.uniform(1, 6), canvas.shape)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), dtype=np.uint8)


def _rotation(angle: float) -> Float[np.ndarray, "2 2"]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _unit(angle: float) -> Float[np.ndarray, " 2"]:
    return np.array([np.cos(angle), np.sin(angle)])


def main(
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    count: Annotated[int, typer.Option(min=0, help="Number of pictures.")] = 600,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same pictures.")] = 0,
) -> None:
    """Write a data set of drawn hands."""
    hands = draw_dataset(out, count, seed)
    typer.echo(f"{len(hands)} drawn hands in {out / 'annotations.json'}")


if __name__ == "__main__":
    typer.run(main)
