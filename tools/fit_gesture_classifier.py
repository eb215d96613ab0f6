"""Trains the gesture classifier of knuckle.study.classify on labels of rendered hands.

    python tools/fit_gesture_classifier.py src/knuckle/study/assets/gesture_classifier.npz

Poses come in the renderer's own mixture; those without a gesture teach "none of them". Cross-entropy, AdamW,
one cycle. What detectors and hand labels do to keypoints is imitated: noise, a changed aspect ratio (own
photos are resized to squares), joints that nobody labelled, knuckles where MANO has them (FreiHAND's labels).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import nn

from knuckle.render import SceneConfig
from knuckle.render.dataset import label_batches
from knuckle.render.labels import Labels
from knuckle.study.classify import NONE_OF_THEM, NUM_FEATURES, describe

MCPS, PIPS = [5, 9, 13, 17], [6, 10, 14, 18]
HANDS = 60_000
SEED = 2024
HIDDEN = 96
EPOCHS = 24
BATCH = 256
RATE = 3e-3
NOISE = 0.04
"""Largest standard deviation of the keypoints' noise, in spreads of the hand."""
STRETCH = 0.3
"""Largest log of the change of aspect ratio."""
KNUCKLES = 0.3
"""Most by which a hand's four MCPs are moved towards the PIPs, as a share of the phalanx: MANO's lie about that far."""
MISSING = 0.3
"""Share of hands that lack joints; such a hand lacks each with a probability of up to this."""


def main() -> None:
    """Render labels, train, write."""
    labels = rendered_labels(HANDS, SEED)
    target = np.where(labels.gesture < 0, NONE_OF_THEM, labels.gesture).astype(np.int64)
    rng = np.random.default_rng(SEED)
    clean = describe(labels.xy)
    mean, deviation = clean.mean(axis=0), clean.std(axis=0)
    network = train(labels.xy.astype(np.float64), target, mean, deviation, rng)
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    stored = {"mean": mean.astype(np.float32), "deviation": deviation.astype(np.float32)}
    for number, layer in enumerate(layers):
        stored[f"weight{number}"] = layer.weight.detach().numpy().astype(np.float16)
        stored[f"bias{number}"] = layer.bias.detach().numpy().astype(np.float32)
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **stored)
    sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")


def rendered_labels(count: int, seed: int) -> Labels:
    """Labels of the first hands of a seed; what hides keypoints is left out, as all of them are used."""
    config = replace(SceneConfig(), occluders=None, companions=None, jewelry=None, sleeves=None)
    return Labels.concat(list(label_batches(range(count), seed, 16, config=config, device="cpu", batch=500)))


def train(
    xy: Float64[np.ndarray, "n 21 2"],
    target: Int64[np.ndarray, " n"],
    mean: Float64[np.ndarray, " f"],
    deviation: Float64[np.ndarray, " f"],
    rng: np.random.Generator,
) -> nn.Sequential:
    """The trained network, reading standardised features."""
    torch.manual_seed(SEED)
    network = nn.Sequential(
        *(nn.Linear(NUM_FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()),
        nn.Linear(HIDDEN, NONE_OF_THEM + 1),
    )
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-3)
    steps = len(xy) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * steps)
    answers = torch.from_numpy(target)
    for _ in range(EPOCHS):
        features = torch.from_numpy(standardised(*disturbed(xy, rng), mean, deviation))
        for rows in torch.from_numpy(rng.permutation(len(xy)))[: steps * BATCH].split(BATCH):
            loss = nn.functional.cross_entropy(network(features[rows]), answers[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network


def disturbed(
    xy: Float64[np.ndarray, "n 21 2"], rng: np.random.Generator
) -> tuple[Float64[np.ndarray, "n 21 2"], Bool[np.ndarray, "n 21"]]:
    """Keypoints as detectors and people give them, and which of them they give."""
    n = len(xy)
    spread = np.sqrt(xy.var(axis=1).sum(axis=1))[:, None, None]
    slide = rng.uniform(0, KNUCKLES, (n, 1, 1)) * (rng.random((n, 1, 1)) < 0.5)
    xy = xy.copy()
    xy[:, MCPS] += slide * (xy[:, PIPS] - xy[:, MCPS])
    noisy = xy + rng.normal(size=xy.shape) * spread * rng.uniform(0, NOISE, (n, 1, 1))
    noisy[..., 0] *= np.exp(rng.uniform(-STRETCH, STRETCH, n) * (rng.random(n) < 0.5))[:, None]
    lacking = rng.uniform(0, MISSING, n) * (rng.random(n) < MISSING)
    return noisy, rng.random((n, 21)) >= lacking[:, None]


def standardised(
    xy: Float64[np.ndarray, "n 21 2"],
    labeled: Bool[np.ndarray, "n 21"],
    mean: Float64[np.ndarray, " f"],
    deviation: Float64[np.ndarray, " f"],
) -> np.ndarray:
    """Features as `knuckle.study.classify.probabilities` feeds them to the network."""
    return np.nan_to_num((describe(xy, labeled) - mean) / deviation, nan=0.0).astype(np.float32)


if __name__ == "__main__":
    main()
