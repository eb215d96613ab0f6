"""Training a detector: it learns, a stopped run ends as an uninterrupted one, recipes are checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import knuckle.train.detector as trainer
from knuckle.methods.detector import DetectorSpec, HandDetector, load_detector, save_detector
from knuckle.train.detector import RESULT, held_out, train_detector
from knuckle.train.detector_recipe import DetectorRecipe, load_detector_recipe
from knuckle.train.interrupt import Interrupted
from knuckle.train.journal import read_journal

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve dark pictures with a bright square each, two a group."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    images, annotations = [], []
    for number in range(12):
        x, y = (int(value) for value in rng.integers(4, 30, 2))
        picture = np.full((64, 64, 3), 30, np.uint8)
        picture[y : y + 30, x : x + 30] = 230
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 64, "group": number // 2})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [x, y, 30, 30]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "hand"}]}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def recipe(**train: Any) -> DetectorRecipe:
    return DetectorRecipe.model_validate(
        {
            "sources": [{"path": "annotations.json", "training": 0.7}],
            "network": {"widths": [8, 8, 16, 16, 16], "blocks": [0, 0, 0, 0, 0], "neck": 8},
            "train": {
                "epoch_squares": 8,
                "batch": 4,
                "phases": [{"side": 32, "epochs": 1}, {"side": 64, "epochs": 2}],
                "warmup": 2,
                "mosaic": 0.2,
                "checkpoint_every": 2,
                **train,
            },
        }
    )


def test_a_stopped_run_ends_as_an_uninterrupted_one(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_detector(recipe(), photos, tmp_path / "whole")

    class DiesError(Exception):
        pass

    step, taken = trainer.take_step, list[int]()

    def dies(*arguments: Any) -> dict[str, float]:
        taken.append(1)
        if len(taken) == 4:
            raise DiesError
        return step(*arguments)

    monkeypatch.setattr(trainer, "take_step", dies)
    with pytest.raises(DiesError):
        train_detector(recipe(), photos, tmp_path / "parts")
    resumed = train_detector(recipe(), photos, tmp_path / "parts")
    assert len(taken) == 3 + 1 + 4, "steps 3 to 6 after the checkpoint of step 2"
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    losses = [
        [entry["loss"] for entry in read_journal(tmp_path / run / "metrics.jsonl", "step")]
        for run in ("whole", "parts")
    ]
    assert losses[0] == losses[1]
    loaded, notes = load_detector(tmp_path / "whole" / RESULT)
    assert notes == {"step": 6, "steps": 6}
    assert torch.equal(loaded.output.weight, whole.output.weight)


def test_the_loss_falls(photos: Path, tmp_path: Path) -> None:
    train_detector(recipe(phases=[{"side": 64, "epochs": 20}], learning_rate=1e-2), photos, tmp_path / "run")
    losses = [entry["loss"] for entry in read_journal(tmp_path / "run" / "metrics.jsonl", "step")]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_a_signal_stops_with_everything_saved(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    step = trainer.take_step

    def signalled(*arguments: Any) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)

    monkeypatch.setattr(trainer, "take_step", signalled)
    with pytest.raises(Interrupted, match="after step 1 of 6"):
        train_detector(recipe(), photos, tmp_path)
    assert load_detector(tmp_path / RESULT)[1]["step"] == 1


def test_held_out_pictures_share_no_group_with_training(photos: Path) -> None:
    [(_, held)] = held_out(recipe(), photos)
    assert 2 <= len(held) <= 4
    trained = trainer.mixture(recipe(), photos).parts[0]
    assert set(held.group.tolist()).isdisjoint(trained.group.tolist())
    assert len(held) + len(trained) == 12


def test_another_recipe_is_refused(photos: Path, tmp_path: Path) -> None:
    train_detector(recipe(phases=[{"side": 32}]), photos, tmp_path)
    with pytest.raises(ValueError, match="run of another recipe"):
        train_detector(recipe(phases=[{"side": 64}]), photos, tmp_path)


def test_a_start_of_another_size_is_one_sentence(photos: Path, tmp_path: Path) -> None:
    save_detector(tmp_path / "other.safetensors", HandDetector(DetectorSpec((8, 8, 8, 8, 8), (0,) * 5, 8)), {})
    begun = recipe().model_copy(update={"start": str(tmp_path / "other.safetensors")})
    with pytest.raises(ValueError, match=r"network is .*\(8, 8, 16, 16, 16\).* but .*other.safetensors is"):
        train_detector(begun, photos, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_recipes_are_checked(tmp_path: Path) -> None:
    shipped = load_detector_recipe(REPOSITORY / "recipes" / "detector.yaml")
    assert shipped.train.epochs == sum(phase.epochs for phase in shipped.train.phases)
    assert [shipped.train.side_of(epoch) for epoch in (0, shipped.train.epochs - 1)] == [160, 256]
    (tmp_path / "a.yaml").write_text("sources: [{path: a}]\ntrain: {phases: [{side: 100}]}\n")
    with pytest.raises(ValueError, match=r"a.yaml: train.phases.0.side"):
        load_detector_recipe(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("sources: [{path: a, weight: 2}]\n")
    with pytest.raises(ValueError, match=r"sources.0.weight"):
        load_detector_recipe(tmp_path / "a.yaml")
    with pytest.raises(ValueError, match="cannot be read"):
        load_detector_recipe(tmp_path / "none.yaml")
