"""A study as a page: what it fails on, what the evidence supports, the paper's frames, galleries; formulas last.

Every table shows records that are also files: `tables` gives them by file name, for CSV, JSON and the page alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from knuckle.skeleton import GESTURES
from knuckle.study import formulas
from knuckle.study.charts import difference_chart, error_chart, svg_text
from knuckle.study.design import class_counts
from knuckle.study.evidence_words import class_records, overall_records, power_records, sentences
from knuckle.study.figures import PANELS, draw_panel, title_of
from knuckle.study.galleries import worst_gallery
from knuckle.study.gestures import NUMBERING_NOTE
from knuckle.study.hypotheses import H1_WORDS, H2_WORDS
from knuckle.study.page import Block, Chart, Column, Formulas, Page, Section, Table
from knuckle.study.robustness import Robustness
from knuckle.study.robustness_report import curve_figure, gesture_figure, robustness_tables, worst_factors
from knuckle.study.run import BASE_HANDS, OWN_HANDS, Study
from knuckle.study.training_share import TrainingShare

Records = Sequence[Mapping[str, Any]]

CLASS: Final = (Column("class", "class", "d"), Column("name", "gesture"))
NME: Final = ".4f"
P: Final = ".3g"


def tables(study: Study) -> dict[str, Records]:
    """All records by the name of their file."""
    found: dict[str, Records] = {
        "h1": study.h1.rows(),
        "h2": [row.record() for row in study.h2.rows],
        "imbalance": imbalance_records(study),
        "evidence": class_records(study.evidence),
        "evidence_overall": overall_records(study.evidence),
        "evidence_power": power_records(study.evidence),
        "fails_gestures": [row.record("gesture") for row in study.failures.gestures],
        "fails_joints": [row.record("joint") for row in study.failures.joints],
    }
    if study.training is not None:
        found["training_share"] = [row.record() for row in study.training.rows]
        found["training_relation"] = study.training.records()
    if study.robustness:
        found |= robustness_tables(study.robustness, "set")
    return found


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


def study_page(study: Study, found: Mapping[str, Records]) -> Page:
    """The page of a study, from it and its `tables`."""
    lead = (
        f"{study.plan.model} on {len(study.base.true):,} base hands of {study.plan.base.name} and "
        f"{len(study.own.true):,} own hands of {study.plan.own.name}, {len(study.plan.classes)} gestures."
    )
    sections = [_failures(found), _evidence(study, found)]
    if study.training is not None:
        sections.append(_training(study.training, found))
    if study.robustness:
        sections.append(robustness_section(study.robustness, found, "set"))
    sections += [_paper(study, found), _samples(study, found), _galleries(study), _formulas(study)]
    fails = (*study.failures.sentences(), *worst_factors(study.robustness))
    return Page("knuckle: what this model fails on", lead, fails, sections)


def robustness_section(results: Mapping[str, Robustness], found: Mapping[str, Records], by: str) -> Section:
    """Harder pictures: which factor hurts most, curves over all hands and per gesture."""
    mean = Column("mean_degradation", "degradation", ".3f")
    bounds = [Column(f"mean_degradation_{end}", head, ".3f") for end, head in (("low", "from"), ("high", "to"))]
    of = Column(by, by)
    blocks: list[Block] = [
        Table(
            "robustness_factors",
            "Mean degradation over five severities, the most harmful first.",
            found["robustness_factors"],
            [of, Column("rank", "rank", "d"), Column("factor", "factor"), mean, *bounds],
        ),
        Chart("Degradation by severity, with 95 % intervals.", svg_text(curve_figure(results))),
        *(
            Chart(f"Degradation of each gesture, {name}; the three that suffer most are named.", svg_text(figure))
            for name, figure in ((name, gesture_figure(result)) for name, result in results.items())
        ),
        Table(
            "robustness_gestures",
            "Mean degradation over severities of each gesture.",
            found["robustness_gestures"],
            [of, Column("gesture", "gesture"), Column("hands", "hands", "d"), Column("factor", "factor"), mean],
        ),
    ]
    told = [
        "Each factor changes the picture around a hand and nothing else, at five severities; the background is made up "
        "where it is not known.",
        *worst_factors(results),
    ]
    return Section("Harder pictures", told, blocks)


def failure_tables(found: Mapping[str, Records]) -> list[Table]:
    """Gestures against the others, joints against the rest of the hand."""
    others = [
        Column("groups", "groups", "d"),
        Column("nme", "NME", NME),
        Column("nme_of_others", "of others", NME),
        Column("ratio", "ratio", ".2f"),
        Column("p", "p", P),
        Column("p_holm", "p, Holm", P),
        Column("fails", "fails"),
    ]
    return [
        Table(
            f"fails_{kind}s",
            f"Each {kind} against {others_are}.",
            found[f"fails_{kind}s"],
            [Column("set", "set"), Column(kind, kind), *others],
        )
        for kind, others_are in (("gesture", "all others of its set"), ("joint", "the other joints of the same hands"))
    ]


def _failures(found: Mapping[str, Records]) -> Section:
    sets = list(dict.fromkeys(row["set"] for row in found["fails_gestures"]))
    by_set = {
        name: {row["gesture"]: row["nme"] for row in found["fails_gestures"] if row["set"] == name} for name in sets
    }
    names = [name for name in GESTURES if any(name in of for of in by_set.values())]
    values = {name: [of.get(gesture, float("nan")) for gesture in names] for name, of in by_set.items()}
    chart = Chart("NME of each gesture.", svg_text(error_chart(names, values, "NME")))
    return Section("Which gestures and joints are hard?", [], [chart, *failure_tables(found)])


def _evidence(study: Study, found: Mapping[str, Records]) -> Section:
    part = study.evidence.epe
    kept = [row for row, contrast in enumerate(part.rows) if contrast.finding not in ("no own hand", "no base hand")]
    blocks: list[Block] = []
    if kept:
        gestures = [study.evidence.designs[row].gesture for row in kept]
        chart = difference_chart(
            [f"{gesture} {GESTURES[gesture]}" for gesture in gestures],
            [part.rows[row].difference for row in kept],
            "EPE, own less base [px]",
            likely=[part.rows[row].shrunk for row in kept],
            marked=[part.rows[row].finding in ("own worse", "own better") for row in kept],
            margin=part.margin,
        )
        blocks.append(
            Chart(
                "Own less base in each gesture: dots with 95 % intervals where there are groups enough, orange where a "
                "test shows a difference; grey: what the hierarchical model holds likely; green band: the margin.",
                svg_text(chart),
            )
        )
    return Section("What the evidence supports", sentences(study.evidence), [*blocks, *_evidence_tables(found)])


def _evidence_tables(found: Mapping[str, Records]) -> list[Table]:
    per_class = [
        *CLASS,
        Column("base_groups", "base", "d"),
        Column("own_groups", "own", "d"),
        Column("paper_epe_difference", "paper's difference", "+.2f"),
        Column("epe_difference", "own - base [px]", "+.2f"),
        Column("epe_difference_low", "from", "+.2f"),
        Column("epe_difference_high", "to", "+.2f"),
        Column("epe_p", "p", P),
        Column("epe_p_holm", "p, Holm", P),
        Column("epe_p_equivalence", "p of equivalence", P),
        Column("smallest_p", "smallest p", P),
        Column("epe_shrunk", "likely [px]", "+.2f"),
        Column("epe_detectable", "detectable [px]", ".2f"),
        Column("epe_base_needed", "base needed", "d"),
        Column("epe_own_needed", "own needed", "d"),
        Column("epe_finding", "finding"),
        Column("nme_difference", "own - base, NME", "+.4f"),
        Column("nme_p_holm", "p, Holm, NME", P),
        Column("nme_finding", "finding, NME"),
    ]
    overall = [
        Column("metric", "metric"),
        Column("base", "base", ".4g"),
        Column("own", "own", ".4g"),
        Column("share", "own's share", ".3f"),
        Column("base_own_less_base", "base + own - base", "+.4g"),
        Column("own_less_base", "own - base", "+.4g"),
        Column("within_gestures", "within gestures", "+.4g"),
        Column("within_gestures_low", "from", "+.4g"),
        Column("within_gestures_high", "to", "+.4g"),
        Column("p", "p", P),
        Column("margin", "margin", ".4g"),
        Column("p_equivalence", "p of equivalence", P),
    ]
    chances = [
        Column("metric", "metric"),
        Column("share_of_base_error", "part of base's error", ".2f"),
        Column("difference", "true difference", ".4g"),
        Column("base_groups", "base", "d"),
        Column("own_groups", "own", "d"),
        Column("power", "power", ".3f"),
        Column("power_by_formula", "by formula", ".3f"),
        Column("base_needed", "base needed", "d"),
        Column("own_needed", "own needed", "d"),
    ]
    listed = (
        ("evidence", "Own against base in each gesture; needed: photos for the observed difference.", per_class),
        ("evidence_overall", "Own against base over all gestures.", overall),
        (
            "evidence_power",
            "Power of this design, simulated and by formula; photos a gesture for power 0.8 by formula.",
            chances,
        ),
    )
    return [Table(name, caption, found[name], columns) for name, caption, columns in listed if found[name]]


def _training(training: TrainingShare, found: Mapping[str, Records]) -> Section:
    sets = [key for key in found["training_share"][0] if key.startswith("nme_")]
    shares = [
        *CLASS,
        Column("training_hands", "training hands", "d"),
        Column("training_share", "share", ".4f"),
        *(Column(key, f"NME, {key.removeprefix('nme_').replace('_', ' ')}", NME) for key in sets),
    ]
    relation = [
        Column("set", "set"),
        Column("gestures", "gestures", "d"),
        Column("rho", "Spearman's rho", "+.3f"),
        Column("p", "p", P),
        *(Column(f"slope{end}", head, "+.5f") for end, head in (("", "slope"), ("_low", "from"), ("_high", "to"))),
    ]
    blocks = [Table("training_share", "Training set and error.", found["training_share"], shares)]
    if found["training_relation"]:
        blocks.append(Table("training_relation", "Over gestures.", found["training_relation"], relation))
    return Section("Error and training set", training.sentences(), blocks)


def _paper(study: Study, found: Mapping[str, Records]) -> Section:
    frame = [
        Column("set", "set"),
        Column("hands", "hands", "d"),
        Column("auc", "AUC", ".4f"),
        Column("epe", "EPE [px]", ".3f"),
        Column("pck", "PCK@0.2 (224 px)", ".4f"),
    ]
    second = [
        *CLASS,
        Column("base_hands", "base", "d"),
        Column("own_hands", "own", "d"),
        Column("auc_base", "AUC base", ".4f"),
        Column("auc_base_own", "base + own", ".4f"),
        Column("auc_difference", "difference", "+.4f"),
        Column("epe_base", "EPE base", ".3f"),
        Column("epe_base_own", "base + own", ".3f"),
        Column("epe_difference", "difference", "+.3f"),
        Column("finding", "by the rule"),
    ]
    crops = [] if study.crops is None else study.crops.sentences()
    blocks: list[Block] = [
        Table("h1", "Hypothesis 1.", found["h1"], frame),
        Table("h2", "Hypothesis 2.", found["h2"], second),
        *(Chart(title_of(study.h2, panel), svg_text(draw_panel(study.h2, panel))) for panel in PANELS),
    ]
    told = [H1_WORDS, H2_WORDS, study.h2.verdict(), NUMBERING_NOTE, *crops]
    return Section("The paper's protocol", told, blocks)


def _samples(study: Study, found: Mapping[str, Records]) -> Section:
    counts = [Column(f"{of}_{what}", f"{of}, {what}", "d") for of in ("base", "own") for what in ("read", "compared")]
    table = Table("imbalance", "Hands of each class.", found["imbalance"], [*CLASS, *counts])
    return Section("Samples", [*study.notes, *study.samples.findings, *study.skipped], [table])


def _galleries(study: Study) -> Section:
    base = worst_gallery(study.base.pred, study.base.true, BASE_HANDS)
    own = worst_gallery(study.own.pred, study.own.true, OWN_HANDS)
    return Section("The worst hands", [], [base, own])


def _formulas(study: Study) -> Section:
    terms = {**formulas.ERRORS, **formulas.CLUSTERS, **formulas.MANY, **formulas.OWN, **formulas.FAILS}
    if study.training is not None:
        terms |= formulas.TRAINING
    if study.robustness:
        terms |= formulas.HARDER
    return Section("Methods and formulas", [], [Formulas(terms)])
