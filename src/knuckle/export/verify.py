"""Is an exported file the model that it was made of? Both look at the same crops, and every difference counts.

Letters in shapes: n crops, S the side of the crop in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float64, UInt8

from knuckle.data.rendered import RenderedHands
from knuckle.export.onnx import export_onnx
from knuckle.formats.files import replacing
from knuckle.geometry import CropRule, frame_box
from knuckle.hands import Hands
from knuckle.predict.engine import Engine
from knuckle.predict.load import StoredModel
from knuckle.predict.onnx_engine import OnnxModel, load_onnx
from knuckle.predict.points import CropPoints, calibrated, to_image, visibility_of
from knuckle.predict.torch_engine import TorchEngine

LIMIT: Final = 0.01
"""Crop pixels by which a float32 export may differ at most."""

CROPS: Final = 100
TOGETHER: Final = 20
"""Crops that go through both engines at a time."""

RENDER_SEED: Final = 1_000_003
"""Of the rendered hands; far from the seeds that recipes begin with."""


@dataclass(frozen=True)
class Crops:
    """Crops of labelled hands.

    Attributes:
        pixels: (n, S, S, 3) uint8 RGB.
        image_to_crop: (n, 3, 3).
        hands: the labels, row by row; `box` is what the crops were cut around.
    """

    pixels: UInt8[np.ndarray, "n S S 3"]
    image_to_crop: Float64[np.ndarray, "n 3 3"]
    hands: Hands


@dataclass(frozen=True)
class Verification:
    """What was found, with or without the flip test.

    Attributes:
        flip_test: whether it was on.
        crops: how many were looked at.
        largest: the largest distance between a keypoint of one and of the other, crop pixels; infinite where only one
            of them gives a number.
        median: the median of these distances.
        covariance: the largest difference of an entry of the covariances, over the larger of the keypoint's variances;
            None where the method has none.
        confidence: the largest difference between what the graph states and what `Calibration.apply` states for the
            same hands; None for models that were not calibrated.
        probability: the largest difference of the probabilities of a hand and of a left one; None without a hand head.
    """

    flip_test: bool
    crops: int
    largest: float
    median: float
    covariance: float | None
    confidence: float | None
    probability: float | None


def rendered_crops(rule: CropRule, count: int = CROPS) -> Crops:
    """Crops of rendered hands, cut as the model wants them."""
    images, hands = RenderedHands(count, RENDER_SEED, size=rule.size).render(range(count))
    return _cut(rule, images, hands)


def labelled_crops(rule: CropRule, hands: Hands, count: int = CROPS) -> Crops:
    """Crops of the first labelled hands of a table.

    Raises:
        ValueError: there is no labelled hand, or an image cannot be used.
    """
    from knuckle.data.images import read_image

    chosen = hands[hands.labeled.any(axis=1) & np.isfinite(hands.box).all(axis=1)][:count]
    if len(chosen) == 0:
        raise ValueError("there is no labelled hand to verify the export on.")
    return _cut(rule, (read_image(path) for path in chosen.paths()), chosen)


def export_verified(
    model: StoredModel, path: Path, crops: Crops, limit: float = LIMIT
) -> tuple[Verification, Verification]:
    """Write a model as an ONNX file that gives the same keypoints, or none.

    Args:
        model: what `knuckle.predict.load.read_model` gives.
        path: the file, .onnx.
        crops: what both look at.
        limit: crop pixels by which a keypoint may differ at most.

    Raises:
        ValueError: as `export_onnx`.
        RuntimeError: the file's keypoints differ by more.
    """
    with replacing(path) as temporary:
        candidate = temporary.with_suffix(".onnx")
        try:
            export_onnx(model, candidate)
            found = verify(TorchEngine(model.method), load_onnx(candidate, "cpu"), crops)
            worst = max(part.largest for part in found)
            if not worst <= limit:
                raise RuntimeError(
                    f"the exported file gives keypoints {worst:.2g} crop pixels from those of PyTorch, more than the "
                    f"limit of {limit:g}; nothing was written."
                )
            candidate.replace(temporary)
        finally:
            candidate.unlink(missing_ok=True)
    return found


def verify(reference: Engine, exported: OnnxModel, crops: Crops) -> tuple[Verification, Verification]:
    """The differences between a network and its export on the same crops, without and with the flip test."""
    without, with_it = (_differences(reference, exported, crops, flip_test) for flip_test in (False, True))
    return without, with_it


def find_all(engine: Engine, crops: Crops, flip_test: bool) -> CropPoints:
    """What an engine finds on all crops, a few at a time."""
    return CropPoints.concat(
        [
            engine.find(crops.pixels[start : start + TOGETHER], flip_test)
            for start in range(0, len(crops.pixels), TOGETHER)
        ]
    )


def _differences(reference: Engine, model: OnnxModel, crops: Crops, flip_test: bool) -> Verification:
    expected, exported = (find_all(engine, crops, flip_test) for engine in (reference, model.engine))
    distance = np.linalg.norm(expected.xy_crop.astype(np.float64) - exported.xy_crop, axis=-1)
    known = distance[~np.isnan(distance)]
    same = bool((np.isnan(expected.xy_crop) == np.isnan(exported.xy_crop)).all())
    return Verification(
        flip_test=flip_test,
        crops=len(distance),
        largest=float(known.max(initial=0.0)) if same else np.inf,
        median=float(np.median(known)) if known.size else np.nan,
        covariance=_covariance_difference(expected, exported),
        confidence=_confidence_difference(expected, model, crops, flip_test),
        probability=_probability_difference(expected, exported),
    )


def _covariance_difference(reference: CropPoints, exported: CropPoints) -> float | None:
    one, other = reference.covariance_crop, exported.covariance_crop
    if one is None or other is None:
        return None if one is other else np.inf
    size = np.diagonal(one, axis1=-2, axis2=-1).max(axis=-1)[..., None, None].astype(np.float64)
    relative = np.abs(one.astype(np.float64) - other) / size
    return float(np.nanmax(relative, initial=0.0))


def _probability_difference(reference: CropPoints, exported: CropPoints) -> float | None:
    differences = []
    for one, other in ((reference.score, exported.score), (reference.left, exported.left)):
        if one is None or other is None:
            return None if one is other else np.inf
        differences.append(float(np.abs(one - other).max()))
    return max(differences)


def _confidence_difference(expected: CropPoints, model: OnnxModel, crops: Crops, flip_test: bool) -> float | None:
    if model.calibration is None:
        return None
    xy, covariance = to_image(expected, crops.image_to_crop)
    pred = crops.hands.replace(xy=xy, visibility=visibility_of(xy), covariance=covariance)
    stated = calibrated(pred, model.calibration).confidence
    if stated is None:
        return 0.0
    graph = np.concatenate(
        [
            model.engine.outputs(crops.pixels[start : start + TOGETHER], flip_test)["confidence"]
            for start in range(0, len(crops.pixels), TOGETHER)
        ]
    )
    if (np.isnan(graph) != np.isnan(stated)).any():
        return np.inf
    return float(np.nanmax(np.abs(graph - stated), initial=0.0))


def _cut(rule: CropRule, images: Iterable[UInt8[np.ndarray, "h w 3"]], hands: Hands) -> Crops:
    pixels, matrices, boxes = [], [], []
    for image, own in zip(images, hands.box, strict=True):
        size_wh = image.shape[1], image.shape[0]
        crop = rule.around_frame(size_wh) if rule.whole_image else rule.around_box(own)
        pixels.append(rule.cut(image, crop))
        matrices.append(crop.image_to_crop)
        boxes.append(frame_box(size_wh) if rule.whole_image else own)
    return Crops(np.stack(pixels), np.stack(matrices), hands.replace(box=np.stack(boxes)))
