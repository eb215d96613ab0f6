"""Recipes: defaults, overrides, and faults that name their field."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pydantic import ValidationError

from knuckle.data.augment import Augmentation
from knuckle.render import SceneConfig
from knuckle.render.poses import PoseMix
from knuckle.train.recipe import (
    OPTIONAL_FACTORS,
    Cosine,
    Data,
    Recipe,
    Rendered,
    Source,
    Step,
    check_recipe,
    known_fields,
    load_recipe,
)

REPOSITORY = Path(__file__).parents[2]
MINIMAL = {"data": {"path": "photos"}}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_only_the_path_is_required() -> None:
    recipe = check_recipe(MINIMAL, "r")
    assert isinstance(recipe.data, Data)
    assert (recipe.data.path, recipe.data.more) == ("photos", ())
    assert recipe.augmentation == Augmentation.none()
    assert recipe.train.schedule == Step()


def test_recipes_are_immutable() -> None:
    recipe = check_recipe(MINIMAL, "r")
    with pytest.raises(ValidationError):
        recipe.train.epochs = 3


def test_a_resolved_recipe_reads_back_as_itself(tmp_path: Path) -> None:
    recipe = load_recipe(REPOSITORY / "recipes" / "photos_from_scratch.yaml")
    assert check_recipe(recipe.plain(), "again") == recipe


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("train.epochs=5", "train.epochs", 5),
        ("train.learning_rate=1e-3", "train.learning_rate", 1e-3),
        ("model.weights=null", "model.weights", None),
        ("data.validation=1/4", "data.validation", 0.25),
        ("data.validation={path: other, split: test}", "data.validation", Source(path="other", split="test")),
        ("data.test.path=other", "data.test", Source(path="other")),
        ("train.schedule={kind: cosine}", "train.schedule", Cosine(kind="cosine")),
        ("augmentation.scale=[0.5, 2]", "augmentation.scale", (0.5, 2.0)),
        ("model.options.decoder=dark", "model.options", {"decoder": "dark"}),
        ("data.path=a=b", "data.path", "a=b"),
        ("data=rendered", "data", Rendered()),
        ("data={kind: rendered, hands: 5}", "data", Rendered(hands=5)),
    ],
)
def test_overrides_are_yaml(tmp_path: Path, override: str, field: str, value: object) -> None:
    recipe = load_recipe(written(tmp_path, "data: {path: photos}"), [override])
    found: object = recipe
    for name in field.split("."):
        found = getattr(found, name)
    assert found == value


def test_rendered_hands_are_one_word_and_take_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, "data: rendered")
    assert load_recipe(path).data == Rendered()
    recipe = load_recipe(
        path, ["data.hands=5000", "data.gestures.6=0.5", "data.gestures.claw=0.1", "data.without=[sensor]"]
    )
    assert recipe.data == Rendered(hands=5000, gestures={"6": 0.5, "claw": 0.1}, without=("sensor",))
    assert check_recipe(recipe.plain(), "again") == recipe


def test_rendered_hands_take_shares_of_poses_and_views(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, "data: rendered"), ["data.poses.fingers=1", "data.views.overhead=0.5"])
    assert isinstance(recipe.data, Rendered)
    scenes = recipe.data.scenes()
    assert scenes.poses == PoseMix(gesture=0, interpolation=0, synergy=0, fingers=1)
    assert scenes.viewpoints is not None
    assert scenes.viewpoints.overhead == 0.5
    assert Rendered().scenes() == SceneConfig()


def test_every_factor_that_can_be_switched_off_and_no_other() -> None:
    config = Rendered(without=OPTIONAL_FACTORS).scenes()
    switched_off = {field.name for field in dataclasses.fields(config) if getattr(config, field.name) is None}
    assert switched_off == set(OPTIONAL_FACTORS) >= {"lens", "backgrounds", "sensor"}
    assert not {"poses", "left_hands"} & switched_off


def test_every_fault_of_rendered_hands_names_its_field() -> None:
    wrong: dict[str, object] = {
        "hnds": 5,
        "path": "x",
        "validation": 0.1,
        "size": 8,
        "gestures": {"fits": 0.5},
        "exclude": ["claw", 25],
        "without": ["sensor", "poses"],
        "poses": {"toes": 0.5},
        "views": {"overhead": 2},
        "on_bad": "cry",
    }
    with pytest.raises(ValueError, match="not a field") as caught:
        check_recipe({"data": {"kind": "rendered", **wrong}}, "r")
    lines = str(caught.value).splitlines()
    for expected in (
        "data.hnds is not a field of a recipe; did you mean data.hands?",
        "data.path is not a field where data.kind is rendered; ",
        "data.validation should be a valid integer",
        "data.size should be greater than or equal to 16",
        "data.gestures is wrong: There is no gesture 'fits'",
        "data.exclude.1 is wrong: There is no gesture '25'",
        "data.without.1 is wrong: it should be one of shape, ",
        "data.poses is wrong: There is no kind of pose 'toes'",
        "data.views is wrong: 'overhead:2.0' is not a viewpoint and its share",
        "data.on_bad should be 'stop' or 'skip'",
    ):
        assert any(line.startswith(f"r: {expected}") for line in lines), expected
    assert len(lines) == 10


def test_every_fault_is_reported_at_once_with_its_path(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "data: {path: x, validation: 1.5, crop: tight}\n"
        "model: {size: -3, bckbone: resnet18}\n"
        "augmentation: {rotaton: 30}\n"
        "train: {epoch: 5, learning_rate: fast, schedule: {kind: stepwise}}\n"
        "device: tpu\n",
    )
    with pytest.raises(ValueError, match="not a field") as caught:
        load_recipe(path, ["train.schedul.gamma=1"])
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    for expected in (
        "data.validation should be less than 1, got 1.5.",
        "data.crop should be 'box' or 'full', got 'tight'.",
        "model.size should be greater than 0, got -3.",
        "model.bckbone is not a field of a recipe; did you mean model.backbone?",
        "augmentation.rotaton is not a field of a recipe; did you mean augmentation.rotation?",
        "train.epoch is not a field of a recipe; did you mean train.epochs?",
        "train.learning_rate should be a valid number, unable to parse string as a number, got 'fast'.",
        "train.schedule.kind should be 'step' or 'cosine', got 'stepwise'.",
        "train.schedul is not a field of a recipe; did you mean train.schedule?",
        "device is wrong: it should be auto, cpu, mps, cuda or cuda:NUMBER, got 'tpu'.",
    ):
        assert f"{path}: {expected}" in lines
    assert len(lines) == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "data is missing"),
        ({"data": {}}, "data.path is missing"),
        ({"data": {"path": "x", "validation": {"pth": "y"}}}, "data.validation.pth is not a field"),
        ({"data": {"path": "x", "validation": 0.5, "test": 0.5}}, "leave some for training"),
        ({"data": {"path": "x", "validation": "1/0"}}, "data.validation should be a valid number"),
        ({**MINIMAL, "train": {"batch": 10, "accumulate": 4}}, "10 cannot be cut into accumulate = 4"),
        ({**MINIMAL, "train": {"schedule": {"kind": "step", "milestones": [5, 3]}}}, "milestones must ascend"),
        ({**MINIMAL, "train": {"schedule": {"kind": "cosine", "gamma": 1}}}, "train.schedule.gamma is not a field"),
        ({**MINIMAL, "train": {"schedule": {"kind": "cosine", "gamma": 1}}}, "train.schedule.kind is cosine"),
        ({**MINIMAL, "train": {"schedule": {"gamma": 0.5}}}, "train.schedule.kind is missing"),
        ({"data": "renderd"}, "data is wrong: it should be a section with a path, or the word rendered, got 'renderd'"),
        ({"data": None}, "or the word rendered, got None"),
        ({"data": {"kind": "film"}}, "data.kind should be 'files' or 'rendered', got 'film'"),
        ({"data": {"path": "x", "hands": 5}}, "data.hands is not a field where data.kind is files"),
        ({"data": {"kind": "rendered", "gestures": {"fist": 1.0}, "exclude": ["fist"]}}, "exclude fewer of them"),
        ({**MINIMAL, "augmentation": {"mirror": 2.0}}, "mirror must be 0 to 1, got 2.0"),
        ({**MINIMAL, "tarin": {}}, "did you mean train?"),
        ({**MINIMAL, "zebra": 1}, "docs/training.md lists the fields"),
    ],
)
def test_faults(content: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match="r: ") as caught:
        check_recipe(content, "r")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {path: x", r":1 is not valid YAML"),
        ("data:\n  path: x\n bad: 1\n", r":3 is not valid YAML"),
        ("- a\n- b\n", "must hold the sections"),
        ("", "must hold the sections"),
        ("data: \x07", "is not valid YAML"),
        ("data: 2024-99-99", "is not valid YAML"),
        pytest.param("[" * 100_000, "is not valid YAML", id="brackets"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_recipe(written(tmp_path, text))


def test_a_missing_file_and_a_foreign_encoding(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml cannot be read"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("data: {path: Hände}".encode("latin-1"))
    with pytest.raises(ValueError, match="UTF-8"):
        load_recipe(tmp_path / "latin.yaml")


@pytest.mark.parametrize("override", ["train.epochs", "=5", "train..epochs=5", "train.epochs=[1"])
def test_broken_overrides(tmp_path: Path, override: str) -> None:
    with pytest.raises(ValueError, match="--set "):
        load_recipe(written(tmp_path, "data: {path: x}"), [override])


def test_published_schedules() -> None:
    """MMPose's td-hm_res50_8xb64 configurations for FreiHAND and RHD."""
    freihand = load_recipe(REPOSITORY / "recipes" / "heatmap_freihand.yaml")
    rhd = load_recipe(REPOSITORY / "recipes" / "heatmap_rhd.yaml")
    assert (freihand.augmentation, rhd.augmentation) == (Augmentation.mmpose(), Augmentation.mmpose(shift=0.16))
    assert (freihand.model.size, freihand.model.frame_padding, freihand.data.crop) == (224, 0.8, "full")
    assert (rhd.model.size, rhd.model.padding, rhd.data.crop) == (256, 1.5, "box")
    for recipe, epochs, milestones in ((freihand, 100, (50, 70)), (rhd, 210, (170, 200))):
        train = recipe.train
        assert (train.epochs, train.batch, train.optimizer, train.learning_rate) == (epochs, 512, "adam", 5e-4)
        assert train.schedule == Step(milestones=milestones, gamma=0.1)
        assert (train.warmup_iterations, train.warmup_factor, train.weight_decay) == (500, 0.001, 0.0)
        assert (train.save_best, recipe.model.weights) == ("auc", "imagenet")


def test_the_recipe_for_rendered_hands_never_shows_a_hand_twice_and_renders_on_the_gpu() -> None:
    recipe = load_recipe(REPOSITORY / "recipes" / "rendered.yaml")
    assert isinstance(recipe.data, Rendered)
    assert recipe.data.hands % recipe.train.batch == 0
    assert recipe.train.workers == 0


def test_the_recipe_for_own_photos_leaves_the_network_to_the_model_it_starts_from() -> None:
    recipe = load_recipe(REPOSITORY / "recipes" / "photos.yaml")
    assert recipe.start == "light"
    assert "model" not in recipe.model_fields_set


def test_the_documentation_names_every_field() -> None:
    text = (REPOSITORY / "docs" / "training.md").read_text()
    augmentation = {f"augmentation.{field.name}" for field in dataclasses.fields(Augmentation)}
    fields = [name for name in known_fields() if name not in augmentation]
    sections = {*Recipe.model_fields} - {"device"}
    missing = [name for name in fields if name not in sections and f"`{name}`" not in text]
    assert missing == []
