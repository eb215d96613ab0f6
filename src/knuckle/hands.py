"""Hands: the one container. Readers return it, writers take it, models return it, metrics compare two.

A frozen table with one row a hand and numpy columns. Visibility means the same everywhere:
0 not labelled, 1 labelled but occluded, 2 labelled and visible (COCO keypoints).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from dataclasses import replace as dataclass_replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, SupportsIndex

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int32, Int64, UInt8
from numpy.typing import ArrayLike, NDArray

from knuckle.geometry import mirror_boxes, mirror_points
from knuckle.skeleton import GESTURES, JOINT_NAMES, NUM_JOINTS

if TYPE_CHECKING:
    import pandas

UNLABELED: Final = 0
OCCLUDED: Final = 1
VISIBLE: Final = 2

LEFT: Final = 0
RIGHT: Final = 1
UNKNOWN: Final = -1
"""A side or gesture that nobody labelled."""

ENOUGH_POINTS: Final = 16
"""Keypoints from which on their extent can stand for a hand's box."""

# Shape of one hand's entry and dtype of every numeric column; `None` means one number a hand.
_COLUMNS: Final[dict[str, tuple[tuple[int, ...], type[np.generic]]]] = {
    "xy": ((NUM_JOINTS, 2), np.float32),
    "visibility": ((NUM_JOINTS,), np.uint8),
    "box": ((4,), np.float32),
    "side": ((), np.int8),
    "gesture": ((), np.int8),
    "group": ((), np.int64),
    "size": ((2,), np.int32),
    "covariance": ((NUM_JOINTS, 2, 2), np.float32),
    "confidence": ((NUM_JOINTS,), np.float32),
    "score": ((), np.float32),
    "side_probability": ((), np.float32),
}
OPTIONAL_COLUMNS: Final = ("covariance", "confidence", "score", "side_probability")
PER_HAND: Final = ("score", "side_probability")
"""The optional columns with one number a hand."""


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Hands:
    """A table of n hands. The first three columns are required, the rest have neutral defaults.

    Attributes:
        image: (n,) str, path of each hand's image, relative to `root` where it can be.
        xy: (n, 21, 2) float32, keypoints in image pixels, joints as in `skeleton.JOINT_NAMES`;
            NaN exactly where `visibility` is 0 (numbers given there are dropped).
        visibility: (n, 21) uint8, 0 not labelled, 1 labelled but occluded, 2 visible.
        box: (n, 4) float32, x1, y1, x2, y2 in image pixels. Default: the extent of the labelled
            keypoints; NaN for a hand without any.
        side: (n,) int8, -1 unknown, 0 left, 1 right: the person's own hand, as the camera saw it.
        gesture: (n,) int8, -1 unlabelled, else an index into `skeleton.GESTURES`.
        group: (n,) int64, what must never be split and is resampled together. Default: one group
            an image, numbered by a hash of its path.
        size: (n, 2) int32, image width and height, 0 where unknown.
        covariance: (n, 21, 2, 2) float32 or None, of predicted keypoints, in image pixels squared.
        confidence: (n, 21) float32 or None, calibrated probability that the predicted point lies
            within 0.05 x the longer side of `box` of the truth.
        score: (n,) float32 or None, probability that this is a hand.
        side_probability: (n,) float32 or None, probability that a hand is of the predicted `side`, if it is a
            hand; NaN where the side is unknown.
        root: folder that relative image paths start from, or None for the working directory.

    Arrays are copied and made read-only. Two Hands are equal when every column is; `root` is
    where files lie, not what they say, and does not count.

    Raises:
        ValueError: a column's length, shape or range is wrong; says what was expected and what came.
    """

    image: NDArray[np.str_]
    xy: Float32[np.ndarray, "n 21 2"]
    visibility: UInt8[np.ndarray, "n 21"]
    box: Float32[np.ndarray, "n 4"]
    side: Int8[np.ndarray, " n"]
    gesture: Int8[np.ndarray, " n"]
    group: Int64[np.ndarray, " n"]
    size: Int32[np.ndarray, "n 2"]
    covariance: Float32[np.ndarray, "n 21 2 2"] | None = None
    confidence: Float32[np.ndarray, "n 21"] | None = None
    score: Float32[np.ndarray, " n"] | None = None
    side_probability: Float32[np.ndarray, " n"] | None = None
    root: Path | None = None

    def __init__(
        self,
        *,
        image: Sequence[str] | NDArray[Any],
        xy: ArrayLike,
        visibility: ArrayLike,
        box: ArrayLike | None = None,
        side: ArrayLike | None = None,
        gesture: ArrayLike | None = None,
        group: ArrayLike | None = None,
        size: ArrayLike | None = None,
        covariance: ArrayLike | None = None,
        confidence: ArrayLike | None = None,
        score: ArrayLike | None = None,
        side_probability: ArrayLike | None = None,
        root: str | Path | None = None,
    ) -> None:
        names = _image_names(image)
        n = len(names)
        columns: dict[str, NDArray[Any] | None] = {
            "visibility": _column("visibility", visibility, n),
            "xy": _column("xy", xy, n),
        }
        _check_keypoints(columns)
        for name, value, neutral in (("side", side, UNKNOWN), ("gesture", gesture, UNKNOWN), ("size", size, 0)):
            columns[name] = _column(name, _full(name, n, neutral) if value is None else value, n)
        columns["group"] = _column("group", _groups_by_image(names) if group is None else group, n)
        columns["box"] = _column("box", keypoint_extent(_given(columns["xy"])) if box is None else box, n)
        predicted = (covariance, confidence, score, side_probability)
        for name, value in zip(OPTIONAL_COLUMNS, predicted, strict=True):
            columns[name] = None if value is None else _column(name, value, n)
        _check_ranges(columns)
        object.__setattr__(self, "image", names)
        object.__setattr__(self, "root", None if root is None else Path(root))
        for name, array in columns.items():
            if array is not None:
                array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def empty(cls, root: str | Path | None = None) -> Hands:
        """A table without a row."""
        return cls(image=[], xy=np.empty((0, NUM_JOINTS, 2)), visibility=np.empty((0, NUM_JOINTS)), root=root)

    @classmethod
    def concat(cls, parts: Iterable[Hands]) -> Hands:
        """The rows of all parts in order.

        Parts from different roots keep their images: paths become absolute. An optional column is
        kept only where every non-empty part has it.
        """
        parts = list(parts)
        filled = [part for part in parts if len(part)] or parts[:1]
        if not filled:
            return cls.empty()
        if len(filled) == 1:
            return filled[0]
        roots = {part.root for part in filled}
        root = filled[0].root if len(roots) == 1 else None
        names = [
            part.image if len(roots) == 1 else np.array([str(p.absolute()) for p in part.paths()]) for part in filled
        ]
        columns = {
            name: np.concatenate([getattr(part, name) for part in filled])
            for name in _COLUMNS
            if all(getattr(part, name) is not None for part in filled)
        }
        return cls(image=np.concatenate(names), root=root, **columns)

    @property
    def labeled(self) -> Bool[np.ndarray, "n 21"]:
        """True where a keypoint has a position, seen or occluded."""
        return np.asarray(self.visibility > UNLABELED)

    def paths(self) -> list[Path]:
        """The path of each hand's image, `root` included."""
        root = self.root or Path()
        return [root / name for name in self.image.tolist()]

    def replace(self, **changes: Any) -> Hands:
        """A copy with some columns exchanged; `root` too. A changed `xy` keeps `box` as it is."""
        return dataclass_replace(self, **changes)

    def mirrored(self) -> Hands:
        """The hands of the left-right mirrored images: x, boxes, sides and covariances flip.

        Raises:
            ValueError: an image's size is unknown.
        """
        if (self.size[:, 0] <= 0).any():
            first = int(np.flatnonzero(self.size[:, 0] <= 0)[0])
            raise ValueError(
                f"mirroring needs the size of every image, but row {first} ({self.image[first]}) has none."
            )
        width = self.size[:, 0]
        covariance = None if self.covariance is None else self.covariance * np.array([[1, -1], [-1, 1]])
        return self.replace(
            xy=mirror_points(self.xy, width[:, None]),
            box=mirror_boxes(self.box, width),
            side=np.where(self.side == UNKNOWN, UNKNOWN, 1 - self.side),
            covariance=covariance,
        )

    def to_frame(self) -> pandas.DataFrame:
        """A long pandas table, one row a labelled keypoint.

        Columns: hand, image, joint, joint_name, x, y, visibility, side, gesture, group, and
        variance_x, variance_y, covariance_xy, confidence, score, side_probability where the hands have them.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas

        hand, joint = np.nonzero(self.labeled)
        table: dict[str, Any] = {
            "hand": hand,
            "image": self.image[hand],
            "joint": joint,
            "joint_name": np.array(JOINT_NAMES)[joint],
            "x": self.xy[hand, joint, 0],
            "y": self.xy[hand, joint, 1],
            "visibility": self.visibility[hand, joint],
            "side": self.side[hand],
            "gesture": self.gesture[hand],
            "group": self.group[hand],
        }
        if self.covariance is not None:
            table["variance_x"] = self.covariance[hand, joint, 0, 0]
            table["variance_y"] = self.covariance[hand, joint, 1, 1]
            table["covariance_xy"] = self.covariance[hand, joint, 0, 1]
        if self.confidence is not None:
            table["confidence"] = self.confidence[hand, joint]
        if self.score is not None:
            table["score"] = self.score[hand]
        if self.side_probability is not None:
            table["side_probability"] = self.side_probability[hand]
        return pandas.DataFrame(table)

    def __len__(self) -> int:
        return len(self.image)

    def __iter__(self) -> Iterator[Hands]:
        """One-row Hands, in order."""
        return (self[row] for row in range(len(self)))

    def __getitem__(self, rows: SupportsIndex | slice | ArrayLike) -> Hands:
        """The chosen rows: an index gives one row; a slice, a boolean mask or an int array gives many.

        Raises:
            IndexError: a row does not exist, or a mask has another length.
        """
        if isinstance(rows, slice):
            chosen: Any = rows
        elif isinstance(rows, SupportsIndex) and not (isinstance(rows, np.ndarray) and rows.ndim):
            row = range(len(self))[rows.__index__()]
            chosen = slice(row, row + 1)
        else:
            chosen = np.asarray(rows)
            if chosen.size == 0 and chosen.dtype != bool:
                chosen = chosen.astype(np.intp)
        columns = {name: value[chosen] for name in _COLUMNS if (value := getattr(self, name)) is not None}
        return Hands(image=self.image[chosen], root=self.root, **columns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hands):
            return NotImplemented
        return np.array_equal(self.image, other.image) and all(
            _same(getattr(self, name), getattr(other, name)) for name in _COLUMNS
        )

    __hash__ = None  # type: ignore[assignment]  # columns are arrays

    def __repr__(self) -> str:
        extra = [name for name in OPTIONAL_COLUMNS if getattr(self, name) is not None]
        labeled, occluded = int(self.labeled.sum()), int((self.visibility == OCCLUDED).sum())
        suffix = f", with {', '.join(extra)}" if extra else ""
        images = len(np.unique(self.image))
        return f"Hands(n={len(self)}, images={images}, keypoints={labeled} ({occluded} occluded){suffix})"


def keypoint_extent(xy: Float32[np.ndarray, "n k 2"]) -> Float32[np.ndarray, "n 4"]:
    """The smallest box around the finite points of each hand; NaN for a hand without any."""
    seen = np.isfinite(xy)
    low = np.where(seen, xy, np.inf).min(axis=1, initial=np.inf)
    high = np.where(seen, xy, -np.inf).max(axis=1, initial=-np.inf)
    box = np.concatenate([low, high], axis=1)
    return np.where(np.isfinite(box), box, np.nan).astype(np.float32)


def group_number(name: str) -> int:
    """The group of that name: a hash, the same in every table, so that tables can be joined safely.

    53 bits: exact in JSON and float64, and any two of a million names collide with p < 1e-4.
    """
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) >> 11


def _image_names(image: Sequence[str] | NDArray[Any]) -> NDArray[np.str_]:
    if isinstance(image, str):
        raise ValueError(f"image must be a sequence of paths, one a hand, got the single string {image!r}.")
    names = np.array([str(name) for name in image], dtype=np.str_) if not _is_str_array(image) else np.array(image)
    names.flags.writeable = False
    return names


def _is_str_array(image: object) -> bool:
    return isinstance(image, np.ndarray) and image.ndim == 1 and image.dtype.kind == "U"


def _full(name: str, n: int, value: int) -> NDArray[Any]:
    shape, dtype = _COLUMNS[name]
    return np.full((n, *shape), value, dtype=dtype)


def _groups_by_image(names: NDArray[np.str_]) -> NDArray[np.int64]:
    unique, rows = np.unique(names, return_inverse=True)
    return np.array([group_number(name) for name in unique.tolist()], dtype=np.int64)[rows]


def _given(array: NDArray[Any] | None) -> NDArray[Any]:
    assert array is not None
    return array


def _column(name: str, value: ArrayLike, n: int) -> NDArray[Any]:
    """A private copy of one column in its dtype. ValueError on a wrong shape or an unfit number."""
    shape, dtype = _COLUMNS[name]
    expected = (n, *shape)
    try:
        array = np.asarray(value)
        given = array.shape
    except ValueError:
        array, given = np.empty(0), ("ragged",)
    if given != expected:
        raise ValueError(f"{name} must have shape {expected} for {n} images, got {given}.")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers, got dtype {array.dtype}.")
    if issubclass(dtype, np.integer) and array.dtype != dtype:
        limits = np.iinfo(dtype)
        fits = np.isfinite(array) & (array >= limits.min) & (array <= limits.max) & (array == np.floor(array))
        if not fits.all():
            raise ValueError(f"{name} must hold whole numbers that fit {dtype.__name__}, got {array[~fits][0]}.")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(array, dtype=dtype, order="C")


def _check_keypoints(columns: dict[str, NDArray[Any] | None]) -> None:
    """Visibility in 0..2, a finite position exactly where labelled; drops numbers of unlabelled joints."""
    xy, visibility = _given(columns["xy"]), _given(columns["visibility"])
    if (visibility > VISIBLE).any():
        raise ValueError(f"visibility must be 0, 1 or 2, got {int(visibility.max())}.")
    unlabeled = visibility == UNLABELED
    broken = ~unlabeled & ~np.isfinite(xy).all(axis=-1)
    if broken.any():
        row, joint = (int(index[0]) for index in np.nonzero(broken))
        x, y = (float(value) for value in xy[row, joint])
        raise ValueError(
            f"xy must be finite where visibility is not 0, but row {row}, joint {joint} ({JOINT_NAMES[joint]}) "
            f"has ({x:g}, {y:g}); use visibility 0 for a missing joint."
        )
    xy[unlabeled] = np.nan


def _check_ranges(columns: dict[str, NDArray[Any] | None]) -> None:
    side, gesture, size, box = (_given(columns[name]) for name in ("side", "gesture", "size", "box"))
    if not np.isin(side, (UNKNOWN, LEFT, RIGHT)).all():
        raise ValueError(f"side must be -1 (unknown), 0 (left) or 1 (right), got {_first(side, (-1, 0, 1))}.")
    if ((gesture < UNKNOWN) | (gesture >= len(GESTURES))).any():
        wrong = _first(gesture, range(UNKNOWN, len(GESTURES)))
        raise ValueError(f"gesture must be -1 (unlabelled) to {len(GESTURES) - 1}, got {wrong}.")
    if (size < 0).any():
        raise ValueError(f"size must not be negative, got {int(size.min())}.")
    unknown = np.isnan(box).all(axis=1)
    wrong_box = ~unknown & (~np.isfinite(box).all(axis=1) | (box[:, 2] < box[:, 0]) | (box[:, 3] < box[:, 1]))
    if wrong_box.any():
        row = int(np.flatnonzero(wrong_box)[0])
        raise ValueError(
            f"box must be finite x1 <= x2 and y1 <= y2 (or all NaN), but row {row} has {box[row].tolist()}."
        )
    for name in ("confidence", "score", "side_probability"):
        probability = columns[name]
        # NaN stands for a value that nobody computed, as for an unlabelled joint.
        if probability is None:
            continue
        outside = (probability < 0) | (probability > 1)
        if outside.any():
            raise ValueError(f"{name} must lie in 0..1, got {float(probability[outside][0]):g}.")


def _first(values: NDArray[Any], allowed: Iterable[int]) -> int:
    return int(values[~np.isin(values, list(allowed))][0])


def _same(left: NDArray[Any] | None, right: NDArray[Any] | None) -> bool:
    if left is None or right is None:
        return left is right
    return np.array_equal(left, right, equal_nan=left.dtype.kind == "f")


assert {column.name for column in fields(Hands)} == {"image", "root", *_COLUMNS}
