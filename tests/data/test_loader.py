from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from knuckle.data.augment import Augmentation
from knuckle.data.images import ImageError
from knuckle.data.loader import AHEAD, Batch, CropSource, ahead, batches, load_sample
from knuckle.data.rendered import RenderedHands
from knuckle.geometry import Alignment, CropRule
from knuckle.hands import Hands
from knuckle.render import SceneConfig
from knuckle.render.backgrounds import Photos

RULE = CropRule(size=48, padding=1.5)
STRONG = Augmentation(
    mirror=0.5,
    rotation=180,
    scale=(0.7, 1.3),
    shift=0.2,
    occluders=2,
    brightness=0.3,
    saturation=0.5,
    blur=2,
    noise=10,
    jpeg_quality=50,
)


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    cv2.imwrite(str(path), image)


@pytest.fixture
def hands(tmp_path: Path) -> Hands:
    """Twelve hands on twelve noisy images of 80 x 60 pixels; joint 3 is nowhere labelled."""
    rng = np.random.default_rng(1)
    names = [f"{number:02}.png" for number in range(12)]
    for name in names:
        write_png(tmp_path / name, rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    visibility = np.full((12, 21), 2)
    visibility[:, 3] = 0
    xy = rng.uniform((10, 10), (70, 50), (12, 21, 2))
    sides = np.arange(12) % 2
    return Hands(image=names, xy=xy, visibility=visibility, side=sides, size=np.tile((80, 60), (12, 1)), root=tmp_path)


def in_batches_of(size: int, n: int = 12) -> list[NDArray[np.int64]]:
    return [np.arange(start, min(start + size, n)) for start in range(0, n, size)]


def same(one: Batch, other: Batch) -> bool:
    pairs = zip(
        (one.images, *one.targets, one.left, one.image_to_crop, one.rows),
        (other.images, *other.targets, other.left, other.image_to_crop, other.rows),
        strict=True,
    )
    return all(left.dtype == right.dtype and torch.equal(left, right) for left, right in pairs)


def centroid(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    weight = image[..., 0].astype(np.float64)
    y, x = np.indices(weight.shape)
    return np.array([np.average(x, weights=weight), np.average(y, weights=weight)])


@pytest.mark.parametrize("alignment", ["center", "corner"])
@pytest.mark.parametrize("whole_image", [False, True])
def test_pixels_and_labels_of_a_crop_agree(alignment: Alignment, whole_image: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    augmentation = Augmentation(mirror=0.5, rotation=180, scale=(0.7, 1.3), shift=0.1)
    rule = CropRule(size=96, padding=2.2, frame_padding=1.1, whole_image=whole_image, alignment=alignment)
    y, x = np.mgrid[:110, :130]
    for number in range(30):
        xy = rng.uniform((55, 45), (75, 65))
        blob = 255 * np.exp(-((x - xy[0]) ** 2 + (y - xy[1]) ** 2) / (2 * 4.0**2))
        write_png(tmp_path / f"{number}.png", np.repeat(blob.round().astype(np.uint8)[..., None], 3, axis=2))
        visibility = np.zeros((1, 21))
        visibility[0, 8] = 2
        points = np.full((1, 21, 2), np.nan)
        points[0, 8] = xy
        one = Hands(
            image=[f"{number}.png"],
            xy=points,
            visibility=visibility,
            box=[[xy[0] - 20, xy[1] - 15, xy[0] + 25, xy[1] + 22]],
            size=[[130, 110]],
            root=tmp_path,
        )
        sample = load_sample(CropSource(one, rule, augmentation, seed=number), 0)
        np.testing.assert_allclose(centroid(sample.image), sample.xy_crop[8], atol=0.02)
        np.testing.assert_allclose(sample.crop.to_image(sample.xy_crop[8]), xy, atol=1e-3)


def test_a_batch_holds_what_the_samples_are(hands: Hands) -> None:
    source = CropSource(hands, RULE, augmentation=STRONG, seed=3)
    ((batch, messages),) = batches(source, [np.array([7, 2, 9])], epoch=4)
    assert messages == []
    assert batch.rows.tolist() == [7, 2, 9]
    assert batch.rows.dtype == torch.int64
    assert batch.images.shape == (3, 3, 48, 48)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.image_to_crop.dtype == torch.float64
    for place, row in enumerate([7, 2, 9]):
        sample = load_sample(source, row, epoch=4)
        np.testing.assert_array_equal(batch.images[place].permute(1, 2, 0).numpy(), sample.image)
        np.testing.assert_array_equal(batch.targets.xy_crop[place].numpy(), sample.xy_crop)
        np.testing.assert_array_equal(batch.image_to_crop[place].numpy(), sample.crop.image_to_crop)


def test_unlabelled_joints_take_no_part_and_are_never_nan(hands: Hands) -> None:
    ((batch, _),) = batches(CropSource(hands, RULE, augmentation=STRONG), [np.arange(12)])
    assert torch.isfinite(batch.targets.xy_crop).all()
    np.testing.assert_array_equal(batch.targets.labeled.numpy(), hands.labeled)
    assert (batch.targets.xy_crop[:, 3] == 0).all()


def test_points_outside_the_crop_keep_their_place_and_label(hands: Hands) -> None:
    far = CropSource(hands, CropRule(size=48, padding=0.3))
    sample = load_sample(far, 0)
    outside = (np.abs(sample.xy_crop - 23.5) > 24).any(axis=1) & hands.labeled[0]
    assert outside.sum() > 3
    assert sample.labeled[outside].all()
    np.testing.assert_allclose(sample.crop.to_image(sample.xy_crop[outside]), hands.xy[0][outside], atol=1e-3)


def test_mirroring_moves_no_joint_to_another_row(hands: Hands) -> None:
    plain = load_sample(CropSource(hands, RULE), 5)
    mirrored = load_sample(CropSource(hands, RULE, augmentation=Augmentation(mirror=1)), 5)
    expected = plain.xy_crop.copy()
    expected[plain.labeled, 0] = 47 - expected[plain.labeled, 0]
    np.testing.assert_allclose(mirrored.xy_crop, expected, atol=1e-4)
    np.testing.assert_allclose(mirrored.image.astype(int), plain.image[:, ::-1], atol=1)


def test_a_mirrored_crop_shows_the_other_side(hands: Hands) -> None:
    sides = hands.replace(side=[0, 1, -1, 0, 1, -1, 0, 1, -1, 0, 1, -1])
    for mirror, left in ((0.0, [1, 0, np.nan]), (1.0, [0, 1, np.nan])):
        ((batch, _),) = batches(CropSource(sides, RULE, Augmentation(mirror=mirror)), in_batches_of(12))
        np.testing.assert_array_equal(batch.left.numpy(), np.tile(left, 4).astype(np.float32))


def test_the_number_of_workers_changes_no_bit(hands: Hands) -> None:
    source = CropSource(hands, RULE, augmentation=STRONG, seed=11)
    rows = in_batches_of(5)
    here = list(batches(source, rows, epoch=2))
    for workers in (1, 2):
        there = list(batches(source, rows, epoch=2, workers=workers))
        assert len(there) == len(here) == 3
        for (one, _), (other, _) in zip(here, there, strict=True):
            assert same(one, other)
            assert other.images.is_contiguous(memory_format=torch.channels_last)


def test_order_and_batch_size_change_no_sample(hands: Hands) -> None:
    source = CropSource(hands, RULE, augmentation=STRONG)
    ((straight, _),) = batches(source, [np.arange(12)])
    order = np.random.default_rng(0).permutation(12)
    shuffled = [batch for batch, _ in batches(source, [order[:7], order[7:8], order[8:]])]
    images = torch.cat([batch.images for batch in shuffled])
    assert torch.equal(images, straight.images[order])


def test_seed_and_epoch_and_row_each_change_the_draw(hands: Hands) -> None:
    source, other_seed = (CropSource(hands, RULE, augmentation=STRONG, seed=seed) for seed in (0, 1))
    columns = {name: getattr(hands, name)[:1].repeat(12, axis=0) for name in ("image", "xy", "box")}
    twin = CropSource(hands.replace(**columns), RULE, augmentation=STRONG)
    reference = load_sample(source, 0, epoch=0).image
    np.testing.assert_array_equal(load_sample(twin, 0, epoch=0).image, reference)
    for sample in (load_sample(source, 0, epoch=1), load_sample(other_seed, 0, epoch=0), load_sample(twin, 1, epoch=0)):
        assert not np.array_equal(sample.image, reference)


def test_without_augmentation_epoch_and_seed_do_not_matter(hands: Hands) -> None:
    for augmentation in (None, Augmentation.none()):
        sample = load_sample(CropSource(hands, RULE, augmentation=augmentation, seed=9), 4, epoch=7)
        np.testing.assert_array_equal(sample.image, load_sample(CropSource(hands, RULE), 4).image)
        np.testing.assert_array_equal(sample.crop.image_to_crop, RULE.around_box(hands.box[4]).image_to_crop)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_random_state_of_the_caller_moves(hands: Hands, workers: int) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    cv2.setRNGSeed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    list(batches(CropSource(hands, RULE, augmentation=STRONG), in_batches_of(4), workers=workers))
    after = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]


def break_images(hands: Hands, rows: list[int]) -> None:
    assert hands.root is not None
    for row in rows:
        path = hands.root / str(hands.image[row])
        path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize("workers", [0, 2])
def test_skipping_leaves_out_the_bad_samples_and_says_so(hands: Hands, workers: int) -> None:
    break_images(hands, [1, 4, 5, 6, 7, 11])
    source = CropSource(hands, RULE)
    got = list(batches(source, in_batches_of(4), workers=workers, on_bad="skip"))
    assert [batch.rows.tolist() for batch, _ in got] == [[0, 2, 3], [8, 9, 10]]
    names = [[message.split()[0].rsplit("/", 1)[1] for message in messages] for _, messages in got]
    assert names == [["01.png"], ["04.png", "05.png", "06.png", "07.png", "11.png"]]
    for batch, _ in got:
        ((clean, _),) = batches(source, [batch.rows.numpy()])
        assert same(batch, clean)


def test_messages_of_a_last_batch_without_samples_are_kept(hands: Hands) -> None:
    break_images(hands, [8, 9, 10, 11])
    got = list(batches(CropSource(hands, RULE), in_batches_of(4), on_bad="skip"))
    assert [(len(batch.rows), len(messages)) for batch, messages in got] == [(4, 0), (4, 4)]


def test_if_no_sample_is_left_that_is_an_error(hands: Hands) -> None:
    break_images(hands, list(range(12)))
    with pytest.raises(ValueError, match=r"none of the 12 samples can be used; the first: .*00\.png is cut off"):
        list(batches(CropSource(hands, RULE), in_batches_of(4), on_bad="skip"))
    assert list(batches(CropSource(hands, RULE), [], on_bad="skip")) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_stopping_raises_the_same_sentence_from_any_process(hands: Hands, workers: int) -> None:
    break_images(hands, [6])
    with pytest.raises(ImageError, match=r"^[^\n]*06\.png is cut off[^\n]*\.$"):
        list(batches(CropSource(hands, RULE), in_batches_of(4), workers=workers))
    assert not multiprocessing.active_children()


def test_an_image_of_another_size_than_its_labels_is_refused(hands: Hands) -> None:
    size = hands.size.copy()
    size[2], size[3] = (160, 120), (0, 0)
    source = CropSource(hands.replace(size=size), RULE)
    load_sample(source, 3)
    with pytest.raises(ImageError, match=r"02\.png is 80 x 60 pixels, but its labels are for 160 x 120"):
        load_sample(source, 2)


@pytest.mark.parametrize("box", [(np.nan,) * 4, (10, 10, 10, 10)])
def test_a_hand_without_a_box_needs_the_whole_image(hands: Hands, box: tuple[float, ...]) -> None:
    boxes = hands.box.copy()
    boxes[2] = box
    with pytest.raises(ValueError, match=r"02\.png \(row 2\) has a hand whose box has no area.*\.$"):
        load_sample(CropSource(hands.replace(box=boxes), RULE), 2)
    sample = load_sample(CropSource(hands.replace(box=boxes), replace(RULE, whole_image=True)), 2)
    np.testing.assert_array_equal(sample.crop.image_to_crop, RULE.around_frame((80, 60)).image_to_crop)


def test_closing_early_ends_the_workers(hands: Hands) -> None:
    iterator = batches(CropSource(hands, RULE), in_batches_of(1), workers=2)
    assert isinstance(iterator, Iterator)
    next(iterator)
    assert len(multiprocessing.active_children()) == 2
    del iterator
    gc.collect()
    assert not multiprocessing.active_children()


def test_a_source_travels_between_processes(hands: Hands) -> None:
    source = CropSource(hands, RULE, augmentation=STRONG, seed=2)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(load_sample(copy, 3).image, load_sample(source, 3).image)


def test_rendered_hands_are_cut_and_changed_as_hands_on_disk_are(tmp_path: Path) -> None:
    rendered = RenderedHands(count=4, seed=2, size=40)
    images, labels = rendered.render(range(4))
    for number, image in enumerate(images):
        write_png(tmp_path / f"{number}.png", image[..., ::-1].copy())
    stored = labels.replace(image=[f"{number}.png" for number in range(4)], root=tmp_path)
    for rule in (RULE, replace(RULE, whole_image=True)):
        one, other = (
            next(batches(CropSource(hands, rule, STRONG, seed=3), [np.array([2, 0, 3])]))
            for hands in (rendered, stored)
        )
        assert same(one[0], other[0])
        assert one[1] == other[1] == []


def test_rendered_hands_are_the_same_from_any_number_of_workers() -> None:
    source = CropSource(RenderedHands(count=7, size=24), RULE, STRONG, seed=11)
    rows = in_batches_of(3, n=7)
    here = list(batches(source, rows, epoch=5))
    assert [batch.rows.tolist() for batch, _ in here] == [[0, 1, 2], [3, 4, 5], [6]]
    for workers in (1, 2):
        there = list(batches(source, rows, epoch=5, workers=workers))
        assert all(same(one, other) for (one, _), (other, _) in zip(here, there, strict=True))
    ((elsewhere, _),) = batches(source, rows[:1], epoch=4)
    assert not torch.equal(elsewhere.targets.xy_crop, here[0][0].targets.xy_crop)


def test_a_share_without_hands_is_no_batch() -> None:
    source = CropSource(RenderedHands(count=3, size=24), RULE)
    shares = [np.array([0]), np.array([], dtype=np.int64), np.array([2])]
    assert [batch.rows.tolist() for batch, _ in batches(source, shares)] == [[0], [2]]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_background_that_cannot_be_used_is_raised_where_the_batch_is_asked_for(workers: int, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    config = replace(SceneConfig(), backgrounds=Photos(tmp_path))
    source = CropSource(RenderedHands(count=4, size=24, config=config), RULE)
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        list(batches(source, in_batches_of(2, n=4), workers=workers, on_bad="skip"))


def test_closing_early_ends_the_thread_that_renders() -> None:
    before = threading.active_count()
    iterator = batches(CropSource(RenderedHands(count=40, size=24), RULE), in_batches_of(2, n=40))
    next(iterator)
    assert threading.active_count() > before
    del iterator
    gc.collect()
    assert threading.active_count() == before


class Counted:
    """Numbers from 0 that remember how many were asked for and which threads asked, and fail at one of them."""

    def __init__(self, count: int, fails_at: int = -1) -> None:
        self.count = count
        self.fails_at = fails_at
        self.made = 0
        self.threads = set[int]()

    def __iter__(self) -> Iterator[int]:
        for number in range(self.count):
            self.threads.add(threading.get_ident())
            if number == self.fails_at:
                raise RuntimeError("out of memory")
            self.made += 1
            yield number


@pytest.mark.parametrize("count", [0, 1, AHEAD, 20])
def test_what_is_made_ahead_comes_in_order_from_one_other_thread(count: int) -> None:
    numbers = Counted(count)
    assert list(ahead(iter(numbers), AHEAD)) == list(range(count))
    assert len(numbers.threads) == min(count, 1)
    assert threading.get_ident() not in numbers.threads


def test_no_more_than_the_depth_is_made_ahead() -> None:
    numbers = Counted(20)
    iterator = ahead(iter(numbers), 3)
    assert next(iterator) == 0
    for _ in range(200):
        if numbers.made == 4:
            break
        time.sleep(0.01)
    time.sleep(0.05)
    assert numbers.made == 4, "one is taken, three wait"
    iterator.close()
    assert numbers.made == 4


def test_what_fails_ahead_fails_where_it_is_asked_for() -> None:
    iterator = ahead(iter(Counted(20, fails_at=2)), 4)
    assert [next(iterator), next(iterator)] == [0, 1]
    with pytest.raises(RuntimeError, match="out of memory"):
        next(iterator)
    assert list(iterator) == []


INTERRUPTED = """
import signal, sys, pickle
from knuckle.data.loader import batches
import numpy as np

if __name__ == "__main__":
    # A shell's background jobs, such as a whole test run, ignore Ctrl-C, and so would this child of theirs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    source = pickle.load(open(sys.argv[1], "rb"))
    count = 0
    try:
        for batch, _ in batches(source, [np.array([k % 12]) for k in range(10**6)], workers=2):
            count += 1
            if count == 3:
                print("running", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a process group are POSIX")
def test_control_c_ends_the_main_process_and_its_workers_quietly(hands: Hands, tmp_path: Path) -> None:
    script, source = tmp_path / "script.py", tmp_path / "source.pickle"
    script.write_text(INTERRUPTED)
    source.write_bytes(pickle.dumps(CropSource(hands, RULE)))
    process = subprocess.Popen(
        [sys.executable, str(script), str(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    os.killpg(process.pid, signal.SIGINT)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
