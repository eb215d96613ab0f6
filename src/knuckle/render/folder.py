"""A folder of rendered pictures: images, annotations, a contact sheet; an interrupted one is gone on with.

out/images/00000000.jpg ...   the pictures, numbered as in their sequence
out/annotations.json          COCO keypoints: what `Hands` holds
out/annotations.csv           the same as a table, one row a keypoint
out/labels.npz                all of `Labels`: 3D keypoints, joint angles, cameras
out/contact_sheet.png         the first hands with their keypoints
out/settings.json             what the folder was rendered with
out/pictures.csv              of whole scenes: how many hands each picture shows, which may be none
out/parts/00000000.npz ...    labels of the batches that are done, named by their first picture, until all are

Labels that are known, of a finished folder that grows or of parts, are not computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib import resources
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, Final

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

import knuckle
from knuckle.devices import torch_device
from knuckle.draw import contact_sheet, draw_hands, write_image
from knuckle.formats import write
from knuckle.formats.coco import write_coco
from knuckle.hands import LEFT, Hands
from knuckle.render.backgrounds import Photos
from knuckle.render.config import SceneConfig
from knuckle.render.dataset import label_batches, render_batches
from knuckle.render.labels import Labels, read_labels, write_labels
from knuckle.skeleton import GESTURES

JPEG_QUALITY: Final = 92
LABELS: Final = "labels.npz"
PARTS: Final = "parts"
ON_THE_SHEET: Final = 24

_BACKGROUNDS: Final = ("config.backgrounds", "photos")
"""Settings whose values say little to a reader."""


def _ignore(done: int) -> None:
    """Shows no progress."""


def render_folder(
    out: Path,
    count: int,
    seed: int = 0,
    size: int = 256,
    *,
    config: SceneConfig | None = None,
    device: str | None = None,
    batch: int = 32,
    workers: int = 0,
    progress: Callable[[int], None] = _ignore,
) -> tuple[Hands, int]:
    """Render hands into a folder; pictures that are there already are kept.

    Args:
        out: the folder, new, or one that was begun with the same settings.
        count: how many hands it will hold, no fewer than it does; a larger number goes on with a finished folder.
        seed: of the sequence.
        size: side of the pictures, pixels.
        config: what varies.
        device: as for `dataset.render`.
        batch: hands that are rendered together.
        workers: processes that render side by side on the CPU, one thread each; 0 renders in this one. The
            pictures are the same.
        progress: called with the number of pictures that are there.

    Returns:
        The hands with the paths of their pictures, and how many were rendered now.

    Raises:
        ValueError: the folder was rendered with other settings or holds something else, a number is out of
            range, or a file cannot be written.
    """
    job = _Job(out, seed, size, config or SceneConfig(), device, batch, whole=False)
    return _render(job, count, workers, progress)


def render_scenes_folder(
    out: Path,
    count: int,
    seed: int = 0,
    size: int = 512,
    *,
    config: SceneConfig | None = None,
    device: str | None = None,
    batch: int = 8,
    workers: int = 0,
    progress: Callable[[int], None] = _ignore,
) -> tuple[Hands, int]:
    """Render whole scenes into a folder, as `render_folder` does with single hands; arguments and errors likewise.

    `count` is the number of pictures. Those without a hand are among the images of the COCO file, without an
    annotation, and in pictures.csv.
    """
    job = _Job(out, seed, size, config or SceneConfig(), device, batch, whole=True)
    return _render(job, count, workers, progress)


@dataclass(frozen=True)
class _Job:
    """What a folder is filled with, and how."""

    out: Path
    seed: int
    size: int
    config: SceneConfig
    device: str | None
    batch: int
    whole: bool

    def name(self, index: int) -> str:
        """Where a picture lies in the folder."""
        return f"images/{index:08d}.jpg"

    def fill(self, indices: Sequence[int]) -> Labels:
        """Render one batch, write its pictures and return their labels."""
        [(images, labels)] = render_batches(indices, self.seed, self.size, **self._how(indices))
        for index, image in zip(indices, images, strict=True):
            _write_jpeg(self.out / self.name(index), image)
        write_labels(self.out / PARTS / f"{indices[0]:08d}.npz", labels)
        return labels

    def label(self, indices: Sequence[int]) -> Labels:
        """The labels of pictures that were written when theirs were not."""
        [labels] = label_batches(indices, self.seed, self.size, **self._how(indices))
        return labels

    def _how(self, indices: Sequence[int]) -> dict[str, Any]:
        """Arguments that make one batch of so many pictures."""
        return {"config": self.config, "device": self.device, "batch": len(indices), "whole": self.whole}


def _render(job: _Job, count: int, workers: int, progress: Callable[[int], None]) -> tuple[Hands, int]:
    if count < 1 or workers < 0 or job.batch < 1:
        raise ValueError(
            f"count and batch must be at least 1 and workers at least 0, got {count}, {job.batch} and {workers}."
        )
    torch_device(job.device)  # one that is not there leaves no folder
    out, names = job.out, [job.name(index) for index in range(count)]
    try:
        kind = {"pictures": "whole scenes" if job.whole else "single hands"}
        _begin(out, kind | settings(job.seed, job.size, job.config))
        _no_fewer(out, count)
        missing = [index for index, name in enumerate(names) if not _is_there(out / name)]
        kept = sorted(set(range(count)) - set(missing))
        parts = _known(out, kept)
        unknown = sorted(set(kept).difference(_without_hands(out, names), *(part.index.tolist() for part in parts)))
        done = len(kept)
        progress(done)
        (out / PARTS).mkdir(exist_ok=True)
        batches = _batches(missing, job.batch)
        for batch, labels in zip(batches, _each(job.fill, batches, workers), strict=True):
            parts.append(labels)
            done += len(batch)
            progress(done)
        parts += _each(job.label, _batches(unknown, job.batch), workers)
        labels = Labels.concat(parts)
        labels = labels.rows(np.argsort(labels.index, kind="stable"))
        hands = labels.hands([names[index] for index in labels.index], boxes="skin" if job.whole else "keypoints")
        hands = hands.replace(root=out)
        if job.whole:
            _write_counts(out, names, labels)
        _write_annotations(out, names, hands, labels, boxes=job.whole)
        shutil.rmtree(out / PARTS)
    except OSError as error:
        raise ValueError(f"{error.filename or out} cannot be written ({error.strerror or error}).") from error
    return hands, len(missing)


def _batches(indices: Sequence[int], size: int) -> list[Sequence[int]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _known(out: Path, kept: Sequence[int]) -> list[Labels]:
    """The labels that the folder has of pictures that are kept, each picture's once; what is damaged is left out."""
    wanted, found = set(kept), []
    for file in [out / LABELS, *sorted((out / PARTS).glob("*.npz"))]:
        labels = read_labels(file)
        if labels is None:
            continue
        rows = np.isin(labels.index, sorted(wanted))
        found.append(labels.rows(np.flatnonzero(rows)))
        wanted -= set(labels.index.tolist())
    return found


