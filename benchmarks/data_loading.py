"""How fast data gets in and numbers get out: crops a second, seconds to index, seconds to evaluate.

    python -m benchmarks.data_loading --out benchmarks/results/data_loading.json

Everything is generated in a temporary folder, in the sizes of FreiHAND: 224 x 224 JPEGs, the release's
130,240 records, MMPose's 104,192 training annotations, and 13,024 test predictions; and of RHD: the 41,258
images of its training set. Variants of one question take turns within each round, so that a busy moment hits
all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8

import knuckle
from knuckle import metrics
from knuckle.data.augment import Augmentation
from knuckle.data.loader import CropSource, batches
from knuckle.evaluate import evaluate
from knuckle.formats.rhd import FEWEST_VISIBLE
from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.methods.codec import crop_to_heatmap, gaussian_heatmaps

SIDE: Final = 224
RULE: Final = CropRule(size=SIDE, frame_padding=0.8, whole_image=True)
STRIDE: Final = 4
BATCH: Final = 64
UNIQUE: Final = 32560
VERSIONS: Final = 4
TRAINING: Final = 104_192
TEST: Final = 13_024
RHD_IMAGES: Final = 41_258

GEOMETRY: Final = Augmentation.mmpose()
COLOR: Final = replace(
    GEOMETRY, brightness=0.2, contrast=0.2, saturation=0.3, hue=15.0, channel_gain=0.1, color_probability=0.8
)
EVERYTHING: Final = replace(
    COLOR,
    occluders=2,
    occluder_probability=0.5,
    blur=1.5,
    blur_probability=0.3,
    noise=10.0,
    noise_probability=0.3,
    jpeg_quality=40,
    jpeg_probability=0.3,
)


@dataclass(frozen=True)
class Row:
    """One measured quantity: every run, their median, and the goal where there is one."""

    name: str
    unit: str
    median: float
    runs: list[float]
    goal: str = ""


def main() -> None:
    """Measure everything and write the results as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--runs", type=int, default=5, help="rounds; the median counts")
    parser.add_argument("--images", type=int, default=2000, help="distinct JPEGs to load")
    options = parser.parse_args()
    torch.set_num_threads(1)  # more would wait, spinning, on the cores that the workers need
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        rows = [
            *measure_loading(Path(folder) / "images", options.images, options.runs),
            *measure_indexing(Path(folder) / "freihand", options.runs),
            *measure_rhd(Path(folder) / "rhd", options.runs),
            *measure_evaluation(options.runs),
        ]
    result = {
        "command": f"python -m benchmarks.data_loading {' '.join(sys.argv[1:])}",
        "machine": machine(),
        "settings": {"images": options.images, "batch": BATCH, "crop": SIDE, "everything": asdict(EVERYTHING)},
        "rows": [asdict(row) for row in rows],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    for row in rows:
        sys.stdout.write(f"{row.name:64} {row.median:10.4g} {row.unit:9} {row.goal}\n")


def machine() -> dict[str, Any]:
    """Processor, cores and versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
        "threads": {"torch": torch.get_num_threads(), "cv2": cv2.getNumThreads()},
        **{name: version(name) for name in ("numpy", "torch", "opencv-python-headless")},
        "knuckle": knuckle.__version__,
    }


def take_turns(variants: Mapping[str, Callable[[], float]], runs: int) -> dict[str, list[float]]:
    """What each variant returns, `runs` times, one after the other in every round."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(runs):
        for name, variant in variants.items():
            found[name].append(variant())
    return found


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rows_of(found: Mapping[str, list[float]], unit: str, goals: Mapping[str, str]) -> list[Row]:
    """One row a variant."""
    return [Row(name, unit, statistics.median(runs), runs, goals.get(name, "")) for name, runs in found.items()]


# Loading: JPEG files to augmented crops with heatmap targets.


def measure_loading(folder: Path, count: int, runs: int) -> list[Row]:
    """Images a second, and what the plain OpenCV calls alone allow in the same rounds."""
    hands = write_photos(folder, count)
    files = hands.paths()
    variants = {
        "OpenCV alone, one process: decode, to RGB, warp": lambda: count / seconds(lambda: decode_and_warp(files)),
        "flip, shift, scale, rotate; in process": lambda: count / seconds(lambda: load(hands, GEOMETRY, 0)),
        "flip, shift, scale, rotate; 1 worker": lambda: count / seconds(lambda: load(hands, GEOMETRY, 1)),
        "flip, shift, scale, rotate; 2 workers": lambda: count / seconds(lambda: load(hands, GEOMETRY, 2)),
        "the same and colour; in process": lambda: count / seconds(lambda: load(hands, COLOR, 0)),
        "the same and colour; 2 workers": lambda: count / seconds(lambda: load(hands, COLOR, 2)),
        "every augmentation; in process": lambda: count / seconds(lambda: load(hands, EVERYTHING, 0)),
        "every augmentation; 2 workers": lambda: count / seconds(lambda: load(hands, EVERYTHING, 2)),
    }
    goals = {
        "flip, shift, scale, rotate; in process": "at least 1000",
        "flip, shift, scale, rotate; 2 workers": "at least 1500",
    }
    size = statistics.median(path.stat().st_size for path in files)
    load(hands, GEOMETRY, 0)  # warms the page cache
    return [
        Row("JPEG file size, median", "bytes", size, [size]),
        *rows_of(take_turns(variants, runs), "images/s", goals),
    ]


def load(hands: Hands, augmentation: Augmentation, workers: int) -> None:
    """One epoch: crops and 21 x 56 x 56 targets, as a training loop would receive them."""
    source = CropSource(hands, RULE, augmentation)
    rows = np.array_split(np.arange(len(hands)), range(BATCH, len(hands), BATCH))
    for batch, _ in batches(source, rows, workers=workers):
        xy_heatmap = crop_to_heatmap(batch.targets.xy_crop, STRIDE, RULE.alignment)
        gaussian_heatmaps(xy_heatmap, batch.targets.labeled, (SIDE // STRIDE, SIDE // STRIDE), 2.0)


def decode_and_warp(files: list[Path]) -> None:
    """The three calls without which no crop can be had."""
    matrix = np.array([[1.08, 0.62, -70.0], [-0.62, 1.08, 60.0]])
    for path in files:
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), dtype=np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        cv2.warpAffine(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), matrix, (SIDE, SIDE))


def write_photos(folder: Path, count: int) -> Hands:
    """Distinct JPEGs with the spectrum of photos, and hands with random keypoints on them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    scenes = [scene(rng, 512) for _ in range(20)]
    for number in range(count):
        x, y = rng.integers(0, 512 - SIDE, 2)
        window = scenes[number % len(scenes)][y : y + SIDE, x : x + SIDE]
        cv2.imwrite(str(folder / f"{number:08d}.jpg"), window, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return Hands(
        image=[f"{number:08d}.jpg" for number in range(count)],
        xy=rng.uniform(50, 174, (count, 21, 2)),
        visibility=np.full((count, 21), 2),
        size=np.full((count, 2), SIDE),
        root=folder,
    )


def scene(rng: np.random.Generator, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """Correlated colours whose amplitude falls as 1 / frequency, slightly out of focus."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((3, side, side))) / frequency
    planes = np.fft.irfft2(spectrum, s=(side, side))
    planes /= planes.std()
    mixed = np.einsum("cd,dhw->hwc", [[1, 0.3, 0.1], [1, 0, -0.2], [1, -0.3, 0.15]], planes)
    sharp = np.clip(120 + 50 * mixed, 0, 255).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(sharp, (0, 0), 1.0), dtype=np.uint8)


