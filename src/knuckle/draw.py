"""Pictures of hands: skeletons on photos, single hands as tiles, tiles as a contact sheet.

Images are uint8 (h, w, 3) RGB arrays. One colour a finger (`skeleton.FINGER_COLORS`), bones under
joints, everything with a thin dark rim so that it reads on any background. Occluded joints
(visibility 1) are hollow and their bones dashed; unlabelled joints are not drawn, and bones lead past them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray

from knuckle.geometry import Crop, frame_box
from knuckle.hands import OCCLUDED, UNLABELED, Hands, keypoint_extent
from knuckle.skeleton import FINGER_COLORS, JOINT_COLORS, NUM_JOINTS, PARENTS

Color = tuple[int, int, int]
Image = UInt8[np.ndarray, "h w 3"]
Point = NDArray[np.float64]

RIM: Final[Color] = (20, 22, 26)
WHITE: Final[Color] = (255, 255, 255)
ELLIPSE_OPACITY: Final = 0.35
BOX_SIDE_PER_LINE_WIDTH: Final = 80.0
"""A hand's box is this many times longer than its bones are wide."""

MOST_DASHES: Final = 30
"""A bone within the box has fewer; one that leads far away gets long dashes instead of thousands."""

PAPER: Final[Color] = (18, 20, 24)
BAND: Final[Color] = (32, 35, 41)
INK: Final[Color] = (236, 238, 241)
FAINT_INK: Final[Color] = (170, 176, 186)
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE: Final = 0.38
_TITLE_SCALE: Final = 0.55
_GAP: Final = 10
_TITLE_HEIGHT: Final = 44
_TEXT_INSET: Final = 7
_LINE_HEIGHT: Final = 15

SUFFIXES: Final = (".png", ".jpg", ".jpeg")
_SHIFT: Final = 4  # OpenCV's fixed-point bits: positions are exact to 1/16 pixel
_CIRCLE: Final = np.stack([np.cos(np.linspace(0, 2 * np.pi, 48)), np.sin(np.linspace(0, 2 * np.pi, 48))], axis=1)


@dataclass(frozen=True)
class _Style:
    """How one skeleton is drawn: `width` of its bones in pixels, one colour a joint."""

    width: int
    colors: Sequence[Color]

    @property
    def radius(self) -> float:
        """Of a joint's disc, in pixels."""
        return self.width * 0.85 + 0.9

    @property
    def rim(self) -> int:
        """How far the dark rim stands out, in pixels."""
        return 1 + self.width // 6