def _each(work: Callable[[Sequence[int]], Labels], batches: Sequence[Sequence[int]], workers: int) -> Iterator[Labels]:
    """The labels of batches, in order, as work is done on them; in processes of their own if there are workers."""
    if not workers or not batches:
        yield from map(work, batches)
        return
    # Forked processes would share locks that threads of this one may hold.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        yield from pool.map(work, batches)
    finally:  # what is under way ends, what is not begun yet is dropped
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """One core for each process, as threads of several would wait for one another; and none outlives its parent."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed tells its processes nothing: they would wait for work for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def is_finished(out: Path) -> bool:
    """Whether `render_folder` has come to its end there; the contact sheet is the last that it writes."""
    return (out / "contact_sheet.png").is_file()


def settings(seed: int, size: int, config: SceneConfig) -> dict[str, Any]:
    """What pictures follow from besides their numbers, as JSON holds it.

    Raises:
        ValueError: a folder of photos for backgrounds holds none.
    """
    given: dict[str, Any] = {
        "version": knuckle.__version__,
        "hand": _hand_digest(),
        "seed": seed,
        "size": size,
        "config": asdict(config),
    }
    if config.poses.fingers == 0:
        del given["config"]["poses"]["fingers"]  # without such poses, pictures are those of versions that had none
    if isinstance(config.backgrounds, Photos):
        given["photos"] = config.backgrounds.digest
        del given["config"]["backgrounds"]["folder"]  # photos may lie elsewhere than they did
    return dict(json.loads(json.dumps(given, default=_plain)))


def _hand_digest() -> str:
    """Of the hand's mesh, its thickness and its gestures: where they change, every picture does."""
    assets = resources.files("knuckle.render").joinpath("assets")
    files = ("hand.npz", "capsules.json", "gestures.json")
    return hashlib.sha256(b"".join(assets.joinpath(file).read_bytes() for file in files)).hexdigest()[:16]


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else str(value)


