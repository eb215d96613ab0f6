"""What the open choices of the MLE paper are worth: the sequential model with one of them made otherwise.

    python -m benchmarks.choices --work WORK --out benchmarks/results/choices.json

"MLE-Loss Driven Robust Hand Pose Estimation" leaves open what one stage hands to the next, how sigma is kept positive,
whether a residual stands beside the flow as in RLE, and how wide some layers are. WORK is
that of `benchmarks.methods` with the same plan, whose networks are the defaults; the others learn here from the same
hands with the same schedule and seeds.

An alternative is better if the 95 % intervals of the difference in NME, over hands (cluster bootstrap, seeds averaged)
and over seeds (Welch's t), both lie below 0; worse if both lie above. Otherwise that is open. The intervals are not
corrected for the number of alternatives.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float64

import knuckle
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
from benchmarks.methods_numbers import OPEN, Difference, hand_means, has_learnt, over_seeds, unpaired
from benchmarks.methods_plan import OURS, PLANS, Plan, Variant, variants
from knuckle.formats import read
from knuckle.hands import Hands

DEFAULT: Final = "as the defaults are"
BETTER: Final = "better"
WORSE: Final = "worse"


def main() -> None:
    """Train what is missing, then write the numbers."""
    options = shared_options(__doc__, "JSON file to write", PLANS).parse_args()
    plan = PLANS[options.plan]
    setting = setting_of(options, replace(plan, seeds=options.seeds or plan.seeds))
    begin(setting)
    if not (render_hands(setting) and train_all(setting, options.processes)):
        say_time_is_up(setting)
        return
    result = summarize(setting)
    write_numbers(result, options.out)
    for row in result["networks"]:
        nme = row["nme"]
        sys.stdout.write(
            f"{row['name']:28} NME {nme['estimate']:.4f} [{nme['low']:.4f}, {nme['high']:.4f}]: {row['verdict']}\n"
        )


def alternatives(plan: Plan) -> dict[str, Variant]:
    """The sequential model with one choice made otherwise, by a name that is a folder's, too."""
    changes: dict[str, dict[str, Any]] = {
        "handover_likelihood": {"handover": "likelihood"},
        "sigma_softplus": {"sigma_activation": "softplus"},
        "sigma_exp": {"sigma_activation": "exp"},
        "residual_laplace": {"residual": "laplace"},
        "residual_gaussian": {"residual": "gaussian"},
        "deconvolutions_half": {"deconvolution_width": plan.width // 2},
        "variance_head_double": {"variance_width": 2 * plan.width},
    }
    ours = variants(plan)[OURS]
    return {name: replace(ours, label=name, options=ours.options | change) for name, change in changes.items()}


def folder_of(work: Path, name: str, seed: int) -> Path:
    """Where a network is kept: the default one where `benchmarks.methods` keeps it, the others beside."""
    return work / ("runs" if name == OURS else "choices") / f"{name}_{seed}"


def train_all(setting: Setting, processes: int) -> bool:
    """Every network that is missing, several at a time; False where the time was up before the last."""
    jobs = [(name, seed) for seed in range(setting.plan.seeds) for name in (OURS, *alternatives(setting.plan))]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=one_thread) as pool:
        return all([*pool.map(partial(_run, setting), jobs)])


def _run(setting: Setting, job: tuple[str, int]) -> bool:
    name, seed = job
    folder = folder_of(setting.work, name, seed)
    if (folder / "xy.npy").is_file():
        return True
    variant = (variants(setting.plan) | alternatives(setting.plan))[name]
    return train_and_measure(setting, variant, setting.work / "train" / "annotations.json", seed, folder)


def summarize(setting: Setting) -> dict[str, Any]:
    """All numbers, with what they were measured with."""
    true = read(setting.work / "held_out" / "annotations.json")
    mean_pose = float(hand_means(mean_pose_errors(setting, true)).mean())
    ours = errors_of(setting, OURS, true)
    ours_learnt = has_learnt(ours, mean_pose)
    networks = []
    for name, variant in {OURS: variants(setting.plan)[OURS], **alternatives(setting.plan)}.items():
        errors = errors_of(setting, name, true)
        nme = errors.mean(axis=1)
        learnt = has_learnt(errors, mean_pose)
        difference = None if name == OURS else unpaired(errors, ours, true.group)
        networks.append(
            {
                "name": name,
                "options": variant.options,
                "nme": over_seeds(nme),
                "learnt": learnt,
                "difference": difference and {"hands": difference.hands._asdict(), "seeds": difference.seeds._asdict()},
                "verdict": verdict(difference, learnt and ours_learnt) if difference else DEFAULT,
            }
        )
    return {
        "command": f"python -m benchmarks.choices --work WORK --out OUT --plan {setting.plan.name}",
        "machine": machine(),
        "device": setting.device,
        "knuckle": knuckle.__version__,
        "mean_pose_nme": mean_pose,
        "networks": networks,
    }


def verdict(difference: Difference, learnt: bool) -> str:
    """Whether an alternative's error is lower or higher than that of the defaults; open unless both have learnt."""
    if not learnt:
        return OPEN
    both = (difference.hands, difference.seeds)
    if all(part.high < 0 for part in both):
        return BETTER
    return WORSE if all(part.low > 0 for part in both) else OPEN


def errors_of(setting: Setting, name: str, true: Hands) -> Float64[np.ndarray, "seeds n"]:
    """The mean error of each held-out hand in box sides, by seed."""
    return last_errors((folder_of(setting.work, name, seed) for seed in range(setting.plan.seeds)), true)


if __name__ == "__main__":
    main()
