"""The page of proposed gestures: whom it shows, and that a browser saves what was confirmed as the study reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page as Tab
from playwright.sync_api import sync_playwright

from knuckle.hands import UNKNOWN, Hands
from knuckle.render import SceneConfig
from knuckle.render.folder import render_folder
from knuckle.render.poses import PoseMix, parse_gestures
from knuckle.skeleton import GESTURES
from knuckle.study.classify import propose
from knuckle.study.gesture_page import UNSURE, gesture_page, write_gesture_page
from knuckle.study.gestures import by_table
from knuckle.study.lists import numbers_on_images
from tests.browser import chromium

CONFIG = replace(SceneConfig(), poses=PoseMix(weights=parse_gestures("0:0.5,6:0.5")), occluders=None, companions=None)

ODD = 'images/a "fist", mine.jpg'


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory) -> Hands:
    """Open palms, fists and others, whose gestures nobody has said."""
    folder = tmp_path_factory.mktemp("hands")
    rendered, _ = render_folder(folder, 16, 3, 48, config=CONFIG, device="cpu")
    return rendered.replace(gesture=np.full(16, UNKNOWN))


def test_every_hand_stands_under_its_proposal_the_likeliest_first(hands: Hands) -> None:
    page = gesture_page(hands, "Gestures", 40)
    found = propose(hands)
    for name, shown in page.sections.items():
        expected = UNKNOWN if name == UNSURE else GESTURES.index(name)
        assert {hand.image for hand in shown} == set(hands.image[found.gesture == expected].tolist())
        sure = [hand.confidence for hand in shown]
        assert sure == sorted(sure, reverse=True)
    assert sum(map(len, page.sections.values())) == len(hands)
    assert list(page.sections)[-1] == UNSURE or UNSURE not in page.sections
    assert page.notes == []


def test_groups_take_turns(hands: Hands) -> None:
    """The most confident hand of each group comes before the second one of any."""
    grouped = hands.replace(group=np.arange(len(hands)) // 8)
    group_of = dict(zip(grouped.image.tolist(), grouped.group.tolist(), strict=True))
    for shown in gesture_page(grouped, "Gestures", 40).sections.values():
        groups = [group_of[hand.image] for hand in shown]
        both = 2 * min(groups.count(0), groups.count(1))
        assert all(sorted(groups[place : place + 2]) == [0, 1] for place in range(0, both, 2))


def test_who_is_not_on_the_page_is_said(hands: Hands, tmp_path: Path) -> None:
    known = hands.gesture.copy()
    known[:3] = 6
    moved = hands.replace(gesture=known, image=[*hands.image[:-1].tolist(), "gone.jpg"])
    notes = write_gesture_page(moved, tmp_path / "gestures.html", "Gestures", 1)
    assert notes[0] == "3 hands have a gesture already."
    assert any("beyond the first 1 of their gesture" in note for note in notes)
    with pytest.raises(ValueError, match="every hand has a gesture already"):
        gesture_page(hands.replace(gesture=np.zeros(16)), "Gestures", 1)
    with pytest.raises(ValueError, match="photos that would be shown can be read"):
        gesture_page(hands.replace(root=tmp_path), "Gestures", 1)


def test_hands_are_numbered_on_their_image(hands: Hands) -> None:
    images = ["b", "a", "b", "c", "b", "a"]
    assert numbers_on_images(hands[:6].replace(image=images)).tolist() == [0, 0, 1, 0, 2, 1]


def named(hands: Hands, root: Path) -> Hands:
    """The first hand twice, on one image with an odd name."""
    return Hands.concat([hands[:1], hands]).replace(image=[ODD, ODD, *hands.image[1:].tolist()], root=root)


@pytest.fixture
def tab(hands: Hands, tmp_path: Path) -> Iterator[Tab]:
    """The page of hands two of which share an image whose name needs quotes in a table."""
    (tmp_path / "images").mkdir()
    for name, path in zip([ODD, *hands.image[1:].tolist()], hands.paths(), strict=True):
        (tmp_path / name).write_bytes(Path(path).read_bytes())
    write_gesture_page(named(hands, tmp_path), tmp_path / "gestures.html", "Gestures", 40)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 360, "height": 740}, accept_downloads=True)
        problems: list[str] = []
        tab.on("console", lambda message: problems.append(message.text))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
        tab.goto((tmp_path / "gestures.html").as_uri())
        yield tab
        assert problems == []
        browser.close()


def test_what_is_confirmed_is_saved_as_the_study_reads_it(tab: Tab, hands: Hands, tmp_path: Path) -> None:
    assert "0 of 17 confirmed" in tab.locator("#count").inner_text()
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing leaves a phone's screen"
    for button in tab.locator(".all").all():
        button.click()
    shown = tab.locator(".hand")
    shown.nth(0).locator("select").select_option("claw")
    shown.nth(1).locator("input").uncheck()
    shown.nth(2).locator("select").select_option("none of these")
    tab.reload()
    assert "15 of 17 confirmed" in tab.locator("#count").inner_text(), "a reload loses nothing"
    with tab.expect_download() as waiting:
        tab.locator("#save").click()
    assert waiting.value.suggested_filename == "gestures.csv"
    waiting.value.save_as(tmp_path / "gestures.csv")
    expected = {
        (hand.get_attribute("data-image"), int(hand.get_attribute("data-hand") or "")): hand.locator(
            "select"
        ).input_value()
        for place, hand in enumerate(shown.all())
        if place not in (1, 2)
    }
    assert "claw" in expected.values()
    read = by_table(named(hands, tmp_path), tmp_path / "gestures.csv")
    numbers = numbers_on_images(read).tolist()
    found = {
        (image, number): GESTURES[gesture]
        for image, number, gesture in zip(read.image.tolist(), numbers, read.gesture.tolist(), strict=True)
        if gesture != UNKNOWN
    }
    assert found == expected