# Indexing: annotation files to hands.


def measure_indexing(folder: Path, runs: int) -> list[Row]:
    """Seconds from annotation files to `Hands`, first time and from the cache, beside `json.loads` alone."""
    rng = np.random.default_rng(1)
    write_release(folder, rng)
    write_annotations(folder / "annotations" / "freihand_train.json", rng)
    release = [folder / "training_xyz.json", folder / "training_K.json"]
    annotations = [folder / "annotations" / "freihand_train.json"]
    cache = Path(os.environ["XDG_CACHE_HOME"])

    def index(split: str, expected: int, *, fresh: bool) -> float:
        if fresh:
            shutil.rmtree(cache, ignore_errors=True)
        taken = seconds(lambda: found.append(knuckle.read(folder, "freihand", split)))
        assert len(found.pop()) == expected
        return taken

    found: list[Hands] = []
    records = UNIQUE * VERSIONS
    variants = {
        f"{records} FreiHAND records: json.loads alone": lambda: seconds(lambda: parse(release)),
        f"{records} FreiHAND records: first time": lambda: index("training", records, fresh=True),
        f"{records} FreiHAND records: from the cache": lambda: index("training", records, fresh=False),
        f"{TRAINING} MMPose annotations: json.loads alone": lambda: seconds(lambda: parse(annotations)),
        f"{TRAINING} MMPose annotations: first time": lambda: index("train", TRAINING, fresh=True),
        f"{TRAINING} MMPose annotations: from the cache": lambda: index("train", TRAINING, fresh=False),
    }
    goals = {name: "below 2" for name in variants if name.endswith("first time")}
    goals |= {name: "below 0.3" for name in variants if name.endswith("cache")}
    return rows_of(take_turns(variants, runs), "s", goals)


