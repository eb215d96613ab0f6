"""Models and files of predictions become rows that can be compared; unusable images leave both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from knuckle.evaluate import evaluate, holds_predictions, predictions_from_file, predictions_of_model
from knuckle.formats import write
from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.predict import Predictor
from tests.predict.centroid import Centroid, light_at, save_rgb

LIGHTS = ((61.0, 44.0), (80.0, 70.0), (100.0, 52.0))


def lights_on_disk(folder: Path) -> Hands:
    """Photos of one light each; every keypoint of the truth lies on it."""
    folder.mkdir(parents=True, exist_ok=True)
    for row, light in enumerate(LIGHTS):
        save_rgb(str(folder / f"{row}.png"), light_at(light))
    xy = np.tile(np.array(LIGHTS)[:, None], (1, 21, 1))
    box = np.array([(x - 25, y - 25, x + 30, y + 30) for x, y in LIGHTS])
    return Hands(
        image=[f"{row}.png" for row in range(3)],
        xy=xy,
        visibility=np.full((3, 21), 2),
        box=box,
        size=np.tile((160, 120), (3, 1)),
        root=folder,
    )


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model that finds lights."""

    def load(name: str, *, flip_test: bool = False, device: str | None = None) -> Predictor:
        assert name == "lights"
        return Predictor(Centroid(64), CropRule(size=64), flip_test=flip_test, device=device or "cpu")

    monkeypatch.setattr("knuckle.predict.load", load)
    return "lights"


@pytest.mark.parametrize("boxes", ["box", "full"])
@pytest.mark.parametrize("flip_test", [False, True])
def test_a_model_is_run_where_the_truth_says(tmp_path: Path, model: str, boxes: str, flip_test: bool) -> None:
    true = lights_on_disk(tmp_path)
    done: list[int] = []
    compared = predictions_of_model(
        model,
        true,
        boxes=boxes,  # type: ignore[arg-type]  # parametrized
        flip_test=flip_test,
        progress=done.append,
    )
    assert compared.skipped == []
    assert done[-1] == 3
    assert compared.true == true
    report = evaluate(compared.pred, compared.true)
    assert report.epe < 0.3
    assert report.pck_box_20 == 1


def test_an_unreadable_image_is_skipped_on_both_sides_or_stops(tmp_path: Path, model: str) -> None:
    true = lights_on_disk(tmp_path)
    (tmp_path / "1.png").write_bytes(b"no image")
    compared = predictions_of_model(model, true, on_bad="skip")
    assert compared.true.image.tolist() == compared.pred.image.tolist() == ["0.png", "2.png"]
    (sentence,) = compared.skipped
    assert "1.png" in sentence
    assert evaluate(compared.pred, compared.true).missing == 0
    with pytest.raises(ValueError, match=r"1\.png"):
        predictions_of_model(model, true)


def test_a_model_without_finite_answers_is_broken_not_skipped(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = lights_on_disk(tmp_path)
    save_rgb(str(tmp_path / "1.png"), np.zeros((120, 160, 3), dtype=np.uint8))  # no light: 0 / 0
    with pytest.raises(ValueError, match="lights gives no finite positions"):
        predictions_of_model(model, true, on_bad="skip")


@pytest.mark.parametrize("name", ["found.json", "found.csv"])
def test_a_file_of_predictions_is_matched_to_the_truth(tmp_path: Path, name: str) -> None:
    true = lights_on_disk(tmp_path)
    moved = true.replace(xy=true.xy + np.array((3, 4)))
    write(moved[[2, 0]], tmp_path / name, format="auto")
    compared = predictions_from_file(tmp_path / name, true)
    report = evaluate(compared.pred, compared.true)
    assert report.epe_found == pytest.approx(5, abs=1e-3)
    assert report.missing == 21
    assert compared.notes == ["Hands without a prediction, which count as missing: 1."]


def test_what_is_a_model_and_what_holds_predictions(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "best.safetensors").touch()
    labels = tmp_path / "labels"
    labels.mkdir()
    for name in ("found.json", "found.csv", "model.safetensors", "res50.pth"):
        (tmp_path / name).touch()
    assert [holds_predictions(tmp_path / name) for name in ("found.json", "found.csv", "labels")] == [True] * 3
    models = ("run", "model.safetensors", "res50.pth", "missing.json", "light")
    assert [holds_predictions(tmp_path / name) for name in models] == [False] * 5
