"""Following: numbers stay with their hands, the detector is asked only when needed, memory stays constant."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from jaxtyping import UInt8

from knuckle.predict.detector import Detections
from knuckle.predict.follow import follow, frame_name
from knuckle.predict.judgement import Judgement
from knuckle.predict.photos import Photo
from knuckle.predict.predictor import Found
from knuckle.predict.smooth import SmoothRule
from knuckle.predict.track import TrackRule
from tests.predict.moving import STAGE_WH, Actor, Path, PixelFinder, actors, film


def box_of(actor: Actor, corner: tuple[int, int] | None) -> tuple[float, float, float, float]:
    """The tight box of a hand whose picture lies there."""
    assert corner is not None
    low, high = actor.xy.min(axis=0) + corner, actor.xy.max(axis=0) + corner
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def truth(actor: Actor, corner: tuple[int, int] | None) -> Any:
    assert corner is not None
    return actor.xy + np.array(corner)


class Spy:
    """A detector that sees the hands that lie whole on the stage, and remembers when it was asked."""

    def __init__(self, cast: tuple[Actor, ...], paths: list[Path]) -> None:
        self.cast, self.paths, self.frame, self.asked = cast, paths, 0, list[int]()

    def detect(self, images: Sequence[UInt8[np.ndarray, "h w 3"]], /) -> list[Detections]:
        self.asked.append(self.frame)
        seen = [
            box_of(actor, corner)
            for actor, path in zip(self.cast, self.paths, strict=True)
            if (corner := path(self.frame)) is not None
        ]
        scores = np.linspace(0.5, 1, len(seen), dtype=np.float32)
        return [Detections(np.array(seen, np.float32).reshape(-1, 4), scores)]


def test_each_of_two_hands_keeps_its_number_and_is_found_exactly() -> None:
    cast = actors(2)
    paths: list[Path] = [lambda n: (5 + 3 * n, 10 + n), lambda n: (150 - 3 * n, 90 - n)]
    boxes = [box_of(actor, path(0)) for actor, path in zip(cast, paths, strict=True)]
    finder = PixelFinder(cast)
    frames = list(follow(finder, film(cast, paths, 12), boxes=boxes, name="a.mp4"))
    assert len(frames) == 12
    for number, seen in enumerate(frames):
        assert seen.track.tolist() == [1, 2]
        assert seen.hands.image.tolist() == [frame_name("a.mp4", number)] * 2 == [f"a.mp4#{number:06d}"] * 2
        expected = [truth(actor, path(number)) for actor, path in zip(cast, paths, strict=True)]
        np.testing.assert_allclose(seen.hands.xy, expected)
        assert not seen.used_detector
    assert len({int(group) for seen in frames for group in seen.hands.group}) == 1
    assert len(finder.boxes) == 12, "one look a frame"


def test_a_hand_found_in_the_whole_frame_is_followed_and_found_again() -> None:
    cast = actors(1)
    away = range(10, 30)
    paths: list[Path] = [lambda n: None if n in away else (20 + 4 * (n % 30), 40)]
    finder = PixelFinder(cast)
    frames = list(follow(finder, film(cast, paths, 40), boxes="full"))
    found = [len(seen.hands) for seen in frames]
    assert found == [1] * 10 + [0] * 20 + [1] * 10
    # The whole frame is looked at first, from the frame after the loss on, and no more once the hand is back.
    assert [n for n, seen in enumerate(frames) if seen.used_detector] == [0, *range(11, 31)]
    assert [int(seen.track[0]) for seen in frames if len(seen.hands)] == [1] * 10 + [2] * 10


def test_a_hand_that_is_covered_for_a_moment_keeps_its_number_without_any_detector() -> None:
    cast = actors(1)
    paths: list[Path] = [lambda n: None if 5 <= n < 9 else (60, 40)]
    frames = list(follow(PixelFinder(cast), film(cast, paths, 14), boxes=[box_of(cast[0], (60, 40))]))
    assert [len(seen.hands) for seen in frames] == [1] * 5 + [0] * 4 + [1] * 5
    assert {int(number) for seen in frames for number in seen.track} == {1}
    rule = TrackRule(patience=0.1)
    impatient = list(follow(PixelFinder(cast), film(cast, paths, 14), boxes=[box_of(cast[0], (60, 40))], rule=rule))
    assert [len(seen.hands) for seen in impatient] == [1] * 5 + [0] * 9


@pytest.mark.parametrize("sigma", [True, False])
def test_the_detector_is_asked_only_when_needed(sigma: bool) -> None:
    cast = actors(2)
    paths: list[Path] = [lambda n: (10 + 2 * n, 10), lambda n: None if n < 8 or 15 <= n < 17 else (150 - n, 80)]
    spy = Spy(cast, paths)

    def counted() -> Any:
        for frame in film(cast, paths, 30):
            spy.frame = frame.number
            yield frame

    rule = TrackRule(search_every=0.2)  # 5 frames
    frames = list(follow(PixelFinder(cast, sigma=sigma), counted(), detector=spy, rule=rule))
    # At first; while there is room; the frames after the loss until the hand is back; never with both hands there.
    assert spy.asked == [0, 5, 10, 16, 17]
    assert [seen.track.tolist() for seen in frames] == ([[1]] * 10 + [[1, 2]] * 5 + [[1]] * 2 + [[1, 2]] * 13)


def test_two_peoples_hands_are_followed_unless_told_otherwise() -> None:
    cast = actors(4)
    paths: list[Path] = [lambda n, x=x, y=y: (x + n, y) for x in (5, 125) for y in (2, 82)]  # type: ignore[misc]
    for rule, count in ((None, 4), (TrackRule(most_hands=3), 3)):
        frames = list(follow(PixelFinder(cast), film(cast, paths, 4), detector=Spy(cast, paths), rule=rule))
        assert [seen.track.tolist() for seen in frames] == [list(range(1, count + 1))] * 4


@pytest.mark.parametrize("given", ["boxes", "detector", "full"])
def test_hands_keep_their_numbers_where_frames_are_seconds_apart(given: str) -> None:
    cast = actors(1)
    paths: list[Path] = [lambda n: (60 + 5 * n, 40)]
    finder, spy = PixelFinder(cast), Spy(cast, paths)

    def counted() -> Any:
        for frame in film(cast, paths, 6, rate=0.2):
            spy.frame = frame.number
            yield frame

    places: dict[str, Any] = {"boxes": [box_of(cast[0], (60, 40))], "full": "full"}
    options: dict[str, Any] = {"detector": spy} if given == "detector" else {"boxes": places[given]}
    frames = list(follow(finder, counted(), **options, smoothing=SmoothRule()))
    assert [seen.track.tolist() for seen in frames] == [[1]] * 6
    for number, seen in enumerate(frames):
        np.testing.assert_allclose(seen.hands.xy, [truth(cast[0], paths[0](number))])
        assert seen.smooth is not None
        np.testing.assert_allclose(seen.smooth.xy, seen.hands.xy)
    assert len(finder.boxes) == 6, "where there is a search it goes before the box of long ago"
    assert [seen.used_detector for seen in frames] == [given != "boxes"] * 6


def test_a_hand_that_is_elsewhere_after_a_long_gap_is_found_there_at_once_as_another() -> None:
    cast = actors(1)
    paths: list[Path] = [lambda n: (5, 5) if n < 2 else (150, 80)]
    finder = PixelFinder(cast, sigma=False)
    frames = list(follow(finder, film(cast, paths, 4, rate=1), boxes="full"))
    assert [seen.track.tolist() for seen in frames] == [[1], [1], [2], [2]]


def test_boxes_of_a_blurred_first_frame_wait_for_the_hand() -> None:
    cast = actors(1)
    paths: list[Path] = [lambda n: None if n < 3 else (60, 40)]
    frames = list(follow(PixelFinder(cast), film(cast, paths, 6), boxes=[box_of(cast[0], (60, 40))]))
    assert [len(seen.hands) for seen in frames] == [0, 0, 0, 1, 1, 1]
    later = (frame._replace(time=frame.time + 10) for frame in film(cast, paths, 6))
    cut = list(follow(PixelFinder(cast), later, boxes=[box_of(cast[0], (60, 40))]))
    assert [len(seen.hands) for seen in cut] == [0, 0, 0, 1, 1, 1], "a clip need not start at 0 s"


def test_smoothed_hands_come_beside_the_raw_ones() -> None:
    cast = actors(1)
    paths: list[Path] = [lambda n: (60 + n % 2, 40)]
    box = [box_of(cast[0], (60, 40))]
    raw = list(follow(PixelFinder(cast), film(cast, paths, 10), boxes=box))
    both = list(follow(PixelFinder(cast), film(cast, paths, 10), boxes=box, smoothing=SmoothRule(noise=0.1)))
    for one, other in zip(raw, both, strict=True):
        assert one.hands == other.hands
        assert one.smooth is None
        assert other.smooth is not None
        assert other.smooth.image.tolist() == other.hands.image.tolist()
    last = both[-1]
    assert last.smooth is not None
    assert (np.abs(last.smooth.xy - last.hands.xy)[..., 0] > 0.05).all()


def test_what_a_detector_finds_reaches_the_finder_with_its_scores_and_their_weight() -> None:
    cast = actors(1)
    paths: list[Path] = [lambda n: (60, 40)]
    judgement = Judgement(2.0, 1.0, 0.5)

    class Weighed(Spy):
        def detect(self, images: Sequence[UInt8[np.ndarray, "h w 3"]], /) -> list[Detections]:
            return [found._replace(judgement=judgement) for found in super().detect(images)]

    photos: list[Photo] = []

    class Recorder(PixelFinder):
        def stream(self, incoming: Iterable[Photo], /) -> Iterator[Found]:
            own = list(incoming)
            photos.extend(own)
            return super().stream(own)

    list(follow(Recorder(cast), film(cast, paths, 3), detector=Weighed(cast, paths), rule=TrackRule(most_hands=1)))
    first, *others = (photo.boxes for photo in photos)
    assert isinstance(first, Detections)
    assert (first.score.tolist(), first.judgement) == ([0.5], judgement)
    assert not any(isinstance(boxes, Detections) for boxes in others), "then the tracks say where to look"


def test_without_boxes_and_detector_one_sentence_says_what_to_give() -> None:
    with pytest.raises(ValueError, match="without a detector a video needs to be told where its hands are"):
        follow(PixelFinder(actors(1)), iter(()))
    outside = [(STAGE_WH[0] + 5, 0, STAGE_WH[0] + 9, 9)]
    with pytest.raises(ValueError, match="outside"):
        list(follow(PixelFinder(actors(1)), film((), [], 1), boxes=outside))


def test_memory_does_not_grow_with_the_length() -> None:
    cast = actors(1)
    paths: list[Path] = [lambda n: (60 + n % 3, 40)]

    def peak(count: int) -> int:
        finder = PixelFinder(cast)
        tracemalloc.start()
        for _ in follow(finder, film(cast, paths, count), boxes=[box_of(cast[0], (60, 40))], smoothing=SmoothRule()):
            finder.boxes.clear()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(5)
    few, many = peak(20), peak(200)
    assert many < few + 100_000, f"{few:,} bytes for 20 frames, {many:,} for 200"