def parse(files: list[Path]) -> None:
    """What the standard library needs for these files."""
    for file in files:
        json.loads(file.read_bytes())


def measure_rhd(folder: Path, runs: int, images: int = RHD_IMAGES) -> list[Row]:
    """Seconds from RHD's pickle to `Hands`, for which there is no cache, beside `pickle.loads` alone."""
    expected = write_rhd_release(folder, images, np.random.default_rng(3))
    file = folder / "training" / "anno_training.pickle"

    def index() -> float:
        taken = seconds(lambda: found.append(knuckle.read(folder, "rhd", "training")))
        hands = found.pop()
        assert (len(hands), len(np.unique(hands.image))) == (expected, images)
        return taken

    found: list[Hands] = []
    variants = {
        f"{images} RHD images: pickle.loads alone": lambda: seconds(lambda: pickle.loads(file.read_bytes())),
        f"{images} RHD images: every time": index,
    }
    return rows_of(take_turns(variants, runs), "s", {})


def write_rhd_release(folder: Path, images: int, rng: np.random.Generator) -> int:
    """RHD's training set with random hands, one whole and one partly seen an image; how many of them are read."""
    names = [f"{number:05d}.png" for number in range(images)]
    _write_one_image_as(folder / "training" / "color", names, np.full((320, 320, 3), 128, dtype=np.uint8))
    uv_vis = np.ones((images, 42, 3))
    uv_vis[..., :2] = rng.uniform(20, 300, (images, 42, 2))
    seen = rng.integers(0, 22, images)
    uv_vis[:, 21:, 2] = np.arange(21) < seen[:, None]
    xyz = rng.uniform((-0.1, -0.1, 0.4), (0.1, 0.1, 0.9), (images, 42, 3))
    camera = np.array([[283, 0, 160], [0, 283, 160], [0, 0, 1]], dtype=np.float32)
    records = {number: {"uv_vis": uv_vis[number], "xyz": xyz[number], "K": camera.copy()} for number in range(images)}
    (folder / "training" / "anno_training.pickle").write_bytes(pickle.dumps(records, protocol=2))
    return images + int((seen >= FEWEST_VISIBLE).sum())


