"""`knuckle inspect` prints counts, calls out a wrong order, and writes its files and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from examples.drawn_hands import draw_dataset
from knuckle.cli.inspect import inspect
from knuckle.formats import read, write
from knuckle.skeleton import FROM_RHD

app = typer.Typer()
app.command()(inspect)
PICTURES = {"inspect.json", "suspicions.csv", "sheet.png"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawn")
    draw_dataset(path, 16, seed=2, size=64)
    hands = read(path / "annotations.json")
    write(hands.replace(xy=hands.xy[:, FROM_RHD], visibility=hands.visibility[:, FROM_RHD]), path / "rhd_order.json")
    xy = hands.xy.copy()
    xy[3, 8] = (200, 10)
    write(hands.replace(xy=xy), path / "one_fault.json")
    return path


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return " ".join(result.output.split())


def test_counts_are_printed(folder: Path) -> None:
    shown = run(folder / "annotations.json")
    assert "16 hands on 16 images in 2 groups" in shown
    assert "image size 64 x 64 16" in shown
    assert "WRONG JOINT ORDER" not in shown


def test_a_wrong_order_is_called_out(folder: Path, tmp_path: Path) -> None:
    shown = run(folder / "rhd_order.json", "--out", tmp_path)
    assert "WRONG JOINT ORDER: the joints look like RHD order" in shown
    assert "RHD order" in json.loads((tmp_path / "inspect.json").read_text())["notes"][0]


def test_a_page_of_proposed_gestures(folder: Path, tmp_path: Path) -> None:
    hands = read(folder / "annotations.json")
    write(hands.replace(gesture=[-1] * len(hands)), tmp_path / "annotations.json")
    run(tmp_path / "annotations.json", "--out", tmp_path, "--gestures", "3")
    assert "Gestures of annotations.json" in (tmp_path / "gestures.html").read_text()
    with pytest.raises(ValueError, match="--gestures writes a page; name its folder with --out"):
        run(folder / "annotations.json", "--gestures", "3")


def test_a_fault_is_printed_first_and_drawn(folder: Path, tmp_path: Path) -> None:
    shown = run(folder / "one_fault.json", "--out", tmp_path, "--sheet", "side=right", "--count", "3")
    why = shown[shown.index(" why ") :]
    assert why.index("000003.jpg") < why.index("Wrote")
    assert "index_tip by" in shown
    assert {path.name for path in tmp_path.iterdir()} == PICTURES | {"suspicious.png"}


def test_without_out_nothing_is_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(folder / "annotations.json", "--images", "0")
    assert list(tmp_path.iterdir()) == []


def test_a_selection_that_does_not_exist_is_refused(folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(folder / "annotations.json"), "--out", str(tmp_path), "--sheet", "best"])
    assert isinstance(result.exception, ValueError)
    assert "choose random, worst, all" in str(result.exception)


def test_real_photos_are_inspected(shared_data: Path, tmp_path: Path) -> None:
    shown = run(shared_data / "photos", "--out", tmp_path, "--count", "2", "--images", "4")
    assert "240 hands on 120 images in 6 groups" in shown
    assert "thumb_cmc 0 0 240" in shown
    assert (tmp_path / "sheet.png").is_file()


def test_a_source_without_a_usable_hand_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(ValueError, match=r"odd\.json holds no usable hand"):
        run(tmp_path / "odd.json")


def test_images_without_a_hand_are_counted(folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "annotations.json").read_text())
    content["images"].append({"id": 99, "file_name": "images/empty.png", "width": 64, "height": 64})
    (tmp_path / "more.json").write_text(json.dumps(content))
    assert "1 image without a hand: hands alone have rows." in run(tmp_path / "more.json")
