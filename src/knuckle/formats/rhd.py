"""RHD (Rendered Hand pose Dataset) as released: `{training,evaluation}/anno_*.pickle` and `color/%05d.png`.

The pickle is a dict: image number -> {"uv_vis": (42, 3) x, y in pixels and a visible flag, "xyz",
"K"}. Rows 0 to 20 are the left hand, 21 to 41 the right one, each with the wrist first and then the
fingers from tip to base. Images are 320 x 320. Only `uv_vis` is read; masks and depth are not.

Source: https://github.com/lmb-freiburg/hand3d, README and create_binary_db.py. MMPose's json of the
same images is read through here, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Int64

from knuckle.formats import rhd_json
from knuckle.formats.bulk import collector_paused, missing_images, stack
from knuckle.formats.problems import Problems
from knuckle.formats.rhd_json import FIRST_GROUP, visibility_of
from knuckle.formats.unpickle import read_pickle
from knuckle.hands import LEFT, RIGHT, Hands
from knuckle.skeleton import FROM_RHD, NUM_JOINTS

SPLITS: Final = ("training", "evaluation")

FEWEST_VISIBLE: Final = 10
"""Hands with fewer visible keypoints are no hands to learn from (MLE-Loss Driven Robust Hand Pose Estimation)."""

FRAME: Final = (320, 320)


def detect(path: Path) -> bool:
    """Whether this is the release's folder, or MMPose's json file or folder."""
    return bool(_release_splits(path)) or rhd_json.detect(path)


def splits_rhd(path: Path) -> tuple[str, ...]:
    """The splits whose pickle is there; those of MMPose's json where there is no release."""
    return _release_splits(path) or rhd_json.splits_rhd_json(path)


def read_rhd(path: Path, split: str | None, problems: Problems) -> Hands:
    """The hands of the release in the pickle's order, left before right, or of MMPose's json.

    Each hand with at least `FEWEST_VISIBLE` visible keypoints is one row; the others are left out
    without a word, most of them are not in the picture at all. Joints are brought into knuckle's
    order, visibility is as `rhd_json.visibility_of` says, `box` is the extent of the labelled
    keypoints, and both hands of an image share its `group`: its number plus `rhd_json.FIRST_GROUP`.
    A record or image with a fault is reported and left out.

    Args:
        path: the release's folder, or MMPose's json file or folder.
        split: "training", "evaluation" or, of MMPose's json, "train", "test"; None reads all of the
            release (of the json where there is no release).
        problems: takes the faults.

    Raises:
        ValueError: a file is missing or broken or holds anything but arrays, or there is no such split.
    """
    release, mmpose = _release_splits(path), rhd_json.splits_rhd_json(path)
    if split in mmpose or not release:
        return rhd_json.read_rhd_json(path, split, problems)
    if split is not None and split not in release:
        raise ValueError(f"{path} has no split {split!r}; it has {', '.join((*release, *mmpose))}.")
    return Hands.concat(_read_split(path, name, problems) for name in release if split in (None, name))


def _release_splits(path: Path) -> tuple[str, ...]:
    return tuple(split for split in SPLITS if _annotation_file(path, split).is_file())


def _annotation_file(path: Path, split: str) -> Path:
    return path / split / f"anno_{split}.pickle"


def _read_split(path: Path, split: str, problems: Problems) -> Hands:
    numbers, uv_vis = _records(_annotation_file(path, split), problems)
    names = np.array([f"{split}/color/{number:05d}.png" for number in numbers.tolist()], dtype=np.str_)
    found = np.ones(len(names), dtype=bool)
    for index in missing_images(path, names.tolist()):
        problems.add(f"{path / names[index]} is missing.")
        found[index] = False
    names, numbers, uv_vis = names[found], numbers[found], uv_vis[found]

    hands = uv_vis.reshape(-1, NUM_JOINTS, 3)[:, FROM_RHD]  # left, right, left, right, ...
    size = np.tile(np.array(FRAME, dtype=np.int32), (len(hands), 1))
    kept = (hands[..., 2] > 0).sum(axis=1) >= FEWEST_VISIBLE
    columns = {
        "image": np.repeat(names, 2),
        "xy": hands[..., :2],
        "visibility": visibility_of(hands[..., 2] > 0, hands[..., :2], size),
        "side": np.tile(np.array([LEFT, RIGHT], dtype=np.int8), len(names)),
        "group": np.repeat(numbers + FIRST_GROUP[split], 2),
        "size": size,
    }
    return Hands(root=path, **{name: column[kept] for name, column in columns.items()})


def _records(file: Path, problems: Problems) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "n 42 3"]]:
    """The numbers of the images and the two hands in each, without the records that have a fault."""
    with collector_paused():
        content = read_pickle(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold a dict from image number to labels, got a {type(content).__name__}.")
    stacked, faults = stack([_labels(record) for record in content.values()], (2 * NUM_JOINTS, 3))
    with np.errstate(over="ignore"):
        uv_vis = stacked.astype(np.float32)
    messages = {index: f"uv_vis {fault}" for index, fault in faults.items()}
    u, v, flag = (uv_vis[..., column] for column in range(3))
    other_flag = ((flag != 0) & (flag != 1)).any(axis=1)
    lost = ((flag == 1) & ~(np.isfinite(u) & np.isfinite(v))).any(axis=1)
    numbers = list(content)
    for index, number in enumerate(numbers):
        record = content[number]
        if not isinstance(number, int | np.integer) or not 0 <= number < 100_000:
            messages[index] = "is no image number of five digits"
        elif not isinstance(record, dict) or "uv_vis" not in record:
            messages[index] = "has no uv_vis"
        elif other_flag[index]:
            messages.setdefault(index, "uv_vis has a visible flag other than 0 and 1")
        elif lost[index]:
            messages.setdefault(index, "uv_vis has a visible keypoint that is not finite")
    for index in sorted(messages):
        problems.add(f"{file}, record {numbers[index]!r} {messages[index]}.")
    sound = [index for index in range(len(numbers)) if index not in messages]
    return np.array([numbers[index] for index in sound], dtype=np.int64), uv_vis[sound]


def _labels(record: Any) -> Any:
    return record.get("uv_vis") if isinstance(record, dict) else None
