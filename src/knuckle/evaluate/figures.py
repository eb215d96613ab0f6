"""Pictures of an evaluation: PCK curves, how far stated uncertainty can be believed, and the hands that went worst."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from jaxtyping import Bool, Float64

from knuckle.hands import Hands
from knuckle.metrics.calibration import RiskCoverage, Uncertainty
from knuckle.metrics.confidence import Bin
from knuckle.metrics.errors import Normalizer, count_correct, distances, macro_average, relative_distances
from knuckle.skeleton import FINGER_COLORS, FINGERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GALLERY_HANDS: Final = 18
GALLERY_COLUMNS: Final = 6
"""Tiles in a row: three hands, each with its truth and its prediction."""

CURVE_NAME: Final = "pck_curve"
UNCERTAINTY_NAME: Final = "uncertainty"
_OVERALL_COLOR: Final = "#14161a"


def write_pck_curves(pred: Hands, true: Hands, folder: Path) -> list[str]:
    """`pck_curve.png` and `.svg`: PCK over the threshold, in box sides and in pixels.

    Returns:
        A sentence where matplotlib is missing or nothing is labelled, and then no file.

    Raises:
        ValueError: the two do not describe the same hands, or a labelled hand has no box.
    """
    if not true.labeled.any():
        return ["No PCK curve was drawn, as no keypoint is labelled."]
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return ["No PCK curve was drawn, as matplotlib is not installed: pip install 'knuckle[train]'."]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_curves(left, pred, true, "box", np.linspace(0, 0.3, 301))
    _draw_curves(right, pred, true, "px", np.linspace(0, 30, 301))
    left.axvline(0.2, color="#9aa0a8", linewidth=0.8, linestyle=":")
    left.set_xlabel("threshold / longer side of the box (dotted: 0.2)")
    left.set_ylabel("PCK, macro over joints")
    right.set_xlabel("threshold [image pixels]")
    right.legend(loc="lower right", frameon=False, fontsize=9)
    _save(figure, folder, CURVE_NAME)
    return []


def write_uncertainty_curves(uncertainty: Uncertainty, folder: Path) -> list[str]:
    """`uncertainty.png` and `.svg`: reliability of the confidence, and errors in the order of stated uncertainty.

    Returns:
        A sentence where matplotlib is missing or neither can be drawn, and then no file.
    """
    if not uncertainty.reliability and uncertainty.risk_coverage is None:
        return ["No uncertainty was drawn, as no labelled keypoint has any."]
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return ["No uncertainty was drawn, as matplotlib is not installed: pip install 'knuckle[train]'."]
    panels = [bool(uncertainty.reliability), uncertainty.risk_coverage is not None]
    figure = Figure(figsize=(5 * sum(panels), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, sum(panels), squeeze=False)[0])
    if uncertainty.reliability:
        _draw_reliability(axes[0], uncertainty.reliability)
    if uncertainty.risk_coverage is not None:
        _draw_risk_coverage(axes[-1], uncertainty.risk_coverage)
    _save(figure, folder, UNCERTAINTY_NAME)
    return []


def write_gallery(pred: Hands, true: Hands, path: Path, count: int = GALLERY_HANDS) -> list[str]:
    """The hands with the largest NME, worst first: the truth, and beside it the prediction over it.

    Hands without any predicted keypoint have nothing to show and are left to the tables.

    Returns:
        A sentence for what could not be shown, and no file where that is everything.

    Raises:
        ValueError: the file cannot be written.
    """
    from knuckle.data.images import ImageError, read_image
    from knuckle.draw import contact_sheet, hand_tile, write_image

    rows, nme, error = worst_hands(pred, true, count)
    tiles, captions, unreadable = [], [], []
    for rank, row in enumerate(rows.tolist(), start=1):
        truth, found = true[row], pred[row]
        try:
            image = read_image(truth.paths()[0])
        except ImageError as problem:
            unreadable.append(str(problem))
            continue
        tiles += [hand_tile(image, truth), hand_tile(image, found.replace(box=truth.box), truth=truth)]
        captions += [
            f"{rank}: truth\n{Path(truth.image[0]).name}",
            f"{rank}: prediction, truth in white\nNME {nme[rank - 1]:.3f}, mean error {error[rank - 1]:.1f} px",
        ]
    if not tiles:
        why = unreadable[0] if unreadable else "No hand has both a labelled and a predicted keypoint."
        return [f"No gallery was drawn. {why}"]
    title = f"The {len(tiles) // 2} worst of {len(true):,} hands by NME"
    write_image(path, contact_sheet(tiles, captions, columns=GALLERY_COLUMNS, title=title))
    return [f"Worst hands that the gallery could not show: {len(unreadable)}. {unreadable[0]}"] if unreadable else []


def worst_hands(
    pred: Hands, true: Hands, count: int
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """The rows with the largest mean error over the box, worst first, with that NME and the error in pixels.

    Means run over the keypoints that are labelled and predicted; hands without any are left out.
    """
    distance = distances(pred, true)
    both = true.labeled & pred.labeled
    nme, error = (_means(values, both) for values in (relative_distances(pred, true, "box"), distance))
    rows = np.argsort(-nme, kind="stable")  # NaN comes last
    rows = rows[: min(count, int((~np.isnan(nme)).sum()))]
    return rows, nme[rows], error[rows]


def _draw_reliability(axes: Axes, bins: Sequence[Bin]) -> None:
    """The share of keypoints that are close over the confidence stated for them, and how many there are."""
    axes.plot([0, 1], [0, 1], color="#9aa0a8", linewidth=0.8, linestyle=":")
    most = max(own.keypoints for own in bins)
    axes.bar(
        [own.low for own in bins],
        [0.25 * own.keypoints / most for own in bins],
        width=[own.high - own.low for own in bins],
        align="edge",
        color="#d5d9de",
        label="keypoints",
    )
    stated, close = [own.confidence for own in bins], [own.close for own in bins]
    axes.plot(stated, close, color=_OVERALL_COLOR, marker="o", markersize=4, label="share within 0.05 box sides")
    axes.set_xlabel("confidence")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.005)
    _finish(axes, legend="upper left")


def _draw_risk_coverage(axes: Axes, curve: RiskCoverage) -> None:
    """The mean error of the most certain keypoints, beside a random order and the best one."""
    axes.plot(curve.kept, curve.risk, color=_OVERALL_COLOR, linewidth=2.2, label="by stated uncertainty")
    axes.plot(curve.kept, curve.oracle, color="#009e73", linewidth=1.2, label="by the errors themselves")
    axes.axhline(curve.area_random, color="#9aa0a8", linewidth=0.8, linestyle=":", label="in a random order")
    axes.set_xlabel("share of the keypoints, most certain first")
    axes.set_ylabel("mean error / longer side of the box")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    _finish(axes, legend="lower right")


def _finish(axes: Axes, legend: Literal["upper left", "lower right"]) -> None:
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc=legend, frameon=False, fontsize=9)


def _save(figure: Figure, folder: Path, name: str) -> None:
    for suffix in ("png", "svg"):
        figure.savefig(folder / f"{name}.{suffix}", dpi=150, metadata={"Date": None} if suffix == "svg" else None)


def _means(values: Float64[np.ndarray, "n 21"], where: Bool[np.ndarray, "n 21"]) -> Float64[np.ndarray, " n"]:
    count = where.sum(axis=1)
    means: Float64[np.ndarray, " n"] = np.full(len(values), np.nan)
    np.divide(np.where(where, values, 0.0).sum(axis=1), count, out=means, where=count > 0)
    return means


def _draw_curves(
    axes: Axes, pred: Hands, true: Hands, normalizer: Normalizer, thresholds: Float64[np.ndarray, " t"]
) -> None:
    """One line a finger, and one for all joints."""
    ratio = relative_distances(pred, true, normalizer)
    for finger, joints in FINGERS.items():
        curve = macro_average(*count_correct(ratio[:, list(joints)], thresholds))
        color = tuple(channel / 255 for channel in FINGER_COLORS[finger])
        axes.plot(thresholds, curve, color=color, linewidth=1.2, label=finger)
    overall = macro_average(*count_correct(ratio, thresholds))
    axes.plot(thresholds, overall, color=_OVERALL_COLOR, linewidth=2.2, label="all joints")
    axes.set_xlim(0, thresholds[-1])
    axes.set_ylim(0, 1.005)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
