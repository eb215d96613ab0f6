"""The study from files to numbers: samples as planned, known errors as known numbers, crops as MMPose cuts them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knuckle.evaluate.compare import Compared
from knuckle.evaluate.report import finite
from knuckle.formats import read, write
from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.metrics.errors import relative_distances
from knuckle.predict import Predictor
from knuckle.render.labels import Labels
from knuckle.study import run
from knuckle.study.hypotheses import scores
from knuckle.study.report import tables
from knuckle.study.results import filling, summary, write_study
from knuckle.study.run import Options, Study, run_study
from knuckle.study.samples import Plan, assign, choose_samples, parse_classes
from tests.predict.centroid import Centroid, light_at, save_rgb
from tests.study.labels import labeled_hands
from tests.study.worlds import CLASSES, WHOLE_IMAGE, write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Labels, Hands]:
    folder = tmp_path_factory.mktemp("world")
    return folder, *write_world(folder)


def plan_of(folder: Path, **changes: Any) -> Plan:
    plan = Plan(
        base=folder / "FreiHAND",
        own=folder / "photos",
        model="m",
        base_gestures=str(folder / "lists"),
        own_gestures="folder",
        per_class=4,
        h2_per_class=2,
        classes=CLASSES,
        resize=48,
    )
    return replace(plan, **changes)


def fake_predictor(rule: CropRule) -> Callable[..., Predictor]:
    return lambda name, **options: Predictor(Centroid(rule.size, rule.alignment), rule)


def test_samples_are_balanced_recorded_and_replayed(world: tuple[Path, Labels, Hands], tmp_path: Path) -> None:
    folder, labels, own = world
    samples = choose_samples(plan_of(folder, seed=3), tmp_path / "a")
    numbers = [int(Path(name).stem) for name in samples.base.image.tolist()]
    assert labels.gesture[numbers].tolist() == samples.base.gesture.tolist() == [0] * 4 + [6] * 4
    np.testing.assert_allclose(samples.base.xy, labels.xy[numbers], atol=1e-3)  # K xyz / z
    assert samples.in_h2.tolist() == [True, True, False, False] * 2
    assert samples.own.gesture.tolist() == [0, 0, 6, 6]
    assert samples.own.size.tolist() == [[48, 48]] * 4
    before = {Path(name).with_suffix("").as_posix(): row for row, name in enumerate(own.image.tolist())}
    rows = [before[Path(name).with_suffix("").as_posix()] for name in samples.own.image.tolist()]
    np.testing.assert_allclose(samples.own.xy, (own.xy[rows] + 0.5) / 2 - 0.5, atol=1e-3)
    assert sum(samples.base_imbalance.counts) == len(labels)
    assert sum(samples.own_imbalance.counts) == len(own)
    assert any("are not 224 x 224 px" in note for note in samples.notes)
    lists = tmp_path / "a" / "lists"
    again = choose_samples(
        plan_of(folder, seed=4, base_gestures="labels", base_lists=lists, own_lists=lists / "own"), tmp_path / "b"
    )
    assert again.base == samples.base
    assert again.in_h2.tolist() == samples.in_h2.tolist()
    assert again.own.image.tolist() == samples.own.image.tolist()
    first = choose_samples(plan_of(folder, base_lists=lists / "h1", h2_per_class=1), tmp_path / "c")
    assert first.base == samples.base
    assert first.in_h2.tolist() == [True, False, False, False] * 2
    drawn_anew = choose_samples(plan_of(folder, seed=4), tmp_path / "d")
    assert drawn_anew.base.image.tolist() != samples.base.image.tolist()


def known_errors(predictor: Predictor, true: Hands, name: str, **options: Any) -> Compared:
    """Base hands 2 px off, own fists 20 px, other own hands 5 px, the second base hand unreadable."""
    own = "photos" in str(true.root)
    px = np.where(true.gesture == 6, 20.0, 5.0) if own else np.full(len(true), 2.0)
    pred = true.replace(xy=true.xy + np.stack([px, 0 * px], axis=1)[:, None])
    rows = np.arange(len(true)) if own else np.delete(np.arange(len(true)), 1)
    return Compared(pred[rows], true[rows], rows, [] if own else ["b.jpg is cut off."], [])


@pytest.fixture(scope="module")
def study(world: tuple[Path, Labels, Hands], tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    out = tmp_path_factory.mktemp("study") / "new" / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("knuckle.predict.load", fake_predictor(CropRule(size=32)))
        patch.setattr(run, "predictions_of_predictor", known_errors)
        with filling(out) as folder:
            found = run_study(plan_of(world[0]), folder)
            assert write_study(found, folder) == []
    return found, out


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_known_errors_become_known_numbers(study: tuple[Study, Path]) -> None:
    found, out = study
    base, both, difference = rows_of(out / "h1.csv")
    assert (base["hands"], both["hands"], difference["hands"]) == ("7", "11", "4")
    assert float(base["epe"]) == pytest.approx(2, abs=1e-4)
    assert float(both["epe"]) == pytest.approx((7 * 2 + 2 * 5 + 2 * 20) / 11, abs=1e-4)
    assert float(difference["epe"]) == pytest.approx(float(both["epe"]) - 2, abs=1e-4)
    assert float(both["auc"]) == pytest.approx((7 * 0.9 + 2 * 0.8 + 2 * 0.3) / 11)
    palm, fist = rows_of(out / "h2.csv")
    # The base hand that could not be read was the palms' second, which belonged to both hypotheses.
    assert (palm["base_hands"], palm["own_hands"], fist["base_hands"], fist["own_hands"]) == ("1", "2", "2", "2")
    assert float(palm["auc_difference"]) == pytest.approx((0.9 + 2 * 0.8) / 3 - 0.9)
    assert float(fist["epe_base_own"]) == pytest.approx(11, abs=1e-4)
    assert (palm["finding"], fist["finding"]) == ("lower", "lower")
    assert "b.jpg is cut off." in found.skipped
    assert (out / "skipped.txt").read_text() == "b.jpg is cut off.\n"


def test_the_folder_holds_everything(study: tuple[Study, Path]) -> None:
    found, out = study
    written = json.loads((out / "study.json").read_text())
    assert written["h1"]["frame"][2]["epe"] == pytest.approx(found.h1.difference["epe"])
    assert written["h2"]["verdict"] == found.h2.verdict()
    assert written["plan"]["classes"] == [0, 6]
    assert written["run"]["options"] == {
        "flip_test": False,
        "device": None,
        "workers": 0,
        "on_bad": "stop",
        "robustness": False,
    }
    assert {"knuckle", "numpy"} <= written["run"]["versions"].keys()
    assert written["compared"] == {"h1": {"0": 3, "6": 4}, "h2": {"0": 1, "6": 2}, "own": {"0": 2, "6": 2}}
    assert written["rules"] == {"h2_auc": 0.05, "pck_px": pytest.approx(44.8)}
    assert "Only class 6, the fist" in written["numbering"]
    assert written["own_crops"]["scores"] is None
    assert "does not touch its numbers" in written["own_crops"]["words"][-1]
    counts = {row["name"]: row for row in rows_of(out / "imbalance.csv")}
    assert (counts["fist"]["base_compared"], counts["open_palm"]["base_compared"]) == ("4", "3")
    true, pred = read(out / "truth.json"), read(out / "predictions.json")
    assert len(true) == len(pred) == 11
    assert all(path.is_file() for path in true.paths())
    np.testing.assert_allclose((pred.xy - true.xy)[:7, :, 0], 2, atol=1e-3)
    assert not set(true.group[:7].tolist()) & set(true.group[7:].tolist())  # base and own hands are not related
    assert len(set(true.group[7:].tolist())) == len(set(found.own.true.group.tolist()))
    assert pred.group.tolist() == true.group.tolist()
    for name in ("lists/h1/c0.txt", "lists/h2/c6.txt", "lists/own/c6.txt", *(f"figure_{n}.png" for n in range(4, 11))):
        assert (out / name).is_file()
    assert len(list((out / "own_photos").rglob("*.png"))) == 4
    assert [path.name for path in out.parent.iterdir()] == ["out"]  # nothing temporary is left


def test_the_page_and_the_json_show_the_numbers_of_the_tables(study: tuple[Study, Path]) -> None:
    _, out = study
    written = json.loads((out / "study.json").read_text())
    html = (out / "report.html").read_text()
    palm, fist = rows_of(out / "evidence.csv")
    # Own fists are 20 px off and base hands 2, in one and two groups of photos and four of base.
    assert float(fist["epe_difference"]) == pytest.approx(18, abs=1e-3)
    assert float(palm["epe_difference"]) == pytest.approx(3, abs=1e-3)
    assert float(fist["paper_epe_difference"]) == pytest.approx(9, abs=1e-3)  # two of each: half of it
    assert fist["epe_finding"] == "cannot show"
    assert "cannot show a difference in any single gesture" in html
    assert "Own hands: no gesture is shown to be worse" in " ".join(written["fails"]["words"])
    for row, listed in zip((palm, fist), written["evidence"]["classes"], strict=True):
        for key in ("epe_difference", "epe_p", "smallest_p", "nme_p_holm"):
            assert float(row[key]) == listed[key]
            assert f'data-v="{row[key]}"' in html
    for row in rows_of(out / "fails_joints.csv")[:3]:
        assert f'data-v="{row["nme"]}"' in html
    assert html.count("data:image/jpeg") == 11  # every compared hand is among the worst of its set
    assert html.index("Fails on") < html.index("What the evidence supports") < html.index("Methods and formulas</h2>")


def lights(folder: Path, gesture: int, places: list[tuple[float, float]], size: int) -> Hands:
    """Photos with one light each, on which all keypoints lie."""
    folder.mkdir(parents=True)
    for number, place in enumerate(places):
        save_rgb(str(folder / f"{number}.png"), light_at(place, (size, size)))
    xy = np.tile(np.array(places)[:, None], (1, 21, 1))
    n = len(places)
    return Hands(
        image=[f"{number}.png" for number in range(n)],
        xy=xy,
        visibility=np.full((n, 21), 2),
        gesture=np.full(n, gesture),
        size=np.tile((size, size), (n, 1)),
        box=np.array([(x - 30, y - 30, x + 30, y + 30) for x, y in places]),
        root=folder,
    )


@pytest.mark.parametrize("crop", ["paper", "right"])
def test_own_photos_are_cropped_as_mmpose_does_or_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crop: str
) -> None:
    """A light at 204 px lies beyond the window that MMPose cuts out of 244 px (up to 201.6), within the right one."""
    write(lights(tmp_path / "base", 6, [(112.0, 100.0), (90.0, 130.0)], 224), tmp_path / "base" / "base.json")
    write(lights(tmp_path / "own", 6, [(204.0, 122.0)], 244), tmp_path / "own", "labelme")
    rule = replace(WHOLE_IMAGE, size=128)
    monkeypatch.setattr("knuckle.predict.load", fake_predictor(rule))
    plan = Plan(tmp_path / "base" / "base.json", tmp_path / "own", "m", per_class=2, h2_per_class=1, classes=(6,))
    done: list[int] = []
    found = run_study(replace(plan, own_crop=crop), tmp_path / "out", Options(), done.append)  # type: ignore[arg-type]
    assert done[-1] == 4  # two base hands, one own hand twice
    assert found.h1.base.epe < 0.5
    assert found.crops is not None
    assert found.crops.scores is not None
    ran, right = found.crops.scores["as MMPose crops"].epe, found.crops.scores["right"].epe
    assert ran > 2
    assert right < 0.7
    assert found.h1.both.epe == pytest.approx((2 * found.h1.base.epe + (ran if crop == "paper" else right)) / 3)
    assert (found.crops.cut_off, found.crops.right_cut_off) == (21, 0)
    assert found.crops.artefact is not None
    assert found.crops.artefact.size == 244
    assert f"EPE {ran:.3f} px as MMPose crops them" in found.crops.sentences()[-1]


@pytest.mark.parametrize("crop", ["paper", "right"])
def test_photos_of_several_sizes_are_measured_by_both_crops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crop: str
) -> None:
    """Also that unchanged pictures of `--robustness` are what the study measured: the same windows."""
    write(lights(tmp_path / "base", 6, [(112.0, 100.0), (90.0, 130.0)], 224), tmp_path / "base" / "base.json")
    for size, place in ((244, (204.0, 122.0)), (300, (170.0, 150.0))):
        folder = tmp_path / "own" / str(size)
        write(lights(folder, 6, [place], size), folder, "labelme")
    rule = replace(WHOLE_IMAGE, size=128)
    monkeypatch.setattr("knuckle.predict.load", fake_predictor(rule))
    plan = Plan(tmp_path / "base" / "base.json", tmp_path / "own", "m", per_class=2, h2_per_class=1, classes=(6,))
    plan = replace(plan, resize=None, own_crop=crop)  # type: ignore[arg-type]
    found = run_study(plan, tmp_path / "out", Options(robustness=True))
    assert found.crops is not None
    assert found.crops.artefact is None
    assert found.crops.scores is not None
    ran, right = found.crops.scores["as MMPose crops"].epe, found.crops.scores["right"].epe
    assert ran > right + 1
    assert scores(found.own.pred, found.own.true).epe == pytest.approx(ran if crop == "paper" else right)
    told = found.crops.sentences()
    assert "not squares of one size" in told[0]
    assert f"EPE {ran:.3f} px as MMPose crops them" in told[-1]
    assert (found.crops.cut_off, found.crops.right_cut_off) == (21, 0)
    for name, compared in (("base hands", found.base), ("own hands", found.own)):
        expected = relative_distances(compared.pred, compared.true, "box").mean(axis=1)
        np.testing.assert_allclose(found.robustness[name].clean, expected, atol=0.02)
    json.dumps(finite(summary(found, tables(found))), allow_nan=False)


def test_what_cannot_be_studied_is_said_before_the_model_runs(
    world: tuple[Path, Labels, Hands], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise AssertionError("nothing may be predicted")

    monkeypatch.setattr("knuckle.predict.load", fake_predictor(CropRule(size=32)))
    monkeypatch.setattr(run, "predictions_of_predictor", fail)
    folder = world[0]
    with pytest.raises(ValueError, match="the margin must be a positive number of pixels, got 0;"):
        run_study(plan_of(folder, margin=0.0), tmp_path / "a")
    with pytest.raises(ValueError, match="no hand of the training set has a gesture"):
        run_study(plan_of(folder, training=folder / "photos"), tmp_path / "b")
    with pytest.raises(ValueError, match="no own hand shows one of the classes 3; own photos show 0 open_palm"):
        run_study(
            plan_of(folder, base_gestures="labels", base_lists=named_classes(tmp_path), classes=(3,)), tmp_path / "c"
        )


def test_gestures_come_from_somewhere_or_it_says_so() -> None:
    hands = labeled_hands(["c6/a.jpg", "b.jpg"])
    with pytest.raises(ValueError, match=r"no own hand has a gesture; take them from labels.*--own-gestures"):
        assign(hands, "labels", "own")
    with pytest.raises(ValueError, match="but there is no nowhere"):
        assign(hands, "nowhere", "base")
    with pytest.raises(ValueError, match="there is no own hand that can be used"):
        assign(hands[:0], "labels", "own")
    found, notes = assign(hands, "folder", "base")
    assert found.gesture.tolist() == [6, -1]
    assert notes == ["Base hands without a gesture, which are not used: 1 of 2."]
    fallen_back, notes = assign(hands.replace(gesture=[3, 4]), "folder", "own")
    assert fallen_back.gesture.tolist() == [6, 4]
    assert len(notes) == 1
    assert "No folder names a class for 1 of 2 own hands, so their gestures are those of their labels" in notes[0]


def test_proposed_gestures_are_called_so(world: tuple[Path, Labels, Hands]) -> None:
    _, labels, _ = world
    found, notes = assign(labels.hands(), "propose", "base")
    sure = found.gesture >= 0
    assert (found.gesture[sure] == labels.gesture[sure]).all()
    assert sure.sum() > len(labels) / 2
    assert "proposals" in notes[0]


def test_plans_that_cannot_be_are_refused(world: tuple[Path, Labels, Hands], tmp_path: Path) -> None:
    folder = world[0]
    with pytest.raises(
        ValueError, match=r"takes 5 of the 4 hands a class.*--h2-per-class 4 or fewer, or --per-class 5"
    ):
        choose_samples(plan_of(folder, h2_per_class=5), tmp_path)
    with pytest.raises(ValueError, match=r"no own hand shows one of the classes 3, 4; own photos show 0 open_palm \("):
        choose_samples(
            plan_of(folder, base_gestures="labels", base_lists=named_classes(tmp_path), classes=(3, 4)), tmp_path / "o"
        )
    with pytest.raises(ValueError, match="but these have fewer: 1 one_point"):
        choose_samples(plan_of(folder, classes=(0, 1)), tmp_path)
    lists = tmp_path / "lists"
    for part, row in (("h1", 0), ("h2", 1)):
        (lists / part).mkdir(parents=True)
        (lists / part / "c0.txt").write_text(f"{row:08d}.jpg\n")
    with pytest.raises(ValueError, match=r"h2 names training/rgb/00000001\.jpg, which is not in h1"):
        choose_samples(plan_of(folder, base_lists=lists), tmp_path)
    (lists / "h1" / "c6.txt").write_text("\n00000001.jpg\n")
    with pytest.raises(
        ValueError, match=r"h2/c0\.txt:1 gives 00000001\.jpg the class 0 .* but .*h1/c6\.txt:2 gave it 6"
    ):
        choose_samples(plan_of(folder, base_lists=lists), tmp_path)


def named_classes(folder: Path) -> Path:
    """Lists of base hands for classes that no own photo shows."""
    for part in ("h1", "h2"):
        (folder / "others" / part).mkdir(parents=True)
        (folder / "others" / part / "c3.txt").write_text("00000000.jpg\n")
    return folder / "others"


def test_replayed_lists_give_hands_of_the_chosen_classes_alone(
    world: tuple[Path, Labels, Hands], tmp_path: Path
) -> None:
    folder = world[0]
    choose_samples(plan_of(folder), tmp_path / "a")
    lists = tmp_path / "a" / "lists"
    plan = plan_of(folder, base_gestures="labels", base_lists=lists, own_lists=lists / "own", classes=(6,))
    found = choose_samples(plan, tmp_path / "b")
    assert found.base.gesture.tolist() == [6] * 4
    assert found.in_h2.tolist() == [True, True, False, False]
    assert found.own.gesture.tolist() == [6, 6]
    assert [note.split(": ")[-1] for note in found.notes if "of other classes than 6" in note] == ["4.", "2."]
    one = choose_samples(replace(plan, base_lists=lists / "h1", h2_per_class=1), tmp_path / "c")
    assert (one.base == found.base, one.in_h2.tolist()) == (True, [True, False, False, False])
    with pytest.raises(ValueError, match=r"h1 names no base hand of the classes 3; it has 0, 6: name some"):
        choose_samples(replace(plan, classes=(3,)), tmp_path / "d")


def test_a_folder_is_filled_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def fail() -> None:
        with filling(out) as folder:
            (folder / "half").write_text("")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    with filling(out) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "whole").write_text("")
    assert (out / "deep" / "whole").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(ValueError, match="is not an empty folder"), filling(out):
        pass
    with pytest.raises(ValueError, match="cannot be made"), filling(out / "deep" / "whole" / "below"):
        pass


@pytest.mark.parametrize(("text", "classes"), [("0-3", (0, 1, 2, 3)), ("6", (6,)), (" 6, 2-3,6", (6, 2, 3))])
def test_classes_are_parsed(text: str, classes: tuple[int, ...]) -> None:
    assert parse_classes(text) == classes


@pytest.mark.parametrize("text", ["", "fist", "3-1", "2-", "0,25"])
def test_classes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="class"):
        parse_classes(text)
