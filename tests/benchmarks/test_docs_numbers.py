"""The numbers of docs/papers.md and docs/sequential.md are those of the committed results, rounded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "benchmarks" / "results"
NOISE_ROWS = {
    "maximum likelihood": "sequential",
    "squared error of heatmaps": "sequential_heatmap",
    "L1 of the mean": "sequential_integral",
}
NETWORKS = {
    "ResNet-10-T, five stages": "resnet10t_T5_w64",
    "ResNet-10-T, one stage": "resnet10t_T1_w64",
    "ResNet-10-T, three stages": "resnet10t_T3_w64",
    "timm's `test_resnet` (0.4 M parameters), one stage": "test_resnet_T1_w64",
    "the same, heads twice as wide": "test_resnet_T1_w128",
    "RegNetY-200MF, one stage": "regnety_002_T1_w64",
    "MobileNetV3-Large, one stage": "mobilenetv3_large_100_T1_w64",
    "MobileNetV4-Conv-Small, one stage": "mobilenetv4_conv_small_T1_w64",
}
CHOICES = {
    "the defaults": "sequential",
    "`handover: likelihood`": "handover_likelihood",
    "`sigma_activation: softplus`": "sigma_softplus",
    "`sigma_activation: exp`": "sigma_exp",
    "`residual: laplace`": "residual_laplace",
    "`residual: gaussian`": "residual_gaussian",
    "`deconvolution_width: 32`, half of the others": "deconvolutions_half",
    "`variance_width: 128`, twice the others": "variance_head_double",
}
VERDICTS = {"holds here": "yes", "inconclusive": "open", "does not hold here": "no"}


def result(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / name).read_text())
    return content


def page(name: str) -> str:
    return (REPOSITORY / "docs" / name).read_text()


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the rows below the line of a table that begins with `heading`, without the rule."""
    lines = text.split(f"\n{heading}", 1)[1].splitlines()[2:]
    rows = lines[: next(place for place, line in enumerate([*lines, ""]) if not line.startswith("|"))]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def interval(value: Mapping[str, float], digits: int) -> str:
    return f"{value['estimate']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def three(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


@pytest.mark.parametrize(
    ("kind", "heading"),
    [
        ("gaussian", "| five stages, loss | no noise | 0.05 | 0.1 |"),
        ("swapped", "| five stages, loss | no noise | 0.2 | 0.4 |"),
    ],
)
def test_label_noise(kind: str, heading: str) -> None:
    noise = result("label_noise.json")
    curves = {row["name"]: row["points"] for row in noise["curves"] if row["kind"] == kind}
    slopes = {row["name"]: row["slope"] for row in noise["slopes"] if row["kind"] == kind}
    rows = table(page("papers.md"), heading)
    assert [row[0] for row in rows] == list(NOISE_ROWS)
    assert [point["rate"] for point in curves["sequential"][1:]] == [
        float(rate) for rate in re.findall(r"0\.\d+", heading)
    ]
    for row in rows:
        name = NOISE_ROWS[row[0]]
        assert row[1:] == [*(interval(point, 4) for point in curves[name]), interval(slopes[name], 3)]


def test_what_is_said_below_the_tables_of_label_noise() -> None:
    noise = result("label_noise.json")
    (row,) = (row for row in noise["contrasts"] if (row["kind"], row["name"]) == ("swapped", "sequential_heatmap"))
    steeper = {"estimate": -row["steeper"]["estimate"], "low": -row["steeper"]["high"], "high": -row["steeper"]["low"]}
    text = " ".join(page("papers.md").split())
    assert f"it is the largest, by {interval(steeper, 3)} against heatmaps" in text
    assert {verdict["verdict"] for verdict in noise["verdicts"]} == {"inconclusive"}
    assert "degrades more slowly is **inconclusive** here" in text


def test_the_claims_of_the_experiments() -> None:
    methods = result("methods/methods.json")
    nme = {name: network["nme"]["estimate"] for name, network in methods["networks"].items()}
    losses, rivals, stages, decoders = table(page("papers.md"), "| claim | verdict | what was measured |")
    assert [row[1] for row in (losses, rivals, stages)] == [claim["verdict"] for claim in methods["claims"]]
    ours, heatmap, integral = (
        f"{nme[name]:.3f}" for name in ("sequential", "sequential_heatmap", "sequential_integral")
    )
    assert losses[2].startswith(f"NME {ours} against {heatmap} (heatmap) and {integral} (integral)")
    assert rivals[2] == f"{ours} against {three([nme[name] for name in ('heatmap', 'integral', 'rle', 'cpm')])}"
    chain = [nme[f"sequential{suffix}"] for suffix in ("_1", "_3", "", "_7")]
    assert stages[2].endswith(f"own networks of 1, 3, 5, 7 stages: {three(chain)}")
    difference = methods["decoders"]["difference"]
    over = [f"{interval(difference[chance], 4)} over {chance}" for chance in ("hands", "seeds")]
    assert decoders[2] == ", ".join(over)


def test_the_verdict_on_losses_is_on_other_joints_than_the_numbers_beside_it() -> None:
    compared = result("methods/methods.json")["comparisons"]
    assert len(compared["sequential_heatmap"]["joints"]) == len(compared["sequential_integral"]["joints"]) == 11
    assert table(page("papers.md"), "| claim | verdict |")[0][2].endswith(
        "over all 21 joints; the verdict is on the 11 of Fig. 5"
    )


def test_what_the_sequential_model_may_lose() -> None:
    small = {row["name"]: row for row in result("small.json")["networks"]}
    rows = table(page("sequential.md"), "| network | multiply-adds | NME |")
    assert [row[0] for row in rows] == list(NETWORKS)
    full, *others = rows
    whole = small[NETWORKS[full[0]]]
    assert full[1:3] == [f"{whole['multiply_adds'] / 1e6:.1f} M", f"{whole['nme']['estimate']:.4f}"]
    for name, share, nme, difference, as_good in others:
        row = small[NETWORKS[name]]
        hands, seeds = row["difference"]["hands"], row["difference"]["seeds"]
        assert (share, nme) == (f"{100 * row['share']:.0f} %", f"{row['nme']['estimate']:.4f}")
        assert difference == f"{interval(hands, 4)} [{seeds['low']:.4f}, {seeds['high']:.4f}]"
        assert as_good == VERDICTS[row["verdict"]]


def test_what_the_open_choices_are_worth() -> None:
    choices = result("choices.json")
    networks = {row["name"]: row for row in choices["networks"]}
    rows = table(page("papers.md"), "| one choice | NME |")
    assert [row[0].removesuffix(" *") for row in rows] == list(CHOICES)
    for name, nme, over_hands, over_seeds, verdict in rows:
        network = networks[CHOICES[name.removesuffix(" *")]]
        assert name.endswith(" *") == (not network["learnt"])
        assert nme == interval(network["nme"], 4)
        if network["difference"] is None:
            assert (over_hands, over_seeds, verdict) == ("", "", "")
            continue
        hands, seeds = network["difference"]["hands"], network["difference"]["seeds"]
        assert over_hands == f"{hands['estimate']:+.4f} [{hands['low']:+.4f}, {hands['high']:+.4f}]"
        assert over_seeds == f"[{seeds['low']:+.4f}, {seeds['high']:+.4f}]"
        assert verdict == network["verdict"]
