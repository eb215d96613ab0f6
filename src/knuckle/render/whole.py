"""Whole scenes: several hands of one or more persons, things in the colours of skin, or no hand at all.

Every person's arms come from one edge of the picture. Hands are placed one after the other, the largest first;
each keeps the first place at which enough of it lies in the picture, runs through no other hand, and hides none
too much. A hand that finds no such place is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray

from knuckle.render.camera import Placement, WideView, look_at
from knuckle.render.companions import approach, draw_way, far_enough, rotation
from knuckle.render.config import Framing, SceneConfig, WholeScenes
from knuckle.render.jewelry import draw_jewels
from knuckle.render.occluders import Occluder, draw_occluder
from knuckle.render.poses import MAX_PENETRATION_MM, sample_poses
from knuckle.render.scene import (
    Distractor,
    Factor,
    Figure,
    Scene,
    draw_elbow,
    draw_framing,
    draw_lighting,
    draw_material,
    draw_shape,
    draw_viewpoint,
    figure_solids,
    generator,
    stacked,
)
from knuckle.render.sensor import draw_sensor
from knuckle.render.skin import skin_tones
from knuckle.render.solids import Solid, distance, hides

Matrix = Float64[np.ndarray, "3 3"]
Vector = Float64[np.ndarray, " 3"]
Point = Float64[np.ndarray, " 2"]

TRIES: Final = 40
"""Places that are tried for each hand."""
LEFT_VISIBLE: Final = 9
"""Keypoints of each hand, of 21, that the other hands' capsules must not hide."""
INSIDE: Final = 8
"""Keypoints of each hand, of 21, that must lie in the picture."""
PART_INSIDE: Final = 0.4
"""Part of the extent of a hand's keypoints that must lie in the picture."""
OVERLAP: Final = 0.1
"""Part of a hand's extent that another one's may cover, unless they stand against each other."""
FORESHORTENED: Final = 0.4
"""Sine of the smallest angle between an arm and the line of sight; below it, it leads to no edge."""

ELBOW: Final = (260.0, 320.0)
"""mm from the wrist to the elbow and to where the axis of the upper arm begins, behind the bend."""
UPPER_ARM: Final = (2000.0, 50.0)
"""mm: how far an upper arm is taken to run on, and its radius."""

_ITERATIONS: Final = 25
_DAMPING: Final = 0.6
"""Near the camera a hand grows faster than its distance shrinks: full steps would overshoot."""
_PERSON: Final = 10
"""Persons of whole scenes are numbered from here on."""
_EDGES: Final = np.array([[0.5, 1.0], [0.0, 0.5], [1.0, 0.5], [0.5, 0.0]])
_EDGE_WEIGHTS: Final = (0.5, 0.18, 0.18, 0.14)
"""Below, left, right, above: most arms come from below."""


@dataclass(frozen=True)
class _Person:
    number: int
    left_first: bool
    edge: int


class _Hand(NamedTuple):
    """A hand in its place, in camera space.

    Attributes:
        placement: where it stands.
        solid: its capsules.
        arm: the same with the upper arm.
        low: upper left corner of the extent of its keypoints in the picture, from 0 to 1.
        high: lower right corner.
    """

    placement: Placement
    solid: Solid
    arm: Solid
    low: Point
    high: Point


