"""YOLO-pose: a folder with images, one text file an image, and data.yaml.

Format: https://docs.ultralytics.com/datasets/pose. One line a hand: class, box centre and size,
then x y visibility (or x y) of each keypoint, all as fractions of the image. A fraction counts from
the frame's edge to its edge, so pixel x of W lies at (x + 0.5) / W: the centre of the first pixel
of two at 0.25. Files of tools that divide x by W come back half a pixel to the left and above.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from jaxtyping import Float64
from numpy.typing import NDArray

from knuckle.formats.files import is_file, is_folder
from knuckle.formats.image_header import IMAGE_SUFFIXES, header_size_wh
from knuckle.formats.problems import Problems
from knuckle.formats.records import Rows, gesture_name, gesture_of, shown, side_of
from knuckle.hands import UNKNOWN, UNLABELED, VISIBLE, Hands
from knuckle.skeleton import NUM_JOINTS

CONFIG_NAMES: Final = ("data.yaml", "data.yml", "dataset.yaml")
_SPLIT_KEYS: Final = ("train", "val", "test")
_TOLERANCE: Final = 0.5
"""Hands may reach out of the frame; fractions further out than this are pixels or nonsense."""


@dataclass(frozen=True)
class _Layout:
    """Where a folder keeps what.

    Attributes:
        root: the folder that image names start from.
        image_folders: split -> folders of images; the single split "" where there are none.
        dims: numbers a keypoint, 2 or 3; None where data.yaml does not say.
        classes: class number -> name.
    """

    root: Path
    image_folders: dict[str, list[Path]]
    dims: int | None
    classes: dict[int, str]


def detect(path: Path) -> bool:
    """Whether this is a YOLO folder (images and labels, also inside of split folders) or its data.yaml.

    Without data.yaml there must be a text file among the labels: other formats have folders of these names, too.
    """
    if path.is_file():
        return path.name in CONFIG_NAMES
    pairs = [path, *(path / key for key in ("train", "val", "valid", "test"))]
    labels = [pair / "labels" for pair in pairs if (pair / "images").is_dir() and (pair / "labels").is_dir()]
    is_named = any((path / name).is_file() for name in CONFIG_NAMES)
    return bool(labels) and (is_named or any(next(folder.rglob("*.txt"), None) for folder in labels))


def splits_yolo(path: Path) -> tuple[str, ...]:
    """The splits that data.yaml or the folders name.

    Raises:
        ValueError: data.yaml is broken or leads nowhere.
    """
    return tuple(name for name in _layout(path).image_folders if name)


def read_yolo(path: Path, split: str | None, problems: Problems) -> Hands:
    """The hands of a YOLO-pose folder, in the order of the label files.

    Classes named left or right give the side, classes named like a gesture give the gesture.

    Args:
        path: the folder, or its data.yaml.
        split: one of `splits_yolo`, or None for everything.
        problems: takes the lines and files that are left out.

    Raises:
        ValueError: this is no YOLO folder, the split is unknown, or a line is bad and problems are to
            stop the reading.
    """
    layout = _layout(path)
    if split is not None and split not in layout.image_folders:
        names = ", ".join(name for name in layout.image_folders if name) or "none"
        raise ValueError(f"{path} has no split {split!r}; its splits are: {names}.")
    rows = Rows()
    chosen = layout.image_folders if split is None else {split: layout.image_folders[split]}
    for folder in dict.fromkeys(folder for folders in chosen.values() for folder in folders):
        _add_folder(rows, layout, folder, problems)
    return rows.hands(layout.root)


def _layout(path: Path) -> _Layout:
    folder = path if path.is_dir() else path.parent
    config_file = next((folder / name for name in CONFIG_NAMES if (folder / name).is_file()), None)
    if not path.is_dir():
        config_file = path
    config = {} if config_file is None else _read_config(config_file)
    folders = _folders_of_config(folder, config_file, config) or _folders_of_tree(folder)
    if not folders:
        raise ValueError(f"{path} is no YOLO folder: it has no images/ and labels/.")
    images = folder / "images"
    inside = all(f == images or images in f.parents for listed in folders.values() for f in listed)
    return _Layout(images if inside else folder, folders, _dims(config_file, config), _classes(config))


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(file.read_bytes())
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:  # no such date; a thousand brackets
        reason = " ".join(str(error).split())
        raise ValueError(f"{file} cannot be read as YAML ({reason}).") from error
    if not isinstance(config, dict):
        raise ValueError(f"{file} must hold keys such as train, val, kpt_shape and names.")
    return config


def _folders_of_config(folder: Path, file: Path | None, config: Mapping[str, Any]) -> dict[str, list[Path]]:
    """Split -> image folders as data.yaml names them; without splits where all name the same.

    Exports name a test split that they do not hold, and Ultralytics looks for it only when it is to be tested.
    """
    base = folder / str(config.get("path") or "")
    found: dict[str, list[Path]] = {}
    for key in _SPLIT_KEYS:
        entries = config.get(key)
        listed = [] if not entries else entries if isinstance(entries, list) else [entries]
        candidates = [[base / str(entry), folder / str(entry).removeprefix("../")] for entry in listed]
        folders = [next((c for c in paths if is_folder(c)), paths[0]) for paths in candidates]
        missing = [folder for folder in folders if not is_folder(folder)]
        if missing and key == "test" and found:
            continue
        if missing:
            what = "a list; name the folder of the images instead" if is_file(missing[0]) else "no folder of images"
            raise ValueError(f"{file} names {missing[0]} as {key}, which is {what}.")
        if folders:
            found[key] = [f / "images" if is_folder(f / "images") else f for f in folders]
    if len(found) > 1 and len({tuple(folders) for folders in found.values()}) == 1:
        return {"": next(iter(found.values()))}
    return found


def _folders_of_tree(folder: Path) -> dict[str, list[Path]]:
    """Split -> image folder for images/, images/SPLIT/ and SPLIT/images/."""
    images = folder / "images"
    if images.is_dir():
        parts = sorted(part for part in images.iterdir() if part.is_dir() and (folder / "labels" / part.name).is_dir())
        return {part.name: [part] for part in parts} or {"": [images]}
    return {part.parent.name: [part] for part in sorted(folder.glob("*/images")) if (part.parent / "labels").is_dir()}


def _dims(file: Path | None, config: Mapping[str, Any]) -> int | None:
    shape = config.get("kpt_shape")
    if shape is None or shape in ([NUM_JOINTS, 2], [NUM_JOINTS, 3]):
        return None if shape is None else int(shape[1])
    raise ValueError(f"{file} has kpt_shape {shown(shape)}, but a hand has [{NUM_JOINTS}, 3] or [{NUM_JOINTS}, 2].")


def _classes(config: Mapping[str, Any]) -> dict[int, str]:
    names = config.get("names")
    numbered = enumerate(names) if isinstance(names, list) else names.items() if isinstance(names, dict) else ()
    return {int(number): str(name) for number, name in numbered if str(number).isdigit()}


def _add_folder(rows: Rows, layout: _Layout, folder: Path, problems: Problems) -> None:
    labels = _labels_folder(folder)
    if not labels.is_dir():
        problems.add(f"{labels} is missing, so the images in {folder} have no labels.")
        return
    for file in sorted(labels.rglob("*.txt"), key=Path.as_posix):
        stem = folder / file.relative_to(labels).with_suffix("")
        try:
            lines = [(number, line.split()) for number, line in _numbered_lines(file)]
            if not any(cells for _, cells in lines):
                continue  # a labelled image without a hand
            image = _image_of(stem, file)
            size = header_size_wh(image)
        except ValueError as error:
            problems.add(str(error))
            continue
        name = image.relative_to(layout.root).as_posix() if layout.root in image.parents else image.as_posix()
        for number, cells in lines:
            try:
                if cells:
                    _add_line(rows, cells, layout, name, size)
            except ValueError as error:
                problems.add(f"{file}:{number} {error}.")


def _labels_folder(images: Path) -> Path:
    """As every YOLO reader does: the last folder called images becomes labels."""
    parts = list(images.parts)
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        parts[last] = "labels"
    return Path(*parts)


def _numbered_lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        return enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not a text file in UTF-8.") from error
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror or error}).") from error


def _image_of(stem: Path, label_file: Path) -> Path:
    for suffix in IMAGE_SUFFIXES:
        for candidate in (stem.with_name(stem.name + suffix), stem.with_name(stem.name + suffix.upper())):
            if is_file(candidate):
                return candidate
    raise ValueError(f"{label_file} has no image {stem}.jpg (or .png, .bmp, .webp) beside it.")


def _add_line(rows: Rows, cells: list[str], layout: _Layout, image: str, size: tuple[int, int]) -> None:
    arity = {3: (5 + 3 * NUM_JOINTS,), 2: (5 + 2 * NUM_JOINTS,), None: (5, 5 + 3 * NUM_JOINTS, 5 + 2 * NUM_JOINTS)}
    if len(cells) not in arity[layout.dims]:
        expected = " or ".join(map(str, arity[layout.dims]))
        raise ValueError(f"has {len(cells)} numbers, expected {expected} (class, box, {NUM_JOINTS} keypoints)")
    try:
        numbers = np.array([float(cell) for cell in cells])
    except ValueError:
        wrong = next(cell for cell in cells if not _is_number(cell))
        raise ValueError(f"has {shown(wrong)} where a number belongs") from None
    if not numbers[0].is_integer() or numbers[0] < 0:
        raise ValueError(f"has the class {shown(cells[0])}, expected a whole number")
    keypoints = _keypoints(numbers[5:])
    _check_fractions(numbers[1:5], keypoints)
    scale = np.array(size, dtype=np.float64)
    keypoints[:, :2] = keypoints[:, :2] * scale - 0.5
    center, half = numbers[1:3] * scale - 0.5, numbers[3:5] * scale / 2
    label = layout.classes.get(int(numbers[0]), "")
    rows.add(
        image,
        keypoints,
        box=np.concatenate([center - half, center + half]),
        side=_side(label),
        gesture=gesture_of(gesture_name(label)),
        size=size,
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _keypoints(numbers: NDArray[np.float64]) -> Float64[np.ndarray, "21 3"]:
    """x, y as fractions, visibility. In files without it, the point (0, 0) or a negative one is unlabelled."""
    if not numbers.size:
        return np.zeros((NUM_JOINTS, 3))
    points = numbers.reshape(NUM_JOINTS, -1)
    if points.shape[1] == 3:
        return points.copy()
    missing = (points == 0).all(axis=1) | (points < 0).any(axis=1)
    return np.concatenate([points, np.where(missing, UNLABELED, VISIBLE)[:, None]], axis=1)


def _check_fractions(box: NDArray[np.float64], keypoints: Float64[np.ndarray, "21 3"]) -> None:
    used = np.concatenate([box, keypoints[keypoints[:, 2] > UNLABELED, :2].ravel()])
    outside = used[~((used >= -_TOLERANCE) & (used <= 1 + _TOLERANCE))]
    if outside.size:
        raise ValueError(f"has {outside[0]:g} where a fraction of the image, 0 to 1, belongs")


def _side(label: str) -> int:
    words = label.casefold().replace("_", " ").replace("-", " ").split()
    return side_of("left") if "left" in words else side_of("right") if "right" in words else UNKNOWN
