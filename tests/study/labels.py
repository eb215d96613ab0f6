"""Small tables of labelled hands for tests of the study; no pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from knuckle.hands import Hands


def labeled_hands(
    images: Sequence[str],
    gestures: Sequence[int] | None = None,
    groups: Sequence[int] | None = None,
    seed: int = 0,
) -> Hands:
    """One hand a name, with random keypoints in a frame of 224 px; names may repeat."""
    xy = np.random.default_rng(seed).uniform(60, 160, (len(images), 21, 2))
    return Hands(
        image=list(images),
        xy=xy,
        visibility=np.full((len(images), 21), 2),
        gesture=gestures,
        group=groups,
        size=np.tile((224, 224), (len(images), 1)),
    )
