"""Verification finds what differs, and an export that differs leaves no file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from jaxtyping import UInt8

from knuckle.export import Crops, export_onnx, export_verified, labelled_crops, verify
from knuckle.hands import Hands
from knuckle.predict.engine import Engine
from knuckle.predict.onnx_engine import load_onnx
from knuckle.predict.points import CropPoints
from knuckle.predict.torch_engine import TorchEngine
from tests.export.models import calibration, noise_crops, stored
from tests.predict.centroid import light_at, save_rgb


class Off(Engine):
    """Another engine's answers, of which one keypoint of one crop lies elsewhere in one coordinate."""

    def __init__(self, engine: Engine, crops: Crops, by: float) -> None:
        self.engine = engine
        self.marked = crops.pixels[4]
        self.by = by

    def find(self, crops: UInt8[np.ndarray, "B S S 3"], flip_test: bool) -> CropPoints:
        points = self.engine.find(crops, flip_test)
        xy_crop = points.xy_crop.copy()
        xy_crop[(crops == self.marked).all(axis=(1, 2, 3)), 3, 1] += self.by
        return points._replace(xy_crop=xy_crop)


def test_one_keypoint_that_differs_is_seen(tmp_path: Path) -> None:
    model, crops = stored("rle", calibration("covariance")), noise_crops()
    export_onnx(model, tmp_path / "m.onnx")
    exported = load_onnx(tmp_path / "m.onnx", "cpu")
    for by, largest in ((0.5, 0.5), (-2.0, 2.0), (np.nan, np.inf)):
        found = verify(Off(TorchEngine(model.method), crops, by), exported, crops)
        assert [part.largest for part in found] == pytest.approx([largest] * 2, abs=1e-3)
        assert [part.median for part in found] == pytest.approx([0, 0], abs=1e-3)
    assert [part.flip_test for part in found] == [False, True]


def test_an_export_beyond_the_limit_leaves_no_file(tmp_path: Path) -> None:
    model, crops = stored("integral", width=8), noise_crops()
    path = tmp_path / "m.onnx"
    assert max(part.largest for part in export_verified(model, path, crops)) < 0.005
    path.unlink()
    with pytest.raises(RuntimeError, match="more than the limit of -1; nothing was written"):
        export_verified(model, path, crops, limit=-1)
    assert list(tmp_path.iterdir()) == []


def test_labelled_hands_are_cut_as_the_model_wants_them(tmp_path: Path) -> None:
    rule = stored("rle").spec.rule
    save_rgb(str(tmp_path / "a.png"), light_at((70, 60)))
    xy = np.full((1, 21, 2), (70, 60), dtype=np.float32)
    xy[0, 0] = (50, 40)
    hands = Hands(image=["a.png"], xy=xy, visibility=np.full((1, 21), 2), root=tmp_path)
    crops = labelled_crops(rule, hands, 5)
    assert crops.pixels.shape == (1, rule.size, rule.size, 3)
    x, y = (crops.image_to_crop[0] @ (70, 60, 1))[:2]
    peak = np.unravel_index(crops.pixels[0, ..., 0].argmax(), crops.pixels.shape[1:3])
    np.testing.assert_allclose(peak, (y, x), atol=2)
    with pytest.raises(ValueError, match="no labelled hand"):
        labelled_crops(rule, hands[:0], 5)
