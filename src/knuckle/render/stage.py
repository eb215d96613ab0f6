"""A batch of pictures on its way: hands posed before their cameras, their objects, then pixels and labels.

A row is a hand. Its picture may hold others: each is shaded alone, then `composite` lays them over each other by
depth, and a keypoint is hidden where another one's skin is nearer.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from torch import Tensor

from knuckle.hands import LEFT, RIGHT
from knuckle.render import grip, object_view
from knuckle.render.anatomy import ANGLES, pose
from knuckle.render.arm import extend_arms
from knuckle.render.backgrounds import Photos, Procedural
from knuckle.render.camera import Camera, View, WideView, place_cameras, wide_cameras
from knuckle.render.cast import lamp_share
from knuckle.render.composite import Sheet, lay_over, sheet_of
from knuckle.render.labels import Labels, extent, surface_nearness, visibility
from knuckle.render.mesh import NUM_SHAPES
from knuckle.render.occluders import Occluder
from knuckle.render.raster import rasterize
from knuckle.render.scene import Factor, Figure, Scene, figure_solids, generator, stack, to_device
from knuckle.render.sensor import expose, to_linear
from knuckle.render.shade import Layer, render_layer
from knuckle.render.skin_model import SkinModel, wear_jewels, wear_sleeves

PALMAR: Final = np.array([0.0, 0.0, 1.0])
"""Where the palm faces in hand space (`mesh`)."""
HAND_FROM: Final = -10.0
"""mm along the hand at rest from which on skin counts as the hand in a box: the wrist's joint is at 0."""
_NO_POINTS: Final = np.zeros((0, 3), dtype=np.float32)
_NO_RADII: Final = np.zeros(0, dtype=np.float32)
_THREADS_FROM: Final = 256
"""Pixels of a picture's side from which threads save more than they cost; below, most of the work is Python's."""
_PLAIN: Final = 120
"""sRGB grey of a background that is switched off."""


class Body(NamedTuple):
    """The capsules of a hand and its forearm, mm, camera space."""

    starts: Float32[np.ndarray, "n 3"]
    ends: Float32[np.ndarray, "n 3"]
    radii: Float32[np.ndarray, " n"]


class Thing(NamedTuple):
    """An object in its place: what it is, its centre (mm) and its axes (rows), camera space."""

    occluder: Occluder
    center: Float64[np.ndarray, " 3"]
    axes: Float64[np.ndarray, "3 3"]


