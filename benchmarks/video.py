"""Video: memory over many frames, and the jitter of a still hand with and without smoothing.

    python -m benchmarks.video --frames 10000

Memory: a synthetic clip of 320 x 240 pixels is written, followed by a network whose answer is known (a hand around
a light), and written as csv and as a drawn video; the resident size is read after the first 500 frames and at the
end. Jitter: the same light stands still under noise of a known strength; jitter is the root mean square
of each joint's movement from frame to frame, in sides of the keypoints' extent. Also measured is the lag: how
far the smoothed hand stays behind the raw one, at most, while the light goes from rest to two sides a second.
With --model and --clip the jitter of a trained model on a still clip of your own is measured, too. With --model and
--photos it is measured on photos of one hand, found by the detector, that stand still under a camera's noise.

Writes benchmarks/results/video.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from benchmarks.predict_memory import peak_mb, resident_mb
from knuckle.data.images import read_image
from knuckle.geometry import CropRule
from knuckle.hands import keypoint_extent
from knuckle.methods.base import Decoded, Features, Method, Outputs, Targets
from knuckle.predict import Predictor, load
from knuckle.predict.drawn_video import DrawnVideo
from knuckle.predict.follow import Seen, follow
from knuckle.predict.sinks import Output
from knuckle.predict.smooth import SmoothRule
from knuckle.predict.track import TrackRule
from knuckle.predict.video import Frame, open_video
from knuckle.predict.video_files import predict_video

RESULT = Path(__file__).parent / "results" / "video.json"
WARM_UP = 500
RATE = 30.0
SIZE_WH = (320, 240)
SPREAD = 14.0
"""Of the light, in pixels; the hand's extent is about four times as large."""
NOISE = 60.0
"""Standard deviation of the noise on the still clip, in grey levels, before it is cut off at 0 and 255."""

CAMERA_NOISE = 6.0
"""Standard deviation of the noise on still photos, in grey levels, of each pixel and colour of its own."""

_TURNS = np.linspace(0, 2 * np.pi, 20, endpoint=False)
_RAYS = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1) * np.tile([[0.8], [1.2], [1.6], [2.0]], (5, 1))
_HAND = torch.tensor(np.concatenate([[[0.0, 2.0]], _RAYS])).float()


class Light(Method):
    """Keypoints at fixed places around the centre of the light: cheap, and sensitive to noise."""

    name = "light"

    def __init__(self, size: int) -> None:
        super().__init__(size, "center")

    def features_of(self, images: Tensor) -> Features:
        """The grey levels."""
        return (images.double(),)

    def outputs_of(self, features: Features) -> Outputs:
        """Centre and width of the light."""
        light = (features[-1][:, 0] - 96).clamp(min=0) + 1e-3
        steps = torch.arange(self.size, dtype=torch.float64)
        share_x, share_y = light.sum(1), light.sum(2)
        total = light.sum((1, 2))[:, None]
        x, y = ((share * steps).sum(1, keepdim=True) / total for share in (share_x, share_y))
        spread = ((share_x * (steps - x) ** 2).sum(1, keepdim=True) / total).sqrt()
        return {"xy": torch.cat([x, y], 1)[:, None] + _HAND * spread[..., None]}

    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        """It learns nothing."""
        raise NotImplementedError

    def decode(self, outputs: Outputs) -> Decoded:
        """The keypoints, without any sigma: the filter takes its own noise."""
        return Decoded(outputs["xy"].float(), None)

    def unmirror(self, outputs: Outputs) -> Outputs:
        """The outputs of a mirrored crop."""
        x, y = outputs["xy"].unbind(-1)
        return {"xy": torch.stack([self.size - 1 - x, y], -1)}


def light_at(x: float, y: float) -> UInt8[np.ndarray, "h w 3"]:
    """A frame with one soft light."""
    rows, columns = np.mgrid[: SIZE_WH[1], : SIZE_WH[0]]
    glow = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * SPREAD**2))
    return np.repeat(glow.round().astype(np.uint8)[..., None], 3, axis=2)


def make_clip(path: Path, frames: int) -> None:
    """A light that goes round and round; 90 different pictures."""
    turns = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    pictures = [light_at(160 + 60 * np.cos(turn), 120 + 40 * np.sin(turn)) for turn in turns]
    with DrawnVideo(path, RATE) as video:
        for number in range(frames):
            video.add(pictures[number % len(pictures)], number / RATE)


def measure_memory(frames: int, folder: Path) -> dict[str, Any]:
    """Follows a clip of that length into a table and a drawn video."""
    clip = folder / "clip.avi"
    make_clip(clip, frames)
    seen: dict[str, float] = {}

    def watch(done: int) -> None:
        if done == WARM_UP:
            seen["early"] = resident_mb()
        elif done == frames:
            seen["late"] = resident_mb()

    start = time.perf_counter()
    output = Output.of(folder / "tracks.csv")
    with open_video(clip) as video:
        tally, _ = predict_video(
            predictor(),
            video,
            boxes="full",
            smoothing=SmoothRule(),
            output=output,
            drawing=folder / "drawn.avi",
            progress=watch,
        )
    with output.path.open() as table:
        rows = sum(1 for _ in table) - 1
    return {
        "frames": tally.frames,
        "with_hands": tally.with_hands,
        "tracks": tally.tracks,
        "table_rows": rows,
        "resident_mb_after_500": round(seen["early"], 1),
        "resident_mb_after_all": round(seen["late"], 1),
        "resident_mb_after_writing": round(resident_mb(), 1),
        "frames_per_second": round(tally.frames / (time.perf_counter() - start), 1),
    }


