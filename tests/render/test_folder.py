"""Folders of rendered scenes: what they hold, pictures without a hand included, and how they go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from knuckle.formats import read
from knuckle.render import SceneConfig, folder
from knuckle.render.backgrounds import Photos
from knuckle.render.config import WholeScenes
from knuckle.render.dataset import label_batches
from knuckle.render.folder import render_folder, render_scenes_folder
from knuckle.render.labels import Labels
from knuckle.render.poses import PoseMix

CONFIG = replace(SceneConfig(), whole=WholeScenes(hands=(0.4, 0.3, 0.3)))
SIZE = 48


def _render(out: Path, count: int) -> int:
    _, new = render_scenes_folder(out, count, 1, SIZE, config=CONFIG, device="cpu", batch=3)
    return new


def test_a_folder_lists_pictures_without_a_hand(tmp_path: Path) -> None:
    hands, new = render_scenes_folder(tmp_path, 8, 1, SIZE, config=CONFIG, device="cpu", batch=3)
    assert new == 8
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert sorted(image["file_name"] for image in content["images"]) == [f"images/{k:08d}.jpg" for k in range(8)]
    assert len({image["id"] for image in content["images"]}) == 8
    assert all((image["width"], image["height"]) == (SIZE, SIZE) for image in content["images"])
    shown = {annotation["image_id"] for annotation in content["annotations"]}
    assert 0 < len(shown) < 8
    lines = (tmp_path / "pictures.csv").read_text().splitlines()
    assert lines[0] == "image,hands"
    counts = [int(line.rpartition(",")[2]) for line in lines[1:]]
    assert counts == [int((hands.group == k).sum()) for k in range(8)]
    assert sum(count == 0 for count in counts) == 8 - len(shown)
    assert (tmp_path / "contact_sheet.png").is_file()


def test_all_annotations_hold_the_same_hands(tmp_path: Path) -> None:
    hands, _ = render_scenes_folder(tmp_path, 6, 1, SIZE, config=CONFIG, device="cpu")
    assert read(tmp_path / "annotations.json") == hands
    assert read(tmp_path / "annotations.csv", "table") == hands
    with np.load(tmp_path / "labels.npz") as labels:
        np.testing.assert_array_equal(labels["index"], hands.group)
        np.testing.assert_array_equal(labels["box"], hands.box)


def test_an_interrupted_folder_goes_on(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    _render(whole, 7)
    assert _render(resumed, 4) == 4
    (resumed / "images" / "00000002.jpg").unlink()
    assert _render(resumed, 7) == 4
    assert _render(resumed, 7) == 0
    assert read(whole / "annotations.json") == read(resumed / "annotations.json")
    for name in [*(f"images/{k:08d}.jpg" for k in range(7)), "pictures.csv", "annotations.json"]:
        assert (whole / name).read_bytes() == (resumed / name).read_bytes()


def test_labels_that_are_known_are_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those of a finished folder that grows, nor those of the batches before an interruption."""
    whole, _ = render_folder(tmp_path / "whole", 8, 1, SIZE, device="cpu", batch=2)
    out, labelled = tmp_path / "resumed", list[int]()
    real = label_batches

    def spied(indices: Sequence[int], *args: Any, **options: Any) -> Iterator[Labels]:
        labelled.extend(indices)
        return real(indices, *args, **options)

    def stops_at_six(done: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(folder, "label_batches", spied)
    render_folder(out, 2, 1, SIZE, device="cpu", batch=2)
    with pytest.raises(KeyboardInterrupt):
        render_folder(out, 8, 1, SIZE, device="cpu", batch=2, progress=stops_at_six)
    assert [file.name for file in sorted((out / "parts").iterdir())] == ["00000002.npz", "00000004.npz"]
    (out / "parts" / "00000004.npz").write_bytes(b"damaged")
    resumed, new = render_folder(out, 8, 1, SIZE, device="cpu", batch=2)
    assert new == 2
    assert labelled == [4, 5]
    assert resumed.replace(root=None) == whole.replace(root=None)
    assert not (out / "parts").exists()
    labelled.clear()
    assert len(set(render_scenes_folder(tmp_path / "scenes", 8, 1, SIZE, config=CONFIG, device="cpu")[0].group)) < 8
    assert render_scenes_folder(tmp_path / "scenes", 9, 1, SIZE, config=CONFIG, device="cpu")[1] == 1
    assert labelled == []  # those without a hand neither


def test_processes_make_the_same_folder_as_this_one(tmp_path: Path) -> None:
    reported: list[int] = []
    alone, _ = render_folder(tmp_path / "alone", 7, 1, SIZE, device="cpu", batch=3)
    shared, new = render_folder(
        tmp_path / "shared", 7, 1, SIZE, device="cpu", batch=3, workers=2, progress=reported.append
    )
    assert new == 7
    assert reported == [0, 3, 6, 7]
    assert shared.replace(root=None) == alone.replace(root=None)
    for name in [f"images/{k:08d}.jpg" for k in range(7)]:
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "shared" / name).read_bytes()


def test_an_error_in_a_process_is_the_same_sentence(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"no photo")
    config = replace(SceneConfig(), backgrounds=Photos(tmp_path))
    with pytest.raises(ValueError, match=r"photo\.jpg"):
        render_folder(tmp_path / "out", 2, 1, SIZE, config=config, device="cpu", workers=1)


