"""Rendered pictures with their labels: `render` makes crops of one hand each, `render_scenes` whole scenes.

Picture `i` of a seed is the same in any batch and any order: on the CPU of one machine to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from knuckle.devices import torch_device
from knuckle.hands import VISIBLE, Hands
from knuckle.render.config import SceneConfig
from knuckle.render.labels import Labels
from knuckle.render.scene import draw_scenes
from knuckle.render.skin_model import load_skin
from knuckle.render.stage import Stage, set_stage
from knuckle.render.whole import draw_wholes

Images = UInt8[np.ndarray, "n size size 3"]

SMALLEST_SIZE: Final = 16
LEAST_SEEN: Final = 3
"""Keypoints of a hand in a whole scene that must be seen. What another hand holds may hide more, which nobody would
label."""


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
        ValueError: a number is out of range, a background photo cannot be used, or there is no such device.
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
    return _render(count, seed, size, config, device, first, batch, whole=False)


def render_scenes(
    count: int,
    seed: int = 0,
    size: int = 512,
    *,
    config: SceneConfig | None = None,
    device: torch.device | str | None = None,
    first: int = 0,
    batch: int = 8,
) -> tuple[Images, Hands]:
    """Pictures of whole scenes with none to four hands each, as `config.whole` says.

    Args:
        count: how many pictures.
        seed: of the sequence; pictures `first` to `first + count - 1` of it are rendered.
        size: side of the pictures, pixels.
        config: what varies; None is `SceneConfig()`. Factors of one hand hold for each hand.
        device: "cpu", "cuda"...; None takes a GPU where there is one.
        first: number of the first picture.
        batch: pictures that are rendered together; they do not depend on it.

    Returns:
        (count, size, size, 3) uint8 RGB, and one row a hand: keypoints inside the picture, visibility past all
        hands and objects, side, gesture. `group` is the number of the picture; a picture without a hand has no
        row, and neither has a hand of which fewer than `LEAST_SEEN` keypoints can be seen. `box` is the extent of
        the hand's skin from the wrist on, whether or not something hides it, cut at the frame; the forearm does
        not count.

    Raises:
        ValueError: a number is out of range, or a background photo cannot be used.
    """
    images, labels = _render(count, seed, size, config, device, first, batch, whole=True)
    return images, labels.hands(boxes="skin") if labels is not None else Hands.empty()


def _render(
    count: int,
    seed: int,
    size: int,
    config: SceneConfig | None,
    device: torch.device | str | None,
    first: int,
    batch: int,
    *,
    whole: bool,
) -> tuple[Images, Labels | None]:
    """Pictures in one array; None for the labels of no pictures."""
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}.")
    numbers = range(first, first + count)
    _check(numbers, seed, size, batch)
    images = np.empty((count, size, size, 3), dtype=np.uint8)
    labels = []
    done = 0
    for part, labeled in render_batches(numbers, seed, size, config=config, device=device, batch=batch, whole=whole):
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
    whole: bool = False,
) -> Iterator[tuple[Images, Labels]]:
    """Pictures of a sequence, batch after batch; arguments and errors as for `render`.

    Args:
        indices: numbers of the pictures.
        seed: of the sequence.
        size: side of the pictures, pixels.
        config: what varies.
        device: where to render.
        batch: pictures that are rendered together.
        whole: whole scenes (`render_scenes`): any number of labels a picture, `Labels.index` says of which.
    """
    config = config or SceneConfig()
    for stage in stages(indices, seed, size, config, device, batch, whole=whole):
        with torch.no_grad():
            layer = stage.layer()
            rendered = stage.images(layer, config.backgrounds), _labels(stage, layer.samples, whole=whole)
        yield rendered


def label_batches(
    indices: Sequence[int],
    seed: int = 0,
    size: int = 256,
    *,
    config: SceneConfig | None = None,
    device: torch.device | str | None = None,
    batch: int = 32,
    whole: bool = False,
) -> Iterator[Labels]:
    """The labels of `render_batches` without the pictures, which take most of the time."""
    for stage in stages(indices, seed, size, config or SceneConfig(), device, batch, whole=whole):
        with torch.no_grad():
            labels = _labels(stage, stage.samples(), whole=whole)
        yield labels


def _labels(stage: Stage, samples: Float[Tensor, "R H W"], *, whole: bool) -> Labels:
    labels = stage.labels(samples)
    return labels.rows(np.flatnonzero((labels.visibility == VISIBLE).sum(axis=1) >= LEAST_SEEN)) if whole else labels


def stages(
    indices: Sequence[int],
    seed: int,
    size: int,
    config: SceneConfig,
    device: torch.device | str | None,
    batch: int,
    *,
    whole: bool = False,
) -> Iterator[Stage]:
    """Hands before their cameras, batch after batch; arguments and errors as for `render_batches`."""
    _check(indices, seed, size, batch)
    model = load_skin(torch_device(device))
    for start in range(0, len(indices), batch):
        with torch.no_grad():
            scenes = (draw_wholes if whole else draw_scenes)(config, seed, indices[start : start + batch])
            stage = set_stage(scenes, model, size)
        yield stage  # outside, or whoever takes it would compute without gradients


def _check(indices: Sequence[int], seed: int, size: int, batch: int) -> None:
    if seed < 0 or min(indices, default=0) < 0:
        raise ValueError(
            f"the seed and the numbers of hands start at 0, got seed {seed}, hand {min(indices, default=0)}."
        )
    if size < SMALLEST_SIZE:
        raise ValueError(f"size must be at least {SMALLEST_SIZE} pixels, got {size}.")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}.")
