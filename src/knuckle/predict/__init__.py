"""A trained model and the photos or videos to use it on: `load` a model, `Predictor.predict` images.

`knuckle.predict.follow` follows hands through a video; `to_supervision` and `to_mediapipe` hand results on.
"""

from __future__ import annotations

from knuckle.predict.convert import to_mediapipe, to_supervision
from knuckle.predict.load import load
from knuckle.predict.predictor import Predictor

__all__ = ["Predictor", "load", "to_mediapipe", "to_supervision"]
