"""`knuckle label`: proposals to correct in Labelme, what to label next, and the labels that people have checked."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from knuckle.cli.console import print_table, progress, say, say_first

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from jaxtyping import Int64

    from knuckle.label.propose import Redo
    from knuckle.label.sheets import Sheet
    from knuckle.label.suggest import Suggestion

SHOWN_PROBLEMS: Final = 10


def label(
    folder: Annotated[Path, typer.Argument(help="Folder of photos; Labelme files lie beside them.")],
    model: Annotated[str, typer.Option("--model", help="Model that proposes: as knuckle predict takes it.")] = "light",
    boxes: Annotated[
        str | None,
        typer.Option(
            "--boxes",
            help="Where the hands are: 'full' for one hand a photo, or a file of boxes. Default: the model's detector. "
            "Boxes drawn in Labelme, labelled 'hand' and without points, are used in any case.",
        ),
    ] = None,
    suggest: Annotated[
        int | None, typer.Option("--suggest", min=1, help="Then say which photos to label next, so many at most.")
    ] = None,
    listing: Annotated[
        Path | None, typer.Option("--list", help="With --suggest: also write the list to this .csv file.")
    ] = None,
    checked: Annotated[
        Path | None,
        typer.Option("--checked", help="Only write what people have checked: .json (COCO) or .csv, for training."),
    ] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Predict again where nobody has touched the last proposal.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Predict everything again: corrected labels are lost.")
    ] = False,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1... Default: a GPU if any.")] = None,
) -> None:
    """Write Labelme files with predictions to correct, and say which photos to correct first.

    Files that are there stay as they are, so the same command adds what is missing. In Labelme, correct points, or tick
    the flag 'checked' where all is right. Labels that nobody has checked are never taken for training.

    Example: knuckle label photos --model runs/first --boxes full --suggest 20 --list next.csv

    Example: knuckle label photos --checked labels.json
    """
    from knuckle.label.sheets import read_sheets
    from knuckle.predict.sources import find_images

    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; name the folder that holds the photos.")
    if listing is not None and suggest is None:
        raise ValueError("--list writes suggestions: say how many with --suggest N.")
    if listing is not None and listing.suffix.lower() != ".csv":
        raise ValueError(f"--list {listing} must end in .csv.")
    if checked is not None and (suggest is not None or renew or overwrite):
        raise ValueError("--checked predicts nothing: leave out --suggest, --renew and --overwrite.")
    sheets, problems = read_sheets(folder, find_images([folder]))
    say_first(problems, "photos left out", SHOWN_PROBLEMS, "each with a file that cannot be used")
    if checked is not None:
        _write_checked(sheets, checked)
        return
    redo: Redo = "everything" if overwrite else "proposals" if renew else "nothing"
    if _propose(sheets, model, boxes, redo, device):
        sheets, _ = read_sheets(folder, [sheet.image for sheet in sheets])
    if suggest is not None:
        from knuckle.label.suggest import suggest as choose

        if not any(sheet.proposal for sheet in sheets):
            say("No photo has a proposal that waits for a person, so there is nothing to suggest.")
            return
        _tell(choose(sheets, _scenes(sheets), suggest), listing)


def _propose(sheets: Sequence[Sheet], model: str, boxes: str | None, redo: Redo, device: str | None) -> int:
    """Predict what is missing and print what became of all photos; returns how many files were written."""
    from knuckle.label.propose import Boxes, Written, propose, waiting
    from knuckle.predict import load
    from knuckle.predict.boxes import match_boxes, read_boxes
    from knuckle.predict.photos import FULL

    left = waiting(sheets, redo)
    written = Written()
    if left:
        places: Boxes = FULL if boxes == FULL else None
        if boxes is not None and boxes != FULL:
            places = match_boxes([sheet.image for sheet in left], read_boxes(Path(boxes)))
        predictor = load(model, device=device)
        with progress(len(left), "photos") as update:
            written = propose(left, predictor, model, places, update)
        if len(written.skipped) == len(left):
            raise ValueError(f"none of the {len(left)} photos can be used; the first: {written.skipped[0]}")
    people = sum(sheet.state == "checked" for sheet in sheets) if redo != "everything" else 0
    print_table(
        ("photos", "new proposals", "hands", "kept proposals", "checked by people", "without a hand", "skipped"),
        [
            (
                len(sheets),
                written.photos,
                written.hands,
                len(sheets) - len(left) - people,
                people,
                written.without,
                len(written.skipped),
            )
        ],
    )
    say_first(written.skipped, "skipped", SHOWN_PROBLEMS, "and each again on the next run")
    return written.photos


def _write_checked(sheets: Sequence[Sheet], path: Path) -> None:
    from knuckle.formats import write
    from knuckle.label.checked import checked_hands

    kind = {".json": "coco", ".csv": "table"}.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"--checked {path} must end in .json or .csv.")
    unmarked = sum(sheet.state == "predicted" for sheet in sheets)
    if unmarked:
        say(f"{unmarked} photos have a model's labels without a mark, left out: tick 'checked' where they are right.")
    used = [sheet for sheet in sheets if sheet.state == "checked"]
    hands = checked_hands(used, _scenes(used))
    for sentence in write(hands, path, "coco" if kind == "coco" else "table"):
        say(sentence)
    print_table(
        ("photos", "checked", "hands", "groups"), [(len(sheets), len(used), len(hands), len(set(hands.group.tolist())))]
    )
    say(f"Wrote {path}. Next: knuckle train --from MODEL recipes/photos.yaml --set data.path={path} --out runs/mine")


def _scenes(sheets: Sequence[Sheet]) -> Int64[np.ndarray, " n"]:
    from knuckle.data.scenes import scenes_of

    with progress(len(sheets), "photos compared") as update:
        return scenes_of([sheet.image for sheet in sheets], update)


def _tell(suggestions: Sequence[Suggestion], listing: Path | None) -> None:
    rows = [suggestion.row() for suggestion in suggestions]
    if listing is not None:
        from knuckle.formats.files import replacing

        with replacing(listing) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    shown = ("rank", "image", "uncertainty", "gesture", "scene", "reason")
    print_table(shown, [[row[name] for name in shown] for row in rows], title="Label next:")
