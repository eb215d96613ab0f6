"""The options of a method, as a recipe or a model's file gives them, checked against what its class takes.

YAML and JSON know fewer kinds of values than Python, and YAML reads 1e-3 as a text. So a text that is a number passes
for one, a whole number that is written as 5.0 for a whole number, and a list for a tuple.
"""

from __future__ import annotations

import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

UNLIKE_BELOW: Final = 0.6
"""Names less alike than this are not offered as what an unknown one may have meant."""

NOT_OPTIONS: Final = {
    "backbone": "model.backbone of a recipe names it",
    "size": "model.size of a recipe says it",
    "alignment": "it follows from how crops are cut",
    "weights": "model.weights of a recipe names them",
    "num_joints": "a hand has 21 keypoints",
}
"""Arguments of every method that are no option of it, and where they are said instead."""


def checked_options(name: str, builder: Callable[..., object], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with their values as the method's class wants them; equal ones where they are so already.

    Args:
        name: the method's, for messages.
        builder: its class.
        options: by name.

    Raises:
        ValueError: an unknown option, or a value of another kind than the option's.
    """
    known = _kinds(builder)
    for option in options:
        if option in NOT_OPTIONS:
            raise ValueError(f"{option} is not an option of the method {name!r}: {NOT_OPTIONS[option]}; leave it out.")
        if option not in known:
            hint = did_you_mean(str(option), tuple(known), f"choose among {', '.join(known)}")
            raise ValueError(f"the method {name!r} has no option {option!r}; {hint}")
    return {option: _option(name, option, value, known[option]) for option, value in options.items()}


def _kinds(builder: Callable[..., object]) -> dict[str, Any]:
    """The annotation of each option of a method's class."""
    hints = typing.get_type_hints(builder.__init__ if inspect.isclass(builder) else builder)
    return {name: hints.get(name, Any) for name in inspect.signature(builder).parameters if name not in NOT_OPTIONS}


def did_you_mean(name: str, known: tuple[str, ...], otherwise: str) -> str:
    """The end of a sentence on an unknown name: the known one that is most like it, or else `otherwise`."""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=UNLIKE_BELOW)
    return f"did you mean {nearest[0]}?" if nearest else f"{otherwise}."


def _option(name: str, option: str, value: Any, kind: Any) -> Any:
    try:
        return _fitting(value, kind)
    except (TypeError, ValueError, OverflowError):  # no number, infinity, a number that float cannot hold
        raise ValueError(
            f"the option {option} of the method {name!r} should be {_words(kind)}, got {value!r}."
        ) from None


def _fitting(value: Any, kind: Any) -> Any:
    """The value as a thing of this kind; ValueError, TypeError or OverflowError where it is none."""
    if _is_union(kind):
        return _first_fitting(value, typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return _fitting_tuple(value, typing.get_args(kind))
    if kind is int or kind is float:
        return _number(value, whole=kind is int)
    if typing.get_origin(kind) is Literal:
        right = any(value == word and type(value) is type(word) for word in typing.get_args(kind))
    else:
        right = kind is Any or isinstance(value, kind)
    if not right:
        raise ValueError
    return value


def _first_fitting(value: Any, kinds: tuple[Any, ...]) -> Any:
    """As the first of the kinds that it fits."""
    for kind in kinds[:-1]:
        try:
            return _fitting(value, kind)
        except (TypeError, ValueError, OverflowError):
            continue
    return _fitting(value, kinds[-1])


def _fitting_tuple(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError
    each = [kinds[0]] * len(value) if kinds[-1] is ... else list(kinds)
    return tuple(_fitting(one, kind) for one, kind in zip(value, each, strict=True))


def _number(value: Any, *, whole: bool) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    number = float(value)
    if not math.isfinite(number) or (whole and number != int(number)):
        raise ValueError
    if isinstance(value, int):
        return value
    return int(number) if whole else number


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def _words(kind: Any) -> str:
    """What a value of this kind is called in a message."""
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", types.NoneType: "null"}
    if _is_union(kind):
        return " or ".join(_words(one) for one in typing.get_args(kind))
    if typing.get_origin(kind) is Literal:
        return f"one of {', '.join(str(word) for word in typing.get_args(kind))}"
    if typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        if kinds[-1] is ...:
            return f"a list, each of which is {_words(kinds[0])}"
        return f"a list of {len(kinds)}: {', '.join(_words(one) for one in kinds)}"
    return plain.get(kind, "of another kind")