@dataclass(frozen=True)
class Stage:
    """A batch of pictures' hands before their cameras. Its rows are the hands of all pictures, in order.

    Attributes:
        scenes: what was drawn for each picture.
        size: side of the pictures.
        model: mesh and skin.
        pictures: the picture of each hand.
        camera: one a hand.
        vertices: mm, camera space, sleeves on.
        normals: outward, camera space.
        keypoints: mm, camera space.
        bodies: of the hands, by row, where a picture holds more than one hand alone.
        things: the objects in each picture.
        shown: what each of them shows of itself.
    """

    scenes: list[Scene]
    size: int
    model: SkinModel
    pictures: list[int]
    camera: Camera
    vertices: Float32[Tensor, "B V 3"]
    normals: Float32[Tensor, "B V 3"]
    keypoints: Float32[Tensor, "B 21 3"]
    bodies: dict[int, Body]
    things: list[list[Thing]]
    shown: list[list[object_view.Layer]]

    @property
    def figures(self) -> list[Figure]:
        """What was drawn for each hand."""
        return [figure for scene in self.scenes for figure in scene.figures]

    @property
    def labeled(self) -> list[int]:
        """The hands that have labels."""
        first = [self.pictures.index(picture) if scene.figures else 0 for picture, scene in enumerate(self.scenes)]
        return [row + k for row, scene in zip(first, self.scenes, strict=True) for k in range(scene.labeled)]

    def labels(self, samples: Float32[Tensor, "B H W"]) -> Labels:
        """What is known of the labelled hands; `samples` come from `layer` or, without shading, from `samples`."""
        rows, figures = self.labeled, self.figures
        camera = self.camera.rows(rows)
        keypoints = self.keypoints[rows]
        xy = camera.project(keypoints)
        surface = surface_nearness(xy, samples, rows, self.size)
        own = torch.maximum(surface, 1 / keypoints[..., 2])
        hidden = self._behind_hands(rows, xy, own, samples) | self._behind_things(rows, xy, own)
        seen = visibility(xy, keypoints[..., 2], surface, hidden, self.size)
        skin = camera.project(self.vertices[rows][:, self.model.skin.y > HAND_FROM])
        return Labels(
            index=np.array([self.scenes[self.pictures[row]].index for row in rows], dtype=np.int64),
            xy=xy.cpu().numpy(),
            xyz=keypoints.cpu().numpy(),
            visibility=seen.cpu().numpy(),
            box=extent(skin, self.size).cpu().numpy(),
            side=np.array([LEFT if figures[row].is_left else RIGHT for row in rows], dtype=np.int8),
            gesture=np.array([figures[row].gesture for row in rows], dtype=np.int8),
            angles=np.array([figures[row].angles for row in rows], dtype=np.float32).reshape(-1, len(ANGLES)),
            shape=np.array([figures[row].shape for row in rows], dtype=np.float32).reshape(-1, NUM_SHAPES),
            focal=camera.focal.cpu().numpy(),
            principal=camera.principal.cpu().numpy(),
            distortion=camera.distortion.cpu().numpy(),
            size=self.size,
        )

    def _behind_hands(self, rows: list[int], xy: Tensor, own: Tensor, samples: Tensor) -> Bool[Tensor, "n 21"]:
        """Which keypoints other hands of the same picture hide: their skin is nearer there than the hand's own."""
        hidden = torch.zeros_like(own, dtype=torch.bool)
        for at, row in enumerate(rows):
            for other in self._others(row):
                theirs = surface_nearness(xy[at : at + 1], samples, [other], self.size)[0]
                hidden[at] |= theirs > own[at]
        return hidden

    def _behind_things(self, rows: list[int], xy: Tensor, own: Tensor) -> Bool[Tensor, "n 21"]:
        """Which keypoints objects hide."""
        points, depth = xy.cpu().numpy(), 1 / own.cpu().numpy()
        covered = np.zeros(depth.shape, dtype=bool)
        for at, row in enumerate(rows):
            for layer in self.shown[self.pictures[row]]:
                covered[at] |= object_view.occludes(layer, points[at], depth[at])
        return torch.from_numpy(covered).to(xy.device)

    def layer(self) -> Layer:
        """The hands, shaded, before nothing."""
        figures, device = self.figures, self.vertices.device
        if not figures:
            none = torch.zeros(0, self.size, self.size, device=device)
            return Layer(none[..., None].expand(-1, -1, -1, 3), none, none, self.samples())
        return render_layer(
            self.model,
            self.vertices,
            self.normals,
            self.keypoints,
            self.camera.project(self.vertices),
            self._is_left(),
            to_device(stack([figure.material for figure in figures]), device),
            to_device(stack([figure.jewels for figure in figures]), device),
            to_device(stack([self.scenes[picture].lighting for picture in self.pictures]), device),
            (self.size, self.size),
            lamp=self._lamp(),
        )

    def _lamp(self) -> Float32[Tensor, "B V"] | None:
        """The part of the main lamp that reaches each vertex past objects and other hands; None: all of it."""
        shaded = [
            row
            for row, picture in enumerate(self.pictures)
            if self._others(row) or self.things[picture]
            if self.scenes[picture].lighting.colors[0, 0].any()
        ]
        if not shaded:
            return None
        lamp = np.ones(self.vertices.shape[:2], dtype=np.float32)
        for row in shaded:
            light = self.scenes[self.pictures[row]].lighting
            bodies = [self.bodies[other] for other in self._others(row)]
            starts, ends, radii = zip(*bodies, strict=True) if bodies else ([_NO_POINTS], [_NO_POINTS], [_NO_RADII])
            lamp[row] = lamp_share(
                self.vertices[row].cpu().numpy(),
                light.directions[0, 0].numpy(),
                float(light.softness[0]),
                np.concatenate(starts),
                np.concatenate(ends),
                np.concatenate(radii),
                self.things[self.pictures[row]],
            )
        return torch.from_numpy(lamp).to(self.vertices.device)

    def _others(self, row: int) -> list[int]:
        """The other hands of a hand's picture."""
        picture = self.pictures[row]
        return [other for other in range(len(self.pictures)) if other != row and self.pictures[other] == picture]

    def images(self, layer: Layer, backgrounds: Procedural | Photos | None) -> UInt8[np.ndarray, "n size size 3"]:
        """The photos of shaded hands."""
        color, alpha, nearness = (column.cpu().numpy() for column in layer[:3])
        sheets: list[list[Sheet]] = [[] for _ in self.scenes]
        for row, picture in enumerate(self.pictures):
            sheets[picture].append(Sheet(color[row], alpha[row], nearness[row]))
        one = partial(_photograph, backgrounds=backgrounds, size=self.size)
        threads = torch.get_num_threads()
        if threads == 1 or self.size < _THREADS_FROM:
            return np.stack([*map(one, self.scenes, sheets, self.shown)])
        # NumPy and OpenCV let go of the interpreter while they work on a picture.
        with ThreadPoolExecutor(threads) as pool:
            return np.stack([*pool.map(one, self.scenes, sheets, self.shown)])

    def samples(self) -> Float32[Tensor, "B H W"]:
        """Inverse depth of the hands' surfaces, 1 / mm, two samples along each side of a pixel, as shading sees it."""
        xy, nearness = self.camera.project(self.vertices), 1 / self.vertices[..., 2]
        front = torch.where(self._is_left(), 1.0, -1.0)
        shape_hw = (2 * self.size, 2 * self.size)
        return rasterize(xy * 2 + 0.5, nearness, self.model.faces, shape_hw, front).nearness

    def _is_left(self) -> Tensor:
        return torch.tensor([figure.is_left for figure in self.figures], dtype=torch.bool, device=self.vertices.device)


