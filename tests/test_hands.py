"""The container: neutral defaults, validation, selection, joining and mirroring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import knuckle
from knuckle.hands import Hands, group_number, keypoint_extent


def make_hands(n: int = 4, seed: int = 0, **columns: Any) -> Hands:
    rng = np.random.default_rng(seed)
    given: dict[str, Any] = {
        "image": [f"photo{row // 2}.jpg" for row in range(n)],
        "xy": rng.uniform(0, 100, (n, 21, 2)),
        "visibility": rng.integers(0, 3, (n, 21)),
        "size": np.full((n, 2), (120, 110)),
        **columns,
    }
    return Hands(**given)


def test_defaults_are_neutral() -> None:
    hands = Hands(image=["a.jpg", "b.jpg"], xy=np.ones((2, 21, 2)), visibility=np.full((2, 21), 2))
    assert hands.side.tolist() == [-1, -1]
    assert hands.gesture.tolist() == [-1, -1]
    assert hands.size.tolist() == [[0, 0], [0, 0]]
    assert hands.box.tolist() == [[1, 1, 1, 1]] * 2
    assert [hands.covariance, hands.confidence, hands.score, hands.side_probability, hands.root] == [None] * 5
    assert hands.group[0] != hands.group[1]


def test_dtypes_and_shapes_are_the_documented_ones() -> None:
    predicted: dict[str, Any] = {
        "covariance": np.zeros((3, 21, 2, 2)),
        "confidence": np.ones((3, 21)),
        "score": np.ones(3),
    }
    hands = make_hands(3, **predicted, side_probability=np.ones(3))
    expected = {
        "xy": (np.float32, (3, 21, 2)),
        "visibility": (np.uint8, (3, 21)),
        "box": (np.float32, (3, 4)),
        "side": (np.int8, (3,)),
        "gesture": (np.int8, (3,)),
        "group": (np.int64, (3,)),
        "size": (np.int32, (3, 2)),
        "covariance": (np.float32, (3, 21, 2, 2)),
        "confidence": (np.float32, (3, 21)),
        "score": (np.float32, (3,)),
        "side_probability": (np.float32, (3,)),
    }
    for name, (dtype, shape) in expected.items():
        column = getattr(hands, name)
        assert (column.dtype, column.shape) == (np.dtype(dtype), shape)
        assert not column.flags.writeable


def test_default_group_depends_on_the_image_alone() -> None:
    hands = make_hands(4)
    assert hands.group[0] == hands.group[1] != hands.group[2]
    assert hands[2:].group[0] == make_hands(4)[2:].group[0] == group_number("photo1.jpg")
    assert 0 <= group_number("x") < 2**53


def test_unlabeled_positions_become_nan_and_leave_the_box() -> None:
    xy = np.zeros((1, 21, 2))
    xy[0, :3] = [(10, 20), (30, 5), (500, 500)]
    visibility = np.zeros((1, 21))
    visibility[0, :2] = [1, 2]
    hands = Hands(image=["a"], xy=xy, visibility=visibility)
    assert np.isnan(hands.xy[0, 2:]).all()
    assert hands.box[0].tolist() == [10, 5, 30, 20]
    assert hands.labeled.sum() == 2
    assert np.isnan(Hands(image=["a"], xy=xy, visibility=np.zeros((1, 21))).box).all()


def test_given_arrays_stay_the_callers() -> None:
    xy = np.ones((1, 21, 2), np.float32)
    hands = Hands(image=["a"], xy=xy, visibility=np.full((1, 21), 2, np.uint8))
    xy[:] = 7
    assert (hands.xy == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        hands.xy[0] = 3
    with pytest.raises(AttributeError):
        hands.xy = xy  # type: ignore[misc]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"xy": np.zeros((4, 20, 2))}, r"xy must have shape \(4, 21, 2\) for 4 images, got \(4, 20, 2\)"),
        ({"xy": np.zeros((4, 22, 2))}, r"got \(4, 22, 2\)"),
        ({"xy": np.zeros((3, 21, 2))}, r"got \(3, 21, 2\)"),
        ({"xy": [[1, 2], [3]]}, "xy must have shape"),
        ({"xy": np.full((4, 21, 2), "x")}, "xy must hold numbers"),
        ({"xy": np.full((4, 21, 2), np.inf), "visibility": np.full((4, 21), 2)}, "xy must be finite"),
        ({"xy": np.full((4, 21, 2), np.nan), "visibility": np.full((4, 21), 1)}, r"row 0, joint 0 \(wrist\)"),
        ({"xy": np.full((4, 21, 2), 1e300), "visibility": np.full((4, 21), 1)}, "xy must be finite"),
        ({"visibility": np.full((4, 21), 3)}, "visibility must be 0, 1 or 2, got 3"),
        ({"visibility": np.full((4, 21), -1)}, "whole numbers that fit uint8, got -1"),
        ({"visibility": np.full((4, 21), 0.5)}, "whole numbers"),
        ({"side": [0, 1, 2, 0]}, "side must be -1 .*, got 2"),
        ({"gesture": [0, 1, 25, 0]}, "gesture must be -1 .* to 24, got 25"),
        ({"gesture": [0, 1, 300, 0]}, "gesture must hold whole numbers that fit int8, got 300"),
        ({"size": np.full((4, 2), -1)}, "size must not be negative"),
        ({"box": np.tile([10, 10, 5, 20], (4, 1))}, "box must be finite"),
        ({"box": np.tile([10, np.nan, 15, 20], (4, 1))}, "but row 0 has"),
        ({"score": [0, 1, 1.5, 0]}, "score must lie in 0..1, got 1.5"),
        ({"side_probability": [0, 1, -0.5, 0]}, "side_probability must lie in 0..1, got -0.5"),
        ({"confidence": np.full((4, 21), -0.1)}, "confidence must lie in 0..1"),
        ({"covariance": np.zeros((4, 21, 2))}, "covariance must have shape"),
        ({"image": "photo.jpg"}, "image must be a sequence"),
        ({"group": [1, 2, 3]}, "group must have shape"),
    ],
)
def test_construction_validates(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_hands(4, **columns)


def test_selection() -> None:
    hands = make_hands(5, score=np.linspace(0, 1, 5))
    assert len(hands[1]) == 1
    assert hands[-1] == hands[4] == hands[np.int64(4)] == hands[np.array(4)]
    assert hands[1:3] == hands[[1, 2]] == hands[np.array([False, True, True, False, False])]
    assert len(hands[[]]) == len(hands[np.zeros(5, bool)]) == 0
    assert [one.score.tolist() for one in hands if one.score is not None] == [[0], [0.25], [0.5], [0.75], [1]]
    with pytest.raises(IndexError):
        hands[5]
    with pytest.raises(IndexError):
        hands[[True, False]]


@given(n=st.integers(0, 6), seed=st.integers(0, 99), cut=st.integers(0, 6))
@settings(max_examples=30)
def test_concat_puts_parts_back_together(n: int, seed: int, cut: int) -> None:
    hands = make_hands(n, seed, covariance=np.zeros((n, 21, 2, 2)), root="somewhere")
    joined = Hands.concat([hands[:cut], hands[cut:]])
    assert joined == hands
    assert joined.root == hands.root


def test_concat_of_different_roots_and_columns() -> None:
    one = make_hands(2, root="/data/one", score=np.ones(2), side_probability=[0.5, 0.75])
    two = make_hands(2, root="/data/two", side_probability=[np.nan, 1])
    joined = Hands.concat([one, two])
    assert joined.paths() == one.paths() + two.paths()
    assert Hands.concat([one, two.replace(root="two")]).paths()[3] == Path("two/photo0.jpg").absolute()
    assert joined.paths()[3] == Path("/data/two/photo0.jpg")
    assert joined.score is None
    np.testing.assert_array_equal(joined.side_probability, [0.5, 0.75, np.nan, 1])
    assert len(Hands.concat([])) == 0


def test_replace_and_equality() -> None:
    hands = make_hands(3)
    moved = hands.replace(xy=hands.xy + 1)
    assert moved != hands
    assert moved.replace(xy=hands.xy) == hands
    assert hands.replace(root="elsewhere") == hands
    assert hands.replace(score=np.ones(3)) != hands
    assert hands.replace(side_probability=np.ones(3)) != hands
    assert hands != 3


@given(seed=st.integers(0, 999))
@settings(max_examples=30)
def test_mirroring_twice_is_the_identity(seed: int) -> None:
    covariance = np.random.default_rng(seed).normal(size=(3, 21, 2, 2))
    hands = make_hands(3, seed, side=[-1, 0, 1], covariance=covariance, side_probability=[np.nan, 0.75, 1])
    mirrored = hands.mirrored()
    np.testing.assert_array_equal(mirrored.side_probability, hands.side_probability)
    assert mirrored.side.tolist() == [-1, 1, 0]
    np.testing.assert_allclose(mirrored.xy[..., 0], 119 - hands.xy[..., 0], rtol=1e-6)
    back = mirrored.mirrored()
    np.testing.assert_allclose(back.xy, hands.xy, atol=2e-5)
    np.testing.assert_allclose(back.box, hands.box, atol=2e-5)
    assert back.covariance is not None
    assert hands.covariance is not None
    np.testing.assert_array_equal(back.covariance, hands.covariance)
    np.testing.assert_array_equal(back.side, hands.side)


def test_mirroring_needs_the_size() -> None:
    with pytest.raises(ValueError, match=r"row 0 \(photo0.jpg\) has none"):
        make_hands(2, size=np.zeros((2, 2))).mirrored()


def test_keypoint_extent() -> None:
    xy = np.array([[[1, 5], [4, 2]], [[np.nan, np.nan], [3, 3]], [[np.nan] * 2] * 2], np.float32)
    np.testing.assert_array_equal(keypoint_extent(xy), [[1, 2, 4, 5], [3, 3, 3, 3], [np.nan] * 4])


def test_to_frame_is_long() -> None:
    pytest.importorskip("pandas")
    predicted: dict[str, Any] = {
        "score": [0.1, 0.2, 0.3],
        "side_probability": [0.5, 0.75, 1],
        "covariance": np.ones((3, 21, 2, 2)),
    }
    hands = make_hands(3, **predicted)
    frame = hands.to_frame()
    assert len(frame) == hands.labeled.sum()
    row = frame.iloc[-1]
    assert hands.xy[int(row["hand"]), int(row["joint"]), 1] == np.float32(row["y"])
    assert (row["score"], row["side_probability"]) == (np.float32(0.3), 1)
    assert {"variance_x", "covariance_xy", "joint_name"} <= set(frame.columns)


def test_public_name() -> None:
    assert knuckle.Hands is Hands
    assert "n=4, images=2" in repr(make_hands(4))
    with pytest.raises(AttributeError):
        _ = knuckle.nonsense
