"""Image, crop and heatmap space, and the one matrix that leads from an image to a crop and back.

- **Image space**: pixels of the file as stored. x points right, y down. Pixel centres lie at
  integers: the centre of the top-left pixel is (0, 0), so a W x H frame spans
  (-0.5, -0.5) to (W - 0.5, H - 0.5). Boxes are (x1, y1, x2, y2) in the same numbers.
- **Crop space**: pixels of the network's input, counted the same way.
- **Heatmap space**: cells of the network's output, counted the same way. With a stride of s crop
  pixels a cell, cell h lies at crop pixel (h + 0.5) s - 0.5: the frame's edges coincide.

Networks trained by MMPose count differently (`alignment="corner"`): the centre of the box lands on
pixel S / 2 of an S pixel crop instead of (S - 1) / 2, and cell h lies at crop pixel h s.

Pixels and points go through the same float64 matrix, so they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, TypeVar, get_args

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from numpy.typing import ArrayLike, NDArray

Alignment = Literal["center", "corner"]
Array = NDArray[np.float64]
Pixels = TypeVar("Pixels", bound=np.generic)

SHRINK_BY_AREA_FROM: Final = 2.0
"""Crops that shrink the image at least this much average pixels first, as bilinear would alias."""

LARGEST_CROP: Final = 4096
LARGEST_PADDING: Final = 100
"""What a model's file may ask for; beyond it, it is damaged or means harm."""


def frame_box(size_wh: tuple[int, int]) -> Float[np.ndarray, " 4"]:
    """The box of the whole frame, (-0.5, -0.5, W - 0.5, H - 0.5)."""
    width, height = size_wh
    return np.array([-0.5, -0.5, width - 0.5, height - 0.5])


def mirror_points(xy: Float[np.ndarray, "*n 2"], width: ArrayLike) -> Float[np.ndarray, "*n 2"]:
    """Points of the left-right mirrored image, x' = W - 1 - x. `width` broadcasts against `xy[..., 0]`."""
    mirrored = np.array(xy, dtype=np.result_type(xy, np.float32))
    mirrored[..., 0] = np.asarray(width) - 1 - mirrored[..., 0]
    return mirrored


def mirror_boxes(box: Float[np.ndarray, "*n 4"], width: ArrayLike) -> Float[np.ndarray, "*n 4"]:
    """Boxes (x1, y1, x2, y2) of the left-right mirrored image."""
    mirrored = np.array(box, dtype=np.result_type(box, np.float32))
    mirrored[..., 0] = np.asarray(width) - 1 - box[..., 2]
    mirrored[..., 2] = np.asarray(width) - 1 - box[..., 0]
    return mirrored


def mirror_image(image: NDArray[Pixels]) -> NDArray[Pixels]:
    """The image (h, w, ...) mirrored left to right."""
    return np.ascontiguousarray(image[:, ::-1])


def heatmap_to_crop(
    xy_heatmap: Float[np.ndarray, "*n 2"], stride: float, alignment: Alignment = "center"
) -> Float[np.ndarray, "*n 2"]:
    """Crop pixels of heatmap positions: (h + 0.5) s - 0.5, or h s in MMPose's corner alignment."""
    return xy_heatmap * stride + cell_offset(stride, alignment)


def crop_to_heatmap(
    xy_crop: Float[np.ndarray, "*n 2"], stride: float, alignment: Alignment = "center"
) -> Float[np.ndarray, "*n 2"]:
    """Heatmap positions of crop pixels, the inverse of `heatmap_to_crop`."""
    return (xy_crop - cell_offset(stride, alignment)) / stride


def cell_offset(stride: float, alignment: Alignment) -> float:
    """The crop pixel at which heatmap cell 0 lies."""
    return 0.0 if alignment == "corner" else (stride - 1) / 2