def draw_wholes(config: SceneConfig, seed: int, indices: Sequence[int]) -> list[Scene]:
    """The whole scenes of some pictures of a sequence; each is the same whichever others are asked for.

    Args:
        config: what may vary.
        seed: of the sequence, not negative.
        indices: not negative.
    """
    draws = [generator(seed, index, Factor.SCENE) for index in indices]
    weights = np.array(config.whole.hands)
    counts = [int(rng.choice(len(weights), p=weights / weights.sum())) for rng in draws]
    persons = [_persons(config, config.whole, count, rng) for count, rng in zip(counts, draws, strict=True)]
    poses: list[list[tuple[Float64[np.ndarray, " 24"], int]]] = [[] for _ in indices]
    for hand in range(len(weights) - 1):
        rows = [row for row, count in enumerate(counts) if count > hand]
        if rows:
            stream = int(Factor.SCENE_POSE) + hand
            shapes = [_shape(config, seed, indices[row], persons[row][hand]) for row in rows]
            own = [indices[row] for row in rows]
            angles, gestures = sample_poses(seed, own, config.poses, stream, stacked(shapes))
            for row, pose, gesture in zip(rows, angles, gestures, strict=True):
                poses[row].append((pose, int(gesture)))
    pictures = zip(indices, draws, poses, persons, strict=True)
    return [_draw(config, seed, index, rng, shown, whose) for index, rng, shown, whose in pictures]


def _draw(
    config: SceneConfig,
    seed: int,
    index: int,
    rng: np.random.Generator,
    poses: list[tuple[Float64[np.ndarray, " 24"], int]],
    persons: list[_Person],
) -> Scene:
    whole = config.whole
    figures = _figures(config, seed, index, poses, persons)
    lens = generator(seed, index, Factor.LENS, _PERSON)
    view = WideView(
        half_width=math.tan(math.radians(lens.uniform(*whole.angle)) / 2),
        distortion=float(lens.uniform(*config.lens.distortion)) if config.lens else 0.0,
    )
    layout = _Layout(config, view, rng)
    if figures:
        layout.place(figures, figure_solids(figures), persons)
    return Scene(
        seed=seed,
        index=index,
        figures=tuple(replace(figures[row], placement=hand.placement) for row, hand in layout.hands.items()),
        view=layout.view,
        lighting=draw_lighting(config.lights, generator(seed, index, Factor.LIGHT, _PERSON)),
        distractors=_distractors(whole, layout, rng),
        sensor=draw_sensor(config.sensor, generator(seed, index, Factor.SENSOR, _PERSON)) if config.sensor else None,
    )


def _persons(config: SceneConfig, whole: WholeScenes, count: int, rng: np.random.Generator) -> list[_Person]:
    """Whose hand each is. Nobody has more than two."""
    persons: list[_Person] = []
    for hand in range(count):
        is_other, left, edge = rng.random() < whole.other_person, rng.random() < config.left_hands, _edge(rng)
        last = persons[-1] if persons else None
        if last is None or is_other or sum(person == last for person in persons) == 2:
            last = _Person(_PERSON + hand, bool(left), edge)
        persons.append(last)
    return persons


def _shape(config: SceneConfig, seed: int, index: int, person: _Person) -> NDArray[np.float32]:
    """The shape of both of a person's hands."""
    return draw_shape(config.shape, generator(seed, index, Factor.SHAPE, person.number))


def _edge(rng: np.random.Generator) -> int:
    return int(rng.choice(len(_EDGES), p=_EDGE_WEIGHTS))


def _figures(
    config: SceneConfig,
    seed: int,
    index: int,
    poses: list[tuple[Float64[np.ndarray, " 24"], int]],
    persons: list[_Person],
) -> list[Figure]:
    """The hands, before it is known where they stand."""
    figures = []
    for hand, ((angles, gesture), person) in enumerate(zip(poses, persons, strict=True)):

        def rng(factor: Factor, number: int = person.number) -> np.random.Generator:
            return generator(seed, index, factor, number)

        second = hand > 0 and persons[hand - 1] == person
        material = draw_material(config, rng)
        thing = generator(seed, index, Factor.OCCLUDER, _PERSON + hand)
        figures.append(
            Figure(
                angles=np.asarray(angles, dtype=np.float32),
                gesture=gesture,
                is_left=person.left_first != second,
                shape=_shape(config, seed, index, person),
                # The same skin with blotches of its own.
                material=replace(material, offset=material.offset + 37.0 * second),
                occluder=draw_occluder(config.occluders, thing) if config.occluders else None,
                placement=None,
                jewels=draw_jewels(config.jewelry, generator(seed, index, Factor.JEWELRY, _PERSON + hand)),
                elbow=draw_elbow(generator(seed, index, Factor.ELBOW, _PERSON + hand)),
            )
        )
    return figures


