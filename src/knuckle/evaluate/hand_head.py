"""Fitting a hand head: from labelled hands and crops without one to what says whether there is a hand, and which.

The network stays as it is. Hands and their mirror images both take part, so sides are balanced and the answer does not
lean to one; hands and crops without a hand weigh the same, so the score is a probability where one is as likely as the
other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from jaxtyping import Float64

from knuckle.data.augment import Augmentation
from knuckle.data.loader import CropSource, batches
from knuckle.data.splits import split_by_group
from knuckle.evaluate.no_hands import empty_places, missed
from knuckle.hands import LEFT as LEFT_SIDE
from knuckle.hands import UNKNOWN, Hands
from knuckle.methods.base import Method
from knuckle.methods.hand_head import HAND, LEFT, HandHead, fit_logistic, pool
from knuckle.predict.torch_engine import TorchEngine, evaluating

if TYPE_CHECKING:
    from knuckle.evaluate.calibration import Progress
    from knuckle.formats.problems import OnBad
    from knuckle.geometry import CropRule
    from knuckle.predict import Predictor

GRID: Final = 2
PENALTY: Final = 0.1
BATCH: Final = 32
MOST: Final = 5000
"""Hands, and crops without one, that are looked at: more take memory and hardly change the answer."""

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
    as_seen, mirrored, rows, skipped = [], [], [], []
    starts = range(0, len(every), BATCH)
    pieces = [np.arange(start, min(start + BATCH, len(every))) for start in starts]
    where = torch.device(device)
    with evaluating(method.to(where)), torch.inference_mode():
        for batch, messages in batches(source, pieces, workers=workers, on_bad=on_bad):
            images = batch.images.to(where)
            as_seen.append(_pooled(method, images))
            mirrored.append(_pooled(method, images.flip(-1)))
            rows.append(batch.rows.numpy())
            skipped += messages
            if progress is not None:
                progress(sum(map(len, rows)) + len(skipped))
        channels = method.features_of(images).shape[1]
    row = np.concatenate(rows)
    features = np.concatenate([*as_seen, *mirrored])
    is_hand = np.tile(row < len(hands), 2)
    side = np.where(row < len(hands), every.side[row], UNKNOWN)
    is_left = np.concatenate([side == LEFT_SIDE, (side != UNKNOWN) & (side != LEFT_SIDE)])
    is_sided = np.tile(side != UNKNOWN, 2)
    if is_hand.all() or not is_sided.any():
        raise ValueError("none of the crops without a hand, or none of the hands with a side, can be read.")
    head = HandHead(channels, GRID)
    answers = {
        HAND: (is_hand, np.where(is_hand, 1 / is_hand.sum(), 1 / (~is_hand).sum())),
        LEFT: (is_left, is_sided.astype(np.float64)),
    }
    for question, (answer, weight) in answers.items():
        used = weight > 0
        factors, constant = fit_logistic(
            features[used].astype(np.float64), answer[used].astype(np.float64), weight[used], PENALTY
        )
        head.get_buffer("weight")[question] = torch.from_numpy(factors)
        head.get_buffer("bias")[question] = constant
    return head, skipped


def _pooled(method: Method, images: torch.Tensor) -> Float64[np.ndarray, "B D"]:
    return pool(method.features_of(images).float(), GRID).cpu().numpy()


def _at_most(hands: Hands, seed: int) -> Hands:
    if len(hands) <= MOST:
        return hands
    return hands[np.sort(np.random.default_rng(seed).permutation(len(hands))[:MOST])]