def set_stage(scenes: list[Scene], model: SkinModel, size: int) -> Stage:
    """Pose the hands of pictures and set up their cameras."""
    device = model.asset.device
    figures = [figure for scene in scenes for figure in scene.figures]
    pictures = [picture for picture, scene in enumerate(scenes) for _ in scene.figures]

    def column(rows: Sequence[object], width: int) -> Tensor:
        return torch.from_numpy(np.asarray(rows, dtype=np.float32).reshape(len(rows), width)).to(device)

    angles = column([figure.angles for figure in figures], len(ANGLES))
    posed = pose(model.asset, angles, column([figure.shape for figure in figures], NUM_SHAPES))
    normals = model.asset.normals(posed.vertices)
    sleeve = torch.cat([figure.material.sleeve for figure in figures] or [torch.zeros(0)]).to(device)
    dressed = wear_sleeves(model, posed.vertices, normals, sleeve)
    seen_by = _cameras(scenes, figures, pictures, dressed, posed.keypoints, size)
    camera = seen_by.of_hands(pictures, [figure.placement for figure in figures])
    keypoints = camera.to_camera(posed.keypoints)
    turns = [figure.elbow for figure in figures]
    hands = camera.to_camera(posed.vertices), camera.turn(normals)
    vertices, normals = extend_arms(model.arm, *hands, keypoints, turns, camera, size)
    vertices = wear_sleeves(model, vertices, normals, sleeve)
    if figures:
        jewels = to_device(stack([figure.jewels for figure in figures]), device)
        vertices = wear_jewels(model, vertices, normals, jewels, sleeve)
    bodies = _bodies(scenes, figures, pictures, camera)
    things = _things(scenes, figures, pictures, camera, keypoints, bodies)
    shown = [_show(scene, things[picture], seen_by, picture, size) for picture, scene in enumerate(scenes)]
    return Stage(
        scenes,
        size,
        model,
        pictures,
        camera,
        vertices,
        normals,
        keypoints,
        bodies,
        things,
        shown,
    )