class _Layout:
    """Places hands in one picture, one after the other.

    Attributes:
        widest: the camera as drawn.
        view: the camera; a large hand makes its angle narrower, so that the hand is no nearer than it may be.
        hands: those that have found a place, by row.
    """

    def __init__(self, config: SceneConfig, view: WideView, rng: np.random.Generator) -> None:
        self.config, self.view, self.widest, self.rng = config, view, view, rng
        self.hands: dict[int, _Hand] = {}

    def place(self, figures: list[Figure], solids: Solid, persons: list[_Person]) -> None:
        whole, rng = self.config.whole, self.rng
        low, high = whole.fill
        fill = low * (max(high / math.sqrt(len(figures)), low) / low) ** rng.random()
        for row, figure in enumerate(figures):
            together = self.hands and self.config.companions and rng.random() < whole.together
            for _ in range(TRIES):
                own = solids.rows([row])
                if together:
                    hand = self._against_another(figure, own, figures, solids)
                else:
                    hand = self._somewhere(figure, own, persons[row], fill)
                if hand is not None and self._fits(hand, together=bool(together)):
                    self.hands[row] = hand
                    break

    def _somewhere(self, figure: Figure, solid: Solid, person: _Person, fill: float) -> _Hand | None:
        """A hand whose arm leads to its person's edge of the picture."""
        whole, rng = self.config.whole, self.rng
        direction, _ = draw_viewpoint(self.config.viewpoints, rng)
        mirror = np.array([-1.0 if figure.is_left else 1.0, 1.0, 1.0])
        turned = look_at(direction, 0.0) * mirror
        wanted = fill if not self.hands else fill * math.exp(rng.uniform(*np.log(whole.smaller)))
        _, center = draw_framing(Framing((wanted, wanted), whole.truncated, whole.beyond), rng)
        sideways, sway = rng.normal(0, 0.25), rng.normal(0, 12.0)
        arm = turned @ (solid.end - solid.start)[:, 0, -1].numpy()
        if math.hypot(arm[0], arm[1]) < FORESHORTENED * np.linalg.norm(arm):
            return None
        along = _EDGES[person.edge] != 0.5
        edge = np.where(along, _EDGES[person.edge], np.array(center) + sideways) - center
        turn = math.atan2(edge[1], edge[0]) - math.atan2(arm[1], arm[0]) + math.radians(sway)
        turned = rotation(np.array([0.0, 0.0, 1.0]), turn) @ turned
        points = solid.points[:, 0].T.numpy() @ turned.T
        if not self.hands:
            self.view = _no_nearer(self.widest, points, wanted, whole.nearest)
        wrist = _where(points, self.view, wanted, center)
        return None if wrist is None else self._hand(figure, solid, Placement(turned, wrist))

    def _against_another(self, figure: Figure, solid: Solid, figures: list[Figure], solids: Solid) -> _Hand | None:
        """A hand that stands near one that has its place."""
        assert self.config.companions is not None
        row = list(self.hands)[int(self.rng.integers(len(self.hands)))]
        other = self.hands[row]
        first, second = solids.points[:, row].T.numpy(), solid.points[:, 0].T.numpy()
        sides = (figures[row].is_left, figure.is_left)
        turned = other.placement.hand_to_camera
        way = draw_way(self.config.companions, turned, sides, first, second, self.rng)
        wrist = other.placement.shift
        there = solid.moved(_one(way.hand_to_camera), _one(wrist))
        shift, arrived = approach(other.solid, there, _one(way.start), _one(way.direction), _one(way.gap))
        if not arrived[0]:
            return None
        return self._hand(figure, solid, Placement(way.hand_to_camera, wrist + shift[0].numpy()))

    def _hand(self, figure: Figure, solid: Solid, placement: Placement) -> _Hand | None:
        """None for one that comes too near to the camera."""
        moved = solid.moved(_one(placement.hand_to_camera), _one(placement.shift))
        if not far_enough(moved, moved.points[2, :, 0])[0] or float(moved.points[2].min()) < 1.0:
            return None
        seen = project(moved.points[:, 0].T.numpy(), self.view)
        return _Hand(placement, moved, _with_upper_arm(moved, figure.elbow), seen.min(0), seen.max(0))

    def _fits(self, hand: _Hand, *, together: bool) -> bool:
        others = list(self.hands.values())
        seen = project(hand.solid.points[:, 0].T.numpy(), self.view)
        if ((seen > 0) & (seen < 1)).all(1).sum() < INSIDE:
            return False
        if _area(np.maximum(hand.low, 0), np.minimum(hand.high, 1)) < PART_INSIDE * _area(hand.low, hand.high):
            return False
        if not together and any(_overlap(hand, other) > OVERLAP for other in others):
            return False
        if any(_collide(hand, other) for other in others):
            return False
        return all(_visible(one, [o for o in [*others, hand] if o is not one]) for one in [*others, hand])


