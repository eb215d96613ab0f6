"""Whole runs: what they leave behind, equal bits, kills, interruptions, steps that are not finite."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import knuckle
from knuckle.methods.base import Outputs, Targets
from knuckle.methods.weights import load_model
from knuckle.train import DivergenceError, Interrupted, train
from knuckle.train.checkpoint import read_position
from knuckle.train.dry_run import dry_run, step_seconds
from knuckle.train.journal import read_journal
from knuckle.train.recipe import Recipe, check_recipe
from tests.train.run_tiny import Faulty, run_apart
from tests.train.tiny import Tiny, drawn_hands, fit_tiny, rendered_recipe, tiny_recipe


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_hands(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def whole(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbs."""
    run = tmp_path_factory.mktemp("whole") / "run"
    torch.set_num_threads(1)
    fit_tiny(tiny_recipe(labels, checkpoint_every_steps=3), run, Tiny(dropout=0.3))
    return run


def numbers(run: Path) -> list[dict[str, Any]]:
    """All that metrics.jsonl says but times."""
    events = [*read_journal(run / "metrics.jsonl", "step"), *read_journal(run / "metrics.jsonl", "validation")]
    return [{name: value for name, value in event.items() if name not in ("seconds", "waited")} for event in events]


def same_models(one: Path, two: Path) -> bool:
    """Whether best and last model of two runs are equal bit for bit."""
    pairs = [(load_file(one / name), load_file(two / name)) for name in ("best.safetensors", "last.safetensors")]
    return all(
        ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours) for ours, theirs in pairs
    )


class Stops(Tiny):
    """Tiny with dropout, sent a signal during one step."""

    def __init__(self, call: int, number: signal.Signals) -> None:
        super().__init__(dropout=0.3)
        self.call = call
        self.number = number

    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        losses = super().loss(outputs, targets)
        if self.calls == self.call:
            os.kill(os.getpid(), self.number)
        return losses


class NeverFinite(Tiny):
    """A loss that is infinite at every step."""

    def loss(self, outputs: Outputs, targets: Targets) -> dict[str, Tensor]:
        return {"loss": super().loss(outputs, targets)["loss"] * torch.inf}


def test_same_seed_same_bits_other_seed_other_bits(labels: Path, whole: Path, tmp_path: Path) -> None:
    for name, seed in (("same", 0), ("other", 1)):
        fit_tiny(tiny_recipe(labels, seed=seed, checkpoint_every_steps=3), tmp_path / name, Tiny(dropout=0.3))
    assert same_models(whole, tmp_path / "same")
    assert numbers(whole) == numbers(tmp_path / "same")
    assert not same_models(whole, tmp_path / "other")


def test_without_validation_hands_the_last_model_is_the_result(labels: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(labels)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"validation": 0.0})})
    fit_tiny(recipe, tmp_path, Tiny())
    assert (tmp_path / "last.safetensors").exists()
    assert not (tmp_path / "best.safetensors").exists()
    assert (tmp_path / "curves.png").exists()
    assert read_journal(tmp_path / "metrics.jsonl", "validation") == []


def test_worker_processes_change_nothing(labels: Path, tmp_path: Path) -> None:
    for name, workers in (("a", 0), ("b", 2)):
        fit_tiny(tiny_recipe(labels, workers=workers, epochs=1), tmp_path / name, Tiny())
    assert same_models(tmp_path / "a", tmp_path / "b")


