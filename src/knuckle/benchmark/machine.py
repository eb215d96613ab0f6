"""What a measurement ran on: without it no number of milliseconds means anything."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import platform
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("knuckle", "numpy", "opencv-python-headless", "onnxruntime", "openvino", "torch")

BUSY: Final = 0.25
"""Share of the cores that other programs may use before the numbers are doubted."""


def usable_cores() -> int:
    """Cores that this process may use; in a container often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Processor, cores, versions, and the load when it was asked; None for what nobody knows here."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def is_busy(found: dict[str, Any]) -> bool:
    """Whether other programs took so much of the machine that the numbers are too high."""
    load = found["load_average"]
    return load is not None and load > BUSY * found["cores"]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
