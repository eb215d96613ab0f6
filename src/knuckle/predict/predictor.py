"""Predictor: a trained network and its crop rule, from images and boxes to Hands.

Letters in shapes: m hands on an image, n hands in a group of images, S the crop's side in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from numpy.typing import ArrayLike, NDArray

from knuckle.geometry import SHRINK_BY_AREA_FROM, Crop, CropRule, frame_box, mirror_boxes, mirror_image
from knuckle.hands import ENOUGH_POINTS, Hands, keypoint_extent
from knuckle.metrics.matching import box_iou
from knuckle.predict.detector import SAME_HAND, Detections, Detector, detect_in, suppress
from knuckle.predict.engine import Engine
from knuckle.predict.judgement import LEAST_SCORE
from knuckle.predict.photos import NAMELESS, ImageLike, Photo, photos
from knuckle.predict.points import CropPoints, calibrated, sides, to_image, visibility_of
from knuckle.predict.track import EXTENT_OVER_BOX, assign
from knuckle.skeleton import NUM_JOINTS

if TYPE_CHECKING:
    import torch

    from knuckle.methods.base import Method
    from knuckle.metrics.conformal import Calibration


FIRST_LOOK: Final = 1.2
"""The window in which a hand that the detector found is looked at first, over that of a box that is exact."""


class Found(NamedTuple):
    """What was found on one photo.

    Attributes:
        name: the photo's name.
        size_wh: the photo's width and height in pixels.
        hands: its hands in the order of its boxes; none where it had no boxes.
    """

    name: str
    size_wh: tuple[int, int]
    hands: Hands


class _Cut(NamedTuple):
    """A photo of which only the hands are left."""

    name: str
    size_wh: tuple[int, int]
    boxes: Float32[np.ndarray, "m 4"]
    score: Float32[np.ndarray, " m"] | None
    image_to_crop: Float64[np.ndarray, "m 3 3"]
    pixels: UInt8[np.ndarray, "m S S 3"]


class Predictor:
    """A trained network that finds the keypoints of hands whose boxes are known, and a detector that finds the boxes.

    It changes nothing in itself while predicting, so threads may share one.

    Args:
        network: an engine, such as a loaded ONNX file; or a method, which PyTorch runs on `device`.
        rule: how it wants its crops.
        calibration: what makes its uncertainty true; None for a model that was not calibrated.
        flip_test: average over each crop and its mirror image; the detector, too, looks at each image and its mirror
            image.
        device: where a method runs; an engine has its place.
        batch_size: crops a forward pass.
        detector: finds the hands of images that come without boxes, see `knuckle.predict.detector`.

    Raises:
        ValueError: the batch size is not positive.
    """

    def __init__(
        self,
        network: Engine | Method,
        rule: CropRule,
        *,
        calibration: Calibration | None = None,
        flip_test: bool = False,
        device: str | torch.device = "cpu",
        batch_size: int = 32,
        detector: Detector | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        self.engine = network if isinstance(network, Engine) else _torch_engine(network, device)
        self.rule = rule
        self.calibration = calibration
        self.flip_test = flip_test
        self.batch_size = batch_size
        self.detector = detector

    def predict(
        self, images: ImageLike | Sequence[ImageLike], boxes: ArrayLike | Sequence[ArrayLike] | None = None
    ) -> Hands:
        """The hands on one image or on many.

        Args:
            images: an image or a list of images: paths, (h, w, 3) uint8 arrays in RGB order, or PIL
                images in mode RGB. OpenCV's own reader gives BGR: turn that with `image[..., ::-1]`.
            boxes: where the hands are: "full" for one hand an image, anywhere in the frame; or
                (m, 4) numbers x1, y1, x2, y2 in image pixels, tight around the keypoints (the model
                adds its own padding); for a list of images one such array an image, empty for an
                image without hands. None lets the detector find them.

        Returns:
            One row a box, image by image. `image` is the path as given, or "" for pixels, and each
            image is a `group`; `box` is the box as given or found, or the whole frame; visibility is 2, or 0
            for joints that the model was never taught. `covariance` is there where the method has one,
            `confidence` where the model was calibrated, and then `covariance` is, too; `side`,
            `side_probability` and `score` where it has a hand head. Of a model without one, `score` is the
            detector's, and missing where boxes were given. Hands of an image that the detector found come the
            surest first; a hand head's score is then what it and the detector say together (`Judgement`), and hands
            with less than 0.5 are left out. They are looked at twice: `box` is tight around the keypoints of the first
            look, as a detector's boxes are less exact. An image on which none is found has no row.

        Raises:
            ValueError: no boxes and no detector; an image that is not RGB uint8 or cannot be read; a box without
                area, with NaN or outside its image. Says which image and which box.
        """
        every_image = [found.hands for found in self.stream(photos(images, boxes))]
        hands = Hands.concat(every_image)
        # Images without a path have nothing else to tell their hands apart by.
        index = np.repeat(np.arange(len(every_image)), [len(own) for own in every_image])
        return hands.replace(group=np.where(hands.image == NAMELESS, index, hands.group))

    def stream(self, incoming: Iterable[Photo]) -> Iterator[Found]:
        """The hands of any number of photos, one by one and in order, in constant memory.

        Batches go across photos. No photo's pixels are held longer than it takes to cut its hands.
        """
        for group in _grouped((self._cut(photo) for photo in incoming), self.batch_size):
            yield from self._find(group)

    def _cut(self, photo: Photo) -> _Cut:
        boxes, score = self._detect(photo) if photo.boxes is None else photo.boxes, None
        if isinstance(boxes, str):
            boxes = frame_box(photo.size_wh)[None].astype(np.float32)
            crops = [self.rule.around_frame(photo.size_wh)]
        else:
            if isinstance(boxes, Detections):
                boxes, score = self._first_look(photo, boxes)
            crops = [self.rule.around_box(box) for box in boxes]
        return _Cut(photo.name, photo.size_wh, boxes, score, *self._pixels(photo, crops))

    def _pixels(
        self, photo: Photo, crops: Sequence[Crop]
    ) -> tuple[Float64[np.ndarray, "m 3 3"], UInt8[np.ndarray, "m S S 3"]]:
        size = self.rule.size
        pixels = np.array([self.rule.cut(photo.image, crop) for crop in crops], np.uint8).reshape(-1, size, size, 3)
        shrunk = [row for row, crop in enumerate(crops) if crop.zoom * SHRINK_BY_AREA_FROM <= 1]
        if self.flip_test and shrunk and self.rule.alignment == "center":  # as `CropRule.cut` says
            # The blocks of pixels that are averaged begin at the left edge, so the mirrored photo would have others.
            mirrored = mirror_image(photo.image)
            for row in shrunk:
                again = mirror_image(self.rule.cut(mirrored, crops[row].of_mirror_image(photo.size_wh[0])))
                pixels[row] = (pixels[row].astype(np.uint16) + again + 1) // 2
        return np.array([crop.image_to_crop for crop in crops]).reshape(-1, 3, 3), pixels

    def _first_look(
        self, photo: Photo, found: Detections
    ) -> tuple[Float32[np.ndarray, "k 4"], Float32[np.ndarray, " k"]]:
        """The k hands among what a detector found, the surest first, each once: boxes tight around the keypoints that
        the network finds in the detector's boxes, which are less exact, and scores.
        """
        crops = [self.rule.around_box(box, scale=FIRST_LOOK) for box in found.box]
        columns = self._find_columns(*self._pixels(photo, crops))
        judged = "score" in columns
        score = found.judgement.probability(found.score, columns["score"]) if judged else found.score
        order = np.argsort(-score, kind="stable")
        if judged:
            order = order[score[order] >= LEAST_SCORE]
        boxes = _tightened(found.box[order], columns["xy"][order])
        once = suppress(boxes, SAME_HAND)
        return boxes[once], score[order][once]

    def _detect(self, photo: Photo) -> Detections:
        """What the detector finds on a photo, and with the flip test on its mirror image, too."""
        if self.detector is None:
            raise ValueError(
                f"{photo.name or 'an image'} came without boxes, and this predictor has no hand detector: give it one, "
                'or boxes tight around each hand\'s keypoints, or boxes="full" where each image shows one hand.'
            )
        where = photo.name or "an image"
        found = detect_in(photo.image, self.detector, where)
        if not self.flip_test:
            return found
        mirrored = detect_in(mirror_image(photo.image), self.detector, f"{where}, mirrored")
        return _joined(found, mirrored._replace(box=mirror_boxes(mirrored.box, photo.size_wh[0])))

    def _find(self, group: Sequence[_Cut]) -> Iterator[Found]:
        """The hands of a group of photos, whose crops go through the network together."""
        columns = self._find_columns(
            np.concatenate([cut.image_to_crop for cut in group]), np.concatenate([cut.pixels for cut in group])
        )
        first = 0
        for cut in group:
            own = slice(first, first + len(cut.boxes))
            first = own.stop
            hands = _hands(cut, {name: column[own] for name, column in columns.items()})
            yield Found(cut.name, cut.size_wh, calibrated(hands, self.calibration))

    def _find_columns(
        self, image_to_crop: Float64[np.ndarray, "n 3 3"], pixels: UInt8[np.ndarray, "n S S 3"]
    ) -> dict[str, NDArray[Any]]:
        """What the network says, as columns of `Hands`: keypoints in image pixels, and all that it has beside them."""
        starts = range(0, len(pixels), self.batch_size)
        if not starts:
            return {"xy": np.empty((0, NUM_JOINTS, 2), dtype=np.float32)}
        points = CropPoints.concat(
            [self.engine.find(pixels[start : start + self.batch_size], self.flip_test) for start in starts]
        )
        xy, covariance = to_image(points, image_to_crop)
        columns = {"xy": xy, **sides(points)}
        return columns if covariance is None else columns | {"covariance": covariance}


def _torch_engine(method: Method, device: str | torch.device) -> Engine:
    """Imported here, so that engines without torch need none."""
    from knuckle.predict.torch_engine import TorchEngine

    return TorchEngine(method, device)


def _grouped(cuts: Iterable[_Cut], batch_size: int) -> Iterator[list[_Cut]]:
    """Photos whose crops fill a batch together; a photo with more crops than that stays alone."""
    group: list[_Cut] = []
    crops = 0
    for cut in cuts:
        if group and (crops + len(cut.boxes) > batch_size or len(group) == batch_size):
            yield group
            group, crops = [], 0
        group.append(cut)
        crops += len(cut.boxes)
    if group:
        yield group


def _hands(cut: _Cut, columns: dict[str, Any]) -> Hands:
    """The hands of a photo, one a box; those of a detector's boxes keep the scores of the first look."""
    return Hands(
        image=[cut.name] * len(cut.boxes),
        visibility=visibility_of(columns["xy"]),
        box=cut.boxes,
        size=np.tile(cut.size_wh, (len(cut.boxes), 1)),
        **columns | ({} if cut.score is None else {"score": cut.score}),
    )