def _write_one_image_as(folder: Path, names: Sequence[str], image: UInt8[np.ndarray, "H W 3"]) -> None:
    """One small image under many names."""
    folder.mkdir(parents=True)
    content = cv2.imencode(Path(names[0]).suffix, image)[1].tobytes()
    for number, name in enumerate(names):
        if number % 10_000 == 0:  # file systems limit the links to one file
            (folder / name).write_bytes(content)
        else:
            (folder / name).hardlink_to(folder / names[number - number % 10_000])


def write_release(folder: Path, rng: np.random.Generator) -> None:
    """FreiHAND's training set with random hands; one small JPEG under 130,240 names."""
    names = [f"{number:08d}.jpg" for number in range(UNIQUE * VERSIONS)]
    _write_one_image_as(folder / "training" / "rgb", names, np.full((SIDE, SIDE, 3), 128, dtype=np.uint8))
    camera = np.zeros((UNIQUE, 3, 3))
    camera[:, 0, 0] = camera[:, 1, 1] = rng.uniform(400, 600, UNIQUE)
    camera[:, :2, 2] = SIDE / 2
    camera[:, 2, 2] = 1
    xyz = rng.uniform((-0.08, -0.08, 0.6), (0.08, 0.08, 0.9), (UNIQUE, 21, 3))
    (folder / "training_K.json").write_text(json.dumps(camera.tolist()))
    (folder / "training_xyz.json").write_text(json.dumps(xyz.tolist()))


def write_annotations(file: Path, rng: np.random.Generator) -> None:
    """MMPose's training json with random keypoints on the release's images."""
    unique = TRAINING // VERSIONS
    numbers: Int64[np.ndarray, " n"] = (np.arange(VERSIONS)[:, None] * UNIQUE + np.arange(unique)).ravel()
    keypoints = np.ones((TRAINING, 21, 3))
    keypoints[..., :2] = rng.uniform(40, 184, (TRAINING, 21, 2))
    images = [
        {"file_name": f"training/rgb/{number:08d}.jpg", "height": SIDE, "width": SIDE, "id": number}
        for number in numbers.tolist()
    ]
    annotations = [
        {
            "bbox": [40, 40, 144, 144],
            "keypoints": flat,
            "category_id": 1,
            "id": number,
            "image_id": number,
            "segmentation": [[40, 40, 40, 112.0, 40, 184, 112.0, 184, 184, 184, 184, 112.0, 184, 40, 112.0, 40]],
            "iscrowd": 0,
            "area": 20736,
        }
        for number, flat in zip(numbers.tolist(), keypoints.reshape(TRAINING, 63).tolist(), strict=True)
    ]
    file.parent.mkdir()
    info = {"description": "FreiHand", "version": "1.0", "year": "2020", "date_created": "2020/09/08"}
    file.write_text(json.dumps({"info": info, "images": images, "annotations": annotations, "categories": []}))


# Evaluation: predictions to numbers.


def measure_evaluation(runs: int) -> list[Row]:
    """Seconds from two tables of 13,024 hands to the numbers."""
    rng = np.random.default_rng(2)
    xy: Float32[np.ndarray, "n 21 2"] = rng.uniform(50, 174, (TEST, 21, 2)).astype(np.float32)
    true = Hands(
        image=[f"{number:08d}.jpg" for number in range(TEST)],
        xy=xy,
        visibility=np.full((TEST, 21), 2),
        group=np.arange(TEST) // VERSIONS,
        size=np.full((TEST, 2), SIDE),
    )
    pred = true.replace(xy=xy + rng.laplace(0, 3, xy.shape).astype(np.float32))

    def three() -> None:
        metrics.pck(pred, true), metrics.auc(pred, true), metrics.epe(pred, true)

    variants = {
        f"{TEST} predictions: PCK, AUC and EPE": lambda: seconds(three),
        f"{TEST} predictions: all metrics, intervals and breakdowns": lambda: seconds(lambda: evaluate(pred, true)),
    }
    return rows_of(take_turns(variants, runs), "s", dict.fromkeys(variants, "below 0.25"))


if __name__ == "__main__":
    main()
