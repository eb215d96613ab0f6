"""A recipe: everything that decides what a training run does, as YAML checked by frozen models.

Every field has a default except the data's path. All errors of a recipe are reported at once, each
with the path of its field; an unknown field names the nearest known one. docs/training.md lists
every field with its meaning.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from knuckle.data.augment import Augmentation
from knuckle.formats import Format
from knuckle.formats.problems import OnBad
from knuckle.methods.options import did_you_mean
from knuckle.render.backgrounds import Photos
from knuckle.render.config import SceneConfig, parse_views
from knuckle.render.dataset import SMALLEST_SIZE
from knuckle.render.poses import PoseMix, parse_gesture, parse_gestures, parse_kinds
from knuckle.render.shares import shares_text

BestMetric = Literal["auc", "epe", "nme", "pck"]

UNION_TAGS: Final = ("fraction", "source", "files", "rendered", "step", "cosine")
"""Which member of a union pydantic tried; it says so in a fault's path, where no field is called that."""

DETECTORS_ALONE: Final = "sources"
"""The section that a recipe of the hand detector has in place of the data; see `knuckle.train.detector_recipe`."""

RENDERED: Final = "rendered"
"""This word alone for a recipe's data is short for the section with this `kind` and nothing else."""

OPTIONAL_FACTORS: Final = tuple(
    name for name, kind in typing.get_type_hints(SceneConfig).items() if type(None) in typing.get_args(kind)
)
"""What a rendered picture can do without."""


