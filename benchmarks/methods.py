"""The experiments of "MLE-Loss Driven Robust Hand Pose Estimation" on rendered hands, as one command.

    python -m benchmarks.methods --work WORK --out benchmarks/results/methods                # about 3 hours on 2 cores
    python -m benchmarks.methods --work WORK --out OUT --plan smoke                          # minutes: does it run?
    python -m benchmarks.methods --work WORK --out OUT --plan gpu --device cuda --minutes 8  # again and again

All methods learn from the same rendered hands with the same backbone, number of pictures, augmentation and
optimiser, from random weights or from `--weights`, several seeds each: heatmap, integral, RLE, CPM, SimCC, the
sequential model (five stages, maximum likelihood), the same stages with the heatmap and the integral loss, and the
sequential model with other numbers of stages. They are measured on other rendered hands, whose truth is exact.
OUT gets `report.md` with a verdict on each of the paper's claims, its Figs. 4 to 8 and `methods.json`.
Heatmap, RLE and the sequential model with its three losses are 2.4 of the 5.7 hours of training, one thread each: on 2
cores 1.2 of the 3.

WORK keeps what is finished: the same command goes on, within a training too. After `--minutes` everything is saved
and the command ends. The smoke plan trains every kind of network for a moment; its numbers mean nothing, and
its report says so. It is the test of this benchmark.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

import knuckle
from benchmarks.data_loading import machine
from benchmarks.methods_numbers import (
    FIG5_JOINTS,
    OPEN,
    comparisons,
    hand_means,
    joint_verdict,
    over_seeds,
    paired,
    pck,
    row,
    stage_numbers,
    without_nan,
)
from benchmarks.methods_plan import (
    LOSSES,
    MOST_STAGES,
    OURS,
    PAPER_STAGES,
    PLANS,
    RIVALS,
    Plan,
    Variant,
    recipe,
    trained_stages,
    variants,
    with_stages,
)
from benchmarks.methods_report import write_figures, write_report
from knuckle.data.loader import CropSource, batches
from knuckle.evaluate.mean_pose import in_boxes, mean_pose
from knuckle.formats import read
from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.methods import CPM, Heatmap, Method, SequentialStages
from knuckle.methods.codec import crop_to_heatmap, gaussian_heatmaps
from knuckle.methods.cpm import STRIDE as CPM_STRIDE
from knuckle.methods.weights import load_model
from knuckle.metrics.errors import relative_distances
from knuckle.predict.points import to_image, visibility_of
from knuckle.predict.torch_engine import as_points, evaluating
from knuckle.render.folder import is_finished, render_folder
from knuckle.train import DivergenceError, Interrupted, train
from knuckle.train.journal import read_journal

TRAINING_SEED: Final = 41_000
HELD_OUT_SEED: Final = 42_000
BATCH: Final = 64


@dataclass(frozen=True)
class Setting:
    """Where and how long this call works.

    Attributes:
        plan: what is done in all.
        work: folder of what is finished.
        device: as a recipe names it.
        until: when to stop, seconds since the epoch.
    """

    plan: Plan
    work: Path
    device: str
    until: float

    @property
    def time_is_up(self) -> bool:
        """Whether nothing should be begun any more."""
        return time.time() >= self.until


def main() -> None:
    """Render and train what is missing, then write the report."""
    parser = shared_options(__doc__, "folder for report.md, figures and methods.json", PLANS)
    parser.add_argument("--weights", help="the backbone's first weights: imagenet or a file; random by default")
    options = parser.parse_args()
    plan = replace(PLANS[options.plan], weights=options.weights)
    setting = setting_of(options, replace(plan, seeds=options.seeds or plan.seeds))
    begin(setting)
    if not (render_hands(setting) and train_all(setting, options.processes)):
        say_time_is_up(setting)
        return
    true, errors, xy_image = measured(setting)
    result = summarize(setting, true, errors)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "methods.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    shown = {name: variant.label for name, variant in variants(plan).items() if name in _shown(plan)}
    write_figures(result, true, {label: xy_image[name] for name, label in shown.items()}, options.out)
    write_report(result, options.out / "report.md")
    sys.stdout.write((options.out / "report.md").read_text())


def shared_options(doc: str | None, out: str, plans: Mapping[str, object]) -> argparse.ArgumentParser:
    """A parser of what all benchmarks ask that train many networks; `doc` begins with what this one does."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for hands, networks and predictions")
    parser.add_argument("--out", type=Path, required=True, help=out)
    parser.add_argument("--plan", choices=tuple(plans), default="cpu", help="how much is done")
    parser.add_argument("--seeds", type=_two_or_more, help="networks of each kind, instead of the plan's number")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after that long; call again to go on")
    parser.add_argument("--processes", type=int, default=2, help="networks trained at a time, one thread each")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser


