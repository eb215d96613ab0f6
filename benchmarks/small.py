"""What the sequential model may lose: stages, width and backbone against error and multiply-adds.

    python -m benchmarks.small --work WORK --out benchmarks/results/small.json

The authors of "MLE-Loss Driven Robust Hand Pose Estimation" call their architecture overly complex. WORK is that of
`benchmarks.methods` with the same plan, whose networks with five stages, and with fewer, are taken from there; the
candidates here learn from the same hands with the same schedule and seeds. Multiply-adds are those of one forward pass
for one crop as inference runs it, counted by PyTorch (`torch.utils.flop_counter`).

A candidate is as good as five stages if the 95 % intervals of the difference in NME, over hands (cluster bootstrap,
seeds averaged) and over seeds (Welch's t), both lie below 2 % of the reference's NME; it is worse if both lie above.
Otherwise that is open. The goal is a quarter of the multiply-adds.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float64
from torch.utils.flop_counter import FlopCounterMode

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
from benchmarks.methods_numbers import (
    FAILS,
    HOLDS,
    OPEN,
    Difference,
    hand_means,
    has_learnt,
    over_seeds,
    unpaired,
)
from benchmarks.methods_plan import MOST_STAGES, OURS, PAPER_STAGES, PLANS, recipe, variants, with_stages
from knuckle.formats import read
from knuckle.hands import Hands
from knuckle.methods import Method
from knuckle.train.loop import build_method

QUARTER: Final = 0.25
MARGIN: Final = 0.02


@dataclass(frozen=True)
class Candidate:
    """A network, named by what it changes.

    Attributes:
        backbone: as timm names it.
        stages: T.
        width: channels of the heads.
    """

    backbone: str
    stages: int
    width: int

    @property
    def name(self) -> str:
        """Unique among candidates, and a folder's name."""
        return f"{self.backbone}_T{self.stages}_w{self.width}"


CANDIDATES: Final = {
    "smoke": (Candidate("test_resnet", 1, 8),),
    "cpu": (
        Candidate("regnety_002", 1, 64),
        Candidate("mobilenetv3_large_100", 1, 64),
        Candidate("mobilenetv4_conv_small", 1, 64),
        Candidate("test_resnet", 1, 64),  # timm's own small ResNet: dense convolutions of 32 to 96 channels
        Candidate("test_resnet", 1, 128),
    ),
    "gpu": (
        Candidate("resnet18", 1, 128),
        Candidate("resnet10t", 1, 128),
        Candidate("regnety_008", 1, 128),
        Candidate("mobilenetv3_large_100", 1, 128),
    ),
}
"""By plan: around a quarter of the reference's multiply-adds and below."""


def main() -> None:
    """Train what is missing, then write the numbers."""
    options = shared_options(__doc__, "JSON file to write", PLANS).parse_args()
    plan = PLANS[options.plan]
    setting = setting_of(options, replace(plan, seeds=options.seeds or plan.seeds))
    begin(setting)
    candidates = CANDIDATES[options.plan]
    if not (render_hands(setting) and train_all(setting, candidates, options.processes)):
        say_time_is_up(setting)
        return
    result = summarize(setting, candidates)
    write_numbers(result, options.out)
    for row in result["networks"]:
        nme = row["nme"]
        sys.stdout.write(
            f"{row['name']:28} {row['multiply_adds'] / 1e6:8.1f} M multiply-adds ({row['share']:.0%}), "
            f"NME {nme['estimate']:.4f} [{nme['low']:.4f}, {nme['high']:.4f}], "
            f"as good as five stages: {row['verdict']}\n"
        )


def folder_of(work: Path, name: str, seed: int) -> Path:
    """Where a network is kept: those of `benchmarks.methods` among its runs, candidates beside them."""
    return work / ("runs" if name.startswith(OURS) else "small") / f"{name}_{seed}"


def train_all(setting: Setting, candidates: tuple[Candidate, ...], processes: int) -> bool:
    """Every network that is missing, several at a time; False where the time was up before the last."""
    own = [(candidate, seed) for seed in range(setting.plan.seeds) for candidate in candidates]
    stages = sorted({*setting.plan.stages, PAPER_STAGES, MOST_STAGES})
    others = [(number, seed) for seed in range(setting.plan.seeds) for number in stages]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=one_thread) as pool:
        done = [*pool.map(partial(_run_candidate, setting), own), *pool.map(partial(_run_stages, setting), others)]
    return all(done)


