"""From hands to batches of crops: read or render, cut, change, stack, here or in worker processes.

All randomness of a sample comes from (seed, epoch, row), so a batch is the same whichever process
builds it, in whatever order. Workers hand over whole batches: a batch crosses between processes once,
in shared memory, where single samples would cost more than they save.
"""

from __future__ import annotations

import math
import signal
import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from knuckle.data.augment import Augmentation, apply_pixels, draw_geometry
from knuckle.data.images import ImageError, read_image
from knuckle.data.rendered import RenderedHands
from knuckle.formats.problems import OnBad
from knuckle.geometry import Crop, CropRule
from knuckle.hands import LEFT, UNKNOWN, UNLABELED, Hands
from knuckle.methods.base import Targets
from knuckle.skeleton import NUM_JOINTS

Anything = TypeVar("Anything")
Image = UInt8[np.ndarray, "h w 3"]

AHEAD: Final = 2
"""Batches of rendered hands that may wait for the network, where no workers make them."""

_AS_IT_IS: Final = Augmentation.none()


class Sample(NamedTuple):
    """One crop and the truth on it.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        crop: the matrix that cut the image; it gave `xy_crop` too.
        xy_crop: (21, 2) float32, crop pixels; 0 where not labelled. May lie outside the crop: which
            points a loss can use is for the method to say.
        labeled: (21,) bool.
        left: 1 where the crop shows a left hand, 0 a right one, NaN where nobody said.
    """

    image: UInt8[np.ndarray, "S S 3"]
    crop: Crop
    xy_crop: Float32[np.ndarray, "21 2"]
    labeled: Bool[np.ndarray, "21"]
    left: float


class Batch(NamedTuple):
    """Crops with their truth, as a network is trained on them.

    Attributes:
        images: (B, 3, S, S) uint8 RGB crops, channels last in memory.
        targets: keypoints in crop pixels.
        left: (B,) float32, 1 where a crop shows a left hand, 0 a right one, NaN where nobody said.
        image_to_crop: (B, 3, 3) float64, one matrix a crop.
        rows: (B,) int64, the hand's row in the source's table.
    """

    images: UInt8[Tensor, "B 3 S S"]
    targets: Targets
    left: Float32[Tensor, " B"]
    image_to_crop: Float64[Tensor, "B 3 3"]
    rows: Int64[Tensor, " B"]


@dataclass(frozen=True)
class CropSource:
    """Hands and how to cut them out of their images.

    Attributes:
        hands: where the images lie, boxes and keypoints; or how to render them.
        rule: how the crops are cut, around boxes or from the whole image.
        augmentation: random changes, or None.
        seed: of all random changes, not negative.
    """

    hands: Hands | RenderedHands
    rule: CropRule
    augmentation: Augmentation | None = None
    seed: int = 0


def load_sample(source: CropSource, row: int, epoch: int = 0) -> Sample:
    """The crop of one hand, the same for the same source, row and epoch.

    Raises:
        ImageError: the image cannot be read, or has not the size that its hand says.
        ValueError: the hand's box has no area.
    """
    (sample,) = load_samples(source, [row], epoch)
    if isinstance(sample, ValueError):
        raise sample
    return sample


def load_samples(source: CropSource, rows: Sequence[int], epoch: int = 0) -> Iterator[Sample | ValueError]:
    """The crop of each row, or in its place why there is none. Hands that are rendered are rendered together.

    Raises:
        ValueError: hands cannot be rendered.
    """
    if not len(rows):  # a process's share of a small batch may be empty
        return
    if isinstance(source.hands, RenderedHands):
        rendered, hands = source.hands.render(rows, epoch)
        places: Sequence[int] = range(len(rows))
    else:
        rendered, hands, places = None, source.hands, rows
    for row, place in zip(rows, places, strict=True):
        rng = np.random.Generator(np.random.SFC64((source.seed, epoch, row)))
        sample: Sample | ValueError
        try:
            image = _read(hands, place) if rendered is None else rendered[place]
            sample = _cut(source, image, hands, place, rng)
        except ValueError as error:
            sample = error
        yield sample


