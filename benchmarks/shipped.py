"""How good is a model on hands that it never saw, rendered and real, and how far is it from MediaPipe Hands?

    python -m benchmarks.shipped --model light --data DATA --work WORK --out benchmarks/results/shipped_light.json
    python -m benchmarks.shipped --model RUN --data DATA --work WORK --out OUT.json --peer     # with mediapipe 0.10.21

Rendered hands are those of `SceneConfig()` from a sequence that no training uses. DATA holds `pinch_mit`
(three places of it, 13 joints a hand) and `photos` (16 joints, 6 videos); a place or video is a group, too few of them
for intervals, so each one's own mean is given. All are measured with exact boxes, and with boxes as other detectors may
give them: the centre moved by 5 % and the side changed by 10 % of the side (standard deviations). Photos are also
measured without boxes ("found"), as `knuckle predict` sees them: the hand found that overlaps a labelled box most,
by at least `SAME_HAND`, is compared with it, and without one the hand is missing, which PCK counts as wrong and the
NME leaves out.

`--peer` runs MediaPipe Hands (full model, one image at a time) on the same photos in the same process: each hand as a
crop of twice the box around its labels, and of the hands found there the one nearest to the crop's centre. Its time is
that of detector and landmarks, ours that of cutting the crop and the network with the box given, so they answer
different questions; both are medians over single hands.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, UInt8

import knuckle
from benchmarks.data_loading import machine
from benchmarks.real import real_hands
from knuckle.data.images import read_image
from knuckle.evaluate.compare import predictions_of_predictor
from knuckle.evaluate.report import evaluate, finite
from knuckle.formats import read
from knuckle.hands import UNKNOWN, UNLABELED, VISIBLE, Hands, keypoint_extent
from knuckle.metrics.errors import relative_distances
from knuckle.predict import Predictor
from knuckle.predict.track import assign, overlap
from knuckle.render.folder import render_folder
from knuckle.skeleton import GESTURES

SEED: Final = 93_000
SIZE: Final = 160
MOVED, SCALED = 0.05, 0.1
SAME_HAND: Final = 0.3
"""Overlap (intersection over union) of a labelled box and the extent of the keypoints found, which is smaller."""
FEW_GROUPS: Final = 20
_TURNED: Final = np.r_[0, 17:21, 13:17, 9:13, 5:9, 1:5]
TIMED: Final = 60
"""Hands whose prediction is timed one by one."""


def main() -> None:
    """Measure, write, and print the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="what knuckle.load takes")
    parser.add_argument("--data", type=Path, help="folder with pinch_mit and photos")
    parser.add_argument("--work", type=Path, required=True, help="folder for the rendered hands")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--hands", type=int, default=2000, help="rendered hands")
    parser.add_argument("--flip-test", action="store_true", help="average over each crop and its mirror image")
    parser.add_argument("--peer", action="store_true", help="also MediaPipe Hands on the photos")
    options = parser.parse_args()
    render_folder(options.work / "shipped", options.hands, SEED, SIZE)
    sets = {"rendered": read(options.work / "shipped" / "annotations.json")}
    if options.data is not None:
        sets |= real_hands(options.data)
    predictor = knuckle.load(options.model, flip_test=options.flip_test, device="cpu")
    rows = [row for name, true in sets.items() for row in measured(predictor, name, true)]
    if options.peer:
        rows.append(peer_row(sets["photos"]))
    result = {
        "command": "python -m benchmarks.shipped --model M --data DATA --work WORK --out OUT",
        "machine": machine(),
        "model": Path(options.model).name,
        "flip_test": options.flip_test,
        "boxes": {"moved": MOVED, "scaled": SCALED},
        "rows": finite(rows),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    for line in table(rows):
        sys.stdout.write(line + "\n")


def measured(predictor: Predictor, name: str, true: Hands) -> Iterator[dict[str, Any]]:
    """One row with exact boxes, one with disturbed ones, and of photos one without any."""
    for boxes, given in (("exact", true.box), ("disturbed", disturbed(true.box))):
        found = predictions_of_predictor(predictor, true, name, boxes=given)
        row = numbers(found.pred.replace(box=found.true.box), found.true)
        yield {"model": "ours", "set": name, "boxes": boxes, **row}
    if name != "rendered":
        yield {"model": "ours", "set": name, "boxes": "found", **numbers(without_boxes(predictor, true), true)}
    yield {"model": "ours", "set": name, "boxes": "exact", "milliseconds": our_milliseconds(predictor, true[:TIMED])}


def without_boxes(predictor: Predictor, true: Hands) -> Hands:
    """The labelled hands as the predictor finds them by itself; missing ones without keypoints."""
    xy, side = np.full_like(true.xy, np.nan), np.full(len(true), UNKNOWN)
    probability = np.full(len(true), np.nan)
    for path in sorted({str(path) for path in true.paths()}):
        rows = np.flatnonzero([str(own) == path for own in true.paths()])
        found = predictor.predict(path)
        for one, other in assign(overlap(true.box[rows], keypoint_extent(found.xy)), SAME_HAND):
            xy[rows[one]], side[rows[one]] = found.xy[other], found.side[other]
            if found.side_probability is not None:
                probability[rows[one]] = found.side_probability[other]
    return Hands(
        image=true.image,
        xy=xy,
        visibility=np.where(np.isnan(xy).any(axis=-1), UNLABELED, VISIBLE),
        box=true.box,
        group=true.group,
        size=true.size,
        side=side,
        side_probability=probability,
    )


def disturbed(box: Float32[np.ndarray, "n 4"]) -> Float32[np.ndarray, "n 4"]:
    """The boxes moved and scaled by chance, the same at every call."""
    rng = np.random.default_rng(SEED)
    center, side = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
    center = center + MOVED * side.max(axis=1, keepdims=True) * rng.standard_normal(center.shape)
    half = side / 2 * np.exp(SCALED * rng.standard_normal((len(box), 1)))
    return np.concatenate([center - half, center + half], axis=1).astype(np.float32)


def numbers(pred: Hands, true: Hands) -> dict[str, Any]:
    """The metrics of one row; of few groups each one's NME, of many the interval."""
    report = evaluate(pred, true)
    ratio = relative_distances(pred, true, "box")
    row: dict[str, Any] = {
        "hands": report.hands,
        "groups": report.groups,
        "missing": report.missing,
        "nme": report.nme_found,
        "pck_20": float(np.mean(ratio[~np.isnan(ratio)] < 0.2)),
        "pck_10": float(np.mean(ratio[~np.isnan(ratio)] < 0.1)),
        "pck_05": float(np.mean(ratio[~np.isnan(ratio)] < 0.05)),
        "epe": report.epe_found,
        "auc_mmpose": report.auc_mmpose,
    }
    interval = report.intervals["nme"]
    if np.isfinite(interval.low):
        row["nme_interval"] = [interval.low, interval.high]
    else:
        means = [float(np.nanmean(_found(ratio[true.group == group]))) for group in np.unique(true.group)]
        row["nme_of_groups"] = means
    row |= turned_order(pred, true)
    if pred.side_probability is not None and (true.side != UNKNOWN).any():
        row |= sides(pred, true)
    if (true.gesture >= 0).any():
        row["nme_of_gestures"] = {
            gesture: float(np.nanmean(_found(ratio[true.gesture == number])))
            for number, gesture in enumerate(GESTURES)
            if (true.gesture == number).any()
        }
    return row


def turned_order(pred: Hands, true: Hands) -> dict[str, float]:
    """The share of hands whose fingers would fit better the other way round, thumb for little finger, and the NME of
    the others.
    """
    given, turned = (
        np.nanmean(_found(relative_distances(one, true, "box")), axis=1)
        for one in (pred, pred.replace(xy=pred.xy[:, _TURNED], visibility=pred.visibility[:, _TURNED]))
    )
    wrong = turned < given
    return {"fingers_turned": float(wrong.mean()), "nme_of_others": float(np.nanmean(given[~wrong]))}


def sides(pred: Hands, true: Hands) -> dict[str, Any]:
    """How often left and right are told apart, over all and in each of few groups, and what is stated then."""
    assert pred.side_probability is not None
    known = true.side != UNKNOWN
    right = pred.side == true.side
    groups = np.unique(true.group)
    row: dict[str, Any] = {
        "side_right": float(right[known].mean()),
        "side_stated_where_right": float(np.nanmean(pred.side_probability[known & right])),
        "side_stated_where_wrong": float(np.nanmean(pred.side_probability[known & ~right])),
    }
    if len(groups) < FEW_GROUPS:
        row["side_right_of_groups"] = [float(right[known & (true.group == group)].mean()) for group in groups]
    return row


def _found(ratio: np.ndarray) -> np.ndarray:
    return np.where(np.isinf(ratio), np.nan, ratio)


def our_milliseconds(predictor: Predictor, hands: Hands) -> float:
    """Median time of one hand on an image in memory, its box given."""
    images = [read_image(path) for path in hands.paths()]
    predictor.predict(images[0], hands.box[:1])
    spent = []
    for image, box in zip(images, hands.box, strict=True):
        began = time.perf_counter()
        predictor.predict(image, box[None])
        spent.append(time.perf_counter() - began)
    return 1000 * float(np.median(spent))


def peer_row(true: Hands) -> dict[str, Any]:
    """MediaPipe Hands on the photos."""
    solution = importlib.import_module("mediapipe").solutions.hands
    xy = np.full(true.xy.shape, np.nan, dtype=np.float32)
    spent = []
    with solution.Hands(static_image_mode=True, max_num_hands=2, model_complexity=1) as network:
        for row, path in enumerate(true.paths()):
            crop, corner = around(read_image(path), true.box[row])
            began = time.perf_counter()
            found = network.process(crop).multi_hand_landmarks or []
            spent.append(time.perf_counter() - began)
            size_wh = np.array([crop.shape[1], crop.shape[0]])
            # MediaPipe's normalised coordinates span the image from edge to edge; pixel centres lie at integers here.
            hands = [np.array([[p.x, p.y] for p in hand.landmark]) * size_wh - 0.5 for hand in found]
            if hands:
                nearest = min(hands, key=lambda hand: float(np.linalg.norm(hand.mean(axis=0) - size_wh / 2)))
                xy[row] = nearest + corner
    visibility = np.where(np.isnan(xy).any(axis=-1), UNLABELED, VISIBLE)
    pred = Hands(image=true.image, xy=xy, visibility=visibility, box=true.box, group=true.group, size=true.size)
    found_there = numbers(pred, true) | {"milliseconds": 1000 * float(np.median(spent))}
    return {"model": "MediaPipe Hands", "set": "photos", "boxes": "twice the box", **found_there}


def around(
    image: UInt8[np.ndarray, "h w 3"], box: Float32[np.ndarray, "4"]
) -> tuple[UInt8[np.ndarray, "m n 3"], Float32[np.ndarray, "2"]]:
    """The part of the image within a square of twice the box's longer side, and its top left pixel."""
    center, side = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max())
    low = np.maximum(np.round(center - side), 0).astype(int)
    high = np.minimum(np.round(center + side).astype(int), [image.shape[1], image.shape[0]])
    return np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]]), low.astype(np.float32)


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The rows as text."""
    for row in rows:
        head = f"{row['model']:16} {row['set']:10} {row['boxes']:14}"
        if "nme" not in row:
            yield f"{head} {row['milliseconds']:.1f} ms a hand"
            continue
        spent = f"  {row['milliseconds']:.1f} ms" if "milliseconds" in row else ""
        yield (
            f"{head} NME {row['nme']:.4f}  PCK@0.2 {row['pck_20']:.3f}  @0.1 {row['pck_10']:.3f}  "
            f"@0.05 {row['pck_05']:.3f}  missing {row['missing']}{spent}"
        )


if __name__ == "__main__":
    main()
