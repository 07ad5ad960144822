# ruff: noqa: E501
from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from gradscope.errors import ConfigError
from gradscope.strict.problems import validated
from gradscope.strict.section import Choice, Section
from gradscope.strict.yaml12 import overridden, parse


class Round(Section):
    """A round shape."""

    name: Literal["round"] = "round"
    radius: Annotated[float, Field(gt=0)] = 1.0
    """Half its width."""


class Square(Section):
    """A square."""

    name: Literal["square"] = "square"
    side: Annotated[int, Field(ge=1, le=10)] = 1
    """Length of an edge."""


class Fill(Section):
    """How a shape is filled."""

    colour: Literal["red", "green", "blue"] = "red"
    """What it looks like."""


class Drawing(Section):
    """What is drawn."""

    title: Annotated[str, Field(min_length=1, max_length=8)]
    """Words on top."""
    shape: Annotated[Round | Square, Choice("name", {"round": Round, "square": Square}, default="round")] = Round()
    """What is drawn."""
    fill: bool | Fill = False
    """Whether and how it is filled."""
    scale: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """How large."""
    pair: Annotated[tuple[int, int], Field(strict=False)] = (0, 0)
    """Where."""
    bold: bool = False
    """Thick lines."""

    def contradictions(self) -> Iterable[tuple[str, str]]:
        if self.bold and isinstance(self.shape, Round):
            yield "bold", "a round shape is never bold"
            yield "shape.name", "round"


def draw(text: str, *overrides: str) -> Drawing:
    return validated(Drawing, overridden(parse(text, "d.yaml"), overrides))


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        draw(text, *overrides)
    return list(raised.value.problems)


def test_a_good_document_becomes_a_section() -> None:
    assert draw("title: x\nshape: {name: square, side: 3}\npair: [1, 2]\n") == Drawing(
        title="x", shape=Square(side=3), pair=(1, 2)
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("bold: true", "d.yaml:1:1: title: missing"),
        ("title: x\nbolt: true", "2:1: bolt: unknown key (expected one of title, shape, fill, scale, pair, bold; did you mean 'bold'?)"),
        ("title: x\nshape:\n  rad: 2", "3:3: shape.rad: unknown key (expected one of name, radius; did you mean 'radius'?)"),
        ("title: x\nfill: {color: red}", "2:8: fill.color: unknown key (expected colour; did you mean 'colour'?)"),
        ("title: x\nfill: {colour: gren}", "2:16: fill.colour: unknown name (got 'gren'; expected one of red, green, blue; did you mean 'green'?)"),
        ("title: x\nfill: 3", "2:7: fill: wrong type (got 3; expected true or false or a section of keys)"),
        ("title: x\nfill: yes", "2:7: fill: wrong type (got 'yes'; expected true or false or a section of keys; did you mean true?)"),
        ("title: x\nbold: Off", "2:7: bold: wrong type (got 'Off'; expected true or false; did you mean false?)"),
        ("title: x\nbold: 1", "2:7: bold: wrong type (got 1; expected true or false)"),
        ("title: x\nbold:", "2:6: bold: wrong type (got nothing; expected true or false)"),
        ("title: 5", "1:8: title: wrong type (got 5; expected a text; did you mean '5', in quotes?)"),
        ("title: ''", "1:8: title: too short (got ''; expected at least 1 character)"),
        ("title: a word or two", "1:8: title: too long (got 'a word or two'; expected at most 8 characters)"),
        ("title: x\nscale: atuo", "2:8: scale: unknown name (got 'atuo'; expected auto or a number; did you mean 'auto'?)"),
        ("title: x\nscale: '2.5'", "2:8: scale: unknown name (got '2.5'; expected auto or a number; did you mean 2.5, without quotes?)"),
        ("title: x\nscale: [1]", "2:8: scale: wrong type (got a list; expected auto or a number)"),
        ("title: x\nscale: 0", "2:8: scale: too small (got 0; expected above 0)"),
        ("title: x\nscale: .nan", "2:8: scale: not finite (got .nan; expected a finite number)"),
        ("title: x\nscale: -.inf", "2:8: scale: not finite (got -.inf; expected a finite number)"),
        ("title: x\nshape: {name: square, side: 11}", "2:29: shape.side: too large (got 11; expected at most 10)"),
        ("title: x\nshape: {name: square, side: 2.0}", "2:29: shape.side: wrong type (got 2.0; expected a whole number)"),
        ("title: x\nshape: {name: square, side: true}", "2:29: shape.side: wrong type (got true; expected a whole number)"),
        ("title: x\nshape: {name: sqare}", "2:15: shape.name: unknown name (got 'sqare'; expected one of round, square; did you mean 'square'?)"),
        ("title: x\nshape: {name: 3}", "2:15: shape.name: wrong type (got 3; expected one of round, square)"),
        ("title: x\nshape: {name: [square]}", "2:15: shape.name: wrong type (got a list; expected one of round, square)"),
        ("title: x\nshape: square", "2:8: shape: wrong type (got 'square'; expected a section, such as {name: square})"),
        ("title: x\nshape: []", "2:8: shape: wrong type (got a list; expected a section, such as {name: round})"),
        ("title: x\npair: [1]", "2:1: pair[1]: missing"),
        ("title: x\npair: [1, 2, 3]", "2:7: pair: too long (got a list; expected at most 2 members)"),
        ("title: x\npair: [1, x]", "2:11: pair[1]: wrong type (got 'x'; expected a whole number)"),
        ("title: x\npair: 1", "2:7: pair: wrong type (got 1; expected a list)"),
    ],
)  # fmt: skip
def test_a_problem_says_where_and_what_and_what_was_meant(text: str, problem: str) -> None:
    (found,) = problems(text)
    assert found.removeprefix("d.yaml:") == problem.removeprefix("d.yaml:")