def noisy(pictures: Iterable[UInt8[np.ndarray, "h w 3"]], strength: float = NOISE) -> Iterator[Frame]:
    """Frames with fresh noise on each."""
    rng = np.random.default_rng(0)
    for number, picture in enumerate(pictures):
        shaken = picture + strength * rng.standard_normal(picture.shape)
        yield Frame(number, number / RATE, shaken.clip(0, 255).astype(np.uint8))


def paths(frames: Iterable[Seen]) -> tuple[Float64[np.ndarray, "f 21 2"], Float64[np.ndarray, "f 21 2"], float]:
    """Raw and smoothed keypoints of the first track in all frames that show it, and its mean side in pixels."""
    raw, smooth = [], []
    for seen in frames:
        if seen.smooth is not None and len(seen.track) and seen.track[0] == 1:
            raw.append(seen.hands.xy[0].astype(np.float64))
            smooth.append(seen.smooth.xy[0].astype(np.float64))
    if not raw:
        raise SystemExit("no hand was followed.")
    extent = keypoint_extent(np.array(raw, np.float32))
    return np.array(raw), np.array(smooth), float((extent[:, 2:] - extent[:, :2]).max(axis=1).mean())


def jitter(frames: Iterable[Seen]) -> dict[str, float]:
    """The jitter of a still hand, raw and smoothed; the first half second is left out."""
    raw, smooth, side = paths(frames)
    start = round(RATE / 2)
    before, after = (float(np.sqrt(np.nanmean(np.diff(xy[start:], axis=0) ** 2 * 2))) / side for xy in (raw, smooth))
    return {
        "frames": len(raw),
        "jitter_raw_percent_of_side": round(100 * before, 3),
        "jitter_smooth_percent_of_side": round(100 * after, 3),
        "times_less": round(before / after, 2),
    }


def still_photos(model: Predictor, photos: list[Path], frames: int) -> dict[str, Any]:
    """The medians over the photos on which the detector finds a hand."""
    found = []
    for path in photos:
        film = noisy(repeat(read_image(path), frames), CAMERA_NOISE)
        seen = list(follow(model, film, detector=model.detector, rule=TrackRule(most_hands=1), smoothing=SmoothRule()))
        if any(len(one.track) for one in seen):
            found.append(jitter(seen))
    medians = {name: round(float(np.median([one[name] for one in found])), 3) for name in found[0]}
    return {"photos": len(photos), "followed": len(found), "noise": CAMERA_NOISE, **medians}


def measure_lag() -> float:
    """How far the smoothed hand stays behind, at most, in percent of its side, when a still light sets off."""
    still = (Frame(number, number / RATE, light_at(80, 120)) for number in range(2))
    _, _, side = paths(follow(predictor(), still, boxes="full", smoothing=SmoothRule()))
    speed = np.interp(np.arange(60), [30, 36], [0, 2]) * side / RATE
    frames = (Frame(number, number / RATE, light_at(80 + x, 120)) for number, x in enumerate(np.cumsum(speed)))
    raw, smooth, side = paths(follow(predictor(), frames, boxes="full", smoothing=SmoothRule()))
    return round(100 * float(np.abs(raw - smooth).max()) / side, 2)


def predictor() -> Predictor:
    """The network whose answer is known."""
    return Predictor(Light(64), CropRule(size=64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--still-frames", type=int, default=300)
    parser.add_argument("--model", help="a trained model, for the jitter on --clip or --photos")
    parser.add_argument("--photos", type=Path, nargs="+", default=[], help="photos of one hand each")
    parser.add_argument("--clip", type=Path, help="a video of one hand that holds still")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    if arguments.frames <= WARM_UP:
        parser.error(f"--frames must be more than {WARM_UP}")
    if (arguments.model is None) != (arguments.clip is None and not arguments.photos):
        parser.error("--model belongs to --clip or --photos")
    with tempfile.TemporaryDirectory() as folder:
        memory = measure_memory(arguments.frames, Path(folder))
    frames = noisy(repeat(light_at(160, 120), arguments.still_frames))
    result = {
        "command": f"python -m benchmarks.video {' '.join(sys.argv[1:])}",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "python": platform.python_version(),
        "peak_mb": round(peak_mb(), 1),
        "memory": memory,
        "still_light": jitter(follow(predictor(), frames, boxes="full", smoothing=SmoothRule())),
        "lag_percent_of_side": measure_lag(),
    }
    if arguments.clip is not None:
        with open_video(arguments.clip) as video:
            found = follow(load(arguments.model), video, boxes="full", smoothing=SmoothRule())
            result["still_clip"] = {"model": arguments.model, "clip": arguments.clip.name, **jitter(found)}
    if arguments.photos:
        result["still_photos"] = {"model": arguments.model} | still_photos(load(arguments.model), arguments.photos, 60)
        result["command"] = (
            f"python -m benchmarks.video --frames {arguments.frames} --model {arguments.model} --photos PHOTOS"
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
