"""FreiHAND as MMPose keeps it: COCO-like json files `annotations/freihand_{train,val,test}.json`.

The 130,240 training images, split 8:1:1 by unique sample. One right hand an image; keypoints are
63 numbers x, y, v with v = 1 for all, as FreiHAND says nothing of visibility: read as 2, written
as 1. The image id is the file's number, `id + 32560 * version`, so `id % 32560` is the group.
`bbox` is a loose box around the hand's mask; MMPose ignores it and crops the whole image.
Source: MMPose, docs/en/dataset_zoo/2d_hand_keypoint.md, and the content of its files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Int64
from numpy.typing import NDArray

from knuckle.formats.files import count_of, images_relative_to, json_lines, short_decimals, write_text
from knuckle.formats.mmpose_json import FileSet, read_annotations, with_images
from knuckle.formats.problems import Problems
from knuckle.hands import OCCLUDED, OPTIONAL_COLUMNS, RIGHT, UNKNOWN, UNLABELED, VISIBLE, Hands
from knuckle.skeleton import BONES

FILES: Final = FileSet("FreiHand", "freihand_{}.json", ("train", "val", "test"))
UNIQUE_SAMPLES: Final = 32560
"""Poses in the training set; file numbers run through them once for each background version."""

_FINGER_NAMES: Final = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_CATEGORY: Final = {
    "supercategory": "hand",
    "id": 1,
    "name": "hand",
    "keypoints": ["wrist", *(f"{name}{part}" for name in _FINGER_NAMES for part in (1, 2, 3, 4))],
    "skeleton": [[parent + 1, joint + 1] for parent, joint in BONES],
}


def detect(path: Path) -> bool:
    """Whether this is such a json file, or a folder that holds some."""
    return FILES.detect(path)


def splits_freihand_json(path: Path) -> tuple[str, ...]:
    """The splits whose file is in the folder; none for a single json file."""
    return tuple(FILES.by_split(path))


def read_freihand_json(path: Path, split: str | None, problems: Problems) -> Hands:
    """The hands of one json file, or of a folder's files: the one of `split`, or all of them.

    Every keypoint with v > 0 has visibility 2. `box` is the annotation's, in image pixels; `group` is the
    image id % 32560; all hands are right ones.

    Raises:
        ValueError: a file is missing or broken, or there is no such split; names what there is.
    """
    return Hands.concat([_read_file(file, problems) for file in FILES.choose(path, split)])


def write_freihand_json(hands: Hands, path: Path) -> list[str]:
    """Write hands as MMPose's FreiHAND json, image names relative to its folder (above `annotations`).

    Returns:
        One sentence on each thing that the layout cannot hold; empty where reading back gives the same hands.

    Raises:
        ValueError: an image's size is unknown, or the path is no json file or cannot be written.
    """
    if path.suffix.lower() != ".json":
        raise ValueError(f"{path} must end in .json.")
    if (hands.size < 1).any():
        first = int(np.flatnonzero((hands.size < 1).any(axis=1))[0])
        raise ValueError(f"the size of image {hands.image[first]} is unknown, and MMPose's json needs it.")
    boxed = np.asarray((hands.box[:, 2:] > hands.box[:, :2]).all(axis=1))  # False where the box is NaN
    folder = path.parent.parent if path.parent.name == "annotations" else path.parent
    kept = images_relative_to(hands[boxed], folder)
    names, first_rows, image_rows = np.unique(kept.image, return_index=True, return_inverse=True)
    image_ids = _image_ids(names)
    images = [
        {"file_name": name, "height": int(height), "width": int(width), "id": int(number)}
        for name, number, (width, height) in zip(names.tolist(), image_ids, kept.size[first_rows], strict=True)
    ]
    parts = {
        "info": json.dumps({"description": FILES.description, "version": "1.0"}),
        "licenses": '""',
        "images": json_lines(images),
        "annotations": json_lines(_annotations(kept, image_ids[image_rows])),
        "categories": json.dumps([_CATEGORY]),
    }
    write_text(path, "{\n" + ",\n".join(f'"{key}": {text}' for key, text in parts.items()) + "\n}\n")
    regrouped = np.asarray(kept.group != image_ids[image_rows] % UNIQUE_SAMPLES)
    return _losses(hands, boxed, regrouped)


def _read_file(path: Path, problems: Problems) -> Hands:
    annotations = read_annotations(path, problems)
    annotations, root = with_images(path, annotations, ["training/rgb"], problems)
    return Hands(
        image=annotations.image,
        xy=annotations.keypoints[..., :2],
        visibility=np.where(annotations.keypoints[..., 2] > 0, VISIBLE, UNLABELED).astype(np.uint8),
        box=annotations.box,
        side=np.full(len(annotations.image), RIGHT, dtype=np.int8),
        group=annotations.image_id % UNIQUE_SAMPLES,
        size=annotations.size,
        root=root,
    )


def _image_ids(names: NDArray[np.str_]) -> Int64[np.ndarray, " m"]:
    """The files' numbers, as FreiHAND counts; running numbers where the names are others, or not unique."""
    stems = [Path(name).stem for name in names.tolist()]
    if all(re.fullmatch(r"[0-9]{1,15}", stem) for stem in stems):
        numbers = np.array(stems, dtype=np.int64)
        if len(np.unique(numbers)) == len(numbers):
            return numbers
    return np.arange(len(names))


def _annotations(hands: Hands, image_ids: Int64[np.ndarray, " n"]) -> Iterator[dict[str, Any]]:
    """One annotation a hand; its id is the image's, as in MMPose's files, unless hands share images."""
    shared = len(np.unique(image_ids)) < len(image_ids)
    labeled = hands.labeled[..., None]
    xyv = np.concatenate([np.where(labeled, short_decimals(hands.xy), 0), labeled], axis=2)
    keypoints = xyv.reshape(len(hands), -1)
    for row, (number, box, values) in enumerate(
        zip(image_ids.tolist(), short_decimals(hands.box).tolist(), keypoints.tolist(), strict=True)
    ):
        x1, y1, x2, y2 = box
        yield {
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "keypoints": [int(value) if index % 3 == 2 else value for index, value in enumerate(values)],
            "category_id": 1,
            "id": row if shared else number,
            "image_id": number,
            "segmentation": [[x1, y1, x1, y2, x2, y2, x2, y1]],
            "iscrowd": 0,
            "area": (x2 - x1) * (y2 - y1),
        }


def _losses(hands: Hands, boxed: Bool[np.ndarray, " n"], regrouped: Bool[np.ndarray, " m"]) -> list[str]:
    """What reading the file back does not give."""
    occluded = hands.visibility == OCCLUDED
    losses: list[tuple[NDArray[np.bool_], str, str]] = [
        (~boxed, "hand", "without a box, or with one without area, left out."),
        (hands.side != RIGHT, "hand", "not known to be a right one, read back as right: this layout has no side."),
        (hands.gesture != UNKNOWN, "gesture", "dropped."),
        (occluded, "occluded keypoint", "read back as visible: this layout has one kind of label."),
        (regrouped, "hand", f"in another group, which this layout takes from the image's number % {UNIQUE_SAMPLES}."),
    ]
    dropped = [(getattr(hands, name) is not None, name) for name in OPTIONAL_COLUMNS]
    return [f"{count_of(mask, noun)} {rest}" for mask, noun, rest in losses if mask.any()] + [
        f"{name}: dropped, as this layout has no predictions." for held, name in dropped if held
    ]
