"""The rule of storeys, read from the code's own imports: a room imports only from lower storeys.

docs/architecture.md explains the house; this table is the plan. A room may import itself and
everything below it. `knuckle/__init__.py` only names the public doors and fetches them when asked.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "knuckle"

STOREYS = (
    "cli",
    "benchmark",
    "quickstart",
    "serve",
    "label",
    "study",
    "evaluate",
    "train",
    "export",
    "predict",
    "data",
    "render",
    "methods",
    "formats",
    "metrics",
    "draw",
    "hands",
    "geometry",
    "skeleton",
    "devices",
)
"""From the roof down to the ground."""

LIGHT = ("torch", "timm", "torchvision", "safetensors", "scipy", "matplotlib", "jinja2", "pandas", "pyarrow")
"""Packages of the extra `train`: the base install must import these rooms without them."""
BASE_ROOMS = (
    "devices",
    "skeleton",
    "geometry",
    "hands",
    "draw",
    "metrics",
    "formats",
    "predict",
    "label",
    "serve",
    "benchmark",
    "cli",
)
NEED_TORCH = ("predict/torch_engine.py", "predict/inference.py", "predict/regions.py")
"""Files of base rooms that work with PyTorch; nothing else there may import them when it is loaded."""

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """The room of a dotted module name below knuckle."""
    return module.split(".")[1] if "." in module else ""


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, *, top_level_only: bool = False) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported, deferred imports included unless told otherwise."""
    if not top_level_only:
        nodes: Iterator[ast.AST] = ast.walk(tree)
    else:
        assert isinstance(tree, ast.Module)
        nodes = iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports name their module in full"
            yield node.lineno, node.module or ""
            if node.module == "knuckle":
                yield from ((node.lineno, f"knuckle.{alias.name}") for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_rooms_import_only_from_lower_storeys(file: Path) -> None:
    room = room_of(module_name(file))
    if room in ("", "__main__"):
        return
    assert room in STOREYS, f"the room {room} has no storey; give it one here and in docs/architecture.md"
    allowed = {"", *STOREYS[STOREYS.index(room) :]}
    for line, name in imports(ast.parse(file.read_text())):
        if name == "knuckle" or name.startswith("knuckle."):
            other = room_of(name)
            if other not in STOREYS:
                assert name == "knuckle" or other == "__version__", f"{file}:{line} imports the unknown room {other}"
                continue
            assert other in allowed, f"{file}:{line}: {room} may not import {other}, which lies above it"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_base_rooms_import_without_the_training_extra(file: Path) -> None:
    if room_of(module_name(file)) not in BASE_ROOMS or str(file.relative_to(PACKAGE)) in NEED_TORCH:
        return
    heavy = {f"knuckle.{name.removesuffix('.py').replace('/', '.')}" for name in NEED_TORCH}
    for line, name in imports(ast.parse(file.read_text()), top_level_only=True):
        assert name.split(".")[0] not in LIGHT, f"{file}:{line} imports {name} when it is loaded"
        assert name not in heavy, f"{file}:{line} imports {name}, which needs PyTorch, when it is loaded"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_file_says_its_subject(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    assert docstring, f"{file} opens without saying its subject"
    assert docstring.splitlines()[0].endswith((".", ":")), f"{file}: the first line is one sentence"
