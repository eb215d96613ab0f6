r"""The empirical study without a download: rendered hands in FreiHAND's own layout, others as Labelme files.

    python -m examples.rendered_study --out hands
    knuckle study --base hands/FreiHAND --split evaluation --base-gestures hands/lists --own hands/own --model light \
        --out study

`hands/FreiHAND` is laid out as the release is: right hands of 224 x 224 pixels, cameras and keypoints in metres in JSON
files, pictures under `evaluation/rgb`. It says nothing of gestures: `hands/lists` does, as in the paper, with one text
file a class. `hands/own` holds larger pictures of other hands by another camera, in harder light and from nearby, each
with a Labelme file.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from jaxtyping import UInt8

import knuckle
from knuckle.draw import write_image
from knuckle.hands import Hands
from knuckle.render import SceneConfig
from knuckle.render.config import Framing, Lens, Lights
from knuckle.render.dataset import render_batches
from knuckle.render.labels import Labels
from knuckle.render.poses import PoseMix
from knuckle.skeleton import GESTURES
from knuckle.study.lists import write_lists

BASE: Final = SceneConfig(
    poses=PoseMix(gesture=1.0, interpolation=0.0, synergy=0.0),
    left_hands=0.0,
    lens=Lens(distortion=(0.0, 0.0)),  # FreiHAND's labels are projections by a plain pinhole
    framing=Framing(truncated=0.0),
    companions=None,
)
OWN: Final = replace(
    BASE,
    lens=Lens(distance=(250.0, 450.0), distortion=(0.0, 0.0)),
    lights=Lights(lamp=(1.8, 2.6), ambient=(0.1, 0.3), diffuse=0.0),
)
FRAME: Final = 224
PHOTO: Final = 480
TOGETHER: Final = 32

Images = UInt8[np.ndarray, "n size size 3"]


def balanced(config: SceneConfig, per_class: int, seed: int, size: int) -> tuple[Images, Labels]:
    """The first pictures of a sequence until every gesture has come so often."""
    left, found, first = np.full(len(GESTURES), per_class), list[tuple[Images, Labels]](), 0
    while left.any():
        numbers = range(first, first + TOGETHER)
        (images, labels), first = next(render_batches(numbers, seed, size, config=config, device="cpu")), numbers.stop
        wanted = np.zeros(len(images), dtype=bool)
        for row, gesture in enumerate(labels.gesture.tolist()):
            wanted[row] = left[gesture] > 0
            left[gesture] -= wanted[row]
        found.append((images[wanted], labels.rows(np.flatnonzero(wanted))))
    return np.concatenate([images for images, _ in found]), Labels.concat([labels for _, labels in found])


def write_base(folder: Path, images: Images, labels: Labels) -> None:
    """The layout of FreiHAND's evaluation set."""
    cameras = np.zeros((len(images), 3, 3))
    cameras[:, 0, 0] = cameras[:, 1, 1] = labels.focal
    cameras[:, :2, 2], cameras[:, 2, 2] = labels.principal, 1.0
    (folder / "evaluation" / "rgb").mkdir(parents=True, exist_ok=True)
    (folder / "evaluation_K.json").write_text(json.dumps(cameras.tolist()))
    (folder / "evaluation_xyz.json").write_text(json.dumps((labels.xyz.astype(np.float64) / 1000).tolist()))
    for number, image in enumerate(images):
        write_image(folder / "evaluation" / "rgb" / f"{number:08d}.jpg", image)


def main(
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    base: Annotated[int, typer.Option(min=1, help="Base hands of each gesture.")] = 20,
    own: Annotated[int, typer.Option(min=1, help="Own photos of each gesture.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="The same seed renders the same hands.")] = 0,
) -> None:
    """Write both sets and the lists of the base set's gestures."""
    images, labels = balanced(BASE, base, seed, FRAME)
    write_base(out / "FreiHAND", images, labels)
    read_back = knuckle.read(out / "FreiHAND", split="evaluation").replace(gesture=labels.gesture)
    write_lists(read_back, np.arange(len(read_back)), out / "lists")
    images, labels = balanced(OWN, own, seed + 1, PHOTO)
    write_own(out / "own", images, labels)
    typer.echo(f"{len(read_back)} base hands in {out / 'FreiHAND'}, {len(images)} own photos in {out / 'own'}")


def write_own(folder: Path, images: Images, labels: Labels) -> Hands:
    """Pictures with a Labelme file each; a hand's gesture is a flag of its rectangle."""
    names = [str(folder / f"own_{number:03d}.jpg") for number in range(len(images))]
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in zip(names, images, strict=True):
        write_image(Path(name), image)
    hands = labels.hands().replace(image=np.array(names))
    knuckle.write(hands, folder, format="labelme")
    return hands


if __name__ == "__main__":
    typer.run(main)
