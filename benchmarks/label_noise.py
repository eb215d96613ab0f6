"""Does maximum likelihood stand wrong labels better than other losses? Errors on exact labels against label noise.

    python -m benchmarks.label_noise --work WORK --out benchmarks/results/label_noise.json
    python -m benchmarks.label_noise --work WORK --out OUT.json --plan smoke                 # minutes: does it run?
    python -m benchmarks.label_noise --work WORK --out OUT.json --plan gpu --device cuda --minutes 8  # again and again

"MLE-Loss Driven Robust Hand Pose Estimation" claims that its loss degrades more slowly where labels are noisy. Here
the networks of `benchmarks.methods` learn from its rendered hands with labels of known noise
(`knuckle.data.label_noise` has the kinds, and what their rates mean) and are measured on held-out hands with exact
ones. Noise is drawn once for each hand and seed and stays for all epochs; boxes stay exact. A higher rate is the same
noise, enlarged. The seed is that of the noise, the first weights and the order.

NME is the mean error over the box's longer side, within each hand first. A slope is fitted for each seed: by how much
NME grows beyond that of the clean run of the same network and seed for a whole unit of the rate, by least squares
through the clean run. Over the clean NME it says the same in parts of it. Intervals are Student's, 95 %, over seeds;
differences between networks are paired by seed, and all are measured on the same hands. Against another network the
claim holds where the slope and the slope over the clean NME are both smaller, with intervals that leave out 0, and
does not hold where the other's slope is smaller with such an interval. A network that has learnt too little from clean
labels, or diverged, is not compared. The claim holds for a kind of noise where it holds against all other networks,
and does not where it does not against one; these intervals are not corrected for their number.

Labels that noise moves out of a crop are left out of every loss but RLE's. WORK keeps what is finished: the same
command goes on. In the WORK of `benchmarks.methods` with the same plan, its networks are the clean ones. Beside the
JSON file lies the figure.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

import knuckle
from benchmarks import methods_plan
from benchmarks.data_loading import machine
from benchmarks.methods import (
    Setting,
    begin,
    last_errors,
    mean_pose_errors,
    one_thread,
    render_hands,
    say_time_is_up,
    setting_of,
    shared_options,
    train_and_measure,
    write_numbers,
)
from benchmarks.methods_numbers import (
    FAILS,
    HOLDS,
    OPEN,
    RESULT_SHARE,
    hand_means,
    joint_verdict,
    over_seeds,
)
from benchmarks.methods_plan import LOSSES, OURS, RIVALS
from knuckle.data.label_noise import NOISE
from knuckle.formats import read, write
from knuckle.hands import Hands
from knuckle.metrics.errors import relative_distances

CLEAN: Final = "clean"


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        networks: sizes, hands and schedule, as in `benchmarks.methods`.
        names: of the variants; the first is the one whose claim is tested.
        rates: those above 0 of each kind of noise.
    """

    networks: methods_plan.Plan
    names: tuple[str, ...]
    rates: Mapping[str, tuple[float, ...]]


_SAME_STAGES: Final = (OURS, *LOSSES)
_TWO_KINDS: Final = {"gaussian": (0.05, 0.1), "swapped": (0.2, 0.4)}

PLANS: Final = {
    "smoke": Plan(methods_plan.PLANS["smoke"], _SAME_STAGES, _TWO_KINDS),
    "cpu": Plan(methods_plan.PLANS["cpu"], _SAME_STAGES, _TWO_KINDS),
    "gpu": Plan(
        replace(
            methods_plan.PLANS["gpu"],
            name="noise_gpu",
            hands=30_000,
            picture=160,
            crop=128,
            backbone="resnet18",
            width=128,
        ),
        (*_SAME_STAGES, *RIVALS, "simcc"),
        _TWO_KINDS | {"heavy": (0.05, 0.1), "other_hand": (0.1, 0.2), "missing": (0.3, 0.6)},
    ),
}


