"""Photos by the million: the same outputs as on one machine, looked at by the processes of a Ray cluster.

The photos are cut into tasks in their order; every worker process loads the model once and takes one task after the
other; what it finds comes back as the lines of a journal, in the order of the photos. The process that began writes the
journal, and in the end the output, so a run can be interrupted and gone on with as one without Ray can, and with
either. Photos, boxes and pictures must have the same absolute paths on all machines.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from knuckle.formats.problems import OnBad
from knuckle.predict.files import BoxesByImage, Task, keep_found, look
from knuckle.predict.journal import Entry, Tally, entry_of, line_of
from knuckle.predict.photos import FULL

if TYPE_CHECKING:
    from knuckle.predict.predictor import Predictor
    from knuckle.predict.sinks import Output

LOCAL: Final = "local"

PHOTOS_A_TASK: Final = 64
"""Seconds of work each. What comes back waits for its turn, so an interrupted run loses a few tasks."""

ANSWERS_WITHIN: Final = 5.0
"""Seconds."""

_Rows = dict[str, Any]
"""Columns by name, as Ray Data hands them over."""


@dataclass(frozen=True)
class Cluster:
    """Where photos are looked at.

    Attributes:
        address: "local" for processes of this machine alone; "auto" or an address for a cluster that runs.
        workers: processes at most; None for one a core, or one a GPU.
        gpu: whether each has a GPU of its own.
    """

    address: str = LOCAL
    workers: int | None = None
    gpu: bool = False


def predict_files_on_ray(
    load_model: Callable[[], Predictor],
    images: Sequence[Path],
    boxes: BoxesByImage,
    cluster: Cluster,
    *,
    output: Output | None = None,
    pictures: Mapping[Path, Path] | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    resume: bool = False,
    on_bad: OnBad = "skip",
    progress: Callable[[int], object] | None = None,
) -> tuple[Tally, list[str]]:
    """`knuckle.predict.files.predict_files` with workers on a Ray cluster.

    Args:
        load_model: called once in every worker; what it loads must be there on every machine.
        images: as there.
        boxes: as there.
        cluster: where the workers are. If Ray runs in this process already, they are in its cluster.
        output: as there, and what follows, too.
        pictures: as there.
        settings: as there.
        resume: as there.
        on_bad: as there.
        progress: as there.

    Raises:
        ValueError: as there, or the cluster cannot be reached.
        ImportError: Ray is not installed.
    """
    ray = _ray(cluster.address)
    was_running = ray.is_initialized()
    if not was_running:
        _connect(ray, cluster.address)
    try:
        looks = partial(_look, ray, load_model, Task(boxes, pictures, on_bad), cluster)
        return keep_found(looks, images, output=output, settings=settings, resume=resume, progress=progress)
    finally:
        if not was_running:
            ray.shutdown()


def _ray(address: str) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told that it runs
    # Under `uv run`, Ray would build the environment once more for every worker.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ImportError(f"--ray {address} needs Ray: pip install 'knuckle[ray]'.") from error
    return ray


def _connect(ray: Any, address: str) -> None:
    quiet = {"include_dashboard": False} if address == LOCAL else {}
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon:  # Ray itself tries for minutes
            socket.create_connection((host, int(port)), timeout=ANSWERS_WITHIN).close()
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **quiet)
    except Exception as error:  # of a node that does not start in time, Ray raises this very type
        said = " ".join(str(error).split()).rstrip(".")
        if address == LOCAL:
            raise ValueError(
                f"Ray could not be started on this machine ({said}); try again when it is less busy, or without --ray."
            ) from error
        raise ValueError(f"no Ray cluster answers at {address!r} ({said}); start one, or give --ray local.") from error


def _look(
    ray: Any, load_model: Callable[[], Predictor], task: Task, cluster: Cluster, images: Sequence[Path], root: Path
) -> Iterator[Entry]:
    """What the workers find, in the order of the photos."""
    if not images:
        return
    kind = "GPU" if cluster.gpu else "CPU"
    most = cluster.workers or max(1, int(ray.cluster_resources().get(kind, 1)))
    tasks = -(-len(images) // PHOTOS_A_TASK)
    found = ray.data.from_items(_rows(task, images), override_num_blocks=tasks).map_batches(
        Worker,
        fn_constructor_args=(load_model, task.boxes == FULL, task.on_bad, root.absolute()),
        batch_size=PHOTOS_A_TASK,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(most, tasks)),
        num_cpus=1,
        num_gpus=1 if cluster.gpu else None,
    )
    found.context.execution_options.preserve_order = True
    found.context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it announces every step of its plan
    for lines in found.iter_batches(batch_size=None, batch_format="numpy"):
        for line in lines["line"]:
            content = json.loads(line)
            if "stop" in content:
                raise ValueError(content["stop"])
            yield entry_of(content)


def _rows(task: Task, images: Sequence[Path]) -> list[dict[str, Any]]:
    """What a worker must know of each photo."""
    rows: list[dict[str, Any]] = [{"image": str(image.absolute())} for image in images]
    if task.boxes is not None and not isinstance(task.boxes, str):
        for row, image in zip(rows, images, strict=True):
            row["boxes"] = json.dumps(np.asarray(task.boxes[image]).tolist())
    if task.pictures is not None:
        for row, image in zip(rows, images, strict=True):
            row["picture"] = str(task.pictures[image].absolute())
    return rows


class Worker:
    """A process that holds the model and takes photos by the batch.

    Args:
        load_model: gives the model.
        full: one hand anywhere in each frame, where the rows have no boxes.
        on_bad: of a photo that cannot be used.
        root: the folder that names start from.
    """

    def __init__(self, load_model: Callable[[], Predictor], full: bool, on_bad: OnBad, root: Path) -> None:
        self._predictor = load_model()
        self._full = full
        self._on_bad: OnBad = on_bad
        self._root = root

    def __call__(self, rows: _Rows) -> _Rows:
        """The lines of the journal for some photos; the sentence that ends the run in place of the rest."""
        images = [Path(str(image)) for image in rows["image"]]
        boxes: BoxesByImage = FULL if self._full else None
        if "boxes" in rows:
            texts = zip(images, rows["boxes"], strict=True)
            boxes = {image: np.array(json.loads(str(text)), np.float32).reshape(-1, 4) for image, text in texts}
        pictures = None
        if "picture" in rows:
            pictures = {image: Path(str(path)) for image, path in zip(images, rows["picture"], strict=True)}
        lines: list[str] = []
        try:
            for entry in look(self._predictor, Task(boxes, pictures, self._on_bad), images, self._root):
                lines.append(json.dumps(line_of(entry), allow_nan=False))
        except ValueError as error:
            lines.append(json.dumps({"stop": str(error)}))
        return {"line": np.array(lines, dtype=object)}
