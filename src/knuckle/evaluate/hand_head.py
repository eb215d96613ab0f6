"""Fitting a hand head: from labelled hands and crops without one to what says whether there is a hand, and which.

The network stays as it is. Hands and their mirror images both take part, so sides are balanced and the answer does not
lean to one; hands and crops without a hand weigh the same, so the score is a probability where one is as likely as the
other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from knuckle.data.augment import Augmentation
from knuckle.data.loader import CropSource, batches
from knuckle.data.splits import split_by_group
from knuckle.evaluate.no_hands import empty_places, missed
from knuckle.hands import LEFT as LEFT_SIDE
from knuckle.hands import RIGHT as RIGHT_SIDE
from knuckle.hands import UNKNOWN, Hands
from knuckle.methods.base import Method
from knuckle.methods.hand_head import GRID, HAND, LEFT, HandHead, fit_logistic, pool
from knuckle.predict.torch_engine import TorchEngine, evaluating

if TYPE_CHECKING:
    from knuckle.evaluate.calibration import Progress
    from knuckle.formats.problems import OnBad
    from knuckle.geometry import CropRule
    from knuckle.predict import Predictor

PENALTY: Final = 0.1
BATCH: Final = 32
MOST: Final = 5000
"""Hands, and crops without one, that are looked at, which bounds the memory: 0.6 GB for maps of 512 channels."""

AS_FOUND: Final = Augmentation(rotation=20.0, scale=(0.8, 1.25), shift=0.08)
"""Boxes from a detector or the frame before lie less exactly than labelled ones."""


def teach(
    predictor: Predictor,
    hands: Hands,
    pictures: Path,
    *,
    seed: int = 0,
    workers: int = 0,
    on_bad: OnBad = "stop",
    progress: Progress,
) -> tuple[HandHead, Hands, list[str]]:
    """Give a model's network a hand head, fitted on the half of the hands that `calibrate` fits on.

    Crops without a hand are places of the pictures, and boxes that miss every other labelled hand.

    Args:
        predictor: the model, of PyTorch.
        hands: labelled hands.
        pictures: of no hands, as `knuckle.evaluate.no_hands.empty_places` takes them.
        seed: of the split, and of everything else.
        workers: processes that read and cut.
        on_bad: "skip" lists images that cannot be read, "stop" raises on the first.
        progress: opens a display of so many things, and gives a function that takes the number done.

    Returns:
        The head, which the network has now; crops without a hand that it has not seen; and one sentence for everything
        left out.

    Raises:
        ValueError: as `fit_hand_head` and `empty_places`.
    """
    engine = predictor.engine
    assert isinstance(engine, TorchEngine), "only the weights of PyTorch can be given a head"
    halves = {"fit": 0.5, "check": 0.5}
    labeled = hands[hands.labeled.any(axis=1)]
    of_hands = split_by_group(labeled, halves, seed)
    empty, unread = empty_places(pictures, len(labeled), seed, on_bad)
    of_empty = split_by_group(empty, halves, seed)
    none = {part: Hands.concat([empty[of_empty[part]], missed(labeled[of_hands[part][::2]], seed)]) for part in halves}
    fitting = labeled[of_hands["fit"]]
    with progress(min(len(fitting), MOST) + min(len(none["fit"]), MOST), "crops") as update:
        head, skipped = fit_hand_head(
            engine.method,
            predictor.rule,
            fitting,
            none["fit"],
            seed=seed,
            workers=workers,
            device=engine.device,
            on_bad=on_bad,
            progress=update,
        )
    engine.method.hand_head = head.to(engine.device)
    return head, none["check"], [*unread, *skipped]


def fit_hand_head(
    method: Method,
    rule: CropRule,
    hands: Hands,
    none: Hands,
    *,
    seed: int = 0,
    workers: int = 0,
    device: str | torch.device = "cpu",
    on_bad: OnBad = "stop",
    progress: Callable[[int], object] | None = None,
) -> tuple[HandHead, list[str]]:
    """A hand head for a trained network, on the CPU.

    Args:
        method: the network, which is only looked through.
        rule: how its crops are cut around boxes.
        hands: labelled hands; those of unknown side take part in the score alone.
        none: crops without a hand, as in `knuckle.evaluate.no_hands`.
        seed: of the changes of the crops, and of the choice where there are more than `MOST`.
        workers: processes that read and cut.
        device: where the network runs.
        on_bad: "skip" lists images that cannot be read, "stop" raises on the first.
        progress: called with the number of crops done.

    Returns:
        The head, and one sentence for every crop left out.

    Raises:
        ValueError: there are no hands, none of known side, or no crops without a hand; or an image cannot be used.
    """
    if not (hands.side != UNKNOWN).any():
        raise ValueError("no hand has a labelled side, which is what left and right are learnt from.")
    if len(none) == 0:
        raise ValueError("there is no crop without a hand, which is what hands are told from.")
    hands, none = _at_most(hands, seed), _at_most(none, seed)
    every = Hands.concat([hands, none])
    source = CropSource(every, replace(rule, whole_image=False), AS_FOUND, seed)
    seen = _look(method.to(device), source, workers, on_bad, progress)
    is_hand = seen.row < len(hands)
    side = np.where(is_hand, every.side[seen.row], UNKNOWN)
    if is_hand.all() or not (side != UNKNOWN).any():
        raise ValueError("none of the crops without a hand, or none of the hands with a side, can be read.")
    features = np.concatenate([seen.here, seen.mirrored])
    head = HandHead(seen.channels, GRID)
    weight = np.where(is_hand, 1 / is_hand.sum(), 1 / (~is_hand).sum())
    _answer(head, HAND, features, np.tile(is_hand, 2), np.tile(weight, 2))
    of_side = [side == LEFT_SIDE, side == RIGHT_SIDE]  # and of the mirror images
    _answer(head, LEFT, features, np.concatenate(of_side), np.tile((side != UNKNOWN).astype(np.float64), 2))
    return head, seen.skipped


class _Looked(NamedTuple):
    """Pooled features of crops and of their mirror images, the rows that they are of, and what could not be read."""

    here: Float32[np.ndarray, "n D"]
    mirrored: Float32[np.ndarray, "n D"]
    row: Int64[np.ndarray, " n"]
    channels: int
    skipped: list[str]


def _look(
    method: Method, source: CropSource, workers: int, on_bad: OnBad, progress: Callable[[int], object] | None
) -> _Looked:
    count = len(source.hands)
    pieces = [np.arange(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
    device = method.get_buffer("pixel_mean").device
    pooled: tuple[list[Tensor], list[Tensor]] = ([], [])
    rows: list[Tensor] = []
    skipped: list[str] = []
    channels = 0
    with evaluating(method), torch.inference_mode():
        for batch, messages in batches(source, pieces, workers=workers, on_bad=on_bad):
            images = batch.images.to(device)
            for those, own in zip((images, images.flip(-1)), pooled, strict=True):
                features = method.features_of(those)[-1].float()
                channels = features.shape[1]
                own.append(pool(features, GRID).cpu())
            rows.append(batch.rows)
            skipped += messages
            if progress is not None:
                progress(sum(map(len, rows)) + len(skipped))
    here, mirrored = (torch.cat(own).numpy() for own in pooled)
    return _Looked(here, mirrored, torch.cat(rows).numpy(), channels, skipped)


def _answer(
    head: HandHead,
    question: int,
    features: Float32[np.ndarray, "n D"],
    answer: Bool[np.ndarray, " n"],
    weight: Float64[np.ndarray, " n"],
) -> None:
    """Fit the head's answer to one question on the rows that bear a weight."""
    used = weight > 0
    factors, constant = fit_logistic(
        features[used].astype(np.float64), answer[used].astype(np.float64), weight[used], PENALTY
    )
    head.get_buffer("weight")[question] = torch.from_numpy(factors)
    head.get_buffer("bias")[question] = constant


def _at_most(hands: Hands, seed: int) -> Hands:
    if len(hands) <= MOST:
        return hands
    return hands[np.sort(np.random.default_rng(seed).permutation(len(hands))[:MOST])]
