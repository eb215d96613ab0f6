"""predict_video: streamed outputs that read back, image and video mode agreeing, Ctrl-C keeping what was found."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import knuckle
from knuckle.geometry import CropRule
from knuckle.hands import group_number
from knuckle.predict import Predictor, sinks
from knuckle.predict.follow import Seen, follow
from knuckle.predict.journal import read_journal
from knuckle.predict.sinks import Kind, Output
from knuckle.predict.smooth import SmoothRule
from knuckle.predict.video import Frame, open_video
from knuckle.predict.video_files import predict_video
from tests.predict.centroid import Glow, light_at
from tests.predict.clips import set_durations, time_scale, write_clip

SIZE_WH = (120, 90)


def predictor() -> Predictor:
    return Predictor(Glow(), CropRule(size=64))


def clip(path: Path, count: int = 12, dark: range = range(0)) -> Path:
    """A light that wanders; in dark frames there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    black = np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.uint8)
    lit = (light_at((40 + 2 * (n % 15), 45 - n % 15), SIZE_WH) for n in range(count))
    return write_clip(path, (black if n in dark else image for n, image in enumerate(lit)), rate=10)


def run(path: Path, output: Output | None, **options: Any) -> Any:
    with open_video(path) as video:
        return predict_video(predictor(), video, **{"boxes": "full", "output": output, **options})


def in_memory(path: Path, name: str, **options: Any) -> list[Seen]:
    with open_video(path) as video:
        return list(follow(predictor(), video, boxes="full", name=name, **options))


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet

        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return rows
    if path.suffix == ".csv":
        with path.open(newline="") as stream:
            return list(csv.DictReader(stream))
    text = path.read_text()
    listed: list[dict[str, Any]] = (
        json.loads(text) if path.suffix == ".json" else list(map(json.loads, text.splitlines()))
    )
    return listed


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "x.json", "x.jsonl"])
@pytest.mark.parametrize("smoothed", [True, False])
def test_a_table_holds_frame_time_track_raw_and_smoothed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, smoothed: bool
) -> None:
    monkeypatch.setattr(sinks, "PIECE", 5)
    path = clip(tmp_path / "in" / "clip.avi", dark=range(4, 6))
    smoothing = SmoothRule() if smoothed else None
    output = Output.of(tmp_path / "out" / name)
    tally, lost = run(path, output, smoothing=smoothing)
    assert (tally.frames, tally.with_hands, tally.tracks, lost) == (12, 10, 1, [])
    expected = in_memory(path, "../in/clip.avi", smoothing=smoothing)
    rows = rows_of(output.path)
    assert len(rows) == 10 * 21
    shown = [seen for seen in expected if len(seen.hands)]
    for number, seen in enumerate(shown):
        for joint in range(21):
            row = rows[number * 21 + joint]
            assert (int(row["frame"]), int(row["track"]), int(row["joint"])) == (seen.frame.number, 1, joint)
            assert row["image"] == f"../in/clip.avi#{seen.frame.number:06d}"
            assert float(row["time"]) == pytest.approx(seen.frame.number / 10)
            assert int(row["group"]) == group_number("../in/clip.avi")
            np.testing.assert_array_equal(np.array([row["x"], row["y"]], np.float32), seen.hands.xy[0, joint])
            if seen.smooth is None:
                assert "x_smooth" not in row
            else:
                smooth = np.array([row["x_smooth"], row["y_smooth"]], np.float32)
                np.testing.assert_array_equal(smooth, seen.smooth.xy[0, joint])
    if name != "x.jsonl":
        hands = knuckle.read(output.path)
        np.testing.assert_array_equal(hands.xy, np.concatenate([seen.hands.xy for seen in shown]))
    assert sorted(file.name for file in output.path.parent.iterdir()) == [name]


