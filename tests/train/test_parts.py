"""The hands of a run: sources, splits, what is left out, fingerprints."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from knuckle.data.images import read_image
from knuckle.data.rendered import RenderedHands
from knuckle.formats import write
from knuckle.hands import Hands
from knuckle.render import render
from knuckle.train.distributed import Team
from knuckle.train.parts import Parts, names, read_parts, render_held_out, taught, usable
from knuckle.train.recipe import Recipe, check_recipe
from tests.formats.datasets import write_freihand

ALONE = Team(0, 1, torch.device("cpu"))


def recipe_of(data: object, **train: object) -> Recipe:
    return check_recipe({"data": data, "model": {"size": 48}, "train": train}, "r")


def parts_of(**data: object) -> Parts:
    return read_parts(recipe_of(data), ALONE.device)


def hands_of(groups: list[int], name: str = "a") -> Hands:
    n = len(groups)
    xy = np.random.default_rng(0).uniform(0, 50, (n, 21, 2))
    images = [f"{name}{row}.jpg" for row in range(n)]
    return Hands(image=images, xy=xy, visibility=np.full((n, 21), 2), group=groups, size=np.full((n, 2), 64))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "a.json"
    write(hands_of([0, 0, 0, 1, 1, 2, 2, 3, 3, 4]), path, "coco")
    return path


def test_groups_are_shared_out_whole(labels: Path) -> None:
    parts = parts_of(path=str(labels), validation="1/5", test="1/5")
    groups = [set(hands.group.tolist()) for hands in parts.named().values() if isinstance(hands, Hands)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 5
    assert sum(map(len, parts.named().values())) == 10


def test_parts_of_their_own_and_more_sources(labels: Path, tmp_path: Path) -> None:
    write(hands_of([7, 8], "b"), tmp_path / "b.json", "coco")
    other = {"path": str(tmp_path / "b.json")}
    parts = parts_of(path=str(labels), more=[other], validation=other)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (12, 2, 0)


def test_more_sources_can_be_repeated_and_only_in_training(labels: Path, tmp_path: Path) -> None:
    write(hands_of([7, 8, 9, 10], "b"), tmp_path / "b.json", "coco")
    parts = parts_of(path=str(labels), more=[{"path": str(tmp_path / "b.json"), "repeat": 3}], validation=0.25)
    assert isinstance(parts.train, Hands)
    assert isinstance(parts.train, Hands)
    assert isinstance(parts.validation, Hands)
    shown, kept = Counter(parts.train.image.tolist()), Counter(parts.validation.image.tolist())
    assert {(name[0], times) for name, times in shown.items()} == {("a", 1), ("b", 3)}
    assert set(kept.values()) == {1}
    assert {name[0] for name in kept} == {"a", "b"}
    assert not kept.keys() & shown.keys()


def test_photos_may_lie_apart_from_their_labels(labels: Path, tmp_path: Path) -> None:
    photos = tmp_path / "elsewhere"
    (photos / "images").mkdir(parents=True)
    (photos / "images" / "a0.jpg").touch()
    more = [{"path": str(labels), "images": str(photos / "images")}]
    parts = parts_of(path=str(labels), images=str(photos), more=more)
    assert isinstance(parts.train, Hands)
    assert {path.parent for path in parts.train.paths()} == {photos / "images"}


@pytest.mark.parametrize(
    ("field", "advice"),
    [("data", "give another with --set data.images=IMAGES."), ("data.more[0]", "correct it in the recipe.")],
)
def test_photos_that_are_not_there_are_said_with_their_field(
    labels: Path, tmp_path: Path, field: str, advice: str
) -> None:
    (tmp_path / "empty").mkdir()
    lost = {"path": str(labels), "images": str(tmp_path / "empty")}
    data: dict[str, Any] = lost if field == "data" else {"path": str(labels), "more": [lost]}
    told = f"{field}.images: {tmp_path / 'empty'} does not hold a0.jpg; {advice}"
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        parts_of(**data)


@pytest.mark.parametrize(
    ("field", "advice"),
    [
        ("data", "give another with --set data.path=PATH."),
        ("data.more[0]", "correct it in the recipe."),
        *(
            (
                f"data.{part}",
                f"give another with --set data.{part}.path=PATH, or take a fraction of data.path with --set "
                f"data.{part}=0.1.",
            )
            for part in ("validation", "test")
        ),
    ],
)
def test_a_path_that_is_not_there_is_said_with_its_field(labels: Path, field: str, advice: str) -> None:
    nowhere = {"path": "/nowhere"}
    data: dict[str, Any] = {"path": str(labels)}
    if field == "data":
        data = nowhere
    elif field == "data.more[0]":
        data["more"] = [nowhere]
    else:
        data[field.removeprefix("data.")] = nowhere
    with pytest.raises(ValueError, match=f"^{re.escape(f'{field}.path: /nowhere does not exist; {advice}')}$"):
        parts_of(**data)


def test_labels_of_a_split_that_are_not_there_are_said_with_its_field(tmp_path: Path) -> None:
    folder = tmp_path / "FreiHAND"
    write_freihand(folder, records=4, versions=1, evaluation=2)
    (folder / "evaluation_xyz.json").unlink()
    release = {"path": str(folder), "format": "freihand", "split": "training"}
    withheld = rf"^data\.test\.split: {re.escape(str(folder))} has no labels for its evaluation set, .*download; give "
    with pytest.raises(ValueError, match=withheld + r"another with .*, or take a fraction .* --set data\.test=0\.1\.$"):
        parts_of(**release, test={**release, "split": "evaluation"})
    assert len(parts_of(**release, validation=0.25, test=0.25).test) == 1
    with pytest.raises(
        ValueError, match=r"^data\.split: .* has no split 'tests'.*; give another with --set data\.split=SPLIT\.$"
    ):
        parts_of(**{**release, "split": "tests"})


def test_faults_of_records_are_said_as_they_are(labels: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(ValueError, match=f"^{re.escape(str(broken))}"):
        parts_of(path=str(labels), test={"path": str(broken)})


def test_sides_cannot_be_learnt_where_nobody_labelled_one(labels: Path) -> None:
    recipe = recipe_of({"path": str(labels)}, side_weight=0.1)
    with pytest.raises(ValueError, match=r"no training hand of .* is labelled left or right"):
        read_parts(recipe, ALONE.device)


def test_a_validation_source_without_hands_is_an_error(labels: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.json"
    write(Hands.empty(), empty)
    with pytest.raises(ValueError, match=r"no hand is left for validation: .* 10 usable hands in 5 groups"):
        parts_of(path=str(labels), validation={"path": str(empty)})


def test_validation_0_trains_on_everything(labels: Path) -> None:
    parts = parts_of(path=str(labels), validation=0)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (10, 0, 0)


def test_unusable_hands_are_left_out_and_named() -> None:
    hands = hands_of([0, 1, 2, 3])
    visibility = hands.visibility.copy()
    visibility[1] = 0
    box = hands.box.copy()
    box[2] = 5.0
    box[3] = np.nan
    broken = hands.replace(visibility=visibility, box=box)
    kept, messages = usable(broken, "box", "skip")
    assert kept.image.tolist() == ["a0.jpg"]
    assert [message.split(":")[0] for message in messages] == ["a1.jpg", "a2.jpg", "a3.jpg"]
    assert "no labelled keypoint" in messages[0]
    assert "box without area" in messages[1]
    assert len(usable(broken, "full", "skip")[0]) == 3
    with pytest.raises(ValueError, match=r"a1\.jpg"):
        usable(broken, "box", "stop")


def test_a_fingerprint_sees_every_column(labels: Path) -> None:
    before = parts_of(path=str(labels), validation=0.2).fingerprint()
    assert before == parts_of(path=str(labels), validation=0.2).fingerprint()
    assert before["parts"]["train"]["hands"] + before["parts"]["validation"]["hands"] == 10
    hands = hands_of([0, 0, 0, 1, 1, 2, 2, 3, 3, 4])
    write(hands.replace(side=[1] * 10), labels, "coco")
    after = parts_of(path=str(labels), validation=0.2).fingerprint()
    assert before["parts"]["train"]["sha256"] != after["parts"]["train"]["sha256"]


def test_hands_on_disk_teach_what_they_show_and_are_named_by_their_images() -> None:
    hands = hands_of([0, 1, 2])
    visibility = hands.visibility.copy()
    visibility[:, 4] = 0
    visibility[1:, 9] = 0
    assert np.flatnonzero(~taught(hands.replace(visibility=visibility))).tolist() == [4]
    assert names(hands, [2, 0], epoch=5) == ["a2.jpg", "a0.jpg"]


def test_rendered_hands_to_train_on_and_to_measure_on_are_sequences_of_their_own() -> None:
    sequences = []
    for seed in range(3):
        parts = parts_of(kind="rendered", hands=20, validation=5, test=3, seed=seed)
        planned = [hands for hands in parts.named().values() if isinstance(hands, RenderedHands)]
        assert [len(hands) for hands in planned] == [20, 5, 3]
        assert [hands.size for hands in planned] == [48, 48, 48], "as large as the crops"
        sequences += [hands.seed for hands in planned]
    assert sequences == list(range(9))
    assert taught(planned[0]).all()
    assert names(planned[0], [1], epoch=2) == ["hand 41 of rendered sequence 6"]


def test_what_a_recipe_says_of_rendered_hands_reaches_the_renderer(tmp_path: Path) -> None:
    (tmp_path / "wall.jpg").write_bytes(b"")
    train = parts_of(
        kind="rendered",
        size=64,
        gestures={"fist": 0.5, 7: 0.25},
        exclude=[12, "claw"],
        without=["sensor", "occluders"],
        backgrounds=str(tmp_path),
    ).train
    assert isinstance(train, RenderedHands)
    assert train.size == 64
    assert (train.config.sensor, train.config.occluders) == (None, None)
    assert train.config.sleeves is not None
    assert (train.config.poses.weights[6], train.config.poses.weights[7]) == (0.5, 0.25)
    assert train.config.poses.exclude == {12, 19}
    (tmp_path / "wall.jpg").unlink()
    with pytest.raises(ValueError, match="holds no photo for backgrounds"):
        parts_of(kind="rendered", backgrounds=str(tmp_path))


def test_only_a_gpu_without_workers_renders_what_is_learnt() -> None:
    for device, workers, expected in (
        ("cuda:1", 0, "cuda:1"),
        ("cuda:1", 2, "cpu"),
        ("mps", 0, "cpu"),
        ("cpu", 0, "cpu"),
    ):
        train = read_parts(recipe_of("rendered", workers=workers), torch.device(device)).train
        assert isinstance(train, RenderedHands)
        assert train.device == expected


def test_held_out_hands_are_rendered_once_and_read_from_disk(tmp_path: Path) -> None:
    recipe = recipe_of({"kind": "rendered", "hands": 9, "validation": 3, "size": 32})
    planned = read_parts(recipe, ALONE.device)
    parts = render_held_out(planned, recipe, tmp_path, ALONE)
    assert parts.train == planned.train
    assert isinstance(parts.validation, Hands)
    images, truth = render(3, seed=1, size=32, device="cpu")
    np.testing.assert_allclose(parts.validation.xy, truth.xy, atol=1e-3)
    error = np.abs(read_image(parts.validation.paths()[2]).astype(int) - images[2])
    assert error.mean() < 10, "the picture of that hand, as a JPEG"
    assert not (tmp_path / "test").exists()
    assert len(parts.test) == 0
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = render_held_out(planned, recipe, tmp_path, ALONE)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == written
    assert again.fingerprint() == parts.fingerprint()


def test_held_out_hands_that_were_begun_are_finished(tmp_path: Path) -> None:
    recipe = recipe_of({"kind": "rendered", "validation": 3, "size": 32})
    planned = read_parts(recipe, ALONE.device)
    whole = render_held_out(planned, recipe, tmp_path / "whole", ALONE)
    render_held_out(planned, recipe, tmp_path / "cut", ALONE)
    for name in ("images/00000001.jpg", "annotations.json", "contact_sheet.png"):
        (tmp_path / "cut" / "validation" / name).unlink()
    assert render_held_out(planned, recipe, tmp_path / "cut", ALONE).fingerprint() == whole.fingerprint()


def test_the_fingerprint_of_rendered_hands_sees_their_number_and_settings() -> None:
    def of(**data: object) -> object:
        return parts_of(kind="rendered", **data).fingerprint()["parts"]["train"]

    assert of() == of()
    assert of() != of(hands=10)
    assert of() != of(seed=1)
    assert of() != of(size=47)
    assert of() != of(without=["sleeves"])
