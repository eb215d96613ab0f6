"""The tables of stated uncertainty, which `evaluate` and `calibrate` print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import typer

from knuckle.cli.console import print_table

if TYPE_CHECKING:
    from knuckle.metrics import Interval
    from knuckle.metrics.calibration import Coverage, Uncertainty
    from knuckle.metrics.recognition import Recognition, Refusal

NOTHING: Final = "-"


def print_uncertainty(measured: Uncertainty) -> None:
    """Coverage of all joints, sharpness, the order of errors, and the calibration of confidence."""
    if measured.gaussian:
        print_coverage(
            "Share of true keypoints in the stated regions",
            {"normal": measured.gaussian, "conformal": measured.conformal},
            kinds=("all",),
        )
        typer.echo()
    rows = []
    if measured.sharpness:
        size = measured.sharpness[0]
        rows.append(("radius of the 90 % region / box side (median)", f"{size.radius:.4f}"))
    if measured.risk_coverage is not None:
        curve = measured.risk_coverage
        rows += [
            ("mean error / box side, over all shares of the most certain", f"{curve.area:.4f}"),
            ("the same in a random order", f"{curve.area_random:.4f}"),
            ("the same in the best order", f"{curve.area_oracle:.4f}"),
        ]
    if measured.expected_calibration_error is not None:
        rows.append(("expected calibration error of confidence", f"{measured.expected_calibration_error:.4f}"))
    if measured.unstated:
        rows.append(("labelled keypoints without stated uncertainty", f"{measured.unstated:,}"))
    print_table(("uncertainty", "value"), rows)


def print_recognition(said: Recognition | None, refused: Refusal | None = None) -> None:
    """How well hands, their sides, and crops without a hand were recognised; nothing where nothing is said of that."""
    rows: list[tuple[str, str, str, str]] = []
    if said is not None and said.right is not None:
        rows.append(("side is right", f"{said.sided:,}", _percent(said.right.estimate), _interval(said.right)))
        rows.append(("calibration error of its probability", "", f"{said.side_calibration_error:.4f}", ""))
    if said is not None and said.found is not None:
        rows.append(
            (
                "hand with a score of at least 0.5",
                f"{said.hands:,}",
                _percent(said.found.estimate),
                _interval(said.found),
            )
        )
    if refused is not None:
        share = refused.refused
        rows.append(
            ("no hand, with a score below 0.5", f"{refused.crops:,}", _percent(share.estimate), _interval(share))
        )
        rows.append(("hand has the higher score of the two", "", _percent(refused.ranked), ""))
        rows.append(("calibration error of the score", "", f"{refused.calibration_error:.4f}", ""))
    if rows:
        typer.echo()
        print_table(("recognition", "crops", "value", "95 % interval"), rows)


def print_coverage(
    title: str, readings: dict[str, Sequence[Coverage]], kinds: Sequence[str] = ("all", "finger")
) -> None:
    """One row a part and level, one column a reading; the last reading with its 95 % interval."""
    known = {name: rows for name, rows in readings.items() if rows}
    if not known:
        return
    last = list(known)[-1]
    shares = {
        name: {(row.part, row.level): row.share for row in rows if row.kind in kinds} for name, rows in known.items()
    }
    rows = [
        (
            row.part,
            f"{row.level:.0%}",
            f"{row.keypoints:,}",
            *(_percent(shares[name][row.part, row.level].estimate) for name in known),
            _interval(row.share),
        )
        for row in known[last]
        if row.kind in kinds and row.keypoints
    ]
    print_table(("part", "stated", "keypoints", *known, "95 % interval"), rows, title=title)


def _percent(share: float) -> str:
    return NOTHING if math.isnan(share) else f"{100 * share:.1f} %"


def _interval(share: Interval) -> str:
    return NOTHING if math.isnan(share.low) else f"{100 * share.low:.1f} to {100 * share.high:.1f} %"