def test_coco_lists_every_frame_and_names_the_tracks(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.avi", dark=range(4, 6))
    output = Output.of(tmp_path / "x.json", "coco")
    run(path, output, smoothing=SmoothRule())
    content = json.loads(output.path.read_text())
    assert [(image["file_name"], image["frame_index"]) for image in content["images"]] == [
        (f"clip.avi#{n:06d}", n) for n in range(12)
    ]
    np.testing.assert_allclose([image["time"] for image in content["images"]], np.arange(12) / 10)
    last = in_memory(path, "clip.avi", smoothing=SmoothRule())[-1]
    annotation = content["annotations"][-1]
    assert (len(content["annotations"]), annotation["track_id"]) == (10, 1)
    assert last.smooth is not None
    smooth = np.array(annotation["keypoints_smooth"], np.float32).reshape(21, 3)
    np.testing.assert_array_equal(smooth[:, :2], last.smooth.xy[0])
    np.testing.assert_array_equal(smooth[:, 2], last.smooth.visibility[0])
    np.testing.assert_array_equal(knuckle.read(output.path).xy[-1:], last.hands.xy)


def test_a_frame_and_its_box_give_the_same_keypoints_as_a_photo(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.avi")
    model = predictor()
    for number, seen in enumerate(in_memory(path, "clip.avi")):
        boxes = "full" if number == 0 else seen.hands.box
        photo = model.predict(seen.frame.image, boxes)
        np.testing.assert_array_equal(photo.xy, seen.hands.xy)
        assert photo.covariance is not None
        assert seen.hands.covariance is not None
        np.testing.assert_array_equal(photo.covariance, seen.hands.covariance)
        assert number == 0 or not seen.used_detector


def test_times_of_a_variable_rate_reach_the_output_and_the_drawing(tmp_path: Path) -> None:
    images = [light_at((40 + n, 40), SIZE_WH) for n in range(6)]
    path = write_clip(tmp_path / "clip.mp4", images, rate=10)
    unit = time_scale(path) // 10
    set_durations(path, [unit, 3 * unit, unit, unit, 5 * unit, unit])
    starts = [0, 0.1, 0.4, 0.5, 0.6, 1.1]
    output = Output.of(tmp_path / "x.csv")
    run(path, output, drawing=tmp_path / "drawn.avi")
    times = [float(row["time"]) for row in rows_of(output.path)[::21]]
    np.testing.assert_allclose(times, starts, atol=2e-3)
    with open_video(tmp_path / "drawn.avi") as drawn:
        shown = list(drawn)
    assert shown[-1].time == pytest.approx(starts[-1], abs=0.5 / drawn.rate + 1e-3)


def test_a_long_gap_is_shortened_in_the_drawing_alone_and_said(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", [light_at((40 + n, 40), SIZE_WH) for n in range(3)], rate=10)
    unit = time_scale(path) // 10
    set_durations(path, [unit, 10_000 * unit, unit])
    output = Output.of(tmp_path / "x.csv")
    tally, lost = run(path, output, drawing=tmp_path / "drawn.avi")
    assert (tally.frames, tally.tracks, tally.at_once) == (3, 1, 1)
    np.testing.assert_allclose([float(row["time"]) for row in rows_of(output.path)[::21]], [0, 0.1, 1000.1], atol=2e-3)
    assert len(lost) == 1
    assert "drawn.avi is shorter than" in lost[0]
    assert "of which there are 1, are shown as 10 s" in lost[0]
    with open_video(tmp_path / "drawn.avi") as drawn:
        assert 10 < list(drawn)[-1].time < 10.3


def test_the_drawing_shows_the_hands_at_the_videos_own_rate(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.avi", 5)
    tally, _ = run(path, None, drawing=tmp_path / "drawn.mp4")
    assert tally.frames == 5
    with open_video(path) as source, open_video(tmp_path / "drawn.mp4") as drawn:
        assert drawn.rate == pytest.approx(10)
        for before, after in zip(source, drawn, strict=True):
            assert after.time == pytest.approx(before.time, abs=2e-3)
            # The light is red; bones of all colours are drawn over it.
            assert after.image[..., 1:].max() > 150 > before.image[..., 1:].max()
    with pytest.raises(ValueError, match="would overwrite the video"):
        run(path, None, drawing=path)


def test_ctrl_c_keeps_what_was_found(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.avi")

    def stop(done: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    output = Output.of(tmp_path / "x.csv")
    tally, _ = run(path, output, progress=stop, drawing=tmp_path / "drawn.avi")
    assert (tally.interrupted, tally.frames) == (True, 4)
    assert len(rows_of(output.path)) == 4 * 21
    with open_video(tmp_path / "drawn.avi") as drawn:
        assert len(list(drawn)) == 4
    assert not output.journal.exists()


def test_seconds_end_the_run_and_a_crash_leaves_the_journal(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.avi")
    output = Output.of(tmp_path / "x.csv")
    tally, lost = run(path, output, seconds=0.45)
    assert (tally.frames, tally.time, lost) == (5, 0.4, [])

    def crash(done: int) -> None:
        if done == 3:
            raise RuntimeError

    other = Output.of(tmp_path / "y.csv")
    with pytest.raises(RuntimeError):
        run(path, other, progress=crash)
    entries = list(read_journal(other.journal))
    assert [entry.moment.frame for entry in entries if entry.moment] == [0, 1, 2]
    assert not other.path.exists()


def test_a_damaged_clip_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.avi", 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    output = Output.of(tmp_path / "x.csv")
    tally, lost = run(path, output)
    assert 5 < tally.frames < 35
    assert len(lost) == 1
    assert "cut off or damaged" in lost[0]
    assert len(rows_of(output.path)) == 21 * tally.with_hands > 0


def test_folders_of_files_beside_photos_are_refused(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.avi", 3)
    with pytest.raises(ValueError, match="labelme files lie beside photos"):
        run(path, Output.of(tmp_path / "x", "labelme"))


@pytest.mark.parametrize("kind", ["csv", "coco"])
def test_memory_does_not_grow_with_the_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    monkeypatch.setattr(sinks, "PIECE", 8)
    image = light_at((60, 45), SIZE_WH)

    class Endless:
        name, rate = "camera 0", 25.0

        def __init__(self, count: int) -> None:
            self.count = count

        def __iter__(self) -> Iterator[Frame]:
            return (Frame(number, number / 25, image.copy()) for number in range(self.count))

        def shortfall(self) -> str:
            return ""

    model = predictor()

    def peak(count: int) -> int:
        output = Output(tmp_path / f"{count}.{'csv' if kind == 'csv' else 'json'}", kind)
        video: Any = Endless(count)
        tracemalloc.start()
        predict_video(model, video, boxes="full", output=output, smoothing=SmoothRule())
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(4)
    few, many = peak(20), peak(200)
    assert many < few + 150_000, f"{few:,} bytes for 20 frames, {many:,} for 200"
