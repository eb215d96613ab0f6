"""The picture of a run: training loss and learning rate by step, validation metrics by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from knuckle.train.journal import read_journal

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_curves(journal: Path, picture: Path) -> None:
    """Draw metrics.jsonl as a PNG, replaced in one rename so that a viewer never sees half of it."""
    from matplotlib.figure import Figure

    steps, validations = read_journal(journal, "step"), read_journal(journal, "validation")
    figure = Figure(figsize=(11, 6.5), dpi=110, layout="constrained")
    loss, pixels, shares, rate = figure.subplots(2, 2).ravel()
    _draw_loss(loss, steps)
    _draw_metrics(pixels, validations, {"epe": "EPE"}, "validation error (image pixels)")
    _draw_metrics(shares, validations, {"auc": "AUC (MMPose)", "pck": "PCK@0.2 (box)"}, "validation share")
    shares.set_ylim(0, 1)
    rate.plot([entry["step"] for entry in steps], [entry["learning_rate"] for entry in steps], color="tab:green")
    rate.set(xlabel="step", title="learning rate")
    for axes in (loss, pixels, shares, rate):
        axes.grid(alpha=0.3)
    partial = picture.with_name(f"{picture.name}.partial")
    figure.savefig(partial, format="png")
    partial.replace(picture)


def _draw_loss(axes: Axes, steps: list[dict[str, Any]]) -> None:
    kept = [(entry["step"], entry["loss"]) for entry in steps if entry["loss"] is not None]
    axes.set(xlabel="step", title="training loss")
    if not kept:
        return
    numbers, losses = np.array(kept, dtype=np.float64).T
    axes.plot(numbers, losses, color="tab:blue", alpha=0.25, linewidth=0.8)
    width = max(1, len(losses) // 50)
    smooth = np.convolve(losses, np.full(width, 1 / width), mode="valid")
    axes.plot(numbers[width - 1 :], smooth, color="tab:blue", label=f"mean of {width} steps")
    if (losses > 0).all():
        axes.set_yscale("log")
    axes.legend()


def _draw_metrics(axes: Axes, validations: list[dict[str, Any]], names: dict[str, str], title: str) -> None:
    epochs = [entry["epoch"] for entry in validations]
    for name, label in names.items():
        values = [np.nan if entry[name] is None else entry[name] for entry in validations]
        axes.plot(epochs, values, marker="o", markersize=3, label=label)
    axes.set(xlabel="epochs", title=title)
    if validations:
        axes.legend()
