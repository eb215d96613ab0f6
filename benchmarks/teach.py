"""Do rendered hands teach a network to find real ones, and what does each factor of the scenes add?

    python -m benchmarks.teach --data DATA --work WORK --out benchmarks/results/teach.json

The same small network is trained from random weights with the same number of pictures, steps and seeds: on
the randomisation of the feasibility study that knuckle began with ("prototype"), on `SceneConfig()` ("all"),
and on the latter with one factor switched off at a time. Each is measured on photos that nothing was trained
on: DATA holds `pinch_mit` (two fingertips labelled, 7 places) and `photos` (16 joints, 6 videos), and on
held-out rendered hands of the full configuration. Factors are chosen on `pinch_mit`; `photos` only reports.
Errors of a hand are averaged over the seeds, and a difference is paired hand by hand with "all". Rendered hands get
95 % intervals by the cluster bootstrap. Seven places and six videos are too few for that: there every place's and
video's own mean is given, and the p of turning the signs of their differences, which 7 places cannot bring below
0.016, nor 6 videos below 0.031. WORK keeps what is finished: the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import knuckle
from benchmarks.data_loading import machine
from knuckle.evaluate.report import finite, named
from knuckle.formats import read
from knuckle.hands import Hands
from knuckle.methods.weights import load_model
from knuckle.metrics.errors import relative_distances
from knuckle.metrics.permutation import paired_permutation_test
from knuckle.metrics.statistics import cluster_bootstrap
from knuckle.predict.inference import predict_hands
from knuckle.render import SceneConfig
from knuckle.render.backgrounds import Procedural
from knuckle.render.config import Framing, Lens, Lights, Skin, Viewpoints
from knuckle.render.folder import render_folder
from knuckle.render.occluders import OccluderRanges
from knuckle.render.poses import PoseMix
from knuckle.render.sensor import SensorRanges
from knuckle.train import train
from knuckle.train.recipe import Recipe, check_recipe

HELD_OUT_SEED = 90_000
HELD_OUT = 600
PICTURE_SIZE = 128
REAL = ("pinch_mit", "photos")
TEST_SETS = ("rendered", *REAL)
ALL = "all"


def variants() -> dict[str, SceneConfig]:
    """Configurations by name: the prototype's, all factors, and all but one."""
    full = SceneConfig()
    plain_poses = PoseMix(gesture=1.0, interpolation=0.0, synergy=0.0)
    without = {
        "without other poses than gestures": replace(full, poses=plain_poses),
        "without viewpoints": replace(full, viewpoints=None),
        "without lens": replace(full, lens=None),
        "without framing": replace(full, framing=None),
        "without shape": replace(full, shape=None),
        "without skin": replace(full, skin=None),
        "without sleeves": replace(full, sleeves=None),
        "without lights": replace(full, lights=None),
        "without backgrounds": replace(full, backgrounds=None),
        "without objects": replace(full, occluders=None),
        "without second hands": replace(full, companions=None),
        "without jewelry": replace(full, jewelry=None),
        "without sensor": replace(full, sensor=None),
    }
    return {ALL: full, "prototype": prototype(), **without}


def prototype() -> SceneConfig:
    """What the feasibility study varied, as closely as `SceneConfig` can say it.

    Gestures with noise only; any rotation; 18 to 55 degrees of view without distortion; hands whole and
    centred; one object before a fifth of the hands; exposure, slight white balance, blur and noise.
    """
    return SceneConfig(
        poses=PoseMix(gesture=1.0, interpolation=0.0, synergy=0.0),
        viewpoints=Viewpoints(egocentric=0.0, facing=0.0, overhead=0.0, oblique=1.0, forearm=0.0),
        lens=Lens(distance=(170.0, 800.0), off_axis=0.0, distortion=(0.0, 0.0)),
        framing=Framing(fill=(0.5, 0.82), truncated=0.0),
        skin=Skin(veins=(0.0, 0.0), polish=0.0),
        jewelry=None,
        lights=Lights(diffuse=0.0, tint=0.12),
        backgrounds=Procedural(shapes=(0, 4), skin_colored=0.2),
        occluders=OccluderRanges(held=0.0, passing=0.2),
        companions=None,
        sensor=SensorRanges(
            metering=(0.55, 0.55),
            white_balance=0.06,
            contrast=0.12,
            saturation=(1.0, 1.0),
            noise=(0.002, 0.03),
            vignette=(0.0, 0.0),
            defocus=(0.5, (0.2, 0.9)),
            motion=(0.0, (1.0, 2.0)),
            jpeg=(0.0, (50.0, 90.0)),
            grey=0.0,
        ),
    )


