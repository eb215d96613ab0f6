"""Spaces and crops: points and pixels must land in the same place, to hundredths of a pixel."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knuckle.geometry import (
    Alignment,
    Crop,
    CropRule,
    crop_to_heatmap,
    frame_box,
    heatmap_to_crop,
    mirror_boxes,
    mirror_image,
    mirror_points,
)

finite = st.floats(-500, 1500)
augmentations = st.fixed_dictionaries(
    {
        "rotation": st.floats(-180, 180),
        "scale": st.floats(0.6, 1.6),
        "shift": st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)),
        "mirror": st.booleans(),
        "alignment": st.sampled_from(["center", "corner"]),
    }
)


def blob(shape_hw: tuple[int, int], xy: np.ndarray, sigma: float) -> np.ndarray:
    """A float32 image of one Gaussian blob on black; its centroid is `xy`.

    Not uint8: rounding the faint rim, far from the centre, would move the centroid by more than is tested.
    """
    rows, columns = np.mgrid[: shape_hw[0], : shape_hw[1]]
    density = np.exp(-((columns - xy[0]) ** 2 + (rows - xy[1]) ** 2) / (2 * sigma**2))
    return np.asarray(density * 255, dtype=np.float32)


def centroid(image: np.ndarray) -> np.ndarray:
    """The mean position of the light, x before y."""
    weight = image.astype(np.float64)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([np.average(columns, weights=weight), np.average(rows, weights=weight)])


@given(
    center=st.tuples(finite, finite),
    side=st.floats(5, 2000),
    aspect=st.floats(0.2, 1),
    size=st.integers(32, 512),
    padding=st.floats(0.8, 2.5),
    augmentation=augmentations,
    points=st.lists(st.tuples(finite, finite), min_size=1, max_size=21),
)
def test_crop_there_and_back(
    center: tuple[float, float],
    side: float,
    aspect: float,
    size: int,
    padding: float,
    augmentation: dict[str, Any],
    points: list[tuple[float, float]],
) -> None:
    half = np.array([side, side * aspect]) / 2
    crop = Crop.around((*(center - half), *(center + half)), size, padding=padding, **augmentation)
    xy = np.array(points)
    np.testing.assert_allclose(crop.to_image(crop.to_crop(xy)), xy, atol=1e-3, rtol=0)
    assert crop.zoom == pytest.approx(size / (side * padding * augmentation["scale"]))


@settings(max_examples=40, deadline=None)
@given(
    offset=st.tuples(st.floats(-12, 12), st.floats(-12, 12)),
    size=st.sampled_from([96, 128, 160]),
    augmentation=augmentations,
)
def test_warped_blob_lies_where_the_matrix_says(
    offset: tuple[float, float], size: int, augmentation: dict[str, Any]
) -> None:
    xy = np.array([101.3, 88.6]) + offset
    image = blob((190, 210), xy, sigma=6)
    crop = Crop.around((60, 50, 150, 140), size, padding=1.5, **augmentation)
    target = crop.to_crop(xy)
    reach = 4 * 6 * crop.zoom
    if not (reach < target.min() and target.max() < size - 1 - reach):
        return  # the blob is cut off, so its centroid is not its centre
    np.testing.assert_allclose(centroid(crop.warp(image)), target, atol=0.02)


@settings(max_examples=25, deadline=None)
@given(
    shrink=st.floats(2, 12),
    width=st.integers(700, 1000),
    height=st.integers(700, 1000),
    rotation=st.floats(-180, 180),
    mirror=st.booleans(),
)
def test_shrinking_by_area_keeps_the_blob_in_place(
    shrink: float, width: int, height: int, rotation: float, mirror: bool
) -> None:
    xy = np.array([width / 2 + 7.3, height / 2 - 11.7])
    image = blob((height, width), xy, sigma=40)
    size = round(900 / shrink)
    crop = Crop.around(
        (width / 2 - 450, height / 2 - 450, width / 2 + 450, height / 2 + 450),
        size,
        padding=1.0,
        rotation=rotation,
        mirror=mirror,
    )
    np.testing.assert_allclose(centroid(crop.warp(image)), crop.to_crop(xy), atol=0.02)


def test_shrinking_by_area_does_not_alias() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512), dtype=np.uint8)
    crop = Crop.around(frame_box((512, 512)), 100, padding=1.0)
    assert crop.warp(noise).std() < noise.std() / 5
    assert crop.warp(noise, antialias=False).std() > noise.std() / 2


def test_rotation_turns_the_picture_counter_clockwise() -> None:
    crop = Crop.around((0, 0, 10, 10), 101, padding=1.0, rotation=90)
    right_of_center = crop.to_crop(np.array([10.0, 5.0]))
    np.testing.assert_allclose(right_of_center, [50, -0.5], atol=1e-9)


def test_full_frame_crop_at_the_same_size_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    crop = CropRule(size=64).around_frame((64, 64))
    np.testing.assert_allclose(crop.image_to_crop, np.eye(3), atol=1e-12)
    np.testing.assert_array_equal(crop.warp(image), image)


def test_mirrored_crop_is_the_mirror_image_of_the_crop() -> None:
    image = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    box = (20, 10, 70, 60)
    plain, mirrored = (Crop.around(box, 75, padding=1.0, mirror=mirror) for mirror in (False, True))
    difference = cv2.absdiff(mirror_image(plain.warp(image)), mirrored.warp(image))
    assert difference.max() <= 2  # bilinear weights are rounded to 1/32 pixel by OpenCV


@given(st.integers(2, 4000), st.floats(-180, 180), st.lists(st.tuples(finite, finite), min_size=1))
def test_the_crop_of_the_mirror_image_has_mirrored_points(
    width: int, rotation: float, xy: list[tuple[float, float]]
) -> None:
    crop = Crop.around((20, 10, 70, 60), 64, rotation=rotation)
    points = np.array(xy)
    found = crop.of_mirror_image(width).to_crop(mirror_points(points, width))
    np.testing.assert_allclose(found, mirror_points(crop.to_crop(points), 64), atol=1e-6)


def test_corner_alignment_follows_mmpose() -> None:
    """A 179.2 px window about (112, 112) becomes 224 px: c = (p - 112) 1.25 + 112."""
    rule = CropRule(size=224, frame_padding=0.8, alignment="corner")
    crop = rule.around_frame((224, 224))
    points = np.array([[112.0, 112.0], [22.4, 201.6], [0.0, 50.0]])
    np.testing.assert_allclose(crop.to_crop(points), (points - 112) * 1.25 + 112, atol=1e-9)


@given(
    points=st.lists(st.tuples(st.floats(0, 64), st.floats(0, 64)), min_size=1),
    stride=st.sampled_from([1.0, 4.0, 8.0]),
    alignment=st.sampled_from(["center", "corner"]),
)
def test_heatmap_there_and_back(points: list[tuple[float, float]], stride: float, alignment: Alignment) -> None:
    xy = np.array(points)
    np.testing.assert_allclose(
        crop_to_heatmap(heatmap_to_crop(xy, stride, alignment), stride, alignment), xy, atol=1e-9
    )


def test_heatmap_frame_coincides_with_the_crop_frame() -> None:
    np.testing.assert_allclose(heatmap_to_crop(np.array([-0.5, 63.5]), 4), [-0.5, 255.5])
    np.testing.assert_allclose(heatmap_to_crop(np.array([0.0, 63.0]), 4, "corner"), [0, 252])


@given(width=st.integers(1, 4000), xy=st.lists(st.tuples(finite, finite), min_size=1))
def test_mirroring_twice_is_the_identity(width: int, xy: list[tuple[float, float]]) -> None:
    points = np.array(xy)
    np.testing.assert_allclose(mirror_points(mirror_points(points, width), width), points, atol=1e-9)
    boxes = np.concatenate([points, points + 3], axis=1)
    np.testing.assert_allclose(mirror_boxes(mirror_boxes(boxes, width), width), boxes, atol=1e-9)
    assert (mirror_boxes(boxes, width)[:, 0] < mirror_boxes(boxes, width)[:, 2]).all()


def test_mirrored_points_stay_on_their_pixels() -> None:
    image = np.zeros((4, 7), np.uint8)
    image[2, 1] = 255
    x, y = mirror_points(np.array([1.0, 2.0]), 7)
    assert mirror_image(image)[int(y), int(x)] == 255
    np.testing.assert_array_equal(mirror_image(mirror_image(image)), image)


def test_covariance_follows_the_points() -> None:
    rng = np.random.default_rng(0)
    crop = Crop.around((10, 20, 60, 90), 128, rotation=33, scale=1.2, mirror=True)
    xy_crop = rng.multivariate_normal([60, 60], [[9, 3], [3, 4]], 200_000)
    expected = np.cov(crop.to_image(xy_crop).T)
    np.testing.assert_allclose(crop.covariance_to_image(np.cov(xy_crop.T)), expected, rtol=1e-6)


@pytest.mark.parametrize("box", [(5, 5, 5, 5), (np.nan, 0, 1, 1), (0, 0, np.inf, 1)])
def test_box_without_area_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="finite box with an area"):
        Crop.around(box, 64)


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), np.eye(2), np.full((3, 3), np.nan), np.diag([0, 1, 1])])
def test_bad_matrix_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match="crop"):
        Crop(matrix, (64, 64))


@given(
    st.builds(
        CropRule,
        size=st.integers(1, 4096),
        padding=st.floats(0.1, 10),
        frame_padding=st.floats(0.1, 10),
        whole_image=st.booleans(),
        alignment=st.sampled_from(["center", "corner"]),
    )
)
def test_a_crop_rule_comes_back_out_of_a_file(rule: CropRule) -> None:
    assert CropRule.from_dict(json.loads(json.dumps(asdict(rule)))) == rule


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"sides": 3},
        {"size": 0},
        {"size": 10**9},
        {"size": 64.5},
        {"size": True},
        {"padding": "wide"},
        {"padding": 0},
        {"padding": float("nan")},
        {"frame_padding": float("inf")},
        {"whole_image": "no"},
        {"alignment": ["center"]},
    ],
)
def test_what_is_no_crop_rule_is_refused(content: object) -> None:
    with pytest.raises(ValueError, match=r"^a crop"):
        CropRule.from_dict(content)


@given(frame=st.tuples(*[st.integers(1, 4000)] * 2), size=st.tuples(*[st.integers(1, 512)] * 2))
def test_a_letterbox_shows_the_whole_frame_as_large_as_fits(frame: tuple[int, int], size: tuple[int, int]) -> None:
    crop = Crop.letterbox(frame, size)
    corners = crop.to_crop(np.array([(-0.5, -0.5), (frame[0] - 0.5, frame[1] - 0.5)]))
    np.testing.assert_allclose(corners[0], -0.5, atol=1e-6)
    room = np.array(size) - 0.5 - corners[1]
    assert room.min() == pytest.approx(0, abs=1e-6)
    assert room.max() >= -1e-6
    assert crop.image_to_crop[0, 0] == crop.image_to_crop[1, 1]


def test_a_letterbox_needs_a_frame() -> None:
    with pytest.raises(ValueError, match="positive sizes"):
        Crop.letterbox((0, 4), (32, 32))
