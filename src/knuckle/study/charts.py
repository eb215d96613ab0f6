"""Figures of the report as SVG: differences per gesture with their intervals, errors per gesture, any other figure."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from knuckle.metrics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart by colour-blind readers (Okabe and Ito, 2008)."""
_GREY, _INK = "#9aa0a8", "#14161a"
_WIDTH: Final = 7.6
_ROW: Final = 0.26


def svg_text(figure: Figure) -> str:
    """The figure as SVG with text as text; the same figure gives the same bytes."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "knuckle"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def difference_chart(
    names: Sequence[str],
    intervals: Sequence[Interval],
    label: str,
    *,
    likely: Sequence[Interval] | None = None,
    marked: Sequence[bool] | None = None,
    margin: float = math.nan,
) -> Figure:
    """One row a name: a dot for the difference, its interval, and the likely difference of the model below it.

    Args:
        names: of the rows, from the top down.
        intervals: differences with bounds, which may be NaN.
        label: of the axis, with the unit.
        likely: estimates of a hierarchical model, with their intervals; None leaves them out.
        marked: rows whose difference is shown by a test.
        margin: half the width of the band within which a difference counts as none; NaN draws no band.
    """
    figure, axes = _rows(names, label)
    if math.isfinite(margin):
        axes.axvspan(-margin, margin, color="#009e73", alpha=0.15, linewidth=0)
    axes.axvline(0, color=_INK, linewidth=0.8)
    shown = marked or [False] * len(names)
    for row, (interval, strong) in enumerate(zip(intervals, shown, strict=True)):
        color = COLORS[1] if strong else COLORS[0]
        if math.isfinite(interval.low):
            axes.plot([interval.low, interval.high], [row, row], color=color, linewidth=1.6)
        axes.plot([interval.estimate], [row], "o", color=color, markersize=5)
    for row, guess in enumerate(likely or ()):
        if math.isfinite(guess.low):
            axes.plot([guess.low, guess.high], [row + 0.3] * 2, color=_GREY, linewidth=1.1)
            axes.plot([guess.estimate], [row + 0.3], "D", color=_GREY, markersize=3)
    return figure


def error_chart(names: Sequence[str], values: Mapping[str, Sequence[float]], label: str) -> Figure:
    """One row a name, one dot a set: errors side by side."""
    figure, axes = _rows(names, label)
    places = np.arange(len(names))
    for (name, found), color, marker in zip(values.items(), COLORS, "os^Dvp", strict=False):
        axes.plot(found, places, marker, color=color, markersize=5, label=name)
    axes.set_xlim(left=0)
    if len(values) > 1:
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(values))
    return figure


def _rows(names: Sequence[str], label: str) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, 0.9 + _ROW * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_yticks(np.arange(len(names)), list(names), fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(label)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