def _two_or_more(text: str) -> int:
    if int(text) < 2:
        raise argparse.ArgumentTypeError("one network says nothing about chance; give 2 or more")
    return int(text)


def setting_of(options: argparse.Namespace, plan: Plan) -> Setting:
    """What `shared_options` were given, for a plan."""
    return Setting(plan, options.work.resolve(), options.device, time.time() + 60 * options.minutes)


def say_time_is_up(setting: Setting) -> None:
    """What a run that is not finished ends with."""
    sys.stdout.write(f"The time is up; everything is saved in {setting.work}. The same command goes on.\n")


def write_numbers(result: dict[str, Any], path: Path) -> None:
    """Write a result as JSON; what is not a number is null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(without_nan(result), indent=1) + "\n")


def begin(setting: Setting) -> None:
    """Make the work folder, or see that it belongs to the same plan; more seeds may be added to it.

    Raises:
        ValueError: it belongs to another plan.
    """
    file = setting.work / "plan.json"
    content = {name: value for name, value in asdict(setting.plan).items() if name != "seeds"}
    text = json.dumps({"version": knuckle.__version__, **content}, indent=1, default=str) + "\n"
    if file.is_file() and file.read_text() != text:
        raise ValueError(f"{setting.work} holds another plan ({file}); name another folder for this one.")
    setting.work.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def render_hands(setting: Setting) -> bool:
    """The hands to learn from and those to measure on; False where the time was up before they were all there."""

    def watch(done: int) -> None:
        if setting.time_is_up:
            raise TimeoutError

    plan = setting.plan
    device = setting.device if setting.device.startswith("cuda") else None
    for name, count, seed in (("train", plan.hands, TRAINING_SEED), ("held_out", plan.held_out, HELD_OUT_SEED)):
        folder = setting.work / name
        if is_finished(folder):
            continue
        began = time.perf_counter()
        try:
            render_folder(folder, count, seed, plan.picture, config=plan.scenes, device=device, progress=watch)
        except TimeoutError:
            return False
        sys.stdout.write(f"{count} hands rendered into {folder}: {time.perf_counter() - began:.0f} s\n")
        sys.stdout.flush()
    return True


def train_all(setting: Setting, processes: int) -> bool:
    """Every network that is missing, several at a time; False where the time was up before the last."""
    jobs = [(name, seed) for seed in range(setting.plan.seeds) for name in variants(setting.plan)]
    left = [job for job in jobs if not is_measured(setting, *job)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=one_thread) as pool:
        for (name, seed), finished in zip(left, pool.map(partial(_run, setting), left), strict=True):
            if finished:
                sys.stdout.write(f"{name}, seed {seed}: {_notes(setting, name, seed)['seconds']:.0f} s of training\n")
                sys.stdout.flush()
    return all(is_measured(setting, *job) for job in jobs)


def is_measured(setting: Setting, name: str, seed: int) -> bool:
    """Whether a network's predictions are there, which are the last that is written of it."""
    return (_folder(setting, name, seed) / "xy.npy").is_file()


def _folder(setting: Setting, name: str, seed: int) -> Path:
    return setting.work / "runs" / f"{name}_{seed}"


def _notes(setting: Setting, name: str, seed: int) -> dict[str, Any]:
    return dict(json.loads((_folder(setting, name, seed) / "notes.json").read_text()))


