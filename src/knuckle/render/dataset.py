"""From numbers to pictures and labels: hands of a sequence, posed, seen by their cameras, shaded and photographed.

Hand `i` of a seed is the same hand, to the last bit, in any batch and any order on one machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from torch import Tensor

from knuckle.hands import LEFT, RIGHT, Hands
from knuckle.render import occluders
from knuckle.render.anatomy import pose
from knuckle.render.backgrounds import Photos, Procedural
from knuckle.render.camera import Camera, place_cameras
from knuckle.render.config import SceneConfig
from knuckle.render.labels import Labels, surface_nearness, visibility
from knuckle.render.raster import rasterize
from knuckle.render.scene import Factor, Scene, draw_scenes, generator, stack, to_device
from knuckle.render.sensor import expose, to_linear
from knuckle.render.shade import Layer, SkinModel, load_skin, render_layer, wear_sleeves

Images = UInt8[np.ndarray, "n size size 3"]
Shaded = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""One hand's colour, alpha and inverse depth (`shade.Layer`)."""

SMALLEST_SIZE: Final = 16
PALMAR: Final = np.array([0.0, 0.0, 1.0])
"""Where the palm faces in hand space (`mesh`)."""
_PLAIN: Final = 120
"""sRGB grey of a background that is switched off."""


def render(
    count: int,
    seed: int = 0,
    size: int = 256,
    *,
    config: SceneConfig | None = None,
    device: torch.device | str | None = None,
    first: int = 0,
    batch: int = 32,
) -> tuple[Images, Hands]:
    """Pictures of hands with their labels.

    Args:
        count: how many.
        seed: of the sequence; hands `first` to `first + count - 1` of it are rendered.
        size: side of the pictures, pixels.
        config: what varies; None is `SceneConfig()`.
        device: "cpu", "cuda"...; None takes a GPU where there is one.
        first: number of the first hand.
        batch: hands that are rendered together; the pictures do not depend on it.

    Returns:
        (count, size, size, 3) uint8 RGB, and one row a picture: keypoints inside the picture, visibility,
        side, gesture; `group` is the hand's number, `image` is empty.

    Raises:
        ValueError: a number is out of range, or a background photo cannot be used.
    """
    images, labels = render_labeled(count, seed, size, config=config, device=device, first=first, batch=batch)
    return images, labels.hands() if labels is not None else Hands.empty()


def render_labeled(
    count: int,
    seed: int = 0,
    size: int = 256,
    *,
    config: SceneConfig | None = None,
    device: torch.device | str | None = None,
    first: int = 0,
    batch: int = 32,
) -> tuple[Images, Labels | None]:
    """As `render`, with all that is known: keypoints in space, joint angles, camera. None for no hands."""
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}.")
    _check(range(first, first + count), seed, size, batch)
    images = np.empty((count, size, size, 3), dtype=np.uint8)
    labels = []
    done = 0
    for part, labeled in render_batches(
        range(first, first + count), seed, size, config=config, device=device, batch=batch
    ):
        images[done : done + len(part)] = part
        labels.append(labeled)
        done += len(part)
    return images, Labels.concat(labels) if labels else None


def render_batches(
    indices: Sequence[int],
    seed: int = 0,
    size: int = 256,
    *,
    config: SceneConfig | None = None,
    device: torch.device | str | None = None,
    batch: int = 32,
) -> Iterator[tuple[Images, Labels]]:
    """Hands of a sequence, batch after batch; arguments and errors as for `render`."""
    config = config or SceneConfig()
    for stage in stages(indices, seed, size, config, device, batch):
        layer = stage.layer()
        yield stage.images(layer, config.backgrounds), stage.labels(layer.samples)


def label_batches(
    indices: Sequence[int],
    seed: int = 0,
    size: int = 256,
    *,
    config: SceneConfig | None = None,
    device: torch.device | str | None = None,
    batch: int = 32,
) -> Iterator[Labels]:
    """The labels of `render_batches` without the pictures, which take most of the time."""
    for stage in stages(indices, seed, size, config or SceneConfig(), device, batch):
        yield stage.labels(stage.samples())


