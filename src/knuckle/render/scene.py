"""One picture's scene: the numbers drawn for it from the ranges of a `SceneConfig`.

Picture `index` of seed `seed` is always the same picture. Every factor draws from a generator of its own,
keyed by (seed, index, factor), so that switching one off leaves the numbers of all the others as they were; only the
shape has a say in the pose, which must not run through itself on it, and a second hand and a held object go where there
is room. The picture of one hand is drawn here, with the hand that may stand near it; `whole` draws pictures of whole
scenes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any, Final, TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

from knuckle.render.camera import Placement, View, WideView, look_at
from knuckle.render.companions import Companions, place_beside
from knuckle.render.config import Framing, Lights, SceneConfig, Skin, Sleeves, Viewpoints
from knuckle.render.jewelry import Jewels, draw_jewels
from knuckle.render.light import Lighting
from knuckle.render.mesh import NUM_SHAPES
from knuckle.render.occluders import Occluder, draw_occluder
from knuckle.render.poses import sample_poses
from knuckle.render.ranges import log_uniform
from knuckle.render.sensor import Sensor, draw_sensor
from knuckle.render.skin import Material, skin_tones
from knuckle.render.solids import Solid, solids

Vector = Float64[np.ndarray, " 3"]
T = TypeVar("T")

_WARM: Final = np.array([1.0, 0.0, -1.0])
_GREEN: Final = np.array([-0.15, 0.3, -0.15])
"""What warm and greenish light adds to the log of red, green and blue; light differs in warmth most."""
_ELBOW: Final = np.array([0.0, -1.0, 0.0])


@dataclass(frozen=True)
class Figure:
    """The numbers of one hand.

    Attributes:
        angles: (24,) degrees.
        gesture: its class, -1 for none.
        is_left: the side.
        shape: (12,) coefficients.
        material: one row.
        occluder: an object that it holds or that passes before it, or None.
        placement: where it stands; None for the hand that the camera of a `View` is set up for.
        jewels: what it wears, one row.
        elbow: degrees by which the upper arm turns aside in the picture (`arm.extend_arms`).
    """

    angles: Float32[np.ndarray, " 24"]
    gesture: int
    is_left: bool
    shape: Float32[np.ndarray, " 12"]
    material: Material
    occluder: Occluder | None
    placement: Placement | None
    jewels: Jewels
    elbow: float


@dataclass(frozen=True)
class Distractor:
    """A thing of its own in a whole scene; `center` in mm, camera space."""

    thing: Occluder
    center: Vector


@dataclass(frozen=True)
class Scene:
    """The numbers of one picture.

    Attributes:
        seed: of the sequence.
        index: in the sequence.
        figures: its hands. With a `View` the first is the hand that the camera looks at, and alone has labels; in a
            `WideView` all have, and there may be none.
        view: the camera.
        lighting: one row, in camera space.
        distractors: things of their own.
        sensor: what happens to the light, or None.
    """

    seed: int
    index: int
    figures: tuple[Figure, ...]
    view: View | WideView
    lighting: Lighting
    distractors: tuple[Distractor, ...]
    sensor: Sensor | None

    @property
    def labeled(self) -> int:
        """How many of the hands have labels: the first ones."""
        return 1 if isinstance(self.view, View) else len(self.figures)


class Factor(IntEnum):
    """What draws from a generator of its own. The numbers are part of every hand: never change one.

    They start beyond those of other modules that draw from (seed, index), such as `poses.STREAM`.
    """

    SIDE = 101
    SHAPE = 102
    VIEWPOINT = 103
    LENS = 104
    FRAMING = 105
    SKIN = 106
    SLEEVE = 107
    LIGHT = 108
    OCCLUDER = 109
    SENSOR = 110
    BACKGROUND = 111
    PIXELS = 112
    JEWELRY = 113
    ELBOW = 114
    COMPANION = 120
    COMPANION_POSE = 121
    SCENE = 125
    SCENE_POSE = 130  # and one more for each further hand


def generator(seed: int, index: int, factor: Factor, person: int = 0) -> np.random.Generator:
    """The generator of one factor of one picture, or of a further person in it (from 1)."""
    key = (seed, index, int(factor), person) if person else (seed, index, int(factor))
    return np.random.Generator(np.random.SFC64(key))


def draw_scenes(config: SceneConfig, seed: int, indices: Sequence[int]) -> list[Scene]:
    """The scenes of some hands of a sequence; each is the same whichever others are asked for.

    Args:
        config: what may vary.
        seed: of the sequence, not negative.
        indices: not negative.
    """
    shapes = [draw_shape(config.shape, generator(seed, index, Factor.SHAPE)) for index in indices]
    angles, gestures = sample_poses(seed, indices, config.poses, shapes=stacked(shapes))
    scenes = [
        _draw(config, seed, index, np.asarray(pose, dtype=np.float32), int(gesture), shape)
        for index, pose, gesture, shape in zip(indices, angles, gestures, shapes, strict=True)
    ]
    return _accompanied(scenes, config, config.companions) if config.companions else scenes


def draw_scene(config: SceneConfig, seed: int, index: int) -> Scene:
    """The scene of one hand."""
    return draw_scenes(config, seed, [index])[0]


def stack(rows: Sequence[T]) -> T:
    """One-row dataclasses of tensors (`Material`, `Lighting`) as one of many rows."""
    first = rows[0]
    columns = {f.name: torch.cat([getattr(row, f.name) for row in rows]) for f in fields(first)}  # type: ignore[arg-type]
    return type(first)(**columns)


def to_device(rows: T, device: torch.device) -> T:
    """A dataclass of tensors on a device."""
    return type(rows)(**{f.name: getattr(rows, f.name).to(device) for f in fields(rows)})  # type: ignore[arg-type]


def _draw(
    config: SceneConfig, seed: int, index: int, angles: NDArray[np.float32], gesture: int, shape: NDArray[np.float32]
) -> Scene:
    def rng(factor: Factor) -> np.random.Generator:
        return generator(seed, index, factor)

    occluders, sensor = config.occluders, config.sensor
    figure = Figure(
        angles=angles,
        gesture=gesture,
        is_left=bool(rng(Factor.SIDE).random() < config.left_hands),
        shape=shape,
        material=draw_material(config, rng),
        occluder=draw_occluder(occluders, rng(Factor.OCCLUDER)) if occluders else None,
        placement=None,
        jewels=draw_jewels(config.jewelry, rng(Factor.JEWELRY)),
        elbow=draw_elbow(rng(Factor.ELBOW)),
    )
    return Scene(
        seed=seed,
        index=index,
        figures=(figure,),
        view=_view(config, rng),
        lighting=draw_lighting(config.lights, rng(Factor.LIGHT)),
        distractors=(),
        sensor=draw_sensor(sensor, rng(Factor.SENSOR)) if sensor else None,
    )


def _accompanied(scenes: list[Scene], config: SceneConfig, companions: Companions) -> list[Scene]:
    """The same scenes, some with a second hand."""
    draws = [generator(scene.seed, scene.index, Factor.COMPANION) for scene in scenes]
    chosen = [row for row, rng in enumerate(draws) if rng.random() < companions.probability]
    if not chosen:
        return scenes
    others = [draws[row].random() < companions.other_person for row in chosen]
    shapes = [_second_shape(scenes[row], config, is_other) for row, is_other in zip(chosen, others, strict=True)]
    angles, gestures = sample_poses(
        scenes[0].seed,
        [scenes[row].index for row in chosen],
        config.poses,
        stream=Factor.COMPANION_POSE,
        shapes=stacked(shapes),
    )
    seconds = [
        _companion(scenes[row], config, is_other, draws[row], np.asarray(pose, dtype=np.float32), int(gesture), shape)
        for row, is_other, pose, gesture, shape in zip(chosen, others, angles, gestures, shapes, strict=True)
    ]
    placements = place_beside(
        figure_solids([scenes[row].figures[0] for row in chosen]),
        figure_solids(seconds),
        [(scenes[row].figures[0].is_left, second.is_left) for row, second in zip(chosen, seconds, strict=True)],
        [_view_of(scenes[row]) for row in chosen],
        companions,
        [draws[row] for row in chosen],
    )
    result = list(scenes)
    for row, second, placement in zip(chosen, seconds, placements, strict=True):
        if placement is not None:
            figures = (*scenes[row].figures, replace(second, placement=placement))
            result[row] = replace(scenes[row], figures=figures)
    return result


def _second_shape(scene: Scene, config: SceneConfig, is_other: bool) -> NDArray[np.float32]:
    """The shape of a second hand: that of the person's other one, or anyone's."""
    if not is_other:
        return scene.figures[0].shape
    return draw_shape(config.shape, generator(scene.seed, scene.index, Factor.SHAPE, person=1))


def _companion(
    scene: Scene,
    config: SceneConfig,
    is_other: bool,
    draws: np.random.Generator,
    angles: NDArray[np.float32],
    gesture: int,
    shape: NDArray[np.float32],
) -> Figure:
    """A second hand, before it is known where it stands: the same person's other one, or anyone's."""
    first = scene.figures[0]
    jewels = draw_jewels(config.jewelry, generator(scene.seed, scene.index, Factor.JEWELRY, person=1))
    elbow = draw_elbow(generator(scene.seed, scene.index, Factor.ELBOW, person=1))
    if not is_other:
        # The same skin with blotches of its own.
        material = replace(first.material, offset=first.material.offset + 37.0)
        return Figure(angles, gesture, not first.is_left, shape, material, None, None, jewels, elbow)

    def rng(factor: Factor) -> np.random.Generator:
        return generator(scene.seed, scene.index, factor, person=1)

    is_left = bool(draws.random() < config.left_hands)
    return Figure(angles, gesture, is_left, shape, draw_material(config, rng), None, None, jewels, elbow)


def figure_solids(figures: Sequence[Figure]) -> Solid:
    """The capsules of hands and forearms, in hand space."""
    angles, shapes = (
        torch.from_numpy(np.stack(column)).double()
        for column in ([figure.angles for figure in figures], [figure.shape for figure in figures])
    )
    return solids(angles, shapes)


def _view_of(scene: Scene) -> View:
    assert isinstance(scene.view, View)
    return scene.view


def stacked(shapes: Sequence[NDArray[np.float32]]) -> Float32[np.ndarray, "n 12"]:
    """Shapes of any number of hands, none too, as one array."""
    return np.array(shapes, dtype=np.float32).reshape(-1, NUM_SHAPES)


def draw_shape(deviation: float | None, rng: np.random.Generator) -> NDArray[np.float32]:
    """Coefficients, cut off where hands would stop looking like people's."""
    if deviation is None:
        return np.zeros(NUM_SHAPES, dtype=np.float32)
    return np.asarray(np.clip(rng.normal(0, deviation, NUM_SHAPES), -2.2, 2.2), dtype=np.float32)


