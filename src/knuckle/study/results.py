"""A study as a folder: every number as JSON and CSV, the lists, the pictures; the folder is there whole or not at all.

report.html          everything to read, in one file
study.json           every number and sentence, with the plan that they came from
h1.csv, h2.csv       the frames of the two hypotheses
evidence*.csv        own against base: per class, over all, power
fails_*.csv          gestures and joints against the others
training_*.csv       error against training share, where the training set was given
robustness*          harder pictures, where asked for
imbalance.csv        hands of each class: read, and compared
truth.json           the compared hands, COCO keypoints: base, then own
predictions.json     what the model found on them, in the same order
figure_4.png ...     figures 4 to 9, and 10 with the worst hands
findings.txt         what is missing or odd in own photos; skipped.txt: what is in no number
lists/, own_photos/  the samples, as `samples` writes them
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Int64

import knuckle
from knuckle.evaluate.report import finite
from knuckle.formats import write
from knuckle.formats.files import write_text
from knuckle.hands import Hands
from knuckle.study.design import class_counts
from knuckle.study.evidence_words import sentences
from knuckle.study.figures import write_figures
from knuckle.study.gestures import NUMBERING_NOTE
from knuckle.study.hypotheses import AUC_RULE, H1_WORDS, H2_WORDS, PCK_PX
from knuckle.study.page import write_page
from knuckle.study.report import Records, study_page, tables
from knuckle.study.robustness import patch_of
from knuckle.study.robustness_report import worst_factors, write_robustness
from knuckle.study.run import Study
from knuckle.study.tables import write_csv

SUMMARY: Final = "study.json"
REPORT: Final = "report.html"


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
    apart = _other_groups(study.own.true, study.base.true)
    pred = Hands.concat([study.base.pred, study.own.pred.replace(group=apart)])
    true = Hands.concat([study.base.true, study.own.true.replace(group=apart)])
    found = tables(study)
    for name, records in found.items():
        write_csv(folder / f"{name}.csv", records)
    for name, lines in (("findings.txt", study.samples.findings), ("skipped.txt", study.skipped)):
        write_text(folder / name, "".join(f"{sentence}\n" for sentence in lines))
    notes = write(true, folder / "truth.json", "coco") + write(pred, folder / "predictions.json", "coco")
    notes += write_figures(study.h2, pred, true, folder)
    if study.robustness:
        write_robustness(study.robustness, patch_of(study.base.true, 0), folder, study.plan.seed, by="set")
    write_page(study_page(study, found), folder / REPORT)
    write_text(folder / SUMMARY, json.dumps(finite(summary(study, found)), indent=2, allow_nan=False) + "\n")
    return list(dict.fromkeys(notes))


def summary(study: Study, found: Mapping[str, Records]) -> dict[str, Any]:
    """The whole study as plain values for JSON."""
    samples = study.samples
    return {
        "knuckle": knuckle.__version__,
        "run": dict(study.provenance),
        "plan": {name: _plain(value) for name, value in asdict(study.plan).items()},
        "rules": {"h2_auc": AUC_RULE, "pck_px": PCK_PX},
        "compared": {
            "h1": _counts(study.base.true),
            "h2": _counts(study.base.true[samples.in_h2[study.base.rows]]),
            "own": _counts(study.own.true),
        },
        "imbalance": {"base": asdict(samples.base_imbalance), "own": asdict(samples.own_imbalance)},
        "h1": {"frame": found["h1"], "words": H1_WORDS},
        "h2": {"frame": found["h2"], "words": H2_WORDS, "verdict": study.h2.verdict()},
        "evidence": {
            "classes": found["evidence"],
            "overall": found["evidence_overall"],
            "power": found["evidence_power"],
            "words": sentences(study.evidence),
        },
        "fails": {
            "gestures": found["fails_gestures"],
            "joints": found["fails_joints"],
            "words": [*study.failures.sentences(), *worst_factors(study.robustness)],
        },
        "training": None
        if study.training is None
        else {
            "classes": found["training_share"],
            "relation": found["training_relation"],
            "words": study.training.sentences(),
        },
        "robustness": {name: rows for name, rows in found.items() if name.startswith("robustness")} or None,
        "numbering": NUMBERING_NOTE,
        "own_crops": None if study.crops is None else {**asdict(study.crops), "words": study.crops.sentences()},
        "notes": list(study.notes),
        "findings": list(samples.findings),
        "skipped": list(study.skipped),
    }


def _counts(hands: Hands) -> dict[str, int]:
    """Hands of each class that is shown, as they were compared: of a draw, or of lists that were replayed."""
    return {str(gesture): int(count) for gesture, count in enumerate(class_counts(hands)) if count}


def _other_groups(own: Hands, base: Hands) -> Int64[np.ndarray, " n"]:
    """The groups of own hands under numbers that base hands do not have: two tables may number theirs alike."""
    found, number = np.unique(own.group, return_inverse=True)
    free = np.setdiff1d(np.arange(len(base) + len(found)), base.group)
    return free[number]


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
