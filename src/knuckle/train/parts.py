"""The hands of a run in three parts: read from the recipe's sources and freed of what cannot be used, or rendered.

Rendered hands to train on are never all there: they come as training goes on. Those that measure the network
are rendered once, into the run folder, and read from there.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from knuckle.data.rendered import RenderedHands
from knuckle.data.splits import split_by_group
from knuckle.formats import read_checked, splits
from knuckle.formats.files import image_root
from knuckle.formats.problems import OnBad, Problems
from knuckle.hands import UNKNOWN, Hands
from knuckle.render.backgrounds import Photos
from knuckle.render.folder import is_finished, render_folder, settings
from knuckle.skeleton import NUM_JOINTS
from knuckle.train.distributed import Team, wait_for_team
from knuckle.train.recipe import Data, Recipe, Rendered, Source


@dataclass(frozen=True)
class Parts:
    """What is trained on, what is measured after epochs, and what is kept for the end.

    Attributes:
        train: the hands that the network learns from, those of one epoch where they are rendered.
        validation: the hands that choose the best epoch; empty where `data.validation` is 0.
        test: the hands that training never looks at; may be empty.
        skipped: one sentence for each hand left out.
    """

    train: Hands | RenderedHands
    validation: Hands | RenderedHands
    test: Hands | RenderedHands
    skipped: tuple[str, ...]

    def named(self) -> dict[str, Hands | RenderedHands]:
        """The three tables by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def fingerprint(self) -> dict[str, Any]:
        """Counts and a checksum of each part, and what was left out, as JSON can hold it."""
        return {
            "parts": {name: _fingerprint(hands) for name, hands in self.named().items()},
            "skipped": list(self.skipped),
        }


def taught(hands: Hands | RenderedHands) -> Bool[np.ndarray, " 21"]:
    """Which joints these hands show a network that learns from them."""
    if isinstance(hands, RenderedHands):
        return np.ones(NUM_JOINTS, dtype=np.bool_)
    return np.asarray(hands.labeled.any(axis=0))


def names(hands: Hands | RenderedHands, rows: Sequence[int], epoch: int) -> list[str]:
    """What to call the pictures of some rows of an epoch in a message."""
    if isinstance(hands, RenderedHands):
        return hands.names(rows, epoch)
    return [str(hands.image[row]) for row in rows]


def read_parts(recipe: Recipe, device: torch.device) -> Parts:
    """The hands of a recipe, read and split; rendered ones are not there yet.

    Args:
        recipe: names the hands.
        device: where the network learns. Hands are rendered there too, if it is a GPU and no worker processes,
            which cannot use one, are to render them.

    Raises:
        ValueError: a source cannot be read, a hand is unusable and `on_bad` is "stop", or the training
            part is empty, or the validation part although the recipe asks for one; or sides are to be learnt
            and no training hand has one.
    """
    if isinstance(recipe.data, Data):
        parts = _read_files(recipe.data)
        if recipe.train.side_weight and isinstance(parts.train, Hands) and not (parts.train.side != UNKNOWN).any():
            raise ValueError(
                f"train.side_weight is {recipe.train.side_weight:g}, but no training hand of {recipe.data.path} is "
                "labelled left or right; label sides, or set it to 0."
            )
        return parts
    on_gpu = device.type == "cuda" and not recipe.train.workers
    return _plan_rendered(recipe.data, recipe.data.size or recipe.model.size, str(device) if on_gpu else "cpu")


def render_held_out(parts: Parts, recipe: Recipe, folder: Path, team: Team) -> Parts:
    """The parts with hands on disk to measure on: those to be rendered are, into `folder`, unless they are there.

    The leader renders, every process reads. Hands on disk stay as they are.

    Raises:
        ValueError: they cannot be rendered, written or read.
    """
    planned = {
        name: hands
        for name, hands in parts.named().items()
        if name != "train" and isinstance(hands, RenderedHands) and len(hands)
    }
    for name, hands in planned.items():
        if team.leads and not is_finished(folder / name):
            print(f"Rendering {len(hands)} {name} hands into {folder / name}.", file=sys.stderr, flush=True)  # noqa: T201
            render_folder(
                *(folder / name, len(hands), hands.seed, hands.size), config=hands.config, device=hands.device
            )
    wait_for_team(team)
    skipped = list(parts.skipped)
    read = {name: _read(Source(path=str(folder / name / "annotations.json")), recipe.data, skipped) for name in planned}
    return replace(parts, **read, skipped=tuple(skipped))


def _plan_rendered(data: Rendered, size: int, device: str) -> Parts:
    config = data.scenes()
    if isinstance(config.backgrounds, Photos):
        _ = config.backgrounds.files  # an empty folder is an error before the first hand is rendered
    train, validation, test = (
        RenderedHands(count, 3 * data.seed + place, size, config, device) if count else Hands.empty()
        for place, count in enumerate((data.hands, data.validation, data.test))
    )
    return Parts(train, validation, test, ())


