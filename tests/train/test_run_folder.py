"""Run folders: made once, resumed on request, never mixed up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from knuckle.formats import read
from knuckle.hands import Hands
from knuckle.train.distributed import Team
from knuckle.train.parts import Parts, read_parts
from knuckle.train.recipe import Recipe, check_recipe
from knuckle.train.run_folder import changed_fields, check_run, open_run, record_data, record_environment
from tests.train.tiny import drawn_hands


def recipe_with(**train: Any) -> Recipe:
    return check_recipe({"data": {"path": "x"}, "train": train}, "r")


def test_a_fresh_folder_holds_the_resolved_recipe(tmp_path: Path) -> None:
    recipe = recipe_with(epochs=7)
    check_run(tmp_path / "runs" / "a", recipe, resume=False)
    assert not (tmp_path / "runs").exists()
    open_run(tmp_path / "runs" / "a", recipe)
    content = yaml.safe_load((tmp_path / "runs" / "a" / "recipe.yaml").read_text())
    assert content == recipe.plain()
    assert check_recipe(content, "again") == recipe


def test_an_existing_run_needs_resume(tmp_path: Path) -> None:
    open_run(tmp_path, recipe_with())
    with pytest.raises(ValueError, match="already holds a run; add --resume"):
        check_run(tmp_path, recipe_with(), resume=False)
    check_run(tmp_path, recipe_with(), resume=True)


def test_a_changed_recipe_is_refused_by_field(tmp_path: Path) -> None:
    open_run(tmp_path, recipe_with())
    with pytest.raises(ValueError, match=r"differs from .* in train.batch, train.schedule.gamma, so"):
        check_run(tmp_path, recipe_with(batch=8, schedule={"kind": "step", "gamma": 0.5}), resume=True)
    check_run(tmp_path, recipe_with(epochs=7, workers=2), resume=True)


def test_other_folders_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is not a run"):
        check_run(tmp_path, recipe_with(), resume=True)
    with pytest.raises(ValueError, match="is a file"):
        check_run(tmp_path / "file", recipe_with(), resume=False)


def test_changed_fields_follow_sections() -> None:
    before = {"a": {"x": 1, "y": {"z": 2}}, "b": 3}
    after = {"a": {"x": 1, "y": {"z": 4}, "w": 5}, "b": 6}
    assert changed_fields(before, after) == ["a.y.z", "a.w", "b"]


def test_the_rows_of_each_part_read_back_with_their_images(tmp_path: Path) -> None:
    annotations = drawn_hands(tmp_path / "drawn", 24)
    data = {"path": str(annotations), "validation": "1/3", "test": "1/3"}
    parts = read_parts(check_recipe({"data": data}, "r"), torch.device("cpu"))
    run = tmp_path / "run"
    run.mkdir()
    record_data(run, parts)
    for name, hands in parts.named().items():
        assert isinstance(hands, Hands)
        again = read(run / f"{name}.json")
        assert all(path.is_file() for path in again.paths())
        assert [path.resolve() for path in again.paths()] == [path.resolve() for path in hands.paths()]
        assert again.replace(image=hands.image) == hands
    record_data(run, parts)
    swapped = Parts(parts.validation, parts.train, parts.test, ())
    with pytest.raises(ValueError, match=r"data has changed since this run began \(train, validation"):
        record_data(run, swapped)


def test_the_environment_names_versions_and_seeds(tmp_path: Path) -> None:
    record_environment(tmp_path, recipe_with(seed=5), Team(0, 2, torch.device("cpu")))
    content = json.loads((tmp_path / "environment.json").read_text())
    assert torch.__version__.startswith(content["packages"]["torch"])
    assert content["seeds"]["train.seed"] == 5
    assert (content["device"], content["processes"]) == ("cpu", 2)


@pytest.mark.parametrize(("has_it", "expected"), [(True, "bf16"), (False, "float32")])
def test_the_environment_says_what_the_network_ran_in(
    has_it: bool, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has_it)
    record_environment(tmp_path, recipe_with(precision="bf16"), Team(0, 1, torch.device("cpu")))
    assert json.loads((tmp_path / "environment.json").read_text())["precision"] == expected