@dataclass(frozen=True)
class Stage:
    """A batch of hands before their cameras.

    Attributes:
        scenes: what was drawn for each.
        size: side of the pictures.
        model: mesh and skin.
        camera: one a hand.
        vertices: mm, camera space, sleeves on.
        normals: outward, camera space.
        keypoints: mm, camera space.
        objects: what an object shows of itself, for hands that have one.
    """

    scenes: list[Scene]
    size: int
    model: SkinModel
    camera: Camera
    vertices: Float32[Tensor, "B V 3"]
    normals: Float32[Tensor, "B V 3"]
    keypoints: Float32[Tensor, "B 21 3"]
    objects: list[occluders.Layer | None]

    def labels(self, samples: Float32[Tensor, "B H W"]) -> Labels:
        """What is known of these hands; `samples` come from `layer` or, without shading, from `samples`."""
        xy = self.camera.project(self.keypoints)
        surface = surface_nearness(xy, samples, self.size)
        points, skin_depth = xy.cpu().numpy(), 1 / surface.clamp_min(1e-9).cpu().numpy()
        covered = [
            np.zeros(len(points[0]), dtype=bool) if layer is None else occluders.occludes(layer, points[row], depth)
            for row, (layer, depth) in enumerate(zip(self.objects, skin_depth, strict=True))
        ]
        hidden = torch.from_numpy(np.stack(covered)).to(xy.device)
        seen = visibility(xy, self.keypoints[..., 2], surface, hidden, self.size)
        return Labels(
            index=np.array([scene.index for scene in self.scenes], dtype=np.int64),
            xy=points,
            xyz=self.keypoints.cpu().numpy(),
            visibility=seen.cpu().numpy(),
            side=np.array([LEFT if scene.is_left else RIGHT for scene in self.scenes], dtype=np.int8),
            gesture=np.array([scene.gesture for scene in self.scenes], dtype=np.int8),
            angles=np.stack([scene.angles for scene in self.scenes]),
            shape=np.stack([scene.shape for scene in self.scenes]),
            focal=self.camera.focal.cpu().numpy(),
            principal=self.camera.principal.cpu().numpy(),
            distortion=self.camera.distortion.cpu().numpy(),
            size=self.size,
        )

    def layer(self) -> Layer:
        """The hands, shaded, before nothing."""
        device = self.vertices.device
        return render_layer(
            self.model,
            self.vertices,
            self.normals,
            self.keypoints,
            self.camera.project(self.vertices),
            self._is_left(),
            to_device(stack([scene.material for scene in self.scenes]), device),
            to_device(stack([scene.lighting for scene in self.scenes]), device),
            (self.size, self.size),
        )

    def images(self, layer: Layer, backgrounds: Procedural | Photos | None) -> Images:
        """The photos of shaded hands."""
        color, alpha, inverse_depth = (column.cpu() for column in layer[:3])
        hands = [
            (color[row].numpy(), alpha[row].numpy(), inverse_depth[row].numpy()) for row in range(len(self.scenes))
        ]
        # NumPy and OpenCV let go of the interpreter while they work on a picture.
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            photos = pool.map(_photograph, self.scenes, hands, self.objects, [backgrounds] * len(hands))
            return np.stack(list(photos))

    def samples(self) -> Float32[Tensor, "B H W"]:
        """Inverse depth of the hand's surface, 1 / mm, two samples along each side of a pixel, as shading sees it."""
        xy, nearness = self.camera.project(self.vertices), 1 / self.vertices[..., 2]
        front = torch.where(self._is_left(), 1.0, -1.0)
        shape_hw = (2 * self.size, 2 * self.size)
        return rasterize(xy * 2 + 0.5, nearness, self.model.asset.faces, shape_hw, front).nearness

    def _is_left(self) -> Tensor:
        return torch.tensor([scene.is_left for scene in self.scenes], device=self.vertices.device)


