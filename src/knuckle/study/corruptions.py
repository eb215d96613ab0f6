"""What makes a photo of a hand harder, one factor at a time at five severities: fewer pixels, blur, light, noise...

The factors are the "external factors" that "Empirical Study on MMPOSE 2D Hand Keypoint Detection" names as open, at
severities in the manner of Hendrycks and Dietterich ("Benchmarking neural network robustness", ICLR 2019). Lengths are
fractions of the hand's box, so that a factor is as hard for a near hand as for a far one. No factor moves the hand: its
keypoints stay true. Each change follows from the patch and the generator alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy.typing import NDArray

from knuckle.data.augment import LUMA
from knuckle.render.backgrounds import Procedural
from knuckle.render.sensor import to_linear

Image = NDArray[np.uint8]

SEVERITIES: Final = (1, 2, 3, 4, 5)
HULL_MARGIN: Final = 0.12
"""Parts of the box's side around the keypoints' hull that count as hand where its outline is not known."""
AT_KEYPOINTS: Final = 100
"""Occluders after which keypoints alone are taken not to fill the box: 3,000 rendered hands took 24 at most."""


@dataclass(frozen=True)
class Patch:
    """A square picture around one hand.

    Attributes:
        image: (s, s, 3) RGB.
        xy: (21, 2) keypoints in pixels of the patch, NaN where not labelled.
        box: x1, y1, x2, y2 of the hand, pixels of the patch.
        inside: (s, s) which pixels the photo holds; the others are black and stay so.
        other: the same picture before another background, where that is known; None: it is made up outside the
            hull of the keypoints.
        look: what the model cuts around, x1, y1, x2, y2 in pixels of the patch; None: the hand's box.
    """

    image: UInt8[np.ndarray, "s s 3"]
    xy: Float32[np.ndarray, "21 2"]
    box: Float32[np.ndarray, " 4"]
    inside: Bool[np.ndarray, "s s"]
    other: UInt8[np.ndarray, "s s 3"] | None = None
    look: Float32[np.ndarray, " 4"] | None = None

    @property
    def hand_side(self) -> float:
        """The longer side of the box, pixels of the patch."""
        return float((self.box[2:] - self.box[:2]).max())


@dataclass(frozen=True)
class Factor:
    """One way in which photos become harder.

    Attributes:
        meaning: what the levels are, with their unit.
        levels: one for each severity.
        apply: the changed picture, from a patch, a level and a generator.
    """

    meaning: str
    levels: tuple[float, float, float, float, float]
    apply: Callable[[Patch, float, np.random.Generator], Image]

    def at(self, patch: Patch, severity: int, rng: np.random.Generator) -> Image:
        """The patch at a severity from 1 to 5."""
        changed = self.apply(patch, self.levels[severity - 1], rng)
        return np.asarray(np.where(patch.inside[..., None], changed, 0), dtype=np.uint8)


def _coarse(patch: Patch, side: float, rng: np.random.Generator) -> Image:
    """As a camera sees it whose pixels are so large: averaged, then enlarged again."""
    size = len(patch.image)
    small = max(2, round(size * side / patch.hand_side))
    if small >= size:
        return patch.image
    shrunk = cv2.resize(patch.image, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _blurred(patch: Patch, share: float, rng: np.random.Generator) -> Image:
    blurred = cv2.GaussianBlur(patch.image, (0, 0), share * patch.hand_side, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, dtype=np.uint8)


def _exposed(patch: Patch, stops: float, rng: np.random.Generator) -> Image:
    """More light or less, in linear light; what exceeds white is lost, what falls below a grey level too."""
    light = np.clip(to_linear(patch.image) * 2.0**stops, 0, 1)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return _bytes(255 * encoded)


def _flat(patch: Patch, factor: float, rng: np.random.Generator) -> Image:
    """Contrast about the picture's mean grey."""
    mean = float((patch.image[patch.inside] @ LUMA).mean())
    return _bytes(mean + (patch.image - mean) * factor)


def _tinted(patch: Patch, strength: float, rng: np.random.Generator) -> Image:
    """Gains on red, green and blue towards a hue, of the same luma for grey."""
    hue = rng.uniform(0, 2 * np.pi)
    gains = np.exp(strength * np.cos(hue + np.array([0, 2, 4]) * np.pi / 3))
    return _bytes(patch.image * (gains / (gains @ LUMA)))