def _view(config: SceneConfig, rng: Any) -> View:
    lens, optics = config.lens, rng(Factor.LENS)
    fill, center = draw_framing(config.framing, rng(Factor.FRAMING))
    direction, roll = draw_viewpoint(config.viewpoints, rng(Factor.VIEWPOINT))
    return View(
        axes=look_at(direction, roll),
        distance=log_uniform(lens.distance, optics) if lens else 600.0,
        off_axis=tuple(optics.uniform(-lens.off_axis, lens.off_axis, 2)) if lens else (0.0, 0.0),
        distortion=float(optics.uniform(*lens.distortion)) if lens else 0.0,
        fill=fill,
        center=center,
    )


def draw_viewpoint(viewpoints: Viewpoints | None, rng: np.random.Generator) -> tuple[Vector, float]:
    """The direction from the hand to the camera, and the roll in degrees.

    +x is the thumb's side, +y the fingers', +z the palm's; a left hand is seen in the mirror.
    """
    if viewpoints is None:
        return np.array([0.0, 0.0, 1.0]), 0.0
    weights = np.array([viewpoints.egocentric, viewpoints.facing, viewpoints.overhead, viewpoints.oblique])
    kind = int(rng.choice(4, p=weights / weights.sum()))
    own = (np.array([0.0, -0.55, -0.8]), np.array([0.0, 0.1, 1.0]), np.array([0.0, 0.0, -1.0]), np.zeros(3))[kind]
    spread = math.radians(viewpoints.spread) if kind < 3 else 1.0
    if kind == 0 and rng.random() < 0.3:  # people look into their own palms, too
        own = own * np.array([1.0, 1.0, -1.0])
    roll = float(rng.normal(0, viewpoints.roll)) if kind < 2 else float(rng.uniform(-180, 180))
    while True:
        direction = own + rng.normal(0, spread, 3)
        direction /= max(float(np.linalg.norm(direction)), 1e-9)
        if direction @ _ELBOW < math.cos(math.radians(viewpoints.forearm)):
            return direction, roll


