"""Printing: aligned tables on stdout, sentences on stderr, progress as lines in a log and a bar on a terminal."""

from __future__ import annotations

import sys

import pytest

from knuckle.cli import console


def test_a_table_is_aligned_and_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table(("joint", "error", "note"), [("wrist", 1.23456, ""), ("tip", 12, "worst")], title="Errors")
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "Errors",
        "joint  error  note",
        "-----  -----  -----",
        "wrist  1.235",
        "tip       12  worst",
    ]
    assert shown.err == ""


def test_a_table_without_rows_shows_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table(("a", "b"), [])
    assert capsys.readouterr().out.splitlines() == ["a  b", "-  -"]


def test_a_sentence_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("Done.")
    assert capsys.readouterr() == ("", "Done.\n")


def test_progress_in_a_log_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 1.0, 11.0, 12.0, 30.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with console.progress(2000, "photos") as update:
        for done in (1, 1500, 1600, 2000):
            update(done)
    assert capsys.readouterr() == ("", "1,500 of 2,000 photos\n2,000 of 2,000 photos\n")


def test_progress_without_a_total(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    with console.progress(None, "photos") as update:
        update(7)
    assert capsys.readouterr().err == "7 photos\n"


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with console.progress(10, "photos") as update:
        update(5)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "photos" in shown.err
