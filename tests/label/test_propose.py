"""Proposals: what is missing is added, what a person did stays to the byte, and what counts as checked."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import knuckle
from knuckle.hands import OPTIONAL_COLUMNS, Hands
from knuckle.label.checked import checked_hands
from knuckle.label.propose import propose, waiting
from knuckle.label.sheets import Proposal
from tests.label.worlds import glow, move_a_point, photo_folder, sheets_of


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photo_folder(tmp_path / "photos")


def propose_all(folder: Path, model: str = "m") -> int:
    return propose(waiting(sheets_of(folder)), glow(), model, "full").photos


def test_every_photo_gets_a_file_that_says_what_the_model_found(photos: Path) -> None:
    assert propose_all(photos) == 6
    hands = knuckle.read(photos)
    alone = glow().predict([str(path) for path in hands.paths()], "full")
    np.testing.assert_array_equal(hands.xy, alone.xy)
    np.testing.assert_array_equal(hands.covariance, alone.covariance)
    np.testing.assert_array_equal(hands.box, knuckle.hands.keypoint_extent(hands.xy))
    assert len(set(hands.group.tolist())) == 6  # a photo is a group until somebody knows better
    content = json.loads((photos / "v0" / "0.json").read_text())
    assert content["flags"] == {"checked": False}
    assert content["imagePath"] == "0.png"
    assert (content["imageWidth"], content["imageHeight"]) == (160, 120)


def test_a_second_run_adds_only_what_is_missing(photos: Path) -> None:
    propose_all(photos)
    before = {path: path.read_bytes() for path in photos.rglob("*.json")}
    (photos / "v1" / "1.json").unlink()
    assert propose_all(photos, "another") == 1
    after = {path: path.read_bytes() for path in photos.rglob("*.json")}
    new = photos / "v1" / "1.json"
    assert json.loads(after.pop(new))["knuckle"]["model"] == "another"
    before.pop(new)
    assert after == before


def test_whose_labels_a_file_holds(photos: Path) -> None:
    propose_all(photos)
    moved, ticked, saved, own, boxed, rest = sorted(photos.rglob("*.json"))
    move_a_point(moved)
    ticked.write_text(json.dumps(json.loads(ticked.read_text()) | {"flags": {"checked": True}}))
    content = json.loads(saved.read_text())  # Labelme saves what nobody changed: other order and spaces, same shapes
    content["shapes"].reverse()
    saved.write_text(json.dumps(content, indent=1, sort_keys=True))
    content = json.loads(own.read_text())
    del content["knuckle"], content["flags"]
    for shape in content["shapes"]:
        shape.pop("covariance", None)
    own.write_text(json.dumps(content))
    content = json.loads(boxed.read_text())
    content["shapes"] = [shape for shape in content["shapes"] if shape["shape_type"] == "rectangle"]
    del content["knuckle"]
    boxed.write_text(json.dumps(content))
    rest.write_text(json.dumps(json.loads(rest.read_text()) | {"shapes": []}))  # a person saw that there is no hand
    states = [sheet.state for sheet in sheets_of(photos)]
    assert states == ["checked", "checked", "proposed", "checked", "boxes", "checked"]
    assert len(waiting(sheets_of(photos))) == 1
    assert len(waiting(sheets_of(photos), "proposals")) == 2
    assert len(waiting(sheets_of(photos), "everything")) == 6


def test_boxes_that_a_person_drew_get_their_points_and_foreign_shapes_stay(photos: Path) -> None:
    file = photos / "v0" / "0.json"
    cup: dict[str, Any] = {"label": "cup", "points": [[1, 2], [9, 8]], "shape_type": "rectangle", "flags": {}}
    hand = {"label": "hand", "points": [[10.0, 10.0], [50.0, 50.0]], "group_id": 7, "shape_type": "rectangle"}
    file.write_text(json.dumps({"shapes": [cup, hand], "imagePath": "0.png", "note": "mine"}))
    sheet = sheets_of(photos)[0]
    assert sheet.state == "boxes"
    written = propose([sheet], glow(), "m", boxes=None)
    assert (written.photos, written.skipped) == (1, [])
    content = json.loads(file.read_text())
    assert content["note"] == "mine"
    assert content["shapes"][0] == cup
    assert {shape["group_id"] for shape in content["shapes"][1:]} == {7}
    expected = glow().predict(str(photos / "v0" / "0.png"), [[10, 10, 50, 50]])
    np.testing.assert_array_equal(knuckle.read(file).xy, expected.xy)


def test_a_box_drawn_beside_an_untouched_proposal_gets_its_points(photos: Path) -> None:
    propose(sheets_of(photos)[:1], glow(), "m", "full")
    file = photos / "v0" / "0.json"
    content = json.loads(file.read_text())
    drawn = {"label": "hand", "points": [[10.0, 10.0], [50.0, 50.0]], "group_id": None, "shape_type": "rectangle"}
    file.write_text(json.dumps(content | {"shapes": [*content["shapes"], drawn]}))
    sheet = sheets_of(photos)[0]
    assert sheet.state == "boxes"
    assert propose(waiting([sheet]), glow(), "m", boxes=None).hands == 2
    hands = knuckle.read(file)
    expected = glow().predict(str(photos / "v0" / "0.png"), [[10, 10, 50, 50]])
    np.testing.assert_array_equal(hands.xy[1:], expected.xy)
    assert hands.labeled.sum(axis=1).tolist() == [21, 21]
    assert sheets_of(photos)[0].state == "proposed"
    moved = json.loads(file.read_text())
    moved["shapes"][0]["points"][0][0] += 2
    file.write_text(json.dumps(moved | {"shapes": [*moved["shapes"], drawn]}))
    assert sheets_of(photos)[0].state == "checked"  # a person touched the proposal, too


def test_a_photo_that_cannot_be_used_is_named_and_the_others_go_on(photos: Path) -> None:
    (photos / "v0" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    written = propose(waiting(sheets_of(photos)), glow(), "m", "full")
    assert written.photos == 5
    assert len(written.skipped) == 1
    assert "v0/0.png" in written.skipped[0]
    assert not (photos / "v0" / "0.json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets file names be any bytes")
def test_a_name_that_is_no_text_is_told_as_predict_tells_it(photos: Path) -> None:
    (photos / "v0" / "0.png").rename(os.fsdecode(os.fsencode(photos) + b"/v0/\xff.png"))
    written = propose(waiting(sheets_of(photos)), glow(), "m", "full")
    assert written.photos == 5
    [sentence] = written.skipped
    assert re.fullmatch(
        r".*v0/\\udcff\.png has a name that no output file can hold, as it is not UTF-8; rename it\.", sentence
    )


def test_uncertainty_is_measured_by_what_the_model_offers(photos: Path) -> None:
    propose(waiting(sheets_of(photos))[:1], glow(), "m", "full")
    proposal = sheets_of(photos)[0].proposal
    assert isinstance(proposal, Proposal)
    hands = knuckle.read(photos)
    assert hands.covariance is not None
    side = (hands.box[0, 2:] - hands.box[0, :2]).max()
    expected = np.sqrt(np.trace(hands.covariance[0].mean(axis=0))) / side
    assert proposal.measure == "covariance"
    assert proposal.uncertainty == pytest.approx(expected, rel=1e-4)
    places = np.array([[0, 0, 90, 90], [10, 10, 50, 50]], dtype=np.float32)  # deviations are stated in crop pixels
    propose(waiting(sheets_of(photos))[:1], glow(), "m", {photos / "v0" / "1.png": places})
    two = sheets_of(photos)[1]
    assert two.proposal is not None
    assert two.hands.covariance is not None
    sides = (two.hands.box[:, 2:] - two.hands.box[:, :2]).max(axis=1)
    each = np.sqrt(np.trace(two.hands.covariance.mean(axis=1), axis1=1, axis2=2)) / sides
    assert two.proposal.hand == each.argmax() == 0
    assert two.proposal.uncertainty == pytest.approx(each.max(), rel=1e-4)
    propose(waiting(sheets_of(photos)), glow(sigma=False), "m", "full")
    other = sheets_of(photos)[2].proposal
    assert other is not None
    # The model's hand is drawn around the light and not mirrored with it, so both answers differ by its asymmetry.
    assert other.measure == "mirror"
    assert 0.05 < other.uncertainty < 1


def with_all_numbers(hands: Hands) -> Hands:
    """What a calibrated model with a hand head says of each hand."""
    rate = np.full(len(hands), 0.9)
    return hands.replace(confidence=np.full((len(hands), 21), 0.9), score=rate, side_probability=rate)


def test_checked_hands_have_no_numbers_of_a_model_and_scenes_stay_together(photos: Path) -> None:
    propose_all(photos)
    with pytest.raises(ValueError, match="tick the flag 'checked'"):
        checked_hands(sheets_of(photos), np.arange(6))
    for file in sorted(photos.rglob("*.json"))[:4]:
        move_a_point(file, 40.0)
    sheets = [replace(sheet, hands=with_all_numbers(sheet.hands)) for sheet in sheets_of(photos)]
    hands = checked_hands(sheets, np.array([0, 0, 1, 2, 3, 3]))
    assert len(hands) == 4
    assert [name for name in OPTIONAL_COLUMNS if getattr(hands, name) is not None] == []
    assert hands.group.tolist() == [0, 0, 1, 2]
    np.testing.assert_array_equal(hands.box, knuckle.hands.keypoint_extent(hands.xy))
    assert {path.resolve() for path in hands.paths()} == {
        *(photos / "v0").glob("*.png"),
        *(photos / "v1").glob("*.png"),
    }


def test_a_models_labels_without_a_mark_are_neither_checked_nor_replaced(photos: Path) -> None:
    """Nobody knows whether a person has corrected them, as older files of knuckle predict have no mark."""
    propose_all(photos)
    file = photos / "v0" / "0.json"
    content = json.loads(file.read_text())
    del content["knuckle"], content["flags"]
    file.write_text(json.dumps(content))
    before = file.read_bytes()
    sheet = sheets_of(photos)[0]
    assert (sheet.state, sheet.proposal) == ("predicted", None)
    assert propose(waiting(sheets_of(photos), "proposals"), glow(), "m", "full").photos == 5
    assert file.read_bytes() == before
    file.write_text(json.dumps(content | {"flags": {"checked": True}}))
    assert sheets_of(photos)[0].state == "checked"


def test_a_mark_without_an_uncertainty_is_a_proposal_all_the_same(photos: Path) -> None:
    propose_all(photos)
    file = photos / "v0" / "0.json"
    content = json.loads(file.read_text())
    del content["knuckle"]["measure"]
    file.write_text(json.dumps(content))
    sheet = sheets_of(photos)[0]
    assert (sheet.state, sheet.proposal) == ("proposed", None)
    move_a_point(file)
    assert sheets_of(photos)[0].state == "checked"
