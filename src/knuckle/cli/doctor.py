"""`knuckle doctor`: what is installed, what it can use, and what is missing for which extra."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import platform
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import knuckle
from knuckle.benchmark.machine import usable_cores
from knuckle.cli.console import print_table

Row = tuple[str, str]

ABSENT: Final = "not installed"

# As in knuckle.predict.shipped, which a broken installation cannot import.
ASSETS: Final = Path(knuckle.__file__).parent / "predict" / "assets"
MODELS: Final = {
    "light": (".onnx", ".safetensors"),
    "light_rendered": (".onnx", ".safetensors"),
    "accurate": (".onnx", ".safetensors"),
    "detector": (".onnx",),
}


def doctor() -> None:
    """Show versions, devices, and what is missing for which extra.

    Example: knuckle doctor
    """
    rows = [
        ("knuckle", _version("knuckle")),
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("CPU", f"{usable_cores()} of {os.cpu_count()} cores usable"),
        ("numpy", _version("numpy")),
        ("cv2", _look("cv2", _cv2)),
        ("onnxruntime", _look("onnxruntime", _onnxruntime)),
        ("torch", _look("torch", _torch)),
        ("timm", _look("timm", _timm)),
        ("openvino", _version("openvino")),
        ("ray", _version("ray")),
    ]
    print_table(("what", "found"), rows)
    print_table(("model", "files"), list(_models()), title="\nModels that came with it")
    print_table(("extra", "state"), list(_extras()), title="\nExtras")


def _look(package: str, probe: Callable[[], str]) -> str:
    """What the probe found, or why it found nothing: a broken installation is a finding, too."""
    try:
        return probe()
    except ModuleNotFoundError as error:
        return ABSENT if error.name == package else f"installed, but it needs {error.name}"
    except Exception as error:
        return f"broken: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ABSENT


def _models() -> Iterator[Row]:
    """The files of each shipped model with their sizes."""
    for name, suffixes in MODELS.items():
        files = [ASSETS / f"{name}{suffix}" for suffix in suffixes]
        found = [f"{file.name} {file.stat().st_size / 1e6:.1f} MB" for file in files if file.is_file()]
        yield name, ", ".join(found) or "not in this version"


def _cv2() -> str:
    import cv2

    return f"{cv2.__version__}, {cv2.getNumThreads()} threads"


def _onnxruntime() -> str:
    import onnxruntime

    return f"{onnxruntime.__version__}, providers {', '.join(onnxruntime.get_available_providers())}"


def _torch() -> str:
    import torch

    gpus = [f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        gpus.append("mps")
    return f"{torch.__version__}, {torch.get_num_threads()} threads, {', '.join(gpus) or 'no GPU'}"


def _timm() -> str:
    import timm  # a torchvision that does not fit torch shows itself here

    return str(timm.__version__)


def _extras() -> Iterator[Row]:
    """Every extra of the installed package with what it lacks and how to get it."""
    needs = _needs()
    for extra in sorted(needs):
        missing = sorted(name for name in needs[extra] if _version(name) == ABSENT)
        yield extra, f"missing {', '.join(missing)}: pip install 'knuckle[{extra}]'" if missing else "complete"


def _needs() -> dict[str, list[str]]:
    """What each extra asks for, by the installed package's own metadata."""
    try:
        own = metadata.metadata("knuckle")
    except metadata.PackageNotFoundError:
        return {}
    needs: dict[str, list[str]] = {extra: [] for extra in own.get_all("Provides-Extra", [])}
    for requirement in own.get_all("Requires-Dist", []):
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", requirement)
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if extra and name:
            needs[extra[1]].append(name[0])
    return needs
