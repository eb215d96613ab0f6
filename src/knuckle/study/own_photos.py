"""Own photos: a folder of photos and Labelme files becomes checked hands, resized as the paper does.

The paper resizes its own photos to 244 x 244 px, whatever their shape. Files may label a hand in part, or
several hands; labels refer to the photo as its EXIF orientation shows it, which is how Labelme shows it.
Labels of a photo before its turn are found where a quarter turn swaps the sides of the frame, not otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Final

import cv2
import numpy as np

from knuckle.data.images import ImageError, image_size, read_image
from knuckle.data.suspicions import label_suspicions
from knuckle.draw import write_image
from knuckle.formats import coco, labelme, read_checked, write
from knuckle.formats.image_header import IMAGE_SUFFIXES
from knuckle.formats.labelme_shapes import HAND_LABEL, Record
from knuckle.formats.problems import OnBad
from knuckle.formats.records import SIDE_NAMES, gesture_name, shown
from knuckle.hands import Hands
from knuckle.skeleton import GESTURES, JOINT_NAMES, NUM_JOINTS

PAPER_SIZE: Final = 244
"""Side in pixels of the paper's own photos, as printed."""

FINDINGS_SHOWN: Final = 3
"""Joints that a sentence names."""

BOX_SLACK: Final = 0.1
"""A point is outside its hand's box if it lies farther beyond it than this part of the box's longer side."""


@dataclass(frozen=True)
class OwnPhotos:
    """What a folder holds.

    Attributes:
        hands: all usable hands; `size` is that of the upright photo.
        findings: one sentence for each thing that is missing or odd, with what to do. Hands that are
            labelled in part are in `hands`, and their unlabelled joints count nowhere.
        skipped: one sentence for each record that cannot be used and is not in `hands`.
    """

    hands: Hands
    findings: tuple[str, ...]
    skipped: tuple[str, ...]


def read_own_photos(folder: Path, on_bad: OnBad = "skip") -> OwnPhotos:
    """Reads and checks a folder of photos with Labelme files.

    Args:
        folder: searched with its subfolders.
        on_bad: "skip" lists what cannot be used, "stop" raises on the first.

    Raises:
        ValueError: there is no Labelme file, or something cannot be used and `on_bad` is "stop".
    """
    _refuse_coco(folder)
    hands, skipped = read_checked(folder, "labelme", on_bad=on_bad)
    sizes, unusable = _upright_sizes(hands)
    if unusable and on_bad == "stop":
        raise ValueError(next(iter(unusable.values())))
    kept = np.array([name not in unusable for name in hands.image.tolist()], dtype=bool)
    hands = hands[kept]
    hands = hands.replace(size=np.array([sizes[name] for name in hands.image.tolist()]).reshape(-1, 2))
    files = labelme.files_by_image(folder)
    findings = [
        *_without_labels(folder, [*sizes, *unusable], files, skipped),
        *_partial(hands),
        *_odd(hands),
        *_unknown_flags(files),
    ]
    return OwnPhotos(hands, tuple(findings), (*skipped, *unusable.values()))


def _refuse_coco(folder: Path) -> None:
    """COCO annotations where Labelme files should be: says how to turn them into such."""
    if not folder.exists() or labelme.detect(folder):
        return
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else [folder]:
        if coco.detect(file):
            raise ValueError(
                f"{file} holds COCO annotations, but own photos need Labelme files: convert them with "
                f"knuckle convert {file} IMAGES --to labelme, IMAGES being the folder of the photos, and name that."
            )


def _upright_sizes(hands: Hands) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """The size of each photo, and a sentence for each that cannot be used with its labels."""
    sizes: dict[str, tuple[int, int]] = {}
    unusable: dict[str, str] = {}
    for name, path, labeled_wh in zip(hands.image.tolist(), hands.paths(), hands.size.tolist(), strict=True):
        if name in sizes or name in unusable:
            continue
        try:
            sizes[name] = image_size(path)
        except ImageError as error:
            unusable[name] = str(error)
            continue
        width, height = sizes[name]
        if labeled_wh == [height, width] and width != height:
            unusable[name] = (
                f"{path} is {width} x {height} upright, but was labelled as {height} x {width}: its labels were made "
                "on the picture before its EXIF rotation; open both in Labelme, move the points and save again."
            )
        elif min(labeled_wh) > 0 and labeled_wh != [width, height]:
            unusable[name] = (
                f"{path} is {width} x {height}, but was labelled as {labeled_wh[0]} x {labeled_wh[1]}; label the "
                "photo that is there, or put back the one that was labelled."
            )
        if name in unusable:
            del sizes[name]
    return sizes, unusable


