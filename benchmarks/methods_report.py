"""The figures and the page of `benchmarks.methods`: the paper's Figs. 4 to 8, a table, and verdicts in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.methods_numbers import CURVE, FAILS, FIG5_JOINTS, HOLDS, MARGIN, RESULT_SHARE, SIGNIFICANT, SUBSTANTIAL
from benchmarks.methods_plan import LOSSES, OURS
from knuckle.data.images import read_image
from knuckle.draw import contact_sheet, hand_tile, write_image
from knuckle.hands import Hands
from knuckle.metrics.errors import relative_distances
from knuckle.predict.points import visibility_of
from knuckle.skeleton import JOINT_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS: Final = (  # told apart by colour-blind readers (Okabe and Ito, 2008)
    *("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#7f7f7f"),
    *("#000000", "#d55e00", "#0072b2", "#b5a300"),
)
PANEL_HANDS: Final = 4
PANEL_TILE: Final = 120
STAGES_FIGURE, LOSSES_FIGURE, METHODS_FIGURE, PANEL = (
    "fig4_stages.png",
    "fig5_losses.png",
    "fig6_7_methods.png",
    "fig8.jpg",
)

Rows = Mapping[str, Mapping[str, Any]]


def write_figures(
    result: Mapping[str, Any], true: Hands, found: Mapping[str, Float[np.ndarray, "n 21 2"]], out: Path
) -> None:
    """All figures.

    Args:
        result: the numbers, as methods.json holds them.
        true: the held-out hands.
        found: the points of one network of each method by its label, image pixels, NaN where there is none.
        out: the folder.
    """
    rows = {name: row for name, row in result["networks"].items() if row["label"] in found}
    colors = dict(zip(rows, COLORS, strict=False))
    _save(_stages(result["figure_4"]), out / STAGES_FIGURE)
    _save(_losses({name: rows[name] for name in (OURS, *LOSSES)}, colors), out / LOSSES_FIGURE)
    _save(_methods(rows, colors, result["mean_pose"]["nme"]), out / METHODS_FIGURE)
    write_image(out / PANEL, _panel(true, found))


def write_report(result: Mapping[str, Any], path: Path) -> None:
    """The page, Markdown."""
    path.write_text("\n".join(_page(result)) + "\n")


def _figure(columns: int, widths: tuple[float, ...] | None = None) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(5.2 * columns, 4.0), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, width_ratios=widths)
    for one in axes:
        one.grid(alpha=0.25, linewidth=0.6)
        one.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None})


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _whiskers(
    axes: Axes, x: list[float], values: list[Mapping[str, Any]], color: str, label: str | None, line: str = "none"
) -> None:
    """Means with their intervals over seeds, and faint points for the seeds."""
    middle, low, high = ([_number(value[key]) for value in values] for key in ("estimate", "low", "high"))
    reach = np.abs([np.subtract(middle, low), np.subtract(high, middle)])
    axes.errorbar(x, middle, reach, fmt="o", ms=4.5, capsize=3, lw=1.2, ls=line, color=color, label=label)
    for at, value in zip(x, values, strict=True):
        seeds = [_number(one) for one in value["of_seeds"]]
        axes.plot([at] * len(seeds), seeds, ".", ms=4, alpha=0.35, color=color)


def _stages(figure_4: Mapping[str, Any]) -> Figure:
    """Fig. 4: PCK@0.2 and NME by stage."""
    figure, (left, right) = _figure(2)
    series = (
        ("one_network", "outputs of one network", COLORS[5], -0.06),
        ("own_networks", "own network", COLORS[6], 0.06),
    )
    for axes, key, most in ((left, "pck_20", 1.005), (right, "nme", math.inf)):
        for name, label, color, aside in series:
            stages = figure_4[name]["stages"]
            _whiskers(axes, [int(t) + aside for t in stages], [row[key] for row in stages.values()], color, label, "-")
        axes.set_xlabel("stages")
        axes.axvline(5, color="#9aa0a8", lw=0.8, ls=":", zorder=0)
        _limit(axes, [row[key] for name, *_ in series for row in figure_4[name]["stages"].values()], most)
    left.set_ylabel("PCK@0.2")
    right.set_ylabel("NME")
    left.legend(frameon=False, fontsize=9)
    return figure


def _limit(axes: Axes, values: list[Mapping[str, Any]], most: float = math.inf) -> None:
    """The seeds decide the range: intervals of two or three seeds may be wider than all there is to see."""
    seeds = np.array([_number(seed) for value in values for seed in value["of_seeds"]])
    seeds = seeds[np.isfinite(seeds)]
    if seeds.size:
        room = max(0.6 * float(np.ptp(seeds)), 0.02 * float(seeds.max()), 1e-4)
        axes.set_ylim(max(0.0, seeds.min() - room), min(most, seeds.max() + room))


def _losses(rows: Rows, colors: Mapping[str, str]) -> Figure:
    """Fig. 5: NME by joint, and PCK curves, for the three losses."""
    figure, (left, right) = _figure(2, (1.35, 1.0))
    places = np.arange(len(FIG5_JOINTS) + 1)
    for number, (name, row) in enumerate(rows.items()):
        values = [*row["nme_of_fig5_joints"].values(), row["nme_fig5"]]
        x = (places + 0.22 * (number - 1)).tolist()
        _whiskers(left, x, values, colors[name], row["label"] + _mark(row))
    left.set_xticks(places, [*(JOINT_NAMES[joint].replace("_", " ") for joint in FIG5_JOINTS), "mean"])
    left.tick_params(axis="x", rotation=60, labelsize=8)
    left.axvline(len(FIG5_JOINTS) - 0.5, color="#9aa0a8", lw=0.8)
    left.set_ylabel("NME")
    _limit(left, [value for row in rows.values() for value in row["nme_of_fig5_joints"].values()])
    _curves(right, rows, colors)
    right.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def _methods(rows: Rows, colors: Mapping[str, str], mean_pose_nme: float) -> Figure:
    """Figs. 6 and 7: NME, and PCK curves, of all methods."""
    figure, (left, right) = _figure(2)
    for place, (name, row) in enumerate(rows.items()):
        _whiskers(left, [float(place)], [row["nme"]], colors[name], None)
    left.set_xticks(range(len(rows)), [row["label"] + _mark(row) for row in rows.values()])
    left.tick_params(axis="x", rotation=40, labelsize=8)
    for label in left.get_xticklabels():
        label.set_horizontalalignment("right")
    left.axhline(RESULT_SHARE * mean_pose_nme, color="#9aa0a8", lw=1.0, ls="--")
    left.annotate(
        "half the mean pose's NME",
        (0.01, RESULT_SHARE * mean_pose_nme),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=8,
        color="#6b7078",
    )
    left.set_ylim(bottom=0)
    left.set_ylabel("NME, 21 joints")
    _curves(right, rows, colors)
    right.legend(framealpha=0.85, edgecolor="none", fontsize=8, loc="lower right")
    return figure


def _curves(axes: Axes, rows: Rows, colors: Mapping[str, str]) -> None:
    for name, row in rows.items():
        axes.plot(CURVE, row["pck_curve"], color=colors[name], lw=1.5, label=row["label"] + _mark(row))
    axes.set_xlim(0, CURVE[-1])
    axes.set_ylim(0, 1.005)
    axes.set_xlabel("threshold / longer side of the box")
    axes.set_ylabel("PCK, mean over joints and seeds")


def _mark(row: Mapping[str, Any]) -> str:
    return "" if row["result"] else " (no result)"


def _panel(true: Hands, found: Mapping[str, Float[np.ndarray, "n 21 2"]]) -> np.ndarray:
    """Fig. 8: the same hands for all methods, from easy to hard, each prediction over the truth in white."""
    pred = {label: true.replace(xy=xy, visibility=visibility_of(xy), covariance=None) for label, xy in found.items()}
    nme = {label: np.nanmean(relative_distances(hands, true, "box"), axis=1) for label, hands in pred.items()}
    order = np.argsort(np.median(list(nme.values()), axis=0), kind="stable")
    rows = order[np.round(np.linspace(0.1, 0.9, PANEL_HANDS) * (len(order) - 1)).astype(int)]
    tiles, captions = [], []
    for row in rows.tolist():
        truth = true[row]
        image = read_image(truth.paths()[0])
        tiles.append(hand_tile(image, truth, tile=PANEL_TILE, padding=1.4))
        captions.append("truth")
        for label, hands in pred.items():
            tiles.append(hand_tile(image, hands[row], tile=PANEL_TILE, padding=1.4, truth=truth))
            captions.append(f"{label}\nNME {nme[label][row]:.3f}")
    return contact_sheet(tiles, captions, columns=1 + len(pred), tile=PANEL_TILE)


def _page(result: Mapping[str, Any]) -> Iterator[str]:
    settings, rows = result["settings"], result["networks"]
    yield '# The experiments of "MLE-Loss Driven Robust Hand Pose Estimation" on rendered hands'
    yield ""
    yield f"`{result['command']}`, {_where(result)}."
    yield ""
    if settings["name"] == "smoke":
        yield "**The smoke plan: networks that were trained for a moment. None of these numbers means anything.**"
        yield ""
    yield (
        f"{settings['hands']:,} rendered hands to learn from and {settings['held_out']:,} others to measure on "
        f"(`{settings['scenes']}`, pictures of {settings['picture']} px), {settings['backbone']} "
        f"{'with random first weights' if settings['weights'] is None else 'from ' + settings['weights']}, crops of "
        f"{settings['crop']} px, epochs: {settings['epochs']}, seeds: {settings['seeds']}; all networks see the same "
        "hands as often, with the same augmentation, optimiser and learning rate. All settings are in `methods.json`."
    )
    yield ""
    yield "## The paper's claims"
    yield ""
    for claim in result["claims"]:
        yield f"- **{claim['claim'][0].upper()}{claim['claim'][1:]}: {claim['verdict']}.** {_parts(claim, result)}"
    yield ""
    yield from _rules()
    yield "## Methods (Figs. 6 and 7)"
    yield ""
    yield "| | NME | PCK@0.05 | PCK@0.1 | PCK@0.2 | PCK@0.3 | decoder alone | parameters | s a training |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows.values():
        yield _row(row)
    mean = result["mean_pose"]
    yield f"| the mean pose, whatever the picture | {mean['nme']:.4f} | | | {mean['pck_20']:.3f} | | | | |"
    yield ""
    yield (
        'Means and t intervals over the seeds. "Decoder alone" is the NME of the decoder on heatmaps drawn from the '
        "truth: what coarse cells cost at this crop size. Seconds depend on what else the machine did."
    )
    yield ""
    yield f"![NME and PCK of all methods]({METHODS_FIGURE})"
    yield ""
    yield "## Against the sequential model"
    yield ""
    yield "| rival | difference in NME, over hands | over seeds | p (Holm) | in PCK@0.2, over hands | better |"
    yield "|---|---|---|---|---|---|"
    for name, compared in result["comparisons"].items():
        yield _comparison(rows[name]["label"], compared)
    yield ""
    yield (
        "The sequential model minus its rival. The two losses are compared on the eleven joints of Fig. 5, the others "
        "on all 21."
    )
    yield ""
    yield from _decoders(result["decoders"])
    yield "## Losses (Fig. 5)"
    yield ""
    yield f"![NME by joint and PCK for three losses]({LOSSES_FIGURE})"
    yield ""
    yield "## Stages (Fig. 4)"
    yield ""
    yield f"![PCK and NME by stage]({STAGES_FIGURE})"
    yield ""
    yield from _stage_table(result["figure_4"])
    yield "## The same hands (Fig. 8)"
    yield ""
    yield "The first seed of each method, on hands from easy to hard by the methods' median NME. The truth is white."
    yield ""
    yield f"![the same hands for all methods]({PANEL})"


def _where(result: Mapping[str, Any]) -> str:
    cpu = f"{result['machine']['cores']} cores ({result['machine']['cpu']})"
    seconds = sum(sum(row["seconds"]) for row in result["networks"].values())
    device = cpu if result["device"] == "cpu" else f"{result['device']}, {cpu}"
    return f"knuckle {result['knuckle']}, {device}, {seconds / 3600:.2f} h of training in all"


def _parts(claim: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    rows = {row["label"]: name for name, row in result["networks"].items()}
    said = [f"{part}: {verdict}{_why(rows.get(part), part, result)}" for part, verdict in claim["parts"].items()]
    return "; ".join(said) + "."


def _why(name: str | None, part: str, result: Mapping[str, Any]) -> str:
    """What a part's verdict rests on, in brackets."""
    if name is None:
        stages = result["figure_4"]["one_network" if part == "stages of one network" else "own_networks"]
        if not stages["result"]:
            return " (not a result)"
        if not stages["gained_before"]:
            return " (and the stages up to the fifth bring no clear gain either, so this says little)"
        gain = max(gain["hands"]["estimate"] for gain in stages["gains_after"].values())
        return f" (at most {gain:+.4f} PCK@0.2 after it, {stages['gain_before']['hands']['estimate']:+.4f} up to it)"
    if name not in result["comparisons"]:
        lacking = [result["networks"][one]["label"] for one in (OURS, name) if not result["networks"][one]["result"]]
        return f" ({' and '.join(lacking)}: not a result)"
    difference = result["comparisons"][name]["nme_difference"]["hands"]["estimate"]
    coarse = result["networks"][name]["decoder_nme"]
    own = "" if coarse is None else f"; its decoder alone errs by {coarse:.4f}"
    return f" (NME {difference:+.4f}{own})"


