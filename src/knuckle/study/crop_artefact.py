"""What MMPose's FreiHAND loader does to a photo that is not 224 px: an off-centre crop at the wrong scale.

MMPose takes every FreiHAND image for 224 x 224 px: its box is [0, 0, 224, 224], grown by the padding 0.8
about its centre (`FreiHandDataset.parse_data_info`, 1.x; `freihand_dataset.py`, 0.26 and later). On the
paper's own photos of 244 px the window is 10 px off to the upper left, and shows less of the photo. The
right window would take the whole photo as the box.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float64

from knuckle.geometry import Crop, CropRule, frame_box
from knuckle.hands import Hands

if TYPE_CHECKING:
    from collections.abc import Sequence

ASSUMED_SIZE: Final = 224
MMPOSE_RULE: Final = CropRule(size=224, frame_padding=0.8, whole_image=True, alignment="corner")
"""How MMPose's FreiHAND models want their crops."""


@dataclass(frozen=True)
class CropArtefact:
    """The crop that an image of one size gets, against the right one. Lengths are image pixels.

    Attributes:
        size: side of the square image.
        offset: how far the window lies towards the upper left of the image's centre, in x and in y.
        window: side of the window.
        right_window: side of the right window.
        magnification: size of a hand in the crop over its size in the right crop.
        shift: how far the image's centre lies from its right place in the crop, crop pixels, in x and in y.
        margins: what the window leaves out at the left and top, and at the right and bottom.
        right_margin: what the right window leaves out on every side.
    """

    size: int
    offset: float
    window: float
    right_window: float
    magnification: float
    shift: float
    margins: tuple[float, float]
    right_margin: float

    def sentence(self) -> str:
        """The artefact in words."""
        if self.offset == 0:
            return f"A photo of {self.size} px is cropped as MMPose means it: in the middle and at the right scale."
        return (
            f"A photo of {self.size} px is cropped as if it had {ASSUMED_SIZE}: the window of {self.window:.1f} px "
            f"instead of {self.right_window:.1f} shows hands {self.magnification:.3f} times as large and lies "
            f"{self.offset:.1f} px off the middle in x and in y, {self.shift:.1f} px of the network's input; it leaves "
            f"out {self.margins[0]:.1f} px at the left and top and {self.margins[1]:.1f} px at the right and bottom "
            f"instead of {self.right_margin:.1f} px all around."
        )


def crop_artefact(size: int, rule: CropRule = MMPOSE_RULE) -> CropArtefact:
    """The artefact on a square image of `size` pixels under a rule for whole images.

    Raises:
        ValueError: the size is not positive.
    """
    if size < 1:
        raise ValueError(f"an image has at least 1 pixel a side, got {size}.")
    assumed = rule.around_frame((ASSUMED_SIZE, ASSUMED_SIZE))
    right = rule.around_frame((size, size))
    middle = np.full(2, size / 2 if rule.alignment == "corner" else (size - 1) / 2)
    window, right_window = rule.size / assumed.zoom, rule.size / right.zoom
    offset = (size - ASSUMED_SIZE) / 2
    left = (ASSUMED_SIZE - window) / 2
    return CropArtefact(
        size=size,
        offset=offset,
        window=window,
        right_window=right_window,
        magnification=assumed.zoom / right.zoom,
        shift=float((assumed.to_crop(middle) - right.to_crop(middle))[0]),
        margins=(left, size - left - window),
        right_margin=(size - right_window) / 2,
    )


def assumed_box(rule: CropRule) -> Float64[np.ndarray, " 4"]:
    """The box that MMPose takes for a FreiHAND image, whatever its size."""
    if rule.alignment == "corner":
        return np.array([0.0, 0.0, ASSUMED_SIZE, ASSUMED_SIZE])
    return np.asarray(frame_box((ASSUMED_SIZE, ASSUMED_SIZE)))


def assumed_rule(rule: CropRule) -> CropRule:
    """The rule that cuts around `assumed_box` what MMPose's loader cuts out of any image."""
    return replace(rule, whole_image=False, padding=rule.frame_padding)


def keypoints_cut_off(hands: Hands, rule: CropRule = MMPOSE_RULE) -> tuple[int, int]:
    """Labelled keypoints outside the crop that MMPose's loader cuts, and outside the right one."""
    assumed = [rule.around_frame((ASSUMED_SIZE, ASSUMED_SIZE))] * len(hands)
    right = [rule.around_frame((int(width), int(height))) for width, height in hands.size]
    return _outside(hands, assumed, rule.size), _outside(hands, right, rule.size)


def _outside(hands: Hands, crops: Sequence[Crop], size: int) -> int:
    count = 0
    for hand, crop in zip(hands, crops, strict=True):
        xy_crop = crop.to_crop(hand.xy[0][hand.labeled[0]])
        count += int(((xy_crop < -0.5) | (xy_crop > size - 0.5)).any(axis=1).sum())
    return count