def one_thread() -> None:
    """What a process that trains one network beside others starts with."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _run(setting: Setting, job: tuple[str, int]) -> bool:
    name, seed = job
    labels = setting.work / "train" / "annotations.json"
    return train_and_measure(setting, variants(setting.plan)[name], labels, seed, _folder(setting, name, seed))


def train_and_measure(setting: Setting, variant: Variant, labels: Path, seed: int, folder: Path) -> bool:
    """One network from random weights to predictions on disk (`measure`); False where the time was up before its end.

    Args:
        setting: the plan, and until when.
        variant: what is trained.
        labels: the annotations that it learns from.
        seed: of its weights and of its order of hands.
        folder: of its own; what is there already is gone on with.
    """
    if setting.time_is_up:
        return False
    plan, diverged = setting.plan, False
    try:
        with stop_at(setting.until):
            train(recipe(plan, variant, labels, seed, setting.device), folder / "run", resume=True)
    except Interrupted:
        return False
    except DivergenceError as error:
        sys.stdout.write(f"{folder} diverged: {error}\n")
        diverged = True
    measure(setting, folder, diverged=diverged)
    shutil.rmtree(folder / "run" / "checkpoint", ignore_errors=True)
    return True


@contextmanager
def stop_at(until: float) -> Iterator[None]:
    """Ask a training in this process to save and to stop at a time, as Ctrl-C would.

    Where the training takes no such requests it has nothing to save yet, or nothing left to save.
    """

    def ask(number: int, frame: FrameType | None) -> None:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            raise Interrupted("The time is up.")
        signal.raise_signal(signal.SIGTERM)

    if math.isinf(until):
        yield
        return
    before = signal.signal(signal.SIGALRM, ask)
    signal.setitimer(signal.ITIMER_REAL, max(0.001, until - time.time()))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measure(setting: Setting, folder: Path, *, diverged: bool) -> None:
    """Predictions of one network on the held-out hands: notes.json, then xy.npy, (stages, n, 21, 2) image pixels.

    Of a training that diverged there are none: NaN, which the metrics count as misses.
    """
    true = read(setting.work / "held_out" / "annotations.json")
    journal = folder / "run" / "metrics.jsonl"
    seconds = sum(entry["seconds"] for entry in read_journal(journal, "step"))
    notes: dict[str, Any] = {"seconds": seconds, "diverged": diverged, "parameters": None, "decoder_nme": None}
    xy = np.full((MOST_STAGES, len(true), 21, 2), np.nan, dtype=np.float32)
    if not diverged:
        method, spec, _ = load_model(folder / "run" / "last.safetensors")
        xy = positions(method, spec.rule, true, setting.device)
        notes["parameters"] = sum(parameter.numel() for parameter in method.parameters())
        notes["decoder_nme"] = decoder_nme(method, spec.rule, true)
    (folder / "notes.json").write_text(json.dumps(notes) + "\n")
    part = folder / "xy.part.npy"
    np.save(part, xy)
    part.replace(folder / "xy.npy")


def last_errors(folders: Iterable[Path], true: Hands) -> Float64[np.ndarray, "networks n"]:
    """The mean error of each held-out hand in box sides, after the last stage of the network of each folder."""
    last = [np.load(folder / "xy.npy")[-1] for folder in folders]
    return np.stack([hand_means(_errors(true, xy)) for xy in last])


def positions(method: Method, rule: CropRule, hands: Hands, device: str) -> Float[np.ndarray, "stages n 21 2"]:
    """What a network finds, in image pixels: of every stage of a sequential one, else of the one there is."""
    method.to(device)
    found = []
    with evaluating(method), torch.inference_mode():
        for batch, _ in batches(CropSource(hands, rule), _pieces(len(hands))):
            images = batch.images.to(device)
            if isinstance(method, SequentialStages):
                decoded = method.decode_stages(method.forward_stages(images))
            else:
                decoded = [method.decode(method(images))]
            found.append(np.stack([to_image(as_points(one), batch.image_to_crop.numpy())[0] for one in decoded]))
    return np.concatenate(found, axis=1)


def decoder_nme(method: Method, rule: CropRule, hands: Hands) -> float | None:
    """The NME that the decoder alone makes, on heatmaps drawn from the truth; None for methods without targets.

    Cells are coarse at a small crop, and no network of the method can be expected to do better.
    """
    method.cpu()
    found = []
    for batch, _ in batches(CropSource(hands, rule), _pieces(len(hands))):
        outputs = _perfect_maps(method, batch.targets.xy_crop, batch.targets.labeled)
        if outputs is None:
            return None
        found.append(to_image(as_points(method.decode({"heatmaps": outputs})), batch.image_to_crop.numpy())[0])
    return float(hand_means(_errors(hands, np.concatenate(found))).mean())


def _perfect_maps(method: Method, xy_crop: Tensor, labeled: Tensor) -> Tensor | None:
    """The maps that the loss asks for, in the shape of the method's outputs."""
    if isinstance(method, Heatmap):
        stride, sigma, chained = method.stride, method.sigma, False
    elif isinstance(method, CPM):
        stride, sigma, chained = float(CPM_STRIDE), method.sigma, True
    elif isinstance(method, SequentialStages) and method.loss_kind == "heatmap":
        stride, sigma, chained = method.stride, method.target_sigma, True
    else:
        return None
    side = round(method.size / stride)
    maps, _ = gaussian_heatmaps(crop_to_heatmap(xy_crop, stride, "center"), labeled, (side, side), sigma)
    return maps.unsqueeze(1) if chained else maps


