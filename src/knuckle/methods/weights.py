"""A model as one file: its tensors, and all that is needed to rebuild the network around them.

The file is safetensors, which holds numbers and text and can run nothing. Its metadata has one JSON
text under "knuckle": the version of this layout, the `ModelSpec`, notes, which are whatever the
writer adds, and of models that have one the `Calibration` and how to build the `HandHead`. Equal
models make equal files, bit for bit. Tensors that float16 holds exactly are stored so, see
`knuckle.methods.half`; a network reads them back as float32.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from knuckle.geometry import CropRule
from knuckle.methods import METHODS
from knuckle.methods.base import Method
from knuckle.methods.half import compact
from knuckle.methods.hand_head import HandHead
from knuckle.methods.options import checked_options
from knuckle.metrics.conformal import Calibration

FILE_VERSION: Final = 2
"""Raised when a file can no longer be read by older versions of knuckle: 2 where there is a hand head, else 1."""

FEW: Final = 64
MANY: Final = 4096
"""A whole number among a network's options may be so large in any file, and in one with tensors as large."""


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to rebuild a network and to feed it.

    Attributes:
        method: a key of METHODS.
        backbone: a timm model name.
        rule: how crops are cut; its size and alignment are the network's too.
        options: further keyword arguments of the method.
    """

    method: str
    backbone: str
    rule: CropRule
    options: dict[str, Any] = field(default_factory=dict)


def build(spec: ModelSpec, weights: str | None = None) -> Method:
    """The network of a spec, with random weights but for the backbone's, which come from `weights`.

    Raises:
        ValueError: no such method, backbone or option, or weights that cannot be had; see `build_backbone`.
    """
    options = method_options(spec.method, spec.options)
    return METHODS[spec.method](
        backbone=spec.backbone,
        size=spec.rule.size,
        alignment=spec.rule.alignment,
        weights=weights,
        **options,
    )


def method_options(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a method with their values as its class wants them; see `checked_options`.

    Raises:
        ValueError: no such method or option, or a value of another kind than the option's.
    """
    if method not in METHODS:
        raise ValueError(f"there is no method named {method!r}; choose one of {', '.join(METHODS)}.")
    return checked_options(method, METHODS[method], options)


def save_model(
    path: Path, method: Method, spec: ModelSpec, notes: dict[str, Any], calibration: Calibration | None = None
) -> None:
    """Write the model, whole or not at all: to a temporary file beside `path`, then renamed.

    Args:
        path: the file to write, .safetensors; its folder is made where missing.
        method: the network that `spec` builds, on any device; its hand head goes with it.
        spec: how to rebuild it.
        notes: anything that JSON can hold, such as the epoch and the validation numbers.
        calibration: what makes its uncertainty true; None for a model that was not calibrated.

    Raises:
        ValueError: `path` cannot be written.
    """
    from safetensors.torch import save

    tensors = {
        name: compact(tensor.detach().cpu()).contiguous()
        for name, tensor in method.state_dict().items()
        if not name.startswith("side_lesson.")  # which has done its work
    }
    head = method.hand_head
    header = {"version": 1 if head is None else 2, **asdict(spec), "notes": notes}
    if head is not None:
        header["hand_head"] = head.to_dict()
    if calibration is not None:
        header["calibration"] = calibration.to_dict()
    content = save(tensors, metadata={"knuckle": json.dumps(header)})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ValueError(f"the model cannot be written to {path} ({error.strerror}).") from error


