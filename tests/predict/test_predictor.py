"""Predictor: known lights are found where they are, batches do not mix, wrong arguments get a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from knuckle.geometry import Alignment, CropRule, mirror_boxes, mirror_image, mirror_points
from knuckle.hands import VISIBLE
from knuckle.metrics import epe
from knuckle.predict import Predictor
from knuckle.predict.detector import Detections
from knuckle.predict.engine import Engine
from knuckle.predict.judgement import Judgement
from knuckle.predict.photos import FULL, Photo
from knuckle.predict.points import CropPoints
from knuckle.predict.torch_engine import TorchEngine
from tests.predict.centroid import COVARIANCE_CROP, Centroid, TwoTone, light_at, save_rgb

RULE = CropRule(size=64, padding=1.5)


def predictor(*, sigma: bool = True, **options: Any) -> Predictor:
    return Predictor(Centroid(64, sigma=sigma), RULE, **options)


class Doubting(Engine):
    """Finds all keypoints in the middle, and takes every second crop for no hand."""

    def find(self, crops: NDArray[np.uint8], flip_test: bool) -> CropPoints:
        count = len(crops)
        score = np.where(np.arange(count) % 2, 0.49, 0.5)
        return CropPoints(np.full((count, 21, 2), 32.0), None, score, np.full(count, 0.25))


def test_the_network_judges_what_the_detector_found_and_not_what_was_given() -> None:
    boxes = np.array([(10, 10, 50, 50), (60, 10, 99, 50), (80, 60, 120, 99)], np.float32)

    class Three:
        def detect(self, images: Sequence[NDArray[np.uint8]], /) -> list[Detections]:
            return [Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32)) for _ in images]

    model = Predictor(Doubting(), CropRule(size=64), detector=Three())
    found = model.predict(light_at((60, 50)))
    np.testing.assert_array_equal(found.box, boxes[[0, 2]])
    np.testing.assert_array_equal(found.score, [0.5, 0.5])
    assert len(model.predict(light_at((60, 50)), boxes)) == 3


def test_a_detector_may_have_a_say_beside_the_network_and_the_surest_come_first() -> None:
    boxes = np.array([(10, 10, 50, 50), (60, 10, 99, 50), (80, 60, 120, 99)], np.float32)
    judgement = Judgement(2.0, 1.0, -1.0)

    class Weighed:
        def detect(self, images: Sequence[NDArray[np.uint8]], /) -> list[Detections]:
            return [Detections(boxes, np.array([0.5, 0.9, 0.7], np.float32), judgement) for _ in images]

    found = Predictor(Doubting(), CropRule(size=64), detector=Weighed()).predict(light_at((60, 50)))
    np.testing.assert_array_equal(found.box, boxes[[1, 2]], "the first is at even odds twice, less the offset")
    expected = judgement.probability(np.array([0.9, 0.7]), np.array([0.49, 0.5]))
    assert found.score is not None
    np.testing.assert_allclose(found.score, expected, rtol=1e-6)


class Outline(Engine):
    """Puts the keypoints on the outline of what is bright in the crop, and counts its crops; the dark is no hand."""

    def __init__(self) -> None:
        self.crops = 0

    def find(self, crops: NDArray[np.uint8], flip_test: bool) -> CropPoints:
        self.crops += len(crops)
        found = [np.argwhere(crop[..., 0] > 127)[:, ::-1] for crop in crops]
        low, high = (np.array([getattr(own, name)(axis=0) for own in found], np.float32) for name in ("min", "max"))
        along = np.linspace(0, 1, 21, dtype=np.float32)[:, None]
        return CropPoints(low[:, None] * (1 - along) + high[:, None] * along, None)


def test_loose_boxes_of_a_detector_are_drawn_tight_by_a_first_look_and_one_hand_is_found_once() -> None:
    image = np.zeros((160, 200, 3), np.uint8)
    image[60:100, 80:110] = 255
    loose = np.array([(50, 30, 140, 120), (60, 40, 150, 130)], np.float32)

    class Loose:
        def detect(self, images: Sequence[NDArray[np.uint8]], /) -> list[Detections]:
            return [Detections(loose, np.array([0.4, 0.6], np.float32)) for _ in images]

    engine = Outline()
    found = Predictor(engine, CropRule(size=128), detector=Loose()).predict(image)
    assert engine.crops == 3, "two boxes, then one hand"
    np.testing.assert_allclose(found.box, [[80, 60, 109, 99]], atol=1.0)
    np.testing.assert_allclose(found.xy[0, [0, -1]], [[80, 60], [109, 99]], atol=0.5)
    np.testing.assert_array_equal(found.score, np.array([0.6], np.float32))
    given = Predictor(engine, CropRule(size=128)).predict(image, loose)
    np.testing.assert_array_equal(given.box, loose, "boxes that are given are taken as they are")


def test_the_first_look_sees_a_hand_that_the_detectors_box_cuts_off() -> None:
    image = np.zeros((160, 200, 3), np.uint8)
    image[60:100, 60:140] = 255

    class Short:
        def detect(self, images: Sequence[NDArray[np.uint8]], /) -> list[Detections]:
            return [Detections(np.array([(64, 45, 136, 115)], np.float32), np.ones(1, np.float32)) for _ in images]

    found = Predictor(Outline(), CropRule(size=128, padding=1.0), detector=Short()).predict(image)
    np.testing.assert_allclose(found.box, [[60, 60, 139, 99]], atol=1.0)


@pytest.mark.parametrize("alignment", ["center", "corner"])
@pytest.mark.parametrize("flip_test", [False, True])
def test_a_light_in_a_box_is_found_where_it_is(alignment: Alignment, flip_test: bool) -> None:
    rule = CropRule(size=64, padding=1.5, alignment=alignment)
    box = np.array([[30, 20, 86, 76]], dtype=np.float32)
    found = Predictor(Centroid(64, alignment), rule, flip_test=flip_test).predict(light_at((61.3, 44.8)), box)
    np.testing.assert_allclose(found.xy[0], np.tile((61.3, 44.8), (21, 1)), atol=0.05)
    assert (found.visibility == VISIBLE).all()
    np.testing.assert_array_equal(found.box, box)
    np.testing.assert_array_equal(found.size, [[160, 120]])
    assert found.image.tolist() == [""]
    assert found.confidence is None
    assert found.score is None


class Bright:
    """A detector that sees a box around every image's lights, sure of it by their brightness; the least sure first."""

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[Any, Any]]:
        return [self._one(image.max(axis=2)) for image in images]

    def _one(self, grey: NDArray[np.uint8]) -> tuple[Any, Any]:
        rows = [(x - 20, y - 20, x + 20, y + 20, grey[y, x] / 255) for y, x in np.argwhere(grey > 200).tolist()]
        rows = sorted(rows[:: max(1, len(rows) // 2)][:2], key=lambda row: float(row[-1]))
        return [row[:4] for row in rows], [row[4] for row in rows]


def test_without_boxes_the_detector_finds_the_hands() -> None:
    images = [light_at((60, 50)), np.zeros((120, 160, 3), np.uint8), light_at((90, 70))]
    found = predictor(detector=Bright(), batch_size=3).predict(images)
    assert found.score is not None
    assert set(found.group.tolist()) == {0, 2}, "nothing is found on the second"
    for group, place in ((0, (60, 50)), (2, (90, 70))):
        own = found[found.group == group]
        assert own.score is not None
        assert (np.diff(own.score) <= 0).all(), "the surest first"
        np.testing.assert_allclose(own.xy[:, 0], np.tile(place, (len(own), 1)), atol=0.5)
        np.testing.assert_allclose(own.box[:, 2:] - own.box[:, :2], 40)
    nothing = predictor(detector=Bright()).predict(images[1])
    assert len(nothing) == 0
    given = predictor(detector=Bright()).predict(images[0], [[40, 30, 80, 70]])
    assert given.score is None
    assert len(given) == 1


class OneSided:
    """A detector whose boxes reach too far to the right; surer on the left, it overlooks the last third of an image."""

    def detect(self, images: Sequence[NDArray[np.uint8]], /) -> list[tuple[Any, Any]]:
        return [self._one(image) for image in images]

    def _one(self, image: NDArray[np.uint8]) -> tuple[Any, Any]:
        _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 60).astype(np.uint8))
        width = image.shape[1]
        found = [row for row in stats[1:].tolist() if row[0] < 2 / 3 * width]
        return [(x - 2, y - 2, x + 1.4 * w, y + h + 2) for x, y, w, h, _ in found], [0.9 - x / width for x, *_ in found]


def lights(
    size_wh: tuple[int, int], *places: tuple[float, float], spread: float = 5.0, green: float = 4.0
) -> NDArray[np.uint8]:
    """Red lights, and green ones as far to the left of them."""
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    for x, y in places:
        image[..., 0] = np.maximum(image[..., 0], light_at((x, y), size_wh, spread)[..., 0])
        image[..., 1] = np.maximum(image[..., 1], light_at((x - green, y), size_wh, spread)[..., 0])
    return image


SCENES: dict[str, NDArray[np.uint8]] = {
    "found both ways": lights((224, 168), (100.3, 80.7)),
    "found on the mirror image alone": lights((224, 168), (190.4, 60.2)),
    "two hands": lights((224, 168), (60.2, 50.6), (180.8, 110.4)),
    "two hands close together": lights((224, 168), (96.7, 80.1), (121.2, 84.3)),
    "in the middle, where both images are one": lights((225, 168), (112.0, 80.0), green=0.0),
    "blocks of pixels that do not fill the frame": lights((640, 480), (233.3, 200.7), spread=40.0),
}


@pytest.mark.parametrize("image", SCENES.values(), ids=SCENES)
def test_with_the_flip_test_the_hands_of_a_mirrored_photo_are_the_mirrored_hands(image: NDArray[np.uint8]) -> None:
    model, width = Predictor(TwoTone(), RULE, flip_test=True, detector=OneSided()), image.shape[1]
    straight, mirrored = model.predict(image), model.predict(mirror_image(image))
    assert len(straight) == len(mirrored) == (2 if image is SCENES["two hands close together"] else len(straight)) > 0
    np.testing.assert_allclose(mirror_points(mirrored.xy, width), straight.xy, atol=0.05)
    np.testing.assert_allclose(mirror_boxes(mirrored.box, width), straight.box, atol=0.05)
    assert straight.score is not None
    assert mirrored.score is not None
    np.testing.assert_allclose(mirrored.score, straight.score, rtol=1e-6)
    assert (np.diff(straight.score) <= 0).all(), "the surest first"


def test_what_the_detector_sees_on_a_photo_and_on_its_mirror_image_is_averaged() -> None:
    """Of twins the mean, one hand each; a hand that was seen on one of them keeps its box and score."""
    answers = [
        ([(10, 10, 50, 50), (90, 10, 130, 50)], [0.5, 0.25]),
        ([(159 - 54, 12, 159 - 14, 52), (5, 60, 45, 100)], [0.75, 0.5]),
    ]

    class Says:
        def detect(self, images: Sequence[NDArray[np.uint8]], /) -> list[Any]:
            return [answers[int(images[0][0, 0, 0] == 0)]]

    image = light_at((60, 50))
    image[0, 0] = 255
    found = predictor(flip_test=True, detector=Says()).predict(image)
    np.testing.assert_array_equal(found.box, [(12, 11, 52, 51), (114, 60, 154, 100), (90, 10, 130, 50)])
    np.testing.assert_array_equal(found.score, np.array([0.625, 0.5, 0.25], np.float32))


def test_with_the_flip_test_a_shrunk_photo_is_the_same_both_ways() -> None:
    image = np.zeros((480, 645, 3), np.uint8)
    image[200:203, 81:84] = 255  # less than the 10 x 10 pixels that become one
    model = predictor(flip_test=True)
    straight, mirrored = (model.predict(photo, "full").xy for photo in (image, mirror_image(image)))
    np.testing.assert_allclose(mirror_points(mirrored, 645), straight, atol=0.05)


@pytest.mark.parametrize("alignment", ["center", "corner"])
def test_the_whole_frame_is_one_hand(alignment: Alignment) -> None:
    rule = CropRule(size=64, frame_padding=0.8, alignment=alignment)
    found = Predictor(Centroid(64, alignment), rule).predict(light_at((84.2, 58.1)), boxes="full")
    np.testing.assert_allclose(found.xy[0, 0], (84.2, 58.1), atol=0.1)
    np.testing.assert_array_equal(found.box, [[-0.5, -0.5, 159.5, 119.5]])


def test_the_covariance_is_in_image_pixels() -> None:
    found = predictor().predict(light_at((60, 50)), [[40, 30, 80, 70]])
    image_pixels_a_crop_pixel = 40 * 1.5 / 64
    assert found.covariance is not None
    expected = np.array(COVARIANCE_CROP) * image_pixels_a_crop_pixel**2
    np.testing.assert_allclose(found.covariance[0], np.tile(expected, (21, 1, 1)), rtol=1e-5)
    assert predictor(sigma=False).predict(light_at((60, 50)), [[40, 30, 80, 70]]).covariance is None


def test_hands_keep_to_their_images_in_batches_of_any_size() -> None:
    rng = np.random.default_rng(0)
    lights = [rng.uniform((40, 40), (110, 80)) for _ in range(9)]
    images = [light_at((x, y)) for x, y in lights]
    counts = [2, 0, 1, 4, 0, 1, 3, 1, 0]
    boxes = [
        np.array([[x - 20 - i, y - 20, x + 20, y + 20 + i] for i in range(m)], dtype=np.float32).reshape(-1, 4)
        for (x, y), m in zip(lights, counts, strict=True)
    ]
    for batch_size in (1, 3, 32):
        model = predictor(batch_size=batch_size)
        found = model.predict(images, boxes)
        assert found.group.tolist() == [i for i, m in enumerate(counts) for _ in range(m)]
        truth = found.replace(image=[f"photo{group}.jpg" for group in found.group], visibility=found.visibility)
        assert epe(found, truth) == 0, "pixels without a name can be compared with any image's truth"
        np.testing.assert_array_equal(found.box, np.concatenate(boxes))
        np.testing.assert_allclose(found.xy[:, 0], np.repeat(lights, counts, axis=0), atol=0.1)
        assert isinstance(model.engine, TorchEngine)
        assert isinstance(model.engine.method, Centroid)
        assert max(model.engine.method.batches) <= batch_size


def test_no_image_and_no_box_give_no_hand() -> None:
    assert len(predictor().predict([], boxes="full")) == 0
    assert len(predictor().predict(light_at((5, 5)), boxes=np.empty((0, 4)))) == 0
    assert len(predictor().predict([light_at((5, 5))], boxes=[[]])) == 0


def test_paths_arrays_and_pil_images_are_the_same_picture(tmp_path: Path) -> None:
    from PIL import Image

    image = light_at((70, 60))
    path = tmp_path / "a.png"
    save_rgb(str(path), image)
    box = [[50, 40, 90, 80]]
    found = predictor().predict([path, str(path), image, Image.fromarray(image)], [box] * 4)
    assert found.image.tolist() == [str(path), str(path), "", ""]
    np.testing.assert_array_equal(found.xy, np.tile(found.xy[:1], (4, 1, 1)))
    stacked = predictor().predict(np.stack([image, image]), boxes="full")
    assert len(stacked) == 2


def test_photos_are_read_only_as_far_as_the_next_batch_needs() -> None:
    read = 0

    def photos() -> Iterator[Photo]:
        nonlocal read
        for number in range(100):
            read += 1
            yield Photo(str(number), light_at((30, 30), (64, 64)), FULL)

    stream = predictor(batch_size=4).stream(photos())
    assert [next(stream).name for _ in range(4)] == ["0", "1", "2", "3"]
    assert read == 5


def test_photos_without_boxes_do_not_pile_up() -> None:
    read = 0

    def photos() -> Iterator[Photo]:
        nonlocal read
        for number in range(100):
            read += 1
            yield Photo(str(number), light_at((30, 30), (64, 64)), np.empty((0, 4), dtype=np.float32))

    assert len(next(predictor(batch_size=4).stream(photos())).hands) == 0
    assert read == 5


def test_threads_may_share_one_predictor() -> None:
    model = predictor(batch_size=2)
    lights = [(40 + 3 * i, 50.0) for i in range(16)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda xy: model.predict(light_at(xy), "full").xy[0, 0], lights))
    np.testing.assert_allclose(answers, lights, atol=0.2)