def _noisy(patch: Patch, sigma: float, rng: np.random.Generator) -> Image:
    return _bytes(patch.image + rng.standard_normal(patch.image.shape, dtype=np.float32) * sigma)


def _compressed(patch: Patch, quality: float, rng: np.random.Generator) -> Image:
    bgr = cv2.cvtColor(patch.image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    assert done
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _elsewhere(patch: Patch, share: float, rng: np.random.Generator) -> Image:
    """Another background shines through so far; the hand stays."""
    other = patch.other
    if other is None:
        hand = _hull(patch).astype(np.float32)
        soft = cv2.GaussianBlur(hand, (0, 0), max(0.5, 0.01 * patch.hand_side))[..., None]
        other = _bytes(patch.image * soft + Procedural().draw(len(patch.image), rng) * (1 - soft))
    return _bytes(patch.image + (other.astype(np.float32) - patch.image) * share)


def _covered(patch: Patch, share: float, rng: np.random.Generator) -> Image:
    """Rectangles of one colour, each of a tenth of the box's area, until a share of the box is covered.

    They lie over labelled keypoints; where the box reaches far beyond these, the later ones lie anywhere in it.
    """
    size = len(patch.image)
    covered = np.zeros((size, size), dtype=np.uint8)
    image = patch.image.copy()
    labelled = patch.xy[np.isfinite(patch.xy).all(axis=1)]
    box = _box_mask(patch.box, size)
    for number in range(2 * AT_KEYPOINTS):
        if (covered & box).sum() >= share * box.sum():
            break
        if number < AT_KEYPOINTS:
            center = labelled[rng.integers(len(labelled))] + rng.normal(0, 0.08 * patch.hand_side, 2)
        else:
            center = rng.uniform(patch.box[:2], patch.box[2:])
        stretch = np.exp(rng.uniform(-0.5, 0.5))
        sides = np.sqrt(0.1) * patch.hand_side * np.array([stretch, 1 / stretch])
        turned = ((float(center[0]), float(center[1])), (float(sides[0]), float(sides[1])), float(rng.uniform(0, 180)))
        corners = cv2.boxPoints(turned).round().astype(np.int32)
        cv2.fillConvexPoly(image, corners, rng.integers(0, 256, 3).tolist())
        cv2.fillConvexPoly(covered, corners, 1)
    return image


FACTORS: Final[dict[str, Factor]] = {
    "resolution": Factor("pixels along the hand's box", (64, 48, 32, 24, 16), _coarse),
    "blur": Factor("standard deviation over the box's side", (0.006, 0.012, 0.02, 0.03, 0.045), _blurred),
    "darkness": Factor("stops of exposure", (-1, -2, -3, -4, -5), _exposed),
    "brightness": Factor("stops of exposure", (0.5, 1, 1.5, 2, 2.75), _exposed),
    "contrast": Factor("factor about the mean", (0.7, 0.5, 0.35, 0.2, 0.1), _flat),
    "colour": Factor("log gain towards a hue", (0.15, 0.3, 0.5, 0.75, 1.1), _tinted),
    "noise": Factor("grey levels", (8, 16, 28, 44, 64), _noisy),
    "jpeg": Factor("quality", (40, 25, 15, 8, 4), _compressed),
    "background": Factor("share of another background", (0.2, 0.4, 0.6, 0.8, 1.0), _elsewhere),
    "occlusion": Factor("covered share of the hand's box", (0.05, 0.1, 0.2, 0.3, 0.45), _covered),
}
"""By name, in the order of tables and figures."""


def _bytes(values: NDArray[np.floating]) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def _hull(patch: Patch) -> Bool[np.ndarray, "s s"]:
    """Where the hand is, as far as its keypoints say: their hull and a margin."""
    points = patch.xy[np.isfinite(patch.xy).all(axis=1)].round().astype(np.int32)
    mask = np.zeros(patch.image.shape[:2], dtype=np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points), 1)
    reach = max(1, round(HULL_MARGIN * patch.hand_side))
    return np.asarray(cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)) > 0)


def _box_mask(box: Float32[np.ndarray, " 4"], size: int) -> UInt8[np.ndarray, "s s"]:
    """The part of the patch within a box, one pixel at least."""
    mask = np.zeros((size, size), dtype=np.uint8)
    left, top, right, bottom = np.clip(box.round(), 0, size - 1).astype(int)
    mask[top : bottom + 1, left : right + 1] = 1
    return mask
