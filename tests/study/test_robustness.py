"""Degradations: patches hold the hand where they say, and errors are those of the model that is measured."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.study.corruptions import FACTORS, SEVERITIES
from knuckle.study.robustness import HAND_SIDE, MOST_PIXELS, PADDING, Robustness, frame_window, measure, patch_of
from knuckle.study.robustness_report import factor_rows, worst_factors, write_robustness

COUNT = 6


@pytest.fixture
def hands(tmp_path: Path) -> Hands:
    """Photos with a white dot at each keypoint of a hand."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(50, 130, (COUNT, 21, 2)).astype(np.float32)
    xy[1, 4] = np.nan
    for row in range(COUNT):
        image = np.full((180, 200, 3), 40, dtype=np.uint8)
        for x, y in xy[row][np.isfinite(xy[row]).all(axis=1)].round().astype(int):
            image[y - 1 : y + 2, x - 1 : x + 2] = 255
        Image.fromarray(image).save(tmp_path / f"{row}.png")
    visibility = 2 * np.isfinite(xy).all(axis=2)
    names = [f"{row}.png" for row in range(COUNT)]
    return Hands(
        image=names, xy=xy, visibility=visibility, gesture=[0, 0, 1, 1, 6, -1], group=[0, 0, 1, 1, 2, 3], root=tmp_path
    )


class Finder:
    """Finds every keypoint at the middle of its box, moved by a share of the box that grows with the darkness."""

    def predict(self, images: Any, boxes: Any) -> Hands:
        xy = []
        for image, box in zip(images, boxes, strict=True):
            (x1, y1, x2, y2) = box[0]
            lost = 0.1 + 0.5 * (1 - image.max() / 255)
            xy.append(np.full((21, 2), ((x1 + x2) / 2, (y1 + y2) / 2)) + lost * max(x2 - x1, y2 - y1))
        return Hands(image=[""] * len(images), xy=np.array(xy), visibility=np.full((len(images), 21), 2))


def _measured(hands: Hands) -> Robustness:
    return measure(Finder(), hands)  # type: ignore[arg-type]


def test_a_patch_shows_the_hand_at_its_keypoints_and_at_its_size(hands: Hands) -> None:
    patch = patch_of(hands, 0)
    assert patch.image.shape == (round(HAND_SIDE * PADDING),) * 2 + (3,)
    assert patch.hand_side == pytest.approx(HAND_SIDE)
    for x, y in patch.xy.round().astype(int):
        assert patch.image[y, x].min() > 200
    assert np.isnan(patch_of(hands, 1).xy[4]).all()


def test_errors_are_means_over_labelled_joints_in_box_sides(hands: Hands) -> None:
    result = _measured(hands)
    side = (hands.box[:, 2:] - hands.box[:, :2]).max(axis=1)
    middle = (hands.box[:, :2] + hands.box[:, 2:]) / 2
    expected = np.nanmean(
        np.linalg.norm(middle[:, None] + 0.1 * side[:, None, None] - hands.xy, axis=2) / side[:, None], axis=1
    )
    np.testing.assert_allclose(result.clean, expected, rtol=1e-4)
    assert result.harder.shape == (len(FACTORS), len(SEVERITIES), COUNT)
    np.testing.assert_array_equal(result.gesture, hands.gesture)


def test_only_what_darkens_hurts_a_model_that_minds_nothing_else(hands: Hands) -> None:
    result = _measured(hands)
    ratio = {name: result.mean_degradation(place) for place, name in enumerate(FACTORS)}
    assert ratio["darkness"].estimate > 1.3
    assert max(ratio, key=lambda name: ratio[name].estimate) == "darkness"
    assert ratio["brightness"].estimate == pytest.approx(1)
    darkness = [*FACTORS].index("darkness")
    by_severity = [result.degradation(darkness, severity).estimate for severity in SEVERITIES]
    assert by_severity == sorted(by_severity)
    expected = result.harder[darkness, 2].mean() / result.clean.mean()
    assert by_severity[2] == pytest.approx(expected)
    of_fist = result.of_gestures()[6][darkness]
    assert of_fist == pytest.approx(result.harder[darkness, :, 4].mean() / result.clean[4])
    assert set(result.of_gestures()) == {0, 1, 6}


def test_another_background_comes_from_where_it_is_known(hands: Hands) -> None:
    asked: list[int] = []

    def black(row: int) -> np.ndarray:
        asked.append(row)
        return np.zeros((180, 200, 3), dtype=np.uint8)

    result = measure(Finder(), hands, others=black)  # type: ignore[arg-type]
    assert asked == list(range(COUNT))
    background = [*FACTORS].index("background")
    assert result.degradation(background, 5).estimate > 1.3  # everything is dark at last
    assert _measured(hands).degradation(background, 5).estimate < 1.1


