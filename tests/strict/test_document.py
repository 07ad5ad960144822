from __future__ import annotations

import math
from typing import Any

import pytest

from gradscope.strict.document import shown
from gradscope.strict.yaml12 import parse


def test_every_value_knows_where_it_stands() -> None:
    text = "a: 1\nb:\n  c: [10, 'x y']  # why\n"
    document = parse(text, "f.yaml")

    def cut(*where: str | int) -> str:
        spot = document.places[where].value
        return text[spot.start : spot.end]

    assert cut("a") == "1"
    assert cut("b", "c", 0) == "10"
    assert cut("b", "c", 1) == "'x y'"
    assert cut("b", "c") == "[10, 'x y']"
    assert str(document.spot(("b", "c"))) == "f.yaml:3:6"
    assert str(document.spot(("b", "c"), key=True)) == "f.yaml:3:3"
    assert str(document.spot(("b", "missing"))) == "f.yaml:2:1"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({}, "a section"),
        ([1], "a list"),
        (None, "nothing"),
        (True, "true"),
        (-math.inf, "-.inf"),
        (math.nan, ".nan"),
        (1e-30, "1e-30"),
        (10**60, "a number of 61 digits"),
        ("x" * 99, f"'{'x' * 57}...'"),
    ],
)
def test_a_value_is_shown_short(value: Any, name: str) -> None:
    assert shown(value) == name
