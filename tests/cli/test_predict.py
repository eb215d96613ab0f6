"""knuckle predict: photos in, files out, the numbers on stdout, problems on stderr."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import knuckle
from knuckle.cli import main
from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.predict import Predictor
from knuckle.predict.video import open_video
from tests.label.worlds import move_a_point
from tests.predict.centroid import Centroid, Glow, light_at, save_rgb
from tests.predict.clips import write_clip
from tests.predict.test_video import Capture


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with six photos, and a model "m" that finds lights."""
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        path = tmp_path / "photos" / f"v{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_rgb(str(path), light_at((40 + number, 30), (80, 60)))

    def load(name: str, **options: Any) -> Predictor:
        assert (name, options.pop("preset"), options.pop("device")) == ("m", None, None)
        return Predictor(Centroid(), CropRule(size=64), **options)

    monkeypatch.setattr("knuckle.predict.load", load)
    return tmp_path


HAND = ([[20.0, 10.0, 64.0, 54.0]], [0.75])
"""What a detector finds on every photo with a light."""


def predict(*arguments: str, code: int = 0) -> None:
    assert main(["predict", *arguments, "--model", "m"]) == code


def test_without_a_place_to_write_the_hands_are_listed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(place.rglob("*"))
    predict("photos/v0", "--boxes", "full")
    header, _, *lines = capsys.readouterr().out.splitlines()
    assert header.split("  ")[0] == "photo"
    assert [line.split()[0] for line in lines[:3]] == [f"photos/v0/{n}.png" for n in (0, 2, 4)]
    assert lines[0].split()[1:6] == ["-0", "-0", "80", "60", "-"]
    assert sorted(place.rglob("*")) == before


def test_too_many_photos_are_not_listed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = importlib.import_module("knuckle.cli.predict")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "MOST_LISTED", 5)
        predict("photos", "--boxes", "full", code=2)
    assert "6 photos are too many to list: give --out FILE" in capsys.readouterr().err


def test_a_folder_becomes_a_table_and_pictures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict("photos", "--boxes", "full", "--out", "out/x.csv", "--draw", "photos/drawn", "--flip-test", "--batch", "4")
    for _ in range(2):
        hands = knuckle.read(place / "out" / "x.csv")
        assert hands.image.tolist() == [f"../photos/v{n % 2}/{n}.png" for n in (0, 2, 4, 1, 3, 5)]
        np.testing.assert_allclose(hands.xy[:, 0], [(40 + n, 30) for n in (0, 2, 4, 1, 3, 5)], atol=0.3)
        # Once more: the pictures lie in the folder of photos, and are not taken for photos.
        predict("photos", "--boxes", "full", "--out", "out/x.csv", "--draw", "photos/drawn")
    assert cv2.imread(str(place / "photos" / "drawn" / "v1" / "3.png")) is not None
    header, _, numbers, *_ = capsys.readouterr().out.splitlines()
    assert header.split("  ")[:2] == ["photos", "hands"]
    assert numbers.split()[:4] == ["6", "6", "0", "0"]


def test_a_list_names_photos_and_each_is_taken_once(place: Path) -> None:
    (place / "list.txt").write_text("photos/v1/3.png\n\nphotos/v1/../v0/2.png\nphotos/v1/3.png\n")
    predict("photos/v0/2.png", "--list", "list.txt", "--boxes", "full", "--out", "x.csv")
    assert knuckle.read("x.csv").image.tolist() == ["photos/v0/2.png", "photos/v1/3.png"]


