"""Predicting a video: from frames and boxes to a journal and a drawn video, one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import ArrayLike

from knuckle.draw import draw_hands
from knuckle.predict.drawn_video import LONGEST_GAP, DrawnVideo
from knuckle.predict.files import name_from
from knuckle.predict.follow import Seen, follow, frame_name
from knuckle.predict.journal import Entry, Journal
from knuckle.predict.moments import moment_of
from knuckle.predict.sinks import FOLDERS

if TYPE_CHECKING:
    from knuckle.predict.detector import Detector
    from knuckle.predict.follow import Finder
    from knuckle.predict.sinks import Output
    from knuckle.predict.smooth import SmoothRule
    from knuckle.predict.track import TrackRule
    from knuckle.predict.video import Frame, Video


@dataclass
class VideoTally:
    """What a run over a video has met so far.

    Attributes:
        frames: that were looked at.
        with_hands: those among them that show a hand.
        tracks: hands that were followed, each from its first frame to its loss.
        at_once: the most hands in one frame.
        searches: frames in which the detector, or the whole frame in its place, was looked at.
        time: of the latest frame, in seconds.
        last_hand: time of the latest frame with a hand, or None.
        interrupted: Ctrl-C ended the run.
    """

    frames: int = 0
    with_hands: int = 0
    tracks: int = 0
    at_once: int = 0
    searches: int = 0
    time: float = 0.0
    last_hand: float | None = None
    interrupted: bool = False

    def add(self, seen: Seen) -> None:
        """Count one frame."""
        self.frames += 1
        self.time = seen.frame.time
        self.searches += seen.used_detector
        if len(seen.hands):
            self.with_hands += 1
            self.last_hand = self.time
            self.at_once = max(self.at_once, len(seen.hands))
            self.tracks = max(self.tracks, int(seen.track.max()))


def predict_video(
    finder: Finder,
    video: Video,
    *,
    boxes: ArrayLike | Literal["full"] | None = None,
    detector: Detector | None = None,
    rule: TrackRule | None = None,
    smoothing: SmoothRule | None = None,
    output: Output | None = None,
    drawing: Path | None = None,
    seconds: float | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    progress: Callable[[int], object] | None = None,
) -> tuple[VideoTally, list[str]]:
    """Follow the hands of a video or camera and write every frame's result down at once.

    Memory does not grow with the number of frames. Ctrl-C, the usual end of a camera, ends the run with all that
    was found until then in the outputs. Anything else that ends it early leaves the output's journal.

    Args:
        finder: a `Predictor`.
        video: an open video.
        boxes: as `follow` takes them.
        detector: as `follow` takes it.
        rule: how hands are followed.
        smoothing: filter the keypoints, too: the outputs get further columns, the drawing shows the filter's.
        output: where the hands go; any kind of file, but no folder.
        drawing: where to write the video with the hands drawn on it.
        seconds: end before the first frame of that time.
        settings: what the journal says of the run.
        progress: called after every frame with the number of frames done.

    Returns:
        What was met, and one sentence for each thing that the output cannot hold, for gaps that the drawing shortens,
        and for a damaged file.

    Raises:
        ValueError: there is nothing to start from, a box does not lie on the first frame, or something cannot be
            read or written; names it.
    """
    if output is not None and output.kind in FOLDERS:
        raise ValueError(f"{output.kind} files lie beside photos; write a video's hands as csv, parquet, json or coco.")
    if drawing is not None and drawing.resolve() == Path(video.name).resolve():
        raise ValueError(f"drawing would overwrite the video {video.name}; choose another file to draw to.")
    name = _name_of(video.name, output)
    tally = VideoTally()
    found = follow(
        finder,
        _until(video, seconds),
        boxes=boxes,
        detector=detector,
        rule=rule,
        smoothing=smoothing,
        name=name,
    )
    with ExitStack() as stack:
        drawn = None if drawing is None else stack.enter_context(DrawnVideo(drawing, video.rate))
        journal = None
        if output is not None:
            journal = stack.enter_context(Journal(output.journal, {**settings, "format": output.kind}))
        try:
            for seen in found:
                tally.add(seen)
                if journal is not None:
                    journal.add(_entry(seen, name))
                if drawn is not None:
                    drawn.add(draw_hands(seen.frame.image, seen.smooth or seen.hands), seen.frame.time)
                if progress is not None:
                    progress(tally.frames)
        except KeyboardInterrupt:
            if tally.frames == 0:
                raise
            tally.interrupted = True
    lost = [] if output is None else output.finish()
    if drawn is not None and drawn.shortened:
        lost.append(
            f"{drawing} is shorter than {video.name}: gaps of more than {LONGEST_GAP:.0f} s between frames, of which "
            f"there are {drawn.shortened:,}, are shown as {LONGEST_GAP:.0f} s; times in tables are right."
        )
    ended_itself = seconds is None and not tally.interrupted
    return tally, lost + ([video.shortfall()] if ended_itself and video.shortfall() else [])


def _name_of(video: str, output: Output | None) -> str:
    """The video's path from the output's folder; a camera's name as it is."""
    path = Path(video)
    return name_from(output.root, path) if output is not None and path.is_file() else video


def _until(video: Video, seconds: float | None) -> Iterator[Frame]:
    for frame in video:
        if seconds is not None and frame.time >= seconds:
            return
        yield frame


def _entry(seen: Seen, video: str) -> Entry:
    height, width = seen.frame.image.shape[:2]
    name = frame_name(video, seen.frame.number)
    return Entry(name, (width, height), seen.hands, moment=moment_of(seen, video))
