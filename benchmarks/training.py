"""What a step of training costs with each method: hands a second, where the time goes, operations, memory.

    python -m benchmarks.training --out benchmarks/results/training.json
    python -m benchmarks.training --out OUT.json --device cuda --batch 128 --peak-tflops 989      # an H200's, in bf16

A step is that of `knuckle train` without the loader: the network and its loss in float32, or on a GPU the network in
bf16; the gradient; its norm and AdamW. The crops are noise, the same for all methods, and on the device already. The
variants take turns within each round, so that a busy moment hits all of them, and medians over rounds count. Parts are
measured alone, forward and backward: the backbone; the loss on outputs that are there, flows included; the flows on
as many points. What the backbone and the loss leave of forward and backward is the heads, decoding to coordinates
included. Operations are those of convolutions and matrix products, counted by PyTorch, two a multiplication and
addition; their number over the time and the peak that was given is the share of the peak. Memory is the peak of two
steps of `--memory-batches` hands in processes of their own: all of the process on the CPU, PyTorch's tensors on a GPU.
Where that was measured for two or more sizes, a straight line through them by least squares tells of 128 hands, which
few CPUs have the memory and nobody the time for.

The file is written after every variant's memory and again at the end, so that what was measured is not lost.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.data_loading import Row, machine, rows_of, take_turns
from benchmarks.render import seconds
from knuckle.methods import METHODS, Method, Targets
from knuckle.methods.backbones import Backbone
from knuckle.methods.flow import RealNVP
from knuckle.skeleton import NUM_JOINTS
from knuckle.train.optim import gradient_norm, make_optimizer
from knuckle.train.recipe import Training
from knuckle.train.steps import LossOf

VARIANTS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "heatmap": ("heatmap", {}),
    "integral": ("integral", {}),
    "rle": ("rle", {}),
    "cpm": ("cpm", {}),
    "simcc": ("simcc", {}),
    "sequential, mle": ("sequential", {"loss": "mle"}),
    "sequential, heatmap": ("sequential", {"loss": "heatmap"}),
    "sequential, integral": ("sequential", {"loss": "integral"}),
    "pyramid": ("pyramid", {}),
}
"""Methods by the name of their row, with the options that are not default."""

MEMORY_STEPS: Final = 2
"""The first one allocates the optimizer's state, so the second needs most."""

FULL_BATCH: Final = 128


@dataclass(frozen=True)
class Setting:
    """What all variants have in common.

    Attributes:
        backbone: as timm names it, with random weights.
        size: side of the crops, pixels.
        batch: hands a step.
        device: "cpu" or "cuda".
    """

    backbone: str
    size: int
    batch: int
    device: str


@dataclass
class Bench:
    """One variant, ready for steps.

    Attributes:
        method: the network, in training mode.
        module: it with its loss.
        optimizer: over its weights.
        images: (B, 3, S, S) uint8 crops.
        targets: keypoints in them, all labelled.
    """

    method: Method
    module: LossOf
    optimizer: torch.optim.Optimizer
    images: Tensor
    targets: Targets