def _without_labels(
    folder: Path, labeled: Sequence[str], files: dict[str, tuple[Path, Record]], skipped: Sequence[str]
) -> Iterator[str]:
    """Photos without a hand, but for those whose labels are among the skipped records: they have some."""
    known = set(labeled)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() not in IMAGE_SUFFIXES or name in known:
            continue
        labels = (str(files[name][0] if name in files else path.with_suffix(".json")),)
        if not any(sentence.startswith(labels) for sentence in skipped):
            yield f"{path} has no labelled hand; label it in Labelme, or leave it: it is not used."


def _partial(hands: Hands) -> Iterator[str]:
    for hand, path in zip(hands, hands.paths(), strict=True):
        missing = [JOINT_NAMES[joint] for joint in np.flatnonzero(~hand.labeled[0])]
        if missing:
            named = ", ".join(missing[:FINDINGS_SHOWN]) + (", ..." if len(missing) > FINDINGS_SHOWN else "")
            yield (
                f"{path}: a hand has {NUM_JOINTS - len(missing)} of {NUM_JOINTS} joints, without {named}; "
                "add them in Labelme where they can be placed; what is not labelled is not measured."
            )


def _odd(hands: Hands) -> Iterator[str]:
    paths = hands.paths()
    for suspicion in label_suspicions(hands):
        yield f"{paths[suspicion.row]}: {suspicion.sentence}; look at it in Labelme."
    for row, count in enumerate(_outside_box(hands)):
        if count:
            yield (
                f"{paths[row]}: the box does not hold its points, {count} of which lie outside; draw the hand's "
                "rectangle around them in Labelme, or delete it: the points then make the box."
            )


def _outside_box(hands: Hands) -> list[int]:
    """How many labelled points of each hand lie outside its box, by more than a part of the box's longer side."""
    low, high = hands.box[:, None, :2], hands.box[:, None, 2:]
    slack = BOX_SLACK * (high - low).max(axis=2)
    beyond = np.maximum(low - hands.xy, hands.xy - high).max(axis=2)  # NaN where a point or the box is not known
    return [int(count) for count in (beyond > slack).sum(axis=1)]


def _unknown_flags(files: dict[str, tuple[Path, Record]]) -> Iterator[str]:
    """Flags of hands' rectangles that may be meant as a gesture and are none, such as a misspelt one."""
    for file, content in files.values():
        for shape in content["shapes"]:
            flags = shape.get("flags")
            if shape["label"].strip().casefold() != HAND_LABEL or not isinstance(flags, dict):
                continue
            names = [name for name, value in flags.items() if value is True and name not in SIDE_NAMES.values()]
            if names and not any(gesture_name(name) for name in names):
                meant = [close[0] for name in names if (close := get_close_matches(name.casefold(), GESTURES, n=1))]
                advice = f"{meant[0]} may be meant" if meant else "docs/gestures.md has the names"
                yield (
                    f"{file}: no gesture is called {' or '.join(map(shown, names))}, so that flag of a hand says "
                    f"nothing; {advice}: correct it in Labelme, or leave it if it is no gesture."
                )


def resize_own_photos(hands: Hands, size: int, folder: Path) -> Hands:
    """Write the photos as squares of `size` pixels without keeping their shape, and their labels as Labelme files.

    Pixel centres lie at integers, so a point moves to (x + 0.5) size / width - 0.5. Pictures are written as
    PNG in the same subfolders, without the camera's data.

    Args:
        hands: as `read_own_photos` gives them.
        size: side of the squares in pixels: 244 as the paper prints, or 224 as MMPose's loader assumes.
        folder: new or empty, or one that was written from the same photos.

    Returns:
        The same hands on the resized photos, in the same order; groups as before.

    Raises:
        ValueError: a photo cannot be read, two photos would get one name, or a file cannot be written.
    """
    names = {name: f"{PurePosixPath(name).with_suffix('')}.png" for name in dict.fromkeys(hands.image.tolist())}
    source: dict[str, str] = {}
    for name, new in names.items():
        if new in source:
            raise ValueError(f"{name} and {source[new]} would both become {new}; rename one of the photos.")
        if PurePosixPath(new).is_absolute() or ".." in PurePosixPath(new).parts:
            raise ValueError(f"{name} lies outside of the folder of labels; move the photo beside its Labelme file.")
        source[new] = name
    for name, path in dict(zip(hands.image.tolist(), hands.paths(), strict=True)).items():
        image = read_image(path)
        shrinks = max(image.shape[:2]) > size
        squeezed = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        write_image(folder / names[name], np.asarray(squeezed, dtype=np.uint8))
    ratio = size / hands.size.astype(np.float64)
    box = (hands.box + 0.5) * np.tile(ratio, 2) - 0.5
    resized = hands.replace(
        image=[names[name] for name in hands.image.tolist()],
        xy=(hands.xy + 0.5) * ratio[:, None] - 0.5,
        box=box,
        size=np.full((len(hands), 2), size),
        root=folder,
    )
    write(resized, folder, "labelme")
    return resized
