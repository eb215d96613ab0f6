"""The evidence in sentences, and as records for tables: one a gesture, a metric, a supposed difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from knuckle.metrics import MIN_GROUPS, Interval
from knuckle.skeleton import GESTURES
from knuckle.study.contrasts import ALPHA, TARGET, Contrast, Design, Finding, Metric, MetricEvidence
from knuckle.study.evidence import Evidence

NAMES: Final[dict[Metric, str]] = {"epe": "EPE", "nme": "NME"}
CLUSTER_NOTE: Final = (
    "Tests and intervals count groups (a FreiHAND pose, a photo, a person), not hands. FreiHAND's groups join neither "
    "camera views nor neighbouring frames, so intervals on it are still optimistic."
)


def class_records(evidence: Evidence) -> list[dict[str, Any]]:
    """One record a gesture: sizes, what the paper's difference stands for, and both metrics."""
    return [
        {
            "class": design.gesture,
            "name": GESTURES[design.gesture],
            "base_groups": design.base,
            "own_groups": design.own,
            "smallest_p": design.smallest_p,
            "smallest_p_holm": design.smallest_holm,
            "paper_share": design.paper_share,
            "paper_epe_difference": design.paper_difference,
            "paper_epe_direct": design.paper_direct,
            **_contrast_record("epe", evidence.epe.rows[row]),
            **_contrast_record("nme", evidence.nme.rows[row]),
        }
        for row, design in enumerate(evidence.designs)
    ]


def overall_records(evidence: Evidence) -> list[dict[str, Any]]:
    """One record a metric: own less base over all gestures."""
    return [
        {
            "metric": NAMES[part.metric],
            "margin": part.margin,
            "base": part.overall.base,
            "own": part.overall.own,
            "share": part.overall.share,
            **_interval_record("base_own_less_base", part.overall.diluted),
            **_interval_record("own_less_base", part.overall.direct),
            **_interval_record("within_gestures", part.overall.within),
            "p": part.overall.p,
            "p_equivalence": part.overall.p_equivalence,
            "model_mean": math.nan if part.model is None else part.model.mean,
            "model_mean_sd": math.nan if part.model is None else part.model.mean_sd,
            "model_tau": math.nan if part.model is None else part.model.tau,
            "sd_within_arms": math.nan if part.model is None else part.model.sd,
        }
        for part in (evidence.epe, evidence.nme)
    ]


def power_records(evidence: Evidence) -> list[dict[str, Any]]:
    """One record a metric and supposed true difference: the design's power, and the design that would do."""
    return [
        {
            "metric": NAMES[part.metric],
            "share_of_base_error": chance.shift_share,
            "difference": chance.shift,
            "base_groups": chance.base,
            "own_groups": chance.own,
            "power": chance.power,
            "power_by_formula": chance.by_formula,
            "base_needed": None if chance.needed is None else chance.needed.base,
            "own_needed": None if chance.needed is None else chance.needed.own,
        }
        for part in (evidence.epe, evidence.nme)
        for chance in part.chances
    ]


def sentences(evidence: Evidence) -> list[str]:
    """What may be said, and what may not."""
    told = [*_dilution(evidence.epe), *_overall(evidence), _of_classes(evidence, evidence.epe)]
    told.append(_of_classes(evidence, evidence.nme))
    told += _out_of_reach(evidence)
    told += [_equivalence(evidence), *_power(evidence.epe), *_model(evidence.epe)]
    if evidence.missing:
        told.append(f"Labelled keypoints that were not found, and are in none of these numbers: {evidence.missing:,}.")
    return [*told, CLUSTER_NOTE]


def amount(value: float, metric: Metric) -> str:
    """A signed difference with its unit."""
    return f"{value:+.2f} px" if metric == "epe" else f"{value:+.4f} of the box's side"