@dataclass(frozen=True)
class Plan:
    """How much is done; the same for every variant.

    Attributes:
        data: folder with `pinch_mit` and `photos`.
        work: folder of what is finished.
        hands: rendered hands that each network learns from.
        epochs: passes over them.
        backbone: of the network, as timm names it.
        crop: side of its input, pixels.
        seeds: networks a variant, each on other hands.
    """

    data: Path
    work: Path
    hands: int
    epochs: int
    backbone: str
    crop: int
    seeds: int


def main() -> None:
    """Train what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with pinch_mit and photos")
    parser.add_argument("--work", type=Path, required=True, help="folder for networks and predictions")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--hands", type=int, default=2500, help="rendered hands a network")
    parser.add_argument("--epochs", type=int, default=4, help="passes over them")
    parser.add_argument("--backbone", default="cs3darknet_focus_s", help="timm name")
    parser.add_argument("--crop", type=int, default=64, help="side of the network's input")
    parser.add_argument("--seeds", type=int, default=2, help="networks a variant")
    parser.add_argument("--processes", type=int, default=2, help="networks trained at a time, one thread each")
    parser.add_argument("--variants", nargs="*", default=list(variants()), help="which; all of them by default")
    options = parser.parse_args()
    plan = Plan(
        options.data.resolve(),
        options.work.resolve(),
        options.hands,
        options.epochs,
        options.backbone,
        options.crop,
        options.seeds,
    )
    render_folder(held_out(plan), HELD_OUT, HELD_OUT_SEED, PICTURE_SIZE)
    jobs = [(name, seed) for seed in range(plan.seeds) for name in options.variants]
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        for name, seed, seconds in pool.map(partial(_run, plan), jobs):
            sys.stdout.write(f"{name}, seed {seed}: {seconds:.0f} s\n")
            sys.stdout.flush()
    result = summarize(plan, options.variants)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for line in table(result):
        sys.stdout.write(line + "\n")


def _slug(name: str) -> str:
    return name.replace(", ", " ").replace(" ", "_")


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _run(plan: Plan, job: tuple[str, int]) -> tuple[str, int, float]:
    """One network from pictures to errors on disk; done work is not done again."""
    name, seed = job
    began = time.perf_counter()
    folder = plan.work / f"{_slug(name)}_{seed}"
    if not (folder / "seconds.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        render_folder(folder / "hands", plan.hands, 1000 + seed, PICTURE_SIZE, config=variants()[name])
        rendered = time.perf_counter() - began
        run = train(recipe(folder / "hands" / "annotations.json", plan, seed), folder / "run")
        measure(plan, run / "last.safetensors", folder)
        (folder / "seconds.json").write_text(json.dumps([rendered, time.perf_counter() - began]))
        shutil.rmtree(folder / "hands")
    return name, seed, time.perf_counter() - began


def recipe(labels: Path, plan: Plan, seed: int) -> Recipe:
    """The pyramid of `light`, smaller. No change of colour: what pictures look like is what is measured here."""
    content: dict[str, Any] = {
        "data": {"path": str(labels), "validation": 0},
        "model": {
            "method": "pyramid",
            "backbone": plan.backbone,
            "size": plan.crop,
            "padding": 1.4,
            "options": {"sigma": 1.0, "width": 64},
        },
        "augmentation": {"mirror": 0.5, "rotation": 45.0, "scale": (0.75, 1.25), "shift": 0.08},
        "train": {
            "epochs": plan.epochs,
            "batch": 32,
            "optimizer": "muon",
            "learning_rate": 4e-3,
            "weight_decay": 0.05,
            "schedule": {"kind": "cosine"},
            "warmup_iterations": 30,
            "warmup_factor": 0.01,
            "clip_norm": 5.0,
            "ema_decay": 0.99,
            "channels_last": True,
            "seed": seed,
        },
        "device": "cpu",
    }
    return check_recipe(content, "the benchmark's recipe")


def test_set(plan: Plan, name: str) -> Hands:
    """Labelled hands of one test set; the rendered ones are the same for every variant."""
    return read((plan.data / name if name in REAL else held_out(plan)) / "annotations.json")


def held_out(plan: Plan) -> Path:
    """Where the rendered hands of the test lie, once `main` has rendered them."""
    return plan.work / "held_out"


def measure(plan: Plan, model: Path, folder: Path) -> None:
    """Errors of one network on every test set, one file a set: distance over the box's longer side, (n, 21)."""
    method, spec, _ = load_model(model)
    for name in TEST_SETS:
        true = test_set(plan, name)
        pred, _ = predict_hands(method, spec.rule, true, flip_test=True)
        np.save(folder / f"{name}.npy", relative_distances(pred, true, "box"))


