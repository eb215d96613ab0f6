"""How much worse a model becomes as photos become harder: every factor of `corruptions` at five severities.

All errors are over the longer side of the hand's box, the mean of a hand's labelled joints first. A degradation is the
error over that of the same hands in unchanged pictures: 1.2 says a fifth more. Its intervals resample groups and keep a
hand's pair together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from numpy.typing import NDArray

from knuckle.data.images import read_image
from knuckle.geometry import Crop, CropRule, frame_box
from knuckle.hands import Hands
from knuckle.metrics.errors import relative_distances
from knuckle.metrics.statistics import Interval, cluster_bootstrap
from knuckle.study.corruptions import FACTORS, SEVERITIES, Patch
from knuckle.study.crop_artefact import assumed_rule

if TYPE_CHECKING:
    from knuckle.predict import Predictor

HAND_SIDE: Final = 160
"""Pixels of the longer side of the hand's box in a patch."""
PADDING: Final = 2.0
"""The patch's side over that of the box: more than models look at."""
MOST_PIXELS: Final = 1024
"""A side of a patch that holds a whole image is no longer, however small the hand is on it."""
TOGETHER: Final = 32
"""Hands whose patches are held at a time."""

Image = NDArray[np.uint8]
Window = Callable[[tuple[int, int]], NDArray[np.float64]]
"""The box x1, y1, x2, y2 that a model of whole images cuts around, from an image's width and height."""


@dataclass(frozen=True)
class Robustness:
    """The errors of one model on the same hands in unchanged and in harder pictures.

    Attributes:
        clean: of each hand.
        harder: by factor (in the order of FACTORS), severity and hand.
        gesture: of each hand, -1 where unknown.
        group: of each hand.
    """

    clean: Float64[np.ndarray, " n"]
    harder: Float64[np.ndarray, "f 5 n"]
    gesture: Int64[np.ndarray, " n"]
    group: Int64[np.ndarray, " n"]

    def degradation(self, factor: int, severity: int) -> Interval:
        """Mean error over the mean error in unchanged pictures, with its interval; NaN where a keypoint is not found
        even in unchanged pictures.
        """
        return self._ratio(self.harder[factor, severity - 1])

    def mean_degradation(self, factor: int) -> Interval:
        """The same over all five severities together."""
        return self._ratio(self.harder[factor].mean(axis=0))

    def _ratio(self, harder: Float64[np.ndarray, " n"]) -> Interval:
        if not np.isfinite(self.clean).all():
            return Interval(math.nan, math.nan, math.nan)
        return cluster_bootstrap(harder, self.clean, self.group)

    def of_gestures(self) -> dict[int, Float64[np.ndarray, " f"]]:
        """The mean degradation of each gesture that occurs, by factor."""
        return {gesture: curves.mean(axis=1) for gesture, curves in self.curves_of_gestures().items()}

    def curves_of_gestures(self) -> dict[int, Float64[np.ndarray, "f 5"]]:
        """The degradation of each gesture that occurs, by factor and severity."""
        found = {}
        for gesture in np.unique(self.gesture[self.gesture >= 0]).tolist():
            rows = self.gesture == gesture
            clean = self.clean[rows].mean()
            found[gesture] = np.asarray(
                self.harder[..., rows].mean(axis=2) / (clean if np.isfinite(clean) else math.nan)
            )
        return found


def measure(
    model: Predictor,
    hands: Hands,
    *,
    seed: int = 0,
    others: Callable[[int], Image] | None = None,
    window: Window | None = None,
    progress: Callable[[int], object] | None = None,
) -> Robustness:
    """A model's errors on hands, in patches as they are and under every factor at every severity.

    Args:
        model: what finds keypoints in RGB arrays at given boxes.
        hands: labelled, with images that can be read; those without a labelled keypoint or a box are left out.
        seed: of what is random in a factor; it does not depend on the model, so models meet the same pictures.
        others: the whole picture of row i before another background, of the same size, where that is known
            (rendered hands); None: another background is made up outside the hull of the keypoints.
        window: for models that look at whole images: what they cut around, so that unchanged pictures are those that
            they are measured on otherwise. Patches then hold the whole image. None: models cut around the hand's box.
        progress: called with the number of hands done.

    Raises:
        ValueError: no hand is left, or an image cannot be read.
    """
    rows = measurable(hands)
    if window is not None:
        from knuckle.predict import Predictor

        model = Predictor(
            model.engine,
            assumed_rule(model.rule),
            flip_test=model.flip_test,
            batch_size=model.batch_size,
        )
    clean, harder = [], []
    for start in range(0, len(rows), TOGETHER):
        some = rows[start : start + TOGETHER]
        patches = [patch_of(hands, row, None if others is None else others(row), window) for row in some.tolist()]
        clean.append(_errors(model, patches, [patch.image for patch in patches]))
        changed = [_severities(patches, some, name, seed) for name in FACTORS]
        harder.append([[_errors(model, patches, images) for images in of_factor] for of_factor in changed])
        if progress is not None:
            progress(start + len(some))
    return Robustness(
        np.concatenate(clean),
        np.concatenate([np.array(part) for part in harder], axis=2),
        hands.gesture[rows].astype(np.int64),
        hands.group[rows],
    )


