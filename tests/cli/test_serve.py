"""`knuckle serve`: where it listens, what it warns of, and how it ends."""

from __future__ import annotations

import socket

import pytest

from knuckle.cli import main
from knuckle.serve.door import Server
from tests.label.worlds import glow


@pytest.fixture(autouse=True)
def _ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is made, listens, and gets Ctrl-C."""

    def interrupted(self: Server, poll_interval: float) -> None:
        with socket.create_connection(("127.0.0.1", self.server_port), timeout=5):
            raise KeyboardInterrupt

    monkeypatch.setattr("knuckle.predict.load", lambda name, **_: glow())
    monkeypatch.setattr(Server, "serve_forever", interrupted)


def test_this_computer_alone_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "0", "--no-browser"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("Open http://localhost:")
    assert said.rstrip().endswith("Stopped.")
    assert "Warning" not in said
    assert main(["serve", "--port", "0", "--no-browser", "--host", "0.0.0.0"]) == 0
    assert "Warning: everybody who can reach 0.0.0.0 can use this page" in capsys.readouterr().err


def test_the_page_opens_in_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("threading.Timer.start", lambda self: self.function(*self.args))
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert main(["serve", "--port", "0"]) == 0
    assert len(opened) == 1
    assert opened[0].startswith("http://localhost:")


def test_a_port_that_is_taken_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1]), "--no-browser"]) == 2
    assert "choose another with --port" in capsys.readouterr().err
    assert main(["serve", "--host", "no such host", "--no-browser"]) == 2
    assert "nothing can listen on no such host" in capsys.readouterr().err
