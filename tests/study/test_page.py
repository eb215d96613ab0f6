"""The page in a real browser: no request, no error, no sideways scrolling on a phone, tables that sort."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page as Tab
from playwright.sync_api import sync_playwright

from knuckle.metrics import Interval
from knuckle.study.charts import difference_chart, error_chart, svg_text
from knuckle.study.page import Block, Chart, Column, Formulas, Gallery, Page, Section, Table, Tile, write_page
from tests.browser import chromium

PHONE = (360, 740)
RECORDS = [
    {"name": "fist <6>", "error": 10.25, "low": float("nan"), "far": float("inf"), "fails": True},
    {"name": "open_palm", "error": 9.5, "low": -1.0, "far": 2.0, "fails": False},
    {"name": "claw", "error": 101.0, "low": 3.0, "far": 30.0, "fails": False},
]
COLUMNS = [
    Column("name", "gesture"),
    Column("error", "EPE [px]", ".1f"),
    Column("low", "from", "+.2f"),
    Column("far", "detectable", ".1f"),
    Column("fails", "fails"),
    *[Column("error", f"a wide heading, number {number}", ".3f") for number in range(8)],
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with one block of each kind, wider than a phone."""
    intervals = [Interval(1, 0.5, 2), Interval(-1, float("nan"), float("nan"))]
    chart = difference_chart(["fist", "claw"], intervals, "px", likely=intervals, marked=[True, False], margin=0.5)
    other = error_chart(["fist", "claw"], {"base": [1, 2], "own": [2, float("nan")]}, "NME")
    pixel = Tile(Chart("", '<svg xmlns="http://www.w3.org/2000/svg" width="400" height="9"/>').address, "a" * 200)
    blocks: list[Block] = [
        Table("errors", "Errors.", RECORDS, COLUMNS),
        Chart("Differences.", svg_text(chart)),
        Chart("Errors.", svg_text(other)),
        Gallery("Worst.", [pixel] * 3),
        Formulas({"EPE": "mean error & more"}),
    ]
    page = Page("Report", "What was studied.", ["fists fail <often>"], [Section("All", ["A sentence."], blocks)])
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(page, path)
    return path


@pytest.fixture(scope="module")
def tab(report: Path) -> Iterator[Tab]:
    """The page on a phone's screen; collects what goes wrong in `tab.problems`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": PHONE[0], "height": PHONE[1]})
        problems: list[str] = []
        tab.on("console", lambda message: problems.append(message.text))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
        tab.goto(report.as_uri())
        tab.wait_for_load_state("load")
        assert problems == []
        yield tab
        assert problems == []
        browser.close()


def column(tab: Tab, number: int) -> list[str]:
    return [str(text) for text in tab.locator(f"#errors tbody tr td:nth-child({number})").all_inner_texts()]


def test_nothing_sticks_out_of_a_phone(tab: Tab) -> None:
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    assert tab.evaluate("document.querySelector('#errors').scrollWidth") > PHONE[0]  # it scrolls inside its own box
    sizes = tab.evaluate("[...document.images].map(image => [image.naturalWidth, image.complete])")
    assert len(sizes) == 5
    assert all(width > 0 and complete for width, complete in sizes)


def test_the_failures_come_first_and_the_formulas_last(tab: Tab) -> None:
    text = tab.locator("body").inner_text()
    places = [
        text.index(part) for part in ("What was studied.", "fists fail <often>", "A sentence.", "mean error & more")
    ]
    assert places == sorted(places)


def test_a_click_sorts_and_another_turns_the_order(tab: Tab) -> None:
    assert column(tab, 2) == ["10.2", "9.5", "101.0"]
    button = tab.locator("#errors th button").nth(1)
    button.click()
    assert column(tab, 2) == ["9.5", "10.2", "101.0"]  # as numbers, not as text
    assert tab.locator("#errors th").nth(1).get_attribute("aria-sort") == "ascending"
    button.click()
    assert column(tab, 1) == ["claw", "fist <6>", "open_palm"]
    tab.locator("#errors th button").nth(2).click()
    assert column(tab, 3) == ["-1.00", "+3.00", "-"]  # no value comes last
    tab.locator("#errors th button").nth(3).click()
    assert column(tab, 4) == ["2.0", "30.0", "∞"]
    tab.locator("#errors th button").nth(0).click()
    assert column(tab, 1) == ["claw", "fist <6>", "open_palm"]


def test_cells_keep_the_whole_number(report: Path) -> None:
    html = report.read_text()
    assert 'data-v="10.25">10.2<' in html
    assert 'data-v="inf">∞<' in html
    assert "<often>" not in html
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
