"""One measurement in a process of its own, so that no engine's threads disturb another's: `python -m` this module.

It reads a `Case` as JSON from stdin and writes the timings as JSON to stdout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from knuckle.benchmark.stages import Timing, time_stages
from knuckle.predict.load import EngineName, load


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        file: the model's file.
        engine: what runs it.
        threads: of the engine and of OpenCV.
        frames: photos and the boxes on them as (m, 4) lists, None for the whole frame.
        repeats: frames that are timed.
        warm_up: frames before them.
        flip_test: whether it is on.
        detect: whether the detector looks for boxes.
    """

    file: str
    engine: EngineName
    threads: int
    frames: list[tuple[str, list[list[float]] | None]]
    repeats: int
    warm_up: int
    flip_test: bool
    detect: bool


def measure_apart(case: Case) -> dict[str, Timing]:
    """The timings of a case, taken in a new process.

    Raises:
        RuntimeError: the process failed; says how.
    """
    done = subprocess.run(
        [sys.executable, "-m", "knuckle.benchmark.child"],
        input=json.dumps(asdict(case)),
        env={**os.environ, "OMP_NUM_THREADS": str(case.threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise RuntimeError(f"{case.engine} with {case.threads} threads could not be measured: {last}")
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return {stage: Timing(**timing) for stage, timing in found.items()}


def measure(case: Case) -> dict[str, Timing]:
    """The timings of a case, in this process, whose threads it sets."""
    import cv2

    cv2.setNumThreads(case.threads)
    if case.engine == "torch":
        import torch

        torch.set_num_threads(case.threads)
    threads = None if case.engine == "torch" else case.threads
    predictor = load(Path(case.file), device="cpu", flip_test=case.flip_test, threads=threads)
    frames = [
        (Path(name), None if boxes is None else np.array(boxes, dtype=np.float32).reshape(-1, 4))
        for name, boxes in case.frames
    ]
    detector = predictor.detector if case.detect else None
    return time_stages(predictor, frames, repeats=case.repeats, warm_up=case.warm_up, detector=detector)


if __name__ == "__main__":
    timings = measure(Case(**json.load(sys.stdin)))
    sys.stdout.write(json.dumps({stage: asdict(timing) for stage, timing in timings.items()}) + "\n")
