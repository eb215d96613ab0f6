"""Stopping on request: Ctrl-C and SIGTERM let the step in progress end, so that everything can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


class Interrupted(Exception):  # noqa: N818  # nothing went wrong
    """The run was asked to stop, and did, with everything saved; the message says how to go on."""


@dataclass
class StopRequest:
    """Whether somebody asked this process to stop.

    Attributes:
        received: set by the first signal.
    """

    received: bool = False


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Take note of SIGINT and SIGTERM instead of dying from them; a second one acts as ever.

    In a thread other than the main one, where Python allows no handlers, nothing is changed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def take_note(number: int, frame: FrameType | None) -> None:
        request.received = True
        restore()

    for number in before:
        signal.signal(number, take_note)
    try:
        yield request
    finally:
        restore()
