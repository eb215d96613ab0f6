"""Finding hands: the protocol of detectors, and the one that comes with knuckle as an ONNX file.

The graph takes pictures (B, H, W, 3) uint8 RGB whose sides are multiples of 32 and gives for each cell of 8 x 8 pixels
a score, 0 where a neighbour's is higher, and a box in the picture's pixels. What is left, choosing among them, is here.

Letters in shapes: m hands on an image, n cells.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import as_file, files
from os import PathLike
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy.typing import ArrayLike

from knuckle.geometry import Crop
from knuckle.metrics.matching import box_iou
from knuckle.predict.graph_engine import NotRunnableError, check_size
from knuckle.predict.judgement import HEAD_ALONE, Judgement
from knuckle.predict.onnx_session import ERRORS_ALONE, session_options
from knuckle.predict.photos import check_boxes

FILE_VERSION: Final = 1
"""Raised when a file can no longer be read by older versions of knuckle."""
METADATA_KEY: Final = "knuckle_detector"

MULTIPLE: Final = 32
"""Sides of the graph's pictures are multiples of this."""
FILL: Final = 114
"""Grey level beside an image that does not fill them, as in training."""
SAME_HAND: Final = 0.5
"""Of two boxes that overlap more (intersection over union), the surer one stays."""


class Detections(NamedTuple):
    """What a detector found on one image.

    Attributes:
        box: (m, 4) float32 x1, y1, x2, y2 in image pixels, tight around the keypoints.
        score: (m,) float32 from 0 to 1, higher is surer.
        judgement: how much the scores count beside those of a network's hand head.
    """

    box: Float32[np.ndarray, "m 4"]
    score: Float32[np.ndarray, " m"]
    judgement: Judgement = HEAD_ALONE


@runtime_checkable
class Detector(Protocol):
    """Whatever finds the hands of images. It keeps no state between calls, so threads may share it."""

    def detect(
        self, images: Sequence[UInt8[np.ndarray, "h w 3"]], /
    ) -> Sequence[Detections | tuple[ArrayLike, ArrayLike]]:
        """The boxes and scores of the hands of each RGB image; none where there is none."""
        ...


