"""Frames of files and cameras: right pixels, upright, right times, one sentence for what cannot be read."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jaxtyping import UInt8

from knuckle.predict.video import Frame, open_camera, open_video
from tests.predict.clips import rotate, set_durations, time_scale, write_clip


def pictures(count: int, size_wh: tuple[int, int] = (64, 48)) -> list[UInt8[np.ndarray, "h w 3"]]:
    """A red block that walks to the right over black, above a blue one that stands."""
    images = []
    for number in range(count):
        image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
        image[5:15, number : number + 10] = (255, 0, 0)
        image[30:40, 5:15] = (0, 0, 255)
        images.append(image)
    return images


def frames(path: Path) -> list[Frame]:
    with open_video(path) as video:
        return list(video)


class Capture:
    """OpenCV's capture in a class of our own: subclasses of OpenCV's crash the interpreter."""

    real = cv2.VideoCapture

    def __init__(self, *arguments: Any) -> None:
        self.capture = self.real(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.capture, name)

    def get(self, field: int) -> float:
        return self.capture.get(field)


def test_frames_have_the_pixels_in_rgb_the_numbers_and_the_times(tmp_path: Path) -> None:
    images = pictures(20)
    seen = frames(write_clip(tmp_path / "a.mkv", images, rate=12.5))
    assert [frame.number for frame in seen] == list(range(20))
    np.testing.assert_allclose([frame.time for frame in seen], np.arange(20) / 12.5, atol=1e-3)
    for frame, image in zip(seen, images, strict=True):
        assert frame.image.dtype == np.uint8
        np.testing.assert_allclose(frame.image.astype(int), image, atol=12)  # the coding halves colour's resolution


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_file_says_its_size_rate_and_length(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"a{suffix}", pictures(15, (80, 60)), rate=10)
    with open_video(path) as video:
        assert (video.name, video.size_wh, video.announced) == (str(path), (80, 60), 15)
        assert video.rate == pytest.approx(10)
        assert len(list(video)) == video.frames_read == 15
        assert video.shortfall() == ""


def test_a_clip_of_a_phone_held_upright_is_turned(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", pictures(3))
    flat = frames(path)[0].image
    rotate(path)
    with open_video(path) as video:
        assert video.size_wh == (48, 64)
        turned = next(iter(video)).image
    np.testing.assert_array_equal(turned, np.rot90(flat, k=-1))


def test_a_variable_frame_rate_keeps_every_frames_own_time(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", pictures(8), rate=25)
    unit = time_scale(path) // 25
    assert unit > 0
    lengths = [1, 1, 5, 1, 2, 1, 9, 1]
    set_durations(path, [length * unit for length in lengths])
    expected = np.concatenate([[0], np.cumsum(lengths[:-1])]) / 25
    np.testing.assert_allclose([frame.time for frame in frames(path)], expected, atol=1e-3)


def test_times_rise_where_the_stream_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.avi", pictures(5), rate=20)

    class Timeless(Capture):
        def get(self, field: int) -> float:
            return 0.0 if field == cv2.CAP_PROP_POS_MSEC else super().get(field)

    monkeypatch.setattr(cv2, "VideoCapture", Timeless)
    np.testing.assert_allclose([frame.time for frame in frames(path)], np.arange(5) / 20)


def test_what_is_no_video_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no video"), open_video(tmp_path / "none.mp4"):
        pass
    whole = write_clip(tmp_path / "a.mp4", pictures(30)).read_bytes()
    for name, content in (("empty", b""), ("text", b"no video at all"), ("cut", whole[: len(whole) // 2])):
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}\.mp4 cannot be read as a video"), open_video(path):
            pass


def test_frames_larger_than_photos_may_be_are_refused_before_one_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "a.avi", pictures(3))

    class Huge(Capture):
        def get(self, field: int) -> float:
            sizes = {cv2.CAP_PROP_FRAME_WIDTH: 20_000.0, cv2.CAP_PROP_FRAME_HEIGHT: 5_001.0}
            return sizes[field] if field in sizes else super().get(field)

        def read(self) -> Any:
            raise AssertionError

    monkeypatch.setattr(cv2, "VideoCapture", Huge)
    sentence = r"^a frame of .*a\.avi claims 20000 x 5001 pixels, more than 100 million; save a smaller copy\.$"
    with pytest.raises(ValueError, match=sentence), open_video(path) as video:
        next(iter(video))


def test_frames_that_grow_too_large_within_a_clip_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.avi", pictures(3))
    answers = iter([(20, 30), (20, 40), (10_001, 10_000)])

    class Growing(Capture):
        def read(self) -> Any:
            return True, np.broadcast_to(np.uint8(7), (*next(answers), 3))

    monkeypatch.setattr(cv2, "VideoCapture", Growing)
    with open_video(path) as video:
        frames = iter(video)
        assert [next(frames).image.shape for _ in range(2)] == [(20, 30, 3), (20, 40, 3)]
        with pytest.raises(ValueError, match="claims 10000 x 10001 pixels"):
            next(frames)


def test_the_decoder_adds_nothing_to_the_sentence(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", pictures(30))
    path.write_bytes(path.read_bytes()[:600])
    program = f"""
from pathlib import Path
from knuckle.predict.video import open_video
try:
    with open_video(Path({str(path)!r})): pass
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "cannot be read as a video" in done.stdout
    assert done.stderr == ""


def test_a_truncated_file_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", pictures(40))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with open_video(path) as video:
        seen = list(video)
        assert 5 < len(seen) < 35
        assert f"announces 40 frames, and only the first {len(seen)}" in video.shortfall()


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", pictures(60, (320, 240)))
    tracemalloc.start()
    with open_video(path) as video:
        for frame in video:
            assert frame.image.shape == (240, 320, 3)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 * 240 * 320 * 3, f"{most:,} bytes"


def test_a_camera_is_timed_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.mkv", pictures(6), rate=50)
    released = []

    class Camera(Capture):
        def __init__(self, number: int) -> None:
            super().__init__(*([str(path)] if number == 3 else []))

        def release(self) -> None:
            released.append(1)
            self.capture.release()

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    ticks = iter(np.arange(100.0, 200.0, 0.25))
    monkeypatch.setattr("knuckle.predict.video.time.monotonic", lambda: float(next(ticks)))
    with open_camera(3) as video:
        times = [frame.time for frame in video]
        assert (video.name, video.announced, video.shortfall()) == ("camera 3", None, "")
    assert len(times) == 6
    assert times[0] < 0.5
    np.testing.assert_allclose([later - sooner for sooner, later in pairwise(times)], 0.25)
    assert released
    with pytest.raises(ValueError, match="there is no camera 4"), open_camera(4):
        pass