def load_model(path: Path) -> tuple[Method, ModelSpec, dict[str, Any]]:
    """The network in evaluation mode on the CPU, its spec and its notes.

    Raises:
        ValueError: no such file, it is truncated or foreign or of a newer version, or its tensors do not fit.
    """
    tensors, metadata = _read(path)
    spec, notes = _parse(path, metadata)
    spec = replace(spec, options=method_options(spec.method, spec.options))
    _check_extent(path, spec, tensors)
    try:
        method = build(spec)
    except (RuntimeError, MemoryError) as error:  # torch's own, of sizes that no layer or memory can have
        raise _damaged(path, error) from error
    method.hand_head = _hand_head(path, metadata, tensors)
    misfits = list(_misfits(method.state_dict(), tensors))
    if misfits:
        more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
        raise ValueError(f"{path} does not fit the network it describes: {', '.join(misfits[:3])}{more}.")
    method.load_state_dict(tensors)
    return method.eval(), spec, notes


def load_calibration(path: Path) -> Calibration | None:
    """The calibration of a model's file; None for a model that was not calibrated.

    Raises:
        ValueError: as `load_model`, or the calibration is damaged.
    """
    from safetensors import safe_open

    with _readable(path), safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    header = _header(path, metadata)
    if header.get("calibration") is None:
        return None
    try:
        return Calibration.from_dict(header["calibration"])
    except ValueError as error:
        raise ValueError(f"{path}: {error} Calibrate the model again.") from error


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import safe_open

    with _readable(path), safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What safetensors refuses while the block reads the file becomes a sentence."""
    from safetensors import SafetensorError

    if not path.is_file():
        raise ValueError(f"{path} is no file; check the path of the model.")
    try:
        yield
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no safetensors file; copy or train it again.") from error


def _header(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    if "knuckle" not in metadata:
        raise ValueError(
            f"{path} is a safetensors file of another program; give a model that knuckle wrote, "
            f"or its backbone weights to training."
        )
    try:
        header: dict[str, Any] = json.loads(metadata["knuckle"])
        version = int(header["version"])
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _damaged(path, error) from error
    if version > FILE_VERSION:
        raise ValueError(f"{path} has layout {version}, this knuckle reads up to {FILE_VERSION}; update knuckle.")
    return header


def _parse(path: Path, metadata: Mapping[str, str]) -> tuple[ModelSpec, dict[str, Any]]:
    header = _header(path, metadata)
    try:
        spec = ModelSpec(
            method=str(header["method"]),
            backbone=str(header["backbone"]),
            rule=CropRule.from_dict(header["rule"]),
            options=dict(header["options"]),
        )
        notes = dict(header["notes"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    return spec, notes


def _hand_head(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> HandHead | None:
    """The empty hand head of a model's file; None for a model without one."""
    stored = _header(path, metadata).get("hand_head")
    if stored is None:
        return None
    try:
        channels, grid = int(stored["channels"]), int(stored["grid"])
        if tensors["hand_head.weight"].shape != (2, channels * (grid**2 + 1)):  # before any memory is taken for it
            raise ValueError(f"its hand head has no {channels} channels in {grid} x {grid} cells")
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from error
    return HandHead(channels, grid)


def _check_extent(path: Path, spec: ModelSpec, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a description that would build far more than the file holds, before memory is asked for."""
    largest = max((side for tensor in tensors.values() for side in tensor.shape), default=0)
    most = min(max(largest, FEW), MANY)
    for name, value in spec.options.items():
        if isinstance(value, int) and value > most:
            raise _damaged(path, f"its option {name} is {value}, its tensors' longest side {largest}")


def _damaged(path: Path, error: Exception | str) -> ValueError:
    said = " ".join(str(error).split())[:200]
    return ValueError(f"{path} describes no model that can be built ({said}); copy or train it again.")


def _misfits(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """One phrase for each tensor that is missing, unknown, of another shape or of numbers of another kind."""
    return [
        *(f"{name} is missing" for name in expected if name not in given),
        *(f"{name} is unknown" for name in given if name not in expected),
        *(
            f"{name} is {tuple(given[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in given and given[name].shape != tensor.shape
        ),
        *(
            f"{name} holds {given[name].dtype} instead of {tensor.dtype}"
            for name, tensor in expected.items()
            if name in given and given[name].is_floating_point() != tensor.is_floating_point()
        ),
    ]
