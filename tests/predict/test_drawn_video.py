"""Drawn videos: every picture at its own time, whole files or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knuckle.predict.drawn_video import CODES, LONGEST_GAP, DrawnVideo
from knuckle.predict.video import open_video


def grey(level: int, size_wh: tuple[int, int] = (64, 48)) -> Any:
    return np.full((size_wh[1], size_wh[0], 3), level, np.uint8)


def shown(path: Path) -> list[tuple[float, int]]:
    """Time and grey level of every frame."""
    with open_video(path) as video:
        return [(round(frame.time, 3), round(float(frame.image.mean()) / 10) * 10) for frame in video]


@pytest.mark.parametrize("suffix", list(CODES))
def test_every_coding_plays_at_its_rate(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"a{suffix}"
    with DrawnVideo(path, 12.5) as drawn:
        for number in range(6):
            drawn.add(grey(20 + 30 * number), number / 12.5)
    assert shown(path) == [(round(number / 12.5, 3), 20 + 30 * number) for number in range(6)]
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_pictures_fill_the_time_until_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with DrawnVideo(path, 10) as drawn:
        for time, level in ((7.0, 50), (7.1, 100), (7.12, 130), (7.5, 150), (7.6, 200)):
            drawn.add(grey(level), time)
    levels = [level for _, level in shown(path)]
    assert levels == [50, 100, 130, 130, 130, 150, 200]


def test_a_gap_of_days_is_shortened(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    day = 86400.0
    with DrawnVideo(path, 10) as drawn:
        for time, level in ((0.0, 50), (day, 100), (day + 0.1, 150), (day + 0.1 + LONGEST_GAP, 200), (3 * day, 250)):
            drawn.add(grey(level), time)
        assert drawn.shortened == 2
    levels = [level for _, level in shown(path)]
    kept = round(10 * LONGEST_GAP)
    assert levels == [50] * kept + [100] + [150] * kept + [200] * kept + [250]


def test_colours_are_rgb(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 250
    with DrawnVideo(path, 10) as drawn:
        drawn.add(red, 0.0)
    with open_video(path) as video:
        np.testing.assert_allclose(next(iter(video)).image.mean(axis=(0, 1)), (250, 0, 0), atol=12)


def draw_two_sizes(path: Path) -> None:
    with DrawnVideo(path, 10) as drawn:
        drawn.add(grey(5), 0.0)
        drawn.add(grey(5, (32, 48)), 0.1)


def test_a_run_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="one size"):
        draw_two_sizes(path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.gif cannot be written: drawn videos end in \.mp4"):
        DrawnVideo(tmp_path / "a.gif", 10)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"), DrawnVideo(tmp_path / "file" / "a.mp4", 10) as drawn:
        drawn.add(grey(5), 0.0)