def _read_files(data: Data) -> Parts:
    skipped: list[str] = []
    own = Source(path=data.path, format=data.format, split=data.split, images=data.images)
    sources = [
        _read_field("data", own, data, skipped),
        *(_read_field(f"data.more[{number}]", source, data, skipped) for number, source in enumerate(data.more)),
    ]
    hands = Hands.concat(sources)
    repeats = np.repeat([1, *(source.repeat for source in data.more)], [len(source) for source in sources])
    fractions = {
        name: part for name in ("validation", "test") if isinstance(part := getattr(data, name), float) and part > 0
    }
    rows = split_by_group(hands, {"train": 1 - sum(fractions.values()), **fractions}, data.seed)
    parts = {
        name: _read_field(f"data.{name}", part, data, skipped)
        if isinstance(part := getattr(data, name), Source)
        else hands[rows.get(name, np.empty(0, dtype=np.int64))]
        for name in ("validation", "test")
    }
    train = hands[np.repeat(rows["train"], repeats[rows["train"]])]
    for name, part, wanted in (("training", train, True), ("validation", parts["validation"], data.validation != 0)):
        if wanted and not len(part):
            groups = len(np.unique(hands.group))
            raise ValueError(
                f"no hand is left for {name}: {data.path} has {len(hands)} usable hands in {groups} groups, which "
                "are never divided; change data.validation and data.test, or give data.validation its own path."
            )
    return Parts(train, parts["validation"], parts["test"], tuple(skipped))


def usable(hands: Hands, crop: str, on_bad: OnBad) -> tuple[Hands, list[str]]:
    """The hands that can be cut out and measured, and one sentence for each that cannot.

    Raises:
        ValueError: the first such sentence, where `on_bad` is "stop".
    """
    problems = Problems(on_bad)
    width, height = hands.box[:, 2] - hands.box[:, 0], hands.box[:, 3] - hands.box[:, 1]
    unlabeled = np.asarray(~hands.labeled.any(axis=1))
    boxless = ~(np.maximum(width, height) > 0) if crop == "box" else np.zeros(len(hands), dtype=bool)
    for row in np.flatnonzero(unlabeled | boxless):
        what = "has no labelled keypoint" if unlabeled[row] else "has a box without area, so it cannot be cut out"
        problems.add(f"{hands.image[row]}: a hand {what}; it is left out of training.")
    return hands[~(unlabeled | boxless)], problems.messages


def _read_field(field: str, source: Source, data: Data, skipped: list[str]) -> Hands:
    """The hands of a source that stands in this field of the recipe; what is missing is said with the field."""
    if not Path(source.path).exists():
        raise ValueError(f"{field}.path: {source.path} does not exist; {_advice(field, 'path')}.")
    try:
        hands = _read(source, data, skipped)
    except ValueError as error:
        if source.split is None or source.split in splits(source.path, source.format):
            raise
        raise ValueError(f"{field}.split: {str(error).rstrip('.')}; {_advice(field, 'split')}.") from error
    return hands if source.images is None else _with_images(field, hands, source.images)


def _with_images(field: str, hands: Hands, images: str) -> Hands:
    """The hands with their photos in this folder, in which at least the first of them is to be found."""
    if not len(hands):
        return hands
    root = image_root(Path(images), hands.image[0])
    if not (root / hands.image[0]).is_file():
        raise ValueError(f"{field}.images: {images} does not hold {hands.image[0]}; {_advice(field, 'images')}.")
    return hands.replace(root=root)


def _advice(field: str, what: str) -> str:
    """What to do where the path, the split or the photos of a source are not there."""
    if field.startswith("data.more"):
        return "correct it in the recipe"
    is_whole = field == "data" or what == "images"
    fraction = "" if is_whole else f", or take a fraction of data.path with --set {field}=0.1"
    return f"give another with --set {field}.{what}={what.upper()}{fraction}"


def _read(source: Source, data: Data | Rendered, skipped: list[str]) -> Hands:
    hands, messages = read_checked(Path(source.path), source.format, source.split, data.on_bad)
    hands, unusable = usable(hands, data.crop, data.on_bad)
    skipped += [*messages, *unusable]
    return hands


def _fingerprint(hands: Hands | RenderedHands) -> dict[str, Any]:
    if isinstance(hands, RenderedHands):
        return {"hands": len(hands), "rendered": settings(hands.seed, hands.size, hands.config)}
    digest = hashlib.sha256("\n".join(hands.image.tolist()).encode())
    for name in ("xy", "visibility", "box", "side", "gesture", "group", "size"):
        digest.update(np.ascontiguousarray(getattr(hands, name)).tobytes())
    return {
        "hands": len(hands),
        "images": len(np.unique(hands.image)),
        "groups": len(np.unique(hands.group)),
        "labeled_keypoints": int(hands.labeled.sum()),
        "sha256": digest.hexdigest(),
    }
