"""Photos on a local Ray cluster of two workers: the outputs of one process, resumed runs, errors in one sentence.

`test_on_ray.py` runs these in a process of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knuckle.geometry import CropRule
from knuckle.predict import Predictor
from knuckle.predict.files import BoxesByImage, predict_files
from knuckle.predict.on_ray import PHOTOS_A_TASK, Cluster, Worker, predict_files_on_ray
from knuckle.predict.sinks import Output
from tests.predict.centroid import Centroid, light_at, save_rgb

TWO = Cluster("local", 2)
COUNT = PHOTOS_A_TASK + 6


def predictor() -> Predictor:
    """Known keypoints, and the same bits whatever a batch holds."""
    return Predictor(Centroid(), CropRule(size=64), batch_size=4)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """One cluster for all tests here: starting it takes seconds."""
    from knuckle.predict import on_ray

    ray = on_ray._ray("local")
    # The workers import this module by name.
    root = str(Path(__file__).parents[2])
    ray.init(address="local", num_cpus=2, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": root}})
    yield ray
    ray.shutdown()


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / f"{number}.png" for number in range(COUNT)]
    for number, path in enumerate(paths):
        save_rgb(str(path), light_at((20 + number % 23, 15 + number % 17), (64, 48)))
    paths[5].write_bytes(b"broken")
    return paths


def boxes_for(images: list[Path]) -> BoxesByImage:
    return {
        image: np.array([[5, 5, 50, 40], [8, 6, 55, 45]], np.float32)[: number % 3]
        for number, image in enumerate(images)
    }


def test_a_cluster_that_is_not_there_is_an_error_in_one_sentence(tmp_path: Path) -> None:
    """The first test here, as those below have a cluster running."""
    with pytest.raises(ValueError, match=r"no Ray cluster answers at '127\.0\.0\.1:1'"):
        predict_files_on_ray(predictor, [tmp_path / "a.png"], "full", Cluster("127.0.0.1:1"))


@pytest.mark.usefixtures("ray")
def test_the_output_is_that_of_one_process(photos: list[Path], tmp_path: Path) -> None:
    boxes = boxes_for(photos)
    pictures = [{path: tmp_path / which / f"{path.stem}.png" for path in photos} for which in ("one", "many")]
    one, many = Output.of(tmp_path / "one" / "x.csv"), Output.of(tmp_path / "many" / "x.csv")
    told, lost = predict_files(predictor(), photos, boxes, output=one, pictures=pictures[0])
    again, also = predict_files_on_ray(predictor, photos, boxes, TWO, output=many, pictures=pictures[1])
    assert one.path.read_bytes() == many.path.read_bytes()
    assert (told, lost) == (again, also)
    assert len(told.skipped) == 1
    drawn = [{path.name: path.read_bytes() for path in (tmp_path / which).glob("*.png")} for which in ("one", "many")]
    assert len(drawn[0]) == COUNT - 1
    assert drawn[0] == drawn[1]


@pytest.mark.usefixtures("ray")
def test_either_goes_on_where_the_other_was_interrupted(photos: list[Path], tmp_path: Path) -> None:
    def interrupt(done: int) -> None:
        if done > 20:
            raise KeyboardInterrupt

    outputs = [Output.of(tmp_path / name) for name in ("whole.json", "ray_first.json", "ray_last.json")]
    alone = partial(predict_files, predictor(), photos, "full")
    spread = partial(predict_files_on_ray, predictor, photos, "full", TWO)
    alone(output=outputs[0])
    for first, last, output in ((spread, alone, outputs[1]), (alone, spread, outputs[2])):
        with pytest.raises(KeyboardInterrupt):
            first(output=output, progress=interrupt)
        tally, _ = last(output=output, resume=True)
        assert 0 < tally.new < tally.images == COUNT - 1
        assert output.path.read_bytes() == outputs[0].path.read_bytes()


@pytest.mark.usefixtures("ray")
def test_a_bad_photo_stops_the_run_with_its_sentence(photos: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"5\.png"):
        predict_files_on_ray(predictor, photos, "full", TWO, output=Output.of(tmp_path / "x.csv"), on_bad="stop")


def test_a_worker_takes_boxes_as_they_are_written(photos: list[Path], tmp_path: Path) -> None:
    worker = Worker(predictor, full=False, on_bad="skip", root=tmp_path)
    rows = {"image": np.array([str(path) for path in photos[:3]]), "boxes": np.array(["[]", "[[5, 5, 50, 40]]", "[]"])}
    lines = worker(rows)["line"]
    assert [line.count('"hands"') for line in lines] == [0, 1, 0]
