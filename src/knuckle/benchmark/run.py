"""Every engine of every model with every number of threads: what there is to measure, and the results as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import numpy as np
from jaxtyping import Float32

from knuckle.benchmark.child import Case, measure_apart
from knuckle.benchmark.stages import Timing
from knuckle.predict.load import EngineName, engine_of, weights_file
from knuckle.predict.shipped import ONNX, SAFETENSORS, is_shipped, shipped_file

ENGINES: Final[tuple[EngineName, ...]] = get_args(EngineName)

NEEDS: Final[dict[EngineName, tuple[str, ...]]] = {
    "onnxruntime": ("onnx", "torch"),
    "openvino": ("openvino", "onnx", "torch"),
    "torch": ("torch",),
}
"""Packages that are needed to run a model of PyTorch's with an engine; an exported file needs its run-time alone."""


class Variant(NamedTuple):
    """A model in the form that one engine runs.

    Attributes:
        model: its name as given.
        engine: what runs it.
        file: the file; None where there is none.
        missing: a sentence on why there is none.
    """

    model: str
    engine: EngineName
    file: Path | None
    missing: str = ""


@dataclass(frozen=True)
class Result:
    """One line of the table: `stages` has the timings by name, milliseconds."""

    model: str
    engine: EngineName
    threads: int
    stages: dict[str, Timing]

    def to_dict(self) -> dict[str, Any]:
        """Types that JSON has."""
        return asdict(self)


def variants(model: str, engines: Sequence[EngineName], folder: Path) -> Iterator[Variant]:
    """A model in the form of each engine: as it is, or exported into `folder`.

    An exported file, .onnx or .xml, has its own engine alone. What cannot be had, because something is not installed,
    says so.

    Raises:
        ValueError: there is no such model.
    """
    own = engine_of(Path(model)) if not is_shipped(model) else None
    if own not in (None, "torch"):
        yield Variant(model, own, Path(model))
        return
    for engine in engines:
        if engine == "onnxruntime" and is_shipped(model):
            yield Variant(model, engine, shipped_file(model, ONNX))
            continue
        missing = [name for name in NEEDS[engine] if find_spec(name) is None]
        if missing:
            yield Variant(model, engine, None, f"{model} with {engine}: {', '.join(missing)} not installed")
            continue
        weights = shipped_file(model, SAFETENSORS) if is_shipped(model) else weights_file(model)
        yield Variant(model, engine, weights if engine == "torch" else _exported(weights, engine, folder))


def measure_all(
    found: Sequence[Variant],
    frames: Sequence[tuple[Path, Float32[np.ndarray, "m 4"] | None]],
    threads: Sequence[int],
    *,
    repeats: int,
    warm_up: int,
    flip_test: bool = False,
    detect: bool = True,
    progress: Callable[[int], object] | None = None,
) -> list[Result]:
    """The timings of every variant with every number of threads, each in a process of its own, one after the other.

    Raises:
        RuntimeError: one of them fails.
    """
    given = [(str(path), None if boxes is None else boxes.tolist()) for path, boxes in frames]
    results = []
    for variant in found:
        for count in threads:
            if variant.file is not None:
                case = Case(str(variant.file), variant.engine, count, given, repeats, warm_up, flip_test, detect)
                results.append(Result(variant.model, variant.engine, count, measure_apart(case)))
            if progress is not None:
                progress(len(results))
    return results


def _exported(weights: Path, engine: EngineName, folder: Path) -> Path:
    from knuckle.export import export_onnx, export_openvino
    from knuckle.predict.load import read_model

    name = f"{weights.parent.name}-{weights.stem}"
    if engine == "onnxruntime":
        export_onnx(read_model(weights), folder / f"{name}.onnx")
        return folder / f"{name}.onnx"
    export_openvino(read_model(weights), folder / f"{name}.xml")
    return folder / f"{name}.xml"
