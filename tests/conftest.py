"""What many tests share: the optional folder of real photos beside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is not a failing test.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The folder of real sample photos; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real sample photos are not beside this repository")
    return SHARED_DATA