def test_with_ray_the_table_is_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped model in two workers, from a folder that they do not start in; tests/predict/test_on_ray.py says why
    the run with Ray is a process of its own.
    """
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert main(["predict", "photos", "--boxes", "full", "--out", "plain.csv"]) == 0
    spread_out = [sys.executable, "-m", "knuckle", "predict", "photos", "--boxes", "full", "--out", "ray.csv"]
    done = subprocess.run(
        [*spread_out, "--ray", "local", "--workers", "2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    plain, spread = knuckle.read("plain.csv"), knuckle.read("ray.csv")
    assert spread.image.tolist() == plain.image.tolist()
    np.testing.assert_allclose(spread.xy, plain.xy, atol=0.01)
    assert spread.confidence is not None


@pytest.mark.parametrize(
    ("out", "options"),
    [
        ("x.csv", []),
        ("x.parquet", []),
        ("x.json", ["--format", "json"]),
        ("x.json", ["--format", "coco"]),
        ("labels", ["--format", "labelme"]),
    ],
)
def test_every_format_reads_back(place: Path, out: str, options: list[str]) -> None:
    predict("photos/*/*.png", "--boxes", "full", "--out", out, *options)
    hands = knuckle.read(place / out)
    assert len(hands) == 6
    assert {path.resolve() for path in hands.paths()} == set((place / "photos").rglob("*.png"))


def test_boxes_from_a_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "boxes.csv").write_text("image,x1,y1,x2,y2\nphotos/v0/0.png,20,10,60,50\nv1/1.png,21,10,61,50\n")
    predict("photos", "--boxes", "boxes.csv", "--out", "x.csv")
    hands = knuckle.read("x.csv")
    assert hands.image.tolist() == ["photos/v0/0.png", "photos/v1/1.png"]
    np.testing.assert_allclose(hands.xy[:, 0], [(40, 30), (41, 30)], atol=0.1)
    np.testing.assert_array_equal(hands.box, [(20, 10, 60, 50), (21, 10, 61, 50)])
    assert capsys.readouterr().out.splitlines()[2].split()[:4] == ["6", "2", "4", "0"]


def test_without_boxes_the_detector_is_asked(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Lights:
        def detect(self, images: Any) -> Any:
            return [HAND if image.max() > 100 else ([], []) for image in images]

    save_rgb("photos/v0/2.png", np.zeros((60, 80, 3), np.uint8))
    given: list[Any] = []

    def load(name: str, *, detector: Any, **options: Any) -> Predictor:
        given.append(detector)
        return Predictor(Centroid(), CropRule(size=64), detector=Lights())

    monkeypatch.setattr("knuckle.predict.load", load)
    predict("photos", "--out", "x.csv", "--detector", "other.onnx")
    assert given == [Path("other.onnx")]
    hands = knuckle.read("x.csv")
    assert sorted(Path(name).stem for name in hands.image) == ["0", "1", "3", "4", "5"]
    np.testing.assert_allclose(hands.box, np.tile(HAND[0], (5, 1)))
    assert hands.score is not None
    np.testing.assert_allclose(hands.score, 0.75)
    captured = capsys.readouterr()
    assert "The detector found no hand on 1 of 6 photos." in captured.err
    assert captured.out.splitlines()[2].split()[:4] == ["6", "5", "1", "0"]


def test_bad_photos_are_counted_and_listed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "photos" / "v0" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    predict("photos", "--boxes", "full", "--out", "x.csv")
    captured = capsys.readouterr()
    assert captured.out.splitlines()[2].split()[:4] == ["5", "5", "0", "1"]
    assert captured.err.startswith("skipped: photos/v0/2.png")
    predict("photos", "--boxes", "full", "--out", "y.csv", "--on-bad", "stop", code=2)
    assert capsys.readouterr().err.startswith("Error: photos/v0/2.png")
    assert not (place / "y.csv").exists()


def test_when_no_photo_can_be_used_the_run_has_failed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (place / "photos").rglob("*.png"):
        path.write_bytes(b"")
    predict("photos", "--boxes", "full", "--out", "x.csv", code=2)
    assert "none of the 6 photos can be used" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    features_of = Centroid.features_of

    def stops_at_the_second_batch(self: Centroid, images: Any) -> Any:
        if len(self.batches) == 1:
            raise KeyboardInterrupt
        return features_of(self, images)

    monkeypatch.setattr(Centroid, "features_of", stops_at_the_second_batch)
    options = ["photos", "--boxes", "full", "--out", "x.csv", "--batch", "2"]
    predict(*options, code=130)
    assert "x.csv.partial; the same command with --resume goes on." in capsys.readouterr().err
    monkeypatch.setattr(Centroid, "features_of", features_of)
    predict(*options, "--resume")
    assert capsys.readouterr().out.splitlines()[2].split()[:2] == ["6", "6"]
    assert len(knuckle.read("x.csv")) == 6
    save_rgb("photos/v0/7.png", light_at((40, 30), (80, 60)))
    predict(*options, "--resume", "--draw", "drawn")
    told = "x.csv is complete already, so no photo was looked at, not even one that came since, and nothing drawn"
    assert told in capsys.readouterr().err
    assert not Path("drawn").exists()
    assert len(knuckle.read("x.csv")) == 6


def test_a_run_does_not_go_on_with_another_set_up(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "x.csv.partial").write_text('{"model": "other", "format": "csv"}\n')
    predict("photos", "--boxes", "full", "--out", "x.csv", "--resume", code=2)
    assert "was begun with model 'other', now it is 'm'" in capsys.readouterr().err
    settings = {"model": "m", "boxes": "full", "flip test": False, "format": "csv"}
    (place / "x.csv.partial").write_text(json.dumps(settings | {"detector": "other.onnx"}) + "\n")
    predict("photos", "--boxes", "full", "--out", "x.csv", "--resume", code=2)
    assert "was begun with detector 'other.onnx', now it is None" in capsys.readouterr().err
    (place / "x.csv.partial").write_text(json.dumps(settings) + "\n")  # older ones name a detector only if given
    predict("photos", "--boxes", "full", "--out", "x.csv", "--resume")


def test_a_run_goes_on_only_where_the_pictures_of_its_first_part_lie(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stops(self: Centroid, images: Any) -> Any:
        if len(self.batches) == 1:
            raise KeyboardInterrupt
        return features_of(self, images)

    features_of = Centroid.features_of
    options = ["photos", "--boxes", "full", "--out", "x.csv", "--batch", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(Centroid, "features_of", stops)
        predict(*options, "--draw", "drawn", code=130)
    for other in (["--draw", "elsewhere"], []):
        predict(*options, "--resume", *other, code=2)
        assert re.search(r"was begun with pictures '.*drawn', now it is ('.*elsewhere'|None);", capsys.readouterr().err)
    predict(*options, "--resume", "--draw", str(place / "drawn"))
    assert len(list(Path("drawn").rglob("*.png"))) == 6


def test_photos_are_never_drawn_over(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (place / "photos" / "v0" / "0.png").read_bytes()
    predict("photos/v0/0.png", "--boxes", "full", "--draw", "photos/v0", code=2)
    assert "would overwrite the photo" in capsys.readouterr().err
    assert (place / "photos" / "v0" / "0.png").read_bytes() == before


def test_where_a_photo_was_taken_reaches_no_output(place: Path) -> None:
    from PIL import Image

    path = place / "tagged" / "a.jpg"
    path.parent.mkdir()
    exif = Image.Exif()
    exif[0x010E] = "SECRET-PLACE"
    Image.fromarray(light_at((40, 30), (80, 60))).save(path, exif=exif)
    assert b"SECRET-PLACE" in path.read_bytes()
    predict("tagged", "--boxes", "full", "--draw", "drawn", "--out", "x.json", "--format", "coco")
    predict("tagged", "--boxes", "full", "--out", "posed", "--format", "yolo")
    outputs = [place / "drawn" / "a.jpg", place / "x.json", *place.glob("posed/**/*.*")]
    assert place / "posed" / "images" / "tagged" / "a.jpg" in outputs
    for output in outputs:
        assert b"SECRET-PLACE" not in output.read_bytes()


def test_labels_that_nobody_has_checked_are_not_taken_for_a_persons(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict("photos", "--boxes", "full", "--out", "photos", "--format", "labelme")
    content = json.loads((place / "photos" / "v0" / "0.json").read_text())
    assert content["flags"] == {"checked": False}
    assert (content["knuckle"]["model"], content["knuckle"]["measure"]) == ("m", "covariance")
    assert main(["label", "photos", "--checked", "labels.json"]) == 2
    assert "no file with a hand was checked yet" in capsys.readouterr().err
    assert main(["label", "photos", "--suggest", "2"]) == 0, "what it says of its uncertainty can be used"


def test_what_a_person_has_corrected_is_not_predicted_over(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = ("photos", "--boxes", "full", "--out", "photos", "--format", "labelme")
    predict(*again)
    files = sorted((place / "photos").rglob("*.json"))
    moved, ticked, own, drawn, rest, _ = files
    move_a_point(moved)
    ticked.write_text(json.dumps(json.loads(ticked.read_text()) | {"flags": {"checked": True}}))
    point = {"label": "wrist", "points": [[9, 8]], "shape_type": "point", "flags": {}}
    box = point | {"label": "hand", "points": [[1, 2], [9, 8]], "shape_type": "rectangle"}
    for file, shape in ((own, point), (drawn, box)):
        file.write_text(json.dumps({"shapes": [shape], "imagePath": f"{file.stem}.png"}))
    rest.write_text(json.dumps({"shapes": [], "imagePath": f"{rest.stem}.png"}))
    before = {file: file.read_bytes() for file in files}
    capsys.readouterr()
    predict(*again)
    assert "4 of 6 photos kept the labels that they had" in capsys.readouterr().err
    assert [file for file in files if file.read_bytes() != before[file]] == [rest]
    assert len(knuckle.read(rest)) == 1


def test_a_run_that_begins_anew_says_what_it_throws_away(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "x.csv.partial").write_text('{"model": "m"}\n{"image": "a"}\n{"image": "b"}\n')
    capsys.readouterr()
    predict("photos", "--boxes", "full", "--out", "x.csv")
    assert "x.csv.partial of a run that did not end is begun anew: it held 2 photos" in capsys.readouterr().err
    predict("photos", "--boxes", "full", "--out", "y.csv")
    assert "begun anew" not in capsys.readouterr().err


@pytest.mark.parametrize("drawn", ["photos/v0/0.png", "out.mp4", "out.jpg"])
def test_photos_are_drawn_into_a_folder(place: Path, drawn: str, capsys: pytest.CaptureFixture[str]) -> None:
    predict("photos/v0/0.png", "--boxes", "full", "--draw", drawn, code=2)
    assert f"--draw {drawn} is no folder" in capsys.readouterr().err
    Path("odd.jpg").mkdir()
    predict("photos/v0/0.png", "--boxes", "full", "--draw", "odd.jpg")


def test_yolo_pose_is_a_folder_with_its_photos(place: Path) -> None:
    predict("photos/*/*.png", "--boxes", "full", "--out", "labels", "--format", "yolo")
    hands = knuckle.read(place / "labels")
    assert len(hands) == 6
    assert len(list((place / "labels" / "images").rglob("*.png"))) == 6


def test_a_name_that_yolo_pose_cannot_have_is_told_before_the_model_looks(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "photos" / "no image.heic").write_bytes(b"skipped")
    photo = place / "photos" / "a.JFIF"
    photo.write_bytes(cv2.imencode(".jpg", light_at((40, 30), (80, 60)))[1].tobytes())
    command = ("photos", "--boxes", "full", "--out", "labels", "--format", "yolo")
    with monkeypatch.context() as patch:
        patch.setattr("knuckle.predict.load", lambda *_, **__: pytest.fail("the model was loaded"))
        predict(*command, code=2)
    assert "a.JFIF must end in one of .jpg, .jpeg, .png, .bmp, .webp" in capsys.readouterr().err
    photo.rename(photo.with_suffix(".jpg"))
    predict(*command)
    assert len(knuckle.read(place / "labels")) == 7


def test_confidence_is_listed_over_the_joints_that_the_model_knows(capsys: pytest.CaptureFixture[str]) -> None:
    confidence = np.full((2, 21), np.nan)
    confidence[0, :10] = 0.75
    hands = Hands(
        image=["a.png"] * 2,
        xy=np.zeros((2, 21, 2)),
        visibility=np.full((2, 21), 2),
        box=np.tile((1, 2, 3, 4), (2, 1)),
        size=np.tile((9, 9), (2, 1)),
        confidence=confidence,
    )
    listed: Any = importlib.import_module("knuckle.cli.predict")
    with warnings.catch_warnings(action="error"):
        listed._print_hands([hands])
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[2:]] == ["75%", "-"]


@pytest.fixture
def clip(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A video of eight frames beside the photos, and a model that finds hands around lights."""
    monkeypatch.setattr("knuckle.predict.load", lambda name, **_: Predictor(Glow(), CropRule(size=64)))
    images = [light_at((40 + number, 30), (80, 60)) for number in range(8)]
    return write_clip(place / "clip.avi", images, rate=10)