def draw_hands(image: Image, hands: Hands, *, line_width: int | None = None, boxes: bool = False) -> Image:
    """A copy of the image with every row of `hands` drawn on it.

    Args:
        image: (h, w, 3) uint8 RGB.
        hands: hands that all lie on this image. With `covariance`, 1-sigma ellipses are drawn too.
        line_width: width of the bones in pixels. Default: by the size of each hand's box.
        boxes: draw each hand's box as well.

    Raises:
        ValueError: the image is not uint8 (h, w, 3).
    """
    canvas = _canvas(image)
    styles = [_Style(line_width or _line_width(box, canvas), JOINT_COLORS) for box in hands.box]
    if hands.covariance is not None:
        for xy, covariance in zip(hands.xy, hands.covariance, strict=True):
            _draw_ellipses(canvas, xy, covariance)
    for box, style in zip(hands.box, styles, strict=True):
        if boxes and np.isfinite(box).all():
            _draw_box(canvas, box, max(1, style.width // 2))
    for xy, visibility, style in zip(hands.xy, hands.visibility, styles, strict=True):
        _draw_skeleton(canvas, xy, visibility, style)
    return canvas


def hand_tile(image: Image, hand: Hands, *, tile: int = 224, padding: float = 1.6, truth: Hands | None = None) -> Image:
    """A square picture of one hand, drawn after the crop so that lines stay crisp.

    Args:
        image: (h, w, 3) uint8 RGB, the whole image.
        hand: one row. Its box says what is shown; without one its keypoints do, then the frame.
        tile: side of the picture in pixels.
        padding: side shown over the box's longer side.
        truth: one row, drawn under the hand in thin white lines.

    Raises:
        ValueError: the image is not uint8 (h, w, 3).
    """
    assert len(hand) == 1, "hand_tile draws one hand"
    canvas = _canvas(image)
    crop = Crop.around(_box_to_show(hand, canvas), tile, padding=padding)
    canvas = crop.warp(canvas, border=RIM[0])
    style = _Style(max(1, round(tile / padding / BOX_SIDE_PER_LINE_WIDTH)), JOINT_COLORS)
    xy = crop.to_crop(hand.xy[0])
    if hand.covariance is not None:
        jacobian = crop.image_to_crop[:2, :2]
        _draw_ellipses(canvas, xy, jacobian @ hand.covariance[0].astype(np.float64) @ jacobian.T)
    if truth is not None:
        thin = _Style(max(1, style.width // 2), (WHITE,) * NUM_JOINTS)
        _draw_skeleton(canvas, crop.to_crop(truth.xy[0]), truth.visibility[0], thin)
    _draw_skeleton(canvas, xy, hand.visibility[0], style)
    return canvas


def contact_sheet(
    tiles: Sequence[Image], captions: Sequence[str], *, columns: int = 6, tile: int = 224, title: str = ""
) -> Image:
    """Tiles in a grid, each with its caption on a dark band below, wrapped to the tile's width.

    Args:
        tiles: (h, w, 3) uint8 RGB pictures of any size, fitted into squares.
        captions: one a tile, in ASCII ("?" stands for other characters).
        columns: tiles in a row; fewer where there are fewer tiles.
        tile: side of a square in pixels.
        title: a line above the grid, with the finger's colours beside it.

    Raises:
        ValueError: tiles and captions differ in number, or a tile is not uint8 (h, w, 3).
    """
    if len(tiles) != len(captions):
        raise ValueError(f"a contact sheet needs one caption a tile, got {len(captions)} for {len(tiles)} tiles.")
    columns = max(1, min(columns, len(tiles)))
    texts = [_wrapped(caption, tile - 2 * _TEXT_INSET) for caption in captions]
    band = _TEXT_INSET + _LINE_HEIGHT * max(map(len, texts), default=0)
    top = _TITLE_HEIGHT if title else _GAP
    rows = -(-len(tiles) // columns)
    width = _GAP + columns * (tile + _GAP)
    sheet = np.full((top + rows * (tile + band + _GAP), width, 3), PAPER, dtype=np.uint8)
    if title:
        _draw_title(sheet, title)
    for number, (picture, lines) in enumerate(zip(tiles, texts, strict=True)):
        x, y = _GAP + number % columns * (tile + _GAP), top + number // columns * (tile + band + _GAP)
        sheet[y : y + tile, x : x + tile] = _fitted(_canvas(picture), tile)
        sheet[y + tile : y + tile + band, x : x + tile] = BAND
        for line, text in enumerate(lines):
            _text(sheet, text, (x + _TEXT_INSET, y + tile + (line + 1) * _LINE_HEIGHT), INK if line == 0 else FAINT_INK)
    return sheet


def write_image(path: Path, image: Image) -> None:
    """Writes a PNG or JPEG by the path's suffix, making its folder where needed.

    Raises:
        ValueError: the suffix is another one, the image is not uint8 (h, w, 3), or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path} cannot be written: pictures end in {', '.join(SUFFIXES)}, not in {suffix!r}.")
    quality = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 95]
    done, data = cv2.imencode(suffix, cv2.cvtColor(_canvas(image), cv2.COLOR_RGB2BGR), quality)
    assert done
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror or error}).") from error


def _canvas(image: Image) -> Image:
    """A copy to draw on. ValueError for anything but uint8 (h, w, 3)."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"drawing needs a uint8 image of shape (h, w, 3), got {image.dtype} {image.shape}.")
    return np.array(image, order="C")


def _line_width(box: Float[np.ndarray, " 4"], canvas: Image) -> int:
    """From the box's longer side, or the frame's where the hand has no box."""
    frame_side = int(max(canvas.shape))
    longer = float(max(box[2:] - box[:2])) if np.isfinite(box).all() else frame_side
    return min(max(1, round(longer / BOX_SIDE_PER_LINE_WIDTH)), 1 + frame_side // 20)


def _box_to_show(hand: Hands, canvas: Image) -> Float[np.ndarray, " 4"]:
    extent = keypoint_extent(hand.xy)[0]
    for box in (hand.box[0], extent):
        if np.isfinite(box).all() and 1 <= max(box[2:] - box[:2]) <= 1e6:
            return np.asarray(box, dtype=np.float64)
    height, width = canvas.shape[:2]
    return frame_box((width, height))


def _draw_skeleton(
    canvas: Image, xy: Float[np.ndarray, "21 2"], visibility: UInt8[np.ndarray, " 21"], style: _Style
) -> None:
    """Bones first, then joints; of each, all dark rims before all colours."""
    points = xy.astype(np.float64)
    bones = [
        (stroke, joint, OCCLUDED in visibility[[parent, joint]])
        for parent, joint in _labeled_bones(visibility)
        for stroke in _strokes(points[[parent, joint]], visibility[[parent, joint]] == OCCLUDED, style)
    ]
    for (start, end), _, occluded in bones:
        _line(canvas, start, end, RIM, _bone_width(style, occluded) + 2 * style.rim)
    for (start, end), joint, occluded in bones:
        _line(canvas, start, end, style.colors[joint], _bone_width(style, occluded))
    for joint in np.flatnonzero(visibility).tolist():
        center, color = points[joint], style.colors[joint]
        if visibility[joint] == OCCLUDED:
            ring = _bone_width(style, occluded=True)
            _disc(canvas, center, style.radius, RIM, ring + 2 * style.rim)
            _disc(canvas, center, style.radius, color, ring)
        else:
            _disc(canvas, center, style.radius + style.rim, RIM)
            _disc(canvas, center, style.radius, color)


def _labeled_bones(visibility: UInt8[np.ndarray, " 21"]) -> Iterator[tuple[int, int]]:
    """Each labelled joint with the nearest labelled one towards the wrist: a gap of joints does not cut a finger."""
    for joint in np.flatnonzero(visibility).tolist():
        parent = PARENTS[joint]
        while parent >= 0 and visibility[parent] == UNLABELED:
            parent = PARENTS[parent]
        if parent >= 0:
            yield parent, joint


def _bone_width(style: _Style, occluded: bool) -> int:
    return max(1, round(style.width * 0.6)) if occluded else style.width


def _strokes(
    ends: Float[np.ndarray, "2 2"], occluded: Bool[np.ndarray, " 2"], style: _Style
) -> Iterator[tuple[Point, Point]]:
    """The bone between two joints: whole, or in dashes between the rings where an end is occluded."""
    start, end = ends
    if not occluded.any():
        yield start, end
        return
    length = float(np.linalg.norm(end - start))
    first, last = style.radius * occluded[0], length - style.radius * occluded[1]
    if not first < last < np.inf:
        yield start, end
        return
    along = (end - start) / length
    count = min(MOST_DASHES, max(1, round((last - first) / (5 * style.width + 2) + 0.5)))
    step = (last - first) / (2 * count - 1)  # a dash, a gap, ..., a dash
    for number in range(0, 2 * count, 2):
        yield start + along * (first + number * step), start + along * (first + (number + 1) * step)


def _draw_ellipses(canvas: Image, xy: Float[np.ndarray, "21 2"], covariance: Float[np.ndarray, "21 2 2"]) -> None:
    """1-sigma ellipses in the fingers' colours, faint."""
    joints = np.flatnonzero(np.isfinite(xy).all(axis=1) & np.isfinite(covariance).all(axis=(1, 2)))
    if not len(joints):
        return
    variances, axes = np.linalg.eigh(covariance[joints].astype(np.float64))
    spread = np.sqrt(np.maximum(variances, 0))[:, None]
    outlines = _near(canvas, xy[joints, None] + (_CIRCLE * spread) @ axes.transpose(0, 2, 1))
    # Elsewhere the two layers are the same, and mixing them would change nothing.
    left, top = np.maximum(np.floor(outlines.min(axis=(0, 1))).astype(int) - 1, 0)
    right, bottom = np.maximum(np.ceil(outlines.max(axis=(0, 1))).astype(int) + 2, 0)
    layer = canvas.copy()
    for joint, outline in zip(joints.tolist(), _fixed(outlines), strict=True):
        cv2.fillPoly(layer, [outline], JOINT_COLORS[joint], cv2.LINE_AA, _SHIFT)
    window = canvas[top:bottom, left:right]
    if window.size:
        covered = layer[top:bottom, left:right]
        window[:] = cv2.addWeighted(covered, ELLIPSE_OPACITY, window, 1 - ELLIPSE_OPACITY, 0)


def _draw_box(canvas: Image, box: Float[np.ndarray, " 4"], width: int) -> None:
    x1, y1, x2, y2 = box.astype(np.float64)
    corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)])
    for color, extra in ((RIM, 2), (WHITE, 0)):
        for start, end in pairwise(corners):
            _line(canvas, start, end, color, width + extra)


def _line(canvas: Image, start: Point, end: Point, color: Color, width: int) -> None:
    clipped = (start, end) if _is_near(canvas, start) and _is_near(canvas, end) else _clipped(canvas, start, end)
    if clipped is not None:
        first, last = map(_fixed_point, clipped)
        cv2.line(canvas, first, last, color, width, cv2.LINE_AA, _SHIFT)


def _disc(canvas: Image, center: Point, radius: float, color: Color, thickness: int = -1) -> None:
    """A filled disc, or a ring of that thickness."""
    if _is_near(canvas, center):
        cv2.circle(canvas, _fixed_point(center), round(radius * 2**_SHIFT), color, thickness, cv2.LINE_AA, _SHIFT)


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.asarray(np.rint(points * 2**_SHIFT), dtype=np.int32)


def _fixed_point(point: Point) -> tuple[int, int]:
    x, y = point.tolist()
    return round(x * 2**_SHIFT), round(y * 2**_SHIFT)


def _is_near(canvas: Image, point: Point) -> bool:
    """Whether `_near` leaves the point where it is."""
    x, y = point.tolist()
    height, width = canvas.shape[:2]
    return bool(-width - 64 <= x <= 2 * width + 64 and -height - 64 <= y <= 2 * height + 64)


def _near(canvas: Image, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points moved to at most one frame beside the frame: OpenCV's integers overflow on far ones."""
    size_wh = np.array(canvas.shape[1::-1], dtype=np.float64)
    return np.asarray(np.clip(points, -size_wh - 64, 2 * size_wh + 64))


def _clipped(canvas: Image, start: Point, end: Point) -> Point | None:
    """The part (2, 2) of a line that lies near the frame, in its own direction; None where nothing does.

    Liang and Barsky's clipping (1984), against the window of `_near`.
    """
    low, high = _near(canvas, np.full(2, -np.inf)), _near(canvas, np.full(2, np.inf))
    delta = end - start
    enter, leave = 0.0, 1.0
    for axis in range(2):
        if delta[axis] == 0:
            if not low[axis] <= start[axis] <= high[axis]:
                return None
            continue
        crossings = sorted(((low[axis] - start[axis]) / delta[axis], (high[axis] - start[axis]) / delta[axis]))
        enter, leave = max(enter, crossings[0]), min(leave, crossings[1])
    if enter > leave:
        return None
    return _near(canvas, np.stack([start + enter * delta, start + leave * delta]))


def _fitted(picture: Image, side: int) -> Image:
    """The picture inside a square of that side, its shape kept."""
    height, width = picture.shape[:2]
    if height == width == side:
        return picture
    zoom = side / max(height, width)
    new_w, new_h = max(1, round(width * zoom)), max(1, round(height * zoom))
    small = cv2.resize(picture, (new_w, new_h), interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    square = np.full((side, side, 3), RIM, dtype=np.uint8)
    y, x = (side - new_h) // 2, (side - new_w) // 2
    square[y : y + new_h, x : x + new_w] = small
    return square


def _text(canvas: Image, text: str, position: tuple[int, int], color: Color, scale: float = _FONT_SCALE) -> None:
    cv2.putText(canvas, text, position, _FONT, scale, color, 1, cv2.LINE_AA)


def _text_width(text: str, scale: float = _FONT_SCALE) -> int:
    return int(cv2.getTextSize(text, _FONT, scale, 1)[0][0])


def _wrapped(caption: str, width: int) -> list[str]:
    """The caption in lines of at most that many pixels; a newline starts a new one, a long word is cut."""
    lines: list[str] = []
    for paragraph in caption.encode("ascii", "replace").decode().split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".lstrip()
            if line and _text_width(longer) > width:
                lines.append(line)
                longer = word
            while _text_width(longer) > width and len(longer) > 1:
                fits = next(n for n in range(len(longer) - 1, 0, -1) if n == 1 or _text_width(longer[:n]) <= width)
                lines.append(longer[:fits])
                longer = longer[fits:]
            line = longer
        lines.append(line)
    return lines


def _draw_title(sheet: Image, title: str) -> None:
    """The title at the left; at the right, where room is left, which colour is which finger."""
    title = title.encode("ascii", "replace").decode()
    _text(sheet, title, (_GAP + 2, 28), INK, _TITLE_SCALE)
    x = sheet.shape[1] - _GAP
    if _GAP + _text_width(title, _TITLE_SCALE) + sum(_text_width(name) + 28 for name in FINGER_COLORS) > x:
        return
    for name, color in reversed(tuple(FINGER_COLORS.items())):
        x -= _text_width(name)
        _text(sheet, name, (x, 27), FAINT_INK)
        _disc(sheet, np.array([x - 9.0, 23.0]), 4.5, color)
        x -= 28
