"""Links from the papers' page into the code lead to the line that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.doc_lines import PAGE, with_lines


def test_the_links_of_the_page_are_up_to_date() -> None:
    text = PAGE.read_text()
    assert text.count(".py#L") > 30, "the page maps equations and figures to the code"
    assert with_lines(text, PAGE.parent) == text, "run python tools/doc_lines.py"


def test_lines_are_those_of_functions_classes_methods_and_constants(tmp_path: Path) -> None:
    lines = ("'Text.'", "", "LIMIT: int = 3", "plain = 4", "", "class A:", "    def b(self):", "        pass", "")
    (tmp_path / "code.py").write_text("\n".join([*lines, "@staticmethod", "def c():", "    pass", ""]))
    page = " ".join(f"[`{name}`](code.py#L99)" for name in ("LIMIT", "plain", "A", "A.b", "c"))
    found = [part.split("#L")[1].rstrip(")") for part in with_lines(page, tmp_path).split()]
    assert found == ["3", "4", "6", "7", "11"]


@pytest.mark.parametrize("link", ["[`gone`](code.py#L1)", "[`main`](missing.py#L1)"])
def test_a_link_to_nothing_is_an_error(tmp_path: Path, link: str) -> None:
    (tmp_path / "code.py").write_text("here = 1\n")
    with pytest.raises(ValueError, match="correct the link"):
        with_lines(link, tmp_path)


def test_other_links_stay(tmp_path: Path) -> None:
    page = "[`pck`](metrics.md) and [code](../src/a.py#L3)"
    assert with_lines(page, tmp_path) == page
