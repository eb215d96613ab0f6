"""Going on from a trained model: its network, options and crops, under a recipe's data and schedule.

A recipe names the model as `start`. What the recipe's section `model` says must then be true of that model; what
it leaves out is taken from there. Only how much is cut out around a hand or a frame may be another: a network learns
hands that are larger or smaller in their crops. Whether whole images or hands are cut out follows the recipe's data.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from knuckle.methods.base import Method
from knuckle.methods.weights import ModelSpec, method_options
from knuckle.predict.load import StoredModel, read_model, weights_file
from knuckle.train.recipe import Model, Recipe


def settle(recipe: Recipe) -> Recipe:
    """The recipe with the section `model` of the network that it starts from; another has its options checked.

    Raises:
        ValueError: the model cannot be read, or it is not the one that the section describes; or no such method or
            option, or a value of another kind than the option's.
    """
    if recipe.start is None:
        options = method_options(recipe.model.method, recipe.model.options)
        return recipe.model_copy(update={"model": recipe.model.model_copy(update={"options": options})})
    spec = _stored(recipe.start).spec
    asked = recipe.model
    model = Model(
        method=spec.method,
        backbone=spec.backbone,
        size=spec.rule.size,
        padding=asked.padding if "padding" in asked.model_fields_set else spec.rule.padding,
        frame_padding=asked.frame_padding if "frame_padding" in asked.model_fields_set else spec.rule.frame_padding,
        options=spec.options,
    )
    wrong = _disagreements(asked, model)
    if wrong:
        raise ValueError(
            f"the recipe does not fit {recipe.start}: {'; '.join(wrong)}. Leave the section model out of the recipe, "
            "or start from another model."
        )
    return recipe.model_copy(update={"model": model})


def starting_model(recipe: Recipe) -> tuple[Method, ModelSpec]:
    """The network of a settled recipe's `start` with its weights, and how to rebuild it.

    Its hand head was fitted to the feature maps of the old weights, so it stays behind, as the calibration does.

    Raises:
        ValueError: the model cannot be read.
    """
    assert recipe.start is not None
    stored = _stored(recipe.start)
    stored.method.hand_head = None
    torch.manual_seed(recipe.train.seed)
    rule = replace(
        stored.spec.rule,
        padding=recipe.model.padding,
        frame_padding=recipe.model.frame_padding,
        whole_image=recipe.data.crop == "full",
    )
    return stored.method, replace(stored.spec, rule=rule)


def leaves_something_behind(start: str) -> bool:
    """Whether a model to go on from has a calibration or a hand head, which its new weights will lack.

    Raises:
        ValueError: the model cannot be read.
    """
    stored = _stored(start)
    return stored.calibration is not None or stored.method.hand_head is not None


def _stored(name: str) -> StoredModel:
    return read_model(weights_file(name))  # as text: "light" alone is a shipped model


def _disagreements(asked: Model, model: Model) -> list[str]:
    """A phrase for each field that the recipe gives and the model does not have so."""
    wrong = []
    for name in Model.model_fields:
        if name not in asked.model_fields_set:
            continue
        given, known = getattr(asked, name), getattr(model, name)
        if name == "weights":
            if given is not None:
                wrong.append(f"model.weights is {given}, but all weights come from the model")
        elif name == "options":
            if "method" not in asked.model_fields_set or asked.method == model.method:
                given = method_options(model.method, given)  # YAML takes 1e-3 for a text
            wrong += [_phrase(f"options.{key}", given[key], known.get(key)) for key in _differing(given, known)]
        elif given != known:
            wrong.append(_phrase(name, given, known))
    return wrong


def _differing(given: dict[str, Any], known: dict[str, Any]) -> list[str]:
    return [key for key, value in given.items() if key not in known or known[key] != value]


def _phrase(name: str, given: object, known: object) -> str:
    return f"model.{name} is {given} in the recipe and {'not set' if known is None else known} in the model"
