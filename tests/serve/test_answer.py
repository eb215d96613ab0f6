"""The JSON of a photo's hands: the predictor's numbers, and files that read back as its hands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import knuckle
from knuckle.data.images import decode_image
from knuckle.geometry import CropRule
from knuckle.predict import Predictor
from knuckle.serve.answer import about, find_hands
from tests.label.worlds import glow, sheets_of
from tests.predict.test_predictor import Doubting
from tests.serve.visitors import photo


def test_the_numbers_are_the_predictors() -> None:
    found = find_hands(glow(), photo(), "a.png", "full")
    alone = glow().predict(decode_image(photo(), "a.png"), "full")
    assert found["size_wh"] == [160, 120]
    assert "files" not in found
    (hand,) = found["hands"]
    np.testing.assert_allclose(hand["xy"], alone.xy[0], atol=0.006)
    assert alone.covariance is not None
    xx, xy, yy = np.array(hand["covariance"]).T
    np.testing.assert_allclose(xx, alone.covariance[0, :, 0, 0], atol=6e-4)
    np.testing.assert_allclose(xy, alone.covariance[0, :, 0, 1], atol=6e-4)
    np.testing.assert_allclose(yy, alone.covariance[0, :, 1, 1], atol=6e-4)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert "covariance" not in find_hands(glow(sigma=False), photo(), "a.png", "full")["hands"][0]


def test_a_side_comes_with_its_probability() -> None:
    model = Predictor(Doubting(), CropRule(size=64))
    (hand,) = find_hands(model, photo(), "a.png", "full")["hands"]
    assert (hand["side"], hand["side_probability"], hand["score"]) == ("right", 0.75, 0.5)
    assert "side_probability" not in find_hands(glow(), photo(), "a.png", "full")["hands"][0]


def test_the_labelme_file_is_marked_as_a_models(tmp_path: Path) -> None:
    content = find_hands(glow(), photo(), "a.png", "full", files=True, model="m")["files"]["labelme"]
    assert content["knuckle"]["model"] == "m"
    (tmp_path / "a.png").write_bytes(photo())
    # As the page saves it: JavaScript writes 40.0 as 40.
    (tmp_path / "a.json").write_text(json.dumps(content).replace(".0,", ",").replace(".0]", "]"))
    (sheet,) = sheets_of(tmp_path)
    assert sheet.state == "proposed"
    assert sheet.proposal is not None


def test_files_read_back(tmp_path: Path) -> None:
    first = find_hands(glow(), photo(), "a.png", "full", files=True)
    second = find_hands(glow(), photo(), "b.jpg", "full", files=True, first=1)
    text = first["files"]["csv_header"] + first["files"]["csv_rows"] + second["files"]["csv_rows"]
    (tmp_path / "hands.csv").write_text(text)
    table = knuckle.read(tmp_path / "hands.csv")
    assert table.image.tolist() == ["a.png", "b.jpg"]
    alone = glow().predict(decode_image(photo(), "a.png"), "full")
    np.testing.assert_array_equal(table.xy[1], alone.xy[0])
    (tmp_path / "a.json").write_text(json.dumps(first["files"]["labelme"]))
    label = knuckle.read(tmp_path / "a.json")
    assert label.image.tolist() == ["a.png"]
    np.testing.assert_array_equal(label.xy[0], alone.xy[0])
    np.testing.assert_array_equal(label.size, [[160, 120]])


def test_what_the_page_knows_beforehand() -> None:
    known = about("m", None, 7)
    assert json.loads(json.dumps(known))["colors"][0].startswith("#")
    assert len(known["colors"]) == len(known["joints"]) == 21
    assert len(known["bones"]) == 20


def test_a_model_without_a_detector_says_so() -> None:
    with pytest.raises(ValueError, match="no hand detector"):
        find_hands(glow(), photo(), "a.png", None)