def test_hands_without_labels_are_left_out_and_none_is_an_error(hands: Hands) -> None:
    unlabelled = hands.replace(visibility=np.where(np.arange(COUNT)[:, None] == 2, 0, hands.visibility))
    assert len(_measured(unlabelled).clean) == COUNT - 1
    with pytest.raises(ValueError, match="there are none"):
        _measured(hands.replace(visibility=np.zeros_like(hands.visibility)))


def test_files_hold_what_was_measured(hands: Hands, tmp_path: Path) -> None:
    result = _measured(hands)
    out = tmp_path / "out"
    tables = write_robustness({"a": result, "b": result}, patch_of(hands, 0), out)
    assert json.loads((out / "robustness.json").read_text()) == tables
    with (out / "robustness.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 2 * len(FACTORS) * len(SEVERITIES)
    first = rows[0]
    assert (first["model"], first["factor"], first["severity"], first["level"]) == ("a", "resolution", "1", "64")
    assert float(first["nme"]) == pytest.approx(result.harder[0, 0].mean())
    ranked = tables["robustness_factors"][0]
    assert (ranked["rank"], ranked["factor"]) == (1, "darkness")
    assert ranked["mean_degradation"] == pytest.approx(result.mean_degradation([*FACTORS].index("darkness")).estimate)
    assert len(tables["robustness_gestures"]) == 2 * 3 * len(FACTORS)
    assert (out / "robustness.png").stat().st_size > 10_000
    assert (out / "robustness_pictures.jpg").is_file()


def made_up(**errors: float) -> Robustness:
    """NME 0.1 in unchanged pictures and twice that in harder ones, but for some factors."""
    clean = np.full(4, 0.1)
    harder = np.full((len(FACTORS), len(SEVERITIES), 4), 0.2)
    for name, value in errors.items():
        harder[[*FACTORS].index(name), 4, 1] = value
    return Robustness(clean, harder, np.zeros(4, dtype=np.int64), np.arange(4))


def test_a_factor_that_loses_keypoints_is_the_worst_and_is_named() -> None:
    result = made_up(occlusion=np.inf, noise=0.9, blur=0.5)
    (told,) = worst_factors({"own hands": result})
    assert told.endswith("are occlusion (some keypoints not found), noise (x 2.35), blur (x 2.15).")
    assert [row["factor"] for row in factor_rows({"a": result})][:3] == ["occlusion", "noise", "blur"]
    lost = Robustness(np.array([0.1, np.inf, 0.1, 0.1]), result.harder, result.gesture, result.group)
    (told,) = worst_factors({"own hands": lost})
    assert (
        told == "Own hands: some keypoints are not found even in unchanged pictures, so no degradation can be stated."
    )


def test_what_is_lost_in_unchanged_pictures_is_written_as_unknown(hands: Hands, tmp_path: Path) -> None:
    whole = made_up(noise=0.5)
    lost = Robustness(np.array([0.1, np.inf, 0.1, 0.1]), whole.harder, whole.gesture, whole.group)
    tables = write_robustness({"own hands": lost}, patch_of(hands, 0), tmp_path)
    assert all(row["degradation"] in ("", None) for row in tables["robustness"])
    assert all(row["mean_degradation"] in ("", None) for row in tables["robustness_gestures"])
    assert len(tables["robustness_factors"]) == len(FACTORS)
    assert (tmp_path / "robustness.png").is_file()


def test_a_window_shows_a_model_of_whole_images_what_it_sees_otherwise(hands: Hands) -> None:
    """The patch holds the whole image, the hand as large as ever, and the window lies on both alike."""
    patch = patch_of(hands, 0, window=frame_window(CropRule(whole_image=True)))
    zoom = HAND_SIDE / float((hands.box[0, 2:] - hands.box[0, :2]).max())
    assert patch.hand_side == pytest.approx(HAND_SIDE, rel=0.01)
    assert len(patch.image) == pytest.approx(200 * zoom, abs=1)
    assert patch.look is not None
    assert patch.look[2] - patch.look[0] == pytest.approx(200 * zoom, rel=0.01)
    assert patch.look[3] - patch.look[1] == pytest.approx(180 * zoom, rel=0.01)
    assert patch.inside.mean() == pytest.approx(0.9, abs=0.02)
    for x, y in patch.xy.round().astype(int):
        assert patch.image[y, x].min() > 200
    tiny = hands.replace(box=np.tile((90.0, 90.0, 92.0, 92.0), (COUNT, 1)))
    assert len(patch_of(tiny, 0, window=frame_window(CropRule())).image) == MOST_PIXELS
