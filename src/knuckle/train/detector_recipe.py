"""The recipe of a detector: which pictures, how they come into squares, how long. A checked YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from knuckle.methods.detector import DEEPEST, DetectorSpec
from knuckle.train.recipe import Section


class PictureSource(Section):
    """One set of pictures.

    Attributes:
        path: what `knuckle.read` reads; relative to the recipe's file.
        share: of all draws, relative to the other sources.
        box_scale: labelled boxes grow by this factor, see `data.pictures.read_pictures`.
        handless: all other pictures of the folder show no hand.
        training: part that is trained on; the rest is held out, split by group with seed 0.
    """

    path: str
    share: PositiveFloat = 1.0
    box_scale: PositiveFloat = 1.0
    handless: bool = False
    training: Annotated[float, Field(gt=0, le=1)] = 1.0


class Phase(Section):
    """A stretch of the training with pictures of one size; small ones are quick, and teach what a hand looks like.

    Attributes:
        side: of the squares in pixels, a multiple of 32.
        epochs: how many.
    """

    side: Annotated[int, Field(ge=DEEPEST, multiple_of=DEEPEST)] = 256
    epochs: PositiveInt = 1


class DetectorTraining(Section):
    """The steps.

    Attributes:
        epoch_squares: squares of an epoch.
        batch: squares of a step.
        phases: one after the other.
        learning_rate: of AdamW, at its highest; it falls to nothing along a cosine.
        warmup: steps in which it rises.
        weight_decay: of all weights but biases and normalisation.
        clip_norm: gradients are shortened to this length.
        ema_decay: of the moving average of the weights, which is the result.
        precision: "bf16" runs the network under autocast.
        mosaic: part of the squares that show four pictures.
        zoom: size of a picture over what fits its square, smallest and largest.
        turned: part of the pictures that are turned by quarters.
        seed: of everything drawn.
        checkpoint_every: steps between two checkpoints.
    """

    epoch_squares: PositiveInt = 4000
    batch: PositiveInt = 16
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)] = (Phase(),)
    learning_rate: PositiveFloat = 2e-3
    warmup: NonNegativeInt = 100
    weight_decay: NonNegativeFloat = 0.02
    clip_norm: PositiveFloat = 10.0
    ema_decay: Annotated[float, Field(gt=0, lt=1)] = 0.998
    precision: Literal["float32", "bf16"] = "bf16"
    mosaic: Annotated[float, Field(ge=0, le=1)] = 0.3
    zoom: tuple[PositiveFloat, PositiveFloat] = (0.6, 1.6)
    turned: Annotated[float, Field(ge=0, le=1)] = 0.25
    seed: NonNegativeInt = 0
    checkpoint_every: PositiveInt = 200

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch, at least one."""
        return max(1, self.epoch_squares // self.batch)

    @property
    def epochs(self) -> int:
        """Of all phases."""
        return sum(phase.epochs for phase in self.phases)

    def side_of(self, epoch: int) -> int:
        """Side of the squares in an epoch, counted from 0."""
        sides = [phase.side for phase in self.phases for _ in range(phase.epochs)]
        return sides[epoch]


class Network(Section):
    """The network, see `methods.detector.DetectorSpec`."""

    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (16, 32, 64, 128, 192)
    blocks: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt] = (0, 1, 1, 1, 1)
    neck: PositiveInt = 64

    def spec(self) -> DetectorSpec:
        """As the network takes it."""
        return DetectorSpec(self.widths, self.blocks, self.neck)


class DetectorRecipe(Section):
    """All of a run.

    Attributes:
        sources: the pictures.
        network: what is trained.
        start: a file of `save_detector` to go on from instead of random weights; relative to the recipe's file.
        train: the steps.
    """

    sources: Annotated[tuple[PictureSource, ...], Field(min_length=1)]
    network: Network = Network()
    start: str | None = None
    train: DetectorTraining = DetectorTraining()


def load_detector_recipe(path: Path) -> DetectorRecipe:
    """A recipe from its YAML file.

    Raises:
        ValueError: the file cannot be read, or a field is unknown or out of range; names it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return DetectorRecipe.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the recipe"
        raise ValueError(f"{path}: {field}: {first['msg']}.") from error
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:  # no such date; a thousand brackets
        raise ValueError(f"{path} cannot be read as YAML ({' '.join(str(error).split())}).") from error
