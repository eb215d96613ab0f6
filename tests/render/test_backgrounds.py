"""Backgrounds: the same from the same generator, varied, of any size; photos are cropped or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from knuckle.draw import write_image
from knuckle.render.backgrounds import Photos, Procedural


def _generator(index: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64((7, index)))


@pytest.mark.parametrize("size", [16, 65, 128])
def test_backgrounds_follow_from_their_generator(size: int) -> None:
    first, again, other = (Procedural().draw(size, _generator(index)) for index in (0, 0, 1))
    assert first.shape == (size, size, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_backgrounds_are_varied() -> None:
    canvases = np.stack([Procedural().draw(48, _generator(index)) for index in range(60)]).astype(float)
    brightness = canvases.mean(axis=(1, 2, 3))
    assert brightness.min() < 70
    assert brightness.max() > 170
    contrast = canvases.std(axis=(1, 2)).mean(axis=1)
    assert contrast.min() < 15
    assert contrast.max() > 50


def test_shapes_can_be_left_out() -> None:
    plain = Procedural(shapes=(0, 0), pattern=0.0, grain=(0.0, 0.0))
    edges = [np.abs(np.diff(plain.draw(64, _generator(i)).astype(int), axis=0)).max() for i in range(10)]
    assert max(edges) < 40


def _photo(folder: Path, name: str, shape: tuple[int, int] = (40, 60)) -> None:
    """Red grows to the right, green downwards: a crop tells where it was taken and whether it was mirrored."""
    red, green = np.meshgrid(np.linspace(0, 250, shape[1]), np.linspace(0, 250, shape[0]))
    write_image(folder / name, np.stack([red, green, np.zeros(shape)], axis=2).astype(np.uint8))


def test_photos_are_cropped_upright_and_mirrored_now_and_then(tmp_path: Path) -> None:
    _photo(tmp_path, "a.png")
    _photo(tmp_path, "deeper/b.png", (300, 400))
    photos = Photos(tmp_path)
    assert [path.name for path in photos.files] == ["a.png", "b.png"]
    crops = np.stack([photos.draw(16, _generator(index)) for index in range(40)]).astype(float)
    to_the_right = (crops[:, :, -1, 0] - crops[:, :, 0, 0]).mean(axis=1)
    assert {-1, 1} == set(np.sign(to_the_right))
    assert ((crops[:, -1, :, 1] - crops[:, 0, :, 1]) > 10).all()
    assert crops[..., 2].max() < 10  # blue stays the third channel


def test_a_folder_without_photos_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no photo for backgrounds"):
        Photos(tmp_path).draw(16, _generator(0))


def test_a_broken_photo_is_named(tmp_path: Path) -> None:
    _photo(tmp_path, "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:40])
    with pytest.raises(ValueError, match=r"a\.png cannot be decoded"):
        Photos(tmp_path).draw(16, _generator(0))


def test_what_is_no_file_is_no_photo(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="holds no photo for backgrounds"):
        _ = Photos(tmp_path).files


def test_a_photo_that_went_missing_is_said_to_be_unreadable(tmp_path: Path) -> None:
    write_image(tmp_path / "photo.png", np.zeros((40, 40, 3), dtype=np.uint8))
    photos = Photos(tmp_path)
    _ = photos.files
    (tmp_path / "photo.png").unlink()
    with pytest.raises(ValueError, match=r"photo\.png cannot be read .* take it out of the folder of backgrounds"):
        photos.draw(16, np.random.default_rng(0))
