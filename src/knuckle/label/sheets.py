"""The Labelme file of each photo of a folder, and whether its labels are a model's proposal or a person's work.

A proposal carries a mark that Labelme keeps: the key `knuckle` of the file, with a digest of the shapes as they
were proposed, and the image flag `checked`, which Labelme shows as a box to tick. A file counts as checked when
the box is ticked, when a shape differs from the proposal, or when it has labels and no mark.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from jaxtyping import Float32

from knuckle.formats.joints import first_number
from knuckle.formats.labelme import (
    file_names,
    files_by_image,
    new_content,
    read_labelme,
    with_hands,
    write_content,
)
from knuckle.formats.labelme_shapes import Record, numbered_labels
from knuckle.formats.problems import Problems
from knuckle.hands import Hands
from knuckle.predict.files import name_from

MARK: Final = "knuckle"
CHECKED: Final = "checked"

Measure = Literal["confidence", "covariance", "mirror"]
"""What an uncertainty was measured by; `knuckle.label.uncertainty` defines each."""

State = Literal["empty", "boxes", "proposed", "checked"]
"""No hand yet; hands that have a box and no point; a proposal nobody has touched; a person's labels."""


@dataclass(frozen=True)
class Proposal:
    """What the mark of a proposal says.

    Attributes:
        model: the model's name, as it was given.
        measure: how uncertainty was measured.
        uncertainty: of the least certain hand.
        hand: which of the photo's hands that is, from 0.
    """

    model: str
    measure: Measure
    uncertainty: float
    hand: int


@dataclass(frozen=True)
class Sheet:
    """A photo's Labelme file.

    Attributes:
        image: the photo.
        name: its path from the folder, with forward slashes.
        file: its file, there or to be made.
        content: what is in the file, or what a new one begins with.
        state: whose labels these are.
        hands: what can be read from the file.
        proposal: what the mark says, where the labels are a proposal.
        start: what numbered labels count from.
    """

    image: Path
    name: str
    file: Path
    content: Record
    state: State
    hands: Hands
    proposal: Proposal | None
    start: int

    @property
    def boxes(self) -> Float32[np.ndarray, "m 4"]:
        """The boxes that wait for their points."""
        return self.hands.box

    def propose(self, hands: Hands, proposal: Proposal) -> None:
        """Write a model's hands into the file, at least one, marked as a proposal; other shapes and keys stay.

        Raises:
            ValueError: the file cannot be written.
        """
        flags = self.content.get("flags")
        content = self.content | {"flags": {**(flags if isinstance(flags, dict) else {}), CHECKED: False}}
        content = with_hands(content, hands, self.start)
        mark = {
            "model": proposal.model,
            "measure": proposal.measure,
            "uncertainty": round(proposal.uncertainty, 6),
            "hand": proposal.hand,
            "shapes": _digest(content),
        }
        write_content(self.file, content | {MARK: mark})


def read_sheets(folder: Path, images: Sequence[Path]) -> tuple[list[Sheet], list[str]]:
    """The Labelme files of photos of a folder.

    Args:
        folder: searched for Labelme files to the bottom; new ones lie beside their photos.
        images: photos in it.

    Returns:
        A sheet for each photo whose file can be used, and one sentence for each other photo.
    """
    existing = files_by_image(folder)
    start = first_number(number for _, content in existing.values() for number in numbered_labels(content))
    sheets, problems = [], []
    for image in images:
        name = name_from(folder, image)
        try:
            sheets.append(_sheet(folder, image, name, existing, start))
        except ValueError as error:
            problems.append(str(error))
    return sheets, problems


def _sheet(folder: Path, image: Path, name: str, existing: Mapping[str, tuple[Path, Record]], start: int) -> Sheet:
    if name not in existing:
        file = file_names(folder, [name], existing)[name]
        content = new_content(name, file.relative_to(folder))
        return Sheet(image, name, file, content, "empty", Hands.empty(), None, start)
    file, content = existing[name]
    hands = read_labelme(file, None, Problems("stop"))
    proposal = _proposal(content, len(hands))
    return Sheet(image, name, file, content, _state(content, hands, proposal), hands, proposal, start)


def _state(content: Record, hands: Hands, proposal: Proposal | None) -> State:
    if proposal is not None:
        return "proposed"
    if _is_marked(content) or hands.labeled.any():
        return "checked"
    return "boxes" if len(hands) else "empty"


def _is_marked(content: Record) -> bool:
    """Whether a proposal was made here, or somebody ticked the box without one."""
    flags = content.get("flags")
    return isinstance(content.get(MARK), dict) or (isinstance(flags, dict) and flags.get(CHECKED) is True)


def _proposal(content: Record, hands: int) -> Proposal | None:
    """What the mark says; None where there is none, or a person has changed or confirmed the labels."""
    mark, flags = content.get(MARK), content.get("flags")
    if not isinstance(mark, dict) or (isinstance(flags, dict) and flags.get(CHECKED) is True):
        return None
    measure: Any = mark.get("measure")
    uncertainty, hand = mark.get("uncertainty"), mark.get("hand")
    if measure not in get_args(Measure) or not isinstance(uncertainty, int | float):
        return None
    if not isinstance(hand, int) or not 0 <= hand < hands or mark.get("shapes") != _digest(content):
        return None
    return Proposal(str(mark.get("model")), measure, uncertainty, hand)


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