def errors_of(plan: Plan, variant: str, name: str) -> NDArray[np.float64]:
    """(seeds, n, 21) errors, NaN where a joint is not labelled."""
    folders = (plan.work / f"{_slug(variant)}_{seed}" for seed in range(plan.seeds))
    return np.stack([np.load(folder / f"{name}.npy") for folder in folders])


def summarize(plan: Plan, names: list[str]) -> dict[str, Any]:
    """All numbers of the table, with what they were measured with."""
    rows = [row for name in TEST_SETS for row in _rows(plan, name, names)]
    seconds = {
        name: [
            json.loads((plan.work / f"{_slug(name)}_{seed}" / "seconds.json").read_text()) for seed in range(plan.seeds)
        ]
        for name in names
    }
    settings = {key: value for key, value in vars(plan).items() if not isinstance(value, Path)}
    chosen = "" if names == list(variants()) else " --variants " + " ".join(f"'{name}'" for name in names)
    return {
        "command": "python -m benchmarks.teach --data DATA --work WORK --out OUT "
        f"--hands {plan.hands} --epochs {plan.epochs} --seeds {plan.seeds}{chosen}",
        "machine": machine(),
        "knuckle": knuckle.__version__,
        "settings": settings | {"picture": PICTURE_SIZE, "held_out": HELD_OUT, "flip_test": True},
        "seconds": {
            name: {"render": [a for a, _ in both], "all": [b for _, b in both]} for name, both in seconds.items()
        },
        "rows": rows,
    }


def _rows(plan: Plan, name: str, names: list[str]) -> Iterator[dict[str, Any]]:
    true = test_set(plan, name)
    groups = np.unique(true.group if name in REAL else np.arange(len(true)), return_inverse=True)[1]
    reference = errors_of(plan, ALL, name)
    labeled = np.isfinite(reference[0])

    def mean(values: NDArray[np.float64]) -> dict[str, Any]:
        """Over labelled joints of all hands, the seeds averaged first; of photos also in each group."""
        sums = np.where(labeled, values.mean(axis=0), 0).sum(axis=1)
        whole: dict[str, Any] = finite(named(cluster_bootstrap(sums, labeled.sum(axis=1), groups)))
        if name not in REAL:
            return whole
        of_groups = np.bincount(groups, sums) / np.bincount(groups, labeled.sum(axis=1))
        return whole | {"groups": of_groups.tolist()}

    def difference(values: NDArray[np.float64]) -> dict[str, Any]:
        """The same of paired differences, with the p of their signs in photos."""
        whole = mean(values)
        return whole | ({"p": paired_permutation_test(whole["groups"]).p} if "groups" in whole else {})

    for variant in names:
        own = errors_of(plan, variant, name)
        yield {
            "set": name,
            "hands": len(true),
            "groups": int(groups.max()) + 1,
            "variant": variant,
            "nme": mean(own),
            "nme_of_seeds": [float(np.nanmean(one)) for one in own],
            "pck_20": mean((own < 0.2).astype(float)),
            "pck_10": mean((own < 0.1).astype(float)),
        } | (
            {}
            if variant == ALL
            else {
                "nme_minus_all": difference(own - reference),
                "pck_20_minus_all": difference((own < 0.2).astype(float) - (reference < 0.2)),
            }
        )


def table(result: dict[str, Any]) -> Iterator[str]:
    """The rows as text."""
    for row in result["rows"]:
        against = f"  against all {_interval(row['nme_minus_all'])}" if "nme_minus_all" in row else ""
        yield (
            f"{row['set']:10} {row['variant']:38} NME {_interval(row['nme'])}  "
            f"PCK@0.2 {row['pck_20']['estimate']:.3f}{against}"
        )


def _interval(value: dict[str, Any]) -> str:
    """The number with its interval, or with the range over its groups."""
    if "groups" not in value:
        return f"{value['estimate']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
    said = f", p {value['p']:.3f}" if "p" in value else ""
    return f"{value['estimate']:.4f} (groups {min(value['groups']):.4f} to {max(value['groups']):.4f}{said})"


if __name__ == "__main__":
    main()
