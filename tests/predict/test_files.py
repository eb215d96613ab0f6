"""predict_files: results on disk at once, constant memory, and a killed run that goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import knuckle
from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.predict import Predictor, sinks
from knuckle.predict.files import BoxesByImage, name_from, picture_paths, predict_files
from knuckle.predict.journal import read_journal
from knuckle.predict.sinks import Kind, Output
from tests.predict.centroid import Centroid, light_at, save_rgb


def predictor(batch_size: int = 4) -> Predictor:
    return Predictor(Centroid(), CropRule(size=64), batch_size=batch_size)


def photos(folder: Path, count: int, size_wh: tuple[int, int] = (64, 48)) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        save_rgb(str(path), light_at((20 + number % 23, 15 + number % 17), size_wh))
    return paths


def boxes_for(images: list[Path]) -> BoxesByImage:
    """No hand on every fifth photo, else one or two."""
    return {
        image: np.array([[5, 5, 50, 40], [8, 6, 55, 45]], np.float32)[: min(number % 5, 2)]
        for number, image in enumerate(images)
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [("x.csv", "csv"), ("x.parquet", "parquet"), ("x.json", "json"), ("x.json", "coco"), ("lm", "labelme")],
)
@pytest.mark.parametrize("kept", [0, 3, 7])
def test_an_interrupted_run_goes_on_and_ends_with_the_same_file(
    tmp_path: Path, name: str, kind: Kind, kept: int
) -> None:
    images = photos(tmp_path / "in", 12)
    images[4].write_bytes(b"broken")
    boxes = boxes_for(images)
    whole, parts = Output(tmp_path / "a" / name, kind), Output(tmp_path / "b" / name, kind)
    expected, _ = predict_files(predictor(), images, boxes, output=whole)

    def interrupt(done: int) -> None:
        if done > kept:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(predictor(), images, boxes, output=parts, progress=interrupt)
    assert not parts.path.exists()
    with parts.journal.open("a") as stream:
        stream.write('{"image": "half a li')
    seen: list[int] = []
    tally, _ = predict_files(predictor(), images, boxes, output=parts, resume=True, progress=seen.append)
    assert (tally.images, tally.hands, len(tally.skipped)) == (expected.images, expected.hands, 1)
    assert tally.new < expected.new
    assert seen == list(range(kept + 2, 13))
    assert contents(parts.path) == contents(whole.path)
    assert not parts.journal.exists()


def contents(path: Path) -> dict[str, bytes]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {file.name: file.read_bytes() for file in files}


def test_a_killed_process_loses_nothing_that_it_had_finished(tmp_path: Path) -> None:
    images = photos(tmp_path / "in", 10)
    script = f"""
import os, signal
from pathlib import Path
from knuckle.predict.files import predict_files
from knuckle.predict.sinks import Output
from tests.predict.test_files import predictor
images = [Path({str(tmp_path / "in")!r}) / f"{{n}}.png" for n in range(10)]
die = lambda done: os.kill(os.getpid(), signal.SIGKILL) if done == 6 else None
predict_files(predictor(), images, "full", output=Output(Path({str(tmp_path / "x.csv")!r}), "csv"), progress=die)
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL
    output = Output(tmp_path / "x.csv", "csv")
    assert len(list(read_journal(output.journal))) == 6
    tally, _ = predict_files(predictor(), images, "full", output=output, resume=True)
    assert (tally.images, tally.new) == (10, 4)
    predict_files(predictor(), images, "full", output=Output(tmp_path / "y.csv", "csv"))
    assert (tmp_path / "x.csv").read_bytes() == (tmp_path / "y.csv").read_bytes()


@pytest.mark.parametrize("kind", ["csv", "coco"])
def test_memory_does_not_grow_with_the_number_of_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    # Names of one photo of 75 kB: kept pixels or crops, or rows of all hands at once, would show.
    monkeypatch.setattr(sinks, "PIECE", 8)
    photos(tmp_path, 1, (200, 125))
    links = [tmp_path / f"link{number}.png" for number in range(200)]
    for link in links:
        os.link(tmp_path / "0.png", link)
    model = predictor()

    def peak(count: int) -> int:
        output = Output(tmp_path / f"{count}.{'csv' if kind == 'csv' else 'json'}", kind)
        tracemalloc.start()
        predict_files(model, links[:count], "full", output=output)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(4)
    few, many = peak(20), peak(200)
    assert many < few + 150_000, f"{few:,} bytes for 20 photos, {many:,} for 200"


