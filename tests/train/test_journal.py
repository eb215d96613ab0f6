"""metrics.jsonl, progress in a log, and the picture of the curves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from knuckle.train.curves import draw_curves
from knuckle.train.journal import Journal, read_journal


def test_one_line_an_event_and_no_number_that_json_lacks(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with Journal(path) as journal:
        journal.write("step", step=1, loss=0.5)
        journal.write("bad_step", step=2, loss=float("nan"), images=["a.jpg"])
    lines = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]
    assert lines == [
        {"event": "step", "step": 1, "loss": 0.5},
        {"event": "bad_step", "step": 2, "loss": None, "images": ["a.jpg"]},
    ]
    assert read_journal(path, "step") == lines[:1]


def test_lines_of_lost_steps_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with Journal(path) as journal:
        journal.write("step", step=1)
        kept = journal.bytes_written()
        journal.write("step", step=2)
    with Journal(path, keep_bytes=kept) as journal:
        journal.write("step", step=3)
    assert [entry["step"] for entry in read_journal(path, "step")] == [1, 3]


def test_only_the_leader_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Journal(tmp_path / "m.jsonl", writes=False) as journal:
        journal.write("step", step=1)
        journal.say("hello")
        journal.progress(1, 2, "x")
        assert journal.bytes_written() == 0
    assert not (tmp_path / "m.jsonl").exists()
    assert capsys.readouterr().err == ""


def test_a_log_gets_plain_lines_now_and_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Journal(tmp_path / "m.jsonl") as journal:
        for step in range(1, 101):
            now[0] += 1
            journal.progress(step, 100, "epoch 1")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"step {step} of 100: epoch 1" for step in (30, 60, 90)]


def test_a_terminal_gets_a_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with Journal(tmp_path / "m.jsonl") as journal:
        journal.progress(1, 4, "epoch 1")
        journal.say("validated")
    assert "validated" in capsys.readouterr().err


def test_tensorboard_gets_the_numbers(tmp_path: Path) -> None:
    with Journal(tmp_path / "m.jsonl", tensorboard=tmp_path / "board") as journal:
        journal.write("step", step=1, loss=0.5)
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    events = EventAccumulator(str(tmp_path / "board")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("step/loss")] == [(1, 0.5)]


def test_curves_are_drawn_from_any_journal(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with Journal(path) as journal:
        pass
    draw_curves(path, tmp_path / "empty.png")
    with Journal(path) as journal:
        for step in range(120):
            journal.write("step", step=step, loss=float("nan") if step == 5 else 1 / (step + 1), learning_rate=1e-3)
        journal.write("validation", step=120, epoch=1, epe=float("inf"), auc=0.2, pck=0.3)
        journal.write("validation", step=240, epoch=2, epe=4.0, auc=0.5, pck=0.8)
    draw_curves(path, tmp_path / "curves.png")
    sizes = [(tmp_path / name).stat().st_size for name in ("empty.png", "curves.png")]
    assert sizes[1] > sizes[0] > 5000
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
