"""What engines for exported graphs share: the outputs by name, and what the file says of itself.

Such a file has one JSON text under "knuckle": the version of this layout, the version of knuckle that wrote it, how the
network was built and how it wants its crops, the names of the joints, and the calibration of models that have one. The
graph is described in `knuckle.export.graph`.

Letters in shapes: B hands in a batch, S the side of the crop in pixels.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from knuckle.geometry import CropRule
from knuckle.metrics.conformal import Calibration
from knuckle.predict.engine import Engine
from knuckle.predict.points import CropPoints

FILE_VERSION: Final = 1
"""Raised when a file can no longer be read by older versions of knuckle."""

METADATA_KEY: Final = "knuckle"

MOST_BYTES: Final = 2 << 30
"""Protocol buffers, of which ONNX files are made, end there; larger files are refused unread."""

LONGEST_REASON: Final = 300
"""Letters of what a run-time says about a file that it refuses."""


class GraphEngine(Engine):
    """Runs an exported graph.

    Attributes:
        metadata: the JSON of the file, see above.
    """

    metadata: dict[str, Any]

    @property
    def has_hand_head(self) -> bool:
        """As every engine."""
        return "score" in self.output_names

    def find(self, crops: UInt8[np.ndarray, "B S S 3"], flip_test: bool) -> CropPoints:
        """As every engine."""
        found = self.outputs(crops, flip_test)
        return CropPoints(found["xy_crop"], found.get("covariance_crop"), found.get("score"), found.get("left"))

    @abstractmethod
    def outputs(self, crops: UInt8[np.ndarray, "B S S 3"], flip_test: bool) -> dict[str, NDArray[np.float32]]:
        """Everything that the graph computes, by name."""

    @property
    @abstractmethod
    def output_names(self) -> list[str]:
        """What the graph computes."""

    @property
    @abstractmethod
    def crops_shape(self) -> tuple[int | None, ...]:
        """What the graph takes as crops; None for sizes that are free."""


class GraphModel(NamedTuple):
    """All that `load` needs of an exported file."""

    engine: GraphEngine
    rule: CropRule
    calibration: Calibration | None


def graph_model(path: Path, engine: GraphEngine) -> GraphModel:
    """A model of what its file says.

    The graph computes calibrated uncertainty as well, for programs without knuckle; here it is computed by the same
    code as for weights of PyTorch, which knows each hand's own box.

    Raises:
        ValueError: what the file says of itself is damaged, or does not fit its graph.
    """
    try:
        rule = CropRule.from_dict(engine.metadata["rule"])
        stored = engine.metadata["calibration"]
        calibration = None if stored is None else Calibration.from_dict(stored)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    if engine.crops_shape != (None, rule.size, rule.size, 3):
        raise _damaged(path, f"its graph takes crops of shape {engine.crops_shape}, its rule cuts {rule.size} pixels")
    return GraphModel(engine, rule, calibration)


def read_metadata(path: Path, text: str | None) -> dict[str, Any]:
    """The JSON of a file.

    Args:
        path: the file, for messages.
        text: what it holds under `METADATA_KEY`; None where it holds nothing.

    Raises:
        ValueError: the file is of another program or of a newer knuckle, or the text is damaged.
    """
    if text is None:
        raise ValueError(f"{path} is a model of another program; give one that knuckle export wrote.")
    try:
        content: dict[str, Any] = json.loads(text)
        version = int(content["version"])
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _damaged(path, error) from error
    if version > FILE_VERSION:
        raise ValueError(f"{path} has layout {version}, this knuckle reads up to {FILE_VERSION}; update knuckle.")
    return content


def check_size(path: Path) -> None:
    """Refuse a file that no export can be, before anything reads it.

    Raises:
        ValueError: it is missing, empty or beyond `MOST_BYTES`.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file; check the path of the model.")
    size = path.stat().st_size
    if not 0 < size <= MOST_BYTES:
        raise ValueError(f"{path} has {size:,} bytes, and a model's file has up to {MOST_BYTES:,}; export it again.")


class NotRunnableError(ValueError):
    """A run-time refuses a model's file.

    Attributes:
        refusal: by whom and why, "cannot be run by ONNX Runtime (...)".
    """

    def __init__(self, path: Path, run_time: str, error: Exception) -> None:
        """Of a file, by the run-time that raised an error."""
        self.refusal = f"cannot be run by {run_time} ({reason_of(error)})"
        super().__init__(f"{path} {self.refusal}; export it again.")


def reason_of(error: Exception) -> str:
    """What a run-time's error says, on one line: the check that failed and what came of it, else how it begins.

    OpenVINO's errors begin with where in its sources they were raised, a line for each place that handed them on.
    """
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith("Exception from")]
    checks = [line for line in telling if line.startswith("Check ")]
    told = [*checks[-1:], telling[-1]] if checks else telling[:1]
    return " ".join(dict.fromkeys(told)).rstrip(".")[:LONGEST_REASON] or type(error).__name__


def _damaged(path: Path, error: Exception | str) -> ValueError:
    return ValueError(f"{path} describes no model that can be run ({error}); export it again.")
