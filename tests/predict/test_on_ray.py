"""Runs `ray_cases.py` in a process of its own.

A process that was a Ray driver keeps what Ray's libraries left in it, and twice one died at its next `fork`, in a test
that has nothing to do with Ray.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("ray_cases.py")


@pytest.mark.timeout(900)  # of all cases together; each has its own
def test_photos_on_a_local_cluster() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", str(CASES)],
        cwd=CASES.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert "5 passed" in done.stdout