def batches(
    source: CropSource,
    rows: Sequence[Int[np.ndarray, " B"]],
    *,
    epoch: int = 0,
    workers: int = 0,
    on_bad: OnBad = "stop",
) -> Iterator[tuple[Batch, list[str]]]:
    """Batches in the order of `rows`, each with one sentence a skipped sample.

    Batches and messages are the same for any number of workers. Stopping early, by an exception or
    by closing the iterator, ends the workers.

    Args:
        source: what to cut.
        rows: rows of `source.hands`, one array a batch.
        epoch: number of the pass over the data; every epoch draws other changes, and renders other hands.
        workers: processes that build batches; they cannot use a GPU. 0 builds them here: images are read when
            they are asked for, and hands are rendered by a thread that stays `AHEAD` batches ahead.
        on_bad: "stop" raises on the first sample that cannot be used, "skip" leaves it out of its
            batch. A batch with none left is not yielded; its messages come with another batch.

    Raises:
        ValueError: a sample cannot be used and `on_bad` is "stop", or not a single one can be.
    """
    waiting: tuple[Batch, list[str]] | None = None
    messages: list[str] = []
    for stack in _stacks(_Stacker(source, rows, epoch, on_bad), workers):
        if isinstance(stack, ValueError):
            raise stack
        messages += stack.messages
        if len(stack.rows):
            if waiting:
                yield waiting
            waiting, messages = (_to_batch(stack), messages), []
    if waiting:
        yield waiting[0], waiting[1] + messages
    elif messages:
        raise ValueError(f"none of the {len(messages)} samples can be used; the first: {messages[0]}")


class _Stack(NamedTuple):
    """A batch as it crosses between processes, with its messages.

    Only the images are a tensor: each tensor costs a file descriptor and a connection on its way.
    """

    images: UInt8[Tensor, "B S S 3"]
    xy_crop: Float32[np.ndarray, "B 21 2"]
    labeled: Bool[np.ndarray, "B 21"]
    left: Float32[np.ndarray, " B"]
    image_to_crop: Float64[np.ndarray, "B 3 3"]
    rows: Int64[np.ndarray, " B"]
    messages: list[str]


@dataclass(frozen=True)
class _Stacker(Dataset[_Stack | ValueError]):
    """Batches by number, for `DataLoader`; an error that stops is returned, as raising would wrap it."""

    source: CropSource
    rows: Sequence[Int[np.ndarray, " B"]]
    epoch: int
    on_bad: OnBad

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> _Stack | ValueError:
        try:
            return _stack(self.source, self.rows[number].tolist(), self.epoch, self.on_bad)
        except ValueError as error:
            return error


def _stacks(stacker: _Stacker, workers: int) -> Iterator[_Stack | ValueError]:
    if not workers:
        here = (stacker[number] for number in range(len(stacker)))
        return ahead(here, AHEAD) if isinstance(stacker.source.hands, RenderedHands) else here
    return iter(
        DataLoader(
            stacker,
            batch_size=None,
            num_workers=workers,
            collate_fn=_unchanged,
            worker_init_fn=_prepare_worker,
            # Its own generator: the loader must not advance the one that dropout draws from.
            generator=torch.Generator(),
        )
    )


def _stack(source: CropSource, rows: list[int], epoch: int, on_bad: OnBad) -> _Stack:
    n, side = len(rows), source.rule.size
    images = torch.empty((n, side, side, 3), dtype=torch.uint8)
    pixels = images.numpy()
    xy_crop = np.empty((n, NUM_JOINTS, 2), dtype=np.float32)
    labeled = np.empty((n, NUM_JOINTS), dtype=np.bool_)
    left = np.empty(n, dtype=np.float32)
    image_to_crop = np.empty((n, 3, 3))
    kept: list[int] = []
    messages: list[str] = []
    for row, sample in zip(rows, load_samples(source, rows, epoch), strict=True):
        if isinstance(sample, ValueError):
            if on_bad == "stop":
                raise sample
            messages.append(str(sample))
            continue
        place = len(kept)
        pixels[place], xy_crop[place], labeled[place] = sample.image, sample.xy_crop, sample.labeled
        left[place] = sample.left
        image_to_crop[place] = sample.crop.image_to_crop
        kept.append(row)
    n = len(kept)
    rows_kept = np.array(kept, dtype=np.int64)
    return _Stack(images[:n], xy_crop[:n], labeled[:n], left[:n], image_to_crop[:n], rows_kept, messages)


