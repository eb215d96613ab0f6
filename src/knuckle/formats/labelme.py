"""Labelme: one JSON file an image; a hand is up to 21 `point` shapes that share a `group_id`.

Format: the files of https://github.com/wkentaro/labelme. A missing joint is a missing shape; an
occluded one has the shape flag `occluded`. What belongs to the whole hand rides on a `rectangle`
labelled "hand" with the same `group_id`: its corners are the box, its flags hold the side and the
gesture, and keys of our own hold group, score and side_probability. Labelme keeps keys that it does not know, and so
do we: rewriting a file preserves foreign shapes, flags and keys.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float64

from knuckle.formats.files import (
    boxes_with_area,
    count_of,
    head_of,
    image_sizes,
    images_relative_to,
    predicted_numbers,
    short_decimals,
    write_text,
)
from knuckle.formats.joints import first_number
from knuckle.formats.labelme_shapes import (
    HAND_LABEL,
    HandShapes,
    Record,
    State,
    hands_of_file,
    numbered_labels,
    read_file,
    state_of,
    with_mark,
)
from knuckle.formats.problems import Problems
from knuckle.formats.records import (
    SIDE_NAMES,
    Rows,
    gesture_name,
    gesture_of,
    group_of,
    numbers_of,
    shown,
    side_of,
    size_of,
    unlabeled_keypoints,
)
from knuckle.hands import OCCLUDED, PER_HAND, UNKNOWN, VISIBLE, Hands, keypoint_extent
from knuckle.skeleton import GESTURES, JOINT_NAMES, NUM_JOINTS

REPLACEABLE: Final[tuple[State, ...]] = ("empty", "proposed")
"""States of a file into which a model's hands may go unasked."""
LABELME_VERSION: Final = "5.8.1"
OCCLUDED_FLAG: Final = "occluded"
_SNIFFED_FILES: Final = 20
_MARKS: Final = re.compile(rb'"imagePath"\s*:|"shapes"\s*:\s*\[\s*[\]{]')
"""What no other JSON file has: the settings of a rendered folder have "shapes", too, but these are numbers."""


def detect(path: Path) -> bool:
    """Whether this is a Labelme file, or a folder with some (looked for in subfolders, too)."""
    files: Iterator[Path] = islice(path.rglob("*.json"), _SNIFFED_FILES) if path.is_dir() else iter([path])
    return any(_looks_like_labelme(file) for file in files)


def _looks_like_labelme(file: Path) -> bool:
    if file.suffix.lower() != ".json":
        return False
    return _MARKS.search(head_of(file)) is not None


def read_labelme(path: Path, split: str | None, problems: Problems) -> Hands:
    """The hands of a Labelme file, or of all Labelme files in a folder and its subfolders.

    Hands come in the order of the file names, and within a file as their first shapes do. Numbered
    labels count from 1 where 21 occurs and 0 does not, judged over all files.

    Args:
        path: the file or folder.
        split: must be None; Labelme knows no splits.
        problems: takes the files and hands that are left out.

    Raises:
        ValueError: there is no JSON file, or one is bad and problems are to stop the reading.
    """
    assert split is None, "the dispatcher refuses splits where the format has none"
    files = sorted(path.rglob("*.json"), key=Path.as_posix) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path} holds no .json file, so it is no folder of Labelme files.")
    root = path if path.is_dir() else path.parent
    contents: list[tuple[Path, Record]] = []
    for file in files:
        try:
            contents.append((file, read_file(file)))
        except ValueError as error:
            problems.add(str(error))
    start = first_number(number for _, content in contents for number in numbered_labels(content))
    rows = Rows()
    for file, content in contents:
        _add_file(rows, file, content, root, start, problems)
    return rows.hands(root)


def _add_file(rows: Rows, file: Path, content: Record, root: Path, start: int, problems: Problems) -> None:
    image = _image_of(file, content, root)
    size = size_of(content.get("imageWidth"), content.get("imageHeight"))
    hands, wrong = hands_of_file(content, start)
    for sentence in wrong:
        problems.add(f"{file}: {sentence}.")
    for hand in hands:
        try:
            _add_hand(rows, hand, image, size)
        except ValueError as error:
            problems.add(f"{file}: the hand with group_id {hand.group_id!r} {error}.")