def test_all_problems_are_told_at_once_in_the_order_of_the_text() -> None:
    text = "scale: 0\ntitle: x\nshape: {radius: -1, x: 1}\nbold: 3\nscale: 1\nfill: !t 1\n"
    found = problems(text, "pair=x")
    assert [p.split(": ")[:3:2] for p in found] == [
        ["d.yaml:1:8", "too small (got 0; expected above 0)"],
        ["d.yaml:3:17", "too small (got -1; expected above 0)"],
        ["d.yaml:3:21", "unknown key (expected one of name, radius)"],
        ["d.yaml:4:7", "wrong type (got 3; expected true or false)"],
        ["d.yaml:5:1", "duplicate key (first at 1:1)"],
        ["d.yaml:6:7", "tags are not allowed (got !t; expected the plain value)"],
        ["--set:1:6", "wrong type (got 'x'; expected a list)"],
    ]


def test_a_value_that_could_not_be_read_is_not_complained_of_twice() -> None:
    assert len(problems("title: !t x\n")) == 1


def test_contradictions_point_at_keys_even_of_defaults() -> None:
    assert problems("title: x\nbold: true\n") == [
        "d.yaml:1:1: shape.name: round",
        "d.yaml:2:7: bold: a round shape is never bold",
    ]


def test_a_section_in_place_of_a_name_reports_what_is_wrong_within() -> None:
    assert problems("title: x\n", "fill={colour: 3, x: 1}") == [
        "--set:1:15: fill.colour: wrong type (got 3; expected one of red, green, blue)",
        "--set:1:18: fill.x: unknown key (expected colour)",
    ]


def dumped(section: Section) -> dict[str, Any]:
    return section.model_dump(mode="json")


def test_a_chosen_section_is_dumped_with_its_own_keys() -> None:
    assert dumped(draw("title: x\nshape: {name: square}"))["shape"] == {"name": "square", "side": 1}


def test_the_schema_lets_only_the_default_leave_its_name_out() -> None:
    shape = Drawing.model_json_schema()["properties"]["shape"]
    default, other = shape["anyOf"]
    assert default["properties"]["radius"]["description"] == "Half its width."
    assert "required" not in default
    assert other["required"] == ["name"]
    assert other["allOf"][0]["properties"]["name"]["const"] == "square"
