"""Going on from a model: its network and weights to the bit, its crops, and sentences where the recipe disagrees."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import knuckle
from knuckle.geometry import CropRule
from knuckle.methods.hand_head import HandHead
from knuckle.methods.weights import ModelSpec, build, load_model, save_model
from knuckle.train import train
from knuckle.train.dry_run import dry_run
from knuckle.train.journal import read_journal
from knuckle.train.loop import build_method
from knuckle.train.recipe import Recipe, check_recipe
from knuckle.train.start import settle
from tests.methods.mmpose_restated import checkpoint_0x, random_network
from tests.train.tiny import drawn_hands

SPEC = ModelSpec(
    "heatmap", "test_byobnet", CropRule(size=32, padding=1.8, frame_padding=1.1), {"sigma": 1.5, "width": 8}
)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_hands(tmp_path_factory.mktemp("drawn"), 24)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was never taught joint 3."""
    torch.manual_seed(5)
    method = build(SPEC)
    method.get_buffer("taught")[3] = False
    path = tmp_path_factory.mktemp("model") / "first.safetensors"
    save_model(path, method, SPEC, {})
    return path


def recipe_from(start: Path | str, labels: Path, model: dict[str, Any] | None = None, **training: Any) -> Recipe:
    content = {
        "start": str(start),
        "data": {"path": str(labels), "validation": 0},
        "train": {"epochs": 2, "batch": 8, **training},
        "device": "cpu",
    }
    return check_recipe(content | ({} if model is None else {"model": model}), "r")


def test_network_crops_and_weights_are_the_models(start: Path, labels: Path) -> None:
    recipe = settle(recipe_from(start, labels))
    method, spec = build_method(recipe)
    assert spec == SPEC
    stored, made = load_file(start), method.state_dict()
    assert made.keys() == stored.keys()
    assert all(torch.equal(made[name], tensor) for name, tensor in stored.items())
    assert (recipe.model.size, recipe.model.padding, recipe.model.options) == (32, 1.8, {"sigma": 1.5, "width": 8})
    whole = check_recipe({**recipe.plain(), "data": {"path": str(labels), "crop": "full"}}, "r")
    assert build_method(settle(whole))[1].rule == replace(SPEC.rule, whole_image=True)


def test_training_begins_at_the_models_weights(start: Path, labels: Path, tmp_path: Path) -> None:
    train(recipe_from(start, labels, learning_rate=1e-12), tmp_path / "still")
    before, after = load_file(start), load_file(tmp_path / "still" / "last.safetensors")
    learned = [name for name in before if "running" not in name and "num_batches" not in name and name != "taught"]
    assert len(learned) > 10
    assert all(torch.allclose(before[name], after[name], atol=1e-8) for name in learned)
    train(recipe_from(start, labels, learning_rate=1e-2), tmp_path / "moved")
    moved = load_file(tmp_path / "moved" / "last.safetensors")
    assert not any(torch.allclose(before[name], moved[name], atol=1e-5) for name in learned if "weight" in name)


def test_joints_that_the_photos_lack_stay_known(start: Path, labels: Path, tmp_path: Path) -> None:
    hands = knuckle.read(labels)
    visibility = hands.visibility.copy()
    visibility[:, 7] = 0
    partly = labels.with_name("partly.json")
    knuckle.write(hands.replace(visibility=visibility), partly)
    train(recipe_from(start, partly, epochs=1), tmp_path / "run")
    # 3 was never taught to the model, but the photos show it; 7 the other way round.
    assert load_model(tmp_path / "run" / "last.safetensors")[0].get_buffer("taught").all()


