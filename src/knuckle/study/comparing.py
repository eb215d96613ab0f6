"""`knuckle study --compare`: predictions of two models on the same hands, their comparison as a folder and a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import knuckle
from knuckle.evaluate.compare import Compared, holds_predictions, predictions_from_file, predictions_of_predictor
from knuckle.evaluate.report import finite
from knuckle.formats import read_checked, write
from knuckle.formats.files import write_text
from knuckle.hands import UNKNOWN, Hands
from knuckle.metrics.errors import relative_distances
from knuckle.predict.shipped import is_shipped
from knuckle.study import formulas
from knuckle.study.charts import difference_chart, svg_text
from knuckle.study.comparison import MODEL_A, MODEL_B, Comparison, both_found, comparison
from knuckle.study.evidence import check_margin
from knuckle.study.galleries import side_by_side
from knuckle.study.page import Block, Chart, Column, Formulas, Gallery, Page, Section, Table, write_page
from knuckle.study.provenance import provenance
from knuckle.study.report import NME, P, Records, failure_tables, robustness_section
from knuckle.study.robustness import Robustness, frame_window, measurable, measure, patch_of
from knuckle.study.robustness_report import robustness_tables, worst_factors, write_robustness
from knuckle.study.run import Options
from knuckle.study.samples import assign
from knuckle.study.tables import write_csv

if TYPE_CHECKING:
    from knuckle.formats import Format
    from knuckle.predict import Predictor

SUMMARY: Final = "comparison.json"
REPORT: Final = "report.html"
SHOWN: Final = 8
"""Hands in each gallery."""


@dataclass(frozen=True)
class Question:
    """What is compared on what.

    Attributes:
        a: a model that `knuckle.load` takes, or a file or folder of predictions.
        b: likewise.
        data: labels of the hands.
        data_format: of `data`, as `knuckle.read` takes it.
        split: of `data`; None: all.
        gestures: where gestures come from: "labels", "folder", "propose", or the path of lists or of a table. Labels
            may lack gestures; then none are compared.
        margin: difference of EPE in pixels that counts as none; None: 5 % of B's EPE.
        seed: of resampling.
    """

    a: str
    b: str
    data: Path
    data_format: Format = "auto"
    split: str | None = None
    gestures: str = "labels"
    margin: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Compare:
    """The answer, with what it came from.

    Attributes:
        question: what was asked.
        true: the hands that both models were run on.
        a: predictions of A.
        b: of B.
        found: the comparison.
        robustness: errors in harder pictures by model; empty unless asked for.
        provenance: how the models were run, versions, and their files' digests, as plain values.
        notes: what a reader must know.
        skipped: one sentence for each hand that is not in the numbers.
    """

    question: Question
    true: Hands
    a: Hands
    b: Hands
    found: Comparison
    robustness: Mapping[str, Robustness]
    provenance: Mapping[str, Any]
    notes: tuple[str, ...]
    skipped: tuple[str, ...]


def run_comparison(
    question: Question, options: Options | None = None, progress: Callable[[int], object] | None = None
) -> Compare:
    """Read the hands, get both models' predictions, and compare what both have.

    Raises:
        ValueError: a model, file or data set cannot be used, or both have no hand in common.
    """
    from knuckle.predict import load

    # What is cheap to refuse comes before what takes long: all files and both models are read before one is run.
    options = options or Options()
    check_margin(question.margin)
    names = (question.a, question.b)
    files = [not is_shipped(name) and holds_predictions(Path(name)) for name in names]
    if options.robustness and any(files):
        raise ValueError(f"{names[files.index(True)]} is a file of predictions; harder pictures need the model itself.")
    models = [
        None if file else load(name, flip_test=options.flip_test, device=options.device)
        for name, file in zip(names, files, strict=True)
    ]
    true, skipped = read_checked(question.data, question.data_format, question.split, options.on_bad)
    notes: list[str] = []
    if question.gestures != "labels":
        true, notes = assign(true, question.gestures, "base")
    if options.robustness:
        measurable(true)
    listed = {
        name: predictions_from_file(Path(name), true, options.on_bad)
        for name, file in zip(names, files, strict=True)
        if file
    }
    done = 0

    def predict(name: str, model: Predictor | None) -> Compared:
        nonlocal done
        if model is None:
            return listed[name]
        result = predictions_of_predictor(
            model,
            true,
            name,
            workers=options.workers,
            on_bad=options.on_bad,
            progress=lambda n: progress and progress(done + n),
        )
        done += len(true)
        return result

    results = [predict(name, model) for name, model in zip(names, models, strict=True)]
    rows = np.intersect1d(results[0].rows, results[1].rows)
    if not len(rows):
        raise ValueError(f"{question.a} and {question.b} have no hand of {question.data} in common.")
    a, b = (result.pred[np.searchsorted(result.rows, rows)] for result in results)
    kept = true[rows]
    without = int((kept.gesture == UNKNOWN).sum())
    if without:
        notes.append(f"Hands without a gesture, which are in no row of the gestures: {without:,} of {len(kept):,}.")
    notes += [note for result in results for note in result.notes]
    return Compare(
        question,
        kept,
        a,
        b,
        comparison(a, b, kept, margin_px=question.margin, seed=question.seed),
        {
            label: measure(
                model, kept, seed=question.seed, window=frame_window(model.rule) if model.rule.whole_image else None
            )
            for label, model in zip((MODEL_A, MODEL_B), models, strict=True)
            if options.robustness and model is not None
        },
        provenance(options._asdict(), dict(zip(names, models, strict=True))),
        tuple(dict.fromkeys(notes)),
        tuple(dict.fromkeys((*skipped, *(line for result in results for line in result.skipped)))),
    )


def comparison_tables(result: Compare) -> dict[str, Records]:
    """All records by the name of their file."""
    found: dict[str, Records] = {
        "overall": [result.found.overall.record()],
        "gestures": [part.record() for part in result.found.gestures],
        "joints": [part.record() for part in result.found.joints],
        "fails_gestures": [row.record("gesture") for row in result.found.failures.gestures],
        "fails_joints": [row.record("joint") for row in result.found.failures.joints],
    }
    return found | robustness_tables(result.robustness) if result.robustness else found


def write_comparison(result: Compare, folder: Path) -> list[str]:
    """All files of a comparison; the summary comes last.

    Returns:
        One sentence for everything that could not be written whole.

    Raises:
        ValueError: a file cannot be written.
    """
    found = comparison_tables(result)
    for name, records in found.items():
        write_csv(folder / f"{name}.csv", records)
    write_text(folder / "skipped.txt", "".join(f"{line}\n" for line in result.skipped))
    notes = write(result.true, folder / "truth.json", "coco")
    for name, pred in (("a", result.a), ("b", result.b)):
        notes += write(pred, folder / f"predictions_{name}.json", "coco")
    if result.robustness:
        write_robustness(result.robustness, patch_of(result.true, 0), folder, result.question.seed)
    write_page(comparison_page(result, found), folder / REPORT)
    summary = {
        "knuckle": knuckle.__version__,
        "run": dict(result.provenance),
        "a": result.question.a,
        "b": result.question.b,
        "data": str(result.question.data),
        "seed": result.question.seed,
        "margins": dict(result.found.margins),
        "missing": {"a": result.found.missing[0], "b": result.found.missing[1]},
        **found,
        "words": [*_fails(result), *result.found.sentences()],
        "notes": list(result.notes),
        "skipped": list(result.skipped),
    }
    write_text(folder / SUMMARY, json.dumps(finite(summary), indent=2, allow_nan=False) + "\n")
    return list(dict.fromkeys(notes))


def comparison_page(result: Compare, found: Mapping[str, Records]) -> Page:
    """The page of a comparison, from it and its tables."""
    question = result.question
    lead = f"A is {question.a}, B is {question.b}: both on the same {len(result.true):,} hands of {question.data.name}."
    sections = [
        _differences(result, found),
        Section("What each fails on", [], failure_tables(found)),
        *([robustness_section(result.robustness, found, "model")] if result.robustness else []),
        Section("Where they differ most", [], _galleries(result)),
        Section("Samples", [*result.notes, *result.skipped] or ["Every hand of the data is in the numbers."]),
        _formulas(result),
    ]
    return Page("knuckle: two models on the same hands", lead, _fails(result), sections)


def _fails(result: Compare) -> list[str]:
    return [*result.found.failures.sentences(), *worst_factors(result.robustness)]


def _differences(result: Compare, found: Mapping[str, Records]) -> Section:
    blocks: list[Block] = []
    if result.found.gestures:
        chart = difference_chart(
            [part.name for part in result.found.gestures],
            [part.pairs["nme"].difference for part in result.found.gestures],
            "NME, A less B",
            marked=[part.pairs["nme"].finding in ("A better", "B better") for part in result.found.gestures],
            margin=result.found.margins["nme"],
        )
        blocks.append(
            Chart(
                "A less B in each gesture: left of zero A is better; dots with 95 % intervals where there are groups "
                "enough, orange where a test shows a difference; green band: the margin.",
                svg_text(chart),
            )
        )
    for name, caption in (("overall", "All hands."), ("gestures", "Each gesture."), ("joints", "Each joint.")):
        if found[name]:
            blocks.append(Table(name, caption, found[name], _columns(name)))
    return Section("Which is better?", result.found.sentences(), blocks)


def _columns(name: str) -> list[Column]:
    kind = {"overall": "part", "gestures": "gesture", "joints": "joint"}[name]
    first = [Column("name", kind), Column("hands", "hands", "d"), Column("groups", "groups", "d")]
    return [
        *first,
        Column("nme_a", "NME, A", NME),
        Column("nme_b", "NME, B", NME),
        Column("nme_difference", "A - B", "+.4f"),
        Column("nme_difference_low", "from", "+.4f"),
        Column("nme_difference_high", "to", "+.4f"),
        Column("nme_p", "p", P),
        Column("nme_p_holm", "p, Holm", P),
        Column("nme_p_equivalence", "p of equivalence", P),
        Column("nme_finding", "finding"),
        Column("epe_a", "EPE, A [px]", ".3f"),
        Column("epe_b", "EPE, B [px]", ".3f"),
        Column("epe_difference", "A - B [px]", "+.3f"),
        Column("epe_finding", "finding, EPE"),
    ]


def _galleries(result: Compare) -> list[Gallery]:
    """The hands on which one model is farthest behind the other, either way."""
    errors = both_found(*(relative_distances(pred, result.true, "box") for pred in (result.a, result.b)))
    a, b = map(_hand_means, errors)
    behind = a - b
    galleries = []
    for sign, worse, better in ((-1, "A", "B"), (1, "B", "A")):
        order = np.argsort(sign * behind, kind="stable")
        rows = [row for row in order.tolist() if np.isfinite(behind[row]) and sign * behind[row] < 0][:SHOWN]
        tiles = side_by_side(
            [result.a, result.b], result.true, rows, [f"NME {a[row]:.3f} by A, {b[row]:.3f} by B" for row in rows]
        )
        galleries.append(Gallery(f"{worse} farthest behind {better}: truth, A, B (truth in white).", tiles))
    return galleries


def _hand_means(errors: np.ndarray) -> np.ndarray:
    """The mean of each hand's known errors; NaN where there are none."""
    known = ~np.isnan(errors)
    means = np.full(len(errors), np.nan)
    np.divide(np.where(known, errors, 0.0).sum(axis=1), known.sum(axis=1), out=means, where=known.any(axis=1))
    return means


def _formulas(result: Compare) -> Section:
    terms = {**formulas.ERRORS, **formulas.CLUSTERS, **formulas.PAIRED, **formulas.MANY, **formulas.FAILS}
    if result.robustness:
        terms |= formulas.HARDER
    return Section("Methods and formulas", [], [Formulas(terms)])
