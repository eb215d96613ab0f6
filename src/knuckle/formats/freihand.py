"""FreiHAND as released: a folder with `training_K.json`, `training_xyz.json` and `training/rgb/%08d.jpg`.

Each record is a hand in camera coordinates (metres) and a camera; its keypoints in the image are
uv = K xyz / z, from the wrist over thumb, index, middle, ring and little finger, base to tip. The
training set shows every record with up to four backgrounds: record `id` in version v is file
number id + N v, where N is the number of records (32,560 in the release). Evaluation likewise, with
one version; its labels were published later, so many copies lack `evaluation_xyz.json`.

Source: https://github.com/lmb-freiburg/freihand, README and utils/fh_utils.py. All hands are right
ones; nothing is said of visibility. MMPose's json of the same images is read through here, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from numpy.typing import NDArray

from knuckle.formats import freihand_json
from knuckle.formats.bulk import collector_paused, listing, stack
from knuckle.formats.cache import CacheEntry
from knuckle.formats.image_header import header_size_wh
from knuckle.formats.problems import Problems, read_json
from knuckle.hands import RIGHT, VISIBLE, Hands, keypoint_extent
from knuckle.skeleton import NUM_JOINTS

SPLITS: Final = ("training", "evaluation")

EVALUATION_GROUP: Final = 1_000_000
"""Added to the record's index: groups of the evaluation set never meet those of the training set."""

_WITHHELD: Final = "as evaluation_xyz.json came with a later download"
_VERSIONS: Final = {"training": 4, "evaluation": 1}
_FRAME: Final = (224, 224)
_FARTHEST: Final = 1e6  # pixels; beyond lies no camera's error but a broken record


def detect(path: Path) -> bool:
    """Whether this is the release's folder, or MMPose's json file or folder."""
    return _is_release(path) or freihand_json.detect(path)


def splits_freihand(path: Path) -> tuple[str, ...]:
    """The splits that have labels; those of MMPose's json where there is no release."""
    return _labeled_splits(path) or freihand_json.splits_freihand_json(path)


def read_freihand(path: Path, split: str | None, problems: Problems) -> Hands:
    """The hands of the release, in the order of the file numbers, or of MMPose's json.

    `visibility` is 2 everywhere and `side` right. `group` is the record's index, plus
    `EVALUATION_GROUP` in the evaluation set. The number of versions is found from the images, so a
    partial copy is read as far as it goes. A record or image with a fault is reported and left out.

    Args:
        path: the release's folder, or MMPose's json file or folder.
        split: "training", "evaluation" or, of MMPose's json, "train", "val", "test"; None reads all
            of the release (of the json where there is no release).
        problems: takes the faults.

    Raises:
        ValueError: a file is missing, broken, or does not fit the other, or there is no such split.
    """
    labeled, mmpose = _labeled_splits(path), freihand_json.splits_freihand_json(path)
    if split in mmpose or (not labeled and (mmpose or not _is_release(path))):
        return freihand_json.read_freihand_json(path, split, problems)
    withheld = "evaluation" not in labeled and (path / "evaluation_K.json").is_file()
    if withheld and split == "evaluation":
        raise ValueError(f"{path} has no labels for its evaluation set, {_WITHHELD}.")
    if not labeled:
        raise ValueError(f"{path / 'training_xyz.json'} is missing; unpack the whole release there.")
    if split is not None and split not in labeled:
        raise ValueError(f"{path} has no split {split!r}; it has {', '.join((*labeled, *mmpose))}.")
    if withheld and split is None:
        # A note, not a bad record: it stops nothing.
        problems.messages.append(f"{path}: the evaluation set has no labels and was left out, {_WITHHELD}.")
    parts = [_read_split(path, name, problems) for name in labeled if split in (None, name)]
    return parts[0] if len(parts) == 1 else Hands.concat(parts)


def write_freihand(hands: Hands, path: Path) -> list[str]:
    """Write MMPose's json; see `freihand_json.write_freihand_json`."""
    return freihand_json.write_freihand_json(hands, path)


def _is_release(path: Path) -> bool:
    return any((path / f"{split}_{what}.json").is_file() for split in SPLITS for what in ("xyz", "K"))


def _labeled_splits(path: Path) -> tuple[str, ...]:
    return tuple(split for split in SPLITS if (path / f"{split}_xyz.json").is_file())


def _read_split(path: Path, split: str, problems: Problems) -> Hands:
    xy, box, sound = _labels(path, split, problems)
    records = len(xy)
    if not records:
        return Hands.empty(path)
    present = _file_numbers(path / split / "rgb")
    versions = _versions(path, split, records, present)
    numbers = (np.arange(records) + records * versions[:, None]).ravel()
    record = numbers % records
    absent = ~np.isin(numbers, present)
    for number in numbers[absent & sound[record]].tolist():
        problems.add(f"{path / _file_name(split, number)} is missing.")
    kept = sound[record] & ~absent
    numbers, record = numbers[kept], record[kept]
    n = len(numbers)
    return Hands(
        image=np.array([_file_name(split, number) for number in numbers.tolist()], dtype=np.str_),
        xy=xy[record],
        visibility=np.full((n, NUM_JOINTS), VISIBLE, dtype=np.uint8),
        box=box[record],
        side=np.full(n, RIGHT, dtype=np.int8),
        group=record + (EVALUATION_GROUP if split == "evaluation" else 0),
        size=np.tile(np.array(_frame_size(path, split, numbers), dtype=np.int32), (n, 1)),
        root=path,
    )


