"""What tests of several methods share: crops to learn from, learning them, and models that went through a file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from knuckle.methods import Targets
from knuckle.methods.base import Decoded, Method, Outputs
from knuckle.methods.weights import ModelSpec, load_model, save_model
from knuckle.predict.torch_engine import Answer, run

TINY = "mobilenetv3_small_050"
SIZE = 64


def drawn_crops(count: int, joints: int, seed: int = 0) -> tuple[Tensor, Targets]:
    """Crops with one coloured disc a keypoint on noise."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, SIZE, SIZE, 3), dtype=np.uint8)
    xy = rng.uniform(6, SIZE - 7, (count, joints, 2)).astype(np.float32)
    colors = [tuple(int(c) for c in rng.integers(80, 256, 3)) for _ in range(joints)]
    for image, points in zip(images, xy, strict=True):
        for (x, y), color in zip(points.tolist(), colors, strict=True):
            cv2.circle(image, (round(x * 16), round(y * 16)), 3 * 16, color, -1, cv2.LINE_AA, shift=4)
    tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return tensor, Targets(torch.from_numpy(xy), torch.ones(count, joints, dtype=torch.bool))


class Learnt(NamedTuple):
    """The loss before the first and at the last step, and the distances afterwards, (n, K) crop pixels."""

    first: float
    last: float
    error: Tensor


def learn(model: Method, images: Tensor, targets: Targets, steps: int, rate: float) -> Learnt:
    """All crops at every step, under one cycle of the learning rate; the model stays in training mode."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    first = model.loss(model(images), targets)["loss"].item()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model.loss(model(images), targets)["loss"]
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    error = (model.decode(model(images)).xy_crop - targets.xy_crop).norm(dim=-1)
    return Learnt(first, loss.item(), error.detach())


def check_that_gradients_reach_every_parameter(model: Method, but: tuple[str, ...] = ()) -> None:
    """One batch moves all parameters, but for those of the names given."""
    images, targets = drawn_crops(4, 21)
    model.zero_grad()
    torch.autograd.backward(model.loss(model(images), targets)["loss"])
    for name, parameter in model.named_parameters():
        if name not in but:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
    model.zero_grad()


def under_autocast(model: Method) -> tuple[Outputs, Tensor, Decoded]:
    """Outputs, loss and what is decoded, computed under autocast; a float32 loss, finite like its gradients."""
    images, targets = drawn_crops(2, 21)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(images)
        torch.manual_seed(0)  # a loss may be estimated from random points
        loss = model.loss(outputs, targets)["loss"]
        decoded = model.decode(outputs)
    torch.autograd.backward(loss)
    assert loss.dtype == decoded.xy_crop.dtype == torch.float32
    assert loss.isfinite()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    torch.manual_seed(0)
    assert torch.equal(loss, model.loss(outputs, targets)["loss"]), "autocast changes the loss"
    return outputs, loss, decoded


def check_that_nothing_is_learnt_without_labels(model: Method, far: float = 1e30) -> None:
    """The loss is 0 and so is every gradient, wherever the unlabelled points are said to lie."""
    images, targets = drawn_crops(2, 21)
    loss = model.loss(model(images), Targets(targets.xy_crop * far, torch.zeros_like(targets.labeled)))["loss"]
    torch.autograd.backward(loss)
    assert loss == 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


def before_and_after_saving(model: Method, spec: ModelSpec, folder: Path) -> tuple[Answer, Answer]:
    """What a model predicts with a flip test, and what it predicts when it was read from its file."""
    save_model(folder / "model.safetensors", model, spec, {})
    loaded = load_model(folder / "model.safetensors")[0]
    images = drawn_crops(2, 21)[0]
    return run(model.eval(), images, flip_test=True), run(loaded, images, flip_test=True)
