"""recipes/methods_*.yaml: one schedule for every method, with the overrides that their first lines print; and the
small sequential model.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from knuckle.data.augment import Augmentation
from knuckle.methods import METHODS
from knuckle.train.dry_run import dry_run
from knuckle.train.recipe import Recipe, Step, load_recipe
from tests.formats.datasets import rhd_record, write_freihand, write_rhd

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL_MODEL = RECIPES / "sequential_small.yaml"
FREIHAND, RHD = RECIPES / "methods_freihand.yaml", RECIPES / "methods_rhd.yaml"
LINE = re.compile(r"^#   (sequential, .+?|\w+)  +(?:nothing to set|--set (\S+))$", re.MULTILINE)
SMALL = (
    *("model.backbone=test_byobnet", "model.size=64", "model.weights=null"),
    *("train.batch=3", "train.workers=0", "device=cpu"),
)


def overrides(path: Path) -> dict[str, list[str]]:
    """What the recipe's first lines say to set for each method."""
    return {name: [override] if override else [] for name, override in LINE.findall(path.read_text())}


CASES = [(path, name) for path in (FREIHAND, RHD) for name in overrides(path)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small releases where the recipes look for them."""
    folder = tmp_path_factory.mktemp("work")
    write_freihand(folder / "data" / "FreiHAND", records=20, versions=2, evaluation=2)
    for split, count in (("training", 20), ("evaluation", 2)):
        write_rhd(folder / "data" / "RHD_published_v2", split, {number: rhd_record(number) for number in range(count)})
    return folder


def test_both_recipes_have_every_method_and_the_three_losses_of_the_sequential_one() -> None:
    for path in (FREIHAND, RHD):
        recipes = [load_recipe(path, given) for given in overrides(path).values()]
        assert {recipe.model.method for recipe in recipes} == set(METHODS)
        losses = [recipe.model.options.get("loss") for recipe in recipes if recipe.model.method == "sequential"]
        assert losses == [None, "heatmap", "integral"]
        assert len(recipes) == len(METHODS) + 2


@pytest.mark.parametrize(("path", "name"), CASES)
def test_only_the_method_differs(path: Path, name: str) -> None:
    plain, given = load_recipe(path), load_recipe(path, overrides(path)[name])
    assert name.split(",")[0] == given.model.method
    assert given.data == plain.data
    assert given.train == plain.train
    assert given.augmentation == Augmentation.none()
    assert given.model.model_copy(update={"method": "sequential", "options": {}}) == plain.model


@pytest.mark.parametrize(("path", "crop"), [(FREIHAND, "full"), (RHD, "box")])
def test_the_papers_settings(path: Path, crop: str) -> None:
    """Section IV of "MLE-Loss Driven Robust Hand Pose Estimation"."""
    recipe: Recipe = load_recipe(path)
    assert (recipe.model.backbone, recipe.model.size, recipe.model.weights) == ("resnet50", 256, "imagenet")
    assert (recipe.model.frame_padding, recipe.data.crop) == (1.0, crop)
    train = recipe.train
    assert (train.optimizer, train.learning_rate, train.epochs, train.batch) == ("adam", 1e-3, 120, 128)
    assert train.schedule == Step(milestones=(90,), gamma=0.1)
    assert (train.warmup_iterations, train.weight_decay, train.clip_norm) == (0, 0.0, None)


@pytest.mark.parametrize(("path", "name"), CASES)
def test_a_rehearsal_takes_a_step(path: Path, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    told = dict(dry_run(load_recipe(path, [*overrides(path)[name], *SMALL])))
    hands = {FREIHAND: ("38", "2", "2"), RHD: ("38", "2", "4")}[path]
    assert (told["train hands"], told["validation hands"], told["test hands"]) == hands
    assert told["crops"] == "3 x 3 x 64 x 64"
    assert math.isfinite(float(told["first loss"]))
    assert 0 < float(told["first gradient norm"]) < math.inf


def test_the_small_model_differs_in_its_size_alone_and_costs_a_quarter_at_most() -> None:
    paper, small = load_recipe(FREIHAND), load_recipe(SMALL_MODEL)
    assert (small.data, small.train, small.augmentation) == (paper.data, paper.train, paper.augmentation)
    changed = {"backbone": "resnet50", "options": {}}
    assert small.model.model_copy(update=changed) == paper.model
    ours, theirs = _multiply_adds(small), _multiply_adds(paper)
    assert ours < 0.25 * theirs
    said = re.search(r"([\d.]+) billion of them .* against ([\d.]+) billion", SMALL_MODEL.read_text())
    assert said is not None
    assert said.groups() == (f"{ours / 1e9:.1f}", f"{theirs / 1e9:.1f}")


def _multiply_adds(recipe: Recipe) -> int:
    """Of one crop."""
    network = METHODS["sequential"](recipe.model.backbone, size=recipe.model.size, weights=None, **recipe.model.options)
    crop = torch.zeros(1, 3, recipe.model.size, recipe.model.size)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network.eval()(crop)
    return int(counter.get_total_flops()) // 2


def test_the_small_model_takes_a_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    told = dict(dry_run(load_recipe(SMALL_MODEL, SMALL)))
    assert math.isfinite(float(told["first loss"]))
