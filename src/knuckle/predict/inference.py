"""From a table of hands to predicted hands, for validation and evaluation: images are read from disk and cut."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray

from knuckle.data.loader import CropSource, batches
from knuckle.hands import OPTIONAL_COLUMNS, UNKNOWN, Hands
from knuckle.methods.base import Method
from knuckle.predict.engine import Engine
from knuckle.predict.points import sides, to_image, visibility_of
from knuckle.predict.torch_engine import TorchEngine, evaluating
from knuckle.skeleton import NUM_JOINTS

if TYPE_CHECKING:
    from knuckle.formats.problems import OnBad
    from knuckle.geometry import CropRule


def predict_hands(
    network: Method | Engine,
    rule: CropRule,
    hands: Hands,
    *,
    flip_test: bool = False,
    batch_size: int = 32,
    workers: int = 0,
    device: str | torch.device = "cpu",
    on_bad: OnBad = "stop",
    rows: Int[np.ndarray, " n"] | None = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[Hands, list[str]]:
    """What a network finds where `hands` says that hands are.

    Images are read from disk, cut as in training but without augmentation, and never flipped or
    moved. A method's training mode is restored at the end.

    Args:
        network: an engine; or a method, which moves to `device`.
        rule: how the crops are cut, around boxes or from the whole image.
        hands: where to look: images and boxes. Keypoints in it are not used.
        flip_test: average over the crop and its mirror image.
        batch_size: crops a forward pass.
        workers: processes that read and cut; 0 reads in this one.
        device: where a method runs; an engine has its place.
        on_bad: "skip" leaves out what cannot be read and says so; "stop" raises.
        rows: take only these rows, in this order.
        progress: called after every batch with the number of hands done so far.

    Returns:
        The same rows with predicted `xy` and, where the method has one, `covariance`; where it has a hand head also
        predicted `side`, `side_probability` and `score`; image, box, gesture, group and size, and without a hand head
        the side, as given. Visibility is 0 in rows that could not be read, for
        joints that the method was never taught, and where it gave no finite number. Then one sentence a skipped row.

    Raises:
        ValueError: an image or a box is unusable and `on_bad` is "stop", or not one is usable.
    """
    chosen = np.arange(len(hands)) if rows is None else np.asarray(rows, dtype=np.int64)
    xy = np.full((len(hands), NUM_JOINTS, 2), np.nan, dtype=np.float32)
    filled: dict[str, NDArray[Any]] = {}
    messages: list[str] = []
    source = CropSource(hands, rule)
    pieces = [chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size)]
    done = 0
    with nullcontext() if isinstance(network, Engine) else evaluating(network):
        engine = network if isinstance(network, Engine) else TorchEngine(network, device)
        for batch, skipped in batches(source, pieces, workers=workers, on_bad=on_bad):
            messages += skipped
            crops = batch.images.permute(0, 2, 3, 1).numpy()
            points = engine.find(crops, flip_test)
            found, spread = to_image(points, batch.image_to_crop.numpy())
            in_batch = batch.rows.numpy()
            xy[in_batch] = found
            for name, column in (sides(points) | ({} if spread is None else {"covariance": spread})).items():
                if name not in filled:
                    unknown = UNKNOWN if name == "side" else np.nan
                    filled[name] = np.full((len(hands), *column.shape[1:]), unknown, dtype=np.float32)
                filled[name][in_batch] = column
            done += len(in_batch) + len(skipped)
            if progress is not None:
                progress(done)
    without: dict[str, None] = dict.fromkeys(OPTIONAL_COLUMNS)
    predicted = hands.replace(xy=xy, visibility=visibility_of(xy), **(without | filled))
    return predicted[chosen], messages