def test_a_photo_that_cannot_be_used_is_told_or_stops(tmp_path: Path) -> None:
    images = photos(tmp_path, 3)
    boxes = {image: np.array([[5, 5, 50, 40]], np.float32) for image in images}
    boxes[images[1]] = np.array([[90, 90, 99, 99]], np.float32)
    images[2].write_bytes(b"")
    output = Output(tmp_path / "x.csv", "csv")
    tally, _ = predict_files(predictor(), images, boxes, output=output)
    assert (tally.images, tally.hands) == (1, 1)
    assert len(tally.skipped) == 2
    assert "1.png, box 0" in tally.skipped[0]
    assert "outside" in tally.skipped[0]
    assert "2.png" in tally.skipped[1]
    with pytest.raises(ValueError, match=r"1\.png, box 0"):
        predict_files(predictor(), images, boxes, output=output, on_bad="stop")


def test_nothing_found_is_an_empty_file(tmp_path: Path) -> None:
    images = photos(tmp_path, 2)
    none: dict[Path, Any] = {image: np.empty((0, 4), np.float32) for image in images}
    for name in ("x.csv", "x.parquet"):
        tally, _ = predict_files(predictor(), images, none, output=Output.of(tmp_path / name))
        assert (tally.images, tally.hands, tally.without_boxes) == (2, 0, 2)
        assert len(knuckle.read(tmp_path / name)) == 0


def test_pictures_show_the_hands_and_keep_the_folders(tmp_path: Path) -> None:
    images = [*photos(tmp_path / "in" / "a", 2), *photos(tmp_path / "in" / "b", 1)]
    before = [image.read_bytes() for image in images]
    pictures = picture_paths(images, tmp_path / "drawn")
    predict_files(predictor(), images, "full", pictures=pictures)
    for image, name in zip(images, ("a/0.png", "a/1.png", "b/0.png"), strict=True):
        drawn, original = cv2.imread(str(tmp_path / "drawn" / name)), cv2.imread(str(image))
        assert drawn is not None
        assert original is not None
        assert drawn.shape == original.shape
        assert (drawn != original).any()
    assert [image.read_bytes() for image in images] == before


def test_pictures_never_replace_photos_or_each_other(tmp_path: Path) -> None:
    images = photos(tmp_path, 2)
    with pytest.raises(ValueError, match="would overwrite the photo"):
        picture_paths(images, tmp_path)
    mixed = [tmp_path / "a.webp", tmp_path / "a.png", tmp_path / "a.JPG"]
    names = [path.name for path in picture_paths(mixed, tmp_path / "drawn").values()]
    assert names == ["a.webp.png", "a.png", "a.JPG"]


def test_pictures_stay_in_their_folder_whatever_leads_to_the_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w").mkdir()
    monkeypatch.chdir(tmp_path / "w")
    paths = picture_paths([Path("here.jpg"), Path("../other/b.jpg")], Path("drawn"))
    assert list(paths.values()) == [Path("drawn/w/here.jpg"), Path("drawn/other/b.jpg")]


def test_names_lead_from_the_outputs_folder_to_the_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "in", 1)
    assert name_from(tmp_path / "out", Path("in") / "0.png") == "../in/0.png"
    output = Output(Path("out") / "deep" / "x.csv", "csv")
    predict_files(predictor(), [Path("in/0.png")], "full", output=output)
    hands = knuckle.read(output.path)
    assert hands.image.tolist() == ["../../in/0.png"]
    assert hands.paths()[0].resolve() == (tmp_path / "in" / "0.png").resolve()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets file names be any bytes")
def test_a_name_that_is_no_text_is_skipped(tmp_path: Path) -> None:
    image = photos(tmp_path, 1)[0].rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    tally, _ = predict_files(predictor(), [image], "full", output=Output(tmp_path / "x.csv", "csv"))
    assert tally.images == 0
    assert "\\xff.png has a name" in tally.skipped[0].replace("udcff", "xff")


def test_streamed_hands_equal_predicted_ones(tmp_path: Path) -> None:
    images = photos(tmp_path, 9)
    boxes = boxes_for(images)
    assert isinstance(boxes, dict)
    at_once = predictor().predict(images, list(boxes.values()))
    readers: dict[Kind, Callable[[Path], Hands]] = {"csv": knuckle.read, "coco": knuckle.read, "parquet": knuckle.read}
    for kind, name in (("csv", "x.csv"), ("coco", "c.json"), ("parquet", "x.parquet")):
        output = Output(tmp_path / name, kind)  # type: ignore[arg-type]
        predict_files(predictor(), images, boxes, output=output)
        back = readers[output.kind](output.path)
        assert back.image.tolist() == [Path(image).name for image in at_once.image]
        assert back == at_once.replace(image=back.image, group=back.group)
