"""The Labelme file of each photo of a folder, and whether its labels are a model's proposal or a person's work.

A proposal carries a mark that Labelme keeps (`knuckle.formats.labelme_shapes`). A file counts as checked when the box
is ticked, when a shape differs from the proposal, or when it has labels that bear no sign of a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

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
from knuckle.formats.labelme_shapes import MARK, Record, State, numbered_labels, state_of, with_mark
from knuckle.formats.problems import Problems
from knuckle.hands import Hands
from knuckle.predict.files import name_from
from knuckle.predict.proposals import Measure


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
        proposal: what the mark says, where the labels are a proposal and it says how certain the model was.
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
        mark = {
            "model": proposal.model,
            "measure": proposal.measure,
            "uncertainty": round(proposal.uncertainty, 6),
            "hand": proposal.hand,
        }
        write_content(self.file, with_mark(with_hands(self.content, hands, self.start), mark))


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
    state = state_of(content, start)
    proposal = _proposal(content, len(hands)) if state == "proposed" else None
    return Sheet(image, name, file, content, state, hands, proposal, start)


def _proposal(content: Record, hands: int) -> Proposal | None:
    """What the mark says; None where it says nothing of how certain the model was."""
    mark: Any = content[MARK]
    measure, uncertainty, hand = mark.get("measure"), mark.get("uncertainty"), mark.get("hand")
    if measure not in get_args(Measure) or not isinstance(uncertainty, int | float):
        return None
    if not isinstance(hand, int) or not 0 <= hand < hands:
        return None
    return Proposal(str(mark.get("model")), measure, uncertainty, hand)
