"""A trained model and the photos to use it on: `load` a model, `Predictor.predict` images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knuckle.predict.load import load

if TYPE_CHECKING:
    from knuckle.predict.predictor import Predictor

__all__ = ["Predictor", "load"]


def __getattr__(name: str) -> object:
    """Fetches `Predictor` when it is first used, so that importing this room does not import torch."""
    if name == "Predictor":
        from knuckle.predict.predictor import Predictor

        return Predictor
    raise AttributeError(f"module 'knuckle.predict' has no attribute {name!r}")