def _rules() -> Iterator[str]:
    yield (
        f"The rules. A network is a result if its NME on the held-out hands is at most {RESULT_SHARE:.0%} of the mean "
        "pose's with every seed; others are not compared."
    )
    yield ""
    yield (
        f'- "A beats B" {HOLDS} if the 95 % intervals of the difference in NME, over hands (cluster bootstrap, seeds '
        "averaged) and over seeds (Welch's t), both lie below zero, and the larger of the two p-values, adjusted by "
        f"Holm over all comparisons, is below {SIGNIFICANT}. It {FAILS} if both intervals exclude an advantage of "
        f"{MARGIN:.0%} of B's NME or more."
    )
    yield (
        f'- "No gain" {HOLDS} if both intervals of the gain in PCK@0.2 of every later stage lie below {SUBSTANTIAL}. '
        f"It {FAILS} if both intervals of one of them lie above."
    )
    yield "- A claim with parts holds if all of them do, and does not if one of them does not."
    yield "- Anything else is inconclusive."
    yield ""
    yield "One learning rate for all methods, as in the paper, may suit some of them better than others."
    yield ""


def _row(row: Mapping[str, Any]) -> str:
    shares = " | ".join(f"{_number(row['pck'][key]['estimate']):.3f}" for key in ("0.05", "0.10", "0.20", "0.30"))
    floor = "" if row["decoder_nme"] is None else f"{row['decoder_nme']:.4f}"
    size = "" if row["parameters"] is None else f"{row['parameters'] / 1e6:.1f} M"
    lost = f" ({row['diverged']} diverged)" if row["diverged"] else ""
    label = row["label"] + ("" if row["result"] else ", **not a result**") + lost
    return f"| {label} | {_interval(row['nme'])} | {shares} | {floor} | {size} | {np.mean(row['seconds']):.0f} |"