def _labels(
    path: Path, split: str, problems: Problems
) -> tuple[Float32[np.ndarray, "N 21 2"], Float32[np.ndarray, "N 4"], Bool[np.ndarray, " N"]]:
    """Keypoints and their extent in image pixels, and which records are sound; from the cache where it can be."""
    camera_file, points_file = (path / f"{split}_{what}.json" for what in ("K", "xyz"))
    if not camera_file.is_file():
        raise ValueError(f"{camera_file} is missing; {points_file.name} means nothing without its cameras.")
    entry = CacheEntry.of("freihand", [camera_file, points_file])
    stored = entry.load()
    if stored is not None:
        return stored["xy"], stored["box"], np.ones(len(stored["xy"]), dtype=bool)
    with collector_paused():
        xy, messages = _project_file(camera_file, points_file)
    for index in sorted(messages):
        problems.add(f"{messages[index]}.")
    sound = np.ones(len(xy), dtype=bool)
    sound[list(messages)] = False
    box = keypoint_extent(xy)
    if not messages:
        entry.store({"xy": xy, "box": box})
    return xy, box, sound


def _project_file(camera_file: Path, points_file: Path) -> tuple[Float32[np.ndarray, "N 21 2"], dict[int, str]]:
    """Keypoints of all records, and by index what is wrong with a record."""
    cameras, points = _records(camera_file), _records(points_file)
    if len(cameras) != len(points):
        raise ValueError(
            f"{camera_file} has {len(cameras)} records but {points_file.name} has {len(points)}, "
            "so nothing says which belong together; unpack the release again."
        )
    camera, faults = stack(cameras, (3, 3))
    xyz, point_faults = stack(points, (NUM_JOINTS, 3))
    messages = {index: f"{camera_file}, record {index} {fault}" for index, fault in faults.items()}
    messages |= {index: f"{points_file}, record {index} {fault}" for index, fault in point_faults.items()}
    xy = project(camera, xyz)
    for mask, file, fault in _faults(camera, xyz, xy, camera_file, points_file):
        for index in np.flatnonzero(mask).tolist():
            messages.setdefault(index, f"{file}, record {index} {fault}")
    return xy, messages


def _records(file: Path) -> list[Any]:
    records = read_json(file)
    if not isinstance(records, list):
        raise ValueError(f"{file} must hold a list with one entry a record; this is not FreiHAND's file.")
    return records


def project(camera: Float64[np.ndarray, "n 3 3"], xyz: Float64[np.ndarray, "n k 3"]) -> Float32[np.ndarray, "n k 2"]:
    """Camera coordinates (any unit) to image pixels: uv = K xyz / z."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        uvw = xyz @ camera.transpose(0, 2, 1)
        return np.asarray(uvw[..., :2] / uvw[..., 2:], dtype=np.float32)


def _faults(
    camera: Float64[np.ndarray, "n 3 3"],
    xyz: Float64[np.ndarray, "n 21 3"],
    xy: Float32[np.ndarray, "n 21 2"],
    camera_file: Path,
    points_file: Path,
) -> list[tuple[Bool[np.ndarray, " n"], Path, str]]:
    """What can be wrong with the numbers of a record of the right shape."""
    focal = camera[:, [0, 1], [0, 1]]
    no_camera = ~((camera[:, 2] == (0, 0, 1)).all(axis=1) & (focal > 0).all(axis=1) & np.isfinite(camera).all((1, 2)))
    with np.errstate(invalid="ignore"):
        behind = (xyz[..., 2] <= 0).any(axis=1)
        far = ~(np.abs(xy) < _FARTHEST).all(axis=(1, 2))
    return [
        (
            no_camera,
            camera_file,
            "is no camera matrix: it needs finite numbers, a positive focal length, last row 0 0 1",
        ),
        (~np.isfinite(xyz).all(axis=(1, 2)), points_file, "has a coordinate that is not finite"),
        (behind, points_file, "has a keypoint with z <= 0, behind the camera"),
        (far, points_file, f"has a keypoint that falls more than {_FARTHEST:.0e} pixels from the image"),
    ]


def _file_numbers(folder: Path) -> Int64[np.ndarray, " m"]:
    """The numbers of the images in a folder."""
    stems = [name[:8] for name in listing(folder) if len(name) == 12 and name.endswith(".jpg")]
    return np.sort(np.array([int(stem) for stem in stems if stem.isdecimal()], dtype=np.int64))


def _versions(path: Path, split: str, records: int, present: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " v"]:
    """The background versions of which at least one image is there."""
    if not len(present):
        raise ValueError(f"{path / split / 'rgb'} holds no images such as {_file_name(split, 0)}; unpack them there.")
    versions = np.unique(present // records)
    if versions[-1] >= _VERSIONS[split]:
        raise ValueError(
            f"{path / _file_name(split, int(present[-1]))} is beyond {_VERSIONS[split]} x {records} records of "
            f"{split}_K.json, so images and annotations do not belong together."
        )
    return versions


def _frame_size(path: Path, split: str, numbers: NDArray[np.int64]) -> tuple[int, int]:
    """Width and height of the first image that can be read, taken for all; 224 x 224 in the release."""
    for number in numbers[:10].tolist():
        try:
            return header_size_wh(path / _file_name(split, number))
        except ValueError:  # the loader will report it
            continue
    return _FRAME


def _file_name(split: str, number: int) -> str:
    return f"{split}/rgb/{number:08d}.jpg"