def test_a_video_becomes_tracks_and_a_drawn_video(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict("clip.avi", "--boxes", "full", "--out", "tracks.csv", "--draw", "drawn.mp4", "--smooth")
    assert len(knuckle.read("tracks.csv")) == 8
    assert "x_smooth" in Path("tracks.csv").read_text().splitlines()[0]
    with open_video(Path("drawn.mp4")) as drawn:
        assert (drawn.size_wh, len(list(drawn))) == ((80, 60), 8)
    captured = capsys.readouterr()
    header, _, numbers = captured.out.splitlines()
    assert header.split()[:2] == ["frames", "with"]
    assert numbers.split()[:4] == ["8", "8", "1", "1"]
    assert captured.err == ""


def test_boxes_of_a_videos_first_frame_come_from_a_file(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("boxes.csv").write_text("image,x1,y1,x2,y2\nclip.avi,28,18,52,42\n")
    predict("clip.avi", "--boxes", "boxes.csv", "--out", "x.jsonl", "--seconds", "0.25")
    lines = [json.loads(line) for line in Path("x.jsonl").read_text().splitlines()]
    assert len(lines) == 3 * 21
    assert (lines[0]["box_x1"], lines[0]["box_y2"]) == (28, 42)
    assert capsys.readouterr().err == ""
    Path("elsewhere.csv").write_text("image,x1,y1,x2,y2\nclip.avi,2,2,9,9\n")
    predict("clip.avi", "--boxes", "elsewhere.csv", "--out", "y.csv")
    assert "No hand was seen." in capsys.readouterr().err


def test_a_video_follows_as_many_hands_as_asked_for(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    centers = [(30 + 60 * column, 30 + 60 * row) for row in range(2) for column in range(3)]
    boxes = [(x - 12, y - 12, x + 12, y + 12) for x, y in centers]
    picture = np.maximum.reduce([light_at(center, (180, 120)) for center in centers])
    write_clip(clip.with_name("six.avi"), [picture] * 3, rate=10)

    class Lights:
        def detect(self, images: Any) -> Any:
            return [(boxes, np.linspace(0.9, 0.8, 6)) for _ in images]

    def load(name: str, **_: Any) -> Predictor:
        return Predictor(Glow(), CropRule(size=64), detector=Lights())

    monkeypatch.setattr("knuckle.predict.load", load)
    for arguments, count in (([], 4), (["--hands", "6"], 6), (["--hands", "1"], 1)):
        predict("six.avi", "--out", "x.csv", *arguments)
        assert len(knuckle.read("x.csv")) == 3 * count
        captured = capsys.readouterr()
        assert captured.out.splitlines()[2].split()[:3] == ["3", "3", str(count)]
        told = "4 hands were seen at once, as many as are followed; if there are more, give --hands N."
        assert captured.err.splitlines() == ([] if arguments else [told])


class Uncounted(Capture):
    """A file that does not say how many frames it has."""

    def get(self, field: int) -> float:
        return 0.0 if field == cv2.CAP_PROP_FRAME_COUNT else super().get(field)


def test_a_camera_runs_until_ctrl_c(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, features_of, looks = cv2.VideoCapture, Glow.features_of, list[int]()
    monkeypatch.setattr(cv2, "VideoCapture", lambda name, *_: real(str(clip)) if name != 0 else real())

    def stops_after_three(self: Glow, images: Any) -> Any:
        looks.append(1)
        if len(looks) > 3:
            raise KeyboardInterrupt
        return features_of(self, images)

    monkeypatch.setattr(Glow, "features_of", stops_after_three)
    predict("--camera", "2", "--boxes", "full", "--out", "x.csv")
    assert len(knuckle.read("x.csv")) == 3
    assert "what was found until then is written" in capsys.readouterr().err
    looks.clear()
    predict("clip.avi", "--boxes", "full", "--out", "y.csv", code=130)
    assert len(knuckle.read("y.csv")) == 3
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "VideoCapture", Uncounted)
        looks.clear()
        predict("clip.avi", "--boxes", "full", "--out", "z.csv", code=130)
    predict("--camera", "0", "--boxes", "full", "--out", "x.csv", code=2)
    assert "there is no camera 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--boxes", "full", "--out", "x.csv"], "nothing to look at"),
        (["clip.avi", "photos", "--boxes", "full", "--out", "x.csv"], "one video or camera at a time"),
        (["clip.avi", "--camera", "0", "--boxes", "full", "--out", "x.csv"], "one video or camera at a time"),
        (["clip.avi", "--list", "l.txt", "--boxes", "full", "--out", "x.csv"], "one video or camera at a time"),
        (["photos", "--boxes", "full", "--ray", "local"], "--ray is for photos whose keypoints go to --out"),
        (["clip.avi", "--boxes", "full", "--out", "x.csv", "--ray", "local"], "--ray is for photos"),
        (["photos", "--boxes", "full", "--out", "x.csv", "--workers", "2"], "--workers are processes of --ray"),
        (["--list", "none.txt", "--boxes", "full", "--out", "x.csv"], "none.txt cannot be read"),
        (["clip.avi", "--out", "x.csv"], "without a detector a video needs to be told where its hands are"),
        (["clip.avi", "--boxes", "full", "--out", "x.csv", "--resume"], "leave out --resume"),
        (
            ["photos", "--boxes", "full", "--out", "x.csv", "--smooth"],
            "--smooth, --seconds and --hands are for",
        ),
        (
            ["photos", "--boxes", "full", "--out", "x.csv", "--hands", "2"],
            "--hands are for a video or a camera",
        ),
        (["clip.avi", "--boxes", "full", "--out", "x.csv", "--hands", "2"], "--boxes full follows one hand"),
        (["clip.avi", "--boxes", "full", "--out", "x", "--format", "labelme"], "labelme files lie beside photos"),
        (["clip.avi", "--boxes", "full", "--draw", "folder"], "drawn videos end in .mp4"),
        (["clip.avi", "--boxes", "full", "--draw", "film.mp4"], "film.mp4 is a folder, and a drawn video is a file"),
        (["none.mp4", "--boxes", "full", "--out", "x.csv"], "there is no video none.mp4"),
    ],
)
def test_what_does_not_fit_together_is_told(
    clip: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("film.mp4").mkdir()
    predict(*arguments, code=2)
    assert sentence in capsys.readouterr().err