def chance_words(p: float) -> str:
    """A p-value in a sentence."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def with_interval(interval: Interval, metric: Metric, groups: int) -> str:
    """A difference with its bounds, or with why there are none.

    Args:
        interval: the difference.
        metric: what it is a difference of.
        groups: of the smaller side, as the interval counts them: fewer than `MIN_GROUPS` get no bounds.
    """
    if math.isnan(interval.low):
        why = "too few groups" if groups < MIN_GROUPS else "too little spread between groups"
        return f"{amount(interval.estimate, metric)} ({why} for an interval)"
    form = ".2f" if metric == "epe" else ".4f"
    return f"{amount(interval.estimate, metric)} (95 % interval {interval.low:+{form}} to {interval.high:+{form}})"


def named(gestures: Sequence[int]) -> str:
    """Gestures by number and name."""
    return ", ".join(f"{gesture} {GESTURES[gesture]}" for gesture in gestures)


def _dilution(part: MetricEvidence) -> list[str]:
    whole = part.overall
    if math.isnan(whole.direct.estimate):
        return []
    return [
        f"Base is part of base + own, so the paper's difference of EPE is diluted: "
        f"{amount(whole.diluted.estimate, 'epe')} between base + own and base is {whole.share:.3f} of what lies "
        f"between own and base, {with_interval(whole.direct, 'epe', min(whole.groups))}."
    ]


def _overall(evidence: Evidence) -> list[str]:
    if evidence.crossing:
        return [
            "Some groups show several gestures, so gestures are not independent of each other: no test and no interval "
            "over gestures is given, and Holm's correction, which does not mind, is all that joins them."
        ]
    told = []
    for part in (evidence.epe, evidence.nme):
        whole = part.overall
        if math.isnan(whole.p):
            continue
        verdict = "chance alone hardly explains that" if whole.p <= ALPHA else "chance alone may explain that"
        told.append(
            f"Within gestures, every gesture with the same weight, own less base is "
            f"{with_interval(whole.within, part.metric, _groups_within(evidence))} of {NAMES[part.metric]}; {verdict} "
            f"({chance_words(whole.p)})."
        )
    return told


def _groups_within(evidence: Evidence) -> int:
    """Groups of one gesture that would leave as much freedom as those of all together (`stratified_difference`)."""
    sides = [(design.base, design.own) for design in evidence.designs if min(design.base, design.own) > 0]
    if min(map(min, sides)) < 2:
        return 1
    return 1 + min(sum(base - 1 for base, _ in sides), sum(own - 1 for _, own in sides))


def _of_classes(evidence: Evidence, part: MetricEvidence) -> str:
    def of(finding: Finding) -> list[int]:
        pairs = zip(evidence.designs, part.rows, strict=True)
        return [design.gesture for design, row in pairs if row.finding == finding]

    compared = sum(not math.isnan(row.p) for row in part.rows)
    if not compared:
        return f"No gesture has both base and own hands, so no gesture can be tested on {NAMES[part.metric]}."
    worse, better = of("own worse"), of("own better")
    if not worse and not better:
        return (
            f"By {NAMES[part.metric]} none of {compared} gestures is shown to differ between own photos and base, at 5 "
            "% over all of them (Holm). That is not the same as showing that they are alike."
        )
    parts = [f"{word}: {named(some)}" for some, word in ((worse, "worse"), (better, "better")) if some]
    return (
        f"By {NAMES[part.metric]} {len(worse) + len(better)} of {compared} gestures are shown to differ on own photos, "
        f"at 5 % over all of them (Holm); {'; '.join(parts)}."
    )


def _out_of_reach(evidence: Evidence) -> list[str]:
    compared = [design for design in evidence.designs if not math.isnan(design.smallest_p)]
    short = [design for design in compared if not design.reachable]
    if not short:
        return []
    best = min(short, key=lambda design: design.smallest_p)
    return [
        f"This study cannot show a difference in {_count(len(short), len(compared))}, however large it is: "
        f"{_sizes(best)} give no p below {best.smallest_p:.4f}, and Holm's correction over {len(compared)} makes that "
        f"{best.smallest_holm:.3f} even where all gestures differ as plainly as their numbers of photos let them."
    ]


def _count(part: int, whole: int) -> str:
    if part == whole:
        return "any single gesture" if whole > 1 else "the only gesture"
    return f"{part} of {whole} gestures"


def _sizes(design: Design) -> str:
    return f"{design.base} base groups and {design.own} own {'group' if design.own == 1 else 'groups'}"


def _equivalence(evidence: Evidence) -> str:
    alike = [
        design.gesture
        for design, row in zip(evidence.designs, evidence.epe.rows, strict=True)
        if not math.isnan(row.p_equivalence) and row.p_equivalence <= ALPHA
    ]
    margin = f"a margin of {evidence.epe.margin:.2f} px ({100 * evidence.margin_share:.0f} % of the base's EPE)"
    overall = evidence.epe.overall.p_equivalence
    told = (
        f'"No difference" within {margin} may be claimed for {named(alike)}'
        if alike
        else f'"No difference" may be claimed for no gesture, with {margin}'
    )
    if math.isnan(overall):
        return f"{told}."
    together = "may" if overall <= ALPHA else "may not"
    return f"{told}; over all hands together it {together} be claimed ({chance_words(overall)})."


def _power(part: MetricEvidence) -> list[str]:
    if not part.chances:
        return []
    half = min(part.chances, key=lambda chance: abs(chance.shift_share - 0.5))
    lead = (
        f"With {half.base} base and {half.own} own groups a gesture, a true difference of {half.shift:.2f} px (half of "
        f"the base's EPE) is found with a chance of {half.power:.2f}, simulated from the errors at hand"
    )
    if half.needed is None:
        return [f"{lead}; no number of photos within reason makes that {TARGET}."]
    return [
        f"{lead}; by the formula, which takes all photos to scatter alike, {TARGET} takes {half.needed.base} base and "
        f"{half.needed.own} own ones a gesture."
    ]


def _model(part: MetricEvidence) -> list[str]:
    if part.model is None:
        return []
    model = part.model
    return [
        f"Taken together by a hierarchical model, gestures differ by {model.mean:+.2f} px on average (standard "
        f"deviation {model.mean_sd:.2f}) and scatter by {model.tau:.2f} px around that. It assumes one spread for all "
        f"arms ({model.sd:.2f} px), nearly normal differences and gestures that were exchangeable before looking; it "
        "says what is likely and is no test."
    ]


def _contrast_record(metric: Metric, row: Contrast) -> dict[str, Any]:
    values = {
        "base": row.base,
        "own": row.own,
        **_interval_record("difference", row.difference),
        "p": row.p,
        "p_holm": row.p_holm,
        "p_equivalence": row.p_equivalence,
        **_interval_record("shrunk", row.shrunk),
        "detectable": row.detectable,
        "base_needed": None if row.needed is None else row.needed.base,
        "own_needed": None if row.needed is None else row.needed.own,
        "finding": row.finding,
    }
    return {f"{metric}_{name}": value for name, value in values.items()}


def _interval_record(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
