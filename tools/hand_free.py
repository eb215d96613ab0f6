"""Cuts parts without a hand out of photos with labelled boxes: backgrounds for rendered scenes.

    python tools/hand_free.py ../shared/data/pinch_mit/annotations.json runs/backgrounds/pinch

From each photo of the groups that a detector is trained on (70 %, as in recipes/detector.yaml) it takes the largest of
three parts: above the hand, or beside its upper half, left or right. Arms mostly come from below. Look at the folder
before you use it: hands that are not labelled stay in.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from knuckle.data.images import read_image
from knuckle.draw import write_image
from knuckle.train.detector import split_source
from knuckle.train.detector_recipe import PictureSource

MARGIN = 0.12
"""Added on every side of a box, in its longer sides."""
LEAST = 0.2
"""Shorter side of a part over the longer side of the photo; smaller ones are left."""


def main() -> None:
    """Write one picture for every photo that has a large enough part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", type=Path, help="file of photos that knuckle reads")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--training", type=float, default=0.7, help="part of the photos that is trained on")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    photos, _ = split_source(PictureSource(path=str(options.annotations), training=options.training), Path())
    written = 0
    for path, boxes in zip(photos.paths, photos.boxes, strict=True):
        image = read_image(path)
        part = free_part(boxes, (image.shape[1], image.shape[0]))
        if part is not None:
            left, top, right, bottom = part
            write_image(options.out / f"{path.stem}.jpg", image[top:bottom, left:right])
            written += 1
    print(f"{written} parts of {len(photos)} photos in {options.out}")


def free_part(boxes: Float32[np.ndarray, "m 4"], frame_wh: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The largest part above or beside all hands, left, top, right, bottom in whole pixels; None if all are small."""
    width, height = frame_wh
    grown = MARGIN * (boxes[:, 2:] - boxes[:, :2]).max()
    x1, y1 = (max(int(value), 0) for value in boxes[:, :2].min(axis=0) - grown)
    x2, y2 = (int(value) for value in boxes[:, 2:].max(axis=0) + grown)
    middle = min((y1 + y2) // 2, height)
    parts = [(0, 0, width, y1), (0, 0, x1, middle), (min(x2, width), 0, width, middle)]
    large = [part for part in parts if min(part[2] - part[0], part[3] - part[1]) >= LEAST * max(frame_wh)]
    return max(large, key=lambda part: (part[2] - part[0]) * (part[3] - part[1]), default=None)


if __name__ == "__main__":
    main()