def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(labels: Path, whole: Path, tmp_path: Path) -> None:
    """SIGKILL in step 8 of 8, in the middle of the second epoch; the last checkpoint is that of step 6."""
    recipe = tiny_recipe(labels, checkpoint_every_steps=3)
    exit_codes = run_apart(recipe, tmp_path / "cut", [Faulty("kill", 8, dropout=0.3)])
    assert exit_codes == [-signal.SIGKILL]
    position = read_position(tmp_path / "cut" / "checkpoint")
    assert position is not None
    assert (position.epoch, position.step_in_epoch, position.step) == (1, 2, 6)
    assert len(read_journal(tmp_path / "cut" / "metrics.jsonl", "step")) == 7
    fit_tiny(recipe, tmp_path / "cut", Tiny(dropout=0.3), resume=True)
    assert same_models(whole, tmp_path / "cut")
    assert numbers(whole) == numbers(tmp_path / "cut")
    states = [load_file(run / "checkpoint" / "state-000000008.safetensors") for run in (whole, tmp_path / "cut")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_saves_after_the_step(
    labels: Path, whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    recipe = tiny_recipe(labels, checkpoint_every_steps=3)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"after step 3 .* --resume"):
        fit_tiny(recipe, tmp_path / "cut", Stops(3, number))
    assert signal.getsignal(number) == before
    assert (tmp_path / "cut" / "last.safetensors").exists()
    fit_tiny(recipe, tmp_path / "cut", Tiny(dropout=0.3), resume=True)
    assert same_models(whole, tmp_path / "cut")
    assert numbers(whole) == numbers(tmp_path / "cut")


def test_a_step_that_is_not_finite_changes_nothing_and_is_reported(labels: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(labels, batch=12, epochs=1, ema_decay=None, max_bad_steps=1)
    fit_tiny(recipe, tmp_path / "a", Faulty("nan", 2))
    (bad,) = read_journal(tmp_path / "a" / "metrics.jsonl", "bad_step")
    assert (bad["step"], bad["loss"], len(bad["rows"]), len(bad["images"])) == (2, None, 12, 12)
    position = read_position(tmp_path / "a" / "checkpoint")
    assert position is not None
    assert (position.step, position.updates, position.bad_steps) == (2, 1, 1)
    assert all(value.isfinite().all() for value in load_file(tmp_path / "a" / "last.safetensors").values())


def test_too_many_steps_that_are_not_finite_end_the_run(labels: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(labels, max_bad_steps=2)
    with pytest.raises(DivergenceError, match=r"step 3 .*train.max_bad_steps = 2 .*\.jpg"):
        fit_tiny(recipe, tmp_path / "a", NeverFinite())
    assert len(read_journal(tmp_path / "a" / "metrics.jsonl", "bad_step")) == 3


def test_training_learns(labels: Path, tmp_path: Path) -> None:
    fit_tiny(tiny_recipe(labels, epochs=12, learning_rate=0.02, validate_every=12), tmp_path / "a", Tiny())
    losses = [event["loss"] for event in read_journal(tmp_path / "a" / "metrics.jsonl", "step")]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@pytest.fixture(scope="module")
def whole_rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on rendered hands that nothing disturbs."""
    run = tmp_path_factory.mktemp("rendered") / "run"
    torch.set_num_threads(1)
    fit_tiny(rendered_recipe(checkpoint_every_steps=3), run, Tiny(dropout=0.3))
    return run


def test_a_run_on_rendered_hands_keeps_those_it_is_measured_on(whole_rendered: Path) -> None:
    hands = knuckle.read(whole_rendered / "validation.json")
    assert len(hands) == 5
    assert all(path.parent == whole_rendered / "hands" / "validation" / "images" for path in hands.paths())
    assert [event["hands"] for event in read_journal(whole_rendered / "metrics.jsonl", "validation")] == [5, 5]
    assert [event["hands"] for event in read_journal(whole_rendered / "metrics.jsonl", "step")] == [4] * 8
    assert not (whole_rendered / "train.json").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_rendering_in_worker_processes_changes_nothing(whole_rendered: Path, tmp_path: Path, workers: int) -> None:
    fit_tiny(rendered_recipe(workers=workers), tmp_path / "run", Tiny(dropout=0.3))
    assert same_models(whole_rendered, tmp_path / "run")
    assert numbers(whole_rendered) == numbers(tmp_path / "run")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_on_rendered_hands_that_was_killed_and_resumed_equals_one_that_was_not(
    whole_rendered: Path, tmp_path: Path, workers: int
) -> None:
    """As for hands on disk: the second epoch's hands are others than the first's, and come back after a resume."""
    recipe = rendered_recipe(checkpoint_every_steps=3, workers=workers)
    assert run_apart(recipe, tmp_path / "cut", [Faulty("kill", 8, dropout=0.3)]) == [-signal.SIGKILL]
    assert len(read_journal(tmp_path / "cut" / "metrics.jsonl", "step")) == 7
    fit_tiny(recipe, tmp_path / "cut", Tiny(dropout=0.3), resume=True)
    assert same_models(whole_rendered, tmp_path / "cut")
    assert numbers(whole_rendered) == numbers(tmp_path / "cut")


def test_a_request_to_stop_ends_the_thread_that_renders(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(Interrupted):
        fit_tiny(rendered_recipe(), tmp_path / "cut", Stops(2, signal.SIGTERM))
    assert threading.active_count() == before


def test_a_rendered_hand_whose_step_is_not_finite_can_be_rendered_again(tmp_path: Path) -> None:
    fit_tiny(rendered_recipe(ema_decay=None), tmp_path / "a", Faulty("nan", 6))
    (bad,) = read_journal(tmp_path / "a" / "metrics.jsonl", "bad_step")
    assert bad["images"] == [f"hand {16 + row} of rendered sequence 0" for row in bad["rows"]]


def test_other_rendered_hands_are_refused_on_resume(
    whole_rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(whole_rendered, tmp_path / "run")
    monkeypatch.setattr(knuckle, "__version__", "9.9")
    with pytest.raises(ValueError, match=r"data has changed since this run began \(train;"):
        fit_tiny(rendered_recipe(checkpoint_every_steps=3), tmp_path / "run", Tiny(dropout=0.3), resume=True)


@pytest.mark.usefixtures("_nondeterministic_again")
@pytest.mark.parametrize("word", [True, False])
def test_a_heatmap_run_on_rendered_hands(tmp_path: Path, word: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way from a recipe, with the settings of a GPU, and its rehearsal, which writes nothing."""
    monkeypatch.chdir(tmp_path)
    content = heatmap_recipe(Path()).plain() | {"data": "rendered"}
    if not word:
        content["data"] = {"kind": "rendered", "hands": 8, "validation": 3, "test": 2, "size": 32}
    recipe = check_recipe(content, "heatmap")
    taken = step_seconds(recipe, 1)
    assert len(taken) == 1
    assert 0 < taken[0] < 600
    told = dict(dry_run(recipe))
    assert told["crops"] == "8 x 3 x 32 x 32"
    assert list(tmp_path.iterdir()) == []
    if word:
        assert (told["train hands"], told["validation hands"], told["test hands"]) == ("20000", "1000", "0")
        return
    run = train(recipe, tmp_path / "run")
    method, _, _ = load_model(run / "best.safetensors")
    assert method.get_buffer("taught").all()
    assert len(knuckle.read(run / "test.json")) == 2
    with pytest.raises(ValueError, match="--resume"):
        train(recipe, run)


def heatmap_recipe(labels: Path) -> Recipe:
    return check_recipe(
        {
            "data": {"path": str(labels), "validation": 0.2, "test": 0.2, "crop": "full"},
            "model": {"backbone": "test_byobnet", "size": 32},
            "train": {
                **{"epochs": 1, "batch": 8, "channels_last": True, "clip_norm": 1.0, "precision": "bf16"},
                **{"ema_decay": 0.9, "deterministic": True},
            },
            "device": "cpu",
        },
        "heatmap",
    )


@pytest.fixture
def _nondeterministic_again() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_nondeterministic_again")
def test_a_heatmap_run_leaves_a_whole_run_folder(labels: Path, tmp_path: Path) -> None:
    hands = knuckle.read(labels)
    visibility = hands.visibility.copy()
    visibility[:, 7] = 0
    knuckle.write(hands.replace(visibility=visibility), labels.with_name("partly.json"))
    recipe, run = heatmap_recipe(labels.with_name("partly.json")), tmp_path / "run"
    assert train(recipe, run) == run
    assert {path.name for path in run.iterdir()} == {
        *("recipe.yaml", "data.json", "environment.json", "metrics.jsonl", "curves.png", "checkpoint"),
        *("best.safetensors", "last.safetensors", "train.json", "validation.json", "test.json"),
    }
    method, spec, notes = load_model(run / "best.safetensors")
    assert (spec.backbone, spec.rule.size, spec.rule.whole_image, notes["epoch"]) == ("test_byobnet", 32, True, 1)
    assert method.get_buffer("taught").tolist() == [joint != 7 for joint in range(21)]
    (measured,) = read_journal(run / "metrics.jsonl", "validation")
    assert notes["validation"]["auc"] == measured["auc"]
    assert method(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))["heatmaps"].shape == (1, 21, 8, 8)
    with pytest.raises(ValueError, match="--resume"):
        train(recipe, run)


@pytest.mark.usefixtures("_nondeterministic_again")
def test_a_dry_run_tells_shapes_and_writes_nothing(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = dict(dry_run(heatmap_recipe(labels)))
    assert told["crops"] == "8 x 3 x 32 x 32"
    assert told["output heatmaps"] == "B x 21 x 8 x 8"
    assert told["steps of the run"] == "3"
    assert told["peak memory"].endswith("MiB")
    assert list(tmp_path.iterdir()) == []


def test_sides_can_be_taught_and_the_lesson_stays_behind(labels: Path, tmp_path: Path) -> None:
    runs = []
    for weight in (0.0, 0.5):
        content = heatmap_recipe(labels).plain()
        content["train"] |= {"side_weight": weight, "deterministic": False}
        runs.append(train(check_recipe(content, "sides"), tmp_path / str(weight)) / "last.safetensors")
    without, taught = (load_file(run) for run in runs)
    assert without.keys() == taught.keys()
    assert not torch.equal(without["backbone.network.stem.conv.weight"], taught["backbone.network.stem.conv.weight"])
    assert load_model(runs[1])[0].side_lesson is None


def test_the_side_lesson_goes_on_where_a_killed_run_left_it(labels: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(labels, side_weight=0.5, checkpoint_every_steps=3)
    assert run_apart(recipe, tmp_path / "cut", [Faulty("kill", 8)]) == [-signal.SIGKILL]
    fit_tiny(recipe, tmp_path / "cut", Tiny(), resume=True)
    fit_tiny(recipe, tmp_path / "whole", Tiny())
    cut, whole = (load_file(tmp_path / run / "checkpoint" / "state-000000008.safetensors") for run in ("cut", "whole"))
    assert "network.side_lesson.layer.weight" in cut
    assert all(torch.equal(cut[name], whole[name]) for name in whole)
