"""The paper's figures: each bar is the frame's number, and all pictures are there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from knuckle.hands import Hands
from knuckle.study.figures import PANELS, Panel, draw_panel, title_of, write_figures
from knuckle.study.hypotheses import H2, h2_frame
from tests.study.labels import labeled_hands


def frame() -> tuple[H2, Hands, Hands]:
    """Three classes, of which the last has no own hand; own hands are further off than base hands."""
    base = labeled_hands([f"b{n}.png" for n in range(6)], [0, 0, 6, 6, 9, 9])
    own = labeled_hands([f"o{n}.png" for n in range(3)], [0, 6, 6], seed=1)
    base_pred, own_pred = base.replace(xy=base.xy + 3), own.replace(xy=own.xy + 20)
    found = h2_frame(base_pred, base, own_pred, own, classes=[0, 6, 9])
    return found, Hands.concat([base_pred, own_pred]), Hands.concat([base, own])


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.file_name)
def test_each_bar_is_the_frame_s_number(panel: Panel) -> None:
    h2, _, _ = frame()
    (axes,) = draw_panel(h2, panel).axes
    heights = [patch.get_height() for patch in axes.patches]  # type: ignore[attr-defined]  # bars are rectangles
    records = [row.record() for row in h2.rows]
    column = {"base": "base", "both": "base_own", "difference": "difference"}[panel.part]
    assert heights == pytest.approx(np.nan_to_num([record[f"{panel.metric}_{column}"] for record in records]))
    assert [text.get_text() for text in axes.texts] == (["none"] if panel.part == "difference" else [])
    assert [label.get_text().split("\n")[0] for label in axes.get_xticklabels()] == ["0", "6", "9"]
    assert axes.get_title(loc="left") == title_of(h2, panel)
    assert f"Figure {panel.number}: {panel.metric.upper()}" in title_of(h2, panel)


def test_a_class_without_a_number_is_marked_and_the_title_counts_hands() -> None:
    h2, _, _ = frame()
    empty = labeled_hands([])
    none = h2_frame(empty, empty, empty, empty, classes=[0, 6])
    (axes,) = draw_panel(none, PANELS[0]).axes
    assert [text.get_text() for text in axes.texts] == ["none", "none"]
    assert "base + own (2 + 0 to 2 hands a class)" in title_of(h2, PANELS[1])
    assert "0.05" in title_of(h2, PANELS[2])


def test_every_picture_is_written(tmp_path: Path) -> None:
    h2, pred, true = frame()
    for name in true.image:
        cv2.imwrite(str(tmp_path / name), np.full((224, 224, 3), 90, dtype=np.uint8))
    out = tmp_path / "out"
    assert write_figures(h2, pred.replace(root=tmp_path), true.replace(root=tmp_path), out) == []
    for number in range(4, 11):
        assert cv2.imread(str(out / f"figure_{number}.png")) is not None
    assert len(list(out.iterdir())) == 7