def _cameras(
    scenes: list[Scene], figures: list[Figure], pictures: list[int], vertices: Tensor, keypoints: Tensor, size: int
) -> Camera:
    """The camera of each picture."""
    wide = [scene.view for scene in scenes if isinstance(scene.view, WideView)]
    if wide:
        assert len(wide) == len(scenes), "pictures of one kind"
        return wide_cameras(wide, size, vertices.device)
    looked_at = [row for row in range(len(figures)) if row == 0 or pictures[row] != pictures[row - 1]]
    views = [scene.view for scene in scenes if isinstance(scene.view, View)]
    is_left = [figures[row].is_left for row in looked_at]
    return place_cameras(views, is_left, vertices[looked_at], keypoints[looked_at], size)


def _bodies(scenes: list[Scene], figures: list[Figure], pictures: list[int], camera: Camera) -> dict[int, Body]:
    """The capsules of hands that another hand or an object may touch or shade."""
    rows = [
        row
        for row, picture in enumerate(pictures)
        if len(scenes[picture].figures) > 1 or figures[row].occluder is not None
    ]
    if not rows:
        return {}
    chosen = camera.rows(rows)
    solid = figure_solids([figures[row] for row in rows])
    solid = solid.moved(chosen.hand_to_camera.cpu().double(), chosen.translation.cpu().double())
    starts, ends = (side.permute(1, 2, 0).float().numpy() for side in (solid.start, solid.end))
    radii = solid.radius.float().numpy()
    return {row: Body(starts[at], ends[at], radii) for at, row in enumerate(rows)}


def _things(
    scenes: list[Scene],
    figures: list[Figure],
    pictures: list[int],
    camera: Camera,
    keypoints: Tensor,
    bodies: dict[int, Body],
) -> list[list[Thing]]:
    """The objects in each picture: those of its hands, clear of their flesh, then the distractors."""
    things: list[list[Thing]] = [[] for _ in scenes]
    for row, figure in enumerate(figures):
        if figure.occluder is not None:
            points = keypoints[row].cpu().double().numpy()
            turned = camera.hand_to_camera[row].cpu().double().numpy()
            center, axes = grip.place(figure.occluder, points, turned, PALMAR)
            hands = [body for other, body in bodies.items() if pictures[other] == pictures[row]]
            capsules = (np.concatenate(column) for column in zip(*hands, strict=True))
            thing, center = grip.settle(figure.occluder, center, axes, points, *capsules)
            things[pictures[row]].append(Thing(thing, center, axes))
    for picture, scene in enumerate(scenes):
        things[picture] += [Thing(d.thing, d.center, d.thing.axes) for d in scene.distractors]
    return things


def _show(scene: Scene, things: list[Thing], seen_by: Camera, picture: int, size: int) -> list[object_view.Layer]:
    """What objects show in a picture."""
    if not things:
        return []
    rays, light = seen_by.pixel_rays(picture, size), scene.lighting
    return [
        object_view.show(
            *thing,
            rays,
            to_light=light.directions[0, 0].double().numpy(),
            light=light.colors[0, 0].double().numpy(),
            ambient=((light.sky + light.ground)[0] / 2).double().numpy(),
        )
        for thing in things
    ]


def _photograph(
    scene: Scene,
    hands: list[Sheet],
    shown: list[object_view.Layer],
    backgrounds: Procedural | Photos | None,
    size: int,
) -> UInt8[np.ndarray, "size size 3"]:
    """Hands and objects over their background, through their sensor."""
    light = to_linear(_background(scene, backgrounds, size))
    light = lay_over([*hands, *(sheet_of(layer) for layer in shown)], light)
    return expose(light, scene.sensor, generator(scene.seed, scene.index, Factor.PIXELS))


def _background(scene: Scene, backgrounds: Procedural | Photos | None, size: int) -> UInt8[np.ndarray, "size size 3"]:
    if backgrounds is None:
        return np.full((size, size, 3), _PLAIN, dtype=np.uint8)
    return backgrounds.draw(size, generator(scene.seed, scene.index, Factor.BACKGROUND))