def ahead(items: Iterator[Anything], depth: int) -> Generator[Anything, None, None]:
    """The same items in the same order, made by a thread that keeps at most `depth` of them waiting.

    What making an item raises is raised where the item is asked for. Closing the iterator waits for the
    item in the making, and no other one is begun.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting = deque(thread.submit(next, items, _THE_END) for _ in range(depth))
        try:
            while not isinstance(item := waiting.popleft().result(), _TheEnd):
                waiting.append(thread.submit(next, items, _THE_END))
                yield item
        finally:
            for future in waiting:
                future.cancel()


class _TheEnd:
    """Comes after the last item."""


_THE_END: Final = _TheEnd()


def _to_batch(stack: _Stack) -> Batch:
    return Batch(
        images=stack.images.permute(0, 3, 1, 2),
        targets=Targets(torch.from_numpy(stack.xy_crop), torch.from_numpy(stack.labeled)),
        left=torch.from_numpy(stack.left),
        image_to_crop=torch.from_numpy(stack.image_to_crop),
        rows=torch.from_numpy(stack.rows),
    )


def _read(hands: Hands, row: int) -> Image:
    path = _path(hands, row)
    image = read_image(path)
    size_wh = (image.shape[1], image.shape[0])
    expected_wh = tuple(hands.size[row].tolist())
    if expected_wh not in {size_wh, (0, 0)}:
        raise ImageError(
            f"{path} is {size_wh[0]} x {size_wh[1]} pixels, but its labels are for {expected_wh[0]} x "
            f"{expected_wh[1]}; give the image that was labelled."
        )
    return image


def _cut(source: CropSource, image: Image, hands: Hands, row: int, rng: np.random.Generator) -> Sample:
    """The crop of row `row` of `hands`, which `image` shows."""
    augmentation = source.augmentation or _AS_IT_IS
    geometry = draw_geometry(augmentation, rng)
    if source.rule.whole_image:
        crop = source.rule.around_frame((image.shape[1], image.shape[0]), **geometry)
    else:
        crop = source.rule.around_box(_box_with_area(hands, row), **geometry)
    pixels = apply_pixels(source.rule.cut(image, crop), augmentation, rng)
    labeled = hands.visibility[row] > UNLABELED
    xy_crop = np.where(labeled[:, None], crop.to_crop(hands.xy[row]), 0).astype(np.float32)
    return Sample(pixels, crop, xy_crop, labeled, _left(int(hands.side[row]), mirrored=geometry["mirror"]))


def _left(side: int, *, mirrored: bool) -> float:
    return math.nan if side == UNKNOWN else float((side == LEFT) != mirrored)


def _path(hands: Hands, row: int) -> Path:
    return (hands.root or Path()) / str(hands.image[row])


def _box_with_area(hands: Hands, row: int) -> Float32[np.ndarray, "4"]:
    box = hands.box[row]
    if not max(box[2] - box[0], box[3] - box[1]) > 0:  # false for NaN too
        raise ValueError(
            f"{_path(hands, row)} (row {row}) has a hand whose box has no area, so it cannot be cut out; "
            "give it a box or take the whole image."
        )
    return np.asarray(box)


def _prepare_worker(worker: int) -> None:
    """One thread a worker; Ctrl-C is for the main process, which ends its workers when it is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _report_unless_hung_up
    cv2.setNumThreads(0)


def _report_unless_hung_up(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A main process that is interrupted while it fetches a batch hangs up on its worker: no news."""
    if not isinstance(error, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


def _unchanged(value: Anything) -> Anything:
    return value