def _comparison(label: str, compared: Mapping[str, Any]) -> str:
    nme, shares = compared["nme_difference"], compared["pck_20_difference"]
    return (
        f"| {label} | {_interval(nme['hands'])} | {_interval(nme['seeds'])} | {compared['p_holm']:.3f} | "
        f"{_interval(shares['hands'])} | {compared['verdict']} |"
    )


def _decoders(numbers: Mapping[str, Any] | None) -> Iterator[str]:
    """Which point of the predicted density is read."""
    if numbers is None:
        return
    yield "## Which point of the density"
    yield ""
    yield (
        f"The paper reads mu, the soft-argmax: NME {_interval(numbers['nme']['mu'])}. The mean of the density that the "
        f"flow describes gives {_interval(numbers['nme']['mean'])}: {_signed(numbers['difference']['hands'])} over "
        f"hands, {_signed(numbers['difference']['seeds'])} over seeds, for the same networks."
    )
    yield ""


def _signed(value: Mapping[str, Any]) -> str:
    estimate, low, high = (_number(value[key]) for key in ("estimate", "low", "high"))
    return f"{estimate:+.4f} [{low:+.4f}, {high:+.4f}]"


def _stage_table(figure_4: Mapping[str, Any]) -> Iterator[str]:
    yield "| stages | outputs of one network: PCK@0.2 | PCK@0.05 | NME | own network: PCK@0.2 | PCK@0.05 | NME |"
    yield "|---|---|---|---|---|---|---|"
    both = [figure_4[name]["stages"] for name in ("one_network", "own_networks")]
    for number in both[0] | both[1]:
        cells = [
            _interval(row[number][key]) if number in row else "" for row in both for key in ("pck_20", "pck_05", "nme")
        ]
        yield f"| {number} | {' | '.join(cells)} |"
    yield ""


def _interval(value: Mapping[str, Any]) -> str:
    estimate, low, high = (_number(value[key]) for key in ("estimate", "low", "high"))
    return f"{estimate:.4f} [{low:.4f}, {high:.4f}]"
