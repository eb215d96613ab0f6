"""The HTTP door: what is served, and a sentence for truncated, huge, wrong-typed, foreign and slow requests."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knuckle.predict import Predictor
from knuckle.serve.door import HEADERS, PAGE_FILES, Limits, Server, is_loopback, is_own_host
from tests.data.test_images import bmp_claiming, jpeg_claiming, png_claiming
from tests.label.worlds import glow
from tests.serve.visitors import answer_in, ask, photo, running, send

LIMITS = Limits(most_bytes=200_000, seconds=1.0, patience=0.3, predictions=1)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(limits=LIMITS) as server:
        yield server


def sentence(body: bytes) -> str:
    content = json.loads(body)
    assert list(content) == ["error"]
    assert "Traceback" not in content["error"]
    return str(content["error"])


def test_the_page_is_served_with_a_strict_policy(server: Server) -> None:
    for path, (_, kind) in PAGE_FILES.items():
        answer = ask(server, "GET", path)
        assert answer.status == 200
        assert answer.headers["content-type"] == kind
        assert {name.lower(): value for name, value in HEADERS.items()}.items() <= answer.headers.items()
        assert "python" not in answer.headers["server"].lower()
        text = answer.body.decode()
        for foreign in ("http://", "https://", "eval(", "innerHTML", "style=", "onclick"):
            assert foreign not in text.replace("http://localhost", "")
    assert "default-src 'none'" in HEADERS["Content-Security-Policy"]
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_a_photo_gets_its_hands(server: Server) -> None:
    for suffix in (".png", ".jpg", ".bmp", ".webp"):
        answer = ask(server, "POST", f"/predict?name=a{suffix}&files=1&first=3", photo(suffix))
        assert answer.status == 200
        assert len(answer.json["hands"]) == 1
        assert answer.json["files"]["csv_rows"].startswith(f"3,a{suffix},0,wrist,")
    assert "files" not in ask(server, "POST", "/predict", photo()).json


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "is not a PNG, JPEG, BMP or WebP image"),
        (b"hello", "is not a PNG, JPEG, BMP or WebP image"),
        (b'{"image": []}', "is not a PNG, JPEG, BMP or WebP image"),
        (photo()[: len(photo()) // 2], "is cut off"),
        (photo(".jpg")[:-20], "is cut off"),
        (photo(".webp")[:-20], "is cut off"),
        (photo(".bmp")[:40], "is cut off"),
        (photo()[:60] + bytes(2000) + b"IEND\xaeB`\x82", "is damaged"),
        (png_claiming(50_000, 50_000), "claims 50000 x 50000 pixels"),
        (png_claiming(2**31 - 1, 2**31 - 1), "claims 2147483647"),
        (jpeg_claiming(60_000, 60_000), "claims 60000 x 60000 pixels"),
        (bmp_claiming(30_000, -30_000), "claims 30000 x 30000 pixels"),
        (png_claiming(0, 5), "holds no image"),
        (b"GIF89a" + bytes(100), "is not a PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "is not a PNG"),
    ],
)
def test_bytes_that_are_no_usable_photo(server: Server, body: bytes, said: str) -> None:
    answer = ask(server, "POST", "/predict?name=x.png", body)
    assert answer.status == 422
    assert said in sentence(answer.body)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "said"),
    [
        ("POST", "/predict", {"Content_Length": "999999999999"}, 413, "larger than 0.2 MB"),
        ("POST", "/predict", {"Content_Length": "200001"}, 413, "larger than 0.2 MB"),
        ("POST", "/predict", {"Content_Length": "9" * 5000}, 413, "larger than 0.2 MB"),
        ("POST", "/predict", {"Content_Length": "-1"}, 400, "no number of bytes"),
        ("POST", "/predict", {"Content_Length": "1e3"}, 400, "no number of bytes"),
        ("POST", "/predict", {"Content_Length": "²"}, 400, "no number of bytes"),
        ("POST", "/predict", {"Content_Length": "500"}, 400, "only 4 of 500 bytes"),
        ("POST", "/predict", {"Transfer_Encoding": "chunked"}, 411, "with a Content-Length"),
        ("POST", "/predict?name=" + "a" * 201, {}, 400, "at most 200 letters"),
        ("POST", "/predict?name=a%0ab", {}, 400, "file name"),
        ("POST", "/predict?name=..", {}, 400, "file name"),
        ("POST", "/predict?name=%ff", {}, 400, "fields that cannot be read"),
        ("POST", "/predict?" + "a=1&" * 20, {}, 400, "fields that cannot be read"),
        ("POST", "/predict?first=-1", {}, 400, "number of a hand"),
        ("POST", "/predict?first=" + "9" * 400, {}, 400, "number of a hand"),
        ("POST", "/about", {}, 404, "photos are taken at /predict"),
        ("GET", "/predict", {}, 405, "by POST"),
        ("GET", "/../../../etc/passwd", {}, 404, "no such page"),
        ("GET", "/page/index.html", {}, 404, "no such page"),
        ("GET", "/%2e%2e/answer.py", {}, 404, "no such page"),
        ("DELETE", "/", {}, 405, "cannot be understood"),
        ("OPTIONS", "/predict", {}, 405, "cannot be understood"),
        ("GET", "/", {"Host_": "evil.example"}, 403, "own address"),
        ("GET", "/", {"Host_": "localhost.evil.example:8000"}, 403, "own address"),
        ("GET", "/", {"Host_": ""}, 403, "own address"),
        ("POST", "/predict", {"Origin": "http://evil.example"}, 403, "other sites"),
        ("POST", "/predict", {"Origin": "null"}, 403, "other sites"),
        ("POST", "/predict", {"Origin": "http://localhost:1"}, 403, "other sites"),
    ],
)
def test_requests_that_are_refused(
    server: Server, method: str, path: str, headers: dict[str, str], status: int, said: str
) -> None:
    answer = ask(server, method, path, b"\x89PNG" if method == "POST" else None, **headers)
    assert (answer.status, said in sentence(answer.body)) == (status, True), answer
    assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]


def test_names_lead_to_no_folder(server: Server) -> None:
    for name in ("../../a.png", "..%5c..%5ca.png", "/etc/a.png", "C:%5Ca.png"):
        answer = ask(server, "POST", f"/predict?name={name}&files=1", photo())
        assert answer.json["name"] == "a.png"
        assert answer.json["files"]["labelme"]["imagePath"] == "a.png"


def test_own_origin_is_welcome(server: Server) -> None:
    own = f"http://localhost:{server.server_port}"
    assert ask(server, "POST", "/predict", photo(), Origin=own).status == 200


def test_a_large_upload_gets_its_sentence_although_nobody_reads_it(server: Server) -> None:
    answer = ask(server, "POST", "/predict", bytes(3_000_000))
    assert (answer.status, "larger than" in sentence(answer.body)) == (413, True)


def test_bytes_that_drip_in_are_cut_off_in_time(server: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    for start, expects_answer in ((b"GET / HT", False), (head, True)):
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
            connection.sendall(start)
            received, ended = b"", False
            connection.settimeout(0.1)
            while not ended and time.monotonic() - began < 8:
                try:
                    connection.sendall(b"a")
                    part = connection.recv(65536)
                    received, ended = received + part, not part
                except TimeoutError:
                    continue
                except OSError:
                    ended = True
        assert ended
        assert 0.9 < time.monotonic() - began < 6
        if expects_answer:
            assert answer_in(received).status == 408


class _Slow(Predictor):
    """Says when it has begun, and goes on when told."""

    begun, go_on = threading.Event(), threading.Event()

    def predict(self, *arguments: Any) -> Any:
        self.begun.set()
        assert self.go_on.wait(10)
        return super().predict(*arguments)


def test_more_work_than_the_machine_takes_on_is_turned_away() -> None:
    base = glow()
    with running(_Slow(base.engine, base.rule), limits=LIMITS) as server:
        answers: list[int] = []
        first = threading.Thread(target=lambda: answers.append(ask(server, "POST", "/predict", photo()).status))
        first.start()
        assert _Slow.begun.wait(10)
        assert ask(server, "POST", "/predict", photo()).status == 503
        assert ask(server, "GET", "/about").status == 200  # the page itself still answers
        _Slow.go_on.set()
        first.join(10)
        assert answers == [200]


def test_only_so_many_connections_are_open() -> None:
    with running(limits=Limits(seconds=5.0, connections=3)) as server:
        idle = [socket.create_connection(("127.0.0.1", server.server_port), timeout=5) for _ in range(3)]
        deadline = time.monotonic() + 5
        while server.open_connections._value and time.monotonic() < deadline:
            time.sleep(0.01)
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as extra:
            assert extra.recv(100) == b""
        for connection in idle:
            connection.close()
        deadline = time.monotonic() + 5
        while server.open_connections._value < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ask(server, "GET", "/about").status == 200


def test_a_fault_of_our_own_is_a_sentence_too(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(Predictor):
        def predict(self, *_: Any) -> Any:
            raise RuntimeError("boom")

    base = glow()
    with running(Broken(base.engine, base.rule)) as server:
        answer = ask(server, "POST", "/predict", photo())
    assert answer.status == 500
    assert "boom" not in sentence(answer.body)
    assert "RuntimeError: boom" in capsys.readouterr().err


def test_nothing_is_kept(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert ask(server, "POST", "/predict?files=1", photo()).status == 200
    assert list(tmp_path.rglob("*")) == []


FIELDS = st.sampled_from(["Host: localhost", "Host: x", "Content-Length: 5", "Content-Length: x", "Origin: null", "A"])
REQUESTS = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda method, path, fields, body: (
            f"{method} {path} HTTP/1.1\r\n".encode("latin-1", "replace")
            + "\r\n".join(fields).encode()
            + b"\r\n\r\n"
            + body
        ),
        st.sampled_from(["GET", "POST", "PUT", "get", ""]),
        st.one_of(
            st.sampled_from(["/", "/predict", "/about", "//", "/predict?name=%", "http://["]), st.text(max_size=30)
        ),
        st.lists(FIELDS, max_size=4),
        st.binary(max_size=60),
    ),
)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(REQUESTS)
def test_any_bytes_get_an_answer_or_a_closed_door(server: Server, raw: bytes) -> None:
    received = send(server, raw, half=True)
    if received.startswith(b"HTTP/"):
        assert 200 <= answer_in(received).status < 500
    assert ask(server, "GET", "/about").status == 200


@st.composite
def damaged_photos(draw: st.DrawFn) -> bytes:
    """A photo some of whose bytes were changed, cut out or doubled."""
    data = bytearray(photo(draw(st.sampled_from([".png", ".jpg", ".bmp", ".webp"]))))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["change", "cut", "insert"]))
        if kind == "change" and data:
            data[place] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[place : place + draw(st.integers(1, 200))]
        else:
            data[place:place] = draw(st.binary(min_size=1, max_size=20))
    return bytes(data)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damaged_photos())
def test_any_damage_gets_hands_or_a_sentence(server: Server, data: bytes) -> None:
    answer = ask(server, "POST", "/predict", data)
    assert answer.status in (200, 422), answer
    if answer.status == 422:
        assert sentence(answer.body)


@pytest.mark.parametrize(
    ("header", "host", "own"),
    [
        ("localhost", "127.0.0.1", True),
        ("localhost:8000", "127.0.0.1", True),
        ("LOCALHOST:8000", "127.0.0.1", True),
        ("127.0.0.1:9", "127.0.0.1", True),
        ("[::1]:8000", "::1", True),
        ("192.168.0.7:8000", "0.0.0.0", True),
        ("lab-pc:8000", "lab-pc", True),
        ("lab-pc:8000", "127.0.0.1", False),
        ("evil.example", "127.0.0.1", False),
        ("127.0.0.1.evil.example", "127.0.0.1", False),
        ("localhost@evil.example", "127.0.0.1", False),
        ("evil.example/localhost", "127.0.0.1", False),
        ("localhost:port", "127.0.0.1", False),
        (" localhost", "127.0.0.1", False),
        ("[::1", "127.0.0.1", False),
        ("2130706433", "127.0.0.1", False),
    ],
)
def test_hosts_that_are_our_own(header: str, host: str, own: bool) -> None:
    assert is_own_host(header, host) is own


def test_what_only_this_machine_reaches() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.0.7", "lab-pc")] == [False] * 4