def draw_elbow(rng: np.random.Generator) -> float:
    """Degrees by which an upper arm turns aside in the picture."""
    return float(np.clip(rng.normal(0, 35), -80, 80))


def draw_framing(framing: Framing | None, rng: np.random.Generator) -> tuple[float, tuple[float, float]]:
    """How much of the picture the hand fills, and where its centre lies."""
    if framing is None:
        return 0.65, (0.5, 0.5)
    fill = float(rng.uniform(*framing.fill))
    room = (1 - fill) / 2
    center = rng.uniform(-room, room, 2)
    if rng.random() < framing.truncated:
        axis, way = int(rng.integers(2)), rng.choice([-1.0, 1.0])
        center[axis] = way * (room + fill * rng.uniform(0.03, framing.beyond))
    return fill, (0.5 + float(center[0]), 0.5 + float(center[1]))


def draw_material(config: SceneConfig, rng: Callable[[Factor], np.random.Generator]) -> Material:
    """The looks of one hand and its sleeve."""
    skin, cloth = _skin(config.skin, rng(Factor.SKIN)), _sleeve(config.sleeves, rng(Factor.SLEEVE))
    return Material(**skin, **{name: _row(value) for name, value in cloth.items()})


def _skin(skin: Skin | None, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    if skin is None:
        skin = Skin((5, 5), 0.0, (0.5, 0.5), (0, 0), (0.3, 0.3), (0.5, 0.5), (0.5, 0.5), (0.2, 0.2), 0.0)
    tone = np.clip(rng.uniform(*skin.tone), 0, 9)
    variation = rng.normal(0, skin.variation, 3)
    dorsal, palmar = skin_tones(_row(tone), _row(variation))
    strengths = {
        name: _row(rng.uniform(*getattr(skin, name)))
        for name in ("roughness", "mottling", "redness", "wrinkles", "creases", "veins")
    }
    return {
        "dorsal": dorsal,
        "palmar": palmar,
        **strengths,
        "specular": _row(0.028),
        "nail": _row(_albedo(rng)),
        "polish": _row(float(rng.random() < skin.polish)),
        "offset": _row(rng.uniform(0, 100, 3)),
    }


def _sleeve(sleeves: Sleeves | None, rng: np.random.Generator) -> dict[str, Any]:
    worn = rng.random() < (sleeves.probability if sleeves else 0.0)
    end = rng.uniform(*(sleeves.distance if sleeves else (0.0, 0.0)))
    striped = rng.random() < (sleeves.striped if sleeves else 0.0)
    looks = {
        "cloth": _albedo(rng),
        "stripe": _albedo(rng),
        "stripe_period": rng.uniform(4.0, 30.0) if striped else math.inf,
    }
    short = sleeves is not None and rng.random() < sleeves.short
    if not worn:
        end = rng.uniform(*sleeves.short_distance) if sleeves and short else math.inf
    return {"sleeve": end, **looks}


def draw_lighting(lights: Lights | None, rng: np.random.Generator) -> Lighting:
    """Sky and two lamps; lamps stand on the camera's side more often, and above it."""
    if lights is None:
        directions = np.array([[-0.45, -0.65, -0.61], [1.0, 0.0, 0.0]])
        colors = np.array([[1.2] * 3, [0.0] * 3])
        return _lights(np.full(3, 0.5), np.full(3, 0.3), np.array([0.0, -1.0, 0.0]), directions, colors, 0.5)
    up = _unit(np.array([0.0, -1.0, -0.4]) + rng.normal(0, 0.5, 3))
    main = _unit(rng.normal(0, 1, 3) + np.array([0.0, -0.6, -0.9]))
    second = _unit(rng.normal(0, 1, 3))
    warm, green, _ = rng.normal(0, lights.tint, (4, 3)).T[..., None]
    tints = np.exp(warm * _WARM + green * _GREEN)
    lamp, weaker, ambient = (rng.uniform(*bounds) for bounds in (lights.lamp, lights.second, lights.ambient))
    contrast, softness, is_diffuse = rng.uniform(*lights.contrast), rng.random(), rng.random() < lights.diffuse
    colors = tints[:2] * np.array([[lamp], [weaker]]) * float(not is_diffuse)
    if is_diffuse:
        ambient += 0.5 * lamp
    directions = np.stack([main, second])
    return _lights(tints[2] * ambient, tints[3] * ambient * contrast, up, directions, colors, softness)


def _lights(
    sky: Vector, ground: Vector, up: Vector, directions: Float64[np.ndarray, "2 3"], colors: Vector, softness: float
) -> Lighting:
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return Lighting(_row(sky), _row(ground), _row(up), _row(directions), _row(colors), _row(softness))


def _row(value: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(value, dtype=np.float32)[None])


def _albedo(rng: np.random.Generator) -> Vector:
    """Linear RGB of a paint or cloth, dull ones more often."""
    grey, color = rng.random() ** 1.5, rng.random(3) ** 2
    return np.asarray(np.clip(grey + (color - grey) * rng.beta(1.2, 2.0), 0.01, 0.9))


def _unit(vector: Vector) -> Vector:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))
