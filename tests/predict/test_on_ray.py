"""Runs `ray_cases.py` in a process of its own.

A process that was a Ray driver keeps what Ray's libraries left in it, threads and handlers of signals among them, and
hundreds of other tests come after these.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Never

import pytest

from knuckle.predict import on_ray
from tests.predict.test_files import predictor

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


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (
            "local",
            r"Ray could not be started on this machine \(.* during startup\. It .* overloaded\); try again when it",
        ),
        ("auto", r"no Ray cluster answers at 'auto' \(.* overloaded\); start one, or give --ray local\.$"),
    ],
)
def test_a_node_that_does_not_start_in_time_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, address: str, sentence: str
) -> None:
    def init(**_: Any) -> Never:
        raise Exception("The current node timed out during startup. It\nmay be overloaded.")  # this type, as in Ray

    fake = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setattr(on_ray, "_ray", lambda _: fake)
    with pytest.raises(ValueError, match=sentence) as refusal:
        on_ray.predict_files_on_ray(predictor, [], None, on_ray.Cluster(address))
    assert "\n" not in str(refusal.value)
