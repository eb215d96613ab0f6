"""A report as a folder of files: numbers as JSON and CSV, the predictions, and pictures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from knuckle.evaluate.figures import write_gallery, write_pck_curves, write_uncertainty_curves
from knuckle.evaluate.report import Report
from knuckle.formats import write
from knuckle.hands import Hands
from knuckle.metrics.errors import distances, relative_distances
from knuckle.skeleton import GESTURES, JOINT_NAMES

TABLE_FILES: Final[Mapping[str, str]] = {
    "joints": "per_joint.csv",
    "fingers": "per_finger.csv",
    "sides": "per_side.csv",
    "gestures": "per_gesture.csv",
    "visibilities": "per_visibility.csv",
    "groups": "per_group.csv",
}


def write_report(report: Report, pred: Hands, true: Hands, folder: Path) -> list[str]:
    """The report as a folder: metrics.json, tables, each hand's error, the predictions, and pictures.

    Returns:
        One sentence for everything that could not be written whole, such as a gallery without images.

    Raises:
        ValueError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(report.to_json() + "\n", encoding="utf-8")
        for name, file_name in TABLE_FILES.items():
            _write_csv(folder / file_name, [asdict(row) for row in getattr(report.breakdown, name)])
        _write_csv(folder / "errors.csv", hand_errors(pred, true))
        (folder / "skipped.txt").write_text("".join(line + "\n" for line in report.skipped), encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{folder} cannot be written ({error.strerror or error}).") from error
    notes = write(pred, folder / "predictions.json", "coco")
    notes += write_pck_curves(pred, true, folder)
    if report.uncertainty is not None:
        notes += write_uncertainty_curves(report.uncertainty, folder)
    notes += write_gallery(pred, true, folder / "gallery.png")
    return notes


def hand_errors(pred: Hands, true: Hands) -> list[dict[str, Any]]:
    """One record a hand with labelled keypoints: its mean and largest error, and the joint that has it."""
    distance, ratio = distances(pred, true), relative_distances(pred, true, "box")
    labeled = true.labeled
    worst = np.where(labeled, distance, -1.0).argmax(axis=1)
    return [
        {
            "row": row,
            "image": true.image[row],
            "group": int(true.group[row]),
            "side": ("unknown", "left", "right")[true.side[row] + 1],
            "gesture": ("unlabeled", *GESTURES)[true.gesture[row] + 1],
            "keypoints": int(labeled[row].sum()),
            "missing": int(np.isinf(distance[row]).sum()),
            "mean_error": float(distance[row, labeled[row]].mean()),
            "max_error": float(distance[row, worst[row]]),
            "worst_joint": JOINT_NAMES[worst[row]],
            "nme": float(ratio[row, labeled[row]].mean()),
        }
        for row in np.flatnonzero(labeled.any(axis=1)).tolist()
    ]


def _write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        if records:
            writer = csv.DictWriter(file, records[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(records)