def _pieces(count: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]


def _errors(true: Hands, xy: Float[np.ndarray, "n 21 2"]) -> Float64[np.ndarray, "n 21"]:
    """Distances over the longer side of the box."""
    return relative_distances(true.replace(xy=xy, visibility=visibility_of(xy)), true, "box")


def measured(
    setting: Setting,
) -> tuple[Hands, dict[str, Float64[np.ndarray, "seeds stages n 21"]], dict[str, Float[np.ndarray, "n 21 2"]]]:
    """The held-out hands, every variant's errors on them, and the last stage's points of the first seed."""
    true = read(setting.work / "held_out" / "annotations.json")
    errors, xy_image = {}, {}
    for name in variants(setting.plan):
        xy = [np.load(_folder(setting, name, seed) / "xy.npy") for seed in range(setting.plan.seeds)]
        stages = min(len(one) for one in xy)  # one that diverged has all there could be
        errors[name] = np.stack([[_errors(true, stage) for stage in one[:stages]] for one in xy])
        xy_image[name] = xy[0][-1]
    return true, errors, xy_image


def pose_errors(learnt: Hands, true: Hands) -> Float64[np.ndarray, "n 21"]:
    """The errors of a predictor that looks at nothing but the box, and puts the mean of learnt poses into each."""
    return _errors(true, in_boxes(mean_pose(learnt), true).xy)


def mean_pose_errors(setting: Setting, true: Hands) -> Float64[np.ndarray, "n 21"]:
    """Those of the training hands' mean pose."""
    return pose_errors(read(setting.work / "train" / "annotations.json"), true)


def _shown(plan: Plan) -> list[str]:
    """The variants of the tables: all methods with the paper's number of stages."""
    return [name for name in variants(plan) if not name.startswith(f"{OURS}_") or name in LOSSES]


