"""Do stated regions hold what they state: on rendered hands, where theory says so, and on photos, where nothing does?

    python -m benchmarks.calibration --model M --work WORK --out benchmarks/results/calibration.json --data DATA

M is a trained model; nothing is trained here. `SceneConfig()` hands that no training seed gives are rendered once into
WORK. Half of them fit the calibration, the other half measures it: the conformal 90 % regions are to hold 88 to 92 % of
the true keypoints, overall and in each finger (the wrist belongs to none and is printed beside). The calibrated model
is left in WORK. DATA holds `pinch_mit` (three places of it, 13 joints a hand) and `photos` (16 joints, 6 videos); there
the same is measured and reported as it is. Intervals are 95 %, by the cluster bootstrap over hands (rendered), places
or videos.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.data_loading import machine
from benchmarks.real import real_hands
from knuckle.evaluate.calibration import AT_LEAST, Measured, calibrate, check, save_calibrated
from knuckle.formats import read
from knuckle.metrics import Calibration
from knuckle.metrics.calibration import Coverage
from knuckle.predict import load
from knuckle.predict.load import read_model, weights_file
from knuckle.render.folder import render_folder

SEED = 91_000
HANDS = 4_400
SIZE = 96

LEVEL = 0.9
BAR = (0.88, 0.92)


def main() -> None:
    """Render, calibrate, measure, write, and print what was asked against what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="a shipped name, a run folder or a model file")
    parser.add_argument("--work", type=Path, required=True, help="folder for hands and the calibrated model")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--data", type=Path, help="folder with pinch_mit and photos")
    parser.add_argument("--hands", type=int, default=HANDS, help="rendered hands, for both halves")
    parser.add_argument("--size", type=int, default=SIZE, help="side of their pictures, pixels")
    parser.add_argument("--flip-test", action="store_true", help="average over each crop and its mirror image")
    parser.add_argument("--device", help="of the network and the renderer; a GPU where there is one")
    options = parser.parse_args()
    began = time.perf_counter()
    render_folder(options.work / "hands", options.hands, SEED, options.size, device=options.device)
    rendered = time.perf_counter() - began
    weights = weights_file(options.model)
    predictor = load(options.model, flip_test=options.flip_test, device=options.device)
    calibration, measured = calibrate(
        predictor, read(options.work / "hands" / "annotations.json"), at_least=min(AT_LEAST, options.hands // 2)
    )
    save_calibrated(weights, calibration, options.work / "calibrated.safetensors")
    sets = {"rendered, the other half": measured}
    for name, hands in (real_hands(options.data) if options.data else {}).items():
        sets[name] = check(predictor, hands, calibration)
    result = {
        "command": "python -m benchmarks.calibration --model M --work WORK --out OUT --data DATA",
        "machine": machine(),
        "model": asdict(read_model(weights).spec),
        "settings": {"hands": options.hands, "size": options.size, "seed": SEED, "flip_test": options.flip_test},
        "seconds": {"render": rendered, "all": time.perf_counter() - began},
        "calibration": calibration.to_dict(),
        "bar": {"level": LEVEL, "from": BAR[0], "to": BAR[1], "met": bar_is_met(measured)},
        "sets": {name: compact(one) for name, one in sets.items()},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    for line in lines(calibration, sets):
        print(line)


def at_bar(measured: Measured) -> list[Coverage]:
    """The conformal regions of the bar's level, of all joints and each finger."""
    return [row for row in measured.after.conformal if row.level == LEVEL and row.kind != "joint" and row.keypoints]


def bar_is_met(measured: Measured) -> bool:
    """Whether all joints and each finger hold as much as is asked."""
    return all(BAR[0] <= row.share.estimate <= BAR[1] for row in at_bar(measured) if row.part != "wrist")


def compact(measured: Measured) -> dict[str, Any]:
    """The numbers without single joints, but for those of the conformal regions of the bar's level."""
    plain = measured.to_dict()
    joints = {
        row.part: row.share.estimate for row in measured.after.conformal if (row.kind, row.level) == ("joint", LEVEL)
    }
    for own in (plain, plain["before"], plain["after"]):
        for name in ("density", "gaussian", "conformal", "sharpness"):
            if own is not None and name in own:
                own[name] = [row for row in own[name] if row["kind"] != "joint"]
    return plain | {"joints": {name: None if math.isnan(share) else share for name, share in joints.items()}}


def lines(calibration: Calibration, sets: dict[str, Measured]) -> Iterator[str]:
    """The result as text."""
    yield f"fitted on {calibration.hands:,} hands; uncertainty from {calibration.source}"
    for name, measured in sets.items():
        asked = name == next(iter(sets))
        yield f"{name}: {measured.hands:,} hands in {measured.groups:,} groups"
        before = (
            {(row.part, row.level): row.share.estimate for row in measured.before.gaussian} if measured.before else {}
        )
        own = {(row.part, row.level): row.share.estimate for row in measured.density}
        for row in at_bar(measured):
            key = (row.part, row.level)
            met = BAR[0] <= row.share.estimate <= BAR[1]
            verdict = f"  {'met' if met else 'MISSED'}" if asked and row.part != "wrist" else ""
            yield (
                f"  {row.part:10} {LEVEL:.0%} regions hold {_percent(row.share.estimate)} "
                f"[{_percent(row.share.low)}, {_percent(row.share.high)}]{verdict}"
                + (f"  before {_percent(before[key])}" if key in before else "")
                + (f"  own density {_percent(own[key])}" if key in own else "")
            )
        error = measured.after.expected_calibration_error
        curve = measured.after.risk_coverage
        if error is not None and curve is not None:
            radius = measured.after.sharpness[0].radius
            yield f"  calibration error {error:.4f}, radius of the {LEVEL:.0%} region {radius:.4f} box sides"
            order = f"random {curve.area_random:.4f}, best {curve.area_oracle:.4f}"
            yield f"  area of risk-coverage {curve.area:.4f} ({order})"
    yield f"bar of {BAR[0]:.0%} to {BAR[1]:.0%}: {'met' if bar_is_met(next(iter(sets.values()))) else 'MISSED'}"


def _percent(share: float) -> str:
    return "too few groups" if math.isnan(share) else f"{100 * share:.1f} %"


if __name__ == "__main__":
    main()
