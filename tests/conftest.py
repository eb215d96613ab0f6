"""What many tests share: the optional folder of real photos beside the repository."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

# Tests run side by side, one a core: several threads each would only wait for one another. Set before PyTorch loads,
# and for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is not a failing test, and the same examples every time blame a failure on the change that caused it.
# `pytest --hypothesis-profile=explore` draws new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("repeatable")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_finish() -> None:
    """What was imported stays until the end: no garbage collection needs to look at those million objects again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # libraries that count their objects at the end would find them left over


@pytest.fixture
def shared_data() -> Path:
    """The folder of real sample photos; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real sample photos are not beside this repository")
    return SHARED_DATA
