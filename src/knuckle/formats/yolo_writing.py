"""Writing YOLO-pose folders: images are copied beside their labels, so that the folder stands alone.

Copies have the pixels and the orientation of their images, and say no more of where they were taken.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from knuckle.formats.files import boxes_with_area, count_of, images_relative_to, replacing, write_text
from knuckle.formats.image_header import IMAGE_SUFFIXES, header_size_wh
from knuckle.formats.metadata import without_metadata
from knuckle.hands import OPTIONAL_COLUMNS, UNKNOWN, Hands, group_number, keypoint_extent
from knuckle.skeleton import NUM_JOINTS

_CONFIG: Final = f"""\
# Hand keypoints in FreiHAND's order. A hand has no left-right pairs of joints: flip_idx changes nothing.
train: images
val: images
kpt_shape: [{NUM_JOINTS}, 3]
flip_idx: {list(range(NUM_JOINTS))}
names:
  0: hand
"""


def write_yolo(hands: Hands, path: Path) -> list[str]:
    """Write a YOLO-pose folder: images/, labels/ and data.yaml, with the one class "hand".

    Keypoints outside of the frame become unlabelled and boxes are cut off at it: YOLO's own readers
    refuse a whole image for one number outside of 0..1.

    Returns:
        One sentence for each thing that the format cannot hold.

    Raises:
        ValueError: an image is missing, of an unknown kind or of another size than the hands say, the
            folder holds labels or pictures of other images, or something cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file, but YOLO-pose is written into a folder.")
    sources = dict(zip(hands.image.tolist(), hands.paths(), strict=True))
    size = _sizes(hands, sources)
    names = _names_in_folder(images_relative_to(hands, path / "images"), hands)
    _refuse_other_labels(path, set(names.values()))
    for name, source in sources.items():
        _refuse_other_picture(source, path / "images" / names[name])
    in_frame, lost = _cut_to_frame(hands, size)
    lines: dict[str, list[str]] = {}
    for row, name in enumerate(hands.image.tolist()):
        listed = lines.setdefault(name, [])
        if not np.isnan(in_frame.box[row]).any():
            listed.append(_line(in_frame.xy[row], in_frame.visibility[row], in_frame.box[row], size[row]))
    for name, listed in lines.items():
        _copy(sources[name], path / "images" / names[name])
        label = path / "labels" / names[name]
        write_text(label.with_suffix(".txt"), "".join(f"{line}\n" for line in listed))
    write_text(path / "data.yaml", _CONFIG)
    return lost + _lost_columns(hands, names)


def _cut_to_frame(hands: Hands, size: Float64[np.ndarray, "n 2"]) -> tuple[Hands, list[str]]:
    """Only what lies in the frame, the box NaN where nothing does; and what was cut off."""
    filled, lost = boxes_with_area(hands)
    box = np.where(np.isnan(filled), keypoint_extent(hands.xy), filled)
    inside = np.asarray(((hands.xy >= -0.5) & (hands.xy <= size[:, None] - 0.5)).all(axis=-1))
    outside = hands.labeled & ~inside
    low, high = np.maximum(box[:, :2], -0.5), np.minimum(box[:, 2:], size - 0.5)
    held = np.asarray((high >= low).all(axis=1))
    cut = np.concatenate([low, high], axis=1)
    clipped = np.asarray((cut != box).any(axis=1)) & held
    if outside.any():
        lost.append(f"xy: {count_of(outside, 'keypoint')} outside of the frame left out.")
    if clipped.any():
        lost.append(f"box: {count_of(clipped, 'hand')} with the box cut off at the frame.")
    if not held.all():
        lost.append(f"hands: {count_of(~held, 'hand')} with neither keypoints nor a box in the frame left out.")
    cut[~held] = np.nan
    return hands.replace(visibility=np.where(inside, hands.visibility, 0), box=cut), lost


