"""Is the fist hard because few are learnt from, or by itself? Errors by the fist's share among the training hands.

    python -m benchmarks.imbalance --work WORK --out benchmarks/results/imbalance.json
    python -m benchmarks.imbalance --work WORK --out OUT.json --plan smoke                # minutes: does it run?

The experiment that "Empirical Study on MMPOSE 2D Hand Keypoint Detection" asks for in its conclusion. The same network
learns from equally many rendered hands with no fist, 1 %, 4 % (as many as of every other gesture) and 12 % of them. The
other 24 gestures share the rest evenly. All hands are gestures with a label and resemble that gesture most, so no fist
comes in under another name or under none. Sets are nested: the hands of a gesture in a smaller one are in the larger.
It is measured on other hands, of all gestures alike.

NME is the mean error over the box's longer side, within each hand first. Two kinds of chance are kept apart: over hands
(cluster bootstrap, seeds averaged) and over seeds (Student's t); networks of one seed start from the same weights and
are paired. Fists and other gestures are different hands: two sets, resampled apart. A difference is said to be there
where both 95 % intervals leave out 0. WORK keeps what is finished: the same command goes on. Beside the JSON file lies
the figure.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float64, Int64

import knuckle
from benchmarks.data_loading import machine
from benchmarks.methods import (
    Setting,
    begin,
    last_errors,
    one_thread,
    pose_errors,
    say_time_is_up,
    setting_of,
    shared_options,
    train_and_measure,
    write_numbers,
)
from benchmarks.methods_numbers import RESULT_SHARE, Difference, hand_means, over_seeds, paired
from benchmarks.methods_plan import PLANS, variants
from knuckle.formats import read, write
from knuckle.hands import Hands
from knuckle.metrics.differences import mean_difference
from knuckle.metrics.statistics import Interval, error_sums
from knuckle.render.folder import is_finished, render_folder
from knuckle.render.poses import PoseMix
from knuckle.skeleton import GESTURES

FIST: Final = 6
SHARES: Final = (0.0, 0.01, 0.04, 0.12)
BALANCED: Final = 0.04
SEEDS: Final = 5
METHOD: Final = "heatmap"
"""That of the study."""
HANDS_SEED: Final = 51_000
HELD_OUT_SEED: Final = 52_000
HELD_OUT: Final = 40
"""Hands of each gesture."""

Job = tuple[int, float]


def main() -> None:
    """Render and train what is missing, then write the numbers and the figure."""
    options = shared_options(__doc__, "JSON file to write; the figure goes beside it", PLANS).parse_args()
    name = f"imbalance_{options.plan}"
    setting = setting_of(options, replace(PLANS[options.plan], name=name, seeds=options.seeds or SEEDS))
    begin(setting)
    render_hands(setting)
    if not train_all(setting, options.processes):
        say_time_is_up(setting)
        return
    result = summarize(setting)
    write_numbers(result, options.out)
    draw(result, options.out.with_suffix(".png"))
    for sentence in result["sentences"]:
        sys.stdout.write(sentence + "\n")


def counts(hands: int, share: float) -> list[int]:
    """How many hands of each gesture make a training set with a share of fists, the others as even as can be."""
    fists = round(share * hands)
    each, left = divmod(hands - fists, len(GESTURES) - 1)
    others = [gesture for gesture in range(len(GESTURES)) if gesture != FIST]
    number = {gesture: each + (place < left) for place, gesture in enumerate(others)}
    return [number.get(gesture, fists) for gesture in range(len(GESTURES))]


def render_hands(setting: Setting) -> None:
    """As many hands of each gesture as any set needs, the held-out hands, and the annotations of each set."""
    plan = setting.plan
    most = np.max([counts(plan.hands, share) for share in SHARES], axis=0).tolist()
    device = setting.device if setting.device.startswith("cuda") else None
    learnt: list[Hands] = []
    held_out: list[Hands] = []
    for gesture, count in enumerate(most):
        for kind, number, seed, found in (
            ("train", count, HANDS_SEED, learnt),
            ("held_out", HELD_OUT, HELD_OUT_SEED, held_out),
        ):
            folder = setting.work / kind / f"gesture_{gesture:02d}"
            if not is_finished(folder):
                scenes = replace(plan.scenes, poses=only(gesture))
                render_folder(folder, number, seed + gesture, plan.picture, config=scenes, device=device)
            hands = read(folder / "annotations.json")
            found.append(hands.replace(group=hands.group + 1_000_000 * gesture))
    write(Hands.concat(held_out), setting.work / "held_out" / "annotations.json")
    for share in SHARES:
        numbers = counts(plan.hands, share)
        some = Hands.concat([hands[:number] for hands, number in zip(learnt, numbers, strict=True)])
        write(some, labels_of(setting.work, share))


def only(gesture: int) -> PoseMix:
    """Poses of one gesture, with a label."""
    weights = tuple(float(number == gesture) for number in range(len(GESTURES)))
    return PoseMix(gesture=1.0, interpolation=0.0, synergy=0.0, weights=weights)


def labels_of(work: Path, share: float) -> Path:
    """The annotations of one training set."""
    return work / "train" / f"annotations_{share:g}.json"


def folder_of(work: Path, job: Job) -> Path:
    """Where a network is kept."""
    seed, share = job
    return work / "runs" / f"fists_{share:g}_{seed}"


def train_all(setting: Setting, processes: int) -> bool:
    """Every network that is missing, several at a time; False where the time was up before the last."""
    jobs = [(seed, share) for seed in range(setting.plan.seeds) for share in SHARES]
    left = [job for job in jobs if not (folder_of(setting.work, job) / "xy.npy").is_file()]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=one_thread) as pool:
        for number, (job, done) in enumerate(zip(left, pool.map(partial(run, setting), left), strict=True), start=1):
            if done:
                sys.stdout.write(f"{number} of {len(left)}: {job[1]:.0%} fists, seed {job[0]}\n")
                sys.stdout.flush()
    return all((folder_of(setting.work, job) / "xy.npy").is_file() for job in left)


def run(setting: Setting, job: Job) -> bool:
    """One network from labels to predictions on disk; False where the time was up before its end."""
    variant = variants(setting.plan)[METHOD]
    return train_and_measure(setting, variant, labels_of(setting.work, job[1]), job[0], folder_of(setting.work, job))


def summarize(setting: Setting) -> dict[str, Any]:
    """All numbers, with what they were measured with, and sentences."""
    true = read(setting.work / "held_out" / "annotations.json")
    errors = {share: errors_of(setting, share, true) for share in SHARES}
    mean_pose = float(hand_means(pose_errors(read(labels_of(setting.work, BALANCED)), true)).mean())
    fist = true.gesture == FIST
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.imbalance --work WORK --out OUT --seeds {setting.plan.seeds}",
        "machine": machine(),
        "device": setting.device,
        "knuckle": knuckle.__version__,
        "settings": {name: value for name, value in asdict(setting.plan).items() if name != "scenes"},
        "mean_pose_nme": mean_pose,
        "learnt": all(bool((of_share.mean(axis=1) <= RESULT_SHARE * mean_pose).all()) for of_share in errors.values()),
        "shares": [
            {
                "share": share,
                "hands_of_each_gesture": counts(setting.plan.hands, share),
                "fist": over_seeds(errors[share][:, fist].mean(axis=1)),
                "others": over_seeds(errors[share][:, ~fist].mean(axis=1)),
                "gestures": {
                    name: over_seeds(errors[share][:, true.gesture == gesture].mean(axis=1))
                    for gesture, name in enumerate(GESTURES)
                },
            }
            for share in SHARES
        ],
        "against_balanced": [
            {
                "share": share,
                "fist": plain(paired((errors[share] - errors[BALANCED])[:, fist], true.group[fist])),
                "others": plain(paired((errors[share] - errors[BALANCED])[:, ~fist], true.group[~fist])),
            }
            for share in SHARES
            if share != BALANCED
        ],
        "fist_against_others_when_balanced": plain(between(errors[BALANCED], fist, true.group)),
    }
    return result | {"sentences": sentences(result)}


def errors_of(setting: Setting, share: float, true: Hands) -> Float64[np.ndarray, "seeds n"]:
    """The mean error of each held-out hand in box sides, by seed."""
    return last_errors((folder_of(setting.work, (seed, share)) for seed in range(setting.plan.seeds)), true)


def between(errors: Float64[np.ndarray, "seeds n"], chosen: np.ndarray, groups: Int64[np.ndarray, " n"]) -> Difference:
    """The mean of chosen hands minus that of the others: two sets of hands, resampled apart, and over seeds."""
    of_seeds = over_seeds(errors[:, chosen].mean(axis=1) - errors[:, ~chosen].mean(axis=1))
    mean = errors.mean(axis=0)
    hands = mean_difference(error_sums(mean[chosen], groups[chosen]), error_sums(mean[~chosen], groups[~chosen]))
    return Difference(hands, Interval(of_seeds["estimate"], of_seeds["low"], of_seeds["high"]), math.nan)


def plain(difference: Difference) -> dict[str, Any]:
    """Both intervals, and whether both leave out 0."""
    both = (difference.hands, difference.seeds)
    sign = 1 if all(part.low > 0 for part in both) else -1 if all(part.high < 0 for part in both) else 0
    return {"hands": difference.hands._asdict(), "seeds": difference.seeds._asdict(), "sign": sign}


def sentences(result: dict[str, Any]) -> list[str]:
    """What the numbers say."""
    if not result["learnt"]:
        return ["The networks have learnt too little to answer (more than half the mean pose's NME)."]
    said = []
    for row in result["against_balanced"]:
        for who in ("fist", "others"):
            word = {1: "worse", -1: "better", 0: "no different beyond chance"}[row[who]["sign"]]
            name = "Fists" if who == "fist" else "Other gestures"
            said.append(f"{name} with {row['share']:.0%} fists against 4 %: {word} ({_interval(row[who]['hands'])}).")
    own = result["fist_against_others_when_balanced"]
    word = {1: "harder than", -1: "easier than", 0: "not told apart from"}[own["sign"]]
    said.append(f"With as many fists as every other gesture, fists are {word} the others ({_interval(own['hands'])}).")
    starved = next(row for row in result["against_balanced"] if row["share"] == 0)["fist"]["sign"] == 1
    causes = [name for name, is_one in (("a lack of fists", starved), ("the fist itself", own["sign"] == 1)) if is_one]
    return [*said, f"What makes fists fail here: {' and '.join(causes) or 'neither, as far as this can show'}."]


def _interval(value: dict[str, float]) -> str:
    return f"NME {value['estimate']:+.4f} [{value['low']:+.4f}, {value['high']:+.4f}]"


def draw(result: dict[str, Any], path: Path) -> None:
    """NME by share of fists, and of every gesture without a fist and with balance."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.8))
    rows = result["shares"]
    for who, color in (("fist", "#d55e00"), ("others", "#0072b2")):
        middle, low, high = (np.array([row[who][key] for row in rows]) for key in ("estimate", "low", "high"))
        label = "fist" if who == "fist" else "the 24 others"
        places = np.arange(len(rows)) + (0.05 if who == "fist" else -0.05)
        left.errorbar(places, middle, [middle - low, high - middle], marker="o", capsize=3, color=color, label=label)
    left.set_xticks(range(len(rows)), [f"{row['share']:.0%}" for row in rows])
    left.set_xlabel("fists among the training hands")
    left.set_ylabel("NME, 95 % over seeds")
    left.legend(frameon=False, fontsize=9)
    balanced, without = (_gestures(rows, share) for share in (BALANCED, 0.0))
    order = sorted(balanced, key=lambda name: balanced[name])
    colors = ["#d55e00" if name == GESTURES[FIST] else "#9fb8cc" for name in order]
    right.bar(range(len(order)), [balanced[name] for name in order], color=colors)
    right.plot(range(len(order)), [without[name] for name in order], "k_", ms=9, label="without any fist")
    right.set_xticks(range(len(order)), [name.replace("_", " ") for name in order], rotation=60, ha="right", fontsize=8)
    right.set_ylabel("NME with 4 % fists")
    right.legend(frameon=False, fontsize=9)
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def _gestures(rows: Sequence[dict[str, Any]], share: float) -> dict[str, float]:
    found = next(row for row in rows if row["share"] == share)["gestures"]
    return {name: value["estimate"] for name, value in found.items()}


if __name__ == "__main__":
    main()
