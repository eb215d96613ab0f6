"""COCO keypoints: one JSON file with images, annotations and categories.

Format: https://cocodataset.org/#format-data, "keypoint detection". A box is x, y, width, height and
becomes (x, y, x + width, y + height) without a shift. Besides the standard keys an annotation may
hold `side` (also `hand_type`, `handedness`), `gesture`, `group`, `score`, `side_probability`,
`confidence` and `covariance`; with them the format holds everything that `Hands` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

from knuckle.formats.files import (
    boxes_with_area,
    head_of,
    image_root,
    image_sizes,
    images_relative_to,
    json_lines,
    predicted_numbers,
    short_decimals,
    write_text,
)
from knuckle.formats.joints import joint_order
from knuckle.formats.problems import Problems, read_json
from knuckle.formats.records import (
    SIDE_NAMES,
    Rows,
    box_of_xywh,
    gesture_of,
    group_of,
    keypoints_of,
    name_of,
    numbers_of,
    shown,
    side_of,
    size_of,
    unlabeled_keypoints,
)
from knuckle.hands import UNKNOWN, Hands
from knuckle.skeleton import BONES, GESTURES, JOINT_NAMES

Record = dict[str, Any]
Order = tuple[int, ...] | None

_SIDE_KEYS: Final = ("side", "hand_type", "handedness")


def detect(path: Path) -> bool:
    """Whether this is a COCO file, or a folder with exactly one of them."""
    return len(_files(path)) == 1


def _files(path: Path) -> list[Path]:
    candidates = sorted(path.glob("*.json")) if path.is_dir() else [path]
    return [file for file in candidates if file.suffix.lower() == ".json" and _looks_like_coco(head_of(file))]


def _looks_like_coco(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and (b'"annotations"' in head or b'"images"' in head)


def read_coco(path: Path, split: str | None, problems: Problems) -> Hands:
    """The hands of a COCO keypoint file, in its order.

    Args:
        path: the JSON file, or a folder that holds exactly one.
        split: must be None; one file is one split.
        problems: takes the annotations and images that are left out.

    Raises:
        ValueError: the file is no COCO file, or a record is bad and problems are to stop the reading.
    """
    assert split is None, "the dispatcher refuses splits where the format has none"
    file = _only_file(path)
    content = read_json(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a JSON {_kind(content)}, but a COCO file is an object.")
    images = _images(file, content, problems)
    categories = _Categories(file, content)
    root = image_root(file.parent, next((image["file_name"] for image in images.values()), ""))
    rows = Rows()
    seen: set[object] = set()
    for index, annotation in enumerate(_listed(file, content, "annotations")):
        try:
            _add(rows, _object(annotation), images, categories, seen)
        except ValueError as error:
            problems.add(f"{file}: annotations[{index}]{_id_note(annotation)} {error}.")
    hands = rows.hands(root)
    without = len({image["file_name"] for image in images.values()}.difference(hands.image.tolist()))
    if without:
        problems.notes.append(f"{without:,} image{'s' * (without > 1)} without a hand: hands alone have rows")
    return hands


def _only_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    files = _files(path)
    if len(files) != 1:
        names = ", ".join(file.name for file in files[:5]) or "none"
        raise ValueError(f"{path} must hold exactly one COCO file, found {names}; name the file that you mean.")
    return files[0]


def _kind(value: object) -> str:
    return {list: "list", str: "string", type(None): "null"}.get(type(value), "number")


def _listed(file: Path, content: Record, key: str) -> list[Any]:
    value = content.get(key)
    if not isinstance(value, list):
        what = "no" if value is None else f"a {_kind(value)} as"
        raise ValueError(f'{file} has {what} "{key}", expected the list that a COCO file has.')
    return value


def _object(value: object) -> Record:
    if not isinstance(value, dict):
        raise ValueError(f"is {shown(value)}, expected an object")
    return value


def _id_note(record: object) -> str:
    return f" (id {shown(record['id'])})" if isinstance(record, dict) and "id" in record else ""


def _identity(record: Record, key: str) -> int | str:
    if key not in record:
        raise ValueError(f'has no "{key}"')
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"has the {key} {shown(value)}, expected a whole number")
    return value


def _images(file: Path, content: Record, problems: Problems) -> dict[int | str, Record]:
    """The usable images by id, each with a checked name, size and group."""
    images: dict[int | str, Record] = {}
    for index, image in enumerate(_listed(file, content, "images")):
        try:
            identity = _identity(_object(image), "id")
            if identity in images:
                raise ValueError("repeats the id of another image, whose annotations could belong to either")
            images[identity] = {
                "file_name": name_of(image.get("file_name")),
                "size": size_of(image.get("width"), image.get("height")),
                "group": group_of(image.get("group")),
            }
        except ValueError as error:
            problems.add(f"{file}: images[{index}]{_id_note(image)} {error}.")
    return images


class _Categories:
    """Which categories are hands, and the order of their keypoints."""

    def __init__(self, file: Path, content: Record) -> None:
        given = content.get("categories")
        listed = [category for category in given if isinstance(category, dict)] if isinstance(given, list) else []
        self.with_keypoints: dict[object, Order] = {}
        for category in listed:
            names = category.get("keypoints")
            if names:
                named = isinstance(names, list) and all(isinstance(name, str) for name in names)
                self.with_keypoints[_key(category)] = joint_order(names) if named else None
        self.all = {_key(category) for category in listed}
        hands = {_key(c) for c in listed if "hand" in str(c.get("name", "")).casefold()}
        self.hands = set(self.with_keypoints) or hands or (self.all if len(self.all) <= 1 else set())
        if listed and not self.hands:
            raise ValueError(f'{file} has {len(listed)} categories, but none with keypoints and none called "hand".')

    def is_foreign(self, annotation: Record) -> bool:
        """A box of something else, such as a face in the same file."""
        key = annotation.get("category_id")
        if self.all and (isinstance(key, (list, dict)) or key not in self.all):
            raise ValueError(f"has the category_id {shown(key)}, which is not among the categories")
        return bool(self.all) and key not in self.hands and not annotation.get("keypoints")


def _key(category: Record) -> object:
    key = category.get("id")
    return key if isinstance(key, (int, str)) else None


def _add(
    rows: Rows, annotation: Record, images: dict[int | str, Record], categories: _Categories, seen: set[object]
) -> None:
    if categories.is_foreign(annotation):
        return
    if "id" in annotation:
        identity = _identity(annotation, "id")
        if identity in seen:
            raise ValueError("repeats the id of another annotation")
        seen.add(identity)
    image_id = _identity(annotation, "image_id")
    if image_id not in images:
        raise ValueError(f"has the image_id {image_id!r}, which is not among the usable images")
    image = images[image_id]
    group = group_of(annotation.get("group"))
    side = next((annotation[key] for key in _SIDE_KEYS if annotation.get(key) is not None), None)
    rows.add(
        image["file_name"],
        _keypoints(annotation, categories),
        box=box_of_xywh(annotation["bbox"]) if annotation.get("bbox") else None,
        side=side_of(side),
        gesture=gesture_of(annotation.get("gesture")),
        group=image["group"] if group is None else group,
        size=image["size"],
        covariance=_optional(annotation, "covariance"),
        confidence=_optional(annotation, "confidence"),
        score=_optional(annotation, "score"),
        side_probability=_optional(annotation, "side_probability"),
    )


def _optional(annotation: Record, name: str) -> NDArray[np.float64] | None:
    return None if annotation.get(name) is None else numbers_of(annotation[name], name)


def _keypoints(annotation: Record, categories: _Categories) -> Float64[np.ndarray, "21 3"]:
    if annotation.get("keypoints") is None:
        if not annotation.get("bbox") and "num_keypoints" not in annotation:
            raise ValueError("has neither keypoints nor a bbox")
        return unlabeled_keypoints()
    keypoints = keypoints_of(annotation["keypoints"])
    order = categories.with_keypoints.get(annotation.get("category_id"))
    return keypoints if order is None else keypoints[list(order)]


def write_coco(hands: Hands, path: Path, without_hands: Mapping[str, tuple[int, int]] | None = None) -> list[str]:
    """Write a COCO keypoint file that holds every column; the image paths are relative to its folder.

    Args:
        hands: what to write.
        path: a .json file.
        without_hands: width and height of images that show no hand, by their path from the file's folder: they are
            listed among the images and have no annotation. None of them may be an image of `hands`.

    Returns:
        One sentence for each thing that the format cannot hold.

    Raises:
        ValueError: the path is not a .json file or cannot be written, or an image has two sizes.
    """
    if path.suffix.lower() != ".json":
        raise ValueError(f"{path} must end in .json to be written as a COCO file.")
    hands = images_relative_to(hands, path.parent)
    names, first_rows, image_index = np.unique(hands.image, return_index=True, return_inverse=True)
    ids = np.empty(len(names), dtype=np.int64)
    by_appearance = np.argsort(first_rows)
    ids[by_appearance] = np.arange(1, len(names) + 1)
    size = image_sizes(hands)
    images = [
        {"id": int(ids[i]), "file_name": str(names[i]), "width": int(size[row, 0]), "height": int(size[row, 1])}
        for i in by_appearance
        for row in [first_rows[i]]
    ]
    images += [
        {"id": number, "file_name": name, "width": width, "height": height}
        for number, (name, (width, height)) in enumerate((without_hands or {}).items(), start=len(names) + 1)
    ]
    box, lost = boxes_with_area(hands)
    annotations = _annotations(hands, ids[image_index], box)
    header = json.dumps({"description": "Hand keypoints in FreiHAND's order, written by knuckle"})
    category = {
        "id": 1,
        "name": "hand",
        "supercategory": "hand",
        "keypoints": list(JOINT_NAMES),
        "skeleton": [[parent + 1, joint + 1] for parent, joint in BONES],
    }
    write_text(
        path,
        f'{{"info": {header},\n"images": {json_lines(images)},\n'
        f'"annotations": {json_lines(annotations)},\n"categories": {json_lines([category])}}}\n',
    )
    return lost


def _annotations(hands: Hands, image_id: NDArray[np.int64], box: Float32[np.ndarray, "n 4"]) -> list[Record]:
    keypoints = np.zeros((len(hands), len(JOINT_NAMES), 3), dtype=object)
    keypoints[..., :2][hands.labeled] = short_decimals(hands.xy[hands.labeled])
    keypoints[..., 2] = hands.visibility
    xywh = _boxes_as_xywh(box).tolist()
    predicted = predicted_numbers(hands)
    counts = hands.labeled.sum(axis=1).tolist()
    annotations: list[Record] = []
    for row, points in enumerate(keypoints.reshape(len(hands), 3 * len(JOINT_NAMES)).tolist()):
        annotation: Record = {"id": row + 1, "image_id": int(image_id[row]), "category_id": 1}
        if not np.isnan(box[row, 0]):
            annotation["bbox"], annotation["area"] = xywh[row], xywh[row][2] * xywh[row][3]
        annotation |= {"iscrowd": 0, "num_keypoints": counts[row], "keypoints": points}
        if hands.side[row] != UNKNOWN:
            annotation["side"] = SIDE_NAMES[int(hands.side[row])]
        if hands.gesture[row] != UNKNOWN:
            annotation["gesture"] = GESTURES[hands.gesture[row]]
        annotation["group"] = int(hands.group[row])
        annotations.append(annotation | {name: column[row] for name, column in predicted.items()})
    return annotations


def _boxes_as_xywh(box: Float32[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n 4"]:
    """x, y, width, height with few digits such that x + width is exactly the far corner in float32."""
    near, far = short_decimals(box[:, :2]), box[:, 2:]
    extent = short_decimals(far) - near
    for decimals in range(10):
        rounded = np.round(extent, decimals)
        fits = (near + rounded).astype(np.float32) == far
        extent = np.where(fits, rounded, extent)
    return np.concatenate([near, extent], axis=1)