def main() -> None:
    """Measure everything and write the results as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--backbone", default="resnet50", help="timm name")
    parser.add_argument("--size", type=int, default=256, help="side of the crops, pixels")
    parser.add_argument("--batch", type=int, default=16, help="hands a step")
    parser.add_argument(
        "--memory-batches", nargs="*", type=int, default=[128], help="hands a step where memory is measured"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--runs", type=int, default=5, help="rounds; the median counts")
    parser.add_argument("--peak-tflops", type=float, help="of the device at this precision, 10^12 operations a second")
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS))
    options = parser.parse_args()
    setting = Setting(options.backbone, options.size, options.batch, options.device)
    told = {
        "command": f"python -m benchmarks.training {' '.join(sys.argv[1:])}",
        "machine": machine(),
        "gpu": torch.cuda.get_device_name() if options.device == "cuda" else "",
        "precision": "bf16" if options.device == "cuda" else "float32",
        "settings": asdict(setting) | {"peak_tflops": options.peak_tflops, "memory_batches": options.memory_batches},
    }
    rows: list[Row] = []
    for found in measure(options, setting):
        for row in found:
            sys.stdout.write(f"{row.name:52} {row.median:10.4g} {row.unit}\n")
        sys.stdout.flush()
        rows += found
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(told | {"rows": [asdict(row) for row in rows]}, indent=2) + "\n")


def measure(options: argparse.Namespace, setting: Setting) -> Iterator[list[Row]]:
    """All rows, as they are found."""
    for name in options.variants:
        # First, as this process may hold nothing on the device that another one could need.
        yield list(measure_memory(name, setting, options.memory_batches))
    yield measure_steps(options.variants, setting, options.runs, options.peak_tflops)


def prepare(name: str, setting: Setting) -> Bench:
    """A variant with its crops, the same for all."""
    method, options = VARIANTS[name]
    torch.manual_seed(0)
    images = torch.randint(0, 256, (setting.batch, 3, setting.size, setting.size), dtype=torch.uint8)
    xy_crop = torch.rand(setting.batch, NUM_JOINTS, 2) * (setting.size - 1)
    targets = Targets(
        xy_crop.to(setting.device), torch.ones(setting.batch, NUM_JOINTS, dtype=torch.bool).to(setting.device)
    )
    network = METHODS[method](setting.backbone, setting.size, **options)
    network.to(setting.device).to(memory_format=torch.channels_last).train()
    module = LossOf(network, "bf16" if setting.device == "cuda" else "float32")
    optimizer = make_optimizer(network, Training(optimizer="adamw", learning_rate=1e-5, weight_decay=0.05))
    return Bench(network, module, optimizer, images.to(setting.device, memory_format=torch.channels_last), targets)


def gradient(bench: Bench) -> None:
    """The loss forward and backward."""
    bench.optimizer.zero_grad(set_to_none=True)
    bench.module(bench.images, *bench.targets).backward()


def update(bench: Bench) -> None:
    """The gradient's norm, which the guard of every step reads, and the optimizer's step."""
    gradient_norm(bench.method).item()
    bench.optimizer.step()


def step(bench: Bench) -> None:
    """A whole step."""
    gradient(bench)
    update(bench)


# Time and operations.


def measure_steps(names: list[str], setting: Setting, runs: int, peak_tflops: float | None) -> list[Row]:
    """Hands a second, milliseconds of each part and its share, operations, and the share of the peak."""
    benches = {name: prepare(name, setting) for name in names}
    parts = {
        f"{name}: {part}": work
        for name, bench in benches.items()
        for part, work in parts_of(bench, setting.device).items()
    }
    for work in parts.values():
        work()
    found = take_turns({name: _milliseconds(work, setting.device) for name, work in parts.items()}, runs)
    rows: list[Row] = []
    for name, bench in benches.items():
        own = {part.removeprefix(f"{name}: "): times for part, times in found.items() if part.startswith(f"{name}: ")}
        rows += time_rows(name, own, setting.batch)
        operations = count_operations(bench) / setting.batch
        rows.append(Row(f"{name}: operations", "GFLOP/hand", operations / 1e9, [operations / 1e9]))
        if peak_tflops is not None:
            reached = [operations * setting.batch / (ms / 1000) / (peak_tflops * 1e12) for ms in own["step"]]
            rows += rows_of({f"{name}: of the peak": [100 * share for share in reached]}, "%", {})
    return rows


def parts_of(bench: Bench, device: str) -> dict[str, Callable[[], object]]:
    """A step and its parts as calls; each leaves gradients behind that nobody reads."""
    with torch.autocast(device, torch.bfloat16, enabled=bench.module.bf16):
        outputs = {name: value.float().detach() for name, value in bench.method(bench.images).items()}
    backbone = next(module for module in bench.method.modules() if isinstance(module, Backbone))
    flows = [module for module in bench.method.modules() if isinstance(module, RealNVP)]
    points = torch.randn(len(bench.images), NUM_JOINTS, 2, device=device)

    def loss_alone() -> None:
        leaves = {name: value.clone().requires_grad_() for name, value in outputs.items()}
        torch.autograd.backward([bench.method.loss(leaves, bench.targets)["loss"]])

    def flows_alone() -> None:
        torch.autograd.backward([flow.log_prob(points.clone().requires_grad_()).mean() for flow in flows])

    def forward() -> Tensor:
        loss: Tensor = bench.module(bench.images, *bench.targets)
        return loss

    parts: dict[str, Callable[[], object]] = {
        "step": lambda: step(bench),
        "forward and loss": forward,
        "forward, loss and backward": lambda: gradient(bench),
        "optimizer": lambda: update(bench),
        "backbone": lambda: _backbone_alone(bench, backbone, device),
        "loss": loss_alone,
    }
    return parts | ({"flows": flows_alone} if flows else {})


def _backbone_alone(bench: Bench, backbone: Backbone, device: str) -> None:
    bench.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device, torch.bfloat16, enabled=bench.module.bf16):
        features = backbone(bench.method.normalize(bench.images))
    torch.autograd.backward([features], [torch.ones_like(features)])


def time_rows(name: str, found: dict[str, list[float]], batch: int) -> Iterator[Row]:
    """The rows of one variant from the milliseconds of its parts in each round."""
    yield from rows_of({f"{name}: training": [1000 * batch / ms for ms in found["step"]]}, "hands/s", {})
    both, forward = found["forward, loss and backward"], found["forward and loss"]
    flows = found.get("flows", [0.0] * len(both))
    stages = {
        "forward and loss": forward,
        "backward": [whole - part for whole, part in zip(both, forward, strict=True)],
        "optimizer": found["optimizer"],
    }
    yield from rows_of({f"{name}: {part}": times for part, times in stages.items()}, "ms/step", {})
    shares = {
        "backbone": found["backbone"],
        "heads": [a - b - c for a, b, c in zip(both, found["backbone"], found["loss"], strict=True)],
        "flows": flows,
        "loss without flows": [a - b for a, b in zip(found["loss"], flows, strict=True)],
    }
    for part, times in shares.items():
        of_both = [100 * ms / whole for ms, whole in zip(times, both, strict=True)]
        yield from rows_of({f"{name}: {part}, of forward and backward": of_both}, "%", {})


def count_operations(bench: Bench) -> int:
    """Floating-point operations of a step's forward and backward."""
    with FlopCounterMode(display=False) as counter:
        gradient(bench)
    return int(counter.get_total_flops())


def _milliseconds(work: Callable[[], object], device: str) -> Callable[[], float]:
    return lambda: 1000 * seconds(work, device)


# Memory.


def measure_memory(name: str, setting: Setting, batches: Sequence[int]) -> Iterator[Row]:
    """The peak of a few steps for each size of a batch, in new processes, and what a line through them tells."""
    peaks = []
    for batch in batches:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            peaks.append(pool.submit(peak_memory, name, replace(setting, batch=batch)).result())
        yield Row(f"{name}: peak memory at {batch} hands", "MiB", peaks[-1], [peaks[-1]])
    if len(set(batches)) > 1 and FULL_BATCH not in batches:
        told = float(np.polyval(np.polyfit(batches, peaks, 1), FULL_BATCH))
        yield Row(f"{name}: peak memory at {FULL_BATCH} hands, by a line", "MiB", told, [told])


def peak_memory(name: str, setting: Setting) -> float:
    """MiB: of this process on the CPU, of tensors on a GPU."""
    bench = prepare(name, setting)
    for _ in range(MEMORY_STEPS):
        step(bench)
    if setting.device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # KiB on Linux


if __name__ == "__main__":
    main()
