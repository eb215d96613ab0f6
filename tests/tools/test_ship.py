"""The tool that makes the package's models: both files and a card, or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import knuckle
from knuckle.methods.weights import save_model
from knuckle.predict import shipped
from tests.export.models import calibration, noise_crops, stored
from tools import ship as shipping
from tools.model_card import Card, write_card


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder as training leaves it."""
    folder = tmp_path / "run"
    model = stored("rle", calibration("covariance"))
    save_model(folder / "best.safetensors", model.method, model.spec, {"epoch": 3}, model.calibration)
    (folder / "recipe.yaml").write_text("data:\n  path: /home/me/hands/annotations.json\ntrain:\n  epochs: 8\n")
    command = ["/home/me/knuckle", "train", "/home/me/recipes/light.yaml", "--set", "a=b", "--out", "/home/me/x"]
    (folder / "environment.json").write_text(json.dumps({"command": command}))
    counts = {"hands": 48000, "images": 48000, "groups": 470, "labeled_keypoints": 998579, "sha256": "0"}
    (folder / "data.json").write_text(json.dumps({"parts": {"train": counts, "test": dict.fromkeys(counts, 0)}}))
    return folder


def card_of(run: Path, assets: Path, path: Path, metrics: dict[str, str]) -> str:
    model, moved, found = shipping.ship(run, "light", assets, noise_crops())
    files = [assets / "light.onnx", assets / "light.safetensors"]
    write_card(path, Card("light", run, files, model, moved._asdict(), found, "noise", metrics))
    return path.read_text()


def test_the_files_load_by_name_and_agree(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, moved, found = shipping.ship(run, "light", tmp_path / "assets", noise_crops())
    assert 0 < moved.median <= moved.percentile_99 <= moved.largest < 5
    assert [part.flip_test for part in found] == [False, True]
    monkeypatch.setattr(shipped, "ASSETS", tmp_path / "assets")
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    one, other = (knuckle.load("light", engine=name, device="cpu") for name in ("onnxruntime", "torch"))
    np.testing.assert_allclose(one.predict(photo, "full").xy, other.predict(photo, "full").xy, atol=0.01)


def test_a_model_that_is_too_large_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "MOST_BYTES", {"light": 1000})
    with pytest.raises(ValueError, match=r"light\.safetensors has [0-9,]+ bytes, and light may have 1,000"):
        shipping.ship(run, "light", tmp_path / "assets", noise_crops())
    assert not (tmp_path / "assets").exists()


def test_the_card_tells_what_the_files_say_and_keeps_what_was_written_by_hand(run: Path, tmp_path: Path) -> None:
    report = {
        "hands": 200,
        "groups": 6,
        **dict.fromkeys(("epe", "nme", "pck_box_20", "pck_box_10", "pck_box_05"), 0.0321),
        "intervals": {"confidence": 0.95, "epe": [1.5, 2.5], "nme": [None, None]},
        "breakdown": {
            "gestures": [{"name": "fist", "hands": 20, "keypoints": 300, "missing": 0, "nme_found": 0.0777, "pck": 0.9}]
        },
    }
    (tmp_path / "metrics.json").write_text(json.dumps(report))
    path = tmp_path / "cards" / "light.md"
    text = card_of(run, tmp_path / "assets", path, {"own photos": str(tmp_path / "metrics.json")})
    for expected in (
        "knuckle train recipes/light.yaml --set a=b --out runs/light",
        "| train | 48,000 | 48,000 | 470 | 998,579 |",
        "path: hands/annotations.json",
        "| own photos | 200 | 6 | 0.0321 (1.5 to 2.5) | 0.0321 (-) | 0.0321 |",
        "| fist | 20 | 300 | 0 | 0.0777 | 0.9 |",
        "To be written: what it gets wrong",
    ):
        assert expected in text
    assert "/home/me" not in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    assert "| test |" not in text, "an empty part says nothing"
    path.write_text(text.replace("To be written: what it gets wrong", "It takes feet for hands"))
    again = card_of(run, tmp_path / "assets", path, {})
    assert "It takes feet for hands" in again
    assert "own photos" not in again
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(ValueError, match=r"metrics\.json is no metrics\.json of knuckle evaluate"):
        card_of(run, tmp_path / "assets", path, {"x": str(tmp_path / "metrics.json")})
