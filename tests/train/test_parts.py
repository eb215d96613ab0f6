"""The hands of a run: sources, splits, what is left out, fingerprints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from knuckle.formats import write
from knuckle.hands import Hands
from knuckle.train.parts import read_parts, usable
from knuckle.train.recipe import Data


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
    parts = read_parts(Data.model_validate({"path": str(labels), "validation": "1/5", "test": "1/5"}))
    groups = [set(hands.group.tolist()) for hands in parts.named().values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 5
    assert sum(map(len, parts.named().values())) == 10


def test_parts_of_their_own_and_more_sources(labels: Path, tmp_path: Path) -> None:
    write(hands_of([7, 8], "b"), tmp_path / "b.json", "coco")
    other = {"path": str(tmp_path / "b.json")}
    parts = read_parts(Data.model_validate({"path": str(labels), "more": [other], "validation": other}))
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (12, 2, 0)


def test_a_validation_source_without_hands_is_an_error(labels: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.json"
    write(Hands.empty(), empty)
    with pytest.raises(ValueError, match=r"no hand is left for validation: .* 10 usable hands in 5 groups"):
        read_parts(Data.model_validate({"path": str(labels), "validation": {"path": str(empty)}}))


def test_validation_0_trains_on_everything(labels: Path) -> None:
    parts = read_parts(Data.model_validate({"path": str(labels), "validation": 0}))
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
    data = Data.model_validate({"path": str(labels), "validation": 0.2})
    before = read_parts(data).fingerprint()
    assert before == read_parts(data).fingerprint()
    assert before["parts"]["train"]["hands"] + before["parts"]["validation"]["hands"] == 10
    hands = hands_of([0, 0, 0, 1, 1, 2, 2, 3, 3, 4])
    write(hands.replace(side=[1] * 10), labels, "coco")
    after = read_parts(data).fingerprint()
    assert before["parts"]["train"]["sha256"] != after["parts"]["train"]["sha256"]
