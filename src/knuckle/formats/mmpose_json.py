"""What MMPose's two COCO-like hand files, for FreiHAND and for RHD, have in common: finding, parsing, images.

Top keys info, images (id, file_name, width, height), annotations (id, image_id, bbox as x, y, w, h,
21 keypoints as x, y, v, flat or nested) and categories. The two differ in joint order, in what v and
the ids mean, and in where the images lie: `freihand_json.py` and `rhd_json.py`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int32, Int64
from numpy.typing import NDArray

from knuckle.formats.bulk import collector_paused, missing_images, stack
from knuckle.formats.cache import CacheEntry
from knuckle.formats.files import head_of, is_file
from knuckle.formats.problems import Problems, read_json
from knuckle.hands import LEFT, RIGHT, UNKNOWN
from knuckle.skeleton import NUM_JOINTS

_DESCRIPTION: Final = re.compile(rb'"description"\s*:\s*"([^"]*)"')
_SIDES: Final = {"left": LEFT, "right": RIGHT, None: UNKNOWN}
_IMAGES_TRIED: Final = 100
_LARGEST_SIDE: Final = 2**31 - 1
_LARGEST_ID: Final = 2**53

_Record = dict[str, Any]
_Image = tuple[str, int, int, int]
"""File name, id, width, height."""


@dataclass(frozen=True)
class Annotations:
    """The sound annotations of one file, as columns.

    Attributes:
        image: (n,) str, `file_name` of the image.
        image_id: (n,) int64.
        size: (n, 2) int32, image width and height.
        keypoints: (n, 21, 3) float32, x, y in image pixels and v, as found.
        box: (n, 4) float32, x1, y1, x2, y2 from the file's `bbox`.
        side: (n,) int8, from `hand_type`; -1 where the file has none.
    """

    image: NDArray[np.str_]
    image_id: Int64[np.ndarray, " n"]
    size: Int32[np.ndarray, "n 2"]
    keypoints: Float32[np.ndarray, "n 21 3"]
    box: Float32[np.ndarray, "n 4"]
    side: Int8[np.ndarray, " n"]

    def __getitem__(self, rows: Bool[np.ndarray, " n"]) -> Annotations:
        return Annotations(**{name: column[rows] for name, column in vars(self).items()})


@dataclass(frozen=True)
class FileSet:
    """How the files of one data set are called and told from other json files.

    Attributes:
        description: `info.description` in the files, in any case.
        pattern: file name with a place for the split.
        splits: the splits that MMPose made.
    """

    description: str
    pattern: str
    splits: tuple[str, ...]

    def detect(self, path: Path) -> bool:
        """Whether this is such a file, or a folder with the files of some splits, or with this one json file."""
        return bool(self.by_split(path)) or self._single(path) is not None

    def by_split(self, folder: Path) -> dict[str, Path]:
        """The files in a folder or in its `annotations`, by split."""
        found = {}
        for split in self.splits:
            name = self.pattern.format(split)
            for file in (folder / "annotations" / name, folder / name):
                if file.is_file():
                    found[split] = file
                    break
        return found

    def choose(self, path: Path, split: str | None) -> list[Path]:
        """The files to read: the one of `split`, or all of the folder's, or the single file.

        Raises:
            ValueError: there is no such file or split; names what there is.
        """
        files = self.by_split(path)
        if not files:
            single = self._single(path) or path
            if not single.is_file():
                names = ", ".join(self.pattern.format(name) for name in self.splits)
                raise ValueError(f"{path} holds none of {names}." if path.is_dir() else f"{path} does not exist.")
            if split is not None:
                raise ValueError(f"{single} is a single file, so it has no split {split!r}; leave the split out.")
            return [single]
        if split is not None and split not in files:
            raise ValueError(f"{path} has no split {split!r}; it has {', '.join(files)}.")
        return [file for name, file in files.items() if split in (None, name)]

    def _single(self, path: Path) -> Path | None:
        candidates = list(islice(path.glob("*.json"), 2)) if path.is_dir() else [path]
        return candidates[0] if len(candidates) == 1 and self._describes(candidates[0]) else None

    def _describes(self, file: Path) -> bool:
        """Judged by the first bytes; a file that does not describe itself early counts by its name."""
        if file.suffix.lower() != ".json" or not file.is_file():
            return False
        head = head_of(file)
        described = _DESCRIPTION.search(head)
        if described:
            return described[1].decode("utf-8", "replace").strip().lower() == self.description.lower()
        return b'"images"' in head and file.name in {self.pattern.format(split) for split in self.splits}


def read_annotations(path: Path, problems: Problems) -> Annotations:
    """All annotations of a file; those that are no hand with 21 keypoints on a known image are reported.

    A file without a fault is kept in the cache.

    Raises:
        ValueError: the file cannot be read, or has no lists `images` and `annotations`.
    """
    entry = CacheEntry.of("mmpose_json", [path])
    stored = entry.load()
    if stored is not None:
        return Annotations(**stored)
    reported = len(problems.messages)
    with collector_paused():
        annotations = _parse(path, problems)
    if len(problems.messages) == reported:
        entry.store(asdict(annotations))
    return annotations


def with_images(
    path: Path, annotations: Annotations, image_folders: Sequence[str], problems: Problems
) -> tuple[Annotations, Path]:
    """The annotations whose image exists, and the folder that their file names start from.

    Names start from the json's own folder, from the data set's (the one above), or from one of
    `image_folders` in either.

    Raises:
        ValueError: no image can be found anywhere.
    """
    names: list[str] = annotations.image.tolist()
    bases = [folder / inner for folder in (path.parent, path.parent.parent) for inner in ("", *image_folders)]
    root = next((base for base in bases if any(is_file(base / name) for name in names[:_IMAGES_TRIED])), None)
    if root is None and names:
        raise ValueError(
            f"{path}: its images (the first is {names[0]}) lie neither beside it nor in {path.parent.parent}; "
            "put the data set's images there."
        )
    root = root or path.parent
    found = np.ones(len(names), dtype=bool)
    for row in missing_images(root, names):
        problems.add(f"{path}: image {root / names[row]} is missing.")
        found[row] = False
    return (annotations if found.all() else annotations[found]), root


def _parse(path: Path, problems: Problems) -> Annotations:
    data = read_json(path)
    if not isinstance(data, dict) or not all(isinstance(data.get(key), list) for key in ("images", "annotations")):
        raise ValueError(f"{path} is not an annotation file: it needs the lists `images` and `annotations`.")
    images = _images(path, data["images"], problems)
    records = [record if isinstance(record, dict) else {} for record in data["annotations"]]
    rows, faults = _joined(records, images)
    keypoints, boxes = _columns(records, faults)
    for index in sorted(faults):
        problems.add(f"{path}, annotations[{index}] {faults[index]}.")
    name, image_id, width, height, side = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    annotations = Annotations(
        image=np.array(name, dtype=np.str_),
        image_id=np.array(image_id, dtype=np.int64),
        size=np.array([width, height], dtype=np.int32).T,
        keypoints=keypoints,
        box=boxes,
        side=np.array(side, dtype=np.int8),
    )
    if not faults:
        return annotations
    sound = np.ones(len(records), dtype=bool)
    sound[list(faults)] = False
    return annotations[sound]


def _joined(
    records: Sequence[_Record], images: dict[Hashable, _Image]
) -> tuple[list[tuple[str, int, int, int, int]], dict[int, str]]:
    """Each annotation's image and side, and by index why some have none."""
    rows, faults, seen = list[tuple[str, int, int, int, int]](), dict[int, str](), set[int]()
    for index, record in enumerate(records):
        try:
            number = record["id"]
            if number in seen:
                faults[index] = f"has the id {number}, which another annotation has"
            seen.add(number)
            rows.append((*images[record["image_id"]], _SIDES[record.get("hand_type")]))
        except (KeyError, TypeError):
            rows.append(("", 0, 0, 0, UNKNOWN))
            faults[index] = _dangling(record, images)
    return rows, faults