def summarize(
    setting: Setting, true: Hands, errors: dict[str, Float64[np.ndarray, "seeds stages n 21"]]
) -> dict[str, Any]:
    """All numbers, with what they were measured with."""
    plan = setting.plan
    last = {name: of_stages[:, -1] for name, of_stages in errors.items()}
    baseline = mean_pose_errors(setting, true)
    baseline_nme = float(hand_means(baseline).mean())
    rows = {
        name: {"label": variant.label, **row(last[name], baseline_nme), **_costs(setting, name)}
        for name, variant in variants(plan).items()
    }
    extras = [name for name in _shown(plan) if name not in (*LOSSES, *RIVALS, OURS)]
    rivals = {**dict.fromkeys(LOSSES, FIG5_JOINTS), **dict.fromkeys((*RIVALS, *extras))}
    compared = comparisons(last, rows, true.group, OURS, rivals)
    trained = {number: last[with_stages(number)] for number in trained_stages(plan)}
    chain = errors[with_stages(MOST_STAGES)]
    figure_4 = {
        "one_network": stage_numbers(
            {stage + 1: chain[:, stage] for stage in range(chain.shape[1])}, true.group, PAPER_STAGES, same_network=True
        ),
        "own_networks": stage_numbers(trained, true.group, PAPER_STAGES, same_network=False),
    }
    for name, numbers in (("one_network", [MOST_STAGES]), ("own_networks", [*trained])):
        figure_4[name]["result"] = all(rows[with_stages(number)]["result"] for number in numbers)
        if not figure_4[name]["result"]:
            figure_4[name]["verdict"] = OPEN
    settings = {name: value for name, value in asdict(plan).items() if name != "scenes"}
    result: dict[str, Any] = without_nan(
        {
            "command": f"python -m benchmarks.methods --work WORK --out OUT --plan {plan.name} --seeds {plan.seeds}",
            "machine": machine(),
            "device": setting.device,
            "knuckle": knuckle.__version__,
            "settings": settings | {"scenes": "SceneConfig()" if plan.name == "gpu" else "EASY_HANDS"},
            "mean_pose": {
                "nme": baseline_nme,
                "nme_fig5": float(hand_means(baseline, FIG5_JOINTS).mean()),
                "pck_20": float(pck(baseline, [0.2])[0]),
            },
            "networks": rows,
            "decoders": decoders(setting, true),
            "figure_4": figure_4,
            "comparisons": compared,
            "claims": claims(rows, compared, figure_4),
        }
    )
    return result


def decoders(setting: Setting, true: Hands) -> dict[str, Any] | None:
    """NME of the paper's model when either point of its density is the keypoint; None where a network diverged.

    The density's mean minus its mu, which is what the paper reads.
    """
    found: dict[Literal["mu", "mean"], list[Float64[np.ndarray, " n"]]] = {"mu": [], "mean": []}
    for seed in range(setting.plan.seeds):
        if _notes(setting, OURS, seed)["diverged"]:
            return None
        method, spec, _ = load_model(_folder(setting, OURS, seed) / "run" / "last.safetensors")
        assert isinstance(method, SequentialStages)
        for decoder, of_seeds in found.items():
            method.decoder = decoder
            of_seeds.append(hand_means(_errors(true, positions(method, spec.rule, true, setting.device)[-1])))
    errors = {decoder: np.stack(of_seeds) for decoder, of_seeds in found.items()}
    difference = paired(errors["mean"] - errors["mu"], true.group)
    rows = {decoder: over_seeds(of_seeds.mean(axis=1)) for decoder, of_seeds in errors.items()}
    return {"nme": rows, "difference": {"hands": difference.hands._asdict(), "seeds": difference.seeds._asdict()}}


def claims(
    rows: dict[str, dict[str, Any]], compared: dict[str, dict[str, Any]], figure_4: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """The paper's claims, each with its verdict and, where it has several, the verdicts of its parts."""

    def against(names: tuple[str, ...]) -> dict[str, str]:
        return {rows[name]["label"]: compared[name]["verdict"] if name in compared else OPEN for name in names}

    parts = {
        "maximum likelihood beats the heatmap and the integral loss on the same stages": against(LOSSES),
        "the sequential model beats heatmap, integral regression, RLE and CPM": against(RIVALS),
        "no substantial improvement after the fifth stage": {
            "stages of one network": figure_4["one_network"]["verdict"],
            "networks of their own": figure_4["own_networks"]["verdict"],
        },
    }
    return [
        {"claim": claim, "verdict": joint_verdict(list(of_parts.values())), "parts": of_parts}
        for claim, of_parts in parts.items()
    ]


def _costs(setting: Setting, name: str) -> dict[str, Any]:
    notes = [_notes(setting, name, seed) for seed in range(setting.plan.seeds)]
    return {
        "seconds": [note["seconds"] for note in notes],
        "diverged": sum(note["diverged"] for note in notes),
        "parameters": next((note["parameters"] for note in notes if note["parameters"]), None),
        "decoder_nme": next((note["decoder_nme"] for note in notes if note["decoder_nme"] is not None), None),
    }


if __name__ == "__main__":
    main()
