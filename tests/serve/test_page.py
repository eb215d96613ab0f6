"""The page in a real browser: a fake camera, dropped photos, downloads that read back, a phone, no foreign request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

import knuckle
from knuckle.formats.image_header import header_size_wh
from knuckle.predict import Predictor
from knuckle.serve.door import Server
from tests.browser import chromium
from tests.label.worlds import glow
from tests.serve.visitors import photo, running

FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
PHONE = (360, 740)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", *FAKE_CAMERA])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, open; whatever goes wrong in it or leaves this computer fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, accept_downloads=True)
    page = context.new_page()
    address = f"http://localhost:{server.server_port}/"
    own = (address, "blob:", "data:")
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda sent: problems.append(sent.url) if not sent.url.startswith(own) else None)
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    yield page
    context.close()
    assert problems == []


def colors_of(page: Page) -> int:
    """How many colours the picture has: the skeleton brings many to a black photo with a red light."""
    count: int = page.evaluate(
        "() => { const c = document.getElementById('picture');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const s = new Set();"
        "for (let i = 0; i < d.length; i += 4) if (d[i + 1] > 60 && d[i + 2] > 60) s.add((d[i] >> 5) * 64 + "
        "(d[i + 1] >> 5) * 8 + (d[i + 2] >> 5)); return s.size; }"
    )
    return count


def drop(page: Page, files: dict[str, bytes], times: int = 1) -> None:
    """Drop files on the page as a person would from a folder, perhaps again before the answers come."""
    content: list[Any] = [[name, list(data)] for name, data in files.items()]
    transfer = page.evaluate_handle(
        "files => { const t = new DataTransfer(); for (const [name, data] of files)"
        " t.items.add(new File([new Uint8Array(data)], name)); return t; }",
        content,
    )
    page.evaluate(
        "([transfer, times]) => { for (let n = 0; n < times; n++) document.body.dispatchEvent("
        "new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true })); }",
        [transfer, times],
    )


def saved(page: Page, button: str, folder: Path) -> Path:
    """What a button downloads, under the name that the page gives it."""
    with page.expect_download() as download:
        page.click(button)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_the_camera_runs_shows_its_pace_and_keeps_a_frame(page: Page, tmp_path: Path) -> None:
    page.click("#camera")
    page.wait_for_function("() => Number(document.getElementById('speed').dataset.frames) >= 3", timeout=60_000)
    assert "fps" in page.inner_text("#speed")
    assert "model" in page.inner_text("#speed")
    expect(page.locator("#hands .hand")).to_have_count(1)
    assert "standard deviation" in page.inner_text("#legend")
    page.click("#keep")
    expect(page.locator("#count")).to_have_text("1 photo, 1 hand", timeout=60_000)
    page.click("#camera")
    expect(page.locator("#camera")).to_have_text("Start camera")
    frames = page.get_attribute("#speed", "data-frames")
    page.wait_for_timeout(400)
    assert page.get_attribute("#speed", "data-frames") in (frames, str(int(frames or 0) + 1))
    for button, name in (("#labelme", "frame-001.json"), ("#save-picture", "frame-001.jpg")):
        assert saved(page, button, tmp_path).name == name
    hands = knuckle.read(tmp_path / "frame-001.json")
    assert hands.paths() == [tmp_path / "frame-001.jpg"]
    assert tuple(hands.size[0]) == header_size_wh(tmp_path / "frame-001.jpg")


def test_dropped_photos_are_drawn_and_download_as_files_that_read_back(page: Page, tmp_path: Path) -> None:
    drop(page, {"a.png": photo(), "b.jpg": photo(".jpg")})
    expect(page.locator("#count")).to_have_text("2 photos, 2 hands", timeout=60_000)
    expect(page.locator("#thumbnails img")).to_have_count(2)
    page.locator("#thumbnails button").first.click()
    page.wait_for_function("() => document.getElementById('picture').width === 160")
    assert colors_of(page) > 5
    assert page.is_hidden("#hint")
    for button, name in (("#csv", "hands.csv"), ("#labelme", "a.json")):
        assert saved(page, button, tmp_path).name == name
    hands = knuckle.read(tmp_path / "hands.csv")
    assert hands.image.tolist() == ["a.png", "b.jpg"]
    assert abs(hands.xy[0].mean(axis=0) - [80, 60]).max() < 5
    assert knuckle.read(tmp_path / "a.json").image.tolist() == ["a.png"]
    page.click("#clear")
    assert page.is_hidden("#kept")


def test_hands_of_drops_that_come_together_are_numbered_on(page: Page, tmp_path: Path) -> None:
    drop(page, {"a.png": photo(), "b.jpg": photo(".jpg")}, times=2)
    expect(page.locator("#count")).to_have_text("4 photos, 4 hands", timeout=60_000)
    assert sorted(knuckle.read(saved(page, "#csv", tmp_path)).image.tolist()) == ["a.png", "a.png", "b.jpg", "b.jpg"]


def test_a_bad_file_is_a_sentence_and_the_good_one_beside_it_is_kept(browser: Browser, server: Server) -> None:
    # The browser itself logs every refused request, so this page has no watch on its console.
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"http://localhost:{server.server_port}/")
        page.wait_for_selector("body[data-ready]")
        drop(page, {"notes.png": b"<b>no</b>", "good.png": photo(), "cut.png": photo()[:200]})
        expect(page.locator("#problem")).to_contain_text(
            "notes.png is not a PNG, JPEG, BMP or WebP image; save it as one of these.", timeout=60_000
        )
        expect(page.locator("#problem")).to_contain_text("cut.png is cut off")
        expect(page.locator("#count")).to_have_text("1 photo, 1 hand")
        assert page.locator("#problem b").count() == 0


def test_nothing_sticks_out_of_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    drop(page, {"a_very_long_name_" * 8 + ".png": photo()})
    expect(page.locator("#count")).to_have_text("1 photo, 1 hand", timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    sizes = page.evaluate(
        "[...document.querySelectorAll('button')].filter(b => b.offsetParent).map(b => b.offsetHeight)"
    )
    assert min(sizes) >= 40  # a finger's width


def test_another_sites_page_cannot_put_this_machine_to_work(browser: Browser) -> None:
    class Counting(Predictor):
        calls = 0

        def predict(self, *arguments: Any) -> Any:
            Counting.calls += 1
            return super().predict(*arguments)

    base = glow()
    with running(Counting(base.engine, base.rule)) as server, browser.new_context() as context:
        page = context.new_page()
        address = f"http://localhost:{server.server_port}"
        send = (
            "([address, bytes]) => fetch(`${address}/predict`, {method: 'POST', mode: 'no-cors', "
            "body: new Uint8Array(bytes)}).then(answer => answer.status, () => 0)"
        )
        page.goto("about:blank")  # a foreign origin: the request goes out, and its answer stays hidden
        assert page.evaluate(send, [address, list(photo())]) == 0
        assert Counting.calls == 0
        page.goto(address)
        assert page.evaluate(send, [address, list(photo())]) == 200
        assert Counting.calls == 1
