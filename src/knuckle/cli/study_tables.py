"""The tables and sentences of a study, which `study` prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import typer

from knuckle.cli.console import print_table
from knuckle.skeleton import GESTURES

if TYPE_CHECKING:
    from knuckle.study.comparing import Compare
    from knuckle.study.design import Imbalance
    from knuckle.study.run import Study


def print_comparison(result: Compare) -> None:
    """A less B over all hands and in each gesture, and what that shows."""
    question = result.question
    parts = [result.found.overall, *result.found.gestures]
    print_table(
        ("part", "hands", "groups", "NME, A", "NME, B", "A - B", "p, Holm", "finding"),
        [
            (
                part.name,
                part.hands,
                part.groups,
                f"{pair.a:.4f}",
                f"{pair.b:.4f}",
                f"{pair.difference.estimate:+.4f}",
                f"{pair.p_holm:.3g}",
                pair.finding,
            )
            for part in parts
            for pair in [part.pairs["nme"]]
        ],
        title=f"A is {question.a}, B is {question.b}",
    )
    for sentence in (*result.found.sentences(), *result.found.failures.sentences()):
        typer.echo(sentence)


def print_study(found: Study) -> None:
    """Balance, the frames of both hypotheses, the crop, the evidence, and what the model fails on."""
    from knuckle.study.gestures import NUMBERING_NOTE
    from knuckle.study.hypotheses import H1_WORDS, H2_WORDS

    samples = found.samples
    _print_imbalance({"base": samples.base_imbalance, "own": samples.own_imbalance})
    typer.echo()
    print_table(
        ("set", "hands", "AUC", "EPE [px]", "PCK@0.2 (224 px)"),
        [
            (row["set"], row["hands"], *_signed(row["set"] == "difference", row, ("auc", "epe", "pck")))
            for row in found.h1.rows()
        ],
        title="Hypothesis 1",
    )
    typer.echo(H1_WORDS)
    typer.echo()
    records = [row.record() for row in found.h2.rows]
    print_table(
        ("class", "base", "own", "AUC base", "base + own", "diff", "EPE base", "base + own", "diff", "by the rule"),
        [
            (
                f"{record['class']:>2} {record['name']}",
                record["base_hands"],
                record["own_hands"],
                *(text for metric in ("auc", "epe") for text in _three(record, metric)),
                record["finding"],
            )
            for record in records
        ],
        title="Hypothesis 2",
    )
    typer.echo(H2_WORDS)
    typer.echo(found.h2.verdict())
    typer.echo(NUMBERING_NOTE)
    if found.crops is not None:
        typer.echo()
        typer.echo("The crop of own photos")
        for sentence in found.crops.sentences():
            typer.echo(sentence)
    _print_evidence(found)


def _print_evidence(found: Study) -> None:
    from knuckle.study.evidence_words import sentences
    from knuckle.study.robustness_report import worst_factors

    typer.echo()
    part = found.evidence.epe
    print_table(
        ("class", "base", "own", "own - base [px]", "p", "p, Holm", "smallest p", "finding"),
        [
            (
                f"{design.gesture:>2} {GESTURES[design.gesture]}",
                design.base,
                design.own,
                *_numbers((row.difference.estimate, "+.2f"), (row.p, ".3f"), (row.p_holm, ".3f")),
                *_numbers((design.smallest_p, ".4f")),
                row.finding,
            )
            for design, row in zip(found.evidence.designs, part.rows, strict=True)
        ],
        title="What the evidence supports: own against base, EPE; sizes are groups",
    )
    for sentence in sentences(found.evidence):
        typer.echo(sentence)
    if found.training is not None:
        typer.echo()
        typer.echo("Error and training set")
        for sentence in found.training.sentences():
            typer.echo(sentence)
    typer.echo()
    typer.echo("Fails on")
    for sentence in (*found.failures.sentences(), *worst_factors(found.robustness)):
        typer.echo(sentence)


def _numbers(*values: tuple[float, str]) -> list[str]:
    return ["" if math.isnan(value) else f"{value:{form}}" for value, form in values]


def _print_imbalance(sets: dict[str, Imbalance]) -> None:
    print_table(
        ("set", "hands", "without a gesture", "classes", "effective classes", "chi-square", "p"),
        [
            (
                name,
                sum(found.counts),
                found.unlabeled,
                sum(count > 0 for count in found.counts),
                f"{found.effective_classes:.1f} of 25",
                f"{found.chi_square:.1f}",
                f"{found.p_value:.2g}",
            )
            for name, found in sets.items()
        ],
        title="Balance of what was read, before the draw",
    )


def _signed(with_sign: bool, row: dict[str, float], metrics: tuple[str, ...]) -> list[str]:
    digits = {"auc": 4, "epe": 3, "pck": 4}
    return [f"{row[metric]:{'+' if with_sign else ''}.{digits[metric]}f}" for metric in metrics]


def _three(record: dict[str, float], metric: str) -> tuple[str, str, str]:
    """Base, base + own and the difference."""
    digits = 4 if metric == "auc" else 3
    return (
        f"{record[f'{metric}_base']:.{digits}f}",
        f"{record[f'{metric}_base_own']:.{digits}f}",
        "" if math.isnan(record[f"{metric}_difference"]) else f"{record[f'{metric}_difference']:+.{digits}f}",
    )