def _with_upper_arm(hand: Solid, turn: float) -> Solid:
    """A hand with its arm up to where it has left any picture: it runs on as `arm.extend_arms` will draw it.

    Args:
        hand: in camera space.
        turn: degrees by which the upper arm turns aside (`Figure.elbow`).
    """
    wrist, arm, knuckle = hand.points[:, 0, 0], hand.end[:, 0, -1], hand.points[:, 0, 9]
    along = (arm - wrist) / (arm - wrist).norm()
    elbow, bend = wrist + along * ELBOW[0], wrist + along * ELBOW[1]
    x, y = (elbow[:2] / elbow[2] - knuckle[:2] / knuckle[2]).tolist()
    angle = math.atan2(y, x) + math.radians(turn)
    across = torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64)
    shoulder = bend + across * UPPER_ARM[0]
    return Solid(
        start=torch.cat([hand.start, arm[:, None, None], bend[:, None, None]], dim=2),
        end=torch.cat([hand.end, bend[:, None, None], shoulder[:, None, None]], dim=2),
        radius=torch.cat([hand.radius, torch.tensor([UPPER_ARM[1]] * 2, dtype=torch.float64)]),
        points=hand.points,
    )


def _collide(first: _Hand, second: _Hand) -> bool:
    """Whether two hands run through each other, or an upper arm through a hand."""
    deepest = -MAX_PENETRATION_MM
    return bool(distance(first.arm, second.solid)[0] < deepest or distance(first.solid, second.arm)[0] < deepest)


def _one(array: Float64[np.ndarray, "..."] | float) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, dtype=np.float64)[None])


def project(points: Float64[np.ndarray, "n 3"], view: WideView) -> Float64[np.ndarray, "n 2"]:
    """Where points of camera space lie in the picture, from 0 to 1: `Camera.project` in other units."""
    straight = points[:, :2] / points[:, 2:]
    squared = (straight**2).sum(1, keepdims=True)
    return np.asarray(straight / (1 + np.sqrt(1 - 4 * view.distortion * squared)) / view.half_width + 0.5)


def _no_nearer(view: WideView, points: Float64[np.ndarray, "21 3"], fill: float, nearest: float) -> WideView:
    """A camera that shows a hand as large as asked from no nearer than it may be."""
    extent = float(np.ptp(points[:, :2], axis=0).max())
    return replace(view, half_width=min(view.half_width, extent / (2 * fill * nearest)))


