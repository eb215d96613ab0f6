"""find_images: what is found, in which order, and what is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from knuckle.predict.sources import find_images, read_list


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def relative(images: list[Path], folder: Path) -> list[str]:
    return [image.relative_to(folder).as_posix() for image in images]


def test_folders_are_searched_to_the_bottom_in_counting_order(tmp_path: Path) -> None:
    make(tmp_path, "10.jpg", "2.JPG", "b/1.png", "a/deep/3.webp", "note.txt", "b10/1.png", "b9/1.png", "old.heic")
    found = relative(find_images([tmp_path]), tmp_path)
    assert found == ["2.JPG", "10.jpg", "a/deep/3.webp", "b/1.png", "b9/1.png", "b10/1.png", "old.heic"]


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "._a.jpg", ".thumbs/a.jpg")
    assert relative(find_images([tmp_path]), tmp_path) == ["a.jpg"]


def test_sources_keep_their_order_and_an_image_is_taken_once(tmp_path: Path) -> None:
    make(tmp_path, "z/1.jpg", "a/1.jpg", "a/2.jpg")
    sources = [tmp_path / "z", tmp_path / "a" / "2.jpg", tmp_path / "a"]
    assert relative(find_images(sources), tmp_path) == ["z/1.jpg", "a/2.jpg", "a/1.jpg"]


def test_an_image_is_taken_once_however_its_path_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "photos/a.jpg", "x/b.jpg")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("photos/a.jpg\nx/../photos/a.jpg\n")
    assert find_images(["photos/a.jpg", "x/../photos/a.jpg", "photos"]) == [Path("photos/a.jpg")]
    assert read_list(tmp_path / "list.txt") == [Path("photos/a.jpg")]


def test_patterns_find_images_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path, "v1/10.jpg", "v1/9.jpg", "v2/deep/1.jpg", "v1/9.json")
    assert relative(find_images([f"{tmp_path}/v1/*"]), tmp_path) == ["v1/9.jpg", "v1/10.jpg"]
    assert len(find_images([f"{tmp_path}/**/*.jpg"])) == 3


def test_a_file_with_brackets_in_its_name_is_no_pattern(tmp_path: Path) -> None:
    make(tmp_path, "hand [1].jpg")
    assert relative(find_images([tmp_path / "hand [1].jpg"]), tmp_path) == ["hand [1].jpg"]


def test_a_named_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    make(tmp_path, "upload")
    assert relative(find_images([tmp_path / "upload"]), tmp_path) == ["upload"]


def test_a_link_that_leads_nowhere_is_found_so_that_it_is_counted(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "c.jpg").mkdir()
    assert relative(find_images([tmp_path]), tmp_path) == ["a.jpg", "b.jpg"]


def test_a_folder_of_videos_says_how_they_are_given(tmp_path: Path) -> None:
    make(tmp_path, "deep/a.MP4", "note.txt")
    with pytest.raises(ValueError, match=r"holds videos and no image; give videos one by one\.$"):
        find_images([tmp_path])


def test_the_folder_of_drawings_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "drawn/a.jpg")
    for source in (tmp_path, f"{tmp_path}/**/*.jpg", f"{tmp_path}/*"):
        assert relative(find_images([source], leave_out=tmp_path / "drawn"), tmp_path) == ["a.jpg"]
    for source in (tmp_path / "drawn", f"{tmp_path}/drawn/*"):
        assert relative(find_images([source], leave_out=tmp_path / "drawn"), tmp_path) == ["drawn/a.jpg"]


def test_nothing_found_is_a_sentence(tmp_path: Path) -> None:
    make(tmp_path, "note.txt")
    for source, sentence in (
        (tmp_path, "holds no image"),
        (tmp_path / "no", "there is no file"),
        (f"{tmp_path}/*.png", "no image"),
    ):
        with pytest.raises(ValueError, match=sentence):
            find_images([source])


def test_a_list_is_a_path_a_line(tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("\ufeffa.jpg\n\n/b/c d.png\na.jpg\n", encoding="utf-8")
    assert read_list(listed) == [Path("a.jpg"), Path("/b/c d.png")]


@pytest.mark.parametrize(("content", "sentence"), [(b"", "names no image"), (b"\xff\xfe\x00", "UTF-8")])
def test_what_is_no_list_is_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        read_list(tmp_path / "list.txt")
