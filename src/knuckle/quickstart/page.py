"""The quickstart's page: one self-contained HTML file of numbers and pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from knuckle.evaluate import Report


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Attributes:
        title: of the page.
        summary: what came out, in plain sentences.
        report: the numbers.
        pictures: captions, each with its PNG file; files that do not exist are left out.
    """

    title: str
    summary: str
    report: Report
    pictures: Sequence[tuple[str, Path]]


TEMPLATE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ page.title }}</title>
<style>
  :root { color-scheme: light dark; }
  body { font: 17px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
  .summary { font-size: 1.2rem; }
  .numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .8rem; padding: 0; }
  .numbers li { list-style: none; border: 1px solid #8886; border-radius: .6rem; padding: .7rem 1rem; }
  .numbers b { display: block; font-size: 1.7rem; }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
  th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #8884; }
  th:first-child, td:first-child { text-align: left; }
  td.bar { width: 35%; }
  td.bar div { background: #009e73; height: .7rem; border-radius: .2rem; }
  figure { margin: 2rem 0; }
  img { max-width: 100%; border-radius: .4rem; }
  figcaption { opacity: .75; }
  .scroll { overflow-x: auto; }
</style>
<h1>{{ page.title }}</h1>
<p class="summary">{{ page.summary }}</p>
<ul class="numbers">
  {% for name, value, meaning in numbers %}
  <li>{{ name }}<b>{{ value }}</b>{{ meaning }}</li>
  {% endfor %}
</ul>
{% for caption, data in pictures[:1] %}
<figure><img alt="{{ caption }}" src="{{ data }}"><figcaption>{{ caption }}</figcaption></figure>
{% endfor %}
<h2>Which gestures are hard?</h2>
<div class="scroll">
<table>
  <tr><th>gesture<th>hands<th>NME<th>PCK@0.2<th></tr>
  {% for row in gestures %}
  <tr><td>{{ row.name }}<td>{{ row.hands }}<td>{{ "%.3f" | format(row.nme_found) }}<td>{{ "%.3f" | format(row.pck) }}
      <td class="bar"><div style="width: {{ (100 * row.pck) | round(1) }}%"></div></tr>
  {% endfor %}
</table>
</div>
{% for caption, data in pictures[1:] %}
<figure><img alt="{{ caption }}" src="{{ data }}"><figcaption>{{ caption }}</figcaption></figure>
{% endfor %}
<h2>What the numbers mean</h2>
<p>NME: distance between predicted and true keypoint over the longer side of the hand's box, averaged over all
keypoints. PCK@0.2: share of keypoints closer than 0.2 of that side, averaged over the 21 joints. EPE: distance in
pixels of the picture. AUC (MMPose): mean share of keypoints closer than 0, 1.5, ... 28.5 pixels; a perfect model
has 0.95.</p>
</html>
"""


def write_page(page: Page, path: Path) -> Path:
    """Write the page, all pictures inside it.

    Raises:
        ValueError: it cannot be written.
    """
    from jinja2 import Environment

    report = page.report
    numbers = [
        ("PCK@0.2", f"{report.pck_box_20:.3f}", "of keypoints within a fifth of the hand's size"),
        ("NME", f"{report.nme:.4f}", "mean error over the hand's size"),
        ("EPE", f"{report.epe:.2f} px", "mean error in pixels"),
        ("AUC (MMPose)", f"{report.auc_mmpose:.3f}", "at most 0.95"),
    ]
    html = (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(TEMPLATE)
        .render(
            page=page,
            numbers=numbers,
            gestures=sorted(report.breakdown.gestures, key=lambda row: row.pck),
            pictures=[(caption, data_url(file)) for caption, file in page.pictures if file.is_file()],
        )
    )
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror or error}).") from error
    return path


def data_url(png: Path) -> str:
    """The picture as text that stands in place of an address."""
    return f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}"