def _joined(found: Detections, mirrored: Detections) -> Detections:
    """The hands that a detector found on a photo or on its mirror image, the surest first.

    Box and score of a hand that was found on both are the mean of the two: to keep the surer one would let rounding
    decide which. Every box has one twin at most, so that two hands close together stay two. Exchanging the arguments
    changes nothing, which makes what is found on the mirrored photo the mirror image of what is found on the photo.

    Args:
        found: on the photo.
        mirrored: on its mirror image, with boxes in the photo's pixels.
    """
    twins = np.array(assign(box_iou(found.box, mirrored.box), SAME_HAND), dtype=np.int64).reshape(-1, 2)
    rows, columns = twins.T
    box, score = (
        np.concatenate([(own[rows] + other[columns]) / 2, np.delete(own, rows, 0), np.delete(other, columns, 0)])
        for own, other in ((found.box, mirrored.box), (found.score, mirrored.score))
    )
    order = np.argsort(-score, kind="stable")
    return found._replace(box=box[order], score=score[order])


def _tightened(box: Float32[np.ndarray, "m 4"], xy: Float32[np.ndarray, "m 21 2"]) -> Float32[np.ndarray, "m 4"]:
    """The extent of the keypoints that were found in each box, or the box where they are few or are no hand."""
    extent = keypoint_extent(xy)
    with np.errstate(invalid="ignore"):
        ratio = (extent[:, 2:] - extent[:, :2]).max(axis=1) / (box[:, 2:] - box[:, :2]).max(axis=1)
        is_hand = (ratio >= EXTENT_OVER_BOX[0]) & (ratio <= EXTENT_OVER_BOX[1])
    is_hand &= np.isfinite(xy).all(axis=-1).sum(axis=1) >= ENOUGH_POINTS
    return np.asarray(np.where(is_hand[:, None], extent, box), dtype=np.float32)
