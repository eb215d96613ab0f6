"""The paper's figures: 4 to 9, bars of AUC and EPE per gesture with their differences, and 10, the gallery.

Which panel has which number is our reading: AUC of base, of base + own, and the difference are 4 to 6, EPE
likewise 7 to 9.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from knuckle.evaluate.figures import write_gallery
from knuckle.formats.files import replacing
from knuckle.hands import Hands
from knuckle.skeleton import GESTURES
from knuckle.study.hypotheses import AUC_RULE, H2, ClassRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Metric = Literal["auc", "epe"]
Part = Literal["base", "both", "difference"]

GALLERY: Final = "figure_10.png"
GALLERY_HANDS: Final = 18
UNITS: Final = {"auc": "AUC (MMPose, at most 0.95)", "epe": "EPE [image pixels]"}
_BASE, _BOTH, _BELOW, _ABOVE, _WITHIN = "#4c78a8", "#72b7b2", "#d1495b", "#2e86ab", "#9aa0a8"


class Panel(NamedTuple):
    """One of the bar charts."""

    number: int
    metric: Metric
    part: Part

    @property
    def file_name(self) -> str:
        """The picture's file."""
        return f"figure_{self.number}.png"


PANELS: Final = (
    Panel(4, "auc", "base"),
    Panel(5, "auc", "both"),
    Panel(6, "auc", "difference"),
    Panel(7, "epe", "base"),
    Panel(8, "epe", "both"),
    Panel(9, "epe", "difference"),
)


def bar(row: ClassRow, panel: Panel) -> float:
    """The height of a class's bar; NaN where there is none."""
    if panel.part == "difference":
        return row.difference[panel.metric]
    return float(getattr(row.base if panel.part == "base" else row.both, panel.metric))


def write_figures(h2: H2, pred: Hands, true: Hands, folder: Path) -> list[str]:
    """Figures 4 to 9 from the second hypothesis' frame, and 10 from all hands of base + own.

    Args:
        h2: the frame.
        pred: predictions for the gallery.
        true: their truth, row by row the same hands.
        folder: where the pictures go.

    Returns:
        One sentence for each picture that could not be drawn whole.

    Raises:
        ValueError: a picture cannot be written.
    """
    for panel in PANELS:
        with replacing(folder / panel.file_name) as temporary:
            draw_panel(h2, panel).savefig(temporary, dpi=120, format="png")
    return write_gallery(pred, true, folder / GALLERY, GALLERY_HANDS)


def draw_panel(h2: H2, panel: Panel) -> Figure:
    """One bar chart: a bar a class, in the order of the classes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    heights = np.array([bar(row, panel) for row in h2.rows])
    places = np.arange(len(heights))
    finite = np.where(np.isfinite(heights), heights, 0.0)
    axes.bar(places, finite, color=_colors(h2, panel), width=0.72)
    for place, height in zip(places, heights, strict=True):
        if not np.isfinite(height):
            axes.annotate("none", (place, 0), ha="center", va="bottom", fontsize=7, color=_WITHIN)
    axes.set_xticks(places, [f"{row.gesture}\n{GESTURES[row.gesture]}" for row in h2.rows], fontsize=7)
    for label in axes.get_xticklabels():
        label.set(rotation=60, ha="right", rotation_mode="anchor")
    axes.axhline(0, color="#14161a", linewidth=0.8)
    if panel.part == "difference" and panel.metric == "auc":
        for level in (-AUC_RULE, AUC_RULE):
            axes.axhline(level, color=_WITHIN, linewidth=0.9, linestyle=":")
    axes.set_ylabel(UNITS[panel.metric])
    axes.set_title(title_of(h2, panel), fontsize=10, loc="left")
    axes.grid(axis="y", alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def title_of(h2: H2, panel: Panel) -> str:
    """What a chart shows, with the hands behind a bar."""
    metric = panel.metric.upper()
    base = _span([row.base.hands for row in h2.rows])
    own = _span([row.both.hands - row.base.hands for row in h2.rows])
    sets = {
        "base": f"base ({base} hands a class)",
        "both": f"base + own ({base} + {own} hands a class)",
        "difference": f"base + own less base ({base} + {own} hands a class)",
    }
    rule = f"; dotted: the paper's rule, {AUC_RULE}" if panel.part == "difference" and panel.metric == "auc" else ""
    return f"Figure {panel.number}: {metric} of {sets[panel.part]}{rule}"


def _span(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _colors(h2: H2, panel: Panel) -> list[str]:
    if panel.part != "difference":
        return [_BASE if panel.part == "base" else _BOTH] * len(h2.rows)
    colors = {"lower": _BELOW, "higher": _ABOVE}
    return [colors.get(row.finding, _WITHIN) for row in h2.rows]
