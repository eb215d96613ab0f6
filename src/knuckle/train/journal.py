"""What a run tells: one JSON line an event in metrics.jsonl, and progress on the terminal or in a log."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from torch.utils.tensorboard import SummaryWriter

SECONDS_BETWEEN_LINES: Final = 30.0
"""How often the steps of an epoch write a line where there is no terminal to draw a bar on."""


class Journal:
    """The one voice of a run; a context manager. In a team only the leader has one that writes.

    Args:
        path: metrics.jsonl.
        keep_bytes: what follows in an existing file belongs to steps that were lost, and is cut off.
        writes: False makes a journal that does nothing.
        tensorboard: also write the numbers for TensorBoard, into this folder.
    """

    def __init__(
        self, path: Path, *, keep_bytes: int = 0, writes: bool = True, tensorboard: Path | None = None
    ) -> None:
        self._file = None
        self._board: SummaryWriter | None = None
        self._bar: tuple[Progress, TaskID] | None = None
        self._last_line = time.monotonic()
        if not writes:
            return
        self._file = path.open("ab")
        self._file.truncate(keep_bytes)
        if tensorboard is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(tensorboard))

    def write(self, event: str, *, step: int, **values: Any) -> None:
        """Append one event; numbers that JSON does not know (NaN, infinity) become null."""
        if self._file is None:
            return
        line = {"event": event, "step": step, **values}
        self._file.write(json.dumps({name: _plain(value) for name, value in line.items()}).encode() + b"\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{event}/{name}", value, step)

    def bytes_written(self) -> int:
        """The length of metrics.jsonl, on the disk for good."""
        if self._file is None:
            return 0
        os.fsync(self._file.fileno())
        return self._file.tell()

    def say(self, sentence: str) -> None:
        """One line to stderr, above the progress bar where there is one."""
        if self._file is None:
            return
        if self._bar is not None:
            self._bar[0].console.print(sentence, highlight=False, markup=False)
        else:
            print(sentence, file=sys.stderr, flush=True)  # noqa: T201

    def progress(self, done: int, total: int, text: str) -> None:
        """Move the bar of the run, or write a line if the last one is long ago."""
        if self._file is None:
            return
        if sys.stderr.isatty():
            bar, task = self._bar or self._start_bar(total)
            bar.update(task, completed=done, description=text)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.say(f"step {done:,} of {total:,}: {text}")

    def _start_bar(self, total: int) -> tuple[Progress, TaskID]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar = (bar, bar.add_task("", total=total))
        bar.start()
        return self._bar

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar[0].stop()
        if self._board is not None:
            self._board.close()
        if self._file is not None:
            self._file.close()


def read_journal(path: Path, event: str) -> list[dict[str, Any]]:
    """The events of one kind, in order."""
    with path.open(encoding="utf-8") as lines:
        events = (json.loads(line) for line in lines)
        return [entry for entry in events if entry["event"] == event]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
