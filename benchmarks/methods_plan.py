"""What `benchmarks.methods` does at each of its sizes: hands, networks, and the recipe that all of them share.

Every network of a plan has the same backbone, hands, number of pictures, augmentation, optimiser and learning
rate. What differs is the method, and for the paper's comparison of losses the loss alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from knuckle.render import SceneConfig
from knuckle.render.config import Framing, Viewpoints
from knuckle.train.recipe import Recipe, check_recipe

OURS: Final = "sequential"
"""The paper's model: five stages, maximum likelihood."""

PAPER_STAGES: Final = 5
MOST_STAGES: Final = 7
LOSSES: Final = ("sequential_heatmap", "sequential_integral")
"""The same five stages with the losses that the paper compares with."""

RIVALS: Final = ("heatmap", "integral", "rle", "cpm")
"""The methods that the paper compares with."""

EASY_HANDS: Final = SceneConfig(
    left_hands=0.0,
    viewpoints=Viewpoints(egocentric=0.5, facing=0.5, overhead=0.0, oblique=0.0, spread=12.0, roll=12.0),
    framing=Framing(truncated=0.0),
    occluders=None,
    companions=None,
    sensor=None,
)
"""Right hands seen by their owner or by somebody opposite, upright, whole and uncovered, through a clean camera: what a
small network learns in minutes."""


@dataclass(frozen=True)
class Plan:
    """How much is done; the same for every network.

    Attributes:
        name: of the plan.
        scenes: what varies from hand to hand.
        hands: rendered hands to learn from.
        held_out: rendered hands to measure on, of another sequence.
        picture: side of the rendered pictures, pixels.
        crop: side of the networks' input, pixels.
        backbone: as timm names it.
        width: channels of all heads but CPM's.
        sigma: of the target Gaussians, in cells of a quarter of ResNet's stride.
        cpm: options of the CPM method.
        stages: numbers of stages that are trained as networks of their own, beside the paper's and the most.
        clean_rle: whether RLE's likelihood as printed is trained beside its published code.
        epochs: passes over the hands.
        seeds: networks a variant.
        augmentation: of a recipe.
        training: of a recipe, without epochs and seed.
        weights: the backbone's first weights, as a recipe names them; random ones by default.
    """

    name: str
    scenes: SceneConfig
    hands: int
    held_out: int
    picture: int
    crop: int
    backbone: str
    width: int
    sigma: float
    cpm: dict[str, Any]
    stages: tuple[int, ...]
    clean_rle: bool
    epochs: int
    seeds: int
    augmentation: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None


_SHORT_TRAINING: Final = {
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "weight_decay": 0.05,
    "schedule": {"kind": "cosine"},
    "warmup_factor": 0.01,
    "clip_norm": 10.0,
    "channels_last": True,
}
_SMALL_CPM: Final = {"width": 32, "first_width": 64, "sigma": 1.0}
_SMALL_TURNS: Final = {"rotation": 20.0, "scale": (0.85, 1.15), "shift": 0.05}

PLANS: Final = {
    "smoke": Plan(
        name="smoke",
        scenes=EASY_HANDS,
        hands=40,
        held_out=16,
        picture=48,
        crop=32,
        backbone="test_resnet",
        width=16,
        sigma=1.5,
        cpm=_SMALL_CPM | {"width": 8, "first_width": 16, "feature_width": 8},
        stages=(1, 3),
        clean_rle=True,
        epochs=1,
        seeds=2,
        augmentation=_SMALL_TURNS,
        training=_SHORT_TRAINING | {"batch": 16},
    ),
    "cpu": Plan(
        name="cpu",
        scenes=EASY_HANDS,
        hands=5000,
        held_out=500,
        picture=96,
        crop=64,
        backbone="resnet10t",
        width=64,
        sigma=1.5,
        cpm=_SMALL_CPM,
        stages=(1, 3),
        clean_rle=False,
        epochs=5,
        seeds=3,
        augmentation=_SMALL_TURNS,
        training=_SHORT_TRAINING | {"batch": 32, "warmup_iterations": 50, "ema_decay": 0.99},
    ),
    "gpu": Plan(
        name="gpu",
        scenes=SceneConfig(),
        hands=100_000,
        held_out=2000,
        picture=256,
        crop=256,
        backbone="resnet50",
        width=256,
        sigma=2.0,
        cpm={},
        stages=(1, 2, 3, 4, 6),
        clean_rle=True,
        epochs=12,  # the paper's 120 and its milestone at 90, a tenth of each
        seeds=3,
        augmentation={"mirror": 0.5, "rotation": 45.0, "rotation_probability": 0.6, "scale": (0.75, 1.3), "shift": 0.1},
        training={
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "schedule": {"kind": "step", "milestones": (9,), "gamma": 0.1},
            "batch": 128,
            "warmup_iterations": 500,
            "clip_norm": 10.0,
            "precision": "bf16",
            "channels_last": True,
            "workers": 7,
            "checkpoint_every_steps": 250,
        },
    ),
}


@dataclass(frozen=True)
class Variant:
    """One kind of network.

    Attributes:
        label: in tables and figures.
        method: a key of METHODS.
        options: of the method.
    """

    label: str
    method: str
    options: dict[str, Any]


def variants(plan: Plan) -> dict[str, Variant]:
    """All kinds of networks of a plan, by name."""
    maps = {"width": plan.width, "sigma": plan.sigma, "decoder": "dark"}
    cpm = {"decoder": "dark"} | plan.cpm
    chain = {"width": plan.width}
    of_stages = (*plan.stages, MOST_STAGES)
    return {
        "heatmap": Variant("heatmap", "heatmap", maps),
        "integral": Variant("integral", "integral", {"width": plan.width}),
        "rle": Variant("RLE", "rle", {}),
        "cpm": Variant("CPM", "cpm", cpm),
        "simcc": Variant("SimCC", "simcc", {}),
        OURS: Variant("sequential, MLE", "sequential", chain | {"stages": PAPER_STAGES}),
        LOSSES[0]: Variant(
            "sequential, heatmap loss",
            "sequential",
            chain | {"stages": PAPER_STAGES, "loss": "heatmap", "target_sigma": plan.sigma},
        ),
        LOSSES[1]: Variant(
            "sequential, integral loss", "sequential", chain | {"stages": PAPER_STAGES, "loss": "integral"}
        ),
        **({"rle_clean": Variant("RLE, as printed", "rle", {"form": "clean"})} if plan.clean_rle else {}),
        **{
            with_stages(number): Variant(f"sequential, MLE, T = {number}", "sequential", chain | {"stages": number})
            for number in of_stages
        },
    }


def with_stages(number: int) -> str:
    """The name of the variant with so many stages and the likelihood."""
    return OURS if number == PAPER_STAGES else f"{OURS}_{number}"


def trained_stages(plan: Plan) -> tuple[int, ...]:
    """The numbers of stages of which a network of its own is trained, ascending."""
    return tuple(sorted({*plan.stages, PAPER_STAGES, MOST_STAGES}))


def recipe(plan: Plan, variant: Variant, labels: Path, seed: int, device: str) -> Recipe:
    """How one network is trained; no hands are kept for validation, so its last weights count."""
    content: dict[str, Any] = {
        "data": {"path": str(labels), "validation": 0},
        "model": {
            "method": variant.method,
            "backbone": plan.backbone,
            "size": plan.crop,
            "padding": 1.4,
            "weights": plan.weights,
            "options": variant.options,
        },
        "augmentation": plan.augmentation,
        "train": plan.training | {"epochs": plan.epochs, "seed": seed},
        "device": device,
    }
    return check_recipe(content, "the benchmark's recipe")
