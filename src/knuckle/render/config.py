"""What varies from picture to picture: named ranges in one frozen configuration, each with its unit.

None switches a factor off; in pictures of one hand the numbers of all the others stay as they were. Whole scenes of
several hands become other ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from knuckle.render.backgrounds import Photos, Procedural
from knuckle.render.companions import Companions
from knuckle.render.jewelry import Jewelry
from knuckle.render.occluders import OccluderRanges
from knuckle.render.poses import PoseMix
from knuckle.render.ranges import Range, check_numbers, check_ranges, check_weights
from knuckle.render.sensor import SensorRanges
from knuckle.render.shares import parse_shares


@dataclass(frozen=True)
class Viewpoints:
    """From where hands are seen: a mixture of four kinds, weighted.

    Attributes:
        egocentric: the person's own eyes or head camera: over the forearm, mostly on the back of the hand.
        facing: another person, or a selfie: on the palm, fingers up.
        overhead: down on a table, on the back of the hand, from any side.
        oblique: anywhere, turned by anything.
        spread: degrees by which a direction leaves the kind's own, as a standard deviation.
        roll: likewise for the turn of the picture, of egocentric and facing views.
        forearm: degrees around the forearm's axis that are left out, where the arm would hide the hand.

    Raises:
        ValueError: a range, share or probability cannot be one; names the field.
    """

    egocentric: float = 0.25
    facing: float = 0.2
    overhead: float = 0.15
    oblique: float = 0.4
    spread: float = 25.0
    roll: float = 35.0
    forearm: float = 40.0

    def __post_init__(self) -> None:
        check_weights(self, "egocentric", "facing", "overhead", "oblique")
        check_numbers(self, "spread", "roll")
        check_numbers(self, "forearm", most=150.0)


def parse_views(text: str) -> Viewpoints:
    """Viewpoints of which each kind has its share from a text like "overhead:0.5".

    What the named kinds leave over the others share as they do in `Viewpoints()`.

    Raises:
        ValueError: says which pair is wrong and what is expected.
    """
    usual = Viewpoints()
    kinds = {name: getattr(usual, name) for name in ("egocentric", "facing", "overhead", "oblique")}
    return replace(usual, **parse_shares(text, kinds, "viewpoint"))


@dataclass(frozen=True)
class Lens:
    """The camera's optics.

    Attributes:
        distance: from the camera to the hand, mm; log-uniform.
        off_axis: largest tangent of the angle between the optical axis and the hand, each way.
        distortion: lambda of the division model, from barrel to none; 0.3 off the axis, -0.25 is 2 %.

    Raises:
        ValueError: a range, share or probability cannot be one; names the field.
    """

    distance: Range = (280.0, 1400.0)
    off_axis: float = 0.3
    distortion: Range = (-0.25, 0.0)

    def __post_init__(self) -> None:
        check_ranges(self, "distance", above=0.0)
        check_numbers(self, "off_axis")
        check_ranges(self, "distortion")


@dataclass(frozen=True)
class Framing:
    """How the hand lies in the picture.

    Attributes:
        fill: longer side of the keypoints' extent over the picture's side.
        truncated: probability of a hand that the frame cuts off.
        beyond: largest part of the extent that is cut off then.

    Raises:
        ValueError: a range, share or probability cannot be one; names the field.
    """

    fill: Range = (0.45, 0.85)
    truncated: float = 0.08
    beyond: float = 0.3

    def __post_init__(self) -> None:
        check_ranges(self, "fill", above=0.0, most=1.0)
        check_numbers(self, "truncated", "beyond", most=1.0)


@dataclass(frozen=True)
class Skin:
    """The looks of skin; strengths from 0 to 1.

    Attributes:
        tone: on the Monk scale, 0 lightest to 9 darkest; uniform.
        variation: standard deviation of the log albedo of each channel.
        roughness: of the surface, moist to dry.
        mottling: blotches.
        redness: of knuckles and fingertips.
        wrinkles: of knuckles.
        creases: of the palm.
        veins: on the back of the hand.
        polish: probability of painted nails.

    Raises:
        ValueError: a range, share or probability cannot be one; names the field.
    """

    tone: Range = (-0.5, 9.5)
    variation: float = 0.06
    roughness: Range = (0.34, 0.65)
    mottling: Range = (0.1, 1.0)
    redness: Range = (0.0, 0.9)
    wrinkles: Range = (0.1, 1.0)
    creases: Range = (0.2, 1.0)
    veins: Range = (0.0, 0.8)
    polish: float = 0.1

    def __post_init__(self) -> None:
        check_ranges(self, "tone")
        check_numbers(self, "variation")
        check_ranges(self, "roughness", "mottling", "redness", "wrinkles", "creases", "veins", least=0.0, most=1.0)
        check_numbers(self, "polish", most=1.0)


@dataclass(frozen=True)
class Sleeves:
    """Clothes on the arm.

    Attributes:
        probability: of a sleeve on the forearm.
        distance: from the wrist to its end, mm.
        striped: part of the sleeves with stripes.
        short: part of the other arms with a sleeve on the upper arm; the rest are bare.
        short_distance: from the wrist to the end of such a sleeve, mm; the elbow lies at about 220.

    Raises:
        ValueError: a range, share or probability cannot be one; names the field.
    """

    probability: float = 0.55
    distance: Range = (6.0, 150.0)
    striped: float = 0.3
    short: float = 0.5
    short_distance: Range = (280.0, 420.0)

    def __post_init__(self) -> None:
        check_numbers(self, "probability", "striped", "short", most=1.0)
        check_ranges(self, "distance", "short_distance", least=0.0)


@dataclass(frozen=True)
class Lights:
    """The light; a white surface facing a lamp of strength 1 is white before exposure.

    Attributes:
        lamp: strength of the main lamp, which casts shadows.
        second: strength of the second one.
        ambient: strength of the light from all around.
        diffuse: probability that there is no lamp, as under an overcast sky.
        tint: standard deviation of each light's warmth: the log of red, and of what blue lacks.
        contrast: ground light over sky light.

    Raises:
        ValueError: a range, share or probability cannot be one; names the field.
    """

    lamp: Range = (0.6, 2.4)
    second: Range = (0.0, 0.8)
    ambient: Range = (0.2, 0.9)
    diffuse: float = 0.15
    tint: float = 0.07
    contrast: Range = (0.25, 1.0)

    def __post_init__(self) -> None:
        check_ranges(self, "lamp", "second", "ambient", "contrast", least=0.0)
        check_numbers(self, "diffuse", most=1.0)
        check_numbers(self, "tint")


@dataclass(frozen=True)
class WholeScenes:
    """Pictures of whole scenes, as `render_scenes` makes them; the other factors hold for them, too.

    Attributes:
        hands: weights of 0, 1, 2... hands in a picture.
        fill: longer side of the largest hand's keypoints over the picture's side; log-uniform. Several hands share
            the picture: its upper end is divided by the root of their number.
        smaller: size of the other hands over the largest one's; log-uniform.
        other_person: probability that a hand belongs to another person than the one before. Nobody has three.
        together: probability that a hand stands near another one as `Companions` do.
        truncated: probability of a hand that the frame cuts off.
        beyond: largest part of its extent that is cut off then.
        angle: degrees that the picture shows; a large hand makes it narrower.
        nearest: mm from the camera to the largest hand, at least.
        distractors: fewest and most heads and bare arms beyond the hands.
        skin_colored: part of them in the colours of skin.

    Raises:
        ValueError: a range, share or probability cannot be one; names the field.
    """

    hands: tuple[float, ...] = (0.12, 0.33, 0.31, 0.14, 0.10)
    fill: Range = (0.15, 1.0)
    smaller: Range = (0.6, 1.0)
    other_person: float = 0.35
    together: float = 0.2
    truncated: float = 0.15
    beyond: float = 0.35
    angle: Range = (30.0, 75.0)
    nearest: float = 230.0
    distractors: tuple[int, int] = (0, 3)
    skin_colored: float = 0.7

    def __post_init__(self) -> None:
        check_weights(self, "hands")
        check_ranges(self, "fill", "smaller", above=0.0, most=1.0)
        check_numbers(self, "other_person", "together", "truncated", "beyond", "skin_colored", most=1.0)
        check_ranges(self, "angle", above=0.0, most=170.0)
        check_numbers(self, "nearest", least=1.0)
        check_ranges(self, "distractors", least=0)


@dataclass(frozen=True)
class SceneConfig:
    """Everything that varies from picture to picture. None switches a factor off and, in pictures of one hand, leaves
    the others alone.

    Attributes:
        poses: which gestures, and how far from them.
        left_hands: probability of a left hand.
        shape: standard deviation of each shape coefficient in units of the population's; None: the mean hand.
        viewpoints: None: always the palm, fingers up.
        lens: None: 600 mm away, without distortion, on the optical axis.
        framing: None: 65 % of the picture, in its centre.
        skin: None: one even medium tone.
        sleeves: None: bare arms.
        jewelry: None: no rings, bracelets and watches.
        lights: None: one lamp from above left of the camera.
        backgrounds: made by code, or from photos; None: plain grey.
        occluders: None: no objects.
        companions: None: no second hand.
        sensor: None: linear light to sRGB, no noise, no blur, no JPEG.
        whole: what whole scenes hold; nothing for pictures of one hand.

    Raises:
        ValueError: a range, share or probability cannot be one; names the field.
    """

    poses: PoseMix = field(default_factory=PoseMix)
    left_hands: float = 0.5
    shape: float | None = 0.9
    viewpoints: Viewpoints | None = field(default_factory=Viewpoints)
    lens: Lens | None = field(default_factory=Lens)
    framing: Framing | None = field(default_factory=Framing)
    skin: Skin | None = field(default_factory=Skin)
    sleeves: Sleeves | None = field(default_factory=Sleeves)
    jewelry: Jewelry | None = field(default_factory=Jewelry)
    lights: Lights | None = field(default_factory=Lights)
    backgrounds: Procedural | Photos | None = field(default_factory=Procedural)
    occluders: OccluderRanges | None = field(default_factory=OccluderRanges)
    companions: Companions | None = field(default_factory=Companions)
    sensor: SensorRanges | None = field(default_factory=SensorRanges)
    whole: WholeScenes = field(default_factory=WholeScenes)

    def __post_init__(self) -> None:
        check_numbers(self, "left_hands", most=1.0)
        if self.shape is not None:
            check_numbers(self, "shape")