def _image_of(file: Path, content: Record, root: Path) -> str:
    """The image's path from `root`; Labelme's own is relative to the file and may hold backslashes."""
    name = content["imagePath"].replace("\\", "/")
    return posixpath.normpath(posixpath.join(file.parent.relative_to(root).as_posix(), name))


def _add_hand(rows: Rows, hand: HandShapes, image: str, size: tuple[int, int]) -> None:
    keypoints = unlabeled_keypoints()
    for joint, shape in hand.points.items():
        flags = shape.get("flags")
        occluded = isinstance(flags, dict) and flags.get(OCCLUDED_FLAG) is True
        keypoints[joint] = (*_points(shape, 1)[0], OCCLUDED if occluded else VISIBLE)
    carrier = hand.rectangle or {}
    side, gesture = _side_and_gesture(carrier)
    rows.add(
        image,
        keypoints,
        box=_box(hand.rectangle) if hand.rectangle else None,
        side=side,
        gesture=gesture,
        group=group_of(carrier.get("group")),
        size=size,
        covariance=_per_joint(hand, "covariance", 3),
        confidence=_per_joint(hand, "confidence", 1),
        score=_per_hand(carrier, "score"),
        side_probability=_per_hand(carrier, "side_probability"),
    )


def _points(shape: Record, count: int) -> Float64[np.ndarray, "n 2"]:
    points = numbers_of(shape.get("points"), "points")
    if points.shape != (count, 2):
        raise ValueError(
            f"has the shape {shown(shape['label'])} with points of shape {points.shape}, expected {(count, 2)}"
        )
    return points


def _box(rectangle: Record) -> Float64[np.ndarray, " 4"]:
    """The box of two opposite corners, drawn in any direction."""
    corners = _points(rectangle, 2)
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def _side_and_gesture(carrier: Record) -> tuple[int, int]:
    """Side and gesture from a rectangle's flags such as {"left": true, "fist": true}."""
    flags = carrier.get("flags")
    names = [name for name, value in flags.items() if value is True] if isinstance(flags, dict) else []
    sides = [name for name in names if name in SIDE_NAMES.values()]
    gestures = [name for name in names if gesture_name(name)]
    if len(sides) > 1 or len(gestures) > 1:
        raise ValueError(f"has the flags {', '.join(sides or gestures)} at once")
    return side_of((sides or [None])[0]), gesture_of((gestures or [None])[0])


def _per_hand(carrier: Record, key: str) -> Float64[np.ndarray, ""] | None:
    """A prediction's number from a key of the rectangle."""
    return None if carrier.get(key) is None else numbers_of(carrier[key], key)


def _per_joint(hand: HandShapes, key: str, length: int) -> Float64[np.ndarray, "21 *length"] | None:
    """A prediction's numbers from keys of the points; NaN where a point has none."""
    values = np.full((NUM_JOINTS, length), np.nan)
    for joint, shape in hand.points.items():
        if shape.get(key) is not None:
            numbers = numbers_of(shape[key], key).ravel()
            if numbers.shape != (length,):
                raise ValueError(f"has {numbers.size} numbers as {key} of {shown(shape['label'])}, expected {length}")
            values[joint] = numbers
    if np.isnan(values).all():
        return None
    return values if length > 1 else values[:, 0]


