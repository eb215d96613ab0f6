"""The folder of a run: what belongs to it, and when training may go on in it."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import yaml

import knuckle
from knuckle.formats import write
from knuckle.hands import Hands
from knuckle.train.checkpoint import write_atomically
from knuckle.train.distributed import Team
from knuckle.train.parts import Parts
from knuckle.train.recipe import Recipe, check_recipe
from knuckle.train.steps import usable_precision

FREE_TO_CHANGE: Final = ("train.epochs", "train.workers", "device")
"""Fields of a recipe that a resumed run may give another value."""


def check_run(folder: Path, recipe: Recipe, *, resume: bool) -> None:
    """Check that a run may begin in this folder or, where it holds one, go on there.

    Raises:
        ValueError: the folder is taken and `resume` is not set, is no run folder, or belongs to
            another recipe.
    """
    path = folder / "recipe.yaml"
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder for the run.")
    if folder.exists() and any(folder.iterdir()):
        if not path.exists():
            raise ValueError(
                f"{folder} is not empty and holds no recipe.yaml, so it is not a run; name another folder."
            )
        if not resume:
            raise ValueError(f"{folder} already holds a run; add --resume to continue it, or name another folder.")
        _check_unchanged(path, recipe)


def open_run(folder: Path, recipe: Recipe) -> None:
    """Make the folder where it is missing, and write recipe.yaml with every field in it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "recipe.yaml", yaml.safe_dump(recipe.plain(), sort_keys=False))


def record_data(folder: Path, parts: Parts) -> None:
    """Write data.json and the rows of each part, or check that they are still those of the run.

    Raises:
        ValueError: the folder's data.json was written for other hands.
    """
    path = folder / "data.json"
    fingerprint = parts.fingerprint()
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))["parts"]
        changed = [name for name, part in fingerprint["parts"].items() if part != before.get(name)]
        if changed:
            raise ValueError(
                f"the data has changed since this run began ({', '.join(changed)}; see {path}), so it cannot be "
                "resumed; start a new run."
            )
        return
    for name, hands in parts.named().items():
        if isinstance(hands, Hands):
            write(hands, folder / f"{name}.json", "coco")
    write_atomically(path, json.dumps(fingerprint, indent=2) + "\n")


def record_environment(folder: Path, recipe: Recipe, team: Team) -> None:
    """Write environment.json: versions, device, processes, seeds and the commit of the working directory."""
    import torch

    packages = ("torch", "timm", "numpy", "opencv-python-headless", "safetensors", "pydantic")
    content = {
        "knuckle": knuckle.__version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in packages},
        "device": str(team.device),
        "device_name": torch.cuda.get_device_name(team.device) if team.device.type == "cuda" else platform.machine(),
        "precision": usable_precision(recipe.train.precision, team.device),
        "processes": team.size,
        "threads": torch.get_num_threads(),
        "seeds": {"data.seed": recipe.data.seed, "train.seed": recipe.train.seed},
        "git_commit": _git_commit(),
        "working_directory": str(Path.cwd()),
        "command": sys.argv,
    }
    write_atomically(folder / "environment.json", json.dumps(content, indent=2) + "\n")


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The paths of the fields in which two recipes differ, both given as `Recipe.plain`."""
    changed: list[str] = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            changed += changed_fields(old, new, f"{prefix}{name}.")
        elif old != new:
            changed.append(f"{prefix}{name}")
    return changed


def _check_unchanged(path: Path, recipe: Recipe) -> None:
    before = check_recipe(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    changed = [name for name in changed_fields(before.plain(), recipe.plain()) if name not in FREE_TO_CHANGE]
    if changed:
        raise ValueError(
            f"the recipe differs from {path} in {', '.join(changed)}, so the run cannot be resumed; only "
            f"{', '.join(FREE_TO_CHANGE)} may change. Start a new run in another folder."
        )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit checked out in the working directory, "-dirty" behind it where files were changed."""
    if shutil.which("git") is None:
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None