class OnnxDetector:
    """The detector of an ONNX file.

    Args:
        path: the file, which `knuckle.export.detector` wrote.
        least_score: boxes below it are no hands; None takes what the file advises.
        proposing: whether a network's hand head will judge what is found, so that the file's advice is to be the
            score from which on this is worth while.
        most: hands of an image at most.
        threads: that onnxruntime uses; 0 lets it choose.

    Attributes:
        metadata: what the file says of itself: "side", "least_score", "notes" and, where `tools/fit_judgement.py`
            has been, "judgement": the numbers of a `Judgement` and the "least_score" of a proposal.
        judgement: how much its scores count beside those of a hand head.

    Raises:
        ValueError: the file is no detector of knuckle that onnxruntime can run, or a number is out of range.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        least_score: float | None = None,
        proposing: bool = False,
        most: int = 20,
        threads: int = 0,
    ) -> None:
        import onnxruntime

        if most < 1 or threads < 0 or not (least_score is None or 0 <= least_score <= 1):
            raise ValueError(
                f"a detector needs a score from 0 to 1 and at least one hand, got {least_score}, {most} and {threads}."
            )
        check_size(Path(path))
        options = session_options(threads, ERRORS_ALONE)
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own types share no base but this
            raise NotRunnableError(Path(path), "onnxruntime", error) from error
        self.metadata = _metadata(Path(path), self._session.get_modelmeta().custom_metadata_map)
        self.side = int(self.metadata["side"])
        self.judgement, least_proposal = _judgement(self.metadata)
        advised = least_proposal if proposing else float(self.metadata["least_score"])
        self.least_score = advised if least_score is None else float(least_score)
        self.most = most

    def detect(self, images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[Detections]:
        """The hands of each RGB image, the surest first."""
        return [self._detect(np.asarray(image)) for image in images]

    def _detect(self, image: UInt8[np.ndarray, "h w 3"]) -> Detections:
        crop = fitted((image.shape[1], image.shape[0]), self.side)
        scores, boxes = self._session.run(["scores", "boxes"], {"pictures": crop.warp(image, FILL)[None]})
        found = choose(scores[0], boxes[0], self.least_score, self.most)
        return to_frame(found, crop, (image.shape[1], image.shape[0]))._replace(judgement=self.judgement)


def shipped_detector(threads: int = 0, *, proposing: bool = False) -> OnnxDetector:
    """The detector that comes with knuckle; arguments as `OnnxDetector` takes them."""
    with as_file(files("knuckle.predict") / "assets" / "detector.onnx") as path:
        return OnnxDetector(path, threads=threads, proposing=proposing)


def detect_in(image: UInt8[np.ndarray, "h w 3"], detector: Detector, where: str) -> Detections:
    """What any detector finds on one image, checked.

    Args:
        image: RGB.
        detector: knuckle's own or the user's.
        where: how an error names the image.

    Raises:
        ValueError: the detector gave something else than one pair of boxes and as many scores from 0 to 1, or a box
            without area or outside the image.
    """
    found = detector.detect([image])
    try:
        (own,) = found
        boxes, scores = own[:2] if isinstance(own, Detections) else own
        score = np.asarray(scores, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: a detector must give one pair of boxes and scores for one image, got {found!r}."
        ) from error
    box = check_boxes(boxes, (image.shape[1], image.shape[0]), f"{where}, detector")
    if score.shape != (len(box),) or not ((score >= 0) & (score <= 1)).all():
        raise ValueError(
            f"{where}: a detector must give each of its {len(box)} boxes a score from 0 to 1, got {score}."
        )
    return Detections(box, score, own.judgement if isinstance(own, Detections) else HEAD_ALONE)


def fitted(frame_wh: tuple[int, int], side: int) -> Crop:
    """The picture in which a detector sees a frame: the longer side `side` pixels, no more margin than 32 asks for."""
    longer = max(frame_wh)
    width, height = (-(-max(round(side * length / longer), 1) // MULTIPLE) * MULTIPLE for length in frame_wh)
    return Crop.letterbox(frame_wh, (min(width, side), min(height, side)))


def choose(
    scores: Float32[np.ndarray, " n"], boxes: Float32[np.ndarray, "n 4"], least_score: float, most: int
) -> Detections:
    """The boxes of cells that are hands, the surest first: those with the least score, one a hand."""
    rows = np.flatnonzero(scores >= least_score)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    rows = rows[suppress(boxes[rows], SAME_HAND)][:most]
    return Detections(boxes[rows], scores[rows])


def suppress(boxes: Float32[np.ndarray, "m 4"], most_overlap: float) -> Int64[np.ndarray, " k"]:
    """Rows that stay when each box, from the first on, removes those after it that overlap it more (greedy NMS)."""
    overlap = box_iou(boxes, boxes)
    left = np.ones(len(boxes), dtype=bool)
    for row in range(len(boxes)):
        if left[row]:
            left[row + 1 :] &= overlap[row, row + 1 :] <= most_overlap
    return np.flatnonzero(left)


def to_frame(found: Detections, crop: Crop, frame_wh: tuple[int, int]) -> Detections:
    """Boxes of a crop's pixels in the image's, cut at its frame; without those of which nothing is left there."""
    corners = crop.to_image(found.box.reshape(-1, 2, 2))
    cut = np.clip(corners, -0.5, np.array(frame_wh) - 0.5).reshape(-1, 4).astype(np.float32)
    inside = (cut[:, 2:] - cut[:, :2] >= 1).all(axis=1)
    return Detections(cut[inside], found.score[inside].astype(np.float32))


def _metadata(path: Path, entries: dict[str, str]) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(entries[METADATA_KEY])
        version, side, least = int(content["version"]), int(content["side"]), float(content["least_score"])
        _, least_proposal = _judgement(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no hand detector of knuckle; give one that knuckle exported.") from error
    if version > FILE_VERSION:
        raise ValueError(f"{path} has layout {version}, this knuckle reads up to {FILE_VERSION}; update knuckle.")
    if side < MULTIPLE or side % MULTIPLE or not 0 <= least_proposal <= least <= 1:
        raise ValueError(f"{path} describes no detector that can be run (side {side}, score {least}); export it again.")
    return content


def _judgement(content: dict[str, Any]) -> tuple[Judgement, float]:
    """The judgement of a file's metadata, and the least score of a proposal; the head's alone in files without one."""
    numbers = {name: float(value) for name, value in content.get("judgement", {}).items()}
    least = numbers.pop("least_score", float(content["least_score"]))
    return Judgement(**numbers), least
