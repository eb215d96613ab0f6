"""What writers share: exact short numbers and paths that lead to the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from knuckle.formats.files import images_relative_to, short_decimals
from knuckle.formats.joints import joint_of_name, joint_order
from knuckle.skeleton import JOINT_NAMES
from tests.formats.fakes import example_hands, write_fake_images


@given(arrays(np.float32, 30, elements=st.floats(width=32)))
def test_short_decimals_become_the_same_float32(values: NDArray[np.float32]) -> None:
    with np.errstate(over="ignore"):
        assert np.array_equal(short_decimals(values).astype(np.float32), values, equal_nan=True)


def test_short_decimals_are_short() -> None:
    values = np.array([0.1, 742.79, 1e-3, 63.858], dtype=np.float32)
    assert [repr(value) for value in short_decimals(values).tolist()] == ["0.1", "742.79", "0.001", "63.858"]


def test_paths_lead_from_the_new_folder(tmp_path: Path) -> None:
    hands = example_hands(root=tmp_path / "photos")
    write_fake_images(hands)
    for folder in ("photos", "photos/sub", "elsewhere/deep", "."):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        related = images_relative_to(hands, tmp_path / folder)
        assert related.root == tmp_path / folder
        assert all(path.samefile(old) for path, old in zip(related.paths(), hands.paths(), strict=True))
    assert images_relative_to(hands, tmp_path).image[0] == "photos/a.png"
    assert images_relative_to(hands, tmp_path / "labels").image[0] == "../photos/a.png"


def test_paths_lead_through_links(tmp_path: Path) -> None:
    hands = example_hands(root=tmp_path / "photos")
    write_fake_images(hands)
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    related = images_relative_to(hands, tmp_path / "link")
    assert all(path.is_file() for path in related.paths())


def test_names_without_root_are_related_only_where_they_lead_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hands = example_hands()
    assert images_relative_to(hands, tmp_path / "out").image.tolist() == hands.image.tolist()
    write_fake_images(hands)
    assert images_relative_to(hands, tmp_path / "out").image[0] == "../a.png"


def test_every_own_name_is_known() -> None:
    assert [joint_of_name(name) for name in JOINT_NAMES] == list(range(21))
    assert joint_order(JOINT_NAMES) == tuple(range(21))
    assert joint_of_name("elbow") is None
    assert joint_of_name("7") is None