class Job(NamedTuple):
    """One network; `kind` is "clean" where the rate is 0."""

    seed: int
    kind: str
    rate: float
    name: str


NMEs = Mapping[Job, float]


def main() -> None:
    """Train what is missing, then write the numbers and the figure."""
    parser = shared_options(__doc__, "JSON file to write; the figure goes beside it", PLANS)
    parser.add_argument("--kinds", nargs="+", choices=tuple(NOISE), help="some of the plan's kinds of noise")
    options = parser.parse_args()
    plan = PLANS[options.plan]
    rates = {kind: plan.rates[kind] for kind in plan.rates if kind in (options.kinds or plan.rates)}
    plan = replace(plan, rates=rates, networks=replace(plan.networks, seeds=options.seeds or plan.networks.seeds))
    if not rates:
        parser.error(f"plan {options.plan} has noise of the kinds {', '.join(PLANS[options.plan].rates)}.")
    setting = setting_of(options, plan.networks)
    begin(setting)
    if not (render_hands(setting) and train_all(setting, plan, options.processes)):
        say_time_is_up(setting)
        return
    result = summarize(setting, plan)
    write_numbers(result, options.out)
    draw(result["curves"], options.out.with_suffix(".png"))
    for line in table(result):
        sys.stdout.write(line + "\n")


def jobs(plan: Plan) -> list[Job]:
    """All networks of a plan, seed by seed."""
    seeds = range(plan.networks.seeds)
    noise = [(CLEAN, 0.0), *((kind, rate) for kind, rates in plan.rates.items() for rate in rates)]
    return [Job(seed, *one, name) for seed in seeds for one in noise for name in plan.names]


def folder_of(work: Path, job: Job) -> Path:
    """Where a network is kept; clean ones where `benchmarks.methods` keeps them."""
    runs = work / "runs" if job.kind == CLEAN else work / "noise" / f"{job.kind}_{job.rate:g}"
    return runs / f"{job.name}_{job.seed}"


def is_measured(work: Path, job: Job) -> bool:
    """Whether a network's predictions are there, which are the last that is written of it."""
    return (folder_of(work, job) / "xy.npy").is_file()


def labels_of(work: Path, job: Job) -> Path:
    """The annotations that a network learns from; the noise is the same for all that share a seed."""
    name = f"annotations_{job.kind}_{job.rate:g}_{job.seed}.json"
    return work / ("train/annotations.json" if job.kind == CLEAN else f"noise/{name}")


def train_all(setting: Setting, plan: Plan, processes: int) -> bool:
    """Every network that is missing, several at a time; False where the time was up before the last."""
    left = [job for job in jobs(plan) if not is_measured(setting.work, job)]
    write_labels(setting.work, left)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=one_thread) as pool:
        for number, (job, seconds) in enumerate(zip(left, pool.map(partial(run, setting), left), strict=True), start=1):
            if seconds is not None:
                what = f"{job.name}, {job.kind} {job.rate:g}, seed {job.seed}"
                sys.stdout.write(f"{number} of {len(left)}: {what}: {seconds:.0f} s\n")
                sys.stdout.flush()
    return all(is_measured(setting.work, job) for job in left)


def write_labels(work: Path, planned: Sequence[Job]) -> None:
    """The noisy annotations that these networks learn from."""
    clean = read(work / "train" / "annotations.json")
    for job in {labels_of(work, job): job for job in planned if job.kind != CLEAN}.values():
        path = labels_of(work, job)
        path.parent.mkdir(exist_ok=True)
        write(NOISE[job.kind](clean, job.rate, job.seed), path)


def run(setting: Setting, job: Job) -> float | None:
    """One network from labels to predictions on disk: seconds, or None where the time was up before its end."""
    began = time.perf_counter()
    variant = methods_plan.variants(setting.plan)[job.name]
    done = train_and_measure(setting, variant, labels_of(setting.work, job), job.seed, folder_of(setting.work, job))
    return time.perf_counter() - began if done else None


