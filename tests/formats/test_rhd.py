"""The RHD release: two hands a record, their joint order, visibility, the ten-keypoint rule, faults."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knuckle.formats import rhd
from knuckle.formats.problems import Problems
from knuckle.formats.rhd import read_rhd, splits_rhd
from knuckle.hands import LEFT, RIGHT, Hands
from knuckle.skeleton import FINGERS
from tests.formats.datasets import mmpose_rhd, rhd_record, write_images, write_json, write_rhd


def read(path: Path, split: str | None = None) -> Hands:
    return read_rhd(path, split, Problems())


def test_both_hands_of_a_record_come_in_knuckles_order(tmp_path: Path) -> None:
    record = rhd_record()
    record["uv_vis"][:21, 0] = 20 + np.arange(21)  # x tells the row: left 20 to 40, right 100 to 120
    record["uv_vis"][21:, 0] = 100 + np.arange(21)
    write_rhd(tmp_path, "training", {12: record})
    hands = read(tmp_path)
    assert hands.image.tolist() == ["training/color/00012.png"] * 2
    assert hands.side.tolist() == [LEFT, RIGHT]
    assert hands.size.tolist() == [[320, 320]] * 2
    assert hands.root == tmp_path
    for hand, start in ((0, 20), (1, 100)):
        assert hands.xy[hand, 0, 0] == start
        for finger, joints in enumerate(FINGERS.values()):  # RHD: the tip comes first
            assert [hands.xy[hand, joint, 0] - start for joint in joints] == [4 * finger + k for k in (4, 3, 2, 1)]


def test_hands_with_fewer_than_ten_visible_keypoints_are_left_out(tmp_path: Path) -> None:
    records = {
        0: rhd_record(0, left=9, right=10),
        1: rhd_record(1, left=0, right=0),
        2: rhd_record(2, left=21, right=0),
    }
    write_rhd(tmp_path, "evaluation", records)
    problems = Problems()
    hands = read_rhd(tmp_path, "evaluation", problems)
    assert hands.side.tolist() == [RIGHT, LEFT]
    assert hands.image.tolist() == ["evaluation/color/00000.png", "evaluation/color/00002.png"]
    assert (hands.visibility[0] == 2).sum() == 10
    assert problems.messages == []


def test_a_cleared_flag_is_occluded_inside_the_image_and_unlabelled_outside(tmp_path: Path) -> None:
    record = rhd_record(left=21, right=0)
    outside = {4: (-0.6, 5.0), 3: (5.0, 319.6), 2: (np.nan, np.nan)}
    inside = {1: (-0.5, 319.5), 8: (100.0, 100.0)}
    for row, point in (outside | inside).items():
        record["uv_vis"][row] = (*point, 0)
    write_rhd(tmp_path, "training", {0: record})
    hands = read(tmp_path)
    assert hands.visibility[0].tolist() == [2, 0, 0, 0, 1, 1, *([2] * 15)]
    assert np.isnan(hands.xy[0, 1:4]).all()
    assert hands.xy[0, 4].tolist() == [-0.5, 319.5]
    np.testing.assert_array_equal(hands.box[0, 2:], np.nanmax(hands.xy[0], axis=0))


def test_splits_are_read_alone_and_together_with_groups_of_their_own(tmp_path: Path) -> None:
    write_rhd(tmp_path, "training", {0: rhd_record(0), 3: rhd_record(1)})
    assert splits_rhd(tmp_path) == ("training",)
    write_rhd(tmp_path, "evaluation", {0: rhd_record(2)})
    assert splits_rhd(tmp_path) == ("training", "evaluation")
    training, evaluation = read(tmp_path, "training"), read(tmp_path, "evaluation")
    assert read(tmp_path) == Hands.concat([training, evaluation])
    first = int(training.group[0])
    assert training.group.tolist() == [first, first, first + 3, first + 3]
    assert not set(training.group.tolist()) & set(evaluation.group.tolist())
    assert min(first, int(evaluation.group[0])) > 1_000_000 + 3960  # clear of FreiHAND's groups
    with pytest.raises(ValueError, match="no split 'val'; it has training, evaluation"):
        read(tmp_path, "val")


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("module", [b"numpy.core.", b"numpy._core."])
def test_pickles_of_old_and_new_numpy(protocol: int, module: bytes, tmp_path: Path) -> None:
    file = write_rhd(tmp_path, "training", {0: rhd_record(0)}, protocol)
    expected = read(tmp_path)
    data = file.read_bytes()
    if protocol == 2:  # in newer protocols names carry their length
        data = data.replace(b"numpy._core.", module).replace(b"numpy.core.", module)
        assert module in data
    file.write_bytes(data)
    assert read(tmp_path) == expected


def test_detect_knows_the_folder_by_its_pickles(tmp_path: Path) -> None:
    assert not rhd.detect(tmp_path)
    write_rhd(tmp_path, "evaluation", {0: rhd_record(0)})
    assert rhd.detect(tmp_path)


def test_mmpose_files_in_the_same_folder_are_read_when_named(tmp_path: Path) -> None:
    write_rhd(tmp_path, "evaluation", {4: rhd_record(0)})
    write_json(tmp_path / "annotations" / "rhd_test.json", mmpose_rhd([4]))
    assert len(read(tmp_path)) == 2
    named = read(tmp_path, "test")
    assert named.paths() == [tmp_path / "evaluation" / "color" / "00004.png"]
    assert named.group[0] == read(tmp_path, "evaluation").group[0]


class Run:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_wants_to_run_a_program_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    write_rhd(tmp_path, "training", {0: rhd_record(0) | {"extra": Run(marker)}})
    for problems in (Problems("stop"), Problems("skip")):
        with pytest.raises(ValueError, match=r"anno_training\.pickle is refused"):
            read_rhd(tmp_path, None, problems)
    assert not marker.exists()


def changed(row: int, values: tuple[float, float, float]) -> dict[str, Any]:
    record = rhd_record(1)
    record["uv_vis"][row] = values
    return record


@pytest.mark.parametrize(
    ("number", "record", "message"),
    [
        (1, {"xyz": np.zeros((42, 3))}, "record 1 has no uv_vis"),
        (1, [1, 2], "record 1 has no uv_vis"),
        (1, {"uv_vis": np.zeros((41, 3))}, r"record 1 uv_vis has shape \(41, 3\) instead of \(42, 3\)"),
        (1, {"uv_vis": np.zeros((42, 2))}, r"record 1 uv_vis has shape \(42, 2\) instead of \(42, 3\)"),
        (1, {"uv_vis": np.zeros((21, 3))}, r"record 1 uv_vis has shape \(21, 3\) instead of \(42, 3\)"),
        (1, {"uv_vis": "text"}, "record 1 uv_vis is not an array of numbers"),
        (1, changed(5, (np.nan, 3, 1)), "record 1 uv_vis has a visible keypoint that is not finite"),
        (1, changed(5, (3, np.inf, 1)), "record 1 uv_vis has a visible keypoint that is not finite"),
        (1, changed(5, (1e39, 3, 1)), "record 1 uv_vis has a visible keypoint that is not finite"),
        (1, changed(5, (3, 3, 0.5)), "record 1 uv_vis has a visible flag other than 0 and 1"),
        (1, changed(5, (3, 3, np.nan)), "record 1 uv_vis has a visible flag other than 0 and 1"),
        ("a", rhd_record(1), "record 'a' is no image number"),
        (-1, rhd_record(1), "record -1 is no image number"),
    ],
)
def test_a_bad_record_stops_the_reading_or_is_left_out(number: Any, record: Any, message: str, tmp_path: Path) -> None:
    write_rhd(tmp_path, "training", {0: rhd_record(0), 1: rhd_record(1), 2: rhd_record(2)})
    whole = read(tmp_path)
    write_rhd(tmp_path, "training", {0: rhd_record(0), number: record, 2: rhd_record(2)})
    with pytest.raises(ValueError, match=rf"anno_training\.pickle, {message}"):
        read(tmp_path)
    problems = Problems("skip")
    assert read_rhd(tmp_path, None, problems) == whole[[0, 1, 4, 5]]
    assert len(problems.messages) == 1


def test_a_missing_image_stops_the_reading_or_is_left_out(tmp_path: Path) -> None:
    write_rhd(tmp_path, "training", {0: rhd_record(0), 1: rhd_record(1)})
    whole = read(tmp_path)
    (tmp_path / "training" / "color" / "00000.png").unlink()
    with pytest.raises(ValueError, match=r"training/color/00000\.png is missing"):
        read(tmp_path)
    assert read_rhd(tmp_path, None, Problems("skip")) == whole[2:]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps([rhd_record(0)], protocol=2), r"anno_training\.pickle must hold a dict .* got a list"),
        (pickle.dumps({0: rhd_record(0)}, protocol=2)[:-50], r"anno_training\.pickle is truncated or not a pickle"),
        (b"<html>", r"anno_training\.pickle is truncated or not a pickle"),
    ],
)
def test_a_broken_pickle_gets_a_sentence(data: bytes, message: str, tmp_path: Path) -> None:
    write_rhd(tmp_path, "training", {}).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_a_pickle_without_records_is_empty(tmp_path: Path) -> None:
    write_rhd(tmp_path, "training", {})
    assert len(read(tmp_path)) == 0


def test_a_folder_with_neither_is_named(tmp_path: Path) -> None:
    write_images(tmp_path / "training" / "color", ["00000.png"], (320, 320))
    with pytest.raises(ValueError, match=r"holds none of rhd_train\.json, rhd_test\.json"):
        read(tmp_path)
