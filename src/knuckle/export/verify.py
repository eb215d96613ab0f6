"""Is an exported file the model that it was made of? Both look at the same crops, and every difference counts.

Files of lower precision differ by more than rounding; what that costs is said by the PCK of both against the labels.

Letters in shapes: n crops, S the side of the crop in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from jaxtyping import Float64, UInt8

from knuckle.data.rendered import RenderedHands
from knuckle.export.onnx import export_onnx
from knuckle.export.openvino import SUFFIX, Precision, export_openvino
from knuckle.formats.files import replacing
from knuckle.geometry import CropRule, frame_box
from knuckle.hands import Hands
from knuckle.metrics.errors import pck
from knuckle.predict.engine import Engine
from knuckle.predict.graph_engine import GraphModel, NotRunnableError
from knuckle.predict.load import StoredModel
from knuckle.predict.onnx_engine import load_onnx
from knuckle.predict.openvino_engine import load_openvino
from knuckle.predict.points import CropPoints, calibrated, to_image, visibility_of
from knuckle.predict.torch_engine import TorchEngine

LIMIT: Final = 0.01
"""Crop pixels by which a float32 export may differ at most."""

PCK_AT: Final = (0.1, 0.05)
"""Box sides within which a keypoint is correct."""

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
        pck: the PCK of PyTorch and of the file against the crops' labels, for each of `PCK_AT`.
    """

    flip_test: bool
    crops: int
    largest: float
    median: float
    covariance: float | None
    confidence: float | None
    probability: float | None
    pck: Mapping[float, tuple[float, float]]


def rendered_crops(rule: CropRule, count: int = CROPS) -> Crops:
    """Crops of rendered hands, cut as the model wants them."""
    images, hands = RenderedHands(count, RENDER_SEED, size=rule.size).render(range(count))
    return _cut(rule, images, hands)


def labelled_crops(rule: CropRule, hands: Hands, count: int = CROPS) -> Crops:
    """Crops of labelled hands from all over a table: `count` of them, or all where there are fewer.

    Raises:
        ValueError: there is no labelled hand, or an image cannot be used.
    """
    from knuckle.data.images import read_image

    usable = np.flatnonzero(hands.labeled.any(axis=1) & np.isfinite(hands.box).all(axis=1))
    if len(usable) == 0:
        raise ValueError("there is no labelled hand to verify the export on.")
    chosen = hands[usable[np.unique(np.linspace(0, len(usable) - 1, count).round().astype(np.int64))]]
    return _cut(rule, (read_image(path) for path in chosen.paths()), chosen)


def check_name(path: Path, precision: Precision = "fp32") -> None:
    """Refuse what no export can be called, before anything is computed.

    Raises:
        ValueError: the suffix is neither .onnx nor .xml, or ONNX is wanted in a lower precision.
    """
    if path.suffix not in (".onnx", SUFFIX):
        raise ValueError(f"{path}: an ONNX file ends in .onnx, one for OpenVINO in {SUFFIX}; name it so.")
    if path.suffix == ".onnx" and precision != "fp32":
        raise ValueError(f"{path}: {precision} is for OpenVINO, whose files end in {SUFFIX}; name it so.")


def in_two(crops: Crops) -> tuple[Crops, Crops]:
    """Crops to calibrate with, and others to verify on: every second group to each, or row where there is one group."""
    groups = np.unique(crops.hands.group, return_inverse=True)[1]
    odd = (groups if groups.max(initial=0) > 0 else np.arange(len(groups))) % 2 == 1
    first, second = (Crops(crops.pixels[of], crops.image_to_crop[of], crops.hands[of]) for of in (~odd, odd))
    return first, second


def export_verified(
    model: StoredModel,
    path: Path,
    crops: Crops,
    limit: float | None = LIMIT,
    *,
    precision: Precision = "fp32",
    calibration: Crops | None = None,
) -> tuple[Verification, Verification]:
    """Write a model as an ONNX or OpenVINO file that gives the same keypoints, or none.

    Args:
        model: what `knuckle.predict.load.read_model` gives.
        path: the file, .onnx or .xml.
        crops: what both look at.
        limit: crop pixels by which a keypoint may differ at most; None for files of lower precision, whose differences
            are only reported.
        precision: of an OpenVINO file.
        calibration: crops that int8 takes its ranges from.

    Raises:
        ValueError: as `export_onnx` and `export_openvino`.
        RuntimeError: the file's keypoints differ by more, or its run-time refuses it.
    """
    with TemporaryDirectory() as folder:
        candidate = Path(folder) / path.name
        if path.suffix == SUFFIX:
            export_openvino(model, candidate, precision, None if calibration is None else calibration.pixels)
        else:
            export_onnx(model, candidate)
        exported = _load(candidate, path)
        found = verify(TorchEngine(model.method), exported, crops)
        worst = max(part.largest for part in found)
        if limit is not None and not worst <= limit:
            raise RuntimeError(
                f"the exported file gives keypoints {worst:.2g} crop pixels from those of PyTorch, more than the "
                f"limit of {limit:g}; nothing was written."
            )
        for file in sorted(Path(folder).iterdir()):  # the weights before the graph that names them
            with replacing(path.with_name(file.name)) as temporary:
                temporary.write_bytes(file.read_bytes())
    return found


def _load(candidate: Path, path: Path) -> GraphModel:
    """The file that was made in passing, and is to be called `path`."""
    try:
        return load_openvino(candidate) if path.suffix == SUFFIX else load_onnx(candidate, "cpu")
    except NotRunnableError as error:
        raise RuntimeError(f"{path} {error.refusal}; nothing was written.") from error


def verify(reference: Engine, exported: GraphModel, crops: Crops) -> tuple[Verification, Verification]:
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


def _differences(reference: Engine, model: GraphModel, crops: Crops, flip_test: bool) -> Verification:
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
        pck={at: (_pck(expected, crops, at), _pck(exported, crops, at)) for at in PCK_AT},
    )


def _pck(points: CropPoints, crops: Crops, threshold: float) -> float:
    xy, _ = to_image(points, crops.image_to_crop)
    return pck(crops.hands.replace(xy=xy, visibility=visibility_of(xy)), crops.hands, threshold)


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


def _confidence_difference(expected: CropPoints, model: GraphModel, crops: Crops, flip_test: bool) -> float | None:
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