class Section(BaseModel):
    """A part of a recipe: immutable, and every key must be known."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Source(Section):
    """Labelled hands on disk, in any format that `knuckle.read` reads.

    `images` is the folder of the photos where they do not lie beside the labels, or in a folder `images` in it.
    """

    path: str
    format: Format = "auto"
    split: str | None = None
    images: str | None = None


class MoreSource(Source):
    """Labelled hands beside the first ones, each `repeat` times in every epoch of training: a few photos among many."""

    repeat: int = Field(1, ge=1)


def _fraction(value: Any) -> Any:
    """A number, or a ratio as text: "1/6"."""
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            return value
    return value


def _kind_of_part(value: Any) -> str:
    return "source" if isinstance(value, Mapping | Source) else "fraction"


GroupFraction = Annotated[float, BeforeValidator(_fraction), Field(ge=0, lt=1)]
Part = Annotated[
    Annotated[GroupFraction, Tag("fraction")] | Annotated[Source, Tag("source")], Discriminator(_kind_of_part)
]
"""Where validation or test hands come from: a fraction of the groups of the data, or a source of their own."""


class Data(Section):
    """What is trained on, and which part of it is kept for validation and for the test.

    Relative paths start from the working directory. `path`, `format`, `split` and `images` name one source;
    `more` adds others. Splits never divide a group.
    """

    kind: Literal["files"] = "files"
    path: str
    format: Format = "auto"
    split: str | None = None
    images: str | None = None
    more: tuple[MoreSource, ...] = ()
    validation: Part = 0.1
    test: Part = 0.0
    crop: Literal["box", "full"] = "box"
    on_bad: OnBad = "skip"
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _something_is_left(self) -> Data:
        held_out = sum(part for part in (self.validation, self.test) if isinstance(part, float))
        if held_out >= 1:
            raise ValueError(f"validation and test together take {held_out:g} of the groups; leave some for training")
        return self


def _as_written(value: Any) -> Any:
    """Gestures by number are numbers in YAML."""
    if isinstance(value, Mapping):
        return {str(name): share for name, share in value.items()}
    return [str(name) for name in value] if isinstance(value, list | tuple) else value


def _known_shares(shares: dict[str, float]) -> dict[str, float]:
    parse_gestures(shares_text(shares))
    return shares


def _known_kinds(shares: dict[str, float]) -> dict[str, float]:
    parse_kinds(shares_text(shares))
    return shares


def _known_views(shares: dict[str, float]) -> dict[str, float]:
    parse_views(shares_text(shares))
    return shares


def _known_gesture(name: str) -> str:
    parse_gesture(name)
    return name


def _known_factor(name: str) -> str:
    if name not in OPTIONAL_FACTORS:
        raise ValueError(f"it should be one of {', '.join(OPTIONAL_FACTORS)}, got {name!r}")
    return name


class Rendered(Section):
    """Hands that are rendered while the network learns, so that it never sees one twice.

    Training, validation and test hands are sequences of their own: 3 seed, 3 seed + 1 and 3 seed + 2.
    A relative path starts from the working directory.
    """

    kind: Literal["rendered"] = "rendered"
    hands: PositiveInt = 20_000
    validation: NonNegativeInt = 1000
    test: NonNegativeInt = 0
    seed: NonNegativeInt = 0
    size: Annotated[int, Field(ge=SMALLEST_SIZE)] | None = None
    gestures: Annotated[dict[str, float], BeforeValidator(_as_written), AfterValidator(_known_shares)] = {}
    exclude: Annotated[tuple[Annotated[str, AfterValidator(_known_gesture)], ...], BeforeValidator(_as_written)] = ()
    poses: Annotated[dict[str, float], AfterValidator(_known_kinds)] = {}
    views: Annotated[dict[str, float], AfterValidator(_known_views)] = {}
    without: tuple[Annotated[str, AfterValidator(_known_factor)], ...] = ()
    backgrounds: str | None = None
    crop: Literal["box", "full"] = "box"
    on_bad: OnBad = "skip"

    @model_validator(mode="after")
    def _some_gesture_is_left(self) -> Rendered:
        self.scenes()
        return self

    def scenes(self) -> SceneConfig:
        """What varies from hand to hand."""
        poses = PoseMix(
            weights=parse_gestures(shares_text(self.gestures)),
            exclude=frozenset(parse_gesture(name) for name in self.exclude),
            **parse_kinds(shares_text(self.poses)),
        )
        config = SceneConfig(poses=poses, viewpoints=parse_views(shares_text(self.views)))
        if self.backgrounds is not None:
            config = dataclasses.replace(config, backgrounds=Photos(Path(self.backgrounds).resolve()))
        switched_off: dict[str, Any] = dict.fromkeys(self.without)
        return dataclasses.replace(config, **switched_off)


def _with_kind(value: Any) -> Any:
    """The section of the data with its kind said, which may be left out for files."""
    if isinstance(value, Mapping):
        return {"kind": "files", **value}
    if value == RENDERED:
        return {"kind": RENDERED}
    if isinstance(value, Data | Rendered):
        return value
    raise ValueError(f"it should be a section with a path, or the word {RENDERED}, got {value!r}")


class Model(Section):
    """Which network, and how it wants its crops."""

    method: str = "heatmap"
    backbone: str = "resnet50"
    size: PositiveInt = 256
    padding: PositiveFloat = 1.5
    frame_padding: PositiveFloat = 1.0
    weights: str | None = None
    options: dict[str, Any] = {}


class Step(Section):
    """The learning rate falls by `gamma` at each of the `milestones` (epochs)."""

    kind: Literal["step"] = "step"
    milestones: tuple[PositiveInt, ...] = ()
    gamma: PositiveFloat = 0.1

    @model_validator(mode="after")
    def _ascending(self) -> Step:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must ascend, got {list(self.milestones)}")
        return self


class Cosine(Section):
    """The learning rate falls along half a cosine to `final_factor` times its value at the last step."""

    kind: Literal["cosine"]
    final_factor: Annotated[float, Field(ge=0, le=1)] = 0.0


class Training(Section):
    """How the network is optimised, measured and saved."""

    epochs: PositiveInt = 100
    batch: PositiveInt = 64
    accumulate: PositiveInt = 1
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    learning_rate: PositiveFloat = 5e-4
    weight_decay: NonNegativeFloat = 0.0
    schedule: Annotated[Step | Cosine, Field(discriminator="kind")] = Step()
    warmup_iterations: NonNegativeInt = 0
    warmup_factor: Annotated[float, Field(gt=0, le=1)] = 0.001
    clip_norm: PositiveFloat | None = None
    side_weight: NonNegativeFloat = 0.0
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool = False
    compile: bool = False
    deterministic: bool = False
    seed: NonNegativeInt = 0
    workers: NonNegativeInt = 0
    validate_every: PositiveInt = 1
    save_best: BestMetric = "auc"
    checkpoint_every_steps: PositiveInt = 500
    max_bad_steps: NonNegativeInt = 20
    tensorboard: bool = False

    @model_validator(mode="after")
    def _batch_divides(self) -> Training:
        if self.batch % self.accumulate:
            raise ValueError(f"batch {self.batch} cannot be cut into accumulate = {self.accumulate} equal pieces")
        return self


def _known_device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ValueError(f"it should be auto, cpu, mps, cuda or cuda:NUMBER, got {name!r}")
    return name


class Recipe(Section):
    """A whole training run.

    `start` names a trained model to go on from; then the section `model` need say nothing.
    """

    start: str | None = None
    data: Annotated[Data | Rendered, Field(discriminator="kind"), BeforeValidator(_with_kind)]
    model: Model = Model()
    augmentation: Augmentation = Augmentation.none()
    train: Training = Training()
    device: Annotated[str, AfterValidator(_known_device)] = "auto"

    def plain(self) -> dict[str, Any]:
        """The recipe as YAML and JSON can hold it, every field written out."""
        return self.model_dump(mode="json")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply overrides to it.

    Args:
        path: the YAML file.
        overrides: such as "train.epochs=5": the field's path, and its value as YAML.

    Raises:
        ValueError: the file is missing or broken, or fields are unknown or wrong; one line a fault.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{path}:{line} is not valid YAML ({error.problem}).") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8, so it cannot be a recipe.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # no such date; a thousand brackets
        raise ValueError(f"{path} is not valid YAML ({' '.join(str(error).split())}).") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold the sections of a recipe (data, model, augmentation, train).")
    if DETECTORS_ALONE in content and "data" not in content:
        raise ValueError(
            f"{path} is a recipe of the hand detector, as it has {DETECTORS_ALONE} and no data; train that with "
            f"python -m knuckle.train.detector {path} --out FOLDER."
        )
    for override in overrides:
        _apply_override(content, override)
    return check_recipe(content, str(path))


def check_recipe(content: Mapping[str, Any], name: str) -> Recipe:
    """The recipe in a mapping such as YAML gives.

    Raises:
        ValueError: one line a fault: `name`, the field's path, what is wrong.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        lines = [f"{name}: {_sentence(fault)}" for fault in error.errors(include_url=False)]
        raise ValueError("\n".join(lines)) from error


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ValueError(f"--set {override} must look like section.field=value, for example train.epochs=5.")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"--set {override}: the value is not valid YAML.") from error
    section = content
    for name in names[:-1]:
        inner = section.get(name)
        if not isinstance(inner, dict):
            inner = section[name] = {"kind": RENDERED} if inner == RENDERED else {}
        section = inner
    section[names[-1]] = value


