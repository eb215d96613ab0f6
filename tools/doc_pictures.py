"""Makes the pictures of the README, docs/rendered_hands.md and docs/gestures.md.

python tools/doc_pictures.py docs/images                                  # rendered hands
python tools/doc_pictures.py docs/images ../shared/data/pinch_mit/images  # what `light` finds on photos (MIT; NOTICE)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from knuckle.data.images import read_image
from knuckle.draw import contact_sheet, draw_hands
from knuckle.formats import read
from knuckle.predict import load
from knuckle.render import SceneConfig, render, render_scenes
from knuckle.render.companions import Companions
from knuckle.render.config import Framing, Viewpoints
from knuckle.render.jewelry import Jewelry
from knuckle.render.occluders import OccluderRanges
from knuckle.render.poses import PoseMix, parse_gestures
from knuckle.skeleton import GESTURES

Picture = UInt8[np.ndarray, "h w 3"]

SIZE = 144
COLUMNS = 8
OFF = ("viewpoints", "lens", "framing", "shape", "skin", "sleeves", "jewelry", "lights", "backgrounds", "sensor")
"""Factors that are shown by switching them off; objects and second hands are shown by having them everywhere."""
FACTOR_HANDS = 8


def main() -> None:
    """All pictures, as JPEG."""
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        held_out = read(Path("labels/pinch_mit_held_out.json")).image[7::14]
        Image.fromarray(found([Path(sys.argv[2]) / name for name in held_out])).save(folder / "found.jpg", quality=80)
        return
    (folder / "gestures").mkdir(parents=True, exist_ok=True)
    full = SceneConfig()
    images, hands = render(4 * COLUMNS, seed=2, size=SIZE, config=full)
    tiles = [
        draw_hands(image, hand) if row % 4 == 3 else image
        for row, (image, hand) in enumerate(zip(images, hands, strict=True))
    ]
    save(folder / "rendered_hands.jpg", tiles)
    save(folder / "rendered_factors.jpg", *factors(full), columns=FACTOR_HANDS)
    objects = replace(full, occluders=OccluderRanges(held=0.6, passing=0.4), companions=None)
    save(folder / "rendered_objects.jpg", labeled(objects, seed=3))
    save(folder / "rendered_second_hands.jpg", labeled(replace(full, companions=Companions(probability=1.0)), seed=4))
    alone = replace(full, sleeves=None, occluders=None, companions=None)
    from_above = replace(alone, viewpoints=Viewpoints(1, 0, 1, 0), framing=Framing((0.4, 0.55), 0), sensor=None)
    jewels = replace(from_above, jewelry=Jewelry(ring=1.0, wrist=1.0))
    save(folder / "rendered_jewelry.jpg", list(render(COLUMNS, seed=5, size=SIZE, config=jewels)[0]))
    fingers = PoseMix(gesture=0, interpolation=0, synergy=0, fingers=1, weights=parse_gestures("open_palm:1"))
    save(folder / "rendered_fingers.jpg", labeled(replace(alone, poses=fingers), seed=6))
    save(folder / "rendered_scenes.jpg", scenes(8), columns=4, tile=2 * SIZE)
    for number, name in enumerate(GESTURES):
        save(folder / "gestures" / f"{number:02d}_{name}.jpg", gesture(number), columns=6, tile=112)


def found(photos: Sequence[Path]) -> Picture:
    """What `light` finds on six photos that were not chosen, three a row."""
    model = load("light")
    drawn = [Image.fromarray(draw_hands(read_image(path), model.predict(str(path)))) for path in photos]
    tiles = [np.asarray(picture.resize((400, 300), Image.Resampling.LANCZOS)) for picture in drawn]
    return np.vstack([np.hstack(tiles[row : row + 3]) for row in (0, 3)])


def labeled(config: SceneConfig, seed: int) -> list[Picture]:
    """Two rows of pictures, the second with keypoints; hidden ones are hollow."""
    images, hands = render(2 * COLUMNS, seed=seed, size=SIZE, config=config)
    return [
        draw_hands(image, hand) if row >= COLUMNS else image
        for row, (image, hand) in enumerate(zip(images, hands, strict=True))
    ]


def factors(full: SceneConfig) -> tuple[list[Picture], list[str]]:
    """The same hands with everything, then with one factor after the other switched off, a row each."""
    tiles: list[Picture] = []
    captions: list[str] = []
    everything = replace(full, occluders=None, companions=None, jewelry=Jewelry(ring=0.5, wrist=0.5))
    for name in ("", *OFF):
        config = replace(everything, **{name: None}) if name else everything
        images, _ = render(FACTOR_HANDS, seed=12, size=SIZE, config=config)
        tiles += list(images)
        captions += [f"without {name}" if name else "everything", *[""] * (FACTOR_HANDS - 1)]
    return tiles, captions


def scenes(count: int) -> list[Picture]:
    """Whole scenes with boxes and keypoints."""
    images, hands = render_scenes(count, seed=6, size=2 * SIZE)
    return [draw_hands(image, hands[hands.group == number], boxes=True) for number, image in enumerate(images)]


def gesture(number: int) -> list[Picture]:
    """Twelve hands of one gesture, the lower six with their keypoints."""
    weights = tuple(float(other == number) for other in range(len(GESTURES)))
    config = replace(SceneConfig(), poses=PoseMix(gesture=1.0, interpolation=0.0, synergy=0.0, weights=weights))
    images, hands = render(12, seed=number, size=112, config=config)
    return [
        draw_hands(image, hand) if row >= 6 else image
        for row, (image, hand) in enumerate(zip(images, hands, strict=True))
    ]


def save(
    path: Path,
    tiles: Sequence[Picture],
    captions: Sequence[str] | None = None,
    *,
    columns: int = COLUMNS,
    tile: int = SIZE,
) -> None:
    """A sheet as a JPEG file."""
    sheet = contact_sheet(tiles, captions or [""] * len(tiles), columns=columns, tile=tile)
    Image.fromarray(sheet).save(path, quality=80, optimize=True)


if __name__ == "__main__":
    main()
