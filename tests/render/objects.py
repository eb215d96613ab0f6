"""An object for tests of what objects do."""

from __future__ import annotations

import numpy as np

from knuckle.render.convex import Shape
from knuckle.render.occluders import Occluder


def an_object(shape: Shape, half_axes: tuple[float, float, float] = (30.0, 30.0, 30.0)) -> Occluder:
    """A red one that passes before the hand, its axes those of the camera."""
    return Occluder(
        shape=shape,
        half_axes=np.array(half_axes),
        axes=np.eye(3),
        held=False,
        keypoint=0,
        approach=0.25,
        shift=np.zeros(3),
        colors=np.array([[0.5, 0.2, 0.1], [0.0, 0.0, 1.0]]),
        stripes=0.0,
    )
