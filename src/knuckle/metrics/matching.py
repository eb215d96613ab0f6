"""Which predicted hand belongs to which true one, where a file of predictions lists them its own way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from knuckle.hands import OPTIONAL_COLUMNS, UNKNOWN, UNLABELED, Hands

LEAST_IOU: Final = 0.5
"""Boxes of an image with several hands belong together from this overlap on."""


def match(pred: Hands, true: Hands) -> tuple[Hands, list[str]]:
    """The predictions in the order of the truth, one row a true hand.

    Rows stay as they are where both tables list the same images in the same order. Otherwise hands
    are matched image by image: a single prediction for a single hand at once, several by the
    overlap of their boxes, each hand with the prediction that overlaps it most and at least by
    half. A hand without one gets a row with visibility 0, which every metric counts as missing.

    Returns:
        The matched predictions, with the truth's image, side, gesture, group and size; and what did
        not fit, one sentence a kind.

    Raises:
        ValueError: the two share no image, or two hands of an image claim the same prediction.
    """
    pred_keys, true_keys = _image_keys(pred, true)
    if pred_keys == true_keys:
        return _in_order(pred, true, np.arange(len(true))), []
    rows_by_image: defaultdict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(pred_keys):
        rows_by_image[key].append(row)
    hands_by_image: defaultdict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(true_keys):
        hands_by_image[key].append(row)
    if len(pred) and len(true) and rows_by_image.keys().isdisjoint(hands_by_image):
        raise ValueError(
            f"predictions and truth share no image: the first ones are {pred.image[0]} and {true.image[0]}; "
            "image paths must agree from the files that list them."
        )
    chosen = np.full(len(true), -1)
    for key, hands in hands_by_image.items():
        candidates = rows_by_image.get(key, [])
        if candidates:
            chosen[hands] = _match_image(pred, true, candidates, hands)
    return _in_order(pred, true, chosen), _leftovers(pred_keys, hands_by_image, chosen)


def box_iou(a: Float[np.ndarray, "a 4"], b: Float[np.ndarray, "b 4"]) -> Float64[np.ndarray, "a b"]:
    """Intersection over union of every pair of boxes (x1, y1, x2, y2); 0 where a box is unknown or has no area."""
    left, right = np.asarray(a, dtype=np.float64)[:, None], np.asarray(b, dtype=np.float64)[None]
    sides = np.minimum(left[..., 2:], right[..., 2:]) - np.maximum(left[..., :2], right[..., :2])
    shared = np.maximum(sides, 0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (left, right)]
    union = areas[0] + areas[1] - shared
    overlap: Float64[np.ndarray, "a b"] = np.zeros(shared.shape)
    np.divide(shared, union, out=overlap, where=union > 0)
    return overlap


def _match_image(pred: Hands, true: Hands, candidates: Sequence[int], hands: Sequence[int]) -> Int64[np.ndarray, " h"]:
    """For each hand of one image the row of its prediction, -1 without one."""
    rows = np.array(candidates)
    if len(candidates) == len(hands) == 1:
        return rows
    overlap = box_iou(true.box[hands], pred.box[rows])
    best = overlap.argmax(axis=1)
    matched = overlap.max(axis=1) >= LEAST_IOU
    if len(np.unique(best[matched])) < matched.sum():
        raise ValueError(
            f"two hands of {true.image[hands[0]]} overlap the same predicted box most, so it is ambiguous which "
            "prediction is whose; list the predictions in the order of the truth."
        )
    return np.where(matched, rows[best], -1)


def _in_order(pred: Hands, true: Hands, chosen: Int64[np.ndarray, " n"]) -> Hands:
    """Rows `chosen` of the predictions under the truth's columns; -1 becomes a row without keypoints, with score 0."""
    missing = true.replace(
        visibility=np.full(true.visibility.shape, UNLABELED),
        side=np.full(len(true), UNKNOWN),
        **dict.fromkeys(OPTIONAL_COLUMNS),
    )
    is_found = chosen >= 0
    if len(pred) == 0 or not is_found.any():
        return missing
    found = pred[np.maximum(chosen, 0)]
    return missing.replace(
        xy=found.xy,
        visibility=np.where(is_found[:, None], found.visibility, UNLABELED),
        box=np.where(is_found[:, None], found.box, true.box),
        covariance=_where(is_found, found.covariance),
        confidence=_where(is_found, found.confidence),
        score=_where(is_found, found.score, 0.0),
        side=np.where(is_found, found.side, UNKNOWN),
        side_probability=_where(is_found & (found.side != UNKNOWN), found.side_probability),
    )


def _where(
    is_found: Bool[np.ndarray, " n"], column: Float[np.ndarray, "n *k"] | None, other: float = np.nan
) -> Float[np.ndarray, "n *k"] | None:
    """The column with `other` in the rows that are not found; None without it."""
    if column is None:
        return None
    return np.asarray(np.where(is_found.reshape(-1, *(1,) * (column.ndim - 1)), column, other))


def _leftovers(
    pred_keys: Sequence[str], hands_by_image: defaultdict[str, list[int]], chosen: Int64[np.ndarray, " n"]
) -> list[str]:
    notes = []
    elsewhere = sum(key not in hands_by_image for key in pred_keys)
    surplus = len(pred_keys) - elsewhere - int((chosen >= 0).sum())
    if elsewhere:
        notes.append(f"Predictions left out because the truth does not list their image: {elsewhere:,}.")
    if surplus:
        notes.append(f"Predictions left out because they match no true hand of their image: {surplus:,}.")
    if (chosen < 0).any():
        notes.append(f"Hands without a prediction, which count as missing: {int((chosen < 0).sum()):,}.")
    return notes


def _image_keys(pred: Hands, true: Hands) -> tuple[list[str], list[str]]:
    """What names each row's image: the names as written, or the files' full paths where no name is shared."""
    names: tuple[list[str], list[str]] = (pred.image.tolist(), true.image.tolist())
    if not set(names[0]).isdisjoint(names[1]):
        return names
    pred_paths, true_paths = ([str(path.resolve()) for path in hands.paths()] for hands in (pred, true))
    return pred_paths, true_paths