def _where(
    points: Float64[np.ndarray, "21 3"], view: WideView, fill: float, center: tuple[float, float]
) -> Vector | None:
    """Where the wrist is if the extent of the keypoints is as large as asked and lies around a centre; None: nowhere.

    Args:
        points: keypoints from the wrist, along the camera's axes.
        view: the camera.
        fill: longer side of the extent over the picture's side.
        center: of the extent, from 0 to 1.
    """
    depth = float(np.ptp(points[:, :2], axis=0).max()) / (2 * view.half_width * fill)
    wrist = np.array([0.0, 0.0, max(depth, 1.0 - float(points[:, 2].min()))])
    for _ in range(_ITERATIONS):
        seen = project(points + wrist, view)
        low, high = seen.min(0), seen.max(0)
        scale = float((high - low).max()) / fill
        wrist[:2] += (np.array(center) - (low + high) / 2) * 2 * view.half_width * wrist[2]
        wrist *= scale**_DAMPING
        if float((points + wrist)[:, 2].min()) < 1.0:
            return None
    return wrist if abs(scale - 1) < 0.01 else None


def _area(low: Point, high: Point) -> float:
    return float(np.prod(np.maximum(high - low, 0)))


def _overlap(first: _Hand, second: _Hand) -> float:
    """Part of the smaller extent that lies in the other one."""
    common = _area(np.maximum(first.low, second.low), np.minimum(first.high, second.high))
    return common / max(min(_area(first.low, first.high), _area(second.low, second.high)), 1e-9)


def _visible(hand: _Hand, others: list[_Hand]) -> bool:
    """Whether enough of a hand can be seen past the others."""
    hidden = torch.zeros(1, 21, dtype=torch.bool)
    for other in others:
        hidden |= hides(other.arm, hand.solid.points)
    return int((~hidden).sum()) >= LEFT_VISIBLE


def _distractors(whole: WholeScenes, layout: _Layout, rng: np.random.Generator) -> tuple[Distractor, ...]:
    """Heads, bare arms and things beyond the hands."""
    depths = [float(hand.placement.shift[2]) for hand in layout.hands.values()]
    beyond = max(depths) + 250.0 if depths else rng.uniform(350.0, 1200.0)
    count = int(rng.integers(whole.distractors[0], whole.distractors[1] + 1))
    return tuple(_distractor(whole, layout.view, beyond, rng) for _ in range(count))


def _distractor(whole: WholeScenes, view: WideView, nearest: float, rng: np.random.Generator) -> Distractor:
    depth = nearest * rng.uniform(1.0, 2.0)
    at = rng.uniform(0, 1, 2)
    is_arm = rng.random() < 0.5
    towards = rng.uniform(-math.pi, math.pi)
    if is_arm:  # from an edge inwards, ending in the picture
        half_axes = np.array([rng.uniform(26, 45), rng.uniform(24, 40), rng.uniform(180, 320)])
        edge = _EDGES[_edge(rng)]
        at = np.where(edge != 0.5, edge, at)
        towards = math.atan2(0.5 - at[1], 0.5 - at[0]) + rng.normal(0, 0.5)
    else:
        half_axes = np.array([rng.uniform(60, 90), rng.uniform(70, 110), rng.uniform(90, 130)])
    long = np.array([math.cos(towards), math.sin(towards), rng.normal(0, 0.3)])
    long /= np.linalg.norm(long)
    across = np.cross(long, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    skin = rng.random() < whole.skin_colored
    thing = Occluder(
        shape="cylinder" if is_arm else "ellipsoid",
        half_axes=half_axes,
        axes=np.stack([np.cross(across, long), across, long]),
        held=False,
        keypoint=0,
        approach=0.0,
        shift=np.zeros(3),
        colors=_skin_color(rng) if skin else rng.random((2, 3)) ** 2,
        stripes=0.0,
    )
    return Distractor(thing, np.array([*((at - 0.5) * 2 * view.half_width * depth), depth]))


def _skin_color(rng: np.random.Generator) -> Float64[np.ndarray, "2 3"]:
    """A tone of the Monk scale, twice."""
    tone = torch.tensor([rng.uniform(0, 9)], dtype=torch.float32)
    dorsal, _ = skin_tones(tone, torch.zeros(1, 3))
    return np.repeat(dorsal.double().numpy(), 2, axis=0)
