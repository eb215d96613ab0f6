"""An engine runs a network: crops in, keypoints in crop pixels out. Everything around it is the same for all of them.

Letters in shapes: B hands in a batch, S the side of the crop in pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import UInt8

from knuckle.predict.points import CropPoints


class Engine(ABC):
    """Something that runs a network. It keeps no state between calls, so threads may share one."""

    @property
    def has_hand_head(self) -> bool:
        """Whether `find` says how probably there is a hand."""
        return False

    @abstractmethod
    def find(self, crops: UInt8[np.ndarray, "B S S 3"], flip_test: bool) -> CropPoints:
        """The keypoints of one batch of crops, at least one, and where there is a hand head what it says.

        Args:
            crops: (B, S, S, 3) uint8 RGB.
            flip_test: average what the network gives for the crops and for their mirror images, before decoding.
                Covariances are then diagonal: a flow gives crop and mirror image one correlation, which has
                opposite signs in the picture.
        """
