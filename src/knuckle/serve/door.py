"""The HTTP door of the page: what it lets in, how much of it and for how long, and what every answer carries.

Connections carry one request each. A request is refused with a sentence in JSON: a foreign host or origin (403, so
that no other site's page can ask through this browser), an unknown path or method (404, 405), a body without a
length (411), one that is too large (413), ends early (400) or takes too long (408), bytes that are no usable image
(422), and more work than this machine should take on at once (503). Nothing that comes in is kept.
"""

from __future__ import annotations

import io
import ipaddress
import json
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import PurePosixPath
from threading import BoundedSemaphore
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from knuckle.predict import Predictor
from knuckle.serve.answer import Boxes, about, find_hands

PAGE_FILES: Final[Mapping[str, tuple[str, str]]] = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/drawing.js": ("drawing.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
LONGEST_NAME: Final = 200
LINGER: Final = 1.0
"""Seconds for which the rest of a refused request is taken and thrown away."""


@dataclass(frozen=True)
class Limits:
    """How much the door lets in.

    Attributes:
        most_bytes: of a photo.
        seconds: in which a request must have come in whole.
        connections: at a time; further ones are turned away.
        predictions: that run at a time; further ones wait.
        patience: seconds that a prediction waits for its turn.
    """

    most_bytes: int = 25_000_000
    seconds: float = 20.0
    connections: int = 16
    predictions: int = 2
    patience: float = 20.0


class RefusedError(Exception):
    """A request that is not served: the status and one sentence."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Server(ThreadingHTTPServer):
    """Serves the page and answers it. It can be used from a thread: `serve_forever`, then `shutdown`.

    Args:
        predictor: the model.
        model: its name, for the page.
        boxes: where it looks; see `answer.find_hands`.
        host: the address to listen on.
        port: the port; 0 takes a free one, which `server_port` then says.
        limits: how much is let in.

    Raises:
        OSError: the address or port cannot be had.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        predictor: Predictor,
        model: str,
        boxes: Boxes = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
    ) -> None:
        self.predictor, self.model, self.boxes, self.host = predictor, model, boxes, host
        self.limits = limits or Limits()
        self.about = about(model, boxes, self.limits.most_bytes)
        self.open_connections = BoundedSemaphore(self.limits.connections)
        self.running_predictions = BoundedSemaphore(self.limits.predictions)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Door)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand a connection to a thread of its own, or close it where too many are open."""
        if not self.open_connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.open_connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error; anything else is said in one line."""
        error = sys.exception()
        if not isinstance(error, OSError):
            print(f"A request failed: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201


class _Deadline(io.RawIOBase):
    """What a socket receives until a moment; TimeoutError after it, however slowly bytes drip in."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._end = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class Door(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    server_version = "knuckle"
    sys_version = ""
    protocol_version = "HTTP/1.0"  # one request a connection

    def setup(self) -> None:
        """Read from the connection under a deadline."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Deadline(self.connection, self.server.limits.seconds))

    def do_GET(self) -> None:
        """The page's files, and what it needs to know."""
        self._serve(self._get)

    def do_POST(self) -> None:
        """A photo, to find its hands."""
        self._serve(self._post)

    def _serve(self, handle: Callable[[str, str], tuple[HTTPStatus, str, bytes]]) -> None:
        try:
            self._check_sender()
            # Cut by hand: what is no address at all must not be an error of a parser, just an unknown path.
            path, _, query = self.path.partition("?")
            status, kind, body = handle(path, query)
        except RefusedError as refusal:
            status, kind, body = refusal.status, _JSON, _as_bytes({"error": str(refusal)})
        except TimeoutError:  # before OSError, whose kind it is
            sentence = f"the request took longer than {self.server.limits.seconds:g} s to arrive; try again."
            status, kind, body = HTTPStatus.REQUEST_TIMEOUT, _JSON, _as_bytes({"error": sentence})
        except OSError:
            raise  # the client is gone
        except Exception as error:
            print(f"A request failed: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
            sentence = "something went wrong here; the terminal that runs knuckle serve says what."
            status, kind, body = HTTPStatus.INTERNAL_SERVER_ERROR, _JSON, _as_bytes({"error": sentence})
        self._answer(status, kind, body)
        if status != HTTPStatus.OK:
            self._let_the_rest_pass()

    def _let_the_rest_pass(self) -> None:
        """Take what is still on its way for a moment: closing on unread bytes would cut off the answer."""
        self.wfile.flush()
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            rest = _Deadline(self.connection, LINGER)
            waste = bytearray(65536)
            while rest.readinto(waste):
                pass

    def _get(self, path: str, _: str) -> tuple[HTTPStatus, str, bytes]:
        if path == "/about":
            return HTTPStatus.OK, _JSON, _as_bytes(self.server.about)
        if path == "/predict":
            raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "/predict takes a photo by POST.")
        if path not in PAGE_FILES:
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is no such page here; open /.")
        name, kind = PAGE_FILES[path]
        return HTTPStatus.OK, kind, resources.files("knuckle.serve").joinpath("page", name).read_bytes()

    def _post(self, path: str, query: str) -> tuple[HTTPStatus, str, bytes]:
        if path != "/predict":
            raise RefusedError(HTTPStatus.NOT_FOUND, "photos are taken at /predict.")
        name, files, first = _wishes(query)
        data = self._body()
        waiting = self.server.running_predictions
        if not waiting.acquire(timeout=self.server.limits.patience):
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "too many photos at once; try again.")
        try:
            at = self.server
            found = find_hands(at.predictor, data, name, at.boxes, files=files, first=first, model=at.model)
        except ValueError as error:
            raise RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
        finally:
            waiting.release()
        return HTTPStatus.OK, _JSON, _as_bytes(found)

    def _check_sender(self) -> None:
        host = self.headers.get("Host", "")
        if not is_own_host(host, self.server.host):
            raise RefusedError(HTTPStatus.FORBIDDEN, "this page answers under its own address only, such as localhost.")
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            raise RefusedError(HTTPStatus.FORBIDDEN, "pages of other sites may not ask here.")

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not length:
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "send the photo's bytes with a Content-Length.")
        if not (length.isascii() and length.isdecimal()):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the Content-Length is no number of bytes.")
        most = self.server.limits.most_bytes
        if len(length) > len(str(most)) or int(length) > most:
            sentence = f"the photo is larger than {most / 1e6:g} MB; save a smaller copy."
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"only {len(data)} of {int(length)} bytes of the photo arrived.")
        return data

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.connection.settimeout(self.server.limits.seconds)
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses (no HTTP, an unknown method, endless headers), as every other refusal."""
        # Methods that it does not know are 501 there; this door knows which there are.
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        sentence = f"the request cannot be understood ({status.phrase.lower()})."
        self.requestline, self.request_version = getattr(self, "requestline", ""), "HTTP/1.0"
        self._answer(status, _JSON, _as_bytes({"error": sentence}))
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: who looked at which photo is nobody's business."""


