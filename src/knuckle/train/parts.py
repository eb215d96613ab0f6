"""The hands of a run: read from the recipe's sources, freed of what cannot be used, split in three."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from knuckle.data.splits import split_by_group
from knuckle.formats import read_checked
from knuckle.formats.problems import OnBad, Problems
from knuckle.hands import Hands
from knuckle.train.recipe import Data, Source


@dataclass(frozen=True)
class Parts:
    """What is trained on, what is measured after epochs, and what is kept for the end.

    Attributes:
        train: the hands that the network learns from.
        validation: the hands that choose the best epoch; empty where `data.validation` is 0.
        test: the hands that training never looks at; may be empty.
        skipped: one sentence for each hand left out.
    """

    train: Hands
    validation: Hands
    test: Hands
    skipped: tuple[str, ...]

    def named(self) -> dict[str, Hands]:
        """The three tables by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def fingerprint(self) -> dict[str, Any]:
        """Counts and a checksum of each part, and what was left out, as JSON can hold it."""
        return {
            "parts": {name: _fingerprint(hands) for name, hands in self.named().items()},
            "skipped": list(self.skipped),
        }


def read_parts(data: Data) -> Parts:
    """Read and split the hands of a recipe.

    Raises:
        ValueError: a source cannot be read, a hand is unusable and `on_bad` is "stop", or the training
            part is empty, or the validation part although the recipe asks for one.
    """
    skipped: list[str] = []
    hands = Hands.concat([_read(source, data, skipped) for source in data.sources])
    fractions = {
        name: part for name in ("validation", "test") if isinstance(part := getattr(data, name), float) and part > 0
    }
    rows = split_by_group(hands, {"train": 1 - sum(fractions.values()), **fractions}, data.seed)
    parts = {
        name: _read(part, data, skipped)
        if isinstance(part := getattr(data, name), Source)
        else hands[rows.get(name, np.empty(0, dtype=np.int64))]
        for name in ("validation", "test")
    }
    train = hands[rows["train"]]
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


def _read(source: Source, data: Data, skipped: list[str]) -> Hands:
    hands, messages = read_checked(Path(source.path), source.format, source.split, data.on_bad)
    hands, unusable = usable(hands, data.crop, data.on_bad)
    skipped += [*messages, *unusable]
    return hands


def _fingerprint(hands: Hands) -> dict[str, Any]:
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