def summarize(setting: Setting, plan: Plan) -> dict[str, Any]:
    """All numbers, with what they were measured with."""
    true = read(setting.work / "held_out" / "annotations.json")
    nme = {job: nme_of(folder_of(setting.work, job), true) for job in jobs(plan)}
    mean_pose = float(hand_means(mean_pose_errors(setting, true)).mean())
    settings = {name: value for name, value in asdict(plan.networks).items() if name != "scenes"}
    return {
        "command": f"python -m benchmarks.label_noise {' '.join(_shown(sys.argv[1:]))}",
        "machine": machine(),
        "device": setting.device,
        "knuckle": knuckle.__version__,
        "settings": settings,
        "labels": list(label_errors(setting.work, plan)),
        "mean_pose_nme": mean_pose,
        "runs": [{**job._asdict(), "nme": value} for job, value in nme.items()],
        **conclude(plan, nme, mean_pose),
    }


def _shown(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments with folder and file as anybody would name them."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        yield {"--work": "WORK", "--out": "OUT"}.get(before, argument)


def nme_of(folder: Path, true: Hands) -> float:
    """The NME of one network's keypoints, those of the last stage."""
    return float(last_errors([folder], true).mean())


def label_errors(work: Path, plan: Plan) -> Iterator[dict[str, Any]]:
    """How wrong the labels of the first seed are, in parts of the box's longer side."""
    clean = read(work / "train" / "annotations.json")
    for kind, rates in plan.rates.items():
        for rate in rates:
            noisy = NOISE[kind](clean, rate, 0)
            distance = relative_distances(clean, noisy, "box")[noisy.labeled]
            yield {
                "kind": kind,
                "rate": rate,
                "labeled": float(noisy.labeled.sum() / clean.labeled.sum()),
                "moved": float((distance > 0).mean()),
                "mean_distance": float(distance.mean()),
                "median_distance": float(np.median(distance)),
            }


def conclude(plan: Plan, nme: NMEs, mean_pose_nme: float) -> dict[str, Any]:
    """Curves, slopes, differences of slopes, and what they say of the claim."""
    seeds = range(plan.networks.seeds)
    learnt = {
        name: all(nme[Job(seed, CLEAN, 0.0, name)] <= RESULT_SHARE * mean_pose_nme for seed in seeds)
        for name in plan.names
    }
    contrasts = [row for kind in plan.rates for row in compare(plan, nme, kind, learnt)]
    verdicts = [judge(kind, [row for row in contrasts if row["kind"] == kind]) for kind in plan.rates]
    overall = joint_verdict([row["verdict"] for row in verdicts])
    return {
        "learnt": learnt,
        "curves": list(curves(plan, nme)),
        "slopes": [row for kind in plan.rates for row in slope_rows(plan, nme, kind)],
        "contrasts": contrasts,
        "verdicts": verdicts,
        "verdict": f"That the loss of {OURS} degrades more slowly under noisy labels: {overall}.",
    }


def curves(plan: Plan, nme: NMEs) -> Iterator[dict[str, Any]]:
    """NME by rate, the clean run first."""
    for kind, rates in plan.rates.items():
        for name in plan.names:
            noise = [(CLEAN, 0.0), *((kind, rate) for rate in rates)]
            values = np.array([[nme[Job(seed, *one, name)] for seed in range(plan.networks.seeds)] for one in noise])
            points = [{"rate": rate, **over_seeds(row)} for (_, rate), row in zip(noise, values, strict=True)]
            yield {"kind": kind, "name": name, "points": points}


class Slopes(NamedTuple):
    """One slope a seed: of NME for a unit of the rate, and of NME over the clean run's."""

    absolute: np.ndarray
    relative: np.ndarray


def slopes(plan: Plan, nme: NMEs, kind: str, name: str) -> Slopes:
    """Fitted through the clean run of each seed."""
    rates = np.array(plan.rates[kind])
    seeds = range(plan.networks.seeds)
    clean = np.array([nme[Job(seed, CLEAN, 0.0, name)] for seed in seeds])
    noisy = np.array([[nme[Job(seed, kind, rate, name)] for rate in plan.rates[kind]] for seed in seeds])
    absolute = (noisy - clean[:, None]) @ rates / (rates @ rates)
    return Slopes(absolute, absolute / clean)


def slope_rows(plan: Plan, nme: NMEs, kind: str) -> Iterator[dict[str, Any]]:
    """The slopes of every variant."""
    for name in plan.names:
        own = slopes(plan, nme, kind, name)
        yield {"kind": kind, "name": name, "slope": over_seeds(own.absolute), "relative": over_seeds(own.relative)}


def compare(plan: Plan, nme: NMEs, kind: str, learnt: Mapping[str, bool]) -> Iterator[dict[str, Any]]:
    """By how much the slopes of every other variant exceed those of the first, seed by seed, and the verdict."""
    claimant, *others = plan.names
    ours = slopes(plan, nme, kind, claimant)
    for name in others:
        theirs = slopes(plan, nme, kind, name)
        steeper, relatively = over_seeds(theirs.absolute - ours.absolute), over_seeds(theirs.relative - ours.relative)
        verdict = OPEN
        diverged = not math.isfinite(steeper["estimate"])  # a single training, which says nothing of slopes
        if learnt[claimant] and learnt[name] and not diverged:
            slower = min(steeper["low"], relatively["low"]) > 0
            verdict = HOLDS if slower else FAILS if steeper["high"] < 0 else OPEN
        yield {"kind": kind, "name": name, "steeper": steeper, "relatively_steeper": relatively, "verdict": verdict}


def judge(kind: str, contrasts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What the contrasts of one kind of noise say of the claim, as a sentence."""
    verdict = joint_verdict([row["verdict"] for row in contrasts])
    parts = "; ".join(f"against {row['name']} {row['verdict']}" for row in contrasts)
    return {"kind": kind, "verdict": verdict, "sentence": f"{kind} labels: {verdict} ({parts})."}


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One panel a kind of noise: NME by rate with its interval, one line a variant."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    names = list(dict.fromkeys(row["name"] for row in rows))
    figure = Figure(figsize=(4.2 * len(kinds), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for kind, panel in zip(kinds, panels, strict=True):
        for row in (row for row in rows if row["kind"] == kind):
            rate, mean, low, high = (
                np.array([point[column] for point in row["points"]]) for column in ("rate", "estimate", "low", "high")
            )
            place = names.index(row["name"])
            aside = (place - (len(names) - 1) / 2) * 0.008 * rate.max()  # so that bars do not hide each other
            style = {"color": f"C{place}", "linewidth": 2.2 if row["name"] == OURS else 1.2, "label": row["name"]}
            panel.errorbar(
                rate + aside, mean, np.stack([mean - low, high - mean]), marker="o", ms=3, capsize=2, **style
            )
        panel.set_xlabel(f"rate of {kind} noise")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("NME on exact labels, 95 % over seeds")
    panels[-1].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """The curves, slopes and verdicts as text."""
    for row in result["curves"]:
        points = ", ".join(f"{_interval(point)} at {point['rate']:g}" for point in row["points"])
        yield f"{row['kind']:10} {row['name']:20} NME {points}"
    for row in result["slopes"]:
        both = f"{_interval(row['slope'])}, over the clean NME {_interval(row['relative'])}"
        yield f"{row['kind']:10} {row['name']:20} slope {both}"
    for row in result["contrasts"]:
        both = f"{_interval(row['steeper'])}, over the clean NME {_interval(row['relatively_steeper'])}"
        yield f"{row['kind']:10} {row['name']:20} steeper by {both}: {row['verdict']}"
    for name, learnt in result["learnt"].items():
        if not learnt:
            yield f"{name} has learnt too little from clean labels to be compared."
    yield from (row["sentence"] for row in result["verdicts"])
    yield result["verdict"]


def _interval(value: Mapping[str, float]) -> str:
    return f"{value['estimate']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"


if __name__ == "__main__":
    main()
