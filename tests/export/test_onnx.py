"""Exported files give what PyTorch gives: every method, with and without flip test, any batch, calibrated or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import knuckle
from knuckle.export import export_onnx, verify
from knuckle.geometry import mirror_image, mirror_points
from knuckle.methods import METHODS
from knuckle.methods.weights import save_model
from knuckle.predict.onnx_engine import load_onnx
from knuckle.predict.torch_engine import TorchEngine
from tests.export.models import SIZE, UNTAUGHT, calibration, noise, noise_crops, stored, with_hand_head

SMALL: dict[str, dict[str, Any]] = {
    "heatmap": {"width": 8},
    "integral": {"width": 8},
    "rle": {},
    "cpm": {"stages": 2, "width": 8, "feature_width": 8, "first_width": 8},
    "simcc": {},
    "sequential": {"stages": 2, "width": 8},
    "pyramid": {"width": 8},
}
MORE: list[tuple[str, dict[str, Any]]] = [
    ("heatmap", {"width": 8, "decoder": "dark"}),
    ("pyramid", {"width": 8, "decoder": "dark"}),
    ("rle", {"decoder": "mean", "form": "clean"}),
    ("sequential", {"stages": 2, "width": 8, "loss": "heatmap"}),
]


def test_every_method_is_here() -> None:
    assert set(SMALL) == set(METHODS)


@pytest.mark.parametrize(("method", "options"), [*SMALL.items(), *MORE])
def test_a_file_gives_what_pytorch_gives(tmp_path: Path, method: str, options: dict[str, Any]) -> None:
    has_covariance = method != "simcc"
    model = stored(method, calibration("covariance" if has_covariance else "box"), **options)
    export_onnx(model, tmp_path / "m.onnx")
    loaded = load_onnx(tmp_path / "m.onnx", "cpu")
    assert loaded.rule == model.spec.rule
    assert loaded.calibration == model.calibration
    crops = noise_crops()
    xy = loaded.engine.find(crops.pixels, False).xy_crop
    assert np.isnan(xy[:, UNTAUGHT]).all()
    assert np.nanmax(np.std(xy, axis=0)) > 0.1, "the network must tell the crops apart"
    for found in verify(TorchEngine(model.method), loaded, crops):
        assert found.crops == len(crops.pixels)
        assert found.largest < 0.005
        assert (found.covariance is not None) == has_covariance
        assert found.covariance is None or found.covariance < 1e-3
        assert found.confidence is not None
        assert found.confidence < 2e-3  # float32 beside float64, and knots 0.01 apart


def test_a_run_time_without_knuckle_need_give_the_crops_alone(tmp_path: Path) -> None:
    export_onnx(stored("integral", calibration("covariance"), width=8), tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    crops = noise_crops(3).pixels
    alone = session.run(None, {"crops": crops})
    padding = 1.3
    given = session.run(
        None, {"crops": crops, "flip_test": np.array(False), "box_side": np.array(SIZE / padding, dtype=np.float32)}
    )
    assert [output.name for output in session.get_outputs()] == [
        "xy_crop",
        "covariance_crop",
        "calibrated_covariance_crop",
        "confidence",
    ]
    for one, other in zip(alone, given, strict=True):
        np.testing.assert_array_equal(one, other)
    larger = session.run(None, {"crops": crops, "box_side": np.array(10 * SIZE, dtype=np.float32)})
    known = ~np.isnan(alone[3])
    assert (larger[3][known] >= alone[3][known]).all()
    assert (larger[3][known] > alone[3][known]).any()


@pytest.mark.parametrize("flip_test", [False, True])
def test_load_gives_the_same_hands_of_the_file_as_of_the_weights(tmp_path: Path, flip_test: bool) -> None:
    model = stored("rle", calibration("covariance"))
    save_model(tmp_path / "m.safetensors", model.method, model.spec, {}, model.calibration)
    export_onnx(model, tmp_path / "m.onnx")
    rng = np.random.default_rng(1)
    photos = [rng.integers(0, 256, (90, 120, 3), dtype=np.uint8) for _ in range(3)]
    boxes = [[[10, 20, 70, 80], [30, 5, 110, 60]], [], [[5, 5, 90, 70]]]
    ours, theirs = (
        knuckle.load(tmp_path / name, flip_test=flip_test, device="cpu", batch_size=2).predict(photos, boxes)
        for name in ("m.safetensors", "m.onnx")
    )
    np.testing.assert_allclose(theirs.xy, ours.xy, atol=1e-3)
    np.testing.assert_array_equal(theirs.visibility, ours.visibility)
    assert theirs.covariance is not None
    assert ours.covariance is not None
    np.testing.assert_allclose(theirs.covariance, ours.covariance, rtol=1e-3, atol=1e-3)
    assert theirs.confidence is not None
    assert ours.confidence is not None
    np.testing.assert_allclose(theirs.confidence, ours.confidence, atol=1e-4)


@pytest.mark.parametrize(("method", "options"), SMALL.items())
def test_with_the_flip_test_a_mirrored_photo_gives_mirrored_keypoints(
    tmp_path: Path, method: str, options: dict[str, Any]
) -> None:
    """0.5 px at 224 px is asked for; without rounding it is exact."""
    model = stored(method, size=128, **options)
    save_model(tmp_path / "m.safetensors", model.method, model.spec, {})
    export_onnx(model, tmp_path / "m.onnx")
    photo = noise(1, 224)[0]
    for name in ("m.safetensors", "m.onnx"):
        predictor = knuckle.load(tmp_path / name, flip_test=True, device="cpu")
        straight, mirrored = (predictor.predict(image, "full").xy[0] for image in (photo, mirror_image(photo)))
        np.testing.assert_allclose(mirror_points(mirrored, 224), straight, atol=0.5)
    once = knuckle.load(tmp_path / "m.onnx", device="cpu")
    straight, mirrored = (once.predict(image, "full").xy[0] for image in (photo, mirror_image(photo)))
    assert np.nanmax(np.abs(mirror_points(mirrored, 224) - straight)) > 0.5, "an untrained network knows no mirror"


def test_a_wrong_name_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.onnx"):
        export_onnx(stored("rle"), tmp_path / "m.bin")


@pytest.mark.parametrize("method", SMALL)
def test_a_hand_head_says_the_same_in_both(tmp_path: Path, method: str) -> None:
    model = with_hand_head(stored(method, **SMALL[method]))
    export_onnx(model, tmp_path / "m.onnx")
    loaded, engine, crops = load_onnx(tmp_path / "m.onnx", "cpu"), TorchEngine(model.method), noise_crops()
    for found in verify(engine, loaded, crops):
        assert found.probability is not None
        assert found.probability < 1e-4
    for flip_test in (False, True):
        points = engine.find(crops.pixels, flip_test)
        mirrored = loaded.engine.find(np.ascontiguousarray(crops.pixels[:, :, ::-1]), flip_test)
        assert points.score is not None
        assert points.left is not None
        assert mirrored.score is not None
        assert mirrored.left is not None
        assert np.ptp(points.score) > 0.05, "the head must tell the crops apart"
        assert bool(np.abs(points.left - (1 - mirrored.left)).max() < 1e-4) == flip_test
        assert bool(np.abs(points.score - mirrored.score).max() < 1e-4) == flip_test


def test_a_model_without_a_hand_head_has_no_such_outputs(tmp_path: Path) -> None:
    model = stored("heatmap", width=8)
    export_onnx(model, tmp_path / "m.onnx")
    loaded = load_onnx(tmp_path / "m.onnx", "cpu")
    assert set(loaded.engine.outputs(noise(2), False)) == {"xy_crop", "covariance_crop"}
    points = loaded.engine.find(noise(2), True)
    assert (points.score, points.left) == (None, None)
    engine = TorchEngine(model.method)
    assert verify(engine, loaded, noise_crops())[0].probability is None
    assert verify(TorchEngine(with_hand_head(model).method), loaded, noise_crops())[0].probability == np.inf