def _sizes(hands: Hands, sources: dict[str, Path]) -> Float64[np.ndarray, "n 2"]:
    """The size of each hand's image, from its file; it must be what the hands say."""
    sizes = {}
    for name, file in sources.items():
        if file.suffix.lower() not in IMAGE_SUFFIXES:
            raise ValueError(f"{file} must be one of {', '.join(IMAGE_SUFFIXES)} to go into a YOLO folder.")
        sizes[name] = header_size_wh(file)
    size = np.array([sizes[name] for name in hands.image.tolist()], dtype=np.float64).reshape(-1, 2)
    differs = (hands.size > 0).all(axis=1) & (hands.size != size).any(axis=1)
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        said, found = hands.size[row].tolist(), size[row].astype(int).tolist()
        raise ValueError(
            f"{hands.paths()[row]} is {found[0]} x {found[1]} pixels, but its hands say {said[0]} x {said[1]}."
        )
    return size


def _names_in_folder(related: Hands, hands: Hands) -> dict[str, str]:
    """Where each image goes below images/: its own relative path, or the one below all images' common folder."""
    names = dict(zip(hands.image.tolist(), related.image.tolist(), strict=True))
    if any(_leaves(name) for name in names.values()):
        names = {name: name for name in names}
    if any(_leaves(name) for name in names):
        folders = {posixpath.dirname(name) for name in names}
        common = posixpath.commonpath(folders) if len({posixpath.isabs(f) for f in folders}) == 1 else ""
        names = {name: posixpath.relpath(name, common or ".") for name in names}
    taken: set[str] = set()
    for name, target in names.items():
        parts = [part for part in target.split("/") if part not in ("images", "labels", "..", "")]
        names[name] = _free("/".join(parts), taken)
        taken.add(posixpath.splitext(names[name])[0])
    return names


def _leaves(name: str) -> bool:
    return posixpath.isabs(name) or name.startswith("..")


def _free(name: str, taken: set[str]) -> str:
    """The name, numbered where another image's label file would be the same."""
    stem, suffix = posixpath.splitext(name)
    number, free = 1, stem
    while free in taken:
        number += 1
        free = f"{stem}_{number}"
    return free + suffix


def _refuse_other_labels(path: Path, names: set[str]) -> None:
    ours = {posixpath.splitext(name)[0] for name in names}
    labels = path / "labels"
    for file in sorted(labels.rglob("*.txt")):
        if file.relative_to(labels).with_suffix("").as_posix() not in ours:
            raise ValueError(f"{file} labels another image; write to an empty folder, or delete {labels} first.")


def _refuse_other_picture(source: Path, target: Path) -> None:
    if target.exists() and not target.samefile(source) and target.read_bytes() != without_metadata(source.read_bytes()):
        raise ValueError(f"{target} is there already and is another picture than {source}; write to an empty folder.")


def _line(
    xy: Float32[np.ndarray, "21 2"],
    visibility: UInt8[np.ndarray, " 21"],
    box: Float32[np.ndarray, " 4"],
    size: Float64[np.ndarray, " 2"],
) -> str:
    """One hand; the decimals of float64 bring the float32 pixels back exactly."""
    low, high = box[:2].astype(np.float64), box[2:].astype(np.float64)
    numbers: list[float] = [*(((low + high) / 2 + 0.5) / size).tolist(), *((high - low) / size).tolist()]
    for (x, y), v in zip(((xy.astype(np.float64) + 0.5) / size).tolist(), visibility.tolist(), strict=True):
        numbers += [x, y, v] if v else [0, 0, 0]
    return " ".join(["0", *map(repr, numbers)])


def _copy(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    with replacing(target) as temporary:
        temporary.write_bytes(without_metadata(source.read_bytes()))


def _lost_columns(hands: Hands, names: dict[str, str]) -> list[str]:
    written = [names[name] for name in hands.image.tolist()]
    labels = [name for name in ("side", "gesture") if (getattr(hands, name) != UNKNOWN).any()]
    labels += [name for name in OPTIONAL_COLUMNS if getattr(hands, name) is not None]
    lost = [f"{name}: YOLO has no place for it." for name in labels]
    if any(group != group_number(name) for group, name in zip(hands.group.tolist(), written, strict=True)):
        lost.append("group: YOLO has no place for it; every image will be a group of its own.")
    renamed = np.array([name != target for name, target in names.items()], dtype=bool)
    if renamed.any():
        example = next(f"{name} is {target}" for name, target in names.items() if name != target)
        lost.append(f"image: {count_of(renamed, 'image')} renamed below images/ ({example}).")
    if written != sorted(written, key=lambda name: posixpath.splitext(name)[0] + ".txt"):
        lost.append("order: the hands will come back in the order of the file names.")
    return lost
