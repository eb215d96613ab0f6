"""Running a method: a batch of crops to keypoints, and a table of hands to predicted hands.

Letters in shapes: B hands in a batch, K = 21 keypoints, S the side of the crop in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from knuckle.data.loader import CropSource, batches
from knuckle.hands import UNLABELED, VISIBLE, Hands
from knuckle.methods.base import Decoded, Method, merge
from knuckle.skeleton import NUM_JOINTS

if TYPE_CHECKING:
    from knuckle.formats.problems import OnBad
    from knuckle.geometry import CropRule


def run(method: Method, images: UInt8[Tensor, "B 3 S S"], flip_test: bool) -> Decoded:
    """The keypoints of one batch of crops, computed on the method's device without gradients.

    The method is used in the mode it is in; put it into `eval()` first.

    Args:
        method: the network.
        images: (B, 3, S, S) RGB crops in 0..255, on any device.
        flip_test: average the outputs of the crops and of their mirror images before decoding.

    Returns:
        Keypoints and sigma, NaN for the joints that the method was never taught.
    """
    images = images.to(method.get_buffer("pixel_mean").device, non_blocking=True)
    with torch.inference_mode():
        outputs = method(images)
        if flip_test:
            outputs = merge(outputs, method.unmirror(method(images.flip(-1))))
        decoded = method.decode(outputs)
    untaught = ~method.get_buffer("taught")[:, None]
    sigma_crop = None if decoded.sigma_crop is None else decoded.sigma_crop.masked_fill(untaught, torch.nan)
    return Decoded(decoded.xy_crop.masked_fill(untaught, torch.nan), sigma_crop)


@contextmanager
def evaluating(method: Method) -> Iterator[None]:
    """The method in evaluation mode; whatever mode it was in comes back at the end."""
    was_training = method.training
    method.eval()
    try:
        yield
    finally:
        method.train(was_training)


def to_image(
    decoded: Decoded, image_to_crop: Float64[np.ndarray, "B 3 3"]
) -> tuple[Float32[np.ndarray, "B 21 2"], Float32[np.ndarray, "B 21 2 2"] | None]:
    """Keypoints, and their covariances where the method has sigma, from crop pixels to image pixels.

    With x = A x_crop + t, the covariance is A diag(sigma^2) A^T.
    """
    crop_to_image = np.linalg.inv(image_to_crop)
    linear, offset = crop_to_image[:, None, :2, :2], crop_to_image[:, None, :2, 2]
    xy_crop = _numpy(decoded.xy_crop)
    xy_image = (linear @ xy_crop[..., None])[..., 0] + offset
    if decoded.sigma_crop is None:
        return xy_image.astype(np.float32), None
    variance = _numpy(decoded.sigma_crop)[..., None, :] ** 2
    covariance = (linear * variance) @ np.swapaxes(linear, -1, -2)
    return xy_image.astype(np.float32), covariance.astype(np.float32)


def predict_hands(
    method: Method,
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
    """What the method finds where `hands` says that hands are; for validation and evaluation.

    Images are read from disk, cut as in training but without augmentation, and never flipped or
    moved. The method's training mode is restored at the end.

    Args:
        method: the network; it moves to `device`.
        rule: how the crops are cut, around boxes or from the whole image.
        hands: where to look: images and boxes. Keypoints in it are not used.
        flip_test: average over the crop and its mirror image.
        batch_size: crops a forward pass.
        workers: processes that read and cut; 0 reads in this one.
        device: where the network runs.
        on_bad: "skip" leaves out what cannot be read and says so; "stop" raises.
        rows: take only these rows, in this order.
        progress: called after every batch with the number of hands done so far.

    Returns:
        The same rows with predicted `xy` and, where the method has sigma, `covariance`; image, box,
        side, gesture, group and size as given. Visibility is 0 in rows that could not be read, for
        joints that the method was never taught, and where it gave no finite number. Then one sentence a skipped row.

    Raises:
        ValueError: an image or a box is unusable and `on_bad` is "stop", or not one is usable.
    """
    chosen = np.arange(len(hands)) if rows is None else np.asarray(rows, dtype=np.int64)
    xy = np.full((len(hands), NUM_JOINTS, 2), np.nan, dtype=np.float32)
    covariance: NDArray[np.float32] | None = None
    messages: list[str] = []
    method.to(device)
    source = CropSource(hands, rule)
    pieces = [chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size)]
    done = 0
    with evaluating(method):
        for batch, skipped in batches(source, pieces, workers=workers, on_bad=on_bad):
            messages += skipped
            found, spread = to_image(run(method, batch.images, flip_test), batch.image_to_crop.numpy())
            in_batch = batch.rows.numpy()
            xy[in_batch] = found
            if spread is not None:
                if covariance is None:
                    covariance = np.full((len(hands), NUM_JOINTS, 2, 2), np.nan, dtype=np.float32)
                covariance[in_batch] = spread
            done += len(in_batch) + len(skipped)
            if progress is not None:
                progress(done)
    predicted = hands.replace(xy=xy, visibility=visibility_of(xy), covariance=covariance, confidence=None, score=None)
    return predicted[chosen], messages


def visibility_of(xy: Float32[np.ndarray, "n 21 2"]) -> UInt8[np.ndarray, "n 21"]:
    """The visibility of predicted points: 2, or 0 where there is no finite number."""
    return np.where(np.isfinite(xy).all(axis=-1), VISIBLE, UNLABELED).astype(np.uint8)


def _numpy(values: Float[Tensor, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    array: NDArray[np.float64] = values.detach().cpu().double().numpy()
    return array
