"""What `robustness` measured, as files: a table for each question, curves, and a sheet of what the pictures became.

robustness.csv            factor, severity, level, model: NME and degradation with intervals
robustness_factors.csv    factor, model: mean degradation over severities, the most harmful first
robustness_gestures.csv   gesture, factor, model: mean degradation over severities
robustness.json           all three
robustness.png            degradation by severity, a panel a factor
robustness_pictures.jpg   one hand under every factor at every severity
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from knuckle.draw import contact_sheet, write_image
from knuckle.skeleton import GESTURES
from knuckle.study.corruptions import FACTORS, SEVERITIES, Patch
from knuckle.study.robustness import Robustness

Rows = list[dict[str, Any]]

_COLORS: Final = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
"""Told apart by colour-blind readers (Okabe and Ito, 2008)."""
_PANELS: Final = 5
_TILE: Final = 128


def write_robustness(results: Mapping[str, Robustness], example: Patch, folder: Path, seed: int = 0) -> dict[str, Rows]:
    """All files.

    Args:
        results: by the model's name.
        example: the hand of robustness_pictures.jpg.
        folder: made where missing.
        seed: of the pictures.

    Returns:
        The three tables by file name without suffix.

    Raises:
        ValueError: the folder cannot be written.
    """
    tables = {
        "robustness": [*severity_rows(results)],
        "robustness_factors": factor_rows(results),
        "robustness_gestures": [*gesture_rows(results)],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in tables.items():
            _write_csv(folder / f"{name}.csv", rows)
        (folder / "robustness.json").write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")
        _draw(tables["robustness"], folder / "robustness.png")
    except OSError as error:
        raise ValueError(f"{folder} cannot be written ({error.strerror or error}).") from error
    write_image(folder / "robustness_pictures.jpg", pictures(example, seed))
    return tables


def severity_rows(results: Mapping[str, Robustness]) -> Iterator[dict[str, Any]]:
    """One row a model, factor and severity."""
    for model, result in results.items():
        for place, (name, factor) in enumerate(FACTORS.items()):
            for severity in SEVERITIES:
                ratio = result.degradation(place, severity)
                yield {
                    "model": model,
                    "factor": name,
                    "severity": severity,
                    "level": factor.levels[severity - 1],
                    "level_is": factor.meaning,
                    "hands": len(result.clean),
                    "nme": _finite(float(result.harder[place, severity - 1].mean())),
                    "nme_clean": _finite(float(result.clean.mean())),
                    **_columns("degradation", ratio.estimate, ratio.low, ratio.high),
                }


def factor_rows(results: Mapping[str, Robustness]) -> Rows:
    """One row a model and factor, for each model the most harmful factor first."""
    rows = []
    for model, result in results.items():
        ratios = {name: result.mean_degradation(place) for place, name in enumerate(FACTORS)}
        worst_first = sorted(ratios.items(), key=lambda item: -item[1].estimate)
        rows += [
            {"model": model, "rank": rank, "factor": name, **_columns("mean_degradation", *ratio)}
            for rank, (name, ratio) in enumerate(worst_first, start=1)
        ]
    return rows


def gesture_rows(results: Mapping[str, Robustness]) -> Iterator[dict[str, Any]]:
    """One row a model, gesture and factor."""
    for model, result in results.items():
        for gesture, ratios in result.of_gestures().items():
            for name, ratio in zip(FACTORS, ratios.tolist(), strict=True):
                yield {
                    "model": model,
                    "gesture": GESTURES[gesture],
                    "hands": int((result.gesture == gesture).sum()),
                    "factor": name,
                    "mean_degradation": _finite(ratio),
                }


def pictures(patch: Patch, seed: int = 0) -> np.ndarray:
    """A sheet: one row a factor, unchanged and then at each severity."""
    tiles, captions = [], []
    for place, (name, factor) in enumerate(FACTORS.items()):
        tiles.append(patch.image)
        captions.append(f"{name}\nunchanged")
        for severity in SEVERITIES:
            tiles.append(factor.at(patch, severity, np.random.default_rng((seed, place, 0))))
            captions.append(f"{severity}: {factor.levels[severity - 1]:g}\n{factor.meaning}")
    return contact_sheet(tiles, captions, columns=1 + len(SEVERITIES), tile=_TILE)


def _draw(rows: Rows, path: Path) -> None:
    """Degradation by severity with its interval, a panel a factor, a line a model."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(row["model"] for row in rows))
    figure = Figure(figsize=(14, 6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(-(-len(FACTORS) // _PANELS), _PANELS, sharex=True, squeeze=False).ravel()
    columns = ("severity", "degradation", "degradation_low", "degradation_high")
    for name, panel in zip(FACTORS, panels, strict=False):
        for model, color, aside in zip(models, _COLORS, np.linspace(-0.1, 0.1, len(models)), strict=False):
            own = [row for row in rows if (row["model"], row["factor"]) == (model, name)]
            severity, middle, low, high = (np.array([row[key] for row in own], dtype=float) for key in columns)
            panel.errorbar(
                severity + (aside if len(models) > 1 else 0),
                middle,
                np.abs([middle - low, high - middle]),
                marker="o",
                ms=3.5,
                capsize=2,
                lw=1.4,
                color=color,
                label=model,
            )
        panel.axhline(1, color="#9aa0a8", lw=0.8, ls=":")
        panel.set_title(name, fontsize=10)
        panel.set_xticks(SEVERITIES)
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("severity", fontsize=10)
    figure.supylabel("NME over that in unchanged pictures", fontsize=10)
    if len(models) > 1:
        panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def _columns(name: str, estimate: float, low: float, high: float) -> dict[str, float | None]:
    return {name: _finite(estimate), f"{name}_low": _finite(low), f"{name}_high": _finite(high)}


def _finite(value: float) -> float | None:
    """None for what JSON has no word for: a model that found no point, an interval that one group cannot have."""
    return value if math.isfinite(value) else None


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        if rows:
            writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
