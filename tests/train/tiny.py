"""A keypoint network of a few thousand weights, and runs of it, for tests of the training engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from examples.drawn_hands import draw_dataset
from knuckle.geometry import CropRule
from knuckle.methods.base import Decoded, Features, Method, Outputs, Targets
from knuckle.methods.weights import ModelSpec
from knuckle.train.distributed import join_team
from knuckle.train.loop import fit
from knuckle.train.parts import read_parts, render_held_out
from knuckle.train.recipe import Recipe, check_recipe
from knuckle.train.run_folder import check_run, open_run, record_data

SIZE = 16


class Tiny(Method):
    """Regresses 21 points from 4 x 4 average pixels; no batch normalisation, so stripes do not matter."""

    name: ClassVar[str] = "tiny"

    def __init__(self, dropout: float = 0.0, normalized: bool = False) -> None:
        super().__init__(SIZE)
        norm = nn.BatchNorm1d(24) if normalized else nn.Identity()
        self.layers = nn.Sequential(
            *(nn.AvgPool2d(SIZE // 4), nn.Flatten(), nn.Linear(48, 24), norm, nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(24, 42),
        )
        self.calls = 0

    def features_of(self, images: Tensor) -> Features:
        return (self.normalize(images),)

    def outputs_of(self, features: Features) -> Outputs:
        return {"xy": (self.layers(features[-1]).view(-1, 21, 2) + 0.5) * SIZE}

    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        self.calls += 1
        distance = (outputs["xy"] - targets.xy_crop).abs().sum(dim=-1)
        return {"loss": torch.where(targets.labeled, distance, 0).mean()}

    def decode(self, outputs: Outputs) -> Decoded:
        return Decoded(outputs["xy"], None)

    def unmirror(self, outputs: Outputs) -> Outputs:
        return {"xy": torch.stack([SIZE - 1 - outputs["xy"][..., 0], outputs["xy"][..., 1]], dim=-1)}


def drawn_hands(folder: Path, count: int = 45) -> Path:
    """Annotations of small drawn hands, eight a group."""
    draw_dataset(folder, count, seed=1, size=48)
    return folder / "annotations.json"


def tiny_recipe(annotations: Path, **train: Any) -> Recipe:
    """A run of two epochs of four steps."""
    content = {
        "data": {"path": str(annotations), "validation": 0.2, "test": 0.2},
        "model": {"backbone": "none", "size": SIZE},
        "augmentation": {"mirror": 0.5, "rotation": 30.0, "noise": 5.0},
        "train": {"epochs": 2, "batch": 6, "learning_rate": 0.01, "ema_decay": 0.9, **train},
        "device": "cpu",
    }
    return check_recipe(content, "tiny")


def rendered_recipe(**train: Any) -> Recipe:
    """A run of two epochs of four steps on hands that are rendered, and measured on five others."""
    content = {
        "data": {"kind": "rendered", "hands": 16, "validation": 5, "size": 32, "without": ["companions"]},
        "model": {"backbone": "none", "size": SIZE},
        "augmentation": {"mirror": 0.5, "rotation": 30.0, "noise": 5.0},
        "train": {"epochs": 2, "batch": 4, "learning_rate": 0.01, "ema_decay": 0.9, **train},
        "device": "cpu",
    }
    return check_recipe(content, "tiny, rendered")


def fit_tiny(recipe: Recipe, folder: Path, method: Tiny, *, resume: bool = False) -> None:
    """Train `method` in the team that the environment describes."""
    with join_team(recipe.device) as team:
        if team.leads:
            check_run(folder, recipe, resume=resume)
            open_run(folder, recipe)
        parts = render_held_out(read_parts(recipe, team.device), recipe, folder / "hands", team)
        if team.leads:
            record_data(folder, parts)
        torch.manual_seed(recipe.train.seed)
        for layer in method.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        spec = ModelSpec("tiny", "none", CropRule(size=SIZE))
        fit(method, spec, recipe, parts, folder, team)