def _run_candidate(setting: Setting, job: tuple[Candidate, int]) -> bool:
    candidate, seed = job
    folder = folder_of(setting.work, candidate.name, seed)
    plan = replace(setting.plan, backbone=candidate.backbone, width=candidate.width, stages=(candidate.stages,))
    return _run(replace(setting, plan=plan), with_stages(candidate.stages), folder, seed)


def _run_stages(setting: Setting, job: tuple[int, int]) -> bool:
    number, seed = job
    return _run(setting, with_stages(number), folder_of(setting.work, with_stages(number), seed), seed)


def _run(setting: Setting, name: str, folder: Path, seed: int) -> bool:
    if (folder / "xy.npy").is_file():
        return True
    return train_and_measure(
        setting, variants(setting.plan)[name], setting.work / "train" / "annotations.json", seed, folder
    )


def summarize(setting: Setting, candidates: tuple[Candidate, ...]) -> dict[str, Any]:
    """All numbers, with what they were measured with."""
    plan, work = setting.plan, setting.work
    true = read(work / "held_out" / "annotations.json")
    mean_pose = float(hand_means(mean_pose_errors(setting, true)).mean())
    reference = errors_of(setting, OURS, true)
    margin, ours_learnt = MARGIN * float(reference.mean()), has_learnt(reference, mean_pose)
    full = multiply_adds(network(setting, OURS))
    rows = []
    for number in sorted({*plan.stages, PAPER_STAGES, MOST_STAGES}):
        name = with_stages(number)
        rows.append((name, f"{plan.backbone}_T{number}_w{plan.width}", multiply_adds(network(setting, name))))
    for candidate in candidates:
        changed = replace(plan, backbone=candidate.backbone, width=candidate.width, stages=(candidate.stages,))
        small = network(replace(setting, plan=changed), with_stages(candidate.stages))
        rows.append((candidate.name, candidate.name, multiply_adds(small)))
    networks = []
    for key, name, cost in rows:
        errors = errors_of(setting, key, true)
        nme, learnt = errors.mean(axis=1), has_learnt(errors, mean_pose)
        difference = None if key == OURS else unpaired(errors, reference, true.group)
        networks.append(
            {
                "name": name,
                "multiply_adds": cost,
                "share": cost / full,
                "nme": over_seeds(nme),
                "learnt": learnt,
                "difference": difference and {"hands": difference.hands._asdict(), "seeds": difference.seeds._asdict()},
                "verdict": verdict(difference, margin, learnt and ours_learnt) if difference else HOLDS,
                "small_enough": cost <= QUARTER * full,
            }
        )
    return {
        "command": f"python -m benchmarks.small --work WORK --out OUT --plan {plan.name}",
        "machine": machine(),
        "device": setting.device,
        "knuckle": knuckle.__version__,
        "mean_pose_nme": mean_pose,
        "goal": {"share": QUARTER, "margin": MARGIN},
        "networks": networks,
    }


def verdict(difference: Difference, margin: float, learnt: bool) -> str:
    """Whether an error is at most a margin above the reference's; open unless both have learnt."""
    if not learnt:
        return OPEN
    both = (difference.hands, difference.seeds)
    if all(part.high < margin for part in both):
        return HOLDS
    return FAILS if all(part.low > margin for part in both) else OPEN


def errors_of(setting: Setting, name: str, true: Hands) -> Float64[np.ndarray, "seeds n"]:
    """The mean error of each held-out hand in box sides, by seed."""
    return last_errors((folder_of(setting.work, name, seed) for seed in range(setting.plan.seeds)), true)


def network(setting: Setting, name: str) -> Method:
    """The network of a variant of the setting's plan, untrained."""
    labels = setting.work / "train" / "annotations.json"
    return build_method(recipe(setting.plan, variants(setting.plan)[name], labels, 0, setting.device))[0]


def multiply_adds(method: Method) -> int:
    """Of one forward pass for one crop, as inference runs it."""
    method.eval()  # measures the flows, which inference does not do
    crop = torch.zeros(1, 3, method.size, method.size)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        method(crop)
    return int(counter.get_total_flops()) // 2


if __name__ == "__main__":
    main()