def _images(path: Path, records: Sequence[Any], problems: Problems) -> dict[Hashable, _Image]:
    """The sound images by id."""
    images = dict[Hashable, _Image]()
    for index, record in enumerate(records):
        try:
            number, name = record["id"], record["file_name"]
            image_id, width, height = int(number), int(record["width"]), int(record["height"])
        except (KeyError, TypeError, ValueError, OverflowError):
            problems.add(f"{path}, images[{index}] needs id, file_name, width and height.")
            continue
        if not isinstance(name, str) or not name:
            problems.add(f"{path}, images[{index}] has {name!r} as file_name.")
        elif not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
            problems.add(f"{path}, images[{index}] says that it is {width} x {height} pixels large.")
        elif abs(image_id) > _LARGEST_ID:
            problems.add(f"{path}, images[{index}] has the id {number}, which is too large.")
        elif number in images:
            problems.add(f"{path}, images[{index}] has the id {number}, which another image has.")
        else:
            images[number] = (name, image_id, width, height)
    return images


def _columns(
    records: Sequence[_Record], faults: dict[int, str]
) -> tuple[Float32[np.ndarray, "n 21 3"], Float32[np.ndarray, "n 4"]]:
    """Keypoints and boxes (x1, y1, x2, y2) of all records; what is wrong with them joins `faults`."""
    values = [record.get("keypoints") for record in records]
    nested = bool(values) and isinstance(values[0], list) and bool(values[0]) and isinstance(values[0][0], list)
    keypoints, wrong_keypoints = stack(values, (NUM_JOINTS, 3) if nested else (3 * NUM_JOINTS,))
    xywh, wrong_boxes = stack([record.get("bbox") for record in records], (4,))
    with np.errstate(over="ignore", invalid="ignore"):
        points = keypoints.reshape(-1, NUM_JOINTS, 3).astype(np.float32)
        boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32)
        empty = ~(np.isfinite(boxes).all(axis=1) & (xywh[:, 2:] > 0).all(axis=1))
    x, y, flag = (points[..., column] for column in range(3))
    other_flag = ((flag != 0) & (flag != 1) & (flag != 2)).any(axis=1)
    lost = ((flag > 0) & ~(np.isfinite(x) & np.isfinite(y))).any(axis=1)
    found = [
        {index: f"has keypoints whose array {fault}" for index, fault in wrong_keypoints.items()},
        {index: f"has a bbox that {fault}" for index, fault in wrong_boxes.items()},
        dict.fromkeys(np.flatnonzero(empty).tolist(), "has a bbox without area, or one that is not finite"),
        dict.fromkeys(np.flatnonzero(other_flag).tolist(), "has a keypoint whose v is not 0, 1 or 2"),
        dict.fromkeys(np.flatnonzero(lost).tolist(), "has a labelled keypoint that is not finite"),
    ]
    for part in found:
        for index, fault in part.items():
            faults.setdefault(index, fault)
    return points, boxes


def _dangling(record: _Record, images: dict[Hashable, _Image]) -> str:
    """Why an annotation cannot be joined to its image."""
    if not all(isinstance(record.get(key), int) for key in ("id", "image_id")):
        return "needs a whole number as id and as image_id"
    if record["image_id"] not in images:
        return f"refers to image {record['image_id']}, which is not among the sound images"
    return f"has the hand_type {record.get('hand_type')!r}, which is neither left nor right"
