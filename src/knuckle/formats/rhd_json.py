"""RHD (Rendered Hand pose Dataset) as MMPose keeps it: `annotations/rhd_{train,test}.json`.

COCO-like; keypoints are 21 lists x, y, v in RHD's order, each finger from tip to base, although the
file's own category says base to tip. `hand_type` is left or right; `bbox` is the keypoints' extent
x 1.2. One hand an image; the image id is the file's number in the release.
Source: MMPose, docs/en/dataset_zoo/2d_hand_keypoint.md, and the content of its files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8

from knuckle.formats.mmpose_json import FileSet, read_annotations, with_images
from knuckle.formats.problems import Problems
from knuckle.hands import OCCLUDED, UNLABELED, VISIBLE, Hands
from knuckle.skeleton import FROM_RHD

FILES: Final = FileSet("RHD", "rhd_{}.json", ("train", "test"))

FIRST_GROUP: Final = {"training": 2_000_000, "evaluation": 3_000_000}
"""Added to the image's number: groups of RHD's two sets meet neither each other nor FreiHAND's."""


def detect(path: Path) -> bool:
    """Whether this is such a json file, or a folder that holds some."""
    return FILES.detect(path)


def splits_rhd_json(path: Path) -> tuple[str, ...]:
    """The splits whose file is in the folder; none for a single json file."""
    return tuple(FILES.by_split(path))


def read_rhd_json(path: Path, split: str | None, problems: Problems) -> Hands:
    """The hands of one json file, or of a folder's files: the one of `split`, or all of them.

    Joints are brought into knuckle's order. Visibility as `visibility_of` says. `box` is the
    annotation's, in image pixels; `group` is the image id plus `FIRST_GROUP`, where a file with
    "test" or "evaluation" in its name is of the evaluation set.

    Raises:
        ValueError: a file is missing or broken, or there is no such split; names what there is.
    """
    return Hands.concat([_read_file(file, problems) for file in FILES.choose(path, split)])


def visibility_of(
    visible: Bool[np.ndarray, "n 21"], xy: Float[np.ndarray, "n 21 2"], size: Int32[np.ndarray, "n 2"]
) -> UInt8[np.ndarray, "n 21"]:
    """RHD's visible flag as visibility: 2 where set, else 1 inside the image and 0 outside it.

    RHD clears its flag where something covers the point and where it leaves the image; its
    position is rendered, hence known, in both cases.
    """
    inside = ((xy >= -0.5) & (xy <= size[:, None] - 0.5)).all(axis=2)
    return np.where(visible, VISIBLE, np.where(inside, OCCLUDED, UNLABELED)).astype(np.uint8)


def _read_file(path: Path, problems: Problems) -> Hands:
    training = not any(word in path.stem for word in ("test", "evaluation"))
    release = ("training", "evaluation") if training else ("evaluation", "training")
    annotations = read_annotations(path, problems)
    annotations, root = with_images(path, annotations, [f"{name}/color" for name in release], problems)
    xy, flag = annotations.keypoints[..., :2], annotations.keypoints[..., 2]
    return Hands(
        image=annotations.image,
        xy=xy[:, FROM_RHD],
        visibility=visibility_of(flag > 0, xy, annotations.size)[:, FROM_RHD],
        box=annotations.box,
        side=annotations.side,
        group=annotations.image_id + FIRST_GROUP[release[0]],
        size=annotations.size,
        root=root,
    )