def stages(
    indices: Sequence[int],
    seed: int,
    size: int,
    config: SceneConfig,
    device: torch.device | str | None,
    batch: int,
) -> Iterator[Stage]:
    """Hands before their cameras, batch after batch; arguments and errors as for `render`."""
    _check(indices, seed, size, batch)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_skin(device)
    for start in range(0, len(indices), batch):
        with torch.no_grad():
            yield _stage(draw_scenes(config, seed, indices[start : start + batch]), model, size)


def _check(indices: Sequence[int], seed: int, size: int, batch: int) -> None:
    if seed < 0 or min(indices, default=0) < 0:
        raise ValueError(
            f"the seed and the numbers of hands start at 0, got seed {seed}, hand {min(indices, default=0)}."
        )
    if size < SMALLEST_SIZE:
        raise ValueError(f"size must be at least {SMALLEST_SIZE} pixels, got {size}.")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}.")


def _stage(scenes: list[Scene], model: SkinModel, size: int) -> Stage:
    """Pose hands and set up their cameras."""
    device = model.asset.device

    def column(rows: Sequence[object]) -> Tensor:
        return torch.from_numpy(np.asarray(rows, dtype=np.float32)).to(device)

    posed = pose(model.asset, column([scene.angles for scene in scenes]), column([scene.shape for scene in scenes]))
    normals = model.asset.normals(posed.vertices)
    sleeve = torch.cat([scene.material.sleeve for scene in scenes]).to(device)
    vertices = wear_sleeves(model, posed.vertices, normals, sleeve)
    camera = place_cameras(
        [scene.view for scene in scenes], [scene.is_left for scene in scenes], vertices, posed.keypoints, size
    )
    keypoints = camera.to_camera(posed.keypoints)
    objects = [_object(scene, camera, keypoints[row], row, size) for row, scene in enumerate(scenes)]
    return Stage(scenes, size, model, camera, camera.to_camera(vertices), camera.turn(normals), keypoints, objects)


def _object(scene: Scene, camera: Camera, keypoints: Tensor, row: int, size: int) -> occluders.Layer | None:
    if scene.occluder is None:
        return None
    center, axes = occluders.place(
        scene.occluder,
        keypoints.cpu().double().numpy(),
        camera.hand_to_camera[row].cpu().double().numpy(),
        PALMAR,
    )
    light = scene.lighting
    return occluders.show(
        scene.occluder,
        center,
        axes,
        camera.pixel_rays(row, size),
        to_light=light.directions[0, 0].double().numpy(),
        light=light.colors[0, 0].double().numpy(),
        ambient=((light.sky + light.ground)[0] / 2).double().numpy(),
    )


def _photograph(
    scene: Scene, hand: Shaded, thing: occluders.Layer | None, backgrounds: Procedural | Photos | None
) -> UInt8[np.ndarray, "size size 3"]:
    """One hand over its background, with its object, through its sensor."""
    color, alpha, inverse_depth = hand
    light = to_linear(_background(scene, backgrounds, alpha.shape[0]))
    before = np.zeros(alpha.shape, dtype=np.float32)
    if thing is not None:
        nearer = thing.depth * inverse_depth < 1
        before = np.where(nearer, thing.alpha, 0)
        light = _over(thing.light, np.where(nearer, 0, thing.alpha), light)
    light *= (1 - alpha)[..., None]
    light += color
    if thing is not None:
        light = _over(thing.light, before, light)
    return expose(light, scene.sensor, generator(scene.seed, scene.index, Factor.PIXELS))


def _background(scene: Scene, backgrounds: Procedural | Photos | None, size: int) -> UInt8[np.ndarray, "size size 3"]:
    if backgrounds is None:
        return np.full((size, size, 3), _PLAIN, dtype=np.uint8)
    return backgrounds.draw(size, generator(scene.seed, scene.index, Factor.BACKGROUND))


def _over(color: NDArray[np.float32], alpha: NDArray[np.float32], below: NDArray[np.float32]) -> NDArray[np.float32]:
    return below + (color - below) * alpha[..., None]