def test_the_run_folder_says_the_network_and_the_run_resumes(start: Path, labels: Path, tmp_path: Path) -> None:
    train(recipe_from(start, labels), tmp_path / "whole")
    train(recipe_from(start, labels, epochs=1), tmp_path / "parts")
    train(recipe_from(start, labels), tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    written = yaml.safe_load((tmp_path / "whole" / "recipe.yaml").read_text())
    assert written["start"] == str(start)
    assert written["model"]["backbone"] == "test_byobnet"
    assert written["model"]["options"] == {"sigma": 1.5, "width": 8}
    assert settle(check_recipe(written, "again")).plain() == written


def test_a_dry_run_rehearses_it(start: Path, labels: Path) -> None:
    told = dict(dry_run(recipe_from(start, labels)))
    assert told["crops"] == "8 x 3 x 32 x 32"


def test_a_dry_run_takes_the_first_step_of_the_run(start: Path, labels: Path, tmp_path: Path) -> None:
    told = dict(dry_run(recipe_from(start, labels)))
    train(recipe_from(start, labels, epochs=1), tmp_path / "run")
    first = read_journal(tmp_path / "run" / "metrics.jsonl", "step")[0]
    assert float(told["first loss"]) == pytest.approx(first["loss"], rel=1e-4)


def test_a_hand_head_belongs_to_the_old_weights(labels: Path, tmp_path: Path) -> None:
    method = build(SPEC)
    method.hand_head = HandHead(16, 1)
    save_model(tmp_path / "a.safetensors", method, SPEC, {})
    assert load_model(tmp_path / "a.safetensors")[0].hand_head is not None
    assert build_method(settle(recipe_from(tmp_path / "a.safetensors", labels)))[0].hand_head is None


def test_shipped_names_are_models_to_go_on_from(start: Path, labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loading = importlib.import_module("knuckle.predict.load")  # the package has a function of that name
    monkeypatch.setattr(loading, "shipped_file", lambda name, suffix: {"light": start}[name])
    assert settle(recipe_from("light", labels)).model.backbone == "test_byobnet"


def test_what_the_recipe_says_of_the_model_must_be_true(start: Path, labels: Path) -> None:
    fits = {"backbone": "test_byobnet", "size": 32, "weights": None, "options": {"sigma": 1.5}}
    assert settle(recipe_from(start, labels, fits)).model.padding == 1.8
    as_text = {"options": {"sigma": "15e-1"}}  # as YAML reads a number without a point
    assert settle(recipe_from(start, labels, as_text)).model.options["sigma"] == 1.5
    wrong = {"size": 64, "weights": "imagenet", "options": {"sigma": 2.0, "decoder": "dark"}}
    with pytest.raises(ValueError, match="does not fit") as error:
        settle(recipe_from(start, labels, wrong))
    for phrase in (
        "model.size is 64 in the recipe and 32 in the model",
        "model.weights is imagenet, but all weights come from the model",
        "model.options.sigma is 2.0 in the recipe and 1.5 in the model",
        "model.options.decoder is dark in the recipe and not set in the model",
        "Leave the section model out",
    ):
        assert phrase in str(error.value)
    assert "padding" not in str(error.value)


def test_a_recipe_may_cut_closer(start: Path, labels: Path) -> None:
    settled = settle(recipe_from(start, labels, {"padding": 1.25}))
    assert (settled.model.padding, settled.model.frame_padding) == (1.25, 1.1)
    assert build_method(settled)[1].rule == replace(SPEC.rule, padding=1.25)
    wider = settle(recipe_from(start, labels, {"frame_padding": 1.0}))
    assert build_method(wider)[1].rule == replace(SPEC.rule, frame_padding=1.0)


def test_a_run_without_a_start_stays_as_it_is(labels: Path) -> None:
    recipe = check_recipe({"data": {"path": str(labels)}}, "r")
    assert settle(recipe) == recipe


def test_options_of_a_run_without_a_start_are_checked(labels: Path) -> None:
    def settled(**options: object) -> dict[str, Any]:
        model = {"method": "sequential", "options": options}
        return settle(check_recipe({"data": {"path": str(labels)}, "model": model}, "r")).model.options

    assert settled(sigma_floor="1e-3") == {"sigma_floor": 0.001}
    with pytest.raises(ValueError, match="no option 'stage'; did you mean stages"):
        settled(stage=5)


def test_checkpoints_of_mmpose_keep_their_alignment(labels: Path, tmp_path: Path) -> None:
    path = tmp_path / "res18_rhd2d_256x256.pth"
    torch.save(checkpoint_0x(random_network(18, 256)), path)
    recipe = settle(recipe_from(path, labels))
    assert (recipe.model.backbone, recipe.model.size, recipe.model.padding) == ("resnet18", 256, 1.5)
    assert build_method(recipe)[1].rule.alignment == "corner"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nowhere.safetensors", "there is no model nowhere.safetensors"),
        ("model.onnx", "holds no weights to go on with"),
        ("half.safetensors", "truncated or no safetensors file"),
    ],
)
def test_what_is_no_model_to_go_on_from(
    name: str, sentence: str, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for broken in ("model.onnx", "half.safetensors"):
        Path(broken).write_bytes(b"\x10\0\0")
    with pytest.raises(ValueError, match=sentence):
        train(recipe_from(name, labels), tmp_path / "run")
    assert not (tmp_path / "run").exists()
