"""The FreiHAND release: projection, versions, groups, partial copies, faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knuckle.formats import freihand
from knuckle.formats.freihand import EVALUATION_GROUP, read_freihand, splits_freihand
from knuckle.formats.problems import Problems
from knuckle.hands import RIGHT, VISIBLE, Hands
from tests.formats.datasets import CAMERA, write_freihand, write_images, write_json, write_mmpose_freihand


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KNUCKLE_CACHE", raising=False)
    return tmp_path / "cache"


def read(path: Path, split: str | None = None) -> Hands:
    return read_freihand(path, split, Problems())


def test_every_version_of_every_record_is_a_hand(tmp_path: Path) -> None:
    xyz = write_freihand(tmp_path, records=3, versions=4)
    hands = read(tmp_path)
    assert len(hands) == 12
    assert hands.image.tolist() == [f"training/rgb/{number:08d}.jpg" for number in range(12)]
    assert hands.root == tmp_path
    assert all(path.is_file() for path in hands.paths())
    assert hands.group.tolist() == [0, 1, 2] * 4
    assert (hands.visibility == VISIBLE).all()
    assert (hands.side == RIGHT).all()
    assert (hands.size == 224).all()
    u = CAMERA[0][0] * xyz[..., 0] / xyz[..., 2] + CAMERA[0][2]
    v = CAMERA[1][1] * xyz[..., 1] / xyz[..., 2] + CAMERA[1][2]
    np.testing.assert_allclose(hands.xy, np.tile(np.stack([u, v], axis=2), (4, 1, 1)), atol=1e-4)
    np.testing.assert_array_equal(hands.box[:3, :2], hands.xy[:3].min(axis=1))
    np.testing.assert_array_equal(hands.box[:3, 2:], hands.xy[:3].max(axis=1))


def test_splits_are_read_alone_and_together(tmp_path: Path) -> None:
    write_freihand(tmp_path, records=3, versions=2, evaluation=4)
    assert splits_freihand(tmp_path) == ("training", "evaluation")
    training, evaluation = read(tmp_path, "training"), read(tmp_path, "evaluation")
    assert (len(training), len(evaluation)) == (6, 4)
    assert evaluation.image[3] == "evaluation/rgb/00000003.jpg"
    assert evaluation.group.tolist() == [EVALUATION_GROUP + index for index in range(4)]
    assert read(tmp_path) == Hands.concat([training, evaluation])


def test_a_partial_copy_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    write_freihand(tmp_path, records=3, versions=1)
    assert read(tmp_path).group.tolist() == [0, 1, 2]
    write_images(tmp_path / "training" / "rgb", ["00000006.jpg", "00000008.jpg", "00000007.jpg", "notes.txt.jpg"])
    hands = read(tmp_path)  # versions 0 and 2
    assert hands.image[3:].tolist() == [f"training/rgb/{number:08d}.jpg" for number in (6, 7, 8)]
    assert hands.group.tolist() == [0, 1, 2, 0, 1, 2]
    np.testing.assert_array_equal(hands.xy[:3], hands.xy[3:])


def test_the_size_comes_from_the_images(tmp_path: Path) -> None:
    write_freihand(tmp_path, records=2, versions=1, size_wh=(96, 64))
    (tmp_path / "training" / "rgb" / "00000000.jpg").write_bytes(b"broken")
    assert read(tmp_path).size.tolist() == [[96, 64]] * 2
    (tmp_path / "training" / "rgb" / "00000001.jpg").write_bytes(b"broken")
    assert read(tmp_path).size.tolist() == [[224, 224]] * 2


def test_labels_that_were_withheld_leave_the_evaluation_set_out(tmp_path: Path) -> None:
    write_freihand(tmp_path, records=2, versions=1, evaluation=2)
    (tmp_path / "evaluation_xyz.json").unlink()
    assert splits_freihand(tmp_path) == ("training",)
    problems = Problems()
    assert len(read_freihand(tmp_path, None, problems)) == 2
    assert "the evaluation set has no labels" in problems.messages[0]
    with pytest.raises(ValueError, match="has no labels for its evaluation set"):
        read(tmp_path, "evaluation")


def test_mmpose_files_in_the_same_folder_are_read_when_named(tmp_path: Path) -> None:
    write_freihand(tmp_path, records=2, versions=1)
    write_mmpose_freihand(tmp_path, {"train": [0, 1], "val": [1]})
    assert splits_freihand(tmp_path) == ("training",)
    assert len(read(tmp_path)) == 2
    assert len(read(tmp_path, "val")) == 1
    with pytest.raises(ValueError, match="no split 'all'; it has training, train, val"):
        read(tmp_path, "all")


def test_detect_knows_the_folder_by_any_of_its_files(tmp_path: Path) -> None:
    assert not freihand.detect(tmp_path)
    write_json(tmp_path / "training_K.json", [])
    assert freihand.detect(tmp_path)
    assert not freihand.detect(tmp_path / "none")


def big_release(root: Path) -> None:
    """Large enough for the cache: a megabyte of labels."""
    write_freihand(root, records=1000, versions=1)


def test_the_second_reading_comes_from_the_cache(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big_release(tmp_path)
    first = read(tmp_path)
    assert len(list(own_cache.rglob("*.npz"))) == 1
    with monkeypatch.context() as patched:
        patched.setattr(freihand, "read_json", lambda path: pytest.fail(f"{path} was parsed again"))
        assert read(tmp_path) == first
    labels = json.loads((tmp_path / "training_K.json").read_text())
    labels[7] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    write_json(tmp_path / "training_K.json", labels)
    changed = read(tmp_path)
    assert changed != first
    assert changed[8:] == first[8:]
    (tmp_path / "training" / "rgb" / "00000999.jpg").unlink()
    with pytest.raises(ValueError, match=r"00000999\.jpg is missing"):
        read(tmp_path)


def test_faults_are_reported_every_time_and_not_cached(tmp_path: Path, own_cache: Path) -> None:
    big_release(tmp_path)
    labels = json.loads((tmp_path / "training_xyz.json").read_text())
    labels[7] = labels[7][:20]
    write_json(tmp_path / "training_xyz.json", labels)
    for _ in range(2):
        problems = Problems("skip")
        assert len(read_freihand(tmp_path, None, problems)) == 999
        assert len(problems.messages) == 1
    assert not own_cache.exists()


Break = Callable[[list[Any], list[Any]], None]


def set_camera(index: int, value: Any) -> Break:
    return lambda cameras, points: cameras.__setitem__(index, value)


def set_points(index: int, change: Callable[[list[list[float]]], Any]) -> Break:
    return lambda cameras, points: points.__setitem__(index, change(points[index]))


def with_z(value: float) -> Break:
    return set_points(1, lambda points: [*points[:20], [0.1, 0.1, value]])


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            set_points(1, lambda points: points[:20]),
            r"training_xyz\.json, record 1 has shape \(20, 3\) instead of \(21",
        ),
        (set_points(1, lambda points: [*points, points[0]]), r"training_xyz\.json, record 1 has shape \(22, 3\)"),
        (set_points(1, lambda points: [point[:2] for point in points]), r"record 1 has shape \(21, 2\)"),
        (set_points(1, lambda points: [[0.1], *points[1:]]), r"xyz\.json, record 1 is not an array of numbers"),
        (
            set_points(1, lambda points: [["a", "b", "c"], *points[1:]]),
            r"xyz\.json, record 1 is not an array of numbers",
        ),
        (set_points(1, lambda points: None), r"training_xyz\.json, record 1 is not an array of numbers"),
        (with_z(0.0), r"training_xyz\.json, record 1 has a keypoint with z <= 0"),
        (with_z(-0.6), r"training_xyz\.json, record 1 has a keypoint with z <= 0"),
        (with_z(float("nan")), r"training_xyz\.json, record 1 has a coordinate that is not finite"),
        (with_z(float("inf")), r"training_xyz\.json, record 1 has a coordinate that is not finite"),
        (with_z(1e-300), r"training_xyz\.json, record 1 has a keypoint that falls more than 1e\+06 pixels"),
        (set_camera(1, [[1, 0], [0, 1]]), r"training_K\.json, record 1 has shape \(2, 2\) instead of \(3, 3\)"),
        (set_camera(1, np.transpose(CAMERA).tolist()), r"training_K\.json, record 1 is no camera matrix"),
        (set_camera(1, np.zeros((3, 3)).tolist()), r"training_K\.json, record 1 is no camera matrix"),
        (set_camera(1, np.full((3, 3), np.nan).tolist()), r"training_K\.json, record 1 is no camera matrix"),
        (set_camera(1, {}), r"training_K\.json, record 1 is not an array of numbers"),
    ],
)
def test_a_bad_record_stops_the_reading_or_is_left_out(break_it: Break, message: str, tmp_path: Path) -> None:
    write_freihand(tmp_path, records=3, versions=2)
    whole = read(tmp_path)
    cameras, points = ([*json.loads((tmp_path / f"training_{what}.json").read_text())] for what in ("K", "xyz"))
    break_it(cameras, points)
    write_json(tmp_path / "training_K.json", cameras)
    write_json(tmp_path / "training_xyz.json", points)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)
    problems = Problems("skip")
    assert read_freihand(tmp_path, None, problems) == whole[[0, 2, 3, 5]]
    assert len(problems.messages) == 1


def test_a_missing_image_stops_the_reading_or_is_left_out(tmp_path: Path) -> None:
    write_freihand(tmp_path, records=3, versions=2)
    whole = read(tmp_path)
    (tmp_path / "training" / "rgb" / "00000004.jpg").unlink()
    with pytest.raises(ValueError, match=r"training/rgb/00000004\.jpg is missing\."):
        read(tmp_path)
    problems = Problems("skip")
    assert read_freihand(tmp_path, None, problems) == whole[[0, 1, 2, 3, 5]]
    assert len(problems.messages) == 1


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def put(name: str, text: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / name).write_text(text)

    return write


def empty_image_folder(root: Path) -> None:
    for file in (root / "training" / "rgb").iterdir():
        file.unlink()


def extra_image(root: Path) -> None:
    write_images(root / "training" / "rgb", ["00130239.jpg"])


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (remove("training_K.json"), r"training_K\.json is missing"),
        (remove("training_xyz.json"), r"training_xyz\.json is missing; unpack the whole release"),
        (put("training_K.json", f"[{CAMERA}]"), r"training_K\.json has 1 records but training_xyz\.json has 3"),
        (put("training_xyz.json", "[[\n[1,"), r"training_xyz\.json:2:4 is not valid JSON"),
        (put("training_xyz.json", "{}"), r"training_xyz\.json must hold a list"),
        (empty_image_folder, r"training/rgb holds no images such as training/rgb/00000000\.jpg"),
        (extra_image, r"00130239\.jpg is beyond 4 x 3 records of training_K\.json"),
    ],
)
def test_files_that_do_not_fit_stop_the_reading_in_any_case(
    break_it: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    write_freihand(tmp_path, records=3, versions=1)
    break_it(tmp_path)
    for problems in (Problems("stop"), Problems("skip")):
        with pytest.raises(ValueError, match=message):
            read_freihand(tmp_path, None, problems)


def test_a_release_without_records_is_empty(tmp_path: Path) -> None:
    write_json(tmp_path / "training_K.json", [])
    write_json(tmp_path / "training_xyz.json", [])
    assert len(read(tmp_path)) == 0


def test_the_real_release(shared_data: Path) -> None:
    hands = read(shared_data / "formats" / "freihand_release")
    assert hands.group.tolist() == [0, 1, 2, 3, 4]
    assert hands.size.tolist() == [[224, 224]] * 5
    assert ((hands.xy >= 0) & (hands.xy <= 223)).all()
    assert all(path.is_file() for path in hands.paths())
