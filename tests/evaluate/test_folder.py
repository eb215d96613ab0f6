"""The folder of a report holds what the docs promise, and says what it could not hold."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from knuckle.evaluate import evaluate, write_report
from knuckle.evaluate.figures import worst_hands, write_gallery, write_uncertainty_curves
from knuckle.evaluate.folder import hand_errors
from knuckle.formats import read
from knuckle.hands import Hands
from knuckle.metrics.calibration import measure

TABLES = ("per_joint", "per_finger", "per_side", "per_gesture", "per_visibility", "per_group")


def hands_on_disk(folder: Path, *, images: bool = True) -> tuple[Hands, Hands]:
    """Five hands on grey images; the errors grow with the row, and row 4 has no prediction."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    names = [f"{row}.png" for row in range(5)]
    for name in names if images else []:
        cv2.imwrite(str(folder / name), np.full((96, 128, 3), 90, dtype=np.uint8))
    visibility = np.full((5, 21), 2)
    visibility[:, 7] = 0
    true = Hands(
        image=names,
        xy=rng.uniform(30, 90, (5, 21, 2)),
        visibility=visibility,
        size=np.tile((128, 96), (5, 1)),
        side=[1, 0, 1, -1, 1],
        gesture=[6, 6, 2, -1, 0],
        root=folder,
    )
    moved = np.nan_to_num(true.xy, nan=50.0)
    moved[..., 0] += np.arange(5)[:, None]
    found = np.full((5, 21), 2)
    found[4] = 0
    return true.replace(xy=moved, visibility=found), true


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def shape_hw(path: Path) -> tuple[int, int]:
    image = cv2.imread(str(path))
    assert image is not None
    return image.shape[0], image.shape[1]


def test_the_folder_holds_numbers_tables_predictions_and_pictures(tmp_path: Path) -> None:
    pred, true = hands_on_disk(tmp_path / "photos")
    out = tmp_path / "deep" / "report"
    report = evaluate(pred, true, skipped=["x.png is cut off."])
    assert write_report(report, pred, true, out) == []
    assert json.loads((out / "metrics.json").read_text()) == json.loads(report.to_json())
    assert (out / "skipped.txt").read_text() == "x.png is cut off.\n"
    for name in TABLES:
        assert rows_of(out / f"{name}.csv")
    assert [row["name"] for row in rows_of(out / "per_side.csv")] == ["unknown", "left", "right"]
    assert float(rows_of(out / "per_joint.csv")[0]["epe_found"]) == pytest.approx(1.5)
    written = read(out / "predictions.json")
    assert np.array_equal(written.visibility, pred.visibility)
    np.testing.assert_allclose(written.xy, pred.xy, atol=1e-3)
    assert (out / "pck_curve.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")
    assert shape_hw(out / "pck_curve.png")[1] > 1000


def test_each_hands_error_is_listed(tmp_path: Path) -> None:
    pred, true = hands_on_disk(tmp_path)
    rows = hand_errors(pred, true)
    assert [row["image"] for row in rows] == true.image.tolist()
    assert [row["mean_error"] for row in rows] == pytest.approx([0, 1, 2, 3, np.inf], abs=1e-5)
    assert [row["side"] for row in rows] == ["right", "left", "right", "unknown", "right"]
    assert [row["gesture"] for row in rows] == ["fist", "fist", "two_victory", "unlabeled", "open_palm"]
    assert [row["missing"] for row in rows] == [0, 0, 0, 0, 20]


def test_the_gallery_shows_the_worst_hands_first(tmp_path: Path) -> None:
    pred, true = hands_on_disk(tmp_path)
    rows, nme, error = worst_hands(pred, true, 3)
    assert rows.tolist() == [3, 2, 1]
    assert error.tolist() == pytest.approx([3, 2, 1], abs=1e-5)
    side = (true.box[:, 2:] - true.box[:, :2]).max(axis=1)
    assert nme.tolist() == pytest.approx((np.array([3, 2, 1]) / side[[3, 2, 1]]).tolist(), abs=1e-6)
    assert write_gallery(pred, true, tmp_path / "gallery.png") == []
    height, width = shape_hw(tmp_path / "gallery.png")
    tile, gap = 224, 10  # four hands with a prediction, two tiles each, in two rows of six
    assert width == 6 * tile + 7 * gap
    assert height > 2 * tile


def test_missing_images_leave_a_note_and_the_rest(tmp_path: Path) -> None:
    pred, true = hands_on_disk(tmp_path / "photos", images=False)
    notes = write_report(evaluate(pred, true), pred, true, tmp_path / "report")
    assert len(notes) == 1
    assert "No gallery was drawn" in notes[0]
    assert "3.png" in notes[0]
    assert not (tmp_path / "report" / "gallery.png").exists()
    assert (tmp_path / "report" / "pck_curve.png").exists()


def test_some_missing_images_are_named(tmp_path: Path) -> None:
    pred, true = hands_on_disk(tmp_path / "photos")
    (tmp_path / "photos" / "3.png").unlink()
    (note,) = write_gallery(pred, true, tmp_path / "gallery.png")
    assert note.startswith("Worst hands that the gallery could not show: 1.")
    assert (tmp_path / "gallery.png").exists()


def test_without_matplotlib_the_curve_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    pred, true = hands_on_disk(tmp_path / "photos")
    (note,) = write_report(evaluate(pred, true), pred, true, tmp_path / "report")
    assert "pip install 'knuckle[train]'" in note
    assert (tmp_path / "report" / "gallery.png").exists()


def test_nothing_labelled_makes_no_picture(tmp_path: Path) -> None:
    pred, true = hands_on_disk(tmp_path / "photos")
    blank = true.replace(visibility=np.zeros((5, 21)))
    notes = write_report(evaluate(pred, blank), pred, blank, tmp_path / "report")
    assert [note.split(",")[0].split(" was")[0] for note in notes] == ["No PCK curve", "No gallery"]
    assert rows_of(tmp_path / "report" / "errors.csv") == []


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    pred, true = hands_on_disk(tmp_path / "photos")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        write_report(evaluate(pred, true), pred, true, tmp_path / "file" / "report")


def test_uncertainty_is_drawn_where_there_is_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pred, true = hands_on_disk(tmp_path / "photos")
    write_report(evaluate(pred, true), pred, true, tmp_path / "without")
    assert not (tmp_path / "without" / "uncertainty.png").exists()
    stated = pred.replace(covariance=np.tile(np.eye(2), (5, 21, 1, 1)), confidence=np.full((5, 21), 0.7))
    notes = write_report(evaluate(stated, true), stated, true, tmp_path / "with")
    height, width = shape_hw(tmp_path / "with" / "uncertainty.png")
    assert width > 2 * height
    assert not [note for note in notes if "uncertainty was drawn" in note]
    half = stated.replace(covariance=None)
    write_report(evaluate(half, true), half, true, tmp_path / "half")
    height, width = shape_hw(tmp_path / "half" / "uncertainty.png")
    assert height < width < 2 * height
    nothing = stated.replace(visibility=np.zeros((5, 21)))
    notes = write_report(evaluate(nothing, true), nothing, true, tmp_path / "nothing")
    assert any("No uncertainty was drawn" in note for note in notes)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert any("pip install" in note for note in write_uncertainty_curves(measure(stated, true), tmp_path))