WITH_A_PROCESS = """
import sys
from pathlib import Path
from knuckle.render.folder import render_folder
if __name__ == "__main__":
    render_folder(Path(sys.argv[1]), 100_000, 1, 48, device="cpu", batch=1, workers=1)
"""


def test_processes_end_with_one_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(WITH_A_PROCESS)
    parent = subprocess.Popen([sys.executable, tmp_path / "run.py", tmp_path / "out"], start_new_session=True)
    try:
        wait_until(lambda: (tmp_path / "out" / "images" / "00000000.jpg").is_file())
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not _is_alive(parent.pid))


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_an_empty_picture_is_rendered_again(tmp_path: Path) -> None:
    render_folder(tmp_path, 2, 1, SIZE, device="cpu")
    picture = tmp_path / "images" / "00000001.jpg"
    before = picture.read_bytes()
    picture.write_bytes(b"")
    assert render_folder(tmp_path, 2, 1, SIZE, device="cpu")[1] == 1
    assert picture.read_bytes() == before


def test_a_folder_from_before_fingers_could_differ_goes_on(tmp_path: Path) -> None:
    render_folder(tmp_path, 1, 1, SIZE, device="cpu")
    assert "fingers" not in json.loads((tmp_path / "settings.json").read_text())["config"]["poses"]
    differing = replace(SceneConfig(), poses=PoseMix(fingers=0.5))
    with pytest.raises(ValueError, match=r"was rendered with config\.poses\.fingers None, not 0\.5"):
        render_folder(tmp_path, 1, 1, SIZE, config=differing, device="cpu")


def test_scenes_do_not_go_into_a_folder_of_single_hands(tmp_path: Path) -> None:
    render_folder(tmp_path, 1, 1, SIZE, config=CONFIG, device="cpu")
    with pytest.raises(ValueError, match="was rendered with pictures single hands, not whole scenes"):
        _render(tmp_path, 1)


def test_a_folder_without_any_hand_is_a_folder(tmp_path: Path) -> None:
    empty = replace(CONFIG, whole=WholeScenes(hands=(1.0,)))
    hands, _ = render_scenes_folder(tmp_path, 2, size=SIZE, config=empty, device="cpu")
    assert len(hands) == 0
    assert len(json.loads((tmp_path / "annotations.json").read_text())["images"]) == 2


def test_a_folder_of_pictures_is_read_as_what_it_holds(tmp_path: Path) -> None:
    """Its settings are JSON, too, and of a format that others could take for theirs."""
    hands, _ = render_folder(tmp_path, 2, 1, SIZE, device="cpu")
    assert read(tmp_path) == hands


def test_no_picture_is_left_without_its_labels(tmp_path: Path) -> None:
    hands, _ = render_folder(tmp_path, 4, 1, SIZE, device="cpu")
    with pytest.raises(ValueError, match="holds 4 pictures already; give a count of 4 or more"):
        render_folder(tmp_path, 2, 1, SIZE, device="cpu")
    assert read(tmp_path / "annotations.json") == hands


def _photo(path: Path, level: int) -> None:
    cv2.imwrite(str(path), np.full((40, 40, 3), level, dtype=np.uint8))


def test_photos_that_changed_are_other_backgrounds(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    _photo(photos / "a.png", 10)
    config = replace(SceneConfig(), backgrounds=Photos(photos))
    render_folder(out, 1, 1, SIZE, config=config, device="cpu")
    assert render_folder(out, 2, 1, SIZE, config=config, device="cpu")[1] == 1
    moved = photos.rename(tmp_path / "moved")
    assert render_folder(out, 2, 1, SIZE, config=replace(config, backgrounds=Photos(moved)), device="cpu")[1] == 0
    photos = moved.rename(photos)
    _photo(photos / "b.png", 200)
    config = replace(SceneConfig(), backgrounds=Photos(photos))
    with pytest.raises(ValueError, match="was rendered with other backgrounds; render into another folder"):
        render_folder(out, 3, 1, SIZE, config=config, device="cpu")
    with pytest.raises(ValueError, match="was rendered with other backgrounds"):
        render_folder(out, 3, 1, SIZE, device="cpu")


def test_a_start_that_failed_blocks_no_folder(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"no photo")
    config = replace(SceneConfig(), backgrounds=Photos(tmp_path))
    with pytest.raises(ValueError, match=r"photo\.jpg"):
        render_folder(tmp_path / "out", 2, 1, SIZE, config=config, device="cpu")
    assert render_folder(tmp_path / "out", 2, 1, SIZE, device="cpu")[1] == 2


def test_a_device_that_is_not_there_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="this machine has no device 'abacus'"):
        render_folder(tmp_path / "out", 1, 1, SIZE, device="abacus")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_hand_is_not_gone_on_with(tmp_path: Path) -> None:
    render_folder(tmp_path, 1, 1, SIZE, device="cpu")
    settings = json.loads((tmp_path / "settings.json").read_text())
    settings["hand"] = "0" * 16
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="was rendered with the hand of another version of knuckle"):
        render_folder(tmp_path, 2, 1, SIZE, device="cpu")