@dataclass(frozen=True, eq=False)
class Crop:
    """A window of an image, resampled to `size_wh` pixels by one affine matrix.

    Attributes:
        image_to_crop: (3, 3) float64, homogeneous image pixels to crop pixels.
        size_wh: width and height of the crop in pixels.

    Raises:
        ValueError: the matrix is not an invertible affine 3 x 3, or the size is not positive.
    """

    image_to_crop: Float[np.ndarray, "3 3"]
    size_wh: tuple[int, int]
    crop_to_image: Float[np.ndarray, "3 3"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        matrix = np.array(self.image_to_crop, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or np.any(matrix[2] != (0, 0, 1)):
            raise ValueError(f"a crop needs a finite affine 3 x 3 matrix with last row 0 0 1, got {matrix!r}.")
        if abs(np.linalg.det(matrix)) < 1e-12:
            raise ValueError("a crop's matrix must be invertible; its box may have no area.")
        if len(self.size_wh) != 2 or min(self.size_wh) < 1:
            raise ValueError(f"a crop needs a positive width and height, got {self.size_wh}.")
        inverse = np.linalg.inv(matrix)
        inverse[2] = (0, 0, 1)
        matrix.flags.writeable = inverse.flags.writeable = False
        object.__setattr__(self, "image_to_crop", matrix)
        object.__setattr__(self, "crop_to_image", inverse)

    @classmethod
    def around(
        cls,
        box: ArrayLike,
        size: int,
        *,
        padding: float = 1.25,
        rotation: float = 0.0,
        scale: float = 1.0,
        shift: tuple[float, float] = (0.0, 0.0),
        mirror: bool = False,
        alignment: Alignment = "center",
    ) -> Crop:
        """The square window around a box, as `size` x `size` pixels.

        The window's side is the box's longer side x `padding` x `scale`.

        Args:
            box: (4,) x1, y1, x2, y2 in image pixels.
            size: side of the crop in pixels.
            padding: the window's side over the box's longer side.
            rotation: degrees by which the picture turns counter-clockwise as seen.
            scale: the window grows by this factor, so the hand shrinks.
            shift: the window moves by these fractions of the padded side, in x and y of the image.
            mirror: left and right swap in the crop.
            alignment: "corner" puts the window's centre on pixel size / 2, as MMPose does.

        Raises:
            ValueError: the box has no area or is not finite.
        """
        x1, y1, x2, y2 = (float(value) for value in np.asarray(box, dtype=np.float64))
        longer = max(x2 - x1, y2 - y1)
        if not np.isfinite([x1, y1, x2, y2]).all() or longer <= 0:
            raise ValueError(f"a crop needs a finite box with an area, got ({x1:g}, {y1:g}, {x2:g}, {y2:g}).")
        side = longer * padding
        center_x, center_y = (x1 + x2) / 2 + shift[0] * side, (y1 + y2) / 2 + shift[1] * side
        zoom = size / (side * scale)
        cosine, sine = zoom * np.cos(np.deg2rad(rotation)), zoom * np.sin(np.deg2rad(rotation))
        linear = np.array([[cosine, sine], [-sine, cosine]])
        if mirror:
            linear[0] *= -1
        middle = size / 2 if alignment == "corner" else (size - 1) / 2
        matrix = np.eye(3)
        matrix[:2, :2] = linear
        matrix[:2, 2] = middle - linear @ (center_x, center_y)
        return cls(matrix, (size, size))

    @classmethod
    def letterbox(cls, frame_wh: tuple[int, int], size_wh: tuple[int, int]) -> Crop:
        """The whole frame, as large as fits into `size_wh` pixels, at the top left; what is left over lies outside it.

        Raises:
            ValueError: a size is not positive.
        """
        if min(*frame_wh, *size_wh) < 1:
            raise ValueError(f"a letterbox needs positive sizes, got a frame of {frame_wh} and {size_wh}.")
        zoom = min(size_wh[0] / frame_wh[0], size_wh[1] / frame_wh[1])
        edge = (zoom - 1) / 2  # the frames' corners, -0.5, coincide
        return cls(np.array([[zoom, 0, edge], [0, zoom, edge], [0, 0, 1]]), size_wh)

    def of_mirror_image(self, width: int) -> Crop:
        """The crop that shows of the left-right mirrored image the mirror image of what this one shows.

        Args:
            width: of the image, in pixels.
        """
        image, crop = (np.array([[-1.0, 0, side - 1], [0, 1, 0], [0, 0, 1]]) for side in (width, self.size_wh[0]))
        return Crop(crop @ self.image_to_crop @ image, self.size_wh)

    @property
    def zoom(self) -> float:
        """Crop pixels an image pixel, the geometric mean over directions."""
        return float(np.sqrt(abs(np.linalg.det(self.image_to_crop[:2, :2]))))

    def to_crop(self, xy_image: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Crop pixels of image pixels, in float64. NaN stays NaN."""
        return _apply(self.image_to_crop, xy_image)

    def to_image(self, xy_crop: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Image pixels of crop pixels, in float64. NaN stays NaN."""
        return _apply(self.crop_to_image, xy_crop)

    def covariance_to_image(self, covariance_crop: Float[np.ndarray, "*n 2 2"]) -> Float[np.ndarray, "*n 2 2"]:
        """Covariances in image pixels squared from crop pixels squared: J C J^T."""
        jacobian = self.crop_to_image[:2, :2]
        mapped: Array = jacobian @ np.asarray(covariance_crop, dtype=np.float64) @ jacobian.T
        return mapped

    def warp(
        self, image: Shaped[np.ndarray, "h w *c"], border: int | None = 0, *, antialias: bool = True
    ) -> Shaped[np.ndarray, "crop_h crop_w *c"]:
        """The crop's pixels, bilinear.

        Args:
            image: (h, w) or (h, w, c), uint8 or float32; the crop has the same dtype.
            border: grey level outside the image, or None to repeat the image's edge.
            antialias: average pixels before a crop that shrinks the image twice or more.
        """
        import cv2

        matrix = self.image_to_crop
        if antialias and self.zoom * SHRINK_BY_AREA_FROM <= 1:
            image, matrix = _shrink(image, matrix, int(1 / self.zoom))
        return cv2.warpAffine(
            image,
            matrix[:2],
            self.size_wh,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE if border is None else cv2.BORDER_CONSTANT,
            borderValue=(border or 0,) * 4,
        )


@dataclass(frozen=True)
class CropRule:
    """How a model wants its crops; it travels with the weights.

    Attributes:
        size: side of the crop in pixels.
        padding: window side over the longer side of a hand's box, where the box is the tight extent
            of the keypoints.
        frame_padding: window side over the longer side of the frame, where the whole image is
            taken. MMPose's FreiHAND models take 0.8.
        whole_image: the model learnt from whole images; where nobody says otherwise it is given them.
        alignment: "corner" for networks trained by MMPose.
    """

    size: int = 256
    padding: float = 1.5
    frame_padding: float = 1.0
    whole_image: bool = False
    alignment: Alignment = "center"

    @classmethod
    def from_dict(cls, content: Any) -> CropRule:
        """What `dataclasses.asdict` made of a rule, out of a file that anybody may have written.

        Raises:
            ValueError: it is no rule: fields are unknown, of another kind or beyond all sense.
        """
        if not isinstance(content, dict) or not set(content) <= {item.name for item in fields(cls)}:
            raise ValueError(f"a crop rule has the fields {', '.join(item.name for item in fields(cls))}")
        rule = cls(**content)
        if type(rule.size) is not int or not 1 <= rule.size <= LARGEST_CROP:
            raise ValueError(f"a crop's size is a number of pixels up to {LARGEST_CROP}, got {rule.size!r}")
        for padding in (rule.padding, rule.frame_padding):
            if type(padding) not in (int, float) or not 0 < padding <= LARGEST_PADDING:
                raise ValueError(f"a crop's padding is a factor up to {LARGEST_PADDING}, got {padding!r}")
        if type(rule.whole_image) is not bool or rule.alignment not in get_args(Alignment):
            raise ValueError(f"a crop rule says whole_image {rule.whole_image!r} and alignment {rule.alignment!r}")
        return rule

    @property
    def box_side(self) -> float:
        """The longer side of a hand's box in crop pixels, before augmentation."""
        return self.size / (self.frame_padding if self.whole_image else self.padding)

    def around_box(self, box: ArrayLike, **augmentation: Any) -> Crop:
        """The crop of a hand's box (4,); keyword arguments go to `Crop.around`.

        Raises:
            ValueError: the box has no area or is not finite.
        """
        return Crop.around(box, self.size, padding=self.padding, alignment=self.alignment, **augmentation)

    def around_frame(self, size_wh: tuple[int, int], **augmentation: Any) -> Crop:
        """The crop of the whole image; MMPose's models count the frame from 0 to W, ours from -0.5."""
        box = (0, 0, *size_wh) if self.alignment == "corner" else frame_box(size_wh)
        return Crop.around(box, self.size, padding=self.frame_padding, alignment=self.alignment, **augmentation)

    def cut(self, image: UInt8[np.ndarray, "h w 3"], crop: Crop) -> UInt8[np.ndarray, "size size 3"]:
        """The crop's pixels as this model was trained on them; training and prediction both cut here.

        MMPose never averages before it shrinks, so its models are not given averaged pixels.
        """
        return crop.warp(image, antialias=self.alignment == "center")


def _apply(matrix: Float[np.ndarray, "3 3"], xy: Float[np.ndarray, "*n 2"]) -> Array:
    mapped: Array = np.asarray(xy, dtype=np.float64) @ matrix[:2, :2].T + matrix[:2, 2]
    return mapped


def _shrink(
    image: Shaped[np.ndarray, "h w *c"], image_to_crop: Float[np.ndarray, "3 3"], factor: int
) -> tuple[Shaped[np.ndarray, "blocks_h blocks_w *c"], Array]:
    """The image averaged over blocks of `factor` x `factor` pixels, and the matrix from there to the crop.

    Block k covers the pixels k f to (k + 1) f - 1 and lies at k f + (f - 1) / 2. The last rows and
    columns repeat to fill their block.
    """
    import cv2

    height, width = image.shape[:2]
    blocks_w, blocks_h = -(-width // factor), -(-height // factor)
    whole = cv2.copyMakeBorder(image, 0, blocks_h * factor - height, 0, blocks_w * factor - width, cv2.BORDER_REPLICATE)
    small = cv2.resize(whole, (blocks_w, blocks_h), interpolation=cv2.INTER_AREA)
    blocks_to_image = np.eye(3)
    blocks_to_image[:2, :2] *= factor
    blocks_to_image[:2, 2] = (factor - 1) / 2
    return small, image_to_crop @ blocks_to_image