_JSON: Final = "application/json"


def _as_bytes(content: Any) -> bytes:
    return json.dumps(content, allow_nan=False).encode()


def _wishes(query: str) -> tuple[str, bool, int]:
    """The photo's name, whether files are wanted, and the number of its first hand.

    Raises:
        RefusedError: a field is not what it should be.
    """
    try:
        fields = {name: values[-1] for name, values in parse_qs(query, max_num_fields=8, errors="strict").items()}
    except ValueError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the address has fields that cannot be read.") from error
    # Only the last part: the name goes into files, where it must not lead to other folders.
    name = PurePosixPath(fields.get("name", "photo").replace("\\", "/")).name or "photo"
    if name == ".." or len(name) > LONGEST_NAME or not name.isprintable():
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"name must be a file name of at most {LONGEST_NAME} letters.")
    first = fields.get("first", "0")
    if not (first.isascii() and first.isdecimal() and len(first) < 10):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "first must be the number of a hand, from 0 on.")
    return name, fields.get("files") == "1", int(first)


def is_own_host(header: str, host: str) -> bool:
    """Whether a Host header names this server: localhost, the name it was given, or any address in numbers.

    A page of another site that has its own name lead here (DNS rebinding) sends that name; a number cannot be
    made to lead elsewhere.
    """
    try:
        name = urlsplit(f"//{header}").hostname
        _ = urlsplit(f"//{header}").port
    except ValueError:
        return False
    if name is None or header != header.strip() or any(sign in header for sign in "/?#@\\"):
        return False
    if name in ("localhost", host.lower()):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
