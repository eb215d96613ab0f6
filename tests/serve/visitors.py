"""A running server for tests, and a visitor that sends it whatever bytes a test wants."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import cv2

from knuckle.predict import Predictor
from knuckle.serve.answer import Boxes
from knuckle.serve.door import Limits, Server
from tests.label.worlds import glow
from tests.predict.centroid import light_at


class Answer(NamedTuple):
    """What came back: the status, the headers in lower case, the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextmanager
def running(
    predictor: Predictor | None = None, boxes: Boxes = "full", limits: Limits | None = None
) -> Iterator[Server]:
    """A server on a free port of this computer."""
    server = Server(predictor or glow(), "glow", boxes, limits=limits)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def send(server: Server, raw: bytes, *, half: bool = False, timeout: float = 20.0) -> bytes:
    """What the server says to these bytes; `half` closes the sending side after them."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=timeout) as connection:
        received = b""
        try:
            connection.sendall(raw)
            if half:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused early; the answer is there all the same
        while part := connection.recv(65536):
            received += part
        return received


def ask(server: Server, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """A well-formed request, but for the headers given; `Host_` stands for Host."""
    fields = {"Host": f"localhost:{server.server_port}"} | {
        k.rstrip("_").replace("_", "-"): v for k, v in headers.items()
    }
    if body is not None:
        fields.setdefault("Content-Length", str(len(body)))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return answer_in(send(server, "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""), half=True))


def answer_in(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)


def photo(suffix: str = ".png") -> bytes:
    """A photo of a light at (80, 60), 160 x 120 pixels."""
    image = light_at((80, 60), (160, 120), spread=8.0)
    return cv2.imencode(suffix, image[..., ::-1])[1].tobytes()
