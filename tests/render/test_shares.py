"""Shares of named kinds: the named ones as given, the others in their usual proportions, 1 in all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knuckle.render.shares import parse_shares, shares_text

USUAL = {"red": 0.5, "green": 0.25, "blue": 0.25, "none": 0.0}


def test_what_is_left_over_keeps_its_proportions() -> None:
    assert parse_shares("", USUAL, "colour") == USUAL
    assert parse_shares("blue:0.4", USUAL, "colour") == pytest.approx(
        {"red": 0.4, "green": 0.2, "blue": 0.4, "none": 0.0}
    )
    assert parse_shares(" none : 1 ", USUAL, "colour") == {"red": 0.0, "green": 0.0, "blue": 0.0, "none": 1.0}


def test_kinds_may_have_other_names() -> None:
    assert parse_shares("R:1", USUAL, "colour", {"R": "red"}.__getitem__)["red"] == 1


@given(st.dictionaries(st.sampled_from(["red", "green", "none"]), st.floats(0, 0.3)))
def test_shares_sum_to_one_and_are_read_as_written(named: dict[str, float]) -> None:
    shares = parse_shares(shares_text(named), USUAL, "colour")
    assert sum(shares.values()) == pytest.approx(1)
    assert {name: shares[name] for name in named} == named
    assert list(shares) == list(USUAL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("red", r"'red' is not a colour and its share from 0 to 1: write for example red:0\.5"),
        ("red:much", "is not a colour and its share"),
        ("red:1.5", "from 0 to 1"),
        ("red:nan", "from 0 to 1"),
        ("pink:0.5", "no colour 'pink': choose from red, green, blue, none"),
        ("red:0.1,red:0.2", r"'red' \(red\) is given twice"),
        ("red:0.7,green:0.7", "sum to 1.4: make them at most 1"),
        ("red:0.3,green:0.3,blue:0.3", "sum to 0.9: make them 1, as no other takes the rest"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_shares(text, USUAL, "colour")
    assert "\n" not in str(caught.value)
