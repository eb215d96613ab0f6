"""Labelme's shapes: which of them make a hand, and which joint each point is.

A hand is up to 21 `point` shapes that share a `group_id`, and a `rectangle` labelled "hand" with
the same one. Everything else in a file is foreign: it is neither read nor touched.

Labels that a model made carry a mark that Labelme keeps: the key `knuckle` of the file, with a digest of the shapes as
they were proposed, and the image flag `checked`, which Labelme shows as a box to tick.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from knuckle.formats.joints import joint_of_name, number_of_label
from knuckle.formats.problems import read_json
from knuckle.formats.records import name_of, shown, size_of
from knuckle.skeleton import JOINT_NAMES, NUM_JOINTS

Record = dict[str, Any]

HAND_LABEL: Final = "hand"

MARK: Final = "knuckle"
CHECKED: Final = "checked"

PREDICTED: Final = ("covariance", "confidence", "score", "side_probability")
"""Keys of shapes that only a model fills."""

State = Literal["empty", "boxes", "proposed", "predicted", "checked"]
"""No hand yet; hands that have a box and no point, alone or beside a model's labels that nobody has touched; such
labels; a model's labels without a mark, of which nobody knows whether somebody has touched them; a person's labels."""


@dataclass
class HandShapes:
    """The shapes of one hand in a file.

    Attributes:
        group_id: what its shapes share; None where the file's only hand has none.
        points: joint -> its point shape.
        rectangle: the shape that carries the box and what belongs to the whole hand.
    """

    group_id: Any
    points: dict[int, Record] = field(default_factory=dict)
    rectangle: Record | None = None

    def shapes(self) -> list[Record]:
        """All of them."""
        return [*self.points.values(), *([self.rectangle] if self.rectangle else [])]


def read_file(file: Path) -> Record:
    """The content of one Labelme file, checked to be one.

    Raises:
        ValueError: it is no JSON object with shapes and imagePath; names the file.
    """
    content = read_json(file)
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list):
        raise ValueError(f'{file} is no Labelme file: it must be a JSON object with a list "shapes".')
    for index, shape in enumerate(shapes):
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
            raise ValueError(f"{file}: shapes[{index}] is no object with a label.")
        if isinstance(shape.get("group_id"), (list, dict)):
            raise ValueError(f"{file}: shapes[{index}] has the group_id {shown(shape['group_id'])}, expected a number.")
    try:
        name_of(content.get("imagePath"))
        size_of(content.get("imageWidth"), content.get("imageHeight"))
    except ValueError as error:
        raise ValueError(f"{file} {error}.") from None
    return dict(content)


def numbered_labels(content: Record) -> Iterator[int]:
    """The numbers that label points in a file."""
    for shape in content["shapes"]:
        number = number_of_label(shape["label"])
        if number is not None and _is_point(shape):
            yield number


def _is_point(shape: Record) -> bool:
    return bool(shape.get("shape_type", "point") == "point")


def _joint(shape: Record, start: int) -> int | None:
    """The joint that a shape's label means; the number 21 or more where it counts too far."""
    number = number_of_label(shape["label"])
    return joint_of_name(shape["label"]) if number is None else number - start


def is_ours(shape: Record, start: int) -> bool:
    """Whether a shape is part of a hand: a joint's point or a hand's rectangle."""
    if shape.get("shape_type") == "rectangle":
        return bool(shape["label"].strip().casefold() == HAND_LABEL)
    joint = _joint(shape, start)
    return _is_point(shape) and joint is not None and 0 <= joint < NUM_JOINTS


