"""From the loosely typed record of an annotation file to checked rows of `Hands`.

Every function here raises ValueError with half a sentence, such as "has 20 keypoints, expected 21":
the reader knows file, line and record, and puts them in front.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

from knuckle.hands import (
    LEFT,
    OPTIONAL_COLUMNS,
    RIGHT,
    UNKNOWN,
    UNLABELED,
    VISIBLE,
    Hands,
    group_number,
    keypoint_extent,
)
from knuckle.skeleton import GESTURES, JOINT_NAMES, NUM_JOINTS

_SIDES: Final = {"left": LEFT, "right": RIGHT, "unknown": UNKNOWN, "": UNKNOWN}
SIDE_NAMES: Final = {LEFT: "left", RIGHT: "right"}
_LARGEST_SIZE: Final = np.iinfo(np.int32).max
NO_BOX: Final = np.full(4, np.nan)


def unlabeled_keypoints() -> Float64[np.ndarray, "21 3"]:
    """x, y, visibility of a hand without a labelled keypoint."""
    return np.array([[np.nan, np.nan, UNLABELED]] * NUM_JOINTS)


def keypoints_of(value: object) -> Float64[np.ndarray, "21 3"]:
    """x, y, visibility of 21 keypoints, listed flat or nested."""
    array = numbers_of(value, "keypoints")
    if array.shape == (3 * NUM_JOINTS,):
        return array.reshape(NUM_JOINTS, 3)
    if array.shape == (NUM_JOINTS, 3):
        return array
    if array.ndim == 1 and array.size % 3 == 0:
        found = f"{array.size // 3} keypoints"
    elif array.ndim == 2 and array.shape[1] == 3:
        found = f"{len(array)} keypoints"
    else:
        found = f"keypoints of shape {array.shape}"
    raise ValueError(f"has {found}, expected {NUM_JOINTS} of x, y, visibility")


def box_of_xywh(value: object) -> Float64[np.ndarray, " 4"]:
    """x1, y1, x2, y2 of a COCO box x, y, width, height; nothing is shifted."""
    array = numbers_of(value, "bbox")
    if array.shape != (4,):
        raise ValueError(f"has a bbox of shape {array.shape}, expected the 4 numbers x, y, width, height")
    x, y, width, height = array
    return np.array([x, y, x + width, y + height])


def numbers_of(value: object, name: str) -> NDArray[np.float64]:
    """An array of real numbers; null stands for NaN."""
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        raise ValueError(f"has {name} of uneven length") from None
    if array.dtype == object:
        array = _without_nulls(array, name)
    if array.dtype.kind not in "iuf" and array.size:
        raise ValueError(f"has {name} that are not all numbers, such as {_first_non_number(value)}")
    return array.astype(np.float64)


def _without_nulls(array: NDArray[Any], name: str) -> NDArray[np.float64]:
    cells = [np.nan if cell is None else cell for cell in array.ravel().tolist()]
    if any(isinstance(cell, bool) or not isinstance(cell, (int, float)) for cell in cells):
        raise ValueError(f"has {name} that are not all numbers, such as {_first_non_number(array.ravel().tolist())}")
    try:
        return np.array(cells, dtype=np.float64).reshape(array.shape)
    except OverflowError:
        raise ValueError(f"has {name} too large for any image") from None


def _first_non_number(value: object) -> str:
    if isinstance(value, list):
        strange = [cell for cell in value if isinstance(cell, bool) or not isinstance(cell, (int, float))]
        return _first_non_number(strange[0]) if strange else "true"
    return shown(value)


def shown(value: object) -> str:
    """A value as an error message quotes it: short."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def side_of(value: object) -> int:
    """A side from "left", "right" (any case), knuckle's -1, 0, 1, or null."""
    if value is None:
        return UNKNOWN
    if isinstance(value, str) and value.strip().casefold() in _SIDES:
        return _SIDES[value.strip().casefold()]
    if isinstance(value, int) and not isinstance(value, bool) and value in (UNKNOWN, LEFT, RIGHT):
        return value
    raise ValueError(f'has the side {shown(value)}, expected "left" or "right"')