def write_labelme(hands: Hands, path: Path, mark: Callable[[Hands], Record] | None = None) -> list[str]:
    """Write one Labelme file an image into a folder, beside or into the files that are there.

    An image whose file is there already keeps its foreign shapes, flags and unknown keys; where the
    number of hands is the same, each hand keeps its `group_id` and its shapes' labels and keys, too.
    New files are named after their image.

    Args:
        hands: of any number of images.
        path: the folder.
        mark: of a model's hands, what the mark of an image's file says of them (`labelme_shapes.with_mark`). Files
            whose labels are a person's, or may be, then stay as they are.

    Returns:
        One sentence for each thing that the format cannot hold, and on files that stayed as they are.

    Raises:
        ValueError: a file in the way is no Labelme file, or one cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file, but Labelme files are written into a folder.")
    hands = images_relative_to(hands, path)
    hands = hands.replace(size=image_sizes(hands))
    box, lost = boxes_with_area(hands)
    hands = hands.replace(box=np.where(np.isnan(box), keypoint_extent(hands.xy), box))
    existing = files_by_image(path)
    start = first_number(number for _, content in existing.values() for number in numbered_labels(content))
    files = file_names(path, hands.image.tolist(), existing)
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(hands.image.tolist()):
        rows_of.setdefault(name, []).append(row)
    kept = []
    for name, rows in rows_of.items():
        content = existing[name][1] if name in existing else new_content(name, files[name].relative_to(path))
        if mark is not None and state_of(content, start) not in REPLACEABLE:
            kept.append(files[name])
            continue
        filled = with_hands(content, hands[rows], start)
        write_content(files[name], filled if mark is None else with_mark(filled, mark(hands[rows])))
    lost += _kept(kept, len(rows_of))
    return lost + _lost(hands, [files[name].relative_to(path).as_posix() for name in hands.image.tolist()])


def _kept(files: list[Path], of: int) -> list[str]:
    """A sentence on files that a model's hands did not go into."""
    if not files:
        return []
    return [
        f"{len(files)} of {of} photos kept the labels that they had, which are a person's or bear no mark of knuckle "
        f"({files[0]}); to replace them, delete their files or run knuckle label --overwrite."
    ]


def files_by_image(folder: Path) -> dict[str, tuple[Path, Record]]:
    """The Labelme files of a folder by their image's path relative to the folder."""
    existing = {}
    for file in sorted(folder.rglob("*.json")):
        try:
            content = read_file(file)
        except ValueError:
            continue  # some other JSON file; `file_names` refuses to overwrite it
        existing[_image_of(file, content, folder)] = (file, content)
    return existing


def file_names(folder: Path, images: list[str], existing: Mapping[str, tuple[Path, Record]]) -> dict[str, Path]:
    """The file of each image: the one that is there, else one named after the image.

    Raises:
        ValueError: a file of that name is there and is not the image's Labelme file.
    """
    files: dict[str, Path] = {name: file for name, (file, _) in existing.items()}
    taken = set(files.values())
    for name in dict.fromkeys(images):
        if name in files:
            continue
        inside = not (posixpath.isabs(name) or name.startswith("../"))
        image = folder / (name if inside else posixpath.basename(name))
        candidates = [image.with_suffix(".json"), *(image.with_name(f"{image.name}{n}.json") for n in ("", *range(99)))]
        file = next((file for file in candidates if file not in taken), None)
        if file is None or file.exists():
            raise ValueError(f"{file or image} is there already and is not the Labelme file of {name}; move it away.")
        files[name] = file
        taken.add(file)
    return files


def new_content(name: str, file: Path) -> Record:
    """What a file without a shape holds; image and file are named from the same folder."""
    inside = not (posixpath.isabs(name) or name.startswith("../"))
    return {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": [],
        "imagePath": posixpath.relpath(name, file.parent.as_posix()) if inside else name,
        "imageData": None,
        "imageHeight": None,
        "imageWidth": None,
    }


def with_hands(content: Record, hands: Hands, start: int) -> Record:
    """What a file says with these hands of its image, at least one, in place of those that could be read from it.

    Args:
        content: what it says now.
        hands: all of one image.
        start: what numbered labels count from.
    """
    before, _ = hands_of_file(content, start)
    replaced = {id(shape) for hand in before for shape in hand.shapes()}
    kept = [shape for shape in content["shapes"] if id(shape) not in replaced]
    if len(before) != len(hands):
        before = [HandShapes(None)] * len(hands)
    if len(hands) > 1 or not before[0].shapes():
        before = _told_apart(before, {shape.get("group_id") for shape in kept})
    shapes = [shape for hand, old in zip(hands, before, strict=True) for shape in _shapes(hand, old)]
    width, height = hands.size[0].tolist()
    size = {"imageHeight": height, "imageWidth": width} if width and height else {}
    return content | size | {"shapes": kept + shapes}


