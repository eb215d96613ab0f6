"""The engine for weights of PyTorch.

Letters in shapes: B hands in a batch, S the side of the crop in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from knuckle.methods.base import Decoded, Method, merge
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

    def find(self, crops: UInt8[np.ndarray, "B S S 3"], flip_test: bool) -> CropPoints:
        """As every engine; see `run`."""
        # Channels last in memory, as in training: other layouts round differently.
        return as_points(run(self.method, torch.from_numpy(crops).permute(0, 3, 1, 2), flip_test))


def run(method: Method, images: UInt8[Tensor, "B 3 S S"], flip_test: bool) -> Decoded:
    """The keypoints of one batch of crops, computed on the method's device without gradients.

    The method is used in the mode it is in; put it into `eval()` first.

    Args:
        method: the network.
        images: (B, 3, S, S) RGB crops in 0..255, on any device.
        flip_test: average the outputs of the crops and of their mirror images before decoding.

    Returns:
        Keypoints and covariances, NaN for the joints that the method was never taught. With the flip test the
        covariances are diagonal: a flow gives crop and mirror image one correlation, which has opposite signs
        in the picture.
    """
    images = images.to(method.get_buffer("pixel_mean").device, non_blocking=True)
    with torch.inference_mode():
        outputs = method(images)
        if flip_test:
            outputs = merge(outputs, method.unmirror(method(images.flip(-1))))
        xy_crop, covariance_crop = method.decode(outputs)
        untaught = ~method.get_buffer("taught")[:, None]
        xy_crop = xy_crop.masked_fill(untaught, torch.nan)
        if covariance_crop is not None:
            if flip_test:
                covariance_crop = torch.diag_embed(covariance_crop.diagonal(dim1=-2, dim2=-1))
            covariance_crop = covariance_crop.masked_fill(untaught[..., None], torch.nan)
    return Decoded(xy_crop, covariance_crop)


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
