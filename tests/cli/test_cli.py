"""The command line as a whole: quick help, exit codes, and one sentence for every wrong invocation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

import knuckle
from knuckle import cli

VERBS = ("convert", "inspect", "train", "evaluate", "predict", "doctor")


def run_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy() -> None:
    script = """
import sys
from knuckle.cli import main
code = main(["--help"])
print(code, *sorted({"torch", "cv2", "numpy", "timm", "pandas", "onnxruntime"} & set(sys.modules)), file=sys.stderr)
"""
    done = run_process("-c", script)
    assert done.stderr.split() == ["0"]
    for verb in VERBS:
        assert verb in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="no processor times of children")
def test_help_answers_in_half_a_second() -> None:
    """Processor time of the whole process, the best of three: the clock would measure a busy machine, too.

    On a core so slow that Typer and Rich alone take more than a third of a second to import, half as much again.
    """
    import resource

    def seconds(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run_process(*arguments).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    answers, imports = (
        min(seconds(*arguments) for _ in range(3))
        for arguments in (("-m", "knuckle", "--help"), ("-c", "import typer.main, rich.console"))
    )
    assert answers < max(0.5, 1.5 * imports)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Example: knuckle {verb}" in " ".join(shown.split())


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert "predict" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"knuckle {knuckle.__version__}\n"


PREDICT = ["predict", "photos", "--model", "none", "--boxes", "full"]

WRONG: list[tuple[str, list[str], int, str]] = [
    ("unknown verb", ["guess"], 2, "No such command 'guess'"),
    ("unknown flag", ["--fast"], 2, "--fast"),
    ("unknown option", [*PREDICT, "--sped", "2"], 2, "--sped"),
    ("missing option", ["export", "m.onnx"], 2, "--out"),
    ("missing argument", ["convert"], 2, "source"),
    ("not a number", [*PREDICT, "--batch", "many"], 2, "--batch"),
    ("too small a number", [*PREDICT, "--batch", "0"], 2, "--batch"),
    ("not a choice", [*PREDICT, "--on-bad", "cry"], 2, "--on-bad"),
    ("option without value", [*PREDICT, "--out"], 2, "--out"),
    ("nothing to write", ["predict", "a.mp4"], 2, "give --out FILE"),
    ("resume without a file", [*PREDICT, "--draw", "d", "--resume"], 2, "give --out"),
    ("no such photos", [*PREDICT, "--out", "x.csv"], 2, "no file or folder photos"),
    ("unknown suffix", [*PREDICT, "--out", "x.xlsx"], 2, "x.xlsx"),
    ("suffix of another format", [*PREDICT, "--out", "x.csv", "--format", "coco"], 2, "must end in .json"),
    ("no such data", ["convert", "nowhere.json", "x.csv"], 2, "nowhere.json"),
    ("no such data to inspect", ["inspect", "nowhere"], 2, "nowhere"),
    ("no such recipe", ["train", "nowhere.yaml", "--out", "r"], 2, "nowhere.yaml"),
    ("no such model and data", ["evaluate", "nowhere", "nothing"], 2, "nothing"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_invocation_gets_a_code_and_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.startswith("Error: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


def app_that_raises(error: BaseException) -> typer.Typer:
    app = typer.Typer()
    app.callback()(cli._before_the_verb)

    @app.command()
    def verb() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ValueError("two\nfaults,  one a line."), 2, "Error: two\nfaults, one a line.\n"),
        (RuntimeError("boom"), 1, "Error: RuntimeError: boom (knuckle --debug VERB ... shows where).\n"),
        (OSError(28, "No space left on device", "x.csv"), 1, "Error: x.csv: No space left on device.\n"),
        (ImportError("this needs y: pip install z."), 1, "Error: this needs y: pip install z.\n"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            1,
            "Error: this needs torch, which is not installed: pip install 'knuckle[train]'.\n",
        ),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)
def test_errors_become_one_sentence_and_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, sentence: str
) -> None:
    monkeypatch.setattr(cli, "app", app_that_raises(error))
    assert cli.main(["verb"]) == code
    assert capsys.readouterr().err == sentence


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "app", app_that_raises(ValueError("wrong.")))
    assert cli.main(["--debug", "verb"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("Error: wrong.\n")
