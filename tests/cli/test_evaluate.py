"""`knuckle evaluate` prints its tables, writes its folder and counts what it skipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from knuckle.cli.evaluate import evaluate
from knuckle.formats import write
from knuckle.hands import Hands

app = typer.Typer()
app.command()(evaluate)


def files(folder: Path) -> tuple[Path, Path]:
    """A truth of two groups and predictions that are 3 px off; one joint is not labelled, one not predicted."""
    rng = np.random.default_rng(0)
    visibility = np.full((6, 21), 2)
    visibility[:, 2] = 0
    visibility[0, 3] = 1
    true = Hands(
        image=[f"{row}.png" for row in range(6)],
        xy=rng.uniform(20, 200, (6, 21, 2)),
        visibility=visibility,
        size=np.tile((224, 224), (6, 1)),
        group=[1, 1, 1, 5, 5, 5],
        gesture=[0, 0, 0, 6, 6, 6],
    )
    found = np.full((6, 21), 2)
    found[5, 20] = 0
    pred = true.replace(xy=np.nan_to_num(true.xy) + np.array((3, 0)), visibility=found)
    write(true, folder / "true.json")
    write(pred, folder / "pred.json")
    return folder / "pred.json", folder / "true.json"


def run(*arguments: object) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def cells(table: str, first: str) -> list[str]:
    """The cells of the line that starts with that text."""
    (line,) = (line for line in table.splitlines() if line.startswith(first))
    return line.removeprefix(first).split()


def test_tables_go_to_stdout_and_files_to_the_folder(tmp_path: Path) -> None:
    pred, true = files(tmp_path)
    stdout, stderr = run(pred, true, "--out", tmp_path / "report")
    assert stdout.startswith("6 hands, 6 images, 2 groups, 120 keypoints, 1 without a prediction")
    assert cells(stdout, "EPE [px]") == ["inf", "needs", "20", "groups"]
    assert cells(stdout, "EPE of the keypoints found [px]")[0] == "3.000"
    assert cells(stdout, "PCK@0.2 (box)")[0] == f"{(19 + 5 / 6) / 20:.4f}"
    assert cells(stdout, "PCK@0.2 (image)")[0] == f"{(19 + 5 / 6) / 20:.4f}"
    assert cells(stdout, "little_tip")[:3] == ["6", "6", "1"]
    assert "thumb_mcp" not in stdout
    assert cells(stdout, "fist")[:3] == ["3", "60", "1"]
    assert cells(stdout, "occluded")[:2] == ["1", "1"]
    assert stdout.index("\n5 ") < stdout.index("\n1 ")  # the worse group comes first
    assert "No gallery was drawn" in stderr
    assert f"Wrote {tmp_path / 'report'}" in stderr
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["epe_found"] == pytest.approx(3, abs=1e-3)


def test_nothing_is_written_unless_asked(tmp_path: Path) -> None:
    pred, true = files(tmp_path)
    before = sorted(tmp_path.iterdir())
    _, stderr = run(pred, true)
    assert sorted(tmp_path.iterdir()) == before
    assert stderr == ""


def test_bad_records_stop_or_are_skipped_and_listed(tmp_path: Path) -> None:
    pred, true = files(tmp_path)
    content = json.loads(true.read_text())
    content["annotations"][4]["keypoints"] = [1, 2, 3]
    true.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"true\.json"):
        run(pred, true)
    stdout, stderr = run(pred, true, "--on-bad", "skip")
    assert stdout.startswith("5 hands")
    assert "Skipped samples, which are not in these numbers: 1\n" in stderr
    assert "true.json" in stderr
    assert "the truth does not list their image: 1." in stderr


def test_a_data_set_without_hands_is_refused(tmp_path: Path) -> None:
    pred, _ = files(tmp_path)
    write(Hands.empty(), tmp_path / "empty.json")
    with pytest.raises(ValueError, match="holds no hands to compare with"):
        run(pred, tmp_path / "empty.json")