def gesture_of(value: object) -> int:
    """A gesture from its number, its name in `skeleton.GESTURES`, or null."""
    if value is None:
        return UNKNOWN
    if isinstance(value, int) and not isinstance(value, bool) and UNKNOWN <= value < len(GESTURES):
        return value
    name = gesture_name(value) if isinstance(value, str) else None
    if name is not None:
        return GESTURES.index(name)
    raise ValueError(f"has the gesture {shown(value)}, expected 0 to {len(GESTURES) - 1} or a name such as 'fist'")


def gesture_name(label: str) -> str | None:
    """The gesture that a label names, without regard to case, spaces and hyphens."""
    name = label.strip().casefold().replace(" ", "_").replace("-", "_")
    return name if name in GESTURES else None


def group_of(value: object) -> int | None:
    """A group from a number (kept) or a name (hashed); None leaves the choice to `Hands`."""
    if isinstance(value, str):
        return group_number(value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63):
        return value
    raise ValueError(f"has the group {shown(value)}, expected a name or a whole number of 64 bits")


def size_of(width: object, height: object) -> tuple[int, int]:
    """An image's width and height, 0 where null."""
    return _length_of(width, "width"), _length_of(height, "height")


def _length_of(value: object, name: str) -> int:
    if value is None:
        return 0
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_SIZE:
        return value
    raise ValueError(f"has the image {name} {shown(value)}, expected a whole number of pixels")


def name_of(value: object) -> str:
    """An image's path as text."""
    if isinstance(value, str) and value.strip() and "\0" not in value:
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
    raise ValueError(f"has the image path {shown(value)}, expected a file name")