def _begin(out: Path, settings: dict[str, Any]) -> None:
    """Make the folder, or see that it is the same one."""
    file = out / "settings.json"
    if file.is_file():
        try:
            before = json.loads(file.read_text())
        except ValueError as error:
            raise ValueError(f"{file} is damaged; delete {out} to render it anew.") from error
        name, old, new = _first_difference(before, settings)
        if not name:
            return
        if _pictures(out):
            said = f"{name} {old}, not {new}"
            if name == "hand":
                said = "the hand of another version of knuckle"
            elif name.startswith(_BACKGROUNDS):
                said = "other backgrounds"
            raise ValueError(f"{out} was rendered with {said}; render into another folder, or as before.")
    elif out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} holds other files; render into a new or empty folder.")
    (out / "images").mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings, indent=1) + "\n")


def _no_fewer(out: Path, count: int) -> None:
    """See that no picture of the folder would be left without its labels."""
    there = 1 + max((int(file.stem) for file in _pictures(out)), default=-1)
    if there > count:
        raise ValueError(f"{out} holds {there} pictures already; give a count of {there} or more, or another folder.")


def _pictures(out: Path) -> list[Path]:
    return [file for file in (out / "images").glob("*.jpg") if file.stem.isdecimal()]


def _first_difference(before: Any, now: Any, name: str = "") -> tuple[str, Any, Any]:
    """Dotted name of the first setting that differs, and its values; an empty name where none does."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*now, *(key for key in before if key not in now)]:
            found = _first_difference(before.get(key), now.get(key), f"{name}.{key}" if name else key)
            if found[0]:
                return found
        return "", None, None
    return ("" if before == now else name or "other settings"), before, now


def _write_jpeg(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """All of the picture or nothing: an interruption leaves no half file."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    part = path.with_suffix(".part")
    part.write_bytes(data.tobytes())
    part.replace(path)


def _write_annotations(out: Path, names: Sequence[str], hands: Hands, labels: Labels, *, boxes: bool) -> None:
    shown = set(labels.index.tolist())
    without = {name: (labels.size, labels.size) for index, name in enumerate(names) if index not in shown}
    write_coco(hands, out / "annotations.json", without)
    write(hands, out / "annotations.csv", "table")
    write_labels(out / LABELS, labels)
    some = [hands[labels.index == index] for index in range(min(len(names), ON_THE_SHEET))]
    tiles = [draw_hands(_read(out / name), of, boxes=boxes) for name, of in zip(names, some, strict=False)]
    write_image(out / "contact_sheet.png", contact_sheet(tiles, [_caption(of) for of in some]))


def _write_counts(out: Path, names: Sequence[str], labels: Labels) -> None:
    counts = np.bincount(labels.index, minlength=len(names)).tolist()
    lines = ["image,hands", *(f"{name},{count}" for name, count in zip(names, counts, strict=True))]
    (out / "pictures.csv").write_text("\n".join(lines) + "\n")


def _without_hands(out: Path, names: Sequence[str]) -> set[int]:
    """Numbers of the scenes of a finished folder that are known to have no hand, and so no row among the labels."""
    file = out / "pictures.csv"
    empty = {line[:-2] for line in file.read_text().splitlines() if line.endswith(",0")} if file.is_file() else set()
    return {number for number, name in enumerate(names) if name in empty}


def _is_there(path: Path) -> bool:
    """Whether there is a picture; a file that a power cut left empty is none."""
    return path.is_file() and path.stat().st_size > 0


def _read(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} is damaged; delete it and render again.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _caption(hands: Hands) -> str:
    names = [*GESTURES, "between gestures"]  # -1 is the last
    each = [
        f"{names[gesture]}, {'left' if side == LEFT else 'right'}"
        for gesture, side in zip(hands.gesture, hands.side, strict=True)
    ]
    return "; ".join(each) or "no hand"
