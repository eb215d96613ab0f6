"""What `robustness` measured, as files: a table for each question, curves, and a sheet of what the pictures became.

robustness.csv                 factor, severity, level: NME and degradation with intervals
robustness_factors.csv         factor: mean degradation over severities, the most harmful first
robustness_gestures.csv        gesture, factor: mean degradation over severities
robustness_gesture_curves.csv  gesture, factor, severity: degradation
robustness.json                all four
robustness.png                 degradation by severity, a panel a factor
robustness_pictures.jpg        one hand under every factor at every severity

What is compared, models or sets of hands, is the first column of every table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from knuckle.draw import contact_sheet, write_image
from knuckle.metrics import Interval
from knuckle.skeleton import GESTURES
from knuckle.study.corruptions import FACTORS, SEVERITIES, Patch
from knuckle.study.robustness import Robustness
from knuckle.study.tables import write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = list[dict[str, Any]]

_COLORS: Final = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
"""Told apart by colour-blind readers (Okabe and Ito, 2008)."""
WORST: Final = 3
"""Factors that a sentence names."""
_PANELS: Final = 5
_NAMED: Final = 3
_TILE: Final = 128


def write_robustness(
    results: Mapping[str, Robustness], example: Patch, folder: Path, seed: int = 0, by: str = "model"
) -> dict[str, Rows]:
    """All files.

    Args:
        results: by the name of the model, or of the set of hands.
        example: the hand of robustness_pictures.jpg.
        folder: made where missing.
        seed: of the pictures.
        by: what the results' names are: heading of the first column.

    Returns:
        The four tables by file name without suffix.

    Raises:
        ValueError: the folder cannot be written.
    """
    tables = robustness_tables(results, by)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in tables.items():
            write_csv(folder / f"{name}.csv", rows)
        (folder / "robustness.json").write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")
        curve_figure(results).savefig(folder / "robustness.png", dpi=120)
    except OSError as error:
        raise ValueError(f"{folder} cannot be written ({error.strerror or error}).") from error
    write_image(folder / "robustness_pictures.jpg", pictures(example, seed))
    return tables


def robustness_tables(results: Mapping[str, Robustness], by: str = "model") -> dict[str, Rows]:
    """The four tables by file name without suffix."""
    return {
        "robustness": [*severity_rows(results, by)],
        "robustness_factors": factor_rows(results, by),
        "robustness_gestures": [*gesture_rows(results, by)],
        "robustness_gesture_curves": [*gesture_curve_rows(results, by)],
    }


def worst_factors(results: Mapping[str, Robustness]) -> list[str]:
    """Which factors hurt most, a sentence a model or set."""
    told = []
    for name, result in results.items():
        begin = f"{name[:1].upper()}{name[1:]}"
        if not np.isfinite(result.clean).all():
            told.append(
                f"{begin}: some keypoints are not found even in unchanged pictures, so no degradation can be stated."
            )
            continue
        parts = [
            f"{factor} ({f'x {ratio.estimate:.2f}' if math.isfinite(ratio.estimate) else 'some keypoints not found'})"
            for factor, ratio in _worst_first(result)[:WORST]
            if not math.isnan(ratio.estimate)
        ]
        if parts:
            told.append(f"{begin}: the factors that raise the error most, over all severities, are {', '.join(parts)}.")
    return told


def _worst_first(result: Robustness) -> list[tuple[str, Interval]]:
    """Mean degradations, the most harmful factor first; infinite where a keypoint was not found, NaN last."""
    ratios = {name: result.mean_degradation(place) for place, name in enumerate(FACTORS)}
    return sorted(ratios.items(), key=lambda item: math.inf if math.isnan(item[1].estimate) else -item[1].estimate)


def severity_rows(results: Mapping[str, Robustness], by: str = "model") -> Iterator[dict[str, Any]]:
    """One row a model, factor and severity."""
    for model, result in results.items():
        for place, (name, factor) in enumerate(FACTORS.items()):
            for severity in SEVERITIES:
                ratio = result.degradation(place, severity)
                yield {
                    by: model,
                    "factor": name,
                    "severity": severity,
                    "level": factor.levels[severity - 1],
                    "level_is": factor.meaning,
                    "hands": len(result.clean),
                    "nme": _finite(float(result.harder[place, severity - 1].mean())),
                    "nme_clean": _finite(float(result.clean.mean())),
                    **_columns("degradation", ratio.estimate, ratio.low, ratio.high),
                }


def factor_rows(results: Mapping[str, Robustness], by: str = "model") -> Rows:
    """One row a model and factor, for each model the most harmful factor first."""
    rows = []
    for model, result in results.items():
        rows += [
            {by: model, "rank": rank, "factor": name, **_columns("mean_degradation", *ratio)}
            for rank, (name, ratio) in enumerate(_worst_first(result), start=1)
        ]
    return rows


def gesture_rows(results: Mapping[str, Robustness], by: str = "model") -> Iterator[dict[str, Any]]:
    """One row a model, gesture and factor."""
    for model, result in results.items():
        for gesture, ratios in result.of_gestures().items():
            for name, ratio in zip(FACTORS, ratios.tolist(), strict=True):
                yield {
                    by: model,
                    "gesture": GESTURES[gesture],
                    "hands": int((result.gesture == gesture).sum()),
                    "factor": name,
                    "mean_degradation": _finite(ratio),
                }


def gesture_curve_rows(results: Mapping[str, Robustness], by: str = "model") -> Iterator[dict[str, Any]]:
    """One row a model, gesture, factor and severity."""
    for model, result in results.items():
        for gesture, curves in result.curves_of_gestures().items():
            for name, curve in zip(FACTORS, curves, strict=True):
                for severity, ratio in zip(SEVERITIES, curve.tolist(), strict=True):
                    yield {
                        by: model,
                        "gesture": GESTURES[gesture],
                        "factor": name,
                        "severity": severity,
                        "degradation": _finite(ratio),
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


def curve_figure(results: Mapping[str, Robustness]) -> Figure:
    """Degradation by severity with its interval, a panel a factor, a line a model."""
    figure, panels = _panels()
    asides = np.linspace(-0.1, 0.1, len(results)) if len(results) > 1 else [0.0]
    for (model, result), color, aside in zip(results.items(), _COLORS, asides, strict=False):
        for place, panel in enumerate(panels):
            ratios = np.array([result.degradation(place, severity) for severity in SEVERITIES])
            middle, low, high = np.where(np.isfinite(ratios), ratios, np.nan).T
            places = np.array(SEVERITIES) + aside
            panel.plot(places, middle, marker="o", ms=3.5, lw=1.4, color=color, label=model)
            panel.vlines(places, low, high, color=color, lw=1.2)
    if len(results) > 1:
        lines, names = panels[0].get_legend_handles_labels()
        figure.legend(lines, names, frameon=False, fontsize=9, loc="outside upper left", ncols=len(names))
    return figure


def gesture_figure(result: Robustness) -> Figure:
    """Degradation by severity, a panel a factor, a line a gesture; the three that suffer most in a panel are named."""
    figure, panels = _panels()
    curves = result.curves_of_gestures()
    for place, panel in enumerate(panels):
        worst_first = sorted(curves, key=lambda gesture: -float(curves[gesture][place].mean()))
        for rank, gesture in reversed([*enumerate(worst_first)]):
            named = rank < _NAMED
            panel.plot(
                SEVERITIES,
                curves[gesture][place],
                color=_COLORS[1 + rank] if named else "#9aa0a8",
                lw=1.6 if named else 0.6,
                label=GESTURES[gesture] if named else None,
            )
        if curves:
            panel.legend(frameon=False, fontsize=7, loc="upper left")
    return figure


def _panels() -> tuple[Figure, list[Axes]]:
    """One empty panel a factor."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(-(-len(FACTORS) // _PANELS), _PANELS, sharex=True, squeeze=False).ravel()
    panels: list[Axes] = list(grid[: len(FACTORS)])
    for name, panel in zip(FACTORS, panels, strict=True):
        panel.axhline(1, color="#9aa0a8", lw=0.8, ls=":")
        panel.set_title(name, fontsize=10)
        panel.set_xticks(SEVERITIES)
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("severity", fontsize=10)
    figure.supylabel("NME over that in unchanged pictures", fontsize=10)
    return figure, panels


def _columns(name: str, estimate: float, low: float, high: float) -> dict[str, float | None]:
    return {name: _finite(estimate), f"{name}_low": _finite(low), f"{name}_high": _finite(high)}


def _finite(value: float) -> float | None:
    """None for what JSON has no word for: a model that found no point, an interval that one group cannot have."""
    return value if math.isfinite(value) else None
