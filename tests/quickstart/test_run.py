"""The quickstart in miniature: every step runs, and the page says what was measured."""

from __future__ import annotations

import json
import re
from inspect import signature
from pathlib import Path

import cv2
import numpy as np
import pytest

import knuckle
from knuckle.cli.quickstart import quickstart as command
from knuckle.evaluate import evaluate
from knuckle.hands import Hands
from knuckle.quickstart import Settings, quickstart, run
from knuckle.quickstart.page import Page, data_url, write_page
from knuckle.quickstart.run import LEAST_EPOCHS, chance_pck, hands_in, shrunk
from tests.formats.fakes import example_hands

TINY = Settings(hands=24, size=48, crop=32, epochs=1, backbone="test_byobnet")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "mine.jpg"
    cv2.imwrite(str(path), np.full((60, 80, 3), 90, dtype=np.uint8))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, photo: Path) -> tuple[Path, list[str]]:
    """A finished quickstart and what it said."""
    out, said = tmp_path_factory.mktemp("quick") / "start", list[str]()
    assert quickstart(out, [photo], settings=TINY, say=said.append) == out / "index.html"
    return out, said


def test_every_step_is_announced(made: tuple[Path, list[str]]) -> None:
    assert [sentence[:6] for sentence in made[1]] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]


def test_the_page_shows_what_was_measured(made: tuple[Path, list[str]]) -> None:
    html = (made[0] / "index.html").read_text()
    measured = json.loads((made[0] / "evaluation" / "metrics.json").read_text())
    assert f"<b>{measured['nme']:.4f}</b>" in html
    assert f"<b>{measured['epe']:.2f} px</b>" in html
    assert f"{measured['hands']} hands that it had never seen" in html
    assert f"learnt from {len(knuckle.read(made[0] / 'model' / 'train.json'))} rendered hands" in html
    chance = chance_pck(knuckle.read(made[0] / "model" / "train.json"), knuckle.read(made[0] / "model" / "test.json"))
    assert 0.1 < chance < 0.6
    assert f"gets {chance:.0%}" in html
    assert all(row["name"] in html for row in measured["breakdown"]["gestures"])


def test_the_page_needs_no_other_file(made: tuple[Path, list[str]]) -> None:
    html = (made[0] / "index.html").read_text()
    sources = re.findall(r'src="([^"]{0,30})', html)
    assert len(sources) == 5, "fresh hands, gallery, PCK curve, training curves, the photo"
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "mine.jpg" in html
    assert "http" not in re.sub(r"base64,[^\"]+", "", html)  # four letters may stand in a picture's bytes


def test_the_test_hands_were_not_trained_on(made: tuple[Path, list[str]]) -> None:
    parts = {name: knuckle.read(made[0] / "model" / f"{name}.json") for name in ("train", "validation", "test")}
    groups = [set(part.group.tolist()) for part in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == TINY.hands
    assert len(parts["test"]) == round(TINY.hands * 0.2)


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="is not empty; name another folder"):
        quickstart(tmp_path, settings=TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("keep")
    with pytest.raises(ValueError, match="file is not empty; name another folder"):
        quickstart(tmp_path / "file", settings=TINY)
    with pytest.raises(ValueError, match="cannot be made"):
        quickstart(tmp_path / "file" / "below", settings=TINY)


def test_photos_of_one_name_are_all_on_the_page(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(2)]
    for file, level in zip(files, (10, 200), strict=True):
        cv2.imwrite(str(file), np.full((4, 4, 3), level, dtype=np.uint8))
    hands = example_hands()
    page = Page("title", "summary", evaluate(hands, hands), [("h.jpg", file) for file in files])
    html = write_page(page, tmp_path / "index.html").read_text()
    assert all(data_url(file) in html for file in files)


@pytest.mark.parametrize("count", [0, 2])
def test_a_photo_shows_the_hands_that_the_detector_finds_or_else_one_that_fills_it(count: int) -> None:
    asked = list[object]()

    class Model:
        def predict(self, picture: np.ndarray, boxes: object = None) -> Hands:
            asked.append(boxes)
            return example_hands()[: 1 if boxes == "full" else count]

    found = hands_in(np.zeros((4, 4, 3), dtype=np.uint8), Model())  # type: ignore[arg-type]
    assert len(found) == max(1, count)
    assert asked == ([None] if count else [None, "full"])


def test_large_photos_are_shrunk_for_the_page() -> None:
    assert shrunk(np.zeros((3000, 4000, 3), dtype=np.uint8)).shape == (675, 900, 3)
    assert shrunk(np.zeros((60, 80, 3), dtype=np.uint8)).shape == (60, 80, 3)


def test_a_photo_that_cannot_be_read_stops_it_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.jpg"):
        quickstart(tmp_path / "out", [tmp_path / "gone.jpg"], settings=TINY)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("seconds", "epochs", "expected"),
    [(0.01, 10, 10), (0.4, 10, 5), (0.4, 4, 4), (5.0, 10, LEAST_EPOCHS), (5.0, 1, 1)],
)
def test_a_slow_machine_takes_fewer_passes(
    seconds: float, epochs: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    knuckle.write(Hands.concat([example_hands()] * 32), tmp_path / "labels.json", "coco")
    monkeypatch.setattr(run, "step_seconds", lambda recipe, count: [9.0, seconds, 9.0])
    monkeypatch.setattr(run, "TRAINING_SECONDS", 5.5 * 0.4 * 96 * 0.75 / 32)  # five and a half passes at 0.4 s a step
    assert run.affordable_epochs(tmp_path / "labels.json", Settings(epochs=epochs)) == expected


def test_the_command_line_does_as_much_as_the_settings_say() -> None:
    given = {name: parameter.default for name, parameter in signature(command).parameters.items()}
    assert (given["hands"], given["epochs"]) == (Settings().hands, Settings().epochs)