def _told_apart(hands: list[HandShapes], used: set[Any]) -> list[HandShapes]:
    """The hands, each with a group_id; Labelme gives none to a box that somebody draws."""
    used = used | {hand.group_id for hand in hands}
    free = (number for number in count() if number not in used)
    return [replace(hand, group_id=next(free)) if hand.group_id is None else hand for hand in hands]


def write_content(file: Path, content: Record) -> None:
    """Write one Labelme file as a whole or not at all. ValueError where it cannot be written."""
    write_text(file, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _shapes(hand: Hands, old: HandShapes) -> Iterator[Record]:
    """The rectangle and points of a one-row hand, on top of what its old shapes say."""
    if not np.isnan(hand.box).any():
        yield _rectangle(hand, _of_hand(old, old.rectangle or _new_shape(HAND_LABEL, "rectangle", old.group_id)))
    predicted = {name: numbers[0] for name, numbers in predicted_numbers(hand).items() if name not in PER_HAND}
    xy = short_decimals(hand.xy[0]).tolist()
    for joint in np.flatnonzero(hand.labeled[0]).tolist():
        shape = _of_hand(old, old.points.get(joint) or _new_shape(JOINT_NAMES[joint], "point", old.group_id))
        flags = {name: value for name, value in (shape.get("flags") or {}).items() if name != OCCLUDED_FLAG}
        if hand.visibility[0, joint] == OCCLUDED:
            flags[OCCLUDED_FLAG] = True
        for name in ("covariance", "confidence"):
            shape.pop(name, None)
        yield shape | {"points": [xy[joint]], "flags": flags} | {n: column[joint] for n, column in predicted.items()}


def _of_hand(hand: HandShapes, shape: Record) -> Record:
    """A copy of the shape with the hand's group_id, if it has one."""
    return dict(shape) if hand.group_id is None else shape | {"group_id": hand.group_id}


def _rectangle(hand: Hands, old: Record) -> Record:
    flags = {
        name: value
        for name, value in (old.get("flags") or {}).items()
        if name not in SIDE_NAMES.values() and gesture_name(name) is None
    }
    if hand.side[0] != UNKNOWN:
        flags[SIDE_NAMES[int(hand.side[0])]] = True
    if hand.gesture[0] != UNKNOWN:
        flags[GESTURES[hand.gesture[0]]] = True
    corners = short_decimals(hand.box[0].reshape(2, 2)).tolist()
    predicted = {name: numbers[0] for name, numbers in predicted_numbers(hand).items() if name in PER_HAND}
    kept = {name: value for name, value in old.items() if name not in PER_HAND}
    return kept | {"points": corners, "flags": flags, "group": int(hand.group[0])} | predicted


def _new_shape(label: str, shape_type: str, group_id: object) -> Record:
    return {
        "label": label,
        "points": [],
        "group_id": group_id,
        "description": "",
        "shape_type": shape_type,
        "flags": {},
        "mask": None,
    }


def _lost(hands: Hands, files: list[str]) -> list[str]:
    """What the files of these hands cannot say."""
    lost = []
    bare = np.isnan(hands.box[:, 0])
    if bare.any():
        lost.append(f"hands: {count_of(bare, 'hand')} with neither keypoints nor a box left out.")
    for name in ("covariance", "confidence"):
        column = getattr(hands, name)
        if column is not None:
            hidden = np.isfinite(column).reshape(*hands.labeled.shape, -1).any(axis=-1) & ~hands.labeled
            if hidden.any():
                lost.append(f"{name}: that of {count_of(hidden, 'unlabelled keypoint')} left out.")
    if files != sorted(files):
        lost.append("order: the hands will come back in the order of the file names.")
    return lost
