"""A study as a folder: every number as JSON and CSV, the lists, the pictures; the folder is there whole or not at all.

study.json           everything, with the plan that it came from
h1.csv, h2.csv       the frames of the two hypotheses
imbalance.csv        hands of each class: read, and compared
truth.json           the compared hands, COCO keypoints: base, then own
predictions.json     what the model found on them, in the same order
figure_4.png ...     figures 4 to 9, and 10 with the worst hands
findings.txt         what is missing or odd in own photos; skipped.txt: what is in no number
lists/, own_photos/  the samples, as `samples` writes them
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

import knuckle
from knuckle.evaluate.report import finite
from knuckle.formats import write
from knuckle.formats.files import write_text
from knuckle.hands import Hands
from knuckle.skeleton import GESTURES
from knuckle.study.design import class_counts
from knuckle.study.figures import write_figures
from knuckle.study.gestures import NUMBERING_NOTE
from knuckle.study.hypotheses import AUC_RULE, H1_WORDS, H2_WORDS, PCK_PX
from knuckle.study.run import Study

SUMMARY: Final = "study.json"


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to fill; it takes its place only when all went well, and goes away otherwise.

    Paths from inside it to other files stay true, as both lie side by side.

    Raises:
        ValueError: `folder` holds files already, or cannot be made.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not an empty folder; name a new one for the results.")
    folder = Path(os.path.abspath(folder))  # noqa: PTH100  # as the user named it: links are not followed
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise ValueError(f"{folder} cannot be made ({error.strerror or error}).") from error
    try:
        yield temporary
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def write_study(study: Study, folder: Path) -> list[str]:
    """All files of a study; the summary comes last.

    Returns:
        One sentence for everything that could not be written whole.

    Raises:
        ValueError: a file cannot be written.
    """
    pred = Hands.concat([study.base.pred, study.own.pred])
    true = Hands.concat([study.base.true, study.own.true])
    write_text(folder / "h1.csv", _csv(study.h1.rows()))
    write_text(folder / "h2.csv", _csv([row.record() for row in study.h2.rows]))
    write_text(folder / "imbalance.csv", _csv(imbalance_records(study)))
    for name, sentences in (("findings.txt", study.samples.findings), ("skipped.txt", study.skipped)):
        write_text(folder / name, "".join(f"{sentence}\n" for sentence in sentences))
    notes = write(true, folder / "truth.json", "coco") + write(pred, folder / "predictions.json", "coco")
    notes += write_figures(study.h2, pred, true, folder)
    write_text(folder / SUMMARY, json.dumps(finite(summary(study)), indent=2, allow_nan=False) + "\n")
    return list(dict.fromkeys(notes))


def imbalance_records(study: Study) -> list[dict[str, Any]]:
    """Hands of each class: those that were read, and those that are compared."""
    columns = {
        "base_read": study.samples.base_imbalance.counts,
        "base_compared": class_counts(study.base.true).tolist(),
        "own_read": study.samples.own_imbalance.counts,
        "own_compared": class_counts(study.own.true).tolist(),
    }
    return [
        {"class": number, "name": name, **{column: int(counts[number]) for column, counts in columns.items()}}
        for number, name in enumerate(GESTURES)
    ]


def summary(study: Study) -> dict[str, Any]:
    """The whole study as plain values for JSON."""
    samples = study.samples
    return {
        "knuckle": knuckle.__version__,
        "plan": {name: _plain(value) for name, value in asdict(study.plan).items()},
        "rules": {"h2_auc": AUC_RULE, "pck_px": PCK_PX},
        "imbalance": {"base": asdict(samples.base_imbalance), "own": asdict(samples.own_imbalance)},
        "h1": {"frame": study.h1.rows(), "words": H1_WORDS},
        "h2": {"frame": [row.record() for row in study.h2.rows], "words": H2_WORDS, "verdict": study.h2.verdict()},
        "numbering": NUMBERING_NOTE,
        "own_crops": None if study.crops is None else {**asdict(study.crops), "words": study.crops.sentences()},
        "notes": list(study.notes),
        "findings": list(samples.findings),
        "skipped": list(study.skipped),
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


def _csv(records: Sequence[Mapping[str, Any]]) -> str:
    """A table with a header; empty cells stand for numbers that are not defined."""
    text = io.StringIO()
    writer = csv.DictWriter(text, records[0].keys(), lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({k: "" if isinstance(v, float) and np.isnan(v) else v for k, v in record.items()})
    return text.getvalue()