def hands_of_file(content: Record, start: int) -> tuple[list[HandShapes], list[str]]:
    """The hands of a file by `group_id`, and half a sentence on each shape or hand that is none."""
    hands: dict[Any, HandShapes] = {}
    lone: list[HandShapes] = []
    wrong: dict[Any, str] = {}
    for index, shape in enumerate(content["shapes"]):
        key = shape.get("group_id")
        where = f"shapes[{index}] (label {shown(shape['label'])}, group_id {key!r})"
        joint = _joint(shape, start)
        if is_ours(shape, start) and joint is None:
            if key is None:
                lone.append(HandShapes(None, rectangle=shape))
            elif hands.setdefault(key, HandShapes(key)).rectangle is not None:
                wrong.setdefault(key, f"{where} is a second box of the same hand")
            else:
                hands[key].rectangle = shape
        elif is_ours(shape, start):
            assert joint is not None
            if joint in hands.setdefault(key, HandShapes(key)).points:
                wrong.setdefault(
                    key, f"{where} is the hand's second {JOINT_NAMES[joint]}; every hand needs its own group_id"
                )
            hands[key].points[joint] = shape
        elif _is_point(shape):
            wrong.setdefault(key, f"{where} is none of the {NUM_JOINTS} joints, such as 'wrist' or 'index_tip'")
        elif joint is not None and number_of_label(shape["label"]) is None:
            wrong.setdefault(key, f"{where} is a {shape.get('shape_type')}, but a joint must be a point")
    _settle_lone_boxes(hands, lone, wrong)
    return [hand for key, hand in hands.items() if key not in wrong] + lone, list(wrong.values())


def _settle_lone_boxes(hands: dict[Any, HandShapes], lone: list[HandShapes], wrong: dict[Any, str]) -> None:
    """Without a group_id, all points are one hand and its box; without any point, each box is a hand, and so is each
    box beside hands that are told apart and have their own.
    """
    if not hands or (None not in hands and (not lone or all(hand.rectangle for hand in hands.values()))):
        return
    only = next(iter(hands.values()))
    if len(hands) > 1 or len(lone) > 1 or (lone and only.rectangle):
        wrong.setdefault(None, "has several hands, but some of their shapes have no group_id")
        lone.clear()
    elif lone:
        only.rectangle = lone.pop().rectangle


def with_mark(content: Record, mark: Mapping[str, Any]) -> Record:
    """The same file, its labels marked as a model's that nobody has checked.

    Args:
        content: with the model's hands in it.
        mark: what the mark says beside the digest, as JSON can hold it.
    """
    flags = content.get("flags")
    unticked = {**(flags if isinstance(flags, dict) else {}), CHECKED: False}
    return content | {"flags": unticked, MARK: {**mark, "shapes": _digest(content)}}


def state_of(content: Record, start: int) -> State:
    """Whose labels a file holds: a person's where the box is ticked, where a shape is not as it was proposed, and where
    there are labels without a mark and without a model's numbers. Boxes that were added for hands without points do not
    count: they wait for theirs.

    Args:
        content: what the file says.
        start: what numbered labels count from.
    """
    flags, mark = content.get("flags"), content.get(MARK)
    if isinstance(flags, dict) and flags.get(CHECKED) is True:
        return "checked"
    if isinstance(mark, dict):
        if mark.get("shapes") == _digest(content):
            return "proposed"
        return "boxes" if mark.get("shapes") == _digest(_without_waiting_boxes(content, start)) else "checked"
    ours = [shape for shape in content["shapes"] if is_ours(shape, start)]
    if any(shape.get(key) is not None for shape in ours for key in PREDICTED):
        return "predicted"
    if any(_is_point(shape) for shape in ours):
        return "checked"
    return "boxes" if ours else "empty"


def _without_waiting_boxes(content: Record, start: int) -> Record:
    waiting = {id(hand.rectangle) for hand in hands_of_file(content, start)[0] if not hand.points}
    return content | {"shapes": [shape for shape in content["shapes"] if id(shape) not in waiting]}


def _digest(content: Record) -> str:
    """Of what a person would change: which shapes there are, what they are called and where they lie."""
    shapes = sorted(json.dumps(_place(shape), sort_keys=True) for shape in content["shapes"])
    return hashlib.blake2b("\n".join(shapes).encode(), digest_size=8).hexdigest()


def _place(shape: Record) -> list[Any]:
    points = shape.get("points")
    try:
        # Labelme writes points as it read them; other programs may round them.
        places = np.round(np.array(points, dtype=np.float64), 2).tolist()
    except (TypeError, ValueError):
        places = points
    return [shape.get("label"), shape.get("group_id"), places, shape.get("flags")]
