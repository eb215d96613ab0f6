"""Options as YAML gives them: what passes, as what, and the sentence for everything else."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import yaml

from knuckle.geometry import CropRule
from knuckle.methods import METHODS, SequentialStages, SimCC
from knuckle.methods.options import NOT_OPTIONS, checked_options
from knuckle.methods.weights import ModelSpec, build


class Made:
    """Takes options of every kind."""

    def __init__(
        self,
        backbone: str = "",
        *,
        sure: bool = False,
        words: str = "",
        few: tuple[int, ...] = (),
        two: tuple[int, float] = (1, 2.0),
        kind: Literal["a", "b"] = "a",
        limit: float | None = None,
    ) -> None:
        pass


def checked(text: str, builder: Any = Made) -> dict[str, Any]:
    """The options in a text of YAML."""
    return checked_options("made", builder, yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("sure: true", True),
        ("words: five", "five"),
        ("few: [1, 2.0, '3']", (1, 2, 3)),
        ("few: []", ()),
        ("two: [1, 1e-3]", (1, 0.001)),
        ("kind: b", "b"),
        ("limit: null", None),
        ("limit: 1e-3", 0.001),
    ],
)
def test_values_of_every_kind(text: str, value: object) -> None:
    (found,) = checked(text).values()
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "should"),
    [
        ("sure: 1", "should be true or false, got 1."),
        ("words: 5", "should be a text, got 5."),
        ("few: 3", "should be a list, each of which is a whole number, got 3."),
        ("few: [1.5]", "should be a list, each of which is a whole number"),
        ("two: [1]", "should be a list of 2: a whole number, a number, got [1]."),
        ("kind: c", "should be one of a, b, got 'c'."),
        ("kind: [a]", "should be one of a, b, got ['a']."),
        ("limit: much", "should be a number or null, got 'much'."),
        ("limit: .inf", "should be a number or null, got inf."),
        ("limit: .nan", "should be a number or null, got nan."),
        ("limit: true", "should be a number or null, got True."),
    ],
)
def test_values_of_another_kind(text: str, should: str) -> None:
    with pytest.raises(ValueError, match=r"^the option .* of the method 'made' should be") as caught:
        checked(text)
    assert should in str(caught.value)


@pytest.mark.parametrize(
    ("value", "passes"),
    [("5", 5), ("5.0", 5), ("'5'", 5), ("5.5", None), ("five", None), ("true", None), ("1e999", None)],
)
def test_whole_numbers(value: str, passes: int | None) -> None:
    if passes is None:
        with pytest.raises(ValueError, match=r"the option stages of the method 'made' should be a whole number, got"):
            checked(f"stages: {value}", SequentialStages)
        return
    found = checked(f"stages: {value}", SequentialStages)["stages"]
    assert (found, type(found)) == (passes, int)


def test_numbers_that_no_float_can_hold() -> None:
    with pytest.raises(ValueError, match="should be a number"):
        checked_options("made", Made, {"limit": 10**400})


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"^the method 'made' has no option 'stage'; did you mean stages\?$"):
        checked("stage: 5", SequentialStages)
    with pytest.raises(ValueError, match=r"^the method 'made' has no option 'colour'; choose among split_ratio\.$"):
        checked("colour: 5", SimCC)


@pytest.mark.parametrize("option", NOT_OPTIONS)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_said_elsewhere_is_no_option(method: str, option: str) -> None:
    with pytest.raises(ValueError, match=f"^{option} is not an option of the method '{method}': .*; leave it out"):
        build(ModelSpec(method, "test_byobnet", CropRule(size=64), {option: 20}))


@pytest.mark.parametrize("method", METHODS)
def test_every_option_of_every_method_is_of_a_known_kind(method: str) -> None:
    """A value of no kind at all is refused in words for each of them."""
    code = METHODS[method].__init__.__code__
    options = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]) - {"self", *NOT_OPTIONS}
    assert options
    for option in options:
        with pytest.raises(ValueError, match=f"the option {option} .* should be") as caught:
            checked_options(method, METHODS[method], {option: math.nan})
        assert "another kind" not in str(caught.value)


def test_a_network_is_built_from_texts() -> None:
    options = {"sigma_floor": "1e-3", "stages": 2.0, "width": "8", "variance_width": None}
    method = build(ModelSpec("sequential", "test_byobnet", CropRule(size=64), options))
    assert isinstance(method, SequentialStages)
    assert (method.sigma_floor, len(method.stages)) == (0.001, 2)