def _sentence(fault: ErrorDetails) -> str:
    """One fault as a sentence that starts with the field's path."""
    where = ".".join(str(step) for step in fault["loc"] if step not in UNION_TAGS)
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        if where in known_fields():  # of another member of the union
            section, kind = where.rpartition(".")[0], fault["loc"][-2]
            return f"{where} is not a field where {section}.kind is {kind}; docs/training.md lists the fields."
        hint = did_you_mean(where, known_fields(), "docs/training.md lists the fields")
        return f"{where} is not a field of a recipe; {hint}"
    if fault["type"] == "missing":
        return f"{where} is missing; give it in the file or with --set {where}=VALUE."
    if fault["type"] == "union_tag_not_found":
        return f"{where}.kind is missing; docs/training.md lists what it may be."
    if fault["type"] == "union_tag_invalid":
        kinds = fault["ctx"]["expected_tags"].replace(", ", " or ")
        return f"{where}.kind should be {kinds}, got {fault['ctx']['tag']!r}."
    if fault["type"] == "value_error":
        return f"{where or 'the recipe'} is wrong: {str(fault['ctx']['error']).rstrip('.')}."
    return f"{where} {fault['msg'].replace('Input should', 'should')}, got {fault['input']!r}."


def known_fields(section: Any = Recipe, prefix: str = "") -> tuple[str, ...]:
    """The paths of all fields of a recipe: "data.path", "train.schedule.gamma", and so on."""
    if isinstance(section, type) and issubclass(section, Section):
        annotations = {name: typing.get_type_hints(section)[name] for name in section.model_fields}
    elif section is Augmentation:
        annotations = {field.name: None for field in dataclasses.fields(Augmentation)}
    else:
        inner = (path for member in typing.get_args(section) for path in known_fields(member, prefix))
        return tuple(dict.fromkeys(inner))
    paths: list[str] = []
    for name, annotation in annotations.items():
        paths += [f"{prefix}{name}", *known_fields(annotation, f"{prefix}{name}.")]
    return tuple(paths)