class Rows:
    """Hands in the making: checked rows, one `add` a hand."""

    def __init__(self) -> None:
        self._image: list[str] = []
        self._keypoints: list[NDArray[np.float64]] = []
        self._box: list[NDArray[np.float64]] = []
        self._box_from_keypoints: list[bool] = []
        self._numbers: list[tuple[int, int, int | None, tuple[int, int]]] = []
        self._predicted: dict[str, list[NDArray[np.float64] | None]] = {name: [] for name in OPTIONAL_COLUMNS}

    def add(
        self,
        image: str,
        keypoints: Float64[np.ndarray, "21 3"],
        *,
        box: Float64[np.ndarray, " 4"] | None = None,
        side: int = UNKNOWN,
        gesture: int = UNKNOWN,
        group: int | None = None,
        size: tuple[int, int] = (0, 0),
        covariance: NDArray[np.float64] | None = None,
        confidence: NDArray[np.float64] | None = None,
        score: NDArray[np.float64] | None = None,
        side_probability: NDArray[np.float64] | None = None,
    ) -> None:
        """Take one hand.

        Args:
            image: path of the image.
            keypoints: x, y, visibility of each joint.
            box: x1, y1, x2, y2; None takes the extent of the labelled keypoints, `NO_BOX` has none.
            side: -1, 0 or 1.
            gesture: -1 to 24.
            group: None takes the hash of the image's path.
            size: width and height of the image.
            covariance: (21, 3) variance of x, covariance, variance of y.
            confidence: (21,) in 0..1 or NaN.
            score: () in 0..1 or NaN.
            side_probability: () in 0..1 or NaN.

        Raises:
            ValueError: half a sentence on what is wrong with the hand; nothing was added.
        """
        _check_keypoints(keypoints)
        if box is not None and box is not NO_BOX:
            _check_box(box, keypoints)
        predicted = dict(zip(OPTIONAL_COLUMNS, (covariance, confidence, score, side_probability), strict=True))
        shapes = {"covariance": (NUM_JOINTS, 3), "confidence": (NUM_JOINTS,)}
        for name, values in predicted.items():
            expected = shapes.get(name, ())
            if values is not None and values.shape != expected:
                raise ValueError(f"has {name} of shape {values.shape}, expected {expected}")
            if values is not None and name != "covariance" and ((values < 0) | (values > 1)).any():
                raise ValueError(f"has a {name} outside of 0..1")
        for name, values in predicted.items():
            self._predicted[name].append(values)
        self._image.append(image)
        self._keypoints.append(keypoints)
        self._box.append(NO_BOX if box is None else box)
        self._box_from_keypoints.append(box is None)
        self._numbers.append((side, gesture, group, size))

    def hands(self, root: Path) -> Hands:
        """All rows, with image paths that start from `root`."""
        if not self._image:
            return Hands.empty(root)
        keypoints = np.stack(self._keypoints)
        xy = keypoints[..., :2].astype(np.float32)
        labeled = keypoints[..., 2] > UNLABELED
        extent = keypoint_extent(np.where(labeled[..., None], xy, np.float32(np.nan)))
        side, gesture, group, size = zip(*self._numbers, strict=True)
        return Hands(
            image=self._image,
            xy=xy,
            visibility=keypoints[..., 2],
            box=np.where(np.array(self._box_from_keypoints)[:, None], extent, np.stack(self._box)),
            side=side,
            gesture=gesture,
            group=[group_number(n) if g is None else g for n, g in zip(self._image, group, strict=True)],
            size=size,
            covariance=self._covariance(),
            confidence=self._column("confidence", (NUM_JOINTS,)),
            score=self._column("score", ()),
            side_probability=self._column("side_probability", ()),
            root=root,
        )

    def _column(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
        """One number an entry, NaN where a record has none; None where no record has one."""
        column = np.stack([np.full(shape, np.nan) if value is None else value for value in self._predicted[name]])
        return None if np.isnan(column).all() else column

    def _covariance(self) -> NDArray[np.float64] | None:
        terms = self._column("covariance", (NUM_JOINTS, 3))
        return None if terms is None else terms[..., [0, 1, 1, 2]].reshape(-1, NUM_JOINTS, 2, 2)


def _check_keypoints(keypoints: Float64[np.ndarray, "21 3"]) -> None:
    visibility = keypoints[:, 2]
    with np.errstate(over="ignore"):
        finite = np.isfinite(keypoints[:, :2].astype(np.float32)).all(axis=1)
    wrong = ~((visibility == UNLABELED) | (visibility == 1) | (visibility == VISIBLE))
    broken = wrong | ((visibility != UNLABELED) & ~finite)
    if broken.any():
        joint = int(np.flatnonzero(broken)[0])
        x, y, v = keypoints[joint].tolist()
        which = f"at keypoint {joint} ({JOINT_NAMES[joint]})"
        if wrong[joint]:
            raise ValueError(f"has visibility {v:g} {which}, expected 0, 1 or 2")
        raise ValueError(f"has the position ({x:g}, {y:g}) {which}, expected finite numbers or visibility 0")


def _check_box(box: Float64[np.ndarray, " 4"], keypoints: Float64[np.ndarray, "21 3"]) -> None:
    """A finite box with an area; without one only where the labelled keypoints fill no more."""
    with np.errstate(over="ignore"):
        finite = bool(np.isfinite(box.astype(np.float32)).all())
    if not finite:
        raise ValueError(f"has the box {box.tolist()}, expected finite numbers")
    x1, y1, x2, y2 = box.tolist()
    if x2 < x1 or y2 < y1:
        raise ValueError(f"has a box of negative size ({x2 - x1:g} x {y2 - y1:g} pixels)")
    if (x2 == x1 or y2 == y1) and not np.allclose(box, _extent(keypoints), atol=1e-3):
        raise ValueError(f"has a box without area ({x2 - x1:g} x {y2 - y1:g} pixels)")


def _extent(keypoints: Float64[np.ndarray, "21 3"]) -> Float32[np.ndarray, " 4"]:
    xy = np.where(keypoints[:, 2:] > UNLABELED, keypoints[:, :2], np.nan).astype(np.float32)
    extent: Float32[np.ndarray, " 4"] = keypoint_extent(xy[None])[0]
    return extent
