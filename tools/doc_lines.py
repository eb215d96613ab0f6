"""Brings the line numbers of links into the code up to date in docs/papers.md.

    python tools/doc_lines.py

Such a link shows the name of what it leads to: [`RealNVP.log_prob`](../src/knuckle/methods/flow.py#L66). The name is a
function, a class, one of its methods or a constant of that file; only the number is changed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[1] / "docs" / "papers.md"
_LINK: Final = re.compile(r"\[`(?P<name>[\w.]+)`\]\((?P<file>[\w./]+\.py)#L\d+\)")


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(with_lines(PAGE.read_text(), PAGE.parent))


def with_lines(text: str, folder: Path) -> str:
    """A page with the lines of its links as the files have them.

    Args:
        text: Markdown.
        folder: where the links start from.

    Raises:
        ValueError: a file or a name is not there.
    """
    return _LINK.sub(lambda link: _link(link["name"], link["file"], folder), text)


def _link(name: str, file: str, folder: Path) -> str:
    lines = _definitions(folder / file)
    if name not in lines:
        raise ValueError(f"{file} defines no {name}: correct the link in the page.")
    return f"[`{name}`]({file}#L{lines[name]})"


@lru_cache(maxsize=64)
def _definitions(file: Path) -> dict[str, int]:
    if not file.is_file():
        raise ValueError(f"{file} is not there: correct the link in the page.")
    return dict(_names(ast.parse(file.read_text()).body, ""))


def _names(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, int]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield prefix + node.name, node.lineno
        if isinstance(node, ast.ClassDef):
            yield from _names(node.body, f"{prefix}{node.name}.")
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        yield from ((prefix + target.id, node.lineno) for target in targets if isinstance(target, ast.Name))


if __name__ == "__main__":
    main()
