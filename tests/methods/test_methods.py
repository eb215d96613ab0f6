"""The room as a whole: what it costs to import, and what it says without PyTorch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from knuckle.methods import METHODS

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "methods.md"


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_methods_are_known_by_their_own_names() -> None:
    for name, method in METHODS.items():
        assert getattr(method, "name", None) == name


@pytest.mark.parametrize("name", METHODS)
def test_the_documented_parameters(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` .*$", DOCUMENTATION.read_text(), re.MULTILINE)
    method = METHODS[name](backbone="resnet50", size=256)
    assert f"| {sum(parameter.numel() for parameter in method.parameters()):,} |" in row


def test_importing_methods_leaves_timm_and_opencv_alone() -> None:
    done = run("import sys, knuckle.methods; print([m for m in ('timm', 'torchvision', 'cv2') if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_without_torch_one_sentence_names_the_extra() -> None:
    done = run("import sys; sys.modules['torch'] = None\nimport knuckle.methods")
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: keypoint networks need PyTorch: pip install 'knuckle[train]'."
    )