IMAGE = light_at((20, 20), (40, 30))
GOOD = [[5, 5, 20, 20]]

REFUSALS: list[tuple[str, Any, Any, str]] = [
    ("no boxes", IMAGE, None, "no hand detector"),
    ("an unknown word", IMAGE, "whole", "must be \"full\" or numbers, got 'whole'"),
    ("a missing file", "nowhere.png", "full", "nowhere.png"),
    ("float pixels", IMAGE / 255, "full", r"image 0 must be .* dtype float64 .*; .* give image\.astype\(np\.uint8\)"),
    ("grey pixels", IMAGE[..., 0], "full", r"image 0 must be .* shape \(30, 40\); .* three times"),
    ("grey PIL image", Image.new("L", (4, 4)), "full", r'; give image\.convert\("RGB"\)'),
    ("PIL image with opacity", Image.new("RGBA", (4, 4)), "full", r'; give image\.convert\("RGB"\)'),
    ("PIL image in YCbCr", Image.new("YCbCr", (4, 4)), "full", r'Image in mode YCbCr .*; give image\.convert\("RGB"\)'),
    ("PIL image in HSV", Image.new("HSV", (4, 4)), "full", r'Image in mode HSV .*; give image\.convert\("RGB"\)'),
    ("PIL image in LAB", Image.new("LAB", (4, 4)), "full", r'Image in mode LAB .*; give image\.convert\("RGB"\)'),
    ("channels first", IMAGE.transpose(2, 0, 1), "full", r"shape \(3, 30, 40\)"),
    ("RGBA", np.zeros((4, 4, 4), np.uint8), "full", r"shape \(4, 4, 4\); give the colours alone"),
    ("no pixels", np.zeros((0, 4, 3), np.uint8), "full", r"shape \(0, 4, 3\)"),
    ("None", None, "full", "NoneType"),
    ("the second of a list", [IMAGE, "missing.png"], "full", "missing.png"),
    ("one flat box", IMAGE, [5, 5, 20, 20], r"shape \(m, 4\).*got \(4,\)"),
    ("five numbers", IMAGE, [[1, 2, 3, 4, 5]], r"got \(1, 5\)"),
    ("words", IMAGE, [["a", "b", "c", "d"]], "boxes must be"),
    ("ragged", IMAGE, [[1, 2, 3, 4], [1, 2]], "boxes must be"),
    ("NaN", IMAGE, [*GOOD, [1, 2, np.nan, 4]], "image 0, box 1 .* finite"),
    ("zero width", [IMAGE, IMAGE], [GOOD, [[5, 5, 5, 9]]], "image 1, box 0 .* no area"),
    ("x1 after x2", IMAGE, [[9, 5, 5, 9]], "no area"),
    ("beyond all measure", IMAGE, [[1, 2, 1e30, 4]], "image 0, box 0 .* far larger than its image of 40 x 30"),
    ("outside", IMAGE, [[100, 5, 120, 9]], "outside its image of 40 x 30"),
    ("too few arrays", [IMAGE, IMAGE], [GOOD], "2 arrays, one an image, got 1"),
    ("one array for two", [IMAGE, IMAGE], np.array([[5, 5, 20, 20.0]] * 2), r"image 0: boxes must have shape \(m, 4\)"),
    ("a number", [IMAGE], 3, "one an image, got int"),
]


@pytest.mark.parametrize(
    ("images", "boxes", "sentence"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_wrong_arguments_get_one_sentence(images: Any, boxes: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refusal:
        predictor().predict(images, boxes)
    assert "\n" not in str(refusal.value)
    assert re.search(r"\.$", str(refusal.value))


def test_a_batch_must_hold_something() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        predictor(batch_size=0)
