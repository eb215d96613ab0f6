"""Training: a recipe and a folder of labelled photos in, a run folder with a measured model out.

Needs the extra: `pip install 'knuckle[train]'`.
"""

from __future__ import annotations

from knuckle.train.interrupt import Interrupted
from knuckle.train.loop import DivergenceError, train
from knuckle.train.recipe import Recipe, load_recipe

__all__ = ["DivergenceError", "Interrupted", "Recipe", "load_recipe", "train"]
