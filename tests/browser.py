"""Where the browser is that opens pages in tests."""

from __future__ import annotations

import os
import shutil

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str:
    """The path of Chromium; the test is skipped where there is none, and fails in CI."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium is installed; .ci/run installs it where it can.")
        pytest.skip("no Chromium is installed.")
    return found
