"""The card of a model that ships: what it is, how it was made and what was measured, out of the files that say so.

Every number comes from the run folder or from JSON that `knuckle evaluate` wrote. Below the marker stands what no file
knows, such as known failures; it is kept when the card is written again.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from knuckle.export import Verification
from knuckle.predict.load import StoredModel

MARKER = "<!-- written by hand from here on; tools/ship.py keeps it -->"

BELOW = """
## What it was made of, and its licence

To be written: the licence of every data set named above, and that of the weights.

## Known failures

To be written: what it gets wrong, with a measured share or a picture.
"""


@dataclass(frozen=True)
class Card:
    """What a card is made of.

    Attributes:
        name: of the model.
        run: its run folder.
        files: as they ship.
        model: the rounded model.
        rounding: what rounding did to keypoints, crop pixels, by name.
        verification: of the two files against each other.
        verified_on: what on.
        metrics: JSON files of `knuckle evaluate` by title.
    """

    name: str
    run: Path
    files: Sequence[Path]
    model: StoredModel
    rounding: Mapping[str, float]
    verification: Sequence[Verification]
    verified_on: str
    metrics: Mapping[str, str]


def write_card(path: Path, card: Card) -> Path:
    """Write the card; what stands below the marker of an older one stays.

    Raises:
        ValueError: a file of metrics is missing or no report of `knuckle evaluate`.
    """
    text = "\n".join(line.rstrip() for part in _lines(card) for line in part.split("\n"))
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    below = old.split(MARKER, 1)[1] if MARKER in old else BELOW
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n{MARKER}{below}", encoding="utf-8")
    return path


def _lines(card: Card) -> Iterator[str]:
    spec, parameters = card.model.spec, sum(value.numel() for value in card.model.method.parameters())
    yield f"# The model `{card.name}`\n"
    yield f"`knuckle.load({card.name!r})`, `knuckle predict photo.jpg --model {card.name}`.\n"
    yield "| file | bytes | SHA-256 |\n|---|---|---|"
    for file in card.files:
        content = file.read_bytes()
        yield f"| {file.name} | {len(content):,} | `{hashlib.sha256(content).hexdigest()}` |"
    yield f"\nMethod {spec.method}, backbone {spec.backbone}, {parameters / 1e6:.2f} million parameters, options "
    yield f"`{json.dumps(spec.options)}`, crops of {spec.rule.size} x {spec.rule.size} pixels, padding "
    yield f"{spec.rule.padding:g}. {'Calibrated.' if card.model.calibration else 'Not calibrated.'} Weights are"
    yield "rounded to float16, and computed with as float32: on the same crops that moved the keypoints by "
    yield f"{card.rounding['median']:.3f} crop pixels in the median, {card.rounding['percentile_99']:.3f} in 99 % and "
    yield f"{card.rounding['largest']:.3f} at most.\n"
    yield f"The two files against each other, on {card.verification[0].crops} {card.verified_on}: "
    yield ", ".join(
        f"{part.largest:.2g} crop pixels at most {'with' if part.flip_test else 'without'} the flip test"
        for part in card.verification
    )
    yield "\n## How it was made\n"
    yield f"```\n{_command(card)}\n```\n"
    yield from _data(card.run / "data.json")
    recipe = card.run / "recipe.yaml"
    if recipe.is_file():
        resolved = yaml.safe_dump(_portable(yaml.safe_load(recipe.read_text(encoding="utf-8"))), sort_keys=False)
        yield f"The recipe with all its defaults:\n\n```yaml\n{resolved}```\n"
    notes = {name: value for name, value in card.model.notes.items() if name in ("epoch", "step", "validation")}
    if notes:
        yield f"State and validation during training: `{json.dumps(notes)}`\n"
    yield from _metrics(card.metrics)


def _command(card: Card) -> str:
    path = card.run / "environment.json"
    if not path.is_file():
        return "(the run folder does not say)"
    said = [str(_portable(argument)) for argument in _json(path)["command"][1:]]
    if "--out" in said[:-1]:
        said[said.index("--out") + 1] = f"runs/{card.name}"
    return shlex.join(["knuckle", *said])


def _data(path: Path) -> Iterator[str]:
    if not path.is_file():
        return
    yield "| part | hands | images | groups | labelled keypoints |\n|---|---|---|---|---|"
    for part, counts in _json(path)["parts"].items():
        if counts["hands"]:
            cells = (f"{counts[name]:,}" for name in ("hands", "images", "groups", "labeled_keypoints"))
            yield f"| {part} | {' | '.join(cells)} |"
    yield ""


def _metrics(files: Mapping[str, str]) -> Iterator[str]:
    yield "## What was measured\n"
    if not files:
        yield "Nothing yet.\n"
        return
    yield "95 % intervals in brackets, by resampling groups; a dash where there are too few.\n"
    yield "| set | hands | groups | EPE [px] | NME | PCK@0.2 | PCK@0.1 | PCK@0.05 |\n|---|---|---|---|---|---|---|---|"
    reports = {title: _json(Path(file)) for title, file in files.items()}
    for title, report in reports.items():
        try:
            cells = [_number(report, name) for name in ("epe", "nme", "pck_box_20", "pck_box_10", "pck_box_05")]
            yield f"| {title} | {report['hands']:,} | {report['groups']:,} | {' | '.join(cells)} |"
        except (KeyError, TypeError) as error:
            raise ValueError(f"{files[title]} is no metrics.json of knuckle evaluate ({error} is missing).") from error
    for title, report in reports.items():
        yield from _gestures(title, report)


def _gestures(title: str, report: Mapping[str, Any]) -> Iterator[str]:
    rows = [row for row in report.get("breakdown", {}).get("gestures", []) if row.get("name") != "unlabeled"]
    if not rows:
        return
    names = ("hands", "keypoints", "missing", "nme_found", "pck")
    yield f"\nBy gesture, {title}:\n\n| gesture | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}"
    for row in rows:
        yield f"| {row['name']} | {' | '.join(_plain(row[name]) for name in names)} |"


def _number(report: Mapping[str, Any], name: str) -> str:
    low, high = report["intervals"].get(name, (None, None))
    interval = "" if name not in report["intervals"] else " (-)" if low is None else f" ({low:.4g} to {high:.4g})"
    return f"{_plain(report[name])}{interval}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _portable(value: Any) -> Any:
    """Settings without the folders of the machine that they were used on: an absolute path keeps its last two parts."""
    if isinstance(value, dict):
        return {name: _portable(own) for name, own in value.items()}
    if isinstance(value, list):
        return [_portable(own) for own in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return "/".join(Path(value).parts[-2:])
    return value


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}).") from error
