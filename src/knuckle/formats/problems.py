"""What readers share: collecting bad records, and JSON files whose errors name file and line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

OnBad = Literal["stop", "skip"]


@dataclass
class Problems:
    """Bad records met while reading: the first one stops the reading, unless they are to be skipped.

    Attributes:
        on_bad: "stop" raises on the first problem, "skip" collects it and reading goes on.
        messages: one sentence a skipped record: what is wrong, where, and what to do.
        notes: one sentence for each thing that is right, but has no place in `Hands`.
    """

    on_bad: OnBad = "stop"
    messages: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, message: str) -> None:
        """Take note of a bad record that the reader leaves out.

        Raises:
            ValueError: with this message, where `on_bad` is "stop".
        """
        if self.on_bad == "stop":
            raise ValueError(message)
        self.messages.append(message)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: the file is missing, not text, or broken; names the file, line and column.
    """
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}:{error.colno} is not valid JSON ({error.msg}).") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8, so it cannot be JSON.") from error
    except ValueError as error:  # a whole number of thousands of digits
        raise ValueError(f"{path} holds a value that cannot be read ({error}).") from error
    except RecursionError as error:
        raise ValueError(f"{path} nests JSON too deeply to be read.") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error