def measurable(hands: Hands) -> Int64[np.ndarray, " m"]:
    """The rows that `measure` takes: three labelled keypoints, and a box with an area.

    Raises:
        ValueError: there are none.
    """
    rows = np.flatnonzero((hands.labeled.sum(axis=1) >= 3) & (np.ptp(hands.box.reshape(-1, 2, 2), axis=1).min(1) > 0))
    if not len(rows):
        raise ValueError("robustness needs hands with three labelled keypoints and a box; there are none.")
    return rows


def frame_window(rule: CropRule) -> Window:
    """What a model of whole images cuts around: the frame, as its rule counts it (`CropRule.around_frame`)."""
    return lambda size_wh: np.array([0.0, 0.0, *size_wh]) if rule.alignment == "corner" else frame_box(size_wh)


def patch_of(hands: Hands, row: int, other: Image | None = None, window: Window | None = None) -> Patch:
    """The square picture around a hand, all hands equally large; or around the whole image, where a window is given.

    Args:
        hands: labelled.
        row: which of them.
        other: its whole picture before another background.
        window: what the model cuts around; None: the hand's box.

    Raises:
        ValueError: the image cannot be read.
    """
    image = read_image(hands[row].paths()[0])
    size_wh = (image.shape[1], image.shape[0])
    if window is None:
        crop = Crop.around(hands.box[row], round(HAND_SIDE * PADDING), padding=PADDING)
    else:
        zoom = HAND_SIDE / float((hands.box[row, 2:] - hands.box[row, :2]).max())
        crop = Crop.around(frame_box(size_wh), min(MOST_PIXELS, math.ceil(zoom * max(size_wh))), padding=1.0)
    cut = None if other is None else np.asarray(crop.warp(other), dtype=np.uint8)
    inside = crop.warp(np.full(image.shape[:2], 255, dtype=np.uint8)) > 127
    xy, box = crop.to_crop(hands.xy[row]), crop.to_crop(hands.box[row].reshape(2, 2)).reshape(4)
    pixels = np.asarray(crop.warp(image), dtype=np.uint8)
    look = None if window is None else crop.to_crop(window(size_wh).reshape(2, 2)).reshape(4).astype(np.float32)
    return Patch(pixels, xy.astype(np.float32), box.astype(np.float32), inside, cut, look)


def _severities(patches: Sequence[Patch], rows: Int64[np.ndarray, " n"], name: str, seed: int) -> Iterator[list[Image]]:
    """The patches at each severity; a hand's draws are the same at all of them, so one grows out of the other."""
    place = [*FACTORS].index(name)
    for severity in SEVERITIES:
        generators = [np.random.default_rng((seed, place, row)) for row in rows.tolist()]
        yield [FACTORS[name].at(patch, severity, rng) for patch, rng in zip(patches, generators, strict=True)]


def _errors(
    model: Predictor, patches: Sequence[Patch], images: Sequence[UInt8[np.ndarray, "s s 3"]]
) -> NDArray[np.float64]:
    """The mean error of each hand over its labelled joints, in box sides; infinite where a joint was not found."""
    xy, box = np.stack([patch.xy for patch in patches]), np.stack([patch.box for patch in patches])
    true = Hands(image=[""] * len(patches), xy=xy, visibility=2 * np.isfinite(xy).all(axis=2), box=box)
    look = np.stack([patch.box if patch.look is None else patch.look for patch in patches])
    found = model.predict([*images], [*look[:, None]])
    return np.asarray(np.nanmean(relative_distances(found, true, "box"), axis=1))
