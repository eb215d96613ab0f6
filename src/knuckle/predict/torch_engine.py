"""The engine for weights of PyTorch.

Letters in shapes: B hands in a batch, S the side of the crop in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from knuckle.methods.base import Decoded, Method, merge
from knuckle.methods.hand_head import HAND, LEFT, unmirror_logits
from knuckle.predict.engine import Engine
from knuckle.predict.points import CropPoints


class TorchEngine(Engine):
    """Runs a method.

    Args:
        method: the network; it is moved to `device` and put into evaluation mode.
        device: where it runs.
    """

    def __init__(self, method: Method, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.method = method.to(self.device).eval()

    @property
    def has_hand_head(self) -> bool:
        """As every engine."""
        return self.method.hand_head is not None

    def find(self, crops: UInt8[np.ndarray, "B S S 3"], flip_test: bool) -> CropPoints:
        """As every engine; see `run`."""
        # Channels last in memory, as in training: other layouts round differently.
        answer = run(self.method, torch.from_numpy(crops).permute(0, 3, 1, 2), flip_test)
        points = as_points(Decoded(answer.xy_crop, answer.covariance_crop))
        if answer.hand_logits is None:
            return points
        probability = answer.hand_logits.sigmoid().cpu().numpy()
        return points._replace(score=probability[:, HAND], left=probability[:, LEFT])


class Answer(NamedTuple):
    """What a network says of a batch of crops.

    Attributes:
        xy_crop: as in `Decoded`.
        covariance_crop: as in `Decoded`.
        hand_logits: (B, 2) of the hand head; None where the network has none.
    """

    xy_crop: Float[Tensor, "B 21 2"]
    covariance_crop: Float[Tensor, "B 21 2 2"] | None
    hand_logits: Float[Tensor, "B 2"] | None


def run(method: Method, images: UInt8[Tensor, "B 3 S S"], flip_test: bool) -> Answer:
    """The keypoints of one batch of crops, computed on the method's device without gradients.

    The method is used in the mode it is in; put it into `eval()` first.

    Args:
        method: the network.
        images: (B, 3, S, S) RGB crops in 0..255, on any device.
        flip_test: average the outputs of the crops and of their mirror images before decoding, and the logits of
            the hand head.

    Returns:
        Keypoints and covariances, NaN for the joints that the method was never taught. With the flip test the
        covariances are diagonal: a flow gives crop and mirror image one correlation, which has opposite signs
        in the picture.
    """
    images = images.to(method.get_buffer("pixel_mean").device, non_blocking=True)
    with torch.inference_mode():
        features = method.features_of(images)
        outputs, hand = method.outputs_of(features), _hand_logits(method, features[-1])
        if flip_test:
            mirrored = method.features_of(images.flip(-1))
            outputs = merge(outputs, method.unmirror(method.outputs_of(mirrored)))
            if hand is not None and method.hand_head is not None:
                hand = (hand + unmirror_logits(method.hand_head(mirrored[-1]))) / 2
        xy_crop, covariance_crop = method.decode(outputs)
        untaught = ~method.get_buffer("taught")[:, None]
        xy_crop = xy_crop.masked_fill(untaught, torch.nan)
        if covariance_crop is not None:
            if flip_test:
                covariance_crop = torch.diag_embed(covariance_crop.diagonal(dim1=-2, dim2=-1))
            covariance_crop = covariance_crop.masked_fill(untaught[..., None], torch.nan)
    return Answer(xy_crop, covariance_crop, hand)


def _hand_logits(method: Method, features: Tensor) -> Tensor | None:
    if method.hand_head is None:
        return None
    logits: Tensor = method.hand_head(features)
    return logits


def as_points(decoded: Decoded) -> CropPoints:
    """The same numbers outside torch."""
    covariance_crop = decoded.covariance_crop
    return CropPoints(
        decoded.xy_crop.detach().cpu().numpy(),
        None if covariance_crop is None else covariance_crop.detach().cpu().numpy(),
    )


@contextmanager
def evaluating(method: Method) -> Iterator[None]:
    """The method in evaluation mode; whatever mode it was in comes back at the end."""
    was_training = method.training
    method.eval()
    try:
        yield
    finally:
        method.train(was_training)
